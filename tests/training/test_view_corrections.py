"""Corrections: each finds what was done to pictures in closed form, and nothing where nothing was done."""

import math

import numpy as np
import pytest
import torch
from analytic import look_at
from waved_pictures import SIZE, pixels, places, texture, true_colors

from nerf_insert.training import image_warp
from nerf_insert.training.robust_fit import fit_color, recolor, view_trust
from nerf_insert.training.view_corrections import CorrectionOptions, ViewCorrections, view_motions


def chosen(count, margin=6):
    """All pixels of all views but for those near the border."""
    x, y = places()
    inside = (x >= margin) & (x < SIZE[0] - margin) & (y >= margin) & (y < SIZE[1] - margin)
    return torch.cat([inside.reshape(-1)] * count).nonzero()[:, 0]


def revised(pictures, corrections, times=4, motions=None):
    """Corrections of pictures, of which the layer shows the undisturbed texture."""
    agree = ViewCorrections(pixels(pictures), chosen(len(pictures)), corrections, motions)
    for _ in range(times):
        agree.revise(true_colors(agree)[agree.sampled])
    return agree


NONE = CorrectionOptions(False, False, False)


def test_without_corrections_the_loss_is_hubers():
    pictures = [texture(*places())] * 3
    agree = ViewCorrections(pixels(pictures), chosen(3), NONE)
    batch = torch.randint(len(agree.view), (500,), generator=torch.Generator().manual_seed(0))
    shown = torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    wanted = pixels(pictures).rgba(chosen(3))[0][batch]
    plain = torch.nn.functional.huber_loss(shown, wanted, delta=0.1)
    torch.testing.assert_close(agree.loss(shown, batch, 0.1), plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("outliers", [0.0, 0.15])
def test_a_change_of_color_is_found(outliers):
    generator = torch.Generator().manual_seed(0)
    shown = torch.rand(4000, 3, generator=generator)
    change = torch.tensor([[1.2, 0.0, 0.0, -0.05], [0.0, 0.8, 0.0, 0.1], [0.0, 0.0, 1.05, 0.02]])
    target = recolor(change, shown)
    wrong = torch.rand(4000, generator=generator) < outliers
    target[wrong] = torch.rand(int(wrong.sum()), 3, generator=generator)
    found = fit_color(shown, target)
    # A gain of 0.2 is held back by a fifth (0.02 against a variance of 1/12), at half a unit from the mean
    assert float((recolor(found, shown) - recolor(change, shown)).abs().max()) < 0.04 + 0.1 * outliers


def test_something_else_is_not_explained_by_a_change_of_color():
    """One color would explain an image of another thing, with all gains at 0: that is no change of color."""
    generator = torch.Generator().manual_seed(0)
    shown = torch.rand(4000, 3, generator=generator)
    target = torch.tensor([0.1, 0.9, 0.2]).expand(4000, 3)
    found = fit_color(shown, target)
    assert float((found - torch.eye(3, 4)).abs().max()) <= 0.45 + 1e-6  # three times a usual gain
    left = (recolor(found, shown) - target).abs().mean()
    assert float(left) > 0.4 * float((shown - target).abs().mean())


def test_equal_views_are_trusted_alike():
    assert bool((view_trust(torch.full((20,), 0.03)) == 1).all())
    errors = 0.03 * torch.linspace(0.9, 1.1, 20)
    assert bool((view_trust(errors) == 1).all())


@pytest.mark.parametrize("scale", [0.01, 0.1])
def test_views_that_are_far_off_are_not_trusted(scale):
    errors = scale * torch.linspace(0.9, 1.1, 20)
    errors[::5] *= 4
    trust = view_trust(errors)
    assert bool((trust[::5] == 0).all()) and int((trust == 1).sum()) == 16
    more = view_trust(torch.cat([errors[:1] * f for f in torch.linspace(0.2, 2, 10)] + [errors]))
    assert bool((more[:10].diff() <= 0).all())  # never more trust for a larger error


def test_a_minority_that_is_not_much_worse_is_told_apart():
    """Fourteen of 48 views err twice as much: far more than the others ever do (normal, 12 %)."""
    logs = 0.12 * torch.distributions.Normal(0, 1).icdf((torch.arange(34) + 0.5) / 34)
    wrong = torch.full((14,), math.log(2.0))
    trust = view_trust(0.2 * torch.cat([logs, wrong]).exp())
    assert float(trust[34:].max()) < 0.5
    assert float(trust[:34].min()) > 0.9


def test_where_many_views_contradict_none_is_to_blame():
    """Five of twelve, twice as far off: nobody knows which of them are right."""
    trust = view_trust(torch.tensor([0.1] * 7 + [0.2] * 5))
    assert bool((trust == 1).all())


def test_a_warp_is_found():
    """A shift and a stretch, to a tenth of a pixel where the picture tells."""
    x, y = places()
    moved = [(x + 1.2, y - 0.8), (x, y), (32 + 1.03 * (x - 32), 24 + 1.03 * (y - 24) + 0.5)]
    agree = revised([texture(*at) for at in moved], CorrectionOptions(color=False, warp=True, weights=False))
    for view, (to_x, to_y) in enumerate(moved):
        mine = agree.view == view
        error = (agree.targets[mine] - true_colors(agree)[mine]).abs().mean()
        before = (texture(to_x, to_y) - texture(x, y))[6:-6, 6:-6].abs().mean()
        if view == 1:
            # 8 bits, and the blur with which pictures are aligned makes no shift
            assert float(agree.warp[view].abs().max()) < 0.05 and float(error) < 0.004
        else:
            assert float(error) < 0.2 * float(before)


def test_warps_that_a_move_in_space_explains_are_none():
    """The thing is where the views have it together, wherever the layer shows it; a view's own warp stays."""
    x, y = places()
    point, move = torch.tensor([0.1, -0.1, 0.2]), torch.tensor([0.03, -0.02, 0.025])
    eyes = [(1.7 * math.cos(a), 1.7 * math.sin(a), 0.9) for a in torch.arange(0, 6.2, 0.7).tolist()]
    cameras = [look_at(eye, size=SIZE, focal=40.0) for eye in eyes]
    motions = view_motions(cameras, point)
    for camera, motion in zip(cameras, motions, strict=True):  # by the pinhole's own derivative, in float64
        seen = torch.linalg.inv(torch.cat([camera.c2w, torch.tensor([[0.0, 0, 0, 1]])]).double())[:3]
        a, b, depth = seen[:, :3] @ point.double() + seen[:, 3]
        flat = torch.tensor([[-1 / depth, 0, a / depth**2], [0, 1 / depth, -b / depth**2]]) * 40.0
        torch.testing.assert_close(motion.double(), flat @ seen[:, :3], rtol=1e-4, atol=1e-3)
    shifts = motions @ move
    assert float(shifts.norm(dim=1).mean()) > 0.7  # pixels
    own = torch.zeros_like(shifts)
    own[3] = torch.tensor([1.5, -1.0])
    pictures = [texture(x + dx, y + dy) for dx, dy in (shifts + own).tolist()]
    warps = CorrectionOptions(color=False, warp=True, weights=False)
    kept, centerd = revised(pictures, warps), revised(pictures, warps, motions=motions)
    rows = motions.flatten(0, 1).numpy()
    alone = own.flatten().numpy() - rows @ np.linalg.lstsq(rows, own.flatten().numpy(), rcond=None)[0]
    # A fifth of a pixel: warps are held towards none, by a tenth or so of what they are
    torch.testing.assert_close(mean_moves(centerd), -torch.from_numpy(alone).view(-1, 2), rtol=0, atol=0.2)
    torch.testing.assert_close(mean_moves(kept), -(shifts + own), rtol=0, atol=0.35)


def mean_moves(agree):
    """By how many pixels each view's warp moves its rays, in the mean."""
    moved = [
        view.crop.displacement(agree.xy[agree.view == v].float(), agree.warp[v])
        for v, view in agree.evidence.items()
    ]
    return torch.stack([move.mean(0) for move in moved])


def test_a_warp_goes_only_so_far():
    noise = torch.rand(*SIZE[::-1], 3, generator=torch.Generator().manual_seed(0))
    agree = revised([texture(*places()), noise], CorrectionOptions(color=False, warp=True, weights=False))
    assert float(agree.warp.abs().max()) <= image_warp.MAX_SHIFT * SIZE[0] + 1e-5


def test_colors_are_relative_to_what_the_views_have_in_common():
    """The views' mean change is none, however they are changed together."""
    x, y = places()
    pictures = [texture(x, y) * gain for gain in (0.7, 0.8, 0.9, 0.75)]
    agree = revised(pictures, CorrectionOptions(color=True, warp=False, weights=False), times=1)
    torch.testing.assert_close(agree.color.mean(0), torch.eye(3, 4), atol=1e-4, rtol=0)
    gains = agree.color[:, range(3), range(3)].mean(-1)
    wanted = torch.tensor([0.7, 0.8, 0.9, 0.75]) / (sum((0.7, 0.8, 0.9, 0.75)) / 4)
    torch.testing.assert_close(gains, wanted, atol=0.06, rtol=0)  # held back by a third, see GAIN
    assert float((gains - 1).abs().max()) > 0.05


def test_what_views_from_one_side_have_in_common_goes_into_the_layer():
    """A layer that is redder on one side, and views whose changes of color undo that, explain plain images as
    well: they come back to the images' own colors, as fits of one and of the other take turns."""
    angles = torch.arange(12) * (2 * math.pi / 12)
    cameras = [look_at((1.7 * math.cos(a), 1.7 * math.sin(a), 0.3), size=SIZE, focal=40.0) for a in angles]
    pictures = [0.2 + 0.6 * texture(*places())] * 12
    off = {}
    for name, motions in (("by side", view_motions(cameras, torch.zeros(3) + 0.2)), ("at once", None)):
        colors = CorrectionOptions(color=True, warp=False, weights=False)
        agree = ViewCorrections(pixels(pictures), chosen(12), colors, motions)
        view = agree.view[agree.sampled]
        drift = torch.zeros(12, 3)
        drift[:, 0] = 0.1 * angles.cos()
        shown = agree.targets[agree.sampled] + drift[view]
        for _ in range(12):
            agree.revise(shown)
            change = agree.color[view]
            shown = torch.linalg.solve(change[..., :3], agree.targets[agree.sampled] - change[..., 3])
        off[name] = float((shown - agree.targets[agree.sampled]).abs().max())
    assert off["at once"] > 0.07  # held towards none by the prior alone
    assert off["by side"] < 0.02


def test_a_view_and_a_patch_that_contradict_weigh_less():
    x, y = places()
    pictures = [texture(x, y) for _ in range(6)]
    pictures[2] = 1 - pictures[2]
    pictures[4] = pictures[4].clone()
    pictures[4][20:26, 24:32] = torch.tensor([1.0, 0.0, 0.0])
    agree = revised(pictures, CorrectionOptions(color=False, warp=False, weights=True))
    assert float(agree.trust[2]) == 0 and bool((agree.weight[agree.view == 2] == 0).all())
    assert bool((agree.trust[[0, 1, 3, 5]] == 1).all())
    column, row = agree.xy.unbind(-1)
    patch = (agree.view == 4) & (column >= 24) & (column < 32) & (row >= 20) & (row < 24)
    far = (agree.view == 4) & ((column < 18) | (column > 42))
    assert float(agree.weight[patch].max()) < 0.3
    assert float(agree.weight[far].min()) == float(agree.trust[4]) and float(agree.trust[4]) > 0.2


def test_true_pictures_are_left_as_they_are():
    """Eight bits and numbers apart, all corrections of pictures that agree are none."""
    agree = revised([texture(*places())] * 5, CorrectionOptions())
    torch.testing.assert_close(agree.color, torch.eye(3, 4).expand(5, 3, 4), atol=5e-3, rtol=0)
    assert float(agree.warp.abs().max()) < 0.05
    assert bool((agree.weight == 1).all())
    assert math.isclose(float(agree.trust.sum()), 5)


def test_state_and_estimates_of_version_0_1_are_read():
    """There the color transforms had the British name, in checkpoints and in files of estimates."""
    images = [texture(*places())] * 3
    found = revised([images[0], images[1] * 0.8, images[2]], CorrectionOptions())
    old = {("colour" if name == "color" else name): tensor for name, tensor in found.state_dict().items()}
    again = ViewCorrections(pixels(images), chosen(3), CorrectionOptions())
    again.load_state_dict(old)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in found.state_dict().items())
    later = ViewCorrections(pixels(images), chosen(3), CorrectionOptions())
    later.start_from({"colour": found.color, "warp": found.warp, "trust": found.trust}, [0, 1])
    assert torch.equal(later.color[:2], found.color[:2]) and torch.equal(later.color[2], torch.eye(3, 4))


def test_a_warp_of_the_first_version_moves_the_rays_as_it_did():
    """Its grid had 5 x 5 points over the rays; a field that is linear over them is the same on any grid."""
    crop = ViewCorrections(pixels([texture(*places())]), chosen(1), NONE).evidence[0].crop
    unit = torch.linspace(0, 1, 5)
    rows, columns = torch.meshgrid(unit, unit, indexing="ij")
    old = torch.stack([1.5 * columns - 0.5 * rows, 0.3 + rows], -1).view(1, 25, 2)
    x, y = ((axis - axis.amin()) / (axis.amax() - axis.amin()) for axis in places_of_rays())
    moved = crop.displacement(torch.stack(places_of_rays(), -1), image_warp.to_present_grid(old)[0])
    torch.testing.assert_close(moved, torch.stack([1.5 * x - 0.5 * y, 0.3 + y], -1), atol=1e-5, rtol=0)


def places_of_rays(margin=6):
    """The columns and rows of `chosen` in one view."""
    x, y = places()
    return [axis[margin:-margin, margin:-margin].reshape(-1) for axis in (x, y)]


@pytest.mark.parametrize("sigma", [0.2, 0.77, 1.0, 3.8])
def test_blurring_is_torchvisions(sigma):
    """Which takes seconds to import; float32 sums of up to 21 terms."""
    from torchvision.transforms.functional import gaussian_blur

    image = torch.rand(3, 40, 50, generator=torch.Generator().manual_seed(0))
    wanted = gaussian_blur(image, [2 * max(1, round(2.5 * sigma)) + 1] * 2, [max(sigma, 0.3)] * 2)
    torch.testing.assert_close(image_warp.blurred(image, sigma), wanted, atol=2e-6, rtol=0)
