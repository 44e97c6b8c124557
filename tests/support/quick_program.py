"""`nerf-insert` as tests of the page start it: its jobs are this program too, and do less work.

"Quick" is a training of few steps, an orbit video has six frames.
"""

import subprocess
import sys
from types import SimpleNamespace

import forked_jobs
from less_work import coarse_light, small_bases

from nerf_insert.cli.main import main


def begin(command):
    if command == "app":
        from nerf_insert.app.jobs import queue
        from nerf_insert.app.steps import open as step
        from nerf_insert.app.steps import results

        queue.PROGRAM = (sys.executable, __file__)
        queue.subprocess = SimpleNamespace(Popen=forked_jobs.Popen, DEVNULL=subprocess.DEVNULL)
        forked_jobs.begin()
        step.QUALITIES = [("Quick (20 steps)", 20), *step.QUALITIES[1:]]
        results.add_orbit.__defaults__ = (0.4,)  # seconds
    elif command == "train":
        small_bases()
    elif command in ("edit", "light", "preview"):
        coarse_light()


if __name__ == "__main__":
    sys.path.insert(0, "")  # as with python -m nerf_insert
    begin(sys.argv[1])
    sys.exit(main())
