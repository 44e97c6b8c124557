"""Console commands in processes of their own, forked from one that has imported nerfstudio already.

Importing it takes each of its commands ten seconds. The command itself is what its entry point names, with
its own `sys.argv`, environment, working directory and output; but light is found coarsely.
"""

import importlib.metadata
import multiprocessing
import os
import sys
from pathlib import Path

import quick_nerfstudio  # noqa: F401  # before its methods
from less_work import coarse_light

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    [
        "quick_nerfstudio",
        "nerfstudio.scripts.train",
        "nerfstudio.scripts.render",
        "nerfstudio.scripts.eval",
        "nerfstudio.scripts.viewer.run_viewer",
        "nerf_insert.plugin.pipeline",
        "nerf_insert.inpaint.mesh.inpainter",
        "nerf_insert.editing.shades",
    ]
)


class Command:
    """A running command. `process` is its process, `said` what it has printed, errors included."""

    def __init__(self, name: str, words, cwd: Path, env: dict[str, str]):
        cwd.mkdir(parents=True, exist_ok=True)
        self._output = cwd / f"{name}-{len(list(cwd.glob(f'{name}-*.log')))}.log"
        self.process = _server.Process(
            target=_run, args=(name, [str(w) for w in words], cwd, env, self._output)
        )
        self.process.start()

    @property
    def said(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code; minus the signal where one ended it."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"still running after {timeout} s:\n{self.said[-3000:]}")
        return self.process.exitcode


def _run(name: str, words: list[str], cwd: Path, env: dict[str, str], output: Path):
    """In the forked process: run the command `name`."""
    os.environ.update(env)
    os.chdir(cwd)
    written = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(written, 1)
    os.dup2(written, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)
    sys.argv = [name, *words]
    coarse_light()
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name=name)
    sys.exit(entry.load()())
