"""The command line, `nerf-insert COMMAND ...`. A module of this package is a command when it has

    SUMMARY                     one line for `nerf-insert --help`
    arguments(parser)           adds its options
    run(args, console)          does the work and returns its result: data for machines, text for people

Nothing here imports the engine at module level, so that `--help` and mistyped options answer at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from nerf_insert import __version__
from nerf_insert.cli.console import Console
from nerf_insert.cli.exit_codes import FAILURE, run_guarded
from nerf_insert.errors import InputError, RunError
from nerf_insert.runtime import kernel_warmup

COMMANDS = (
    "demo",
    "train",
    "edit",
    "preview",
    "render",
    "layers",
    "eval",
    "export",
    "models",
    "app",
    "doctor",
)
COMPUTING = ("demo", "train", "edit", "preview", "render", "eval", "export", "app")  # on kernels
EXIT_CODES = "exit code: 0 success, 1 failure, 2 bad input, 130 stopped"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code: 0 success, 1 failure, 2 bad input, 130 stopped by Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console(as_json="--json" in words, quiet="--quiet" in words)
    return run_guarded(lambda: _run(words, console), console)


def _run(words: list[str], console: Console) -> None:
    args = build_parser().parse_args(repeat_masks(words))
    if args.command in COMPUTING:
        kernel_warmup.start()
    command = import_module(f"nerf_insert.cli.commands.{args.command}")
    console.command = f"nerf-insert {args.command}"
    try:
        with console.only_results_on_stdout():
            data, text = command.run(args, console)
    except SystemExit as stop:  # in a person's own inpainter, say: not for it to decide
        raise RunError(f"code that was loaded ended the program, sys.exit({stop.code!r})") from stop
    console.result(data, text)
    if data.get("ok") is False:  # a command that has done its work and found something wrong
        raise SystemExit(FAILURE)


def repeat_masks(words: Sequence[str]) -> list[str]:
    """`--mask A=a.png B=b.png` written as `--mask A=a.png --mask B=b.png`, so that either is understood and
    a word without = that follows, such as the scene's folder, stays what it is."""
    spread: list[str] = []
    after_mask = False
    for word in words:
        if after_mask and spread[-1] != "--mask" and "=" in word and not word.startswith("-"):
            spread.append("--mask")
        after_mask = word == "--mask" or (after_mask and "=" in word and not word.startswith("-"))
        spread.append(word)
    return spread


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is an InputError like any other."""

    def __init__(self, **options) -> None:
        super().__init__(allow_abbrev=False, **options)
        # -1,0,0.5 is a value, not an option
        self._negative_number_matcher = re.compile(r"^-\.?\d[\d.,eE+-]*$")

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; `{self.prog} --help` shows what it takes")


def build_parser() -> Parser:
    parser = Parser(
        prog="nerf-insert",
        description="Change one place in a captured 3D scene and nothing else.",
        epilog="`nerf-insert COMMAND --help` explains a command. " + EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"nerf-insert {__version__}")
    _common(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    for name in COMMANDS:
        module = import_module(f"nerf_insert.cli.commands.{name}")
        command = commands.add_parser(
            name, help=module.SUMMARY, description=module.__doc__, epilog=EXIT_CODES
        )
        module.arguments(command)
        _common(command)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        action="store_true",
        default=argparse.SUPPRESS,
        help="print one JSON object to stdout at the end, and progress as JSON lines to stderr",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        default=argparse.SUPPRESS,
        help="no progress, only the result, warnings and errors",
    )
