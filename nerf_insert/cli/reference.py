"""Write the options of all commands into docs/command-line.md.

    python -m nerf_insert.cli.reference docs/command-line.md

The text between a marker such as `<!-- options of edit -->` and the next `<!-- end -->` is generated from the
parsers; the rest of the page is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path

from nerf_insert.cli.main import COMMANDS, build_parser
from nerf_insert.errors import InputError

MARKED = re.compile(r"<!-- (commands|options of ([\w-]+)) -->\n.*?<!-- end -->", re.DOTALL)
EVERYWHERE = ("--help", "--json", "--quiet")  # explained once, at the top of the page


def update(page: str) -> str:
    """Replace the generated parts of the page.

    Raises:
        InputError: A command has no part in the page, or a part names no command.
    """
    top = build_parser()
    commands = _subparsers(top)
    found = [match.group(2) for match in MARKED.finditer(page) if match.group(2)]
    if sorted(found) != sorted(COMMANDS):
        raise InputError(f"the page has parts for {', '.join(found)}; the commands are {', '.join(COMMANDS)}")

    def replacement(match: re.Match[str]) -> str:
        command = match.group(2)
        text = options_of(commands.choices[command]) if command else command_table(commands)
        return f"<!-- {match.group(1)} -->\n\n{text}\n\n<!-- end -->"

    return MARKED.sub(replacement, page)


def _subparsers(parser: argparse.ArgumentParser) -> argparse._SubParsersAction:
    """Return the action that holds the commands' parsers."""
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))


def command_table(commands: argparse._SubParsersAction) -> str:
    """List the commands with their summaries."""
    rows = [f"| [{choice.dest}](#{choice.dest}) | {choice.help} |" for choice in commands._choices_actions]
    return "\n".join(["| command | |", "|---|---|", *rows])


def options_of(parser: argparse.ArgumentParser) -> str:
    """Describe a command: its usage, what it does, and a table for each group of options."""
    parts = [f"```text\n{usage(parser)}\n```", textwrap.fill(parser.description or "", 110)]
    for group in parser._action_groups:
        rows = [
            f"| {_name(action)} | {_help(action, parser)} |"
            for action in _actions(group)
            if not set(action.option_strings) & set(EVERYWHERE)
        ]
        if rows:
            title = group.title if group.title != "positional arguments" else "arguments"
            text = f" {group.description}" if group.description else ""
            parts += [f"**{(title or '').capitalize()}.**{text}", "\n".join(["| | |", "|---|---|", *rows])]
    return "\n\n".join(parts)


def usage(parser: argparse.ArgumentParser) -> str:
    """Return the usage in one line: the arguments, the required options, and [options] for the others."""
    words = [parser.prog]
    alternatives = [
        set(group._group_actions) for group in parser._mutually_exclusive_groups if group.required
    ]
    for action in parser._actions:
        if not action.option_strings:
            value = _value(action)
            words.append({"?": f"[{value}]", "*": f"[{value} ...]"}.get(str(action.nargs), value))
        elif action.required:
            words.append(_flag(action))
    for actions in alternatives:
        words.append("(" + " | ".join(_flag(a) for a in parser._actions if a in actions) + ")")
    return " ".join([*words, "[options]"])


def _actions(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    return group._group_actions


def _name(action: argparse.Action) -> str:
    """Write an option with its value, or an argument, as code in a table."""
    text = _flag(action) if action.option_strings else _value(action)
    return "`" + text.replace("|", "\\|") + "`"


def _flag(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return ", ".join(action.option_strings) + value


def _value(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    return "|".join(map(str, action.choices)) if action.choices else action.dest.upper()


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    text = (action.help or "") % {**vars(action), "prog": parser.prog}
    return text.replace("|", "\\|")


def main() -> None:
    """Update the page that is named on the command line."""
    page = Path(sys.argv[1])
    page.write_text(update(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
