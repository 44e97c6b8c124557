"""Where a command's words go: its result to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO, cast

from nerf_insert.io.files import finite
from nerf_insert.runtime.progress import Progress
from nerf_insert.runtime.progress_display import create_progress


class Forgiving:
    """A text stream that goes on when its reader has gone, or cannot show a character. Where the file that
    it was redirected to cannot take more, that is an OSError, once, if what is written there `matters`."""

    def __init__(self, stream: TextIO | None, matters: bool = True) -> None:
        self.stream = stream or open(os.devnull, "w")  # None: closed before we were started
        self.matters = matters

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            return self.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._failed(error)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._failed(error)

    def isatty(self) -> bool:
        return self.stream.isatty()

    def _failed(self, error: OSError) -> None:
        """Send what is still buffered, and all that follows, nowhere."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(OSError):  # the stream has no file descriptor
            os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)
        if self.matters and not isinstance(error, BrokenPipeError):
            raise error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Quiet(Progress):
    """Only warnings."""

    def warn(self, text: str) -> None:
        print(f"warning: {text}", file=self.stream, flush=True)


class Console:
    """`progress` is what commands report to. `command` names the one that runs, `if_stopped` says how to go
    on after Ctrl-C; commands keep both true while they work."""

    def __init__(self, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self.out = cast(TextIO, Forgiving(sys.stdout))
        self.err = cast(TextIO, Forgiving(sys.stderr, matters=False))
        self.command = "nerf-insert"
        self.if_stopped = ""
        self.warnings: list[str] = []
        if quiet:
            self.progress: Progress = Progress(self.err) if as_json else Quiet(self.err)
        else:
            self.progress = create_progress("json" if as_json else "auto", self.err)
        self._warn, self.progress.warn = self.progress.warn, self._remember  # type: ignore[method-assign]

    def _remember(self, text: str) -> None:
        self.warnings.append(text)
        self._warn(text)

    @contextmanager
    def only_results_on_stdout(self) -> Iterator[None]:
        """What others print meanwhile (nerfstudio, a person's own inpainter) goes to stderr."""
        with redirect_stdout(self.err):
            yield

    def result(self, data: dict[str, Any], text: str) -> None:
        """The end of a command that did what it was asked to."""
        if self.as_json:
            self._print_json({"ok": True, **data})
        elif text:
            print(text, file=self.out)
        self.flush()

    def failure(self, message: str) -> None:
        """The end of one that did not."""
        if self.as_json:
            self._print_json({"ok": False, "error": message})
        else:
            print(f"{self.command}: {message}", file=self.err)
        self.flush()

    def flush(self) -> None:
        self.out.flush()
        self.err.flush()

    def _print_json(self, data: dict[str, Any]) -> None:
        if self.warnings:
            data["warnings"] = self.warnings
        print(json.dumps(finite(data), allow_nan=False), file=self.out)
