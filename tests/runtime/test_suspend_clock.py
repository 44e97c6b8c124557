"""Time in which the process was suspended does not count."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from nerf_insert.runtime.progress import Progress
from nerf_insert.runtime.suspend_clock import ignore_suspended_time

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be suspended here")


class Clocks:
    """Wall and CPU time that the test turns."""

    def __init__(self):
        self.wall = self.cpu = 0.0

    def work(self, seconds, busy=1.0):
        self.wall, self.cpu = self.wall + seconds, self.cpu + busy * seconds


@pytest.fixture
def clocks():
    return Clocks()


@pytest.fixture
def progress(clocks):
    return Progress(clock=lambda: clocks.wall, cpu_clock=lambda: clocks.cpu)


def test_only_the_suspension_is_taken_off(clocks, progress):
    with ignore_suspended_time(progress):
        clocks.work(5)
        assert progress.now() == 5
        clocks.wall += 60  # suspended
        signal.raise_signal(signal.SIGCONT)
        assert progress.idle == 60 and progress.now() == 5
        clocks.work(2)
        with progress.task("x", total=2) as task:
            clocks.work(10, busy=0.0)  # waits for a GPU, or for another process
            task.advance()
            assert task.elapsed == 10
            clocks.wall += 7
            signal.raise_signal(signal.SIGCONT)
            clocks.work(1)
            assert task.elapsed == 11
    assert progress.now() == 5 + 2 + 10 + 1


def test_the_handler_is_gone_afterwards_and_other_threads_have_none(progress):
    before = signal.getsignal(signal.SIGCONT)
    with ignore_suspended_time(progress):
        assert signal.getsignal(signal.SIGCONT) is not before
    assert signal.getsignal(signal.SIGCONT) is before

    def elsewhere():
        with ignore_suspended_time(progress):
            seen.append(signal.getsignal(signal.SIGCONT))

    seen = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


SUSPENDED = """
import sys, time
from nerf_insert.runtime.progress import Progress
from nerf_insert.runtime.suspend_clock import ignore_suspended_time
progress = Progress()
with ignore_suspended_time(progress):
    began, clock = time.monotonic(), progress.now()
    print("working", flush=True)
    while time.monotonic() - began < 1.2:
        sum(range(1000)) if sys.argv[1] == "busy" else time.sleep(0.01)
        progress.check()
    print(time.monotonic() - began, progress.now() - clock)
"""


@pytest.mark.parametrize("how", ["busy", "waiting"])
def test_a_process_that_is_suspended_from_outside_notices(how):
    """As the page's Pause does: the process is not told when."""
    process = subprocess.Popen([sys.executable, "-c", SUSPENDED, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "working\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.7)
    process.send_signal(signal.SIGCONT)
    wall, counted = map(float, process.communicate(timeout=60)[0].split())
    assert 0.6 < wall - counted < wall - 0.2  # the pause, and not the work before and after it
