"""Files are there as a whole or untouched, whatever goes wrong, and messages name them. Video."""

import errno
import json
import math
import os

import av
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.errors import InputError, RunError
from nerf_insert.io import files
from nerf_insert.io.video import VideoWriter

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u0085\u2028\u2029\ufeff"))
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet="abc_é "), inner),
    max_leaves=8,
)


def litter(folder):
    return [name for name in os.listdir(folder) if ".tmp" in name]


def test_writing_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    files.atomic_write(path, "first")
    files.atomic_write(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file.txt"]


def test_a_written_file_has_the_permissions_of_any_other(tmp_path):
    """Temporary files are often private; others on the machine could not read what was rendered."""
    (tmp_path / "plain").write_text("x")
    files.atomic_write(tmp_path / "atomic", "x")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("broken", ["write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, broken, code):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    if broken == "write":
        monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    else:
        monkeypatch.setattr(os, broken, fail)
    with pytest.raises(RunError) as caught:
        files.atomic_write(path, "new")
    monkeypatch.undo()
    assert str(path) in str(caught.value) and "nothing that was there has been changed" in str(caught.value)
    assert "No space left" in str(caught.value) or code != errno.ENOSPC
    assert path.read_text() == "old"
    assert not litter(tmp_path)


def test_an_interruption_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as new:
        new.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and not litter(tmp_path)


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="file"):
        files.atomic_write(tmp_path / "file" / "inner", "y")


@settings(deadline=None)  # a busy machine is no failure
@given(PLAIN)
def test_json_and_yaml_give_back_what_they_got(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("plain")
    files.write_json(folder / "a.json", data)
    assert files.read_json(folder / "a.json") == data
    files.write_yaml(folder / "a.yaml", data)
    assert files.read_yaml(folder / "a.yaml") == data


def test_json_is_json_even_with_infinities(tmp_path):
    files.write_json(tmp_path / "a.json", {"psnr": [math.inf, math.nan, 30.5], "k": (1, 2)})
    strict = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert strict == {"psnr": [None, None, 30.5], "k": [1, 2]}


def test_tensors_come_back_to_the_last_bit(tmp_path):
    base = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    tensors = {
        "turned": base.T,
        "part": base[1:3],
        "half": base.half(),
        "count": torch.arange(3),
        "none": base[:0],
    }
    files.write_tensors(tmp_path / "a", tensors, {"format": "1"})
    found, metadata = files.read_tensors(tmp_path / "a")
    assert metadata == {"format": "1"}
    assert found.keys() == tensors.keys()
    assert all(found[key].dtype == t.dtype and torch.equal(found[key], t) for key, t in tensors.items())


READERS = {
    "json": (files.read_json, b'{"a": [1, 2]}'),
    "yaml": (files.read_yaml, b"a: [1, 2]\n"),
    "tensors": (files.read_tensors, None),
}


@pytest.mark.parametrize("kind", READERS)
def test_unreadable_files_are_named(tmp_path, kind):
    read, whole = READERS[kind]
    path = tmp_path / "input"
    if whole is None:
        files.write_tensors(path, {"x": torch.ones(100)})
        whole = path.read_bytes()
        path.unlink()
    with pytest.raises(InputError, match=r"there is no file .*input"):
        read(path)
    with pytest.raises(InputError, match="is a folder"):
        read(tmp_path)
    for content in (whole[:-4], b"\xff\xfe\x00{[}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="input"):
            read(path)


def test_json_errors_tell_the_line_and_a_cut_off_file(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{\n "a": 1,\n "b": oops\n}')
    with pytest.raises(InputError, match="line 3"):
        files.read_json(path)
    path.write_text('{"frames": [1, 2')
    with pytest.raises(InputError, match="cut off"):
        files.read_json(path)
    path.write_text("")
    with pytest.raises(InputError, match="empty"):
        files.read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError):
        files.read_json(path)


def test_a_yaml_key_that_comes_twice_is_refused_by_name_and_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 1\nregion:\n  size: 1\n  center: 2\n  size: 3\n")
    with pytest.raises(InputError, match=r"a\.yaml is not valid YAML: line 5: size is given twice"):
        files.read_yaml(path)
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\n")  # this is not twice
    assert files.read_yaml(path)["b"] == {"x": 3, "y": 2}


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(f"x: !!python/object/apply:os.mkdir ['{tmp_path}/made']")
    with pytest.raises(InputError, match=r"a\.yaml"):
        files.read_yaml(path)
    assert not (tmp_path / "made").exists()


def test_a_video_plays_back_in_its_colors(tmp_path):
    """Colors survive the way through BT.709 limited range to about two levels; motion is in order."""
    path = tmp_path / "odd.mp4"
    colors = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.2, 0.2, 0.9], [0.5, 0.5, 0.5]])
    with VideoWriter(path, 24, (33, 21), quality=1) as video:
        for color in colors:
            video.write(color.expand(21, 33, 3))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (34, 22)  # H.264 in yuv420p needs even sizes
        assert stream.codec_context.pix_fmt == "yuv420p" and stream.average_rate == 24
        frames = [
            f.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray() for f in container.decode(stream)
        ]
    assert len(frames) == 4
    for color, frame in zip(colors, frames, strict=True):
        assert abs(torch.from_numpy(frame).float() / 255 - color).max() < 3 / 255
    data = path.read_bytes()
    assert data.find(b"moov") < data.find(b"mdat")  # starts to play before all of it is there


def test_a_broken_off_video_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "a.mp4", 24, (16, 16)) as video:
        video.write(torch.zeros(16, 16, 3))
        _ = 1 / 0
    assert os.listdir(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"a\.mp4"), VideoWriter(tmp_path / "file" / "a.mp4", 24, (16, 16)):
        pass
    with (
        pytest.raises(ValueError, match="16x16"),
        VideoWriter(tmp_path / "a.mp4", 24, (16, 16)) as video,
    ):
        video.write(torch.zeros(8, 8, 3))


def test_file_names_that_are_not_unicode(tmp_path):
    """As Linux has them: they come as lone surrogates, and go through JSON and YAML unchanged."""
    data = {"path": "caf\udce9/a.png", "other": "caf\u00e9"}
    files.write_json(tmp_path / "a.json", data)
    assert files.read_json(tmp_path / "a.json") == data
    files.write_yaml(tmp_path / "a.yaml", data)
    assert files.read_yaml(tmp_path / "a.yaml") == data
