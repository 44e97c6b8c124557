"""Motion against shifts that are known, and the choice of frames against what it promises."""

import numpy as np
import pytest
import walks

from nerf_insert.reconstruction.frame_choice import FEW, MANY, STEP, choose_frames, share_frames
from nerf_insert.reconstruction.motion import RATE, Motion, follow, measure_motion

GRAY = walks.texture(3)[..., 1].round().astype(np.uint8)
DIAGONAL = float(np.hypot(200, 300))


def window(x, y=40, gain=1.0):
    return (GRAY[y : y + 200, x : x + 300] * gain).round().astype(np.uint8)


def steady(moved, sharpness=None, lost=()):
    n = len(moved)
    sharp = [1.0] * n if sharpness is None else list(sharpness)
    return Motion(
        list(np.arange(n) / RATE),
        list(moved),
        sharp,
        [0.5] * n,
        [0.2] * n,
        [0.0] * n,
        [k in lost for k in range(n)],
    )


@pytest.mark.parametrize("shift", [0, 3, 11])
def test_motion_is_the_shift(shift):
    moved, stops, lost = follow(window(60), window(60 + shift))
    assert not lost and moved * DIAGONAL == pytest.approx(shift, abs=0.1)  # Lucas-Kanade: a tenth of a pixel
    assert stops == pytest.approx(0, abs=0.05)


def test_exposure_is_measured_in_stops():
    """Half the linear light is 2 ** (-1 / 2.2) of the value."""
    _, stops, _ = follow(window(60), window(64, gain=2 ** (-0.5 / 2.2)))
    assert stops == pytest.approx(-0.5, abs=0.1)


def test_another_place_cannot_be_followed():
    other = walks.texture(8)[..., 1].round().astype(np.uint8)[:200, :300]
    assert follow(window(60), np.ascontiguousarray(other))[2]


def test_frames_are_measured_at_an_even_rate():
    times = np.arange(60) / 60  # a second of 60 frames a second
    motion = measure_motion((float(time), lambda k=k: window(20 + k)) for k, time in enumerate(times))
    assert len(motion) == RATE and np.allclose(np.diff(motion.times), 1 / RATE, atol=1e-3)
    assert np.array(motion.moved[1:]) * DIAGONAL == pytest.approx(5, abs=0.2)


def test_frames_lie_evenly_in_motion_and_not_in_time():
    """Slow, then at rest, then fast: the distances in motion are alike, and the rest gives one frame."""
    moved = [0.01] * 100 + [0.0] * 100 + [0.04] * 50
    choice = choose_frames(steady(moved), 40)
    way = np.cumsum(moved)[list(choice.indices)]
    assert 36 <= len(choice.indices) <= 40
    assert np.diff(way).min() > 0.3 * 3.0 / 40 and np.diff(way).max() < 2.2 * 3.0 / 40
    assert sum(100 <= index < 200 for index in choice.indices) <= 1


def test_each_stretch_gives_its_sharpest_frame():
    rng = np.random.default_rng(0)
    sharp = rng.uniform(0.1, 0.2, 200)
    sharp[5::10] = 10.0
    choice = choose_frames(steady([0.01] * 200, sharp), 20)
    assert all(index % 10 == 5 for index in choice.indices) and len(choice.indices) == 20


def test_blur_and_jumps_of_exposure_are_noticed():
    motion = steady([0.01] * 100)
    motion.sharpness[50:55] = [0.05] * 5
    motion.stops[72] = -1.0
    choice = choose_frames(motion, 20)
    assert [50 <= index < 55 for index in choice.blurred] == [True]
    assert len(choice.jumps) == 1 and 72 <= choice.jumps[0] <= 77


def test_the_number_follows_the_motion_within_limits():
    assert share_frames([steady([0.001] * 100)]) == [FEW]
    assert share_frames([steady([STEP] * 90)]) == [90]
    assert share_frames([steady([0.5] * 100)]) == [MANY]
    assert share_frames([steady([0.1] * 30), steady([0.1] * 10)], 80) == [60, 20]


def test_a_camera_that_hardly_moves_gives_no_copies():
    assert len(choose_frames(steady([0.0004] * 100), 60).indices) <= 10
