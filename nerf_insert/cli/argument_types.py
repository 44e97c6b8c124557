"""Argument types for argparse. Each raises ArgumentTypeError with a message for the person who typed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_NAME_BYTES = 255  # of one file or folder name, on all common file systems


class Once(argparse.Action):
    """Stores the value of an option that names what is edited: of two, one would be lost in silence."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Store the value.

        Raises:
            argparse.ArgumentError: The option was given before.
        """
        if getattr(namespace, self.dest, self.default) != self.default:
            raise argparse.ArgumentError(
                self, "it is given twice: one edit has one, others are edits of their own"
            )
        setattr(namespace, self.dest, values)


def nonempty(text: str) -> str:
    """Accept any text except blank, which is usually a shell variable that was not set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return text


def path(text: str) -> Path:
    """Parse the path of a file or folder, which need not exist; ~ is the home folder."""
    parts = Path(nonempty(text)).parts
    if "\0" in text or any(len(part.encode(errors="replace")) > MAX_NAME_BYTES for part in parts):
        raise argparse.ArgumentTypeError("it cannot be the name of a file or folder")
    return Path(text).expanduser()


def integer(low: int, high: int = 10_000_000) -> Callable[[str], int]:
    """Make a type for whole numbers from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value} is not between {low} and {high}")
        return value

    return parse


def number(
    low: float = -math.inf, high: float = math.inf, *, above: float | None = None
) -> Callable[[str], float]:
    """Make a type for finite numbers from `low` to `high` that are greater than `above`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"{text} is not a finite number")
        if above is not None and value <= above:
            raise argparse.ArgumentTypeError(f"{text} is not above {above:g}")
        if not low <= value <= high:
            limits = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
            raise argparse.ArgumentTypeError(f"{text} is not {limits}")
        return value

    return parse


def numbers(*counts: int) -> Callable[[str], list[float]]:
    """Make a type for comma-separated finite numbers; `counts` are the allowed lengths."""

    def parse(text: str) -> list[float]:
        values = [number()(part.strip()) for part in text.split(",")]
        if len(values) not in counts:
            lengths = " or ".join(map(str, counts))
            raise argparse.ArgumentTypeError(f"'{text}' is not {lengths} numbers separated by commas")
        return values

    return parse


def integers(low: int, high: int = 10_000_000) -> Callable[[str], list[int]]:
    """Make a type for comma-separated whole numbers from `low` to `high`."""

    def parse(text: str) -> list[int]:
        return [integer(low, high)(part.strip()) for part in text.split(",")]

    return parse


def part(text: str) -> tuple[int, int]:
    """Parse K/N, the K-th of N parts."""
    number, slash, count = text.partition("/")
    if not slash:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form K/N, such as 2/4")
    pair = integer(1)(number), integer(1)(count)
    if pair[0] > pair[1]:
        raise argparse.ArgumentTypeError(f"there is no part {pair[0]} of {pair[1]}")
    return pair
