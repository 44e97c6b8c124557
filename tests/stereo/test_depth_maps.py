"""Depth from photographs, against surfaces whose depth is known in closed form."""

import numpy as np
import pytest
import torch
from textured_ground import HEIGHT, WIDTH, ground_distance, look_at_origin, photograph, ring

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.runtime.progress import SILENT
from nerf_insert.stereo.depth_maps import AGREEING, measure_depth
from nerf_insert.stereo.pinhole import find_partners, relate, undistort


def measured(cameras, images, usable=None, seed=0):
    """Return the measured and the true distances of all pixels, one row per view."""
    pixels = PixelSet(cameras, images)
    depths = measure_depth(pixels, usable, 1.0, SILENT, seed)
    index = torch.arange(len(pixels))
    rays, view = pixels.rays(index), pixels.view_and_xy(index)[0]
    found, true = depths.distances(view, rays), ground_distance(rays)
    return found.view(len(cameras), -1), true.view(len(cameras), -1)


@pytest.mark.parametrize("lens", [{}, {"distortion": (-0.12, 0.03, 0, 0, 0.002, 0)}, {"model": "FISHEYE"}])
@pytest.mark.parametrize("contrast", [0.4, 0.06])
def test_a_textured_plane_is_where_it_is(contrast, lens):
    """Strong and faint textures alike, through any lens. A pixel is 1 % of the distance wide."""
    cameras = ring(**lens)
    found, true = measured(cameras, [photograph(camera, contrast) for camera in cameras])
    known = found.isfinite()
    error = (found[known] / true[known] - 1).abs()
    assert float(known[2:-2].float().mean()) > 0.6
    assert float(error.median()) < 0.005 and float(error.quantile(0.95)) < 0.02


def test_exposure_does_not_matter():
    cameras = ring()
    even = [photograph(camera, 0.3) for camera in cameras]
    uneven = [(image * (0.6 if i % 2 else 1.0)).to(torch.uint8) for i, image in enumerate(even)]
    one, _ = measured(cameras, even)
    other, true = measured(cameras, uneven)
    known = other.isfinite()
    assert float(known.float().mean()) > 0.9 * float(one.isfinite().float().mean())
    assert float((other[known] / true[known] - 1).abs().median()) < 0.005


def test_nothing_is_known_of_plain_or_unlike_photographs():
    cameras = ring()
    plain = [torch.full((HEIGHT, WIDTH, 3), 128, dtype=torch.uint8)] * len(cameras)
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randint(0, 256, (HEIGHT, WIDTH, 3), generator=generator).byte() for _ in cameras]
    for images in (plain, noise):
        found, _ = measured(cameras, images)
        # chance agreement: within 2 % of the depth, of two of five partners, at cost below the limit
        assert float(found.isfinite().float().mean()) < 0.02


def test_excluded_pixels_have_no_depth_and_give_none():
    cameras = ring()
    images = [photograph(camera, 0.3) for camera in cameras]
    keep = torch.ones(len(cameras), HEIGHT, WIDTH, dtype=torch.bool)
    keep[:, :, : WIDTH // 2] = False
    found, _ = measured(cameras, images, keep.reshape(-1).nonzero()[:, 0].int())
    known = found.isfinite().view_as(keep)
    assert not bool(known[~keep].any()) and float(known[keep].float().mean()) > 0.2


def test_transparent_pixels_have_no_depth():
    cameras = ring()
    alpha = torch.full((HEIGHT, WIDTH, 1), 255, dtype=torch.uint8)
    alpha[: HEIGHT // 2] = 0
    found, _ = measured(cameras, [torch.cat([photograph(camera, 0.3), alpha], -1) for camera in cameras])
    known = found.isfinite().view(-1, HEIGHT, WIDTH)
    assert not bool(known[:, : HEIGHT // 2].any()) and bool(known[:, HEIGHT // 2 :].any())


def test_too_few_or_panoramic_views_give_nothing():
    few = ring(2)
    assert AGREEING == 2
    found, _ = measured(few, [photograph(camera, 0.3) for camera in few])
    assert not bool(found.isfinite().any())
    panorama = [look_at_origin(15 * i, 40, model="EQUIRECTANGULAR") for i in range(4)]
    found, _ = measured(panorama, [torch.zeros(HEIGHT, WIDTH, 3, dtype=torch.uint8)] * 4)
    assert bool(found.isnan().all())


def test_the_number_of_threads_does_not_matter():
    cameras = ring(5)
    images = [photograph(camera, 0.3) for camera in cameras]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one, _ = measured(cameras, images)
        torch.set_num_threads(3)
        three, _ = measured(cameras, images)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(one.nan_to_num(), three.nan_to_num())


def test_relate_takes_pixels_to_where_the_other_camera_projects_them():
    one, other = look_at_origin(10, 30), look_at_origin(40, 55)
    a, b = relate(one, other, 2.0)
    point = torch.tensor([[0.1, -0.2, 0.05]])
    pixel = one.project(point).pixels[0].double()
    depth = -float((point[0] - one.center) @ one.c2w[:, 2]) / 2.0
    at = torch.from_numpy(a) @ torch.tensor([*pixel, 1.0]).double() + torch.from_numpy(b) / depth
    torch.testing.assert_close(at[:2] / at[2], other.project(point).pixels[0].double(), rtol=0, atol=1e-4)
    assert float(at[2]) * depth == pytest.approx(-float((point[0] - other.center) @ other.c2w[:, 2]) / 2)


def test_partners_see_the_same_from_elsewhere():
    cameras = [look_at_origin(a, 40) for a in (0, 0.5, 15, 30, 180)]
    partners = find_partners(cameras, 1.0, 2)
    assert partners[0] == [2, 3]  # not the neighbor at half a degree, not the one behind
    assert partners[4] == []


@pytest.mark.parametrize("size", [(128, 96), (256, 192), (333, 250), (517, 388), (1201, 901)])
def test_reduced_photographs_show_the_means_of_their_pixels(size):
    """A ramp of brightness, from any size: each reduced pixel has the ramp's value at its middle."""
    width, height = size
    camera = look_at_origin(0, 40).resized(width, height)
    ramp = torch.linspace(20, 220, width)[None, :, None].expand(height, width, 3).round().byte()
    small = undistort(camera, ramp, None, 128)
    middle = (np.arange(small.image.shape[1]) + 0.5) / small.image.shape[1] * width - 0.5
    wanted = (20 + 200 * middle / (width - 1)) / 255
    # rounded to whole levels; nearer than a block to the border there is nothing to interpolate with
    assert abs(small.image - wanted)[:, 1:-1].max() < 0.6 / 255 and small.valid.all()
