"""Gravity from a video's container, against tracks that the tests write byte by byte."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest
import walks
from known_up import UP, degrees, on_a_table, ring, solve

from nerf_insert.reconstruction.motion_track import MotionTrack, read_motion_track
from nerf_insert.reconstruction.up_direction import find_up

SCALE = 4096


def klv(key, kind, size, content):
    """GPMF: a key, the type of the values, the bytes of one, and all of them, filled up to four bytes."""
    head = key.encode() + struct.pack(">cBH", kind, size, len(content) // size)
    return head + content + bytes(-len(content) % 4)


def gopro(values, key="ACCL"):
    numbers = (np.asarray(values) * SCALE).round().astype(">i2").tobytes()
    name = klv("STNM", b"c", 1, b"Accelerometer")
    stream = name + klv("SCAL", b"s", 2, struct.pack(">h", SCALE)) + klv(key, b"s", 6, numbers)
    return klv("DEVC", b"\0", 1, klv("DVNM", b"c", 1, b"Camera") + klv("STRM", b"\0", 1, stream))


def camm(value):
    return struct.pack("<HHfff", 0, 3, *value)


def film(path, packets):
    """One second of gray at 10 frames a second, and packets (bytes, start, seconds)."""
    with av.open(str(path), "w") as container:
        video, data = container.add_stream("libx264", rate=10), container.add_data_stream("bin_data")
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        data.time_base = Fraction(1, 1000)
        for k in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * k, np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for content, start, seconds in packets:
            packet = av.Packet(content)
            packet.stream, packet.time_base = data, Fraction(1, 1000)
            packet.pts = packet.dts = round(1000 * start)
            packet.duration = round(1000 * seconds)
            container.mux(packet)
    return path


def test_a_gopro_knows_where_down_is(tmp_path):
    shaken = [(0.1 * (-1) ** k, -1, 0) for k in range(50)], [(0, 0, 1.0)] * 50
    path = film(tmp_path / "a.mp4", [(gopro(shaken[0]), 0, 0.5), (gopro(shaken[1]), 0.5, 0.5)])
    track = read_motion_track(path)
    assert track is not None and len(track.times) == 100
    assert track.gravity(0.2) == pytest.approx((0, -1, 0), abs=0.02)
    assert track.gravity(0.8) == pytest.approx((0, 0, 1), abs=0.02)
    assert track.gravity(7.0) is None


def test_gravity_is_taken_before_acceleration(tmp_path):
    both = gopro([(1, 0, 0)] * 4), gopro([(0, 1, 0)] * 4, "GRAV")
    track = read_motion_track(film(tmp_path / "a.mp4", [(both[0] + both[1], 0, 1.0)]))
    assert track is not None and track.gravity(0.5) == pytest.approx((0, 1, 0))


def test_camm_is_read(tmp_path):
    packets = [(camm((0.0, 9.6, 0.5)), k / 20, 0.05) for k in range(20)]
    track = read_motion_track(film(tmp_path / "a.mp4", packets))
    assert track is not None and track.gravity(0.5) == pytest.approx((0, 0.9986, 0.052), abs=1e-3)


OTHERS = [b"DEVC", gopro([(0, 1, 0)])[:-5], bytes(16), b"words", klv("DEVC", b"s", 16, bytes(16)),
          camm((float("nan"), 0, 0))]  # fmt: skip


@pytest.mark.parametrize("content", OTHERS, ids=range(len(OTHERS)))
def test_other_tracks_say_nothing(tmp_path, content):
    track = read_motion_track(film(tmp_path / "a.mp4", [(content, 0, 1.0)]))
    assert track is None or np.isfinite(track.values).all()


def test_a_camera_that_is_thrown_about_says_nothing():
    values = np.random.default_rng(0).normal(size=(50, 3))
    assert MotionTrack(np.linspace(0, 0.4, 50), values).gravity(0.2) is None


@pytest.mark.parametrize("axes", [[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, -1, 0], [0, 0, -1], [1, 0, 0]]])
def test_the_order_of_a_sensors_axes_is_found(axes):
    poses, _ = on_a_table()
    solution = solve(poses, np.random.default_rng(0).uniform(-0.6, 0.6, (200, 3)))
    hand = np.random.default_rng(3).normal(0, 0.05, (len(poses), 3))
    seen = zip(solution.names, solution.c2w, hand, strict=True)
    down = {n: tuple(np.array(axes) @ (pose[:, :3].T @ -UP + shake)) for n, pose, shake in seen}
    up = find_up(solution, down, axes_known=False)
    assert up.origin == "metadata" and degrees(up.direction, UP) < 1.5


def test_a_sensor_whose_axes_cannot_be_told_is_not_believed():
    """From one side, several orders of the axes agree with themselves and with how the cameras were held."""
    poses = [walks.look_at((0.1 * k, -1.5, 1.0), (0.1 * k, 0, 0.1)) for k in range(8)]
    solution = solve(poses, ring()[0][:, 3] + np.zeros((5, 3)))
    down = {n: tuple(pose[:, :3].T @ -UP) for n, pose in zip(solution.names, solution.c2w, strict=True)}
    assert find_up(solution, down, axes_known=False).origin == "cameras"
    assert find_up(solution, down).origin == "metadata"
