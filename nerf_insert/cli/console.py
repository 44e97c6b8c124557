"""Output of a command: its result to stdout, everything else to stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO, cast

from nerf_insert.io.files import finite
from nerf_insert.runtime.progress import Progress, TextStream


class SafeStream:
    """A text stream whose failures do not stop the work.

    Characters that the encoding lacks are escaped. A reader that has closed the pipe is ignored. Other
    errors, such as a full disk behind a redirection, are raised once if `required` and ignored otherwise.
    """

    def __init__(self, stream: TextStream | None, required: bool = True) -> None:
        self.stream: Any = stream or open(os.devnull, "w")  # None: the stream was closed before the start
        self.required = required

    def write(self, text: str) -> int:
        """Write text, escaping characters that the stream cannot encode."""
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            return self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._discard(error)
            return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self.stream.flush()
        except OSError as error:
            self._discard(error)

    def isatty(self) -> bool:
        """Tell whether the stream is a terminal."""
        return self.stream.isatty()

    def _discard(self, error: OSError) -> None:
        """Redirect the file descriptor to the null device, buffered text included."""
        null_device = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # the stream has no file descriptor
            os.dup2(null_device, self.stream.fileno())
        os.close(null_device)
        if self.required and not isinstance(error, BrokenPipeError):
            raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class WarningsOnly(Progress):
    """Progress of --quiet: prints warnings and nothing else."""

    def warn(self, text: str) -> None:
        """Print a warning."""
        print(f"warning: {text}", file=self.stream, flush=True)


class Console:
    """The output streams of one command.

    Attributes:
        progress: What the engine reports to.
        command: The command that runs, to begin error messages with.
        if_stopped: How to continue after Ctrl-C; commands keep it up to date while they work.
        warnings: The warnings so far; --json repeats them in the result.
    """

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.out = SafeStream(sys.stdout)
        self.err = SafeStream(sys.stderr, required=False)
        self.command = "nerf-insert"
        self.if_stopped = ""
        self.warnings: list[str] = []
        self.progress: Progress
        if quiet:
            self.progress = Progress(self.err) if as_json else WarningsOnly(self.err)
        else:
            self.progress = Progress.of("json" if as_json else "auto", self.err)
        self._warn, self.progress.warn = self.progress.warn, self._keep_warning  # type: ignore[method-assign]

    def _keep_warning(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)
            self._warn(text)

    @contextmanager
    def only_results_on_stdout(self) -> Iterator[None]:
        """Send what other code prints meanwhile (nerfstudio, a custom inpainter) to stderr."""
        with redirect_stdout(cast(TextIO, self.err)):
            yield

    def result(self, data: dict[str, Any], text: str) -> None:
        """Print the result of a command that succeeded."""
        if self.as_json:
            self._print_json({"ok": True, **data})
        elif text:
            print(text, file=self.out)
        self.flush()

    def failure(self, message: str) -> None:
        """Print why a command failed."""
        if self.as_json:
            self._print_json({"ok": False, "error": message})
        else:
            print(f"{self.command}: {message}", file=self.err)
        self.flush()

    def flush(self) -> None:
        """Flush both streams."""
        self.out.flush()
        self.err.flush()

    def _print_json(self, data: dict[str, Any]) -> None:
        if self.warnings:
            data["warnings"] = self.warnings
        print(json.dumps(finite(data), allow_nan=False), file=self.out)


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Lay out a table as plain text, one line per row and columns two spaces apart.

    Args:
        head: The titles of the columns.
        rows: The cells, as many in each row as there are titles.
        right: Indices of the columns to align right.
    """
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column, title in enumerate(head):
        table.add_column(Text(title), justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    stream = io.StringIO()
    RichConsole(file=stream, width=1 << 16, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())
