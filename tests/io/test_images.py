"""Pictures of every kind, against the numbers that were written."""

import os
import signal
import struct

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from nerf_insert.errors import InputError, InputWarning, warnings_to
from nerf_insert.io.images import (
    contact_sheet,
    exif_orientation,
    image_size,
    oriented_size,
    read_image,
    read_kept,
    read_mask,
    read_reference,
    read_upright,
    resize,
    write_image,
)

RANDOM = np.random.default_rng(0)
RGBA = RANDOM.integers(0, 256, (7, 11, 4), dtype=np.uint8)


def save(path, array, mode=None):
    picture = Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "channels"), [("RGB", slice(0, 3)), ("RGBA", slice(0, 4)), ("L", slice(0, 1)), ("LA", None)]
)
def test_eight_bits_come_back_exactly(tmp_path, mode, channels):
    array = RGBA[..., [0, 3]] if channels is None else RGBA[..., channels].squeeze()
    color, alpha = read_image(save(tmp_path / "a.png", array))
    wanted = torch.from_numpy(RGBA.astype(np.float32) / 255)
    gray = mode in ("L", "LA")
    assert torch.equal(color, wanted[..., :1].expand(-1, -1, 3) if gray else wanted[..., :3])
    assert (alpha is None) == ("A" not in mode)
    if alpha is not None:
        assert torch.equal(alpha, wanted[..., 3])


def test_sixteen_bits_keep_their_precision(tmp_path):
    array = RANDOM.integers(0, 65536, (7, 11), dtype=np.uint16)
    color, alpha = read_image(save(tmp_path / "a.png", array))
    assert alpha is None
    # exact but for the rounding to float32
    assert np.abs(color.numpy() - (array / 65535)[..., None]).max() < 1e-7


def test_one_bit_and_palette(tmp_path):
    bits = RGBA[..., 0] > 127
    color, _ = read_image(save(tmp_path / "bits.png", bits))
    assert torch.equal(color[..., 0] > 0.5, torch.from_numpy(bits))
    indexed = Image.fromarray((RGBA[..., 0] % 3).astype(np.uint8), "P")
    indexed.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    indexed.save(tmp_path / "p.png")
    color, alpha = read_image(tmp_path / "p.png")
    assert torch.equal(color, torch.eye(3)[torch.from_numpy(RGBA[..., 0] % 3).long()]) and alpha is None
    indexed.save(tmp_path / "t.png", transparency=1)
    _, alpha = read_image(tmp_path / "t.png")
    assert torch.equal(alpha == 0, torch.from_numpy(RGBA[..., 0] % 3 == 1))


def test_the_orientation_in_exif_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn me by 90 degrees"
    Image.fromarray(RGBA[..., :3]).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png")[0].shape == (7, 11, 3)


# Where the first row and the first column of the stored picture are in the upright one (EXIF 2.3, 4.6.4).
SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
UPRIGHT = RGBA[..., :3]  # 7 rows, 11 columns


def stored(tag):
    """UPRIGHT as a camera stores it, pixel by pixel from the standard's words."""
    first_row, first_column = SIDES[tag]
    turned = first_row in ("left", "right")
    height, width = UPRIGHT.shape[1::-1] if turned else UPRIGHT.shape[:2]
    found = np.zeros((height, width, 3), np.uint8)
    for row in range(height):
        for column in range(width):
            at = {first_row: row, first_column: column}
            y = at["top"] if "top" in at else UPRIGHT.shape[0] - 1 - at["bottom"]
            x = at["left"] if "left" in at else UPRIGHT.shape[1] - 1 - at["right"]
            found[row, column] = UPRIGHT[y, x]
    return found


@pytest.mark.parametrize("tag", SIDES)
def test_a_reference_is_seen_as_its_photographer_saw_it(tmp_path, tag):
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(stored(tag)).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_reference(tmp_path / "a.png"), torch.from_numpy(UPRIGHT.astype(np.float32) / 255))


@pytest.mark.parametrize("tag", SIDES)
def test_a_tiff_is_turned_where_it_is_asked_for_and_once(tmp_path, tag):
    """As any other photograph with the tag, though Pillow turns TIFFs on its own."""
    exif = Image.Exif()
    exif[0x0112] = tag
    file = tmp_path / "a.tif"
    Image.fromarray(stored(tag)).save(file, exif=exif)
    upright, turned = UPRIGHT.astype(np.float32) / 255, stored(tag).astype(np.float32) / 255
    assert np.array_equal(read_image(file)[0].numpy(), turned)
    assert np.array_equal(read_image(file, tag)[0].numpy(), upright)
    assert np.array_equal(read_upright(file)[0].numpy(), upright)
    assert image_size(file) == turned.shape[1::-1] and oriented_size(file) == upright.shape[1::-1]
    assert exif_orientation(file) == tag


def test_what_lies_under_transparency_is_never_seen(tmp_path):
    cut_out = np.zeros((100, 60, 4), np.uint8)
    cut_out[:] = (255, 0, 255, 0)  # magenta, as some programs leave it
    cut_out[30:70, 20:40] = (10, 200, 30, 255)
    seen = read_reference(save(tmp_path / "a.png", cut_out))
    assert seen.shape == (44, 24, 3)  # what is opaque, and 4 % of its height around it
    green = (seen - torch.tensor([10, 200, 30]) / 255).abs().amax(-1) < 1e-6
    assert green.sum() == 40 * 20 and bool((seen[~green] == 0.5).all())
    cut_out[..., 3] = 5
    with pytest.raises(InputError, match=r"a\.png is transparent all over"):
        read_reference(save(tmp_path / "a.png", cut_out))
    assert read_reference(save(tmp_path / "b.png", RGBA[..., :3])).shape == (7, 11, 3)


Y, X = np.mgrid[:48, :64]
SMOOTH = np.stack([4 * X, 5 * Y, 255 - 2 * X - 2 * Y], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),  # mean error in levels of 255: lossy codecs with half the color resolution
    [
        ("a.webp", "RGB", 4),
        ("a.heic", "RGB", 4),
        ("a.avif", "RGB", 4),
        ("a.tif", "RGB", 0),
        ("a.jp2", "RGB", 0),
        ("a.gif", "P", 12),  # 256 colors
        ("a.bmp", "RGB", 0),
        ("a.ppm", "RGB", 0),
        ("cmyk.tif", "CMYK", 0),  # of Pillow's own, without black
        ("a.jpg", "RGB", 4),
    ],
)
def test_every_common_format_is_read_whatever_its_suffix(tmp_path, name, mode, tolerance):
    import pillow_heif

    pillow_heif.register_heif_opener()
    picture = Image.fromarray(SMOOTH)
    (picture.quantize() if mode == "P" else picture.convert(mode)).save(tmp_path / name)
    odd = (tmp_path / name).rename(tmp_path / "photo.jpg")  # as phones and chat programs rename them
    error = np.abs(read_image(odd)[0].numpy() * 255 - SMOOTH).mean()
    assert error <= tolerance + 1e-4


def test_colors_come_through_the_files_profile(tmp_path):
    """A profile whose red is sRGB's green, and the other way round."""
    xyz = {"r": (0.3851, 0.7169, 0.0971), "g": (0.4361, 0.2225, 0.0139), "b": (0.1431, 0.0606, 0.7141)}
    fixed = lambda values: b"".join(struct.pack(">i", round(v * 65536)) for v in values)  # noqa: E731
    tags = {f"{c}XYZ".encode(): b"XYZ \0\0\0\0" + fixed(v) for c, v in xyz.items()}
    tags |= {
        f"{c}TRC".encode(): b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0" for c in "rgb"
    }
    tags[b"wtpt"] = b"XYZ \0\0\0\0" + fixed((0.9642, 1.0, 0.8249))
    table, data, start = b"", b"", 132 + 12 * len(tags)
    for tag, body in tags.items():
        table += tag + struct.pack(">II", start + len(data), len(body))
        data += body + b"\0" * (-len(body) % 4)
    head = struct.pack(
        ">I4xI4s4s4s12x4s24x", start + len(data), 0x02100000, b"mntr", b"RGB ", b"XYZ ", b"acsp"
    )
    head += struct.pack(">I", 0) + fixed((0.9642, 1.0, 0.8249))
    profile = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data
    Image.fromarray(SMOOTH).save(tmp_path / "a.png", icc_profile=profile)
    color, _ = read_upright(tmp_path / "a.png")
    swapped = SMOOTH[..., [1, 0, 2]].astype(np.float64) / 255
    # sRGB's curve and a power of 2.2 differ by up to 0.03
    assert np.abs(color.numpy() - swapped).max() < 0.04
    assert (
        np.abs(read_image(tmp_path / "a.png")[0].numpy() * 255 - SMOOTH).max() < 1e-4
    )  # photographs: as stored
    Image.fromarray(SMOOTH).save(
        tmp_path / "b.png", icc_profile=profile[:200]
    )  # damaged: as if there were none
    assert np.abs(read_upright(tmp_path / "b.png")[0].numpy() * 255 - SMOOTH).max() < 1e-4


def test_an_animation_is_said_to_be_one(tmp_path):
    pages = [Image.fromarray(np.roll(SMOOTH, 9 * k, 1)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.warns(InputWarning, match=r"a\.tif holds 3 images.*the first is used"):
        assert np.abs(read_reference(tmp_path / "a.tif").numpy() * 255 - SMOOTH).max() < 1e-4


@pytest.mark.parametrize(
    "data", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\0\0\2" + b"\0" * 60, b""]
)
def test_formats_that_run_programs_or_match_anything_are_not_tried(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png is not an image"):
        read_image(tmp_path / "a.png")


def test_unreadable_pictures_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no image .*gone\.png"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"text\.png is not an image"):
        read_image(tmp_path / "text.png")
    with pytest.raises(InputError, match="cannot read the image"):
        read_image(tmp_path)
    for name in ("cut.png", "cut.jpg"):
        big = RANDOM.integers(0, 256, (200, 200, 3), dtype=np.uint8)
        data = save(tmp_path / name, big).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=name):
            read_image(tmp_path / name)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")

    def give_up(*_):
        raise TimeoutError("it was opened")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(InputError, match=r"pipe\.jpg: it is a pipe or a device, not a file"):
            image_size(tmp_path / "pipe.jpg")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_picture_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    save(tmp_path / "bomb.png", RGBA)
    with pytest.raises(InputError, match=r"bomb\.png"):
        read_image(tmp_path / "bomb.png")


def test_written_pictures_round_to_the_nearest_level(tmp_path):
    picture = torch.rand(5, 9, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    write_image(tmp_path / "a.png", picture)
    found, alpha = read_image(tmp_path / "a.png")
    assert alpha is None and torch.allclose(found, picture.clamp(0, 1), atol=0.5 / 255 + 1e-6)
    mask = picture[..., 0] > 0.5
    write_image(tmp_path / "mask.png", mask)
    assert torch.equal(read_mask(tmp_path / "mask.png", (9, 5)), mask)


SHAPE = torch.zeros(20, 30, dtype=torch.bool)
SHAPE[5:12, 8:20] = True
WHITE = SHAPE.numpy().astype(np.uint8) * 255


def rgba(color, alpha):
    return np.concatenate([np.broadcast_to(color, (20, 30, 3)), alpha[..., None]], -1).astype(np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        WHITE,
        WHITE > 0,
        WHITE.astype(np.uint16) * 257,
        np.stack([WHITE] * 3, -1),
        rgba(WHITE[..., None], np.full_like(WHITE, 255)),  # white on black, opaque
        rgba(WHITE[..., None], WHITE),  # a white brush on transparency
        rgba((200, 30, 30), WHITE),  # a red brush
        rgba((0, 0, 0), WHITE),  # a black brush
        np.where(WHITE > 0, 129, 126).astype(np.uint8),  # just either side of half
    ],
    ids=["gray", "bits", "16 bit", "rgb", "opaque", "white brush", "red brush", "black brush", "half"],
)
def test_masks_are_read_the_way_they_were_meant(tmp_path, array):
    assert torch.equal(read_mask(save(tmp_path / "m.png", array), (30, 20)), SHAPE)


def labels(path, palette):
    """Zero outside SHAPE, 1 and 2 in it."""
    indexed = Image.fromarray(SHAPE.numpy() * (1 + np.arange(30) % 2).astype(np.uint8), "P")
    indexed.putpalette(palette)
    indexed.save(path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: save(path, WHITE // 255),
        lambda path: save(path, WHITE.astype(np.uint16)),
        lambda path: save(path, WHITE[..., None] * np.array([0, 1, 0], np.uint8)),
        lambda path: save(path, rgba(WHITE[..., None], np.full_like(WHITE, 255))),
        lambda path: save(path, rgba((255, 255, 255), WHITE)),
        lambda path: save(path, rgba((0, 0, 0), WHITE)),
        lambda path: save(
            path, rgba(WHITE[..., None], np.tile(np.where(np.arange(30) < 24, 255, 0), (20, 1)))
        ),
        lambda path: labels(path, [0, 0, 0, 128, 0, 0, 0, 128, 0]),
        lambda path: labels(path, [0] * 9),
    ],
    ids="one;16 bit;green;opaque;white alpha;black alpha;black and white;VOC;labels alone".split(";"),
)
def test_a_captures_mask_leaves_out_what_is_zero(tmp_path, write):
    write(tmp_path / "m.png")
    assert np.array_equal(read_kept(tmp_path / "m.png"), SHAPE.numpy())


def test_a_picture_cut_out_of_its_photograph_marks_all_that_is_left_of_it(tmp_path):
    """What cuts out objects saves them so; half of them, the bright half, was marked."""
    photograph = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    heard: list[str] = []
    with warnings_to(heard.append):
        assert torch.equal(read_mask(save(tmp_path / "m.png", rgba(photograph, WHITE)), (30, 20)), SHAPE)
    assert "all that is opaque of it is marked" in heard[0] and str(tmp_path / "m.png") in heard[0]
    black_and_white = rgba(WHITE[..., None], np.where(np.arange(30) < 24, 255, 0)[None].repeat(20, 0))
    assert torch.equal(read_mask(save(tmp_path / "m.png", black_and_white), (30, 20)), SHAPE)


@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_mask_is_turned_as_its_exif_data_says(tmp_path, turn):
    """Exported upright with a tag left over, or stored as the phone took it."""
    tag, back = [(3, 2), (6, 1), (8, 3)][turn]  # EXIF's "turn me", and the quarter turns that store it so
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(np.ascontiguousarray(np.rot90(WHITE, back))).save(tmp_path / "m.png", exif=exif)
    assert torch.equal(read_mask(tmp_path / "m.png", (30, 20)), SHAPE)
    if tag != 3:  # where only the stored pixels fit, they are meant
        Image.fromarray(WHITE).save(tmp_path / "n.png", exif=exif)
        assert torch.equal(read_mask(tmp_path / "n.png", (30, 20)), SHAPE)


def test_useless_masks_say_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match=r"m\.png is 30x20 pixels but its photograph is 60x40"):
        read_mask(save(tmp_path / "m.png", WHITE), (60, 40))
    with pytest.raises(InputError, match=r"m\.png is empty.*brightest value is 1 of 255"):
        read_mask(save(tmp_path / "m.png", WHITE // 255), (30, 20))
    with pytest.raises(InputError, match=r"m\.png is empty"):
        read_mask(save(tmp_path / "m.png", rgba((255, 255, 255), WHITE * 0)), (30, 20))
    with pytest.raises(InputError, match=r"m\.png covers the whole image"):
        read_mask(save(tmp_path / "m.png", WHITE * 0 + 255), (30, 20))
    with pytest.raises(InputError, match="no image"):
        read_mask(tmp_path / "gone.png", (30, 20))


def test_shrinking_keeps_the_mean_and_leaves_no_alias():
    stripes = (torch.arange(64) % 2).float().expand(64, 64)
    small = resize(stripes, (16, 8))
    assert small.shape == (8, 16)
    # point sampling would give 0 or 1; the triangle filter over 8 pixels ends within an eighth of half
    assert (small - 0.5).abs().max() < 0.13
    ramp = torch.linspace(0, 1, 64).expand(32, 64)[..., None].expand(-1, -1, 3)
    assert torch.allclose(resize(ramp, (32, 16))[:, 4:-4].mean(), torch.tensor(0.5), atol=1e-3)
    assert resize(ramp, (64, 32)) is ramp


def test_a_contact_sheet_shows_every_picture():
    red, green = torch.zeros(40, 60, 3), torch.zeros(30, 50, 3)
    red[..., 0], green[..., 1] = 1, 1
    sheet = contact_sheet([[("a red one", red), ("", green)], [("a mask", torch.ones(40, 60) > 2)]])
    assert ((sheet - torch.tensor([1.0, 0, 0])).abs().amax(-1) < 0.01).sum() == 40 * 60
    assert ((sheet - torch.tensor([0, 1.0, 0])).abs().amax(-1) < 0.01).sum() == 30 * 50
    assert (sheet.amax(-1) < 0.01).sum() >= 40 * 60
    unlabelled = contact_sheet([[("", red), ("", green)], [("", torch.ones(40, 60) > 2)]])
    assert sheet.shape == unlabelled.shape and (sheet < 0.5).sum() > (unlabelled < 0.5).sum()  # there is text
    assert contact_sheet([[("x", red)]], width=30).shape[1] == 30 + 12


def test_a_huge_comment_in_a_picture_is_an_input_error(tmp_path):
    """Pillow raises ValueError for text chunks beyond its limit."""
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 10), zip=True)
    Image.fromarray(RGBA).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(InputError, match=r"a\.png"):
        read_image(tmp_path / "a.png")
