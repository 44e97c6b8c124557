"""Mistakes as sentences, inside nerfstudio's commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from nerfstudio.utils.rich_utils import CONSOLE

from nerf_insert.errors import InputError, RunError


def in_words(method: Callable) -> Callable:
    """What a person can mend ends the command with a sentence rather than a traceback."""

    @functools.wraps(method)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return method(*args, **options)
        except (InputError, RunError) as error:
            CONSOLE.print(f"[bold red]nerf-insert:[/bold red] {error}", soft_wrap=True)
            raise SystemExit(2 if isinstance(error, InputError) else 1) from None

    return wrapped
