"""Time left, by a clock that the tests turn."""

import pytest

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
    estimator = EtaEstimator(clock, "all", {"images": 10, "steps": 100})
    with estimator:
        assert estimator.left is None
        with estimator.spending("images", 4):
            clock.time += 8
        assert estimator.left is None  # nothing is known of steps
        for _ in range(10):
            estimator.spent("steps", 1, 0.5)
        assert estimator.left == pytest.approx(6 * 2 + 90 * 0.5)
        estimator.skip("steps", 50)
        estimator.add("images", 3)
        assert estimator.left == pytest.approx(9 * 2 + 40 * 0.5)
    shares = [share for share, _ in clock.seen]
    assert shares == sorted(shares) and 0 < shares[-1] < 1


def test_the_latest_pace_counts():
    estimator = EtaEstimator(Clock(), "all", {"steps": 1000})
    for _ in range(100):
        estimator.spent("steps", 1, 1.0)
    for _ in range(100):
        estimator.spent("steps", 1, 0.1)
    assert estimator.left == pytest.approx(80)


def test_nothing_left_is_no_time():
    estimator = EtaEstimator(Clock(), "all", {"images": 2, "steps": 0})
    estimator.spent("images", 2, 3.0)
    assert estimator.left == 0 and estimator.done == pytest.approx(0.0)  # the clock stood still


@pytest.mark.parametrize("compiling", [0.5, 20.0])
def test_nothing_is_said_before_the_warm_up_can_be_told_from_the_pace(compiling):
    """A first step that compiles for 20 seconds once made 5 hours of a training of two minutes."""
    clock = Clock()
    with clock.task("training", total=2000) as task:
        clock.time += compiling
        task.advance()
        assert task.left is None
        for _ in range(2000 // 20 - 2):
            clock.time += 0.06
            task.advance()
        assert task.left is None  # neither enough seconds nor enough steps
        for _ in range(120):
            clock.time += 0.06
            task.advance()
            assert task.left == pytest.approx((task.total - task.done) * 0.06) or task.done < 100


def test_slow_steps_tell_the_time_left_after_the_second():
    clock = Clock()
    with clock.task("images", total=200) as task:
        clock.time += 100
        task.advance()
        assert task.left is None
        clock.time += 30
        task.advance()
        assert task.left == pytest.approx(198 * 30)


def test_a_resumed_task_measures_its_own_steps_only():
    clock = Clock()
    with clock.task("training", total=1000, done=900) as task:
        for _ in range(6):
            clock.time += 2.0
            task.advance()
        assert task.left == pytest.approx(94 * 2.0)


def test_an_estimate_over_kinds_waits_for_enough_of_each():
    clock = Clock()
    estimator = EtaEstimator(clock, "all", {"rays": 10, "steps": 1000})
    estimator.spent("rays", 5, 4.0)  # half of them: enough, with one piece
    estimator.spent("steps", 1, 30.0)  # compiles
    assert estimator.left is None
    for _ in range(60):
        estimator.spent("steps", 1, 0.2)
    assert estimator.left == pytest.approx(5 * 0.8 + 939 * 0.2)
