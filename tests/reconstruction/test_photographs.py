"""Photographs as cameras write them: upright, in sRGB, with what their metadata says."""

import io
import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps
from PIL.ExifTags import IFD, Base

from nerf_insert.errors import InputError
from nerf_insert.reconstruction import exif
from nerf_insert.reconstruction.photographs import import_photographs
from nerf_insert.reconstruction.sources import find_source
from nerf_insert.reconstruction.working_size import fit_size, pixel_limit
from nerf_insert.runtime.progress import SILENT, Progress

pillow_heif.register_heif_opener()  # to write HEIC


class Notes(Progress):
    def __init__(self):
        super().__init__()
        self.said, self.warned = [], []

    def say(self, text):
        self.said.append(text)

    def warn(self, text):
        self.warned.append(text)


def gradient(width=96, height=72, seed=0):
    """Different in every corner."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([255 * x / width, 255 * y / height, np.full(x.shape, 40 + 20 * seed)], -1)
    return Image.fromarray(image.astype(np.uint8))


def imported(folder, tmp_path, megapixels=0.0, progress=SILENT):
    source = find_source(folder, tmp_path / "unpacked")
    return import_photographs(source, tmp_path / "capture", megapixels, progress)


def pixels(tmp_path, photograph):
    return np.asarray(Image.open(tmp_path / "capture" / photograph.name).convert("RGB")).astype(int)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_ends_upright(tmp_path, orientation):
    """Stored so that Pillow's own transposition brings it back; what is written needs no tag."""
    upright = gradient()
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]  # of Image.Transpose
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    metadata = Image.Exif()
    metadata[Base.Orientation] = orientation
    stored_bytes = io.BytesIO()
    stored.save(stored_bytes, "PNG", exif=metadata)
    assert ImageOps.exif_transpose(Image.open(stored_bytes)).tobytes() == upright.tobytes()
    (tmp_path / "in").mkdir()
    for k in range(3):  # not copies of each other
        stored.putpixel((0, 0), (k, 0, 0))
        stored.save(tmp_path / "in" / f"{k}.png", exif=metadata)
    found = imported(tmp_path / "in", tmp_path)
    assert found[0].size == (96, 72)
    shown = pixels(tmp_path, found[1])
    assert np.abs(shown - np.asarray(upright).astype(int))[2:-2, 2:-2].max() <= 12  # JPEG at quality 95
    assert not Image.open(tmp_path / "capture" / found[0].name).getexif()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "heic", "mpo", "bmp"])
def test_every_format_is_read(tmp_path, suffix):
    (tmp_path / "in").mkdir()
    for k in range(3):
        options = {"save_all": True, "append_images": [gradient(seed=9)]} if suffix == "mpo" else {}
        options |= {"quality": 95} if suffix in ("jpg", "webp", "heic", "mpo") else {}
        gradient(seed=k).save(tmp_path / "in" / f"{k}.{suffix}", **options)
    found = imported(tmp_path / "in", tmp_path)
    assert [photograph.source for photograph in found] == [f"{k}.{suffix}" for k in range(3)]
    # twice lossy, with halved chroma in some formats
    assert np.abs(pixels(tmp_path, found[2]) - np.asarray(gradient(seed=2)).astype(int)).mean() < 4


def test_sixteen_bits_and_transparency(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(2):
        Image.fromarray(np.full((72, 96), 30000 + 1000 * k, np.uint16)).save(tmp_path / "in" / f"{k}.tiff")
    clear = gradient().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 100))
    clear.save(tmp_path / "in" / "2.png")
    found = imported(tmp_path / "in", tmp_path)
    assert pixels(tmp_path, found[0]).mean() == pytest.approx(30000 / 257, abs=1)
    assert found[2].name.endswith(".png") and Image.open(tmp_path / "capture" / found[2].name).mode == "RGBA"


def test_what_cannot_be_used_is_left_out_and_said(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(3):
        gradient(seed=k).save(tmp_path / "in" / f"{k}.jpg")
    (tmp_path / "in" / "copy.jpg").write_bytes((tmp_path / "in" / "0.jpg").read_bytes())
    gradient(400, 100).save(tmp_path / "in" / "pano.jpg")
    (tmp_path / "in" / "torn.jpg").write_bytes((tmp_path / "in" / "1.jpg").read_bytes()[:500])
    (tmp_path / "in" / "text.jpg").write_text("no picture")
    notes = Notes()
    assert len(imported(tmp_path / "in", tmp_path, progress=notes)) == 3
    assert notes.warned[0].startswith("4 photographs are left out") and "copy" in notes.warned[0]
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (tmp_path / "in" / name).unlink()
    with pytest.raises(InputError, match=r"has 1 photographs that can be used.*panorama"):
        imported(tmp_path / "in", tmp_path)


def test_large_photographs_are_scaled_and_it_is_said(tmp_path):
    (tmp_path / "in").mkdir()
    for k in range(3):
        gradient(400, 300, seed=k).save(tmp_path / "in" / f"{k}.jpg")
    notes = Notes()
    assert imported(tmp_path / "in", tmp_path, 0.03, notes)[0].size == (200, 150)
    assert notes.said == ["the photographs are scaled from 400x300 to 200x150 pixels"]
    assert imported(tmp_path / "in", tmp_path)[0].size == (400, 300)


def test_the_size_follows_the_memory(monkeypatch):
    import psutil

    class Memory:
        available = 8 << 30

    monkeypatch.setattr(psutil, "virtual_memory", lambda: Memory)
    assert pixel_limit(60) == 1.0e6 and pixel_limit(60, 0) == float("inf") and pixel_limit(60, 3) == 3e6
    assert pixel_limit(1000) == pytest.approx((8 << 30) / 4 / 24 / 1000)
    width, height = fit_size((4000, 3000), 1e6)
    assert width * height == pytest.approx(1e6, rel=2e-3) and width / height == pytest.approx(4 / 3, rel=2e-3)


def tagged(make="Apple", model="iPhone 15", lens="back camera 6.8mm", equivalent=24, maker=None):
    metadata = Image.Exif()
    metadata[Base.Make], metadata[Base.Model], metadata[Base.Orientation] = make, model, 6
    details = metadata.get_ifd(IFD.Exif)
    details[Base.LensModel], details[Base.FocalLengthIn35mmFilm] = lens, equivalent
    if maker:
        details[Base.MakerNote] = maker
    return metadata


def apple_note(x, y, z):
    """An Apple maker note whose one entry is the acceleration, big-endian."""
    head = b"Apple iOS\0\0\1MM" + struct.pack(">H", 1)
    entry = struct.pack(">HHII", 8, 10, 3, len(head) + 16)
    values = [value for axis in (x, y, z) for value in (round(axis * 10000), 10000)]
    return head + entry + b"\0\0\0\0" + struct.pack(">6i", *values)


def test_lenses_are_told_apart():
    size = (3000, 4000)
    assert exif.lens_key(tagged(), size) == exif.lens_key(tagged(), size)
    others = [tagged(lens="front"), tagged(equivalent=48), tagged(model="iPhone 12")]
    assert all(exif.lens_key(other, size) != exif.lens_key(tagged(), size) for other in others)
    assert exif.lens_key(tagged(), (4000, 3000)) != exif.lens_key(tagged(), size)


def test_the_focal_length_is_that_of_its_equivalent():
    """24 mm on 36x24 sees 2 atan(43.27 / 48) across the diagonal."""
    focal = exif.focal_length(tagged(), (3000, 4000))
    assert 2 * np.arctan(5000 / 2 / focal) == pytest.approx(2 * np.arctan(np.hypot(36, 24) / 48))
    assert exif.focal_length(tagged(equivalent=0), (3000, 4000)) is None


def test_gravity_of_a_phone_held_upright_and_tilted_down():
    """Upright, a phone's y axis points up: at rest its accelerometer reads (0, -1, 0). Tilted forward by 30
    degrees, so that its back camera looks down, the face turns up and gravity points into it."""
    assert exif.gravity(tagged(maker=apple_note(0, -1, 0)), "") == pytest.approx((0, -1, 0))
    s, c = np.sin(np.pi / 6), np.cos(np.pi / 6)
    assert exif.gravity(tagged(maker=apple_note(0, -c, -s)), "") == pytest.approx((0, -c, -s), abs=1e-4)
    assert exif.gravity(tagged(maker=b"Apple iOS\0\0\1MM\0\1"), "") is None  # cut off


def test_gravity_of_a_gimbal():
    xmp = 'drone-dji:GimbalPitchDegree="-90.00" drone-dji:GimbalRollDegree="+0.00"'
    assert exif.gravity(Image.Exif(), xmp) == pytest.approx((0, 0, -1), abs=1e-9)
    assert exif.gravity(Image.Exif(), xmp.replace("-90", "0")) == pytest.approx((0, -1, 0), abs=1e-9)


def test_a_panorama_says_so():
    assert exif.is_panorama('GPano:ProjectionType="equirectangular"') and not exif.is_panorama("<x/>")
