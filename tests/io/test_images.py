"""Pictures of every kind, against the numbers that were written."""

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from nerf_insert.errors import InputError
from nerf_insert.io.images import contact_sheet, read_image, read_mask, resize, write_image

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
