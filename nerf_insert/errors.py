"""Exceptions raised to callers (bad input, failed run, stopped by the user), and warnings about input."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar


class InputError(Exception):
    """Something the user typed, uploaded or pointed at cannot be used (exit code 2).

    The message is for the user: it names the offending item, says what is wrong with it and what to do.
    """


class RunError(Exception):
    """The input was fine but the work failed: a full disk, a model that broke (exit code 1)."""


class Stopped(Exception):
    """The user stopped the work. What was done is kept; the same call resumes from there."""


class InputWarning(UserWarning):
    """Something that the input says is not honored; the message says what, and what happens instead."""


_listener: ContextVar[Callable[[str], None] | None] = ContextVar("nerf_insert_warnings", default=None)


def warn(text: str) -> None:
    """Tell the user which part of the input is not honored, and what happens instead.

    Call it where the input is read. Each front end listens with `warnings_to`; without a listener the text
    becomes an `InputWarning` of Python's `warnings` module.

    Args:
        text: Names the file and the item; begins in lower case and ends without a period, as errors do.
    """
    listener = _listener.get()
    if listener is None:
        warnings.warn(text, InputWarning, stacklevel=2)
    else:
        listener(text)


@contextmanager
def warnings_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Pass what `warn` is told meanwhile, in this thread, to `listener`, each text once.

    What `listener` itself tells `warn` goes to the listener around this one.
    """
    heard: set[str] = set()
    outer = _listener.get()

    def listen(text: str) -> None:
        if text in heard:
            return
        heard.add(text)
        here = _listener.set(outer)
        try:
            listener(text)
        finally:
            _listener.reset(here)

    token = _listener.set(listen)
    try:
        yield
    finally:
        _listener.reset(token)


def first_few(names: Sequence[object], most: int = 3) -> str:
    """Format a list of names for a message: "a, b, c and 4 more"."""
    rest = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {rest} more" if rest > 0 else "")
