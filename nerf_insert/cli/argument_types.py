"""Values that people type: kinds for argparse that say what is wrong in words."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

LONGEST = 255  # bytes that a file's name may have on all common disks


def filled(given: str) -> str:
    """Anything but nothing: an empty word is mostly a variable that was not set."""
    if not given.strip():
        raise argparse.ArgumentTypeError("it is empty")
    return given


def path(given: str) -> Path:
    """A file or folder, which need not exist; ~ is the home folder."""
    if "\0" in filled(given) or any(
        len(part.encode(errors="replace")) > LONGEST for part in Path(given).parts
    ):
        raise argparse.ArgumentTypeError("that cannot be the name of a file or folder")
    return Path(given).expanduser()


def whole(low: int, high: int = 10_000_000) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

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
    """A finite number from `low` to `high`, and greater than `above`."""

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
    """Finite numbers with commas between them, one of `counts` many."""

    def parse(text: str) -> list[float]:
        values = [number()(part.strip()) for part in text.split(",")]
        if len(values) not in counts:
            wanted = " or ".join(map(str, counts))
            raise argparse.ArgumentTypeError(
                f"{wanted} numbers with commas between them are needed, not '{text}'"
            )
        return values

    return parse


def whole_numbers(text: str) -> list[int]:
    """Whole numbers above 0 with commas between them."""
    return [whole(1)(part.strip()) for part in text.split(",")]
