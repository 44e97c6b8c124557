"""Exceptions raised to callers: bad input, failed run, stopped by the user."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(Exception):
    """Something the user typed, uploaded or pointed at cannot be used (exit code 2).

    The message is for the user: it names the offending item, says what is wrong with it and what to do.
    """


class RunError(Exception):
    """The input was fine but the work failed: a full disk, a model that broke (exit code 1)."""


class Stopped(Exception):
    """The user stopped the work. What was done is kept; the same call resumes from there."""


def first_few(names: Sequence[object], most: int = 3) -> str:
    """Format a list of names for a message: "a, b, c and 4 more"."""
    rest = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {rest} more" if rest > 0 else "")
