"""The end of the server, with threads that compute."""

import subprocess
import sys

import pytest

from nerf_insert.app.shutdown import InFlight
from nerf_insert.errors import RunError

COMPUTING = """
import threading
from nerf_insert.app.ending import WORK
import torch

begun = threading.Event()

def compute():
    x = torch.rand(300, 300)
    while True:
        with WORK.inside():
            for _ in range(50):
                begun.set()
                x = (x @ x).softmax(0)

threading.excepthook = lambda what: print(what.exc_type.__name__)
thread = threading.Thread(target=compute, daemon=True)
thread.start()
begun.wait()
assert WORK.shut(60)
thread.join(60)
"""


def test_a_thread_that_computes_does_not_abort_the_interpreter():
    """Without shutting the doors it does, with signal 6 (up to Python 3.13)."""
    done = subprocess.run([sys.executable, "-c", COMPUTING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "RunError"), done.stderr


def test_doors_that_are_shut_let_nobody_in_and_all_out():
    doors = InFlight()
    with doors.inside(), doors.inside():
        assert not doors.shut(0.0)
        with pytest.raises(RunError, match="about to end"), doors.inside():
            pass
    assert doors.shut(0.0)
