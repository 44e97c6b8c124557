"""What is said about a region before time is spent on it."""

import pytest
import torch
from analytic import look_at
from region_shapes import cameras_around, disc

from nerf_insert.errors import InputError
from nerf_insert.regions import BoxRegion, DilatedRegion, UnionRegion, VisualHull, check_region

NAMES = [f"images/{k:03d}.png" for k in range(8)]
CAMERAS = list(zip(NAMES, cameras_around(8), strict=True))
BOX = BoxRegion([0, 0, 0.2], [0.5, 0.5, 0.4])


def test_a_good_region_is_reported():
    report = check_region(BOX, CAMERAS)
    assert report.visible_in == tuple(NAMES) and report.warnings == () and report.mask_coverage == {}
    for name, camera in CAMERAS:
        true = float(BOX.project(camera).float().mean())
        assert report.coverage[name] == pytest.approx(true, abs=0.005)  # seen at 128 pixels instead of 160


def test_a_good_hull_is_reported_with_its_masks():
    names = NAMES[:3]
    hull = VisualHull([(camera, disc(camera)) for _, camera in CAMERAS[:3]], names=names)
    report = check_region(UnionRegion([DilatedRegion(hull, 0.02), BOX]), CAMERAS)
    assert list(report.mask_coverage) == names and report.warnings == ()
    # a ray through the last pixels at a disc's rim touches the ball for less than a step
    assert all(share > 0.95 for share in report.mask_coverage.values())


@pytest.mark.parametrize(
    "box, says",
    [
        (BoxRegion([0, 0, -9], [1, 1, 1]), "none of the 8 photographs shows the region"),
        (BoxRegion([0, 0, 0.2], [0.01, 0.01, 0.01]), r"too small: .* 0\.1 % of every image"),
        (BoxRegion([0, 0, 0.2], [9, 9, 9]), r"contains 8 of the cameras \(images/000.png, .* and 5 more\)"),
        (BoxRegion([0, 0, 0.2], [2.6, 2.6, 2.6]), "of the image in the median view.*make it smaller"),
        (BoxRegion([2.2, 0.0, 0.6], [0.5, 0.5, 0.9]), r"contains 1 of the cameras \(images/000\.png\)"),
    ],
)
def test_regions_that_cannot_come_out_well_are_refused(box, says):
    with pytest.raises(InputError, match=says):
        check_region(box, CAMERAS)


def test_a_region_that_few_cameras_see_is_refused():
    away = [(name, look_at(camera.center.tolist(), target=(5.0, 5.0, 5.0))) for name, camera in CAMERAS]
    with pytest.raises(InputError, match=r"only 2 of the 8 photographs \(images/000.png, images/001.png\)"):
        check_region(BOX, CAMERAS[:2] + away[2:])
    assert len(check_region(BOX, CAMERAS[:2] + away[2:], min_views=2).visible_in) == 2


def test_a_region_behind_something_is_refused():
    def wall(camera):
        return torch.full((camera.height, camera.width), 0.5)

    with pytest.raises(InputError, match=r"only 0 of the 8 .* something else is in front of it in 8"):
        check_region(BOX, CAMERAS, occluders=wall)
    free = check_region(BOX, CAMERAS, occluders=lambda camera: wall(camera) + 100)
    assert free == check_region(BOX, CAMERAS)


def test_a_region_outside_the_scene_is_refused():
    scene = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    assert check_region(BOX, CAMERAS, scene_bounds=scene).visible_in == tuple(NAMES)
    with pytest.raises(InputError, match=r"outside the scene: it is around \(0, 0, 0\.2\)"):
        check_region(BOX, CAMERAS, scene_bounds=scene + 3)


@pytest.mark.parametrize("radius, refused", [(0.15, False), (0.05, True)])
def test_masks_that_disagree_are_named(radius, refused):
    """Two masks of the whole ball and one of its middle: from the side of that a strip of the ball is left,
    2 (r sqrt(R^2 - r^2) + R^2 asin(r / R)) / pi R^2 = 0.61 and 0.21 of the disc."""
    (_, one), (_, two), (_, three) = CAMERAS[:3]
    views = [(one, disc(one)), (two, disc(two)), (three, disc(three, radius=radius))]
    hull = VisualHull(views, names=["wide", "also wide", "narrow"])
    if refused:
        with pytest.raises(InputError, match=r"masks disagree: only \d+ % of the mask for wide is left"):
            check_region(hull, CAMERAS)
    else:
        report = check_region(hull, CAMERAS)
        assert report.mask_coverage["narrow"] > 0.9 > 0.7 > report.mask_coverage["wide"]
        assert report.mask_coverage["wide"] == pytest.approx(0.61, abs=0.06)  # the strip is a cone, too
        assert any("mask for wide" in w and "(also wide, narrow)" in w for w in report.warnings)
