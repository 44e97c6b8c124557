"""Time left, pausing and stopping, by a clock that the tests turn."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from nerf_insert.errors import Stopped
from nerf_insert.runtime.eta import EtaEstimator
from nerf_insert.runtime.progress import Progress


class Clock(Progress):
    def __init__(self):
        super().__init__()
        self.time, self.seen = 0.0, []

    def now(self):
        return self.time

    def changed(self, task):
        self.seen.append((task.share, task.left))


def test_time_left_is_that_of_what_is_left():
    clock = Clock()
    outlook = EtaEstimator(clock, "all", {"pictures": 10, "steps": 100})
    with outlook:
        assert outlook.left is None
        with outlook.spending("pictures", 4):
            clock.time += 8
        assert outlook.left is None  # nothing is known of steps
        for _ in range(10):
            outlook.spent("steps", 1, 0.5)
        assert outlook.left == pytest.approx(6 * 2 + 90 * 0.5)
        outlook.skip("steps", 50)
        outlook.add("pictures", 3)
        assert outlook.left == pytest.approx(9 * 2 + 40 * 0.5)
    shares = [share for share, _ in clock.seen]
    assert shares == sorted(shares) and 0 < shares[-1] < 1


def test_the_latest_pace_counts():
    outlook = EtaEstimator(Clock(), "all", {"steps": 1000})
    for _ in range(100):
        outlook.spent("steps", 1, 1.0)
    for _ in range(100):
        outlook.spent("steps", 1, 0.1)
    assert outlook.left == pytest.approx(80)


def test_nothing_left_is_no_time():
    outlook = EtaEstimator(Clock(), "all", {"pictures": 2, "steps": 0})
    outlook.spent("pictures", 2, 3.0)
    assert outlook.left == 0 and outlook.done == pytest.approx(0.0)  # the clock stood still


def test_work_waits_while_it_is_paused_and_the_time_does_not_count():
    progress, reached = Progress(), []

    def work():
        with progress.task("x", total=3) as task:
            for step in range(3):
                task.advance(1)
                reached.append((step, task.elapsed))

    began = time.monotonic()
    progress.pause()
    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)
    assert reached == []  # it waits at its first report
    progress.resume()
    thread.join(timeout=30)
    wall = time.monotonic() - began
    assert [step for step, _ in reached] == [0, 1, 2]
    assert 0 < progress.idle < wall and reached[-1][1] <= wall - progress.idle


@pytest.mark.parametrize("paused", [False, True])
def test_stopping_ends_the_work_at_its_next_report(paused):
    progress, ended, busy = Progress(), [], threading.Event()

    def work():
        try:
            with progress.task("x", total=1e9) as task:
                while True:
                    task.advance(1)
                    busy.set()
        except Stopped:
            ended.append(task.done)

    if paused:
        progress.pause()
    thread = threading.Thread(target=work)
    thread.start()
    assert busy.wait(timeout=0.2 if paused else 30) != paused
    progress.stop()
    thread.join(timeout=30)
    assert not thread.is_alive() and len(ended) == 1
    assert not paused or ended[0] == 1


STANDING = """
import sys, time
from nerf_insert.cli.standstill import not_counted
from nerf_insert.progress import Progress
progress = Progress()
with not_counted(progress):
    began, clock = time.monotonic(), progress.now()
    print("working", flush=True)
    while time.monotonic() - began < 4:
        sum(range(1000)) if sys.argv[1] == "busy" else time.sleep(0.01)
    time.sleep(0.3)
    print(time.monotonic() - began, progress.now() - clock)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
@pytest.mark.parametrize("how", ["busy", "waiting"])
def test_time_in_which_the_process_stood_still_does_not_count(how):
    """Stopped from outside, as the page's Pause and Ctrl-Z do: neither is it told."""
    process = subprocess.Popen([sys.executable, "-c", STANDING, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "working\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGSTOP)
    time.sleep(2.5)
    process.send_signal(signal.SIGCONT)
    wall, counted = map(float, process.communicate(timeout=60)[0].split())
    assert 2 < wall - counted < wall - 0.5  # the pause, and not the work before and after it
