"""Boxes, combinations of regions, and what every region has from its base class."""

import json
import math
from functools import cache

import numpy as np
import pytest
import torch
from analytic import look_at
from hypothesis import given, settings
from hypothesis import strategies as st
from region_shapes import cameras_around, disc, first_hits, points_around

from nerf_insert.errors import InputError
from nerf_insert.regions import (
    BoxRegion,
    DilatedRegion,
    IntersectionRegion,
    Region,
    UnionRegion,
    VisualHull,
    csg,
    load_region,
)

BOX = BoxRegion([0.3, -0.2, 0.5], [0.6, 1.0, 0.4], [20.0, -35.0, 70.0])
OTHER = BoxRegion([0.5, 0.1, 0.6], [0.7, 0.5, 0.9], [0.0, 10.0, -15.0])


@pytest.fixture(autouse=True)
def small_grids(monkeypatch):
    monkeypatch.setattr(csg, "POINTS", 60_000)


def box_distance(box: BoxRegion, points: torch.Tensor) -> np.ndarray:
    """Signed distance in float64 by projecting onto the box's own axes, one axis at a time."""
    axes, center = box.rotation.double().numpy().T, box.center.double().numpy()
    half = box.size.double().numpy() / 2
    local = np.stack([(points.double().numpy() - center) @ axis for axis in axes], -1)
    outside = np.linalg.norm(local - np.clip(local, -half, half), axis=-1)
    depth = (half - np.abs(local)).min(-1)
    return np.where(outside > 0, outside, -depth)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=3),
    st.lists(st.floats(0.01, 5), min_size=3, max_size=3),
    st.lists(st.floats(-180, 180), min_size=3, max_size=3),
)
def test_a_box_is_where_its_closed_form_says(center, size, angles):
    box = BoxRegion(center, size, angles)
    points = points_around(box, 500)
    expected = box_distance(box, points)
    # float32 at coordinates up to 10: a few units in the last place
    np.testing.assert_allclose(box.distance(points).numpy(), expected, atol=2e-5)
    sure = np.abs(expected) > 2e-5
    assert (box.contains(points).numpy() == (expected <= 0))[sure].all()
    assert (box.contains(points) <= ((points >= box.bounds[0]) & (points <= box.bounds[1])).all(-1)).all()


def test_the_box_turns_about_x_then_y_then_z():
    box = BoxRegion([0, 0, 0], [2, 0.2, 0.2], [90, 0, 90])  # the long side: x stays x about x, then goes to y
    assert box.contains(torch.tensor([[0.0, 0.9, 0.0]])).all()
    assert not box.contains(torch.tensor([[0.9, 0.0, 0.0], [0.0, 0.0, 0.9]])).any()


@pytest.mark.parametrize(
    "numbers, says",
    [
        ((1, 2, 3, 0, 5, 6), "above 0"),
        ((1, 2, 3, -1, 5, 6), "above 0"),
        ((1, 2, math.nan, 1, 5, 6), "three finite numbers"),
        ((1, 2, 3, 4, 5, 6, 0, 0, math.inf), "not finite"),
    ],
)
def test_what_is_not_a_box_is_refused(numbers, says):
    with pytest.raises(InputError, match=says):
        BoxRegion(numbers[:3], numbers[3:6], numbers[6:] or None)


def test_the_boxs_rotation_has_to_be_one():
    with pytest.raises(InputError, match="rotation"):
        BoxRegion([0, 0, 0], [1, 1, 1], [[2.0, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_union_and_intersection_are_or_and_and():
    union, both = UnionRegion([BOX, OTHER]), IntersectionRegion([BOX, OTHER])
    points = points_around(union, 20_000)
    one, two = BOX.contains(points), OTHER.contains(points)
    assert one.any() and two.any() and (one & two).any()
    assert torch.equal(union.contains(points), one | two)
    assert torch.equal(both.contains(points), one & two)
    assert torch.equal(union.contains(points), union.distance(points) <= 0)
    assert torch.equal(both.contains(points), both.distance(points) <= 0)
    within = ((points >= both.bounds[0]) & (points <= both.bounds[1])).all(-1)
    assert not (both.contains(points) & ~within).any()


def test_combinations_obey_the_laws_of_sets():
    points = points_around(UnionRegion([BOX, OTHER]), 5_000)
    third = BoxRegion([0.2, 0.0, 0.3], [0.5, 0.5, 0.5])

    def same(a, b):
        return torch.equal(a.contains(points), b.contains(points))

    assert same(UnionRegion([BOX, BOX]), BOX) and same(IntersectionRegion([BOX, BOX]), BOX)
    assert same(UnionRegion([BOX, OTHER]), UnionRegion([OTHER, BOX]))
    assert same(
        UnionRegion([BOX, UnionRegion([OTHER, third])]), UnionRegion([UnionRegion([BOX, OTHER]), third])
    )
    assert same(
        IntersectionRegion([BOX, UnionRegion([OTHER, third])]),
        UnionRegion([IntersectionRegion([BOX, OTHER]), IntersectionRegion([BOX, third])]),
    )
    assert same(UnionRegion([BOX, IntersectionRegion([BOX, OTHER])]), BOX)
    assert same(DilatedRegion(BOX, 0.0), BOX)
    # dilating a union is the union of the dilated; of an intersection it is less than that of the dilated
    assert same(
        DilatedRegion(UnionRegion([BOX, OTHER]), 0.1),
        UnionRegion([DilatedRegion(BOX, 0.1), DilatedRegion(OTHER, 0.1)]),
    )
    less, more = (
        DilatedRegion(IntersectionRegion([BOX, OTHER]), 0.1),
        IntersectionRegion([DilatedRegion(BOX, 0.1), DilatedRegion(OTHER, 0.1)]),
    )
    excess = less.contains(points) & ~more.contains(points)
    assert (more.distance(points[excess]) <= less.precision).all()


def test_a_dilated_box_is_rounded():
    fat = DilatedRegion(BOX, 0.15)
    points = points_around(fat, 20_000)
    expected = box_distance(BOX, points) - 0.15
    sure = np.abs(expected) > 1e-6
    assert (fat.contains(points).numpy() == (expected <= 0))[sure].all()
    np.testing.assert_allclose(fat.distance(points).numpy(), expected, atol=1e-6)  # float32
    # Steiner's formula for the volume, by counting points
    x, y, z = BOX.size.tolist()
    volume = (
        x * y * z
        + 2 * 0.15 * (x * y + y * z + z * x)
        + math.pi * 0.15**2 * (x + y + z)
        + 4 / 3 * math.pi * 0.15**3
    )
    whole = float((1.2 * (fat.bounds[1] - fat.bounds[0])).prod())
    counted = float(fat.contains(points).float().mean()) * whole
    assert counted == pytest.approx(volume, rel=0.04)  # 20 000 points: a standard error of 1 %


def test_a_dilated_intersection_keeps_to_the_distance():
    """The closest point of a dense sample of the region decides, whatever distances the parts have."""
    both = IntersectionRegion([BOX, OTHER])
    fat = DilatedRegion(both, 0.1)
    assert not fat.exact
    inner = points_around(both, 60_000, margin=0)
    inner = inner[both.contains(inner)]
    points = points_around(fat, 2_000, seed=1)
    true = torch.cdist(points, inner).amin(1)
    gap = 0.03  # the sample leaves gaps of about a cube root of its volume per point
    assert fat.contains(points[true < 0.1 - fat.precision]).all()
    assert not fat.contains(points[true > 0.1 + fat.precision + gap]).any()


@pytest.mark.parametrize("by", [-0.1, math.nan, math.inf])
def test_dilation_needs_a_distance(by):
    with pytest.raises(InputError, match="dilated by a distance of 0 or more"):
        DilatedRegion(BOX, by)


def test_combinations_need_something_to_combine():
    with pytest.raises(InputError, match="at least one"):
        UnionRegion([])
    with pytest.raises(InputError, match="intersection of the regions is empty"):
        IntersectionRegion([BOX, BoxRegion([5, 5, 5], [1, 1, 1])])


NAMES = ["box", "thin box", "hull", "union", "intersection", "dilated"]


@cache
def example(name: str) -> Region:
    hull = VisualHull([(camera, disc(camera)) for camera in cameras_around()])
    thin = BoxRegion([0, 0, 0.2], [0.8, 0.6, 0.004], [30, 20, 10])
    makers = {
        "box": lambda: BOX,
        "thin box": lambda: thin,
        "hull": lambda: hull,
        "union": lambda: UnionRegion([hull, thin]),
        "intersection": lambda: IntersectionRegion([hull, BoxRegion([0.1, 0, 0.2], [0.3, 0.9, 0.3])]),
        "dilated": lambda: DilatedRegion(hull, 0.05),
    }
    return makers[name]()


@pytest.mark.parametrize("name", NAMES)
def test_occupied_cells_hold_the_whole_region(name):
    region = example(name)
    points = points_around(region, 200_000, margin=0)
    points = points[region.contains(points)]
    assert len(points) > 100
    size = region.bounds[1] - region.bounds[0]
    cell = ((points - region.bounds[0]) / size * 64).long().clamp(0, 63)
    assert region.occupancy[tuple(cell.T)].all()
    assert region.occupancy.float().mean() < 0.9  # it does skip something


@pytest.mark.parametrize("name", NAMES)
def test_a_projected_mask_is_where_rays_meet_the_region(name):
    region = example(name)
    camera = look_at((1.4, -1.5, 1.2), size=(64, 48), focal=60.0)
    rays = camera.rays()
    first = first_hits(region, rays)
    assert 50 < first.isfinite().sum() < rays.count - 50
    assert torch.equal(region.entry(rays), first)
    assert torch.equal(region.project(camera).view(-1), first.isfinite())
    # against `contains` along some of the rays alone, twice as fine: what is thinner than a step may differ
    some = rays[torch.arange(0, rays.count, 5)]
    distances = torch.arange(0.8, 4.2, region.step / 2)
    points = some.origins[:, None] + distances[:, None] * some.directions[:, None]
    seen = region.contains(points.view(-1, 3)).view(some.count, -1).any(1)
    assert (seen != first.isfinite()[::5]).float().mean() < 0.01


def test_a_hidden_region_is_not_projected():
    camera = look_at((1.4, -1.5, 1.2), size=(48, 36), focal=45.0)
    entry = BOX.entry(camera.rays()).view(36, 48)
    mask = BOX.project(camera)
    assert torch.equal(BOX.project(camera, torch.full((36, 48), math.inf)), mask)
    assert not BOX.project(camera, torch.zeros(36, 48)).any()
    wall = torch.full((36, 48), math.inf)
    wall[:, :24] = 0.1
    half = BOX.project(camera, wall)
    assert not half[:, :24].any() and torch.equal(half[:, 24:], mask[:, 24:])
    assert torch.equal(BOX.project(camera, entry + 1e-4), mask)


def test_no_rays_are_no_trouble():
    rays = look_at((1.0, 1.0, 1.0)).rays()[:0]
    assert BOX.entry(rays).shape == (0,)
    assert BOX.sample(rays).count == 0


@pytest.mark.parametrize("name", NAMES)
def test_saved_regions_come_back_the_same(name, tmp_path):
    region = example(name)
    data = json.loads(json.dumps(region.save(tmp_path / "region")))
    again = load_region(data, tmp_path / "region")
    points = points_around(region, 30_000)
    assert torch.equal(again.contains(points), region.contains(points))
    assert torch.equal(again.distance(points), region.distance(points))
    assert torch.equal(again.bounds, region.bounds) and again.step == region.step


def test_damaged_regions_are_named(tmp_path):
    with pytest.raises(InputError, match="damaged"):
        load_region({"kind": "sphere"}, tmp_path)
    with pytest.raises(InputError, match="damaged"):
        load_region({"kind": "box", "center": [0, 0, 0]}, tmp_path)
    with pytest.raises(InputError, match="no file"):
        load_region({"kind": "mesh", "dilate": 0.0}, tmp_path)
    view = {"name": "a.png", "fx": 1, "c2w": [[1.0, 0, 0, 0]], "distortion": [], "mask": "../../secret.png"}
    with pytest.raises(InputError, match="none of its masks"):
        load_region({"kind": "hull", "bounds": [], "views": [view]}, tmp_path)
