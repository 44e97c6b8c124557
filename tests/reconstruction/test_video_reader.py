"""Frames of a video: every codec, upright whatever the container says, at their own times."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import walks

from nerf_insert.errors import InputError
from nerf_insert.reconstruction.video_frames import measure_video
from nerf_insert.reconstruction.video_reader import decode, upright_gray, upright_rgb, video_info
from nerf_insert.runtime.progress import SILENT

CODECS = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "av1"}
MATRICES = {
    90: (0, 1, -1, 0),
    180: (-1, 0, 0, -1),
    270: (0, -1, 1, 0),
}  # clockwise turns for display, ISO 14496-12


def corners(width=160, height=96):
    """Red, green, blue, white in the four corners."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2], image[: height // 2, width // 2 :] = (255, 0, 0), (0, 255, 0)
    image[height // 2 :, : width // 2], image[height // 2 :, width // 2 :] = (0, 0, 255), (255, 255, 255)
    return image


def turned(path, degrees):
    """Write a turn into the track header, as phones do."""
    data = bytearray(Path(path).read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = MATRICES[degrees]
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    Path(path).write_bytes(data)
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_codecs_decode_to_the_colors_that_went_in(tmp_path, codec):
    path = walks.film(tmp_path / "a.mp4", [corners()] * 5, codec=codec)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == CODECS[codec]
    frames = list(decode(path))
    assert len(frames) == 5 and [time for time, _ in frames] == pytest.approx(
        np.arange(5) / walks.FPS, abs=1e-3
    )
    rgb = upright_rgb(frames[2][1], (160, 96)).astype(int)
    # chroma is stored at half size and quantized: away from the edges within a few levels
    assert np.abs(rgb - corners())[8:40, 8:72].max() < 12


@pytest.mark.parametrize("degrees", MATRICES)
def test_pictures_are_turned_as_the_container_says(tmp_path, degrees):
    path = turned(walks.film(tmp_path / "a.mp4", [corners()] * 3), degrees)
    wanted = np.rot90(corners(), -degrees // 90)
    info = video_info(path)
    assert info.size == (wanted.shape[1], wanted.shape[0])
    _, frame = next(iter(decode(path)))
    shown = upright_rgb(frame, info.size).astype(int)
    quarter = (slice(8, 24), slice(8, 24))
    for flip in (lambda a: a, lambda a: a[::-1], lambda a: a[:, ::-1]):
        assert np.abs(flip(shown)[quarter] - flip(wanted)[quarter]).max() < 12
    assert upright_gray(frame, 80).shape == tuple(n // 2 for n in wanted.shape[:2])


def test_a_variable_frame_rate_keeps_its_times(tmp_path):
    times = [0, 1, 5, 6, 20]
    path = walks.film(tmp_path / "a.mp4", [corners()] * 5, times=times)
    assert [time for time, _ in decode(path)] == pytest.approx(np.array(times) / walks.FPS, abs=1e-3)


def test_what_is_no_video_is_said(tmp_path):
    text, empty, sound = tmp_path / "text.mp4", tmp_path / "empty.mp4", tmp_path / "sound.mp4"
    text.write_text("this is a text file\n" * 50)
    empty.write_bytes(b"")
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    whole = walks.film(tmp_path / "whole.mp4", [corners()] * 5)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:200])
    for path, said in (
        (text, "not a video"),
        (empty, "not a video"),
        (sound, "only audio"),
        (cut, "cut.mp4"),
    ):
        with pytest.raises(InputError, match=said):
            video_info(path)


def still(count, value):
    return [np.full((96, 160, 3), value, np.uint8)] * count


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        (still(30, 0), "is black"),
        (still(2, 128), "has 2 frames"),
        (still(30, 200), "plain surface"),
        ([walks.picture(walks.arc(2)[0], (160, 96), 145)] * 30, "hardly moves"),
        (
            [walks.picture(walks.arc(9)[k], (160, 96), 145, other=k) for k in range(9)],
            "nothing can be followed",
        ),
    ],
)
def test_films_that_show_nothing_to_reconstruct_are_refused(tmp_path, pictures, said):
    path = walks.film(tmp_path / "a.mp4", pictures)
    with pytest.raises(InputError, match=said):
        measure_video(path, SILENT)


def test_a_panorama_is_refused(tmp_path):
    """Equirectangular: twice as wide as high, and its edges meet."""
    x = np.arange(192) / 192 * 2 * np.pi
    rows = 128 + 60 * np.sin(np.arange(96) / 7)
    image = (rows[:, None] + 40 * np.sin(3 * x)).round().clip(0, 255).astype(np.uint8)
    path = walks.film(tmp_path / "a.mp4", [np.repeat(image[..., None], 3, 2)] * 12)
    with pytest.raises(InputError, match="360-degree"):
        measure_video(path, SILENT)
