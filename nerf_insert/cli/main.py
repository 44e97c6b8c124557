"""The command line, `nerf-insert COMMAND ...`.

Each module of nerf_insert.cli.commands is one command and has

    SUMMARY                     one line for `nerf-insert --help`
    add_arguments(parser)       adds its options
    run(args, console)          does the work; returns the result as data for --json and as text

Nothing here imports the engine at module level, so that `--help` and mistyped options answer at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from nerf_insert import __version__
from nerf_insert.cli.argv import repeat_masks, replace_deprecated
from nerf_insert.cli.console import Console
from nerf_insert.cli.exit_codes import FAILURE, run_guarded
from nerf_insert.errors import InputError, RunError, warnings_to
from nerf_insert.runtime import kernel_warmup

COMMANDS = (
    "demo",
    "capture",
    "check",
    "train",
    "edit",
    "preview",
    "render",
    "layers",
    "clean",
    "light",
    "eval",
    "export",
    "batch",
    "models",
    "serve-inpainter",
    "app",
    "doctor",
)
USES_KERNELS = ("demo", "train", "edit", "preview", "render", "clean", "light", "eval", "export", "app")
EXIT_CODES = "Exit codes: 0 success, 1 failure, 2 bad input, 130 stopped"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the program's name; by default those of this process.

    Returns:
        The exit code: 0 success, 1 failure, 2 bad input, 130 stopped by Ctrl-C or SIGTERM.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console(as_json="--json" in words, quiet="--quiet" in words)
    return run_guarded(lambda: _run(words, console), console)


def _run(words: list[str], console: Console) -> None:
    """Parse the words, run the command and write its result."""
    words, notes = replace_deprecated(words)
    for note in notes:
        console.progress.warn(note)
    args = build_parser().parse_args(repeat_masks(words))
    if args.command in USES_KERNELS:
        kernel_warmup.start(splats=bool(getattr(args, "splat", None)))
    command = _command_module(args.command)
    console.command = f"nerf-insert {args.command}"
    try:
        with console.only_results_on_stdout(), warnings_to(console.progress.warn):
            data, text = command.run(args, console)
    except SystemExit as stop:  # loaded code, such as a custom inpainter, must not choose the exit code
        raise RunError(f"loaded code ended the program with sys.exit({stop.code!r})") from stop
    console.result(data, text)
    if data.get("ok") is False:  # the command did its work and found something wrong
        raise SystemExit(FAILURE)


def _command_module(name: str) -> ModuleType:
    return import_module(f"nerf_insert.cli.commands.{name.replace('-', '_')}")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are InputErrors and whose values may be negative numbers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)
        # read -1,0,0.5 as a value, not as an option
        self._negative_number_matcher = re.compile(r"^-\.?\d[\d.,eE+-]*$")

    def error(self, message: str) -> NoReturn:
        """Raise InputError instead of ending the process."""
        raise InputError(f"{message}; see `{self.prog} --help`")


def build_parser() -> Parser:
    """Build the parser of all commands. Imports every command module, none of them heavy."""
    parser = Parser(
        prog="nerf-insert",
        description="Insert, replace or remove an object in a captured 3D scene.",
        epilog="Run `nerf-insert COMMAND --help` for the options of a command. " + EXIT_CODES,
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"nerf-insert {__version__}",
        help="print the version and exit",
    )
    _add_common_options(parser)
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", title="commands", required=True, parser_class=Parser
    )
    for name in COMMANDS:
        module = _command_module(name)
        command = commands.add_parser(
            name, help=module.SUMMARY, description=module.__doc__, epilog=EXIT_CODES
        )
        module.add_arguments(command)
        _add_common_options(command)
    return parser


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print the result as one JSON object to stdout, and progress as JSON lines to stderr",
    )
    group.add_argument(
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print only the result, warnings and errors",
    )
