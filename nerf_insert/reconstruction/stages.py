"""What has been done already: interrupted work goes on, unchanged work is not repeated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, write_json


class Stages:
    """Results of stages, each a JSON file that holds what the result depends on.

    Args:
        folder: The folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def result(self, name: str, depends_on: Any, work: Callable[[], Any]) -> Any:
        """Return the result of a stage: that of an earlier run, where it depends on the same, or of `work`.

        Args:
            name: Of the stage.
            depends_on: Plain data.
            work: Does the stage and returns plain data.
        """
        known = self.known(name, depends_on)
        if known is not None:
            return known
        return self.keep(name, depends_on, work())

    def keep(self, name: str, depends_on: Any, result: Any) -> Any:
        """Write the result of a stage, and return it."""
        write_json(self.folder / f"{name}.json", {"depends_on": _digest(depends_on), "result": result})
        return result

    def known(self, name: str, depends_on: Any) -> Any:
        """Return the result of an earlier run, None where there is none that depends on the same."""
        file = self.folder / f"{name}.json"
        try:
            data = read_json(file) if file.exists() else {}
        except InputError:
            return None
        if not isinstance(data, dict) or data.get("depends_on") != _digest(depends_on):
            return None
        return data.get("result")


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
