"""What is learned from around the painted part: known changes of a photograph, and nothing from garbage."""

import pytest
import torch
from waved_pictures import SIZE, pixels, places, texture, true_colors

from nerf_insert.io.images import to_uint8
from nerf_insert.training.robust_fit import clip_alike, fit_color, recolor
from nerf_insert.training.surroundings import compare_surroundings
from nerf_insert.training.view_corrections import CorrectionOptions, ViewCorrections

GAIN, OFFSET = torch.tensor([1.2, 0.8, 1.1]), torch.tensor([-0.06, 0.05, 0.02])


def hole(margin=14):
    """The part that is painted: all but a broad border."""
    x, y = places()
    return (x >= margin) & (x < SIZE[0] - margin) & (y >= margin) & (y < SIZE[1] - margin)


def photograph():
    return 0.15 + 0.6 * texture(*places())


def tinted(image):
    return image * GAIN + OFFSET


def compared(painted, mask=None):
    mask = hole() if mask is None else mask
    return compare_surroundings(to_uint8(painted.clamp(0, 1)), to_uint8(photograph()), mask)


def test_a_tinted_photograph_is_recognized_outside_the_mask_alone():
    found = compared(tinted(photograph()))
    assert found is not None and len(found.xy) >= 100
    assert not bool(hole()[found.xy[:, 1], found.xy[:, 0]].any())


@pytest.mark.parametrize(
    "painted",
    [
        pytest.param(photograph(), id="the photograph, pasted"),
        pytest.param(torch.zeros_like(photograph()), id="black"),
        pytest.param(torch.full_like(photograph(), 0.5), id="gray"),
        pytest.param(1 - photograph(), id="a negative"),
        pytest.param(photograph().flip(0, 1), id="upside down"),
        pytest.param(torch.rand(SIZE[1], SIZE[0], 3, generator=torch.Generator().manual_seed(0)), id="noise"),
    ],
)
def test_nothing_is_learned_from(painted):
    assert compared(painted) is None


def test_nothing_is_learned_where_nothing_is_around():
    assert compared(tinted(photograph()), torch.ones_like(hole())) is None
    assert compared(tinted(photograph()), torch.zeros_like(hole())) is None


def corrections(paintings, around=True):
    """Corrections of images that show, in the hole, what `texture` shows, and the photograph around it."""
    found = {v: there for v, image in enumerate(paintings) if (there := compared(image)) is not None}
    picked = hole().reshape(-1).repeat(len(paintings)).nonzero()[:, 0]
    options = CorrectionOptions(color=True, warp=True, weights=False)
    images = [image.clamp(0, 1) for image in paintings]
    return ViewCorrections(pixels(images), picked, options, around=found if around else None)


def with_thing(change):
    """What an inpainter that changes whole images in this way returns."""
    thing = 0.2 + 0.5 * texture(*places())
    return change(torch.where(hole()[..., None], thing, photograph()))


def moved_by(dx, dy):
    """The change that shows at each place what was at another."""
    x, y = places()
    inside = (x + dx >= 14) & (x + dx < SIZE[0] - 14) & (y + dy >= 14) & (y + dy < SIZE[1] - 14)
    before = 0.15 + 0.6 * texture(x + dx, y + dy), 0.2 + 0.5 * texture(x + dx, y + dy)
    return torch.where(inside[..., None], before[1], before[0])


def test_colors_and_place_are_known_before_anything_is_rendered():
    """The surroundings alone tell both; the absolute color and place, too, which no mean of views does."""
    found = corrections([with_thing(tinted), moved_by(1.2, -0.8)])
    thing = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    # The prior holds a gain back: 0.02 against the photograph's mean square of 0.2 is a tenth of 0.2, at a
    # distance of up to 0.4 from the photograph's mean color
    assert float((recolor(found.color[0], thing) - tinted(thing)).abs().max()) < 0.02
    mine = found.view == 1
    xy = found.xy[mine].float()
    move = found.evidence[1].crop.displacement(xy, found.warp[1])
    # 1.4 pixels; a tenth is held back by the prior, and at the hole's far side nothing is seen
    assert float((move - torch.tensor([-1.2, 0.8])).norm(dim=1).mean()) < 0.35


@pytest.mark.parametrize("told", [True, False])
def test_what_is_around_counts_only_while_it_foretells_the_inside(told):
    """One kind of model tints whole images, another one the painted part alone."""
    gains = torch.linspace(0.8, 1.2, 9)
    thing, before = 0.2 + 0.5 * texture(*places()), photograph()
    # Around, the other kind shows slight changes that have nothing to do with those inside.
    outside = [gain if told else 1.1 - 0.5 * (gain - 1) for gain in gains]
    images = [
        torch.where(hole()[..., None], gain * thing, other * before)
        for gain, other in zip(gains, outside, strict=True)
    ]
    found = corrections(images)
    shown = (0.2 + 0.5 * true_colors(found))[found.sampled]
    for _ in range(4):
        found.revise(shown)
    assert found.around_tells["color"] is told
    got = found.color[:, range(3), range(3)].mean(1)
    if not told:
        got = got * gains.mean() / got.mean()
    # The prior takes a tenth of a gain's distance from 1, or less, and puts it into offsets
    assert float((got - gains).abs().max()) < 0.05


def test_clipped_pixels_contradict_no_brighter_layer():
    shown = torch.tensor([[1.3, 0.5, 0.5], [0.5, -0.2, 0.5], [0.9, 0.5, 1.2]])
    image = torch.tensor([[1.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.9, 0.5, 0.8]])
    expected = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0, 0.4]])
    torch.testing.assert_close(clip_alike(shown, image) - image, expected)


def test_a_gain_is_found_though_the_image_is_clipped():
    """As of the half of the pixels that are not; with those that are, it would come out a tenth too low."""
    shown = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    target = (1.5 * shown).clamp(0, 1)
    gain = fit_color(shown, target)[range(3), range(3)]
    # Held back by the prior: 0.02 against a mean square of about a ninth, and an offset makes up for it
    assert float((gain - 1.5).abs().max()) < 0.12
