"""What people bring: found, or refused with the right sentence."""

import stat
import zipfile

import pytest
from PIL import Image

from nerf_insert.errors import InputError, InputWarning
from nerf_insert.io import archives
from nerf_insert.reconstruction.make import is_source
from nerf_insert.reconstruction.sources import find_source, holds_photographs
from nerf_insert.reconstruction.zipped_capture import holds_poses, unpack_capture


def photographs(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith((".mov", ".mp4", ".cr2")):
            (folder / name).write_bytes(b"0")
        else:
            Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def zipped(path, files, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refused(path, tmp_path):
    with pytest.raises(InputError) as caught:
        find_source(path, tmp_path / "unpacked")
    return str(caught.value)


def test_photographs_come_in_natural_order_without_what_is_hidden(tmp_path):
    names = ("img_10.jpg", "img_9.jpg", "b/img_1.png", ".hidden.jpg", "masks/img_9.png", "__MACOSX/img_9.jpg")
    source = find_source(photographs(tmp_path / "in", *names), tmp_path / "unpacked")
    found = [file.relative_to(tmp_path / "in").as_posix() for file in source.files]
    assert source.kind == "photographs" and found == ["b/img_1.png", "img_9.jpg", "img_10.jpg"]


def test_the_moving_part_of_live_photographs_is_no_video(tmp_path):
    folder = photographs(tmp_path / "in", "a.jpg", "b.jpg", "c.jpg", "a.mov", "walk.mp4", "raw.cr2")
    source = find_source(folder, tmp_path / "unpacked")
    assert source.kind == "photographs" and len(source.files) == 3
    assert (
        "1 raw photographs" in source.notes[0] and "1 videos" in source.notes[1] and "walk" in source.notes[1]
    )


def test_a_folder_with_a_video_is_the_video(tmp_path):
    source = find_source(photographs(tmp_path / "in", "walk.mp4", "cover.jpg"), tmp_path / "unpacked")
    assert source.kind == "video" and [file.name for file in source.files] == ["walk.mp4"]


def test_a_zip_is_its_folder(tmp_path):
    folder = photographs(tmp_path / "in", "a.png", "b.png", "c.png")
    files = {f"walk/{file.name}": file.read_bytes() for file in folder.iterdir()} | {"walk/notes.txt": b"x"}
    source = find_source(zipped(tmp_path / "walk.zip", files), tmp_path / "unpacked")
    assert [file.name for file in source.files] == ["a.png", "b.png", "c.png"]
    assert source.path == tmp_path / "walk.zip" and source.notes == ()
    source = find_source(zipped(tmp_path / "b.zip", files | {"walk/more.zip": b"x"}), tmp_path / "unpacked 2")
    assert "1 files of b.zip are of other kinds and left out: walk/more.zip" in source.notes[0]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: photographs(p / "in", "a.jpg", "b.jpg"), "holds 2 photographs"),
        (lambda p: (p / "in").mkdir() or p / "in", "holds no photographs"),
        (lambda p: photographs(p, "a.jpg") / "a.jpg", "is one photograph"),
        (lambda p: photographs(p, "a.cr2") / "a.cr2", "export JPEG"),
        (lambda p: (p / "a.txt").write_text("x") and p / "a.txt", "is no video"),
        (lambda p: p / "nowhere.mp4", "there is no video or folder"),
        (
            lambda p: zipped(p / "a.zip", {"transforms.json": "{}", "a.jpg": b"1"}),
            "holds camera poses already",
        ),
        (
            lambda p: zipped(
                p / "a.zip", {"x/c.xml": "<document><chunk></chunk></document>", "x/a.jpg": b"1"}
            ),
            "holds camera poses already (metashape, in x)",
        ),
        (lambda p: (p / "a.zip").write_text("no zip at all") and p / "a.zip", "cannot be unpacked"),
        (lambda p: zipped(p / "a.zip", {"../../a.jpg": b"1"}), "points out of its own folder"),
        (lambda p: zipped(p / "a.zip", {"a.jpg": b"\0" * (80 << 20)}), "times its size"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, make, said):
    assert said in refused(make(tmp_path), tmp_path)


def test_a_damaged_zip_is_refused(tmp_path):
    """Every byte in turn of what the compressed data begin with, where decompressors fail in several ways."""
    data = zipped(tmp_path / "a.zip", {"a.txt": b"all work and no play " * 40}).read_bytes()
    start = data.index(b"a.txt") + 5
    for at in range(start, start + 24):
        (tmp_path / "b.zip").write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        assert "cannot be unpacked" in refused(tmp_path / "b.zip", tmp_path)
    (tmp_path / "c.zip").write_bytes(data.replace(b"a.txt", b"\0.txt"))  # a name that ends before it begins
    assert "c.zip" in refused(tmp_path / "c.zip", tmp_path)


def test_links_and_many_files_in_a_zip_are_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        link = zipfile.ZipInfo("a.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert "points out" in refused(tmp_path / "link.zip", tmp_path)
    monkeypatch.setattr(archives, "MAX_FILES", 2)
    assert "at most 2" in refused(
        zipped(tmp_path / "many.zip", dict.fromkeys(("a.jpg", "b.jpg", "c.jpg"), b"1")), tmp_path
    )


def test_a_zip_of_a_capture_is_told_from_one_of_photographs(tmp_path):
    photos = {f"walk/images/{k}.jpg": b"1" for k in "abc"}
    for number, (files, posed) in enumerate(
        [
            (photos, False),
            (photos | {"walk/notes.json": b"{}"}, False),
            (photos | {"walk/transforms.json": b"{}"}, True),
            ({name.replace("/", "\\"): data for name, data in photos.items()}, False),
            ({"walk\\images\\a.jpg": b"1", "walk\\transforms.json": b"{}"}, True),
            (photos | {"__MACOSX/walk/._transforms.json": b"x"}, False),
            (photos | {f"walk/sparse/0/{name}.txt": b"" for name in ("cameras", "images")}, True),
            (photos | {"walk/c.xml": b"<document><chunk></chunk></document>"}, True),
        ]
    ):
        file = zipped(tmp_path / f"{number}.zip", files)
        assert holds_poses(file) == posed and is_source(file) != posed, files
    with pytest.raises(InputError, match=r"no\.zip cannot be unpacked"):
        (tmp_path / "no.zip").write_bytes(b"PK") and is_source(tmp_path / "no.zip")


def test_a_zip_is_unpacked_once_and_anew_when_it_changes(tmp_path):
    files = {"walk/transforms.json": b"{}", "walk/a.jpg": b"1", "walk/prog.exe": b"1"}
    file, home = zipped(tmp_path / "a.zip", files), tmp_path / "scene" / "capture"
    with pytest.warns(InputWarning, match="1 files are left out, .*: walk/prog.exe"):
        assert unpack_capture(file, home) == home
    (home / "walk" / "a.jpg").write_bytes(b"2")
    assert unpack_capture(file, home) == home and (home / "walk" / "a.jpg").read_bytes() == b"2"
    zipped(file, {"transforms.json": b"{}"})
    unpack_capture(file, home)
    assert sorted(path.name for path in home.rglob("*")) == ["transforms.json", "unpacked.json"]
    with pytest.raises(InputError, match="cannot be unpacked"):
        (tmp_path / "b.zip").write_bytes(b"PK") and unpack_capture(tmp_path / "b.zip", tmp_path / "b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "keep.txt").write_text("x")
    with pytest.raises(InputError, match="holds something else"):
        unpack_capture(file, tmp_path / "mine")
    assert [path.name for path in tmp_path.iterdir() if "unpacking" in path.name or path.name == "b"] == []


def test_holds_photographs(tmp_path):
    folder = photographs(tmp_path / "in", "deep/a.jpg")
    assert holds_photographs(folder) and not holds_photographs(folder / "deep" / "a.jpg")
    assert not holds_photographs(tmp_path / "nowhere") and not holds_photographs(tmp_path / "unpacked")
