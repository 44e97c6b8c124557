"""Shutdown of the server with threads that compute."""

import subprocess
import sys

import pytest

from nerf_insert.app.shutdown import InFlight
from nerf_insert.errors import RunError

COMPUTING = """
import threading
from nerf_insert.app.shutdown import IN_FLIGHT
import torch

begun = threading.Event()

def compute():
    x = torch.rand(300, 300)
    while True:
        with IN_FLIGHT.track():
            for _ in range(50):
                begun.set()
                x = (x @ x).softmax(0)

threading.excepthook = lambda what: print(what.exc_type.__name__)
thread = threading.Thread(target=compute, daemon=True)
thread.start()
begun.wait()
assert IN_FLIGHT.close(60)
thread.join(60)
"""


def test_a_computing_thread_does_not_abort_the_interpreter():
    """Without `close` it does, with signal 6 (up to Python 3.13)."""
    done = subprocess.run([sys.executable, "-c", COMPUTING], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "RunError"), done.stderr


def test_close_refuses_new_requests_and_lets_the_others_end():
    requests = InFlight()
    with requests.track(), requests.track():
        assert not requests.close(0.0)
        with pytest.raises(RunError, match="shutting down"), requests.track():
            pass
    assert requests.close(0.0)
