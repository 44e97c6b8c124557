"""Depth of plain surfaces: taken from the plane that their border lies on, and only from there."""

import numpy as np
import pytest
import torch
from textured_ground import HEIGHT, WIDTH, ground_distance, look_at_origin, photograph, ring

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.runtime.progress import SILENT
from nerf_insert.stereo import depth_maps
from nerf_insert.stereo.depth_maps import measure_depth
from nerf_insert.stereo.pinhole import Pinhole
from nerf_insert.stereo.plain_surfaces import continue_planes

DISK = 0.2  # radius of a plain disk on the ground, with cameras at the distance 1


def test_a_plain_disk_lies_in_the_ground_around_it(monkeypatch):
    cameras = ring()
    pixels = PixelSet(cameras, [photograph(camera, 0.3, DISK) for camera in cameras])
    index = torch.arange(len(pixels))
    rays, view = pixels.rays(index), pixels.view_and_xy(index)[0]
    true = ground_distance(rays)
    disk = true.isfinite() & (rays.at(true.nan_to_num(posinf=0)).norm(dim=-1) < 0.8 * DISK)
    found = measure_depth(pixels, None, 1.0, SILENT).distances(view, rays)[disk]
    assert float(found.isfinite().float().mean()) > 0.8
    error = (found / true[disk] - 1).abs()[found.isfinite()]
    assert float(error.quantile(0.95)) < 0.01
    monkeypatch.setattr(depth_maps, "continue_planes", lambda shown, maps, *_: [one.copy() for one in maps])
    found = measure_depth(pixels, None, 1.0, SILENT).distances(view, rays)[disk]
    assert float(found.isfinite().float().mean()) < 0.4  # windows at the disk's border


def known_ground(camera, plain):
    """Return a photograph that is plain in a rectangle, and the ground's map, unknown there."""
    rays = camera.rays()
    depth = ground_distance(rays) * -(rays.directions @ camera.c2w[:, 2])
    inverse = (1 / depth).clamp_min(0).view(HEIGHT, WIDTH).double().numpy()
    growth = [np.gradient(inverse, axis=axis) for axis in (1, 0)]
    known = np.stack([inverse, *growth], -1)
    image = np.random.default_rng(0).random((HEIGHT, WIDTH)).astype(np.float32)
    image[plain] = 0.5
    return Pinhole(camera, image, np.ones((HEIGHT, WIDTH), bool)), known


PLAIN = (slice(20, 50), slice(30, 70))


@pytest.mark.parametrize("raised", [0.0, 0.2, 0.6])
def test_most_of_the_border_has_to_lie_on_the_plane(raised):
    """The plain side of a thing that stands on the ground has the ground at its foot only."""
    shown, maps, truth = [], [], []
    for camera in ring(4):
        one, known = known_ground(camera, PLAIN)
        truth.append(known.copy())
        upper = slice(PLAIN[0].start - 3, PLAIN[0].start + round(raised * 30))
        known[upper, PLAIN[1].start - 3 : PLAIN[1].stop + 3, 0] *= 1.5  # nearer
        known[PLAIN] = np.nan
        shown.append(one)
        maps.append(known)
    wider = continue_planes(shown, maps, 1.0, 0)
    for one, before, true in zip(wider, maps, truth, strict=True):
        new = np.isfinite(one[..., 0]) & np.isnan(before[..., 0])
        if raised > 0.5:
            assert not new.any()
        elif not raised:
            assert new[PLAIN][1:-1, 1:-1].all()  # neighbors of the texture are not plain
            np.testing.assert_allclose(one[new][:, 0], true[new][:, 0], rtol=0.01)
            np.testing.assert_allclose(one[new][:, 1:], true[new][:, 1:], atol=2e-4)  # per pixel, of about 1
        known = np.isfinite(before)
        assert (one[known] == before[known]).all()


def test_nothing_known_stays_nothing():
    camera = look_at_origin(0, 40)
    one, known = known_ground(camera, PLAIN)
    nothing = np.full_like(known, np.nan)
    assert np.isnan(continue_planes([one], [nothing], 1.0, 0)[0]).all()
    assert continue_planes([], [], 1.0, 0) == []


@pytest.mark.parametrize("mirrored", [1, 4])
def test_what_is_seen_behind_a_surface_is_a_reflection_unless_all_see_it(mirrored):
    """Of four views that see a part of the ground, one shows something below it; or all: a hole."""
    shown, maps, truth = [], [], []
    for i, camera in enumerate(ring(4)):
        one, known = known_ground(camera, (slice(0), slice(0)))
        truth.append(known.copy())
        if i < mirrored:
            known[PLAIN][..., 0] *= 0.7
        shown.append(one)
        maps.append(known)
    found = continue_planes(shown, maps, 1.0, 0)
    middle = (slice(30, 40), slice(44, 56))  # that of all views: the same place of the ground
    below, ground = maps[0][middle][..., 0], truth[0][middle][..., 0]
    wanted = ground if mirrored == 1 else below
    np.testing.assert_allclose(found[0][middle][..., 0], wanted, rtol=0.02)
    for one, true in zip(found[mirrored:], truth[mirrored:], strict=True):
        np.testing.assert_allclose(one, true, rtol=0.02, atol=1e-3)


def test_a_camera_below_a_plane_says_nothing_about_it():
    """The few points that it knows are not moved onto the ground, though that is well known above it."""
    views = [known_ground(camera, (slice(0), slice(0))) for camera in ring(4)]
    below = look_at_origin(45, -80, 0.5)
    elsewhere = known_ground(below, (slice(0), slice(0)))[0], np.full((HEIGHT, WIDTH, 3), np.nan)
    elsewhere[1][30, 40] = 5.0, 0.0, 0.0  # at a fifth of a unit, still below the ground
    shown, maps = zip(*views, elsewhere, strict=True)
    np.testing.assert_array_equal(continue_planes(shown, maps, 1.0, 0)[-1], elsewhere[1])
