"""Error messages instead of tracebacks, inside nerfstudio's commands."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from nerfstudio.utils.rich_utils import CONSOLE
from rich.markup import escape

from nerf_insert.errors import InputError, RunError, warnings_to
from nerf_insert.plugin.edit_config import EditConfig, EditPipelineConfig


def friendly_errors(method: Callable) -> Callable:
    """Decorate a method so that warnings are printed, and errors end the command with a message.

    The exit code is 2 after an InputError, 1 after a RunError.
    """

    @functools.wraps(method)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            with warnings_to(_print_warning):
                return method(*args, **options)
        except (InputError, RunError) as error:
            text = escape(with_our_flags(str(error)))
            CONSOLE.print(f"[bold red]nerf-insert:[/bold red] {text}", soft_wrap=True)
            raise SystemExit(2 if isinstance(error, InputError) else 1) from None

    return wrapped


def _print_warning(text: str) -> None:
    CONSOLE.print(f"nerf-insert: warning: {with_our_flags(text)}", soft_wrap=True, markup=False)


def with_our_flags(text: str) -> str:
    """Replace the flags of `nerf-insert` in a message by those of `ns-train`."""
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)(?![\w.-])", _flag, text)


def _flag(match: re.Match[str]) -> str:
    name = match[1].replace("-", "_")
    for config, prefix in ((EditConfig, "pipeline.edit."), (EditPipelineConfig, "pipeline.")):
        if name in {field.name for field in fields(config)}:
            return f"--{prefix}{match[1]}"
    return match[0]
