"""Visual hulls against closed forms, other libraries and their own definition."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from analytic import look_at
from region_shapes import FOX_LENS, cameras_around, disc, points_around
from scipy.spatial import ConvexHull, HalfspaceIntersection, cKDTree

from nerf_insert.errors import InputError, InputWarning
from nerf_insert.geometry.cameras import Camera
from nerf_insert.regions import VisualHull, visual_hull
from nerf_insert.regions.viewing_cone import ViewingCone
from nerf_insert.regions.visual_hull import ray_gap

CENTER = torch.tensor([0.0, 0.0, 0.2])


def ball_hull(count: int = 3, **camera) -> VisualHull:
    return VisualHull([(c, disc(c)) for c in cameras_around(count, **camera)])


def test_the_hull_of_a_balls_discs_holds_the_ball():
    region = ball_hull()
    points = points_around(region, 50_000)
    away = (points - CENTER).norm(dim=-1)
    # A pixel is 1/150 of the distance (about 2.1) wide: discs are made of pixels whose middles are in.
    assert region.contains(points[away < 0.3 - 0.015]).all()
    assert not region.contains(points[away > 0.5]).any()
    assert ((region.bounds[0] < CENTER - 0.29) & (region.bounds[1] > CENTER + 0.29)).all()


def test_more_masks_make_the_hull_smaller():
    regions = [ball_hull(count) for count in (2, 3, 6)]
    points = points_around(regions[0], 30_000)
    inside = [region.contains(points) for region in regions]
    assert not (inside[1] & ~inside[0]).any() and not (inside[2] & ~inside[1]).any()
    volumes = [float(i.float().mean()) for i in inside]
    assert volumes[0] > volumes[1] > volumes[2]


def square_mask(size: int, half: int) -> torch.Tensor:
    mask = torch.zeros(size, size, dtype=torch.bool)
    mask[size // 2 - half : size // 2 + half, size // 2 - half : size // 2 + half] = True
    return mask


def pyramid(camera: Camera, slope: float) -> np.ndarray:
    """The half-spaces n x + d <= 0 of a square viewing cone."""
    rotation, eye = camera.c2w[:, :3].double().numpy(), camera.center.double().numpy()
    normals = np.array([[1, 0, slope], [-1, 0, slope], [0, 1, slope], [0, -1, slope]]) @ rotation.T
    return np.concatenate([normals, -(normals @ eye)[:, None]], 1)


def test_two_square_masks_meet_in_a_known_polyhedron():
    size, half, focal = 64, 10, 50.0
    cameras = [
        look_at((2.0, 0.0, 0.2), size=(size, size), focal=focal),
        look_at((0.3, -1.7, 0.2), size=(size, size), focal=focal),
    ]
    region = VisualHull([(camera, square_mask(size, half)) for camera in cameras])
    spaces = np.concatenate([pyramid(camera, half / focal) for camera in cameras])
    corners = HalfspaceIntersection(spaces, CENTER.double().numpy()).intersections
    # The box is found in cells of 1/FINE of its longest side, kept when in doubt; what lies within the
    # precision of a cone is in doubt, and at the far corner the cones' faces meet at 20 degrees.
    doubt = 2 * float((region.bounds[1] - region.bounds[0]).max()) / visual_hull.FINE + 2 * region.precision
    np.testing.assert_allclose(region.bounds[0], corners.min(0), atol=doubt)
    np.testing.assert_allclose(region.bounds[1], corners.max(0), atol=doubt)
    assert (region.bounds[0].numpy() <= corners.min(0) + 1e-5).all()
    assert (region.bounds[1].numpy() >= corners.max(0) - 1e-5).all()
    points = points_around(region, 100_000)
    level = (np.c_[points.double().numpy(), np.ones(len(points))] @ spaces.T).max(-1)
    inside = region.contains(points).numpy()
    sure = np.abs(level) > 1e-5  # float32 projection
    assert (inside == (level <= 0))[sure].all()
    volume = float((1.2 * (region.bounds[1] - region.bounds[0])).prod()) * inside.mean()
    assert volume == pytest.approx(ConvexHull(corners).volume, rel=0.02)  # 100 000 points: 0.5 %


def test_points_behind_a_camera_are_outside():
    cameras = [look_at((2.0, 0.0, 0.2)), look_at((0.0, -2.0, 0.2))]
    region = VisualHull(
        [(camera, torch.ones(camera.height, camera.width, dtype=torch.bool)) for camera in cameras],
        bounds=torch.tensor([[-9.0, -9.0, -9.0], [9.0, 9.0, 9.0]]),
    )
    ahead = CENTER[None]
    behind = torch.stack([2 * camera.center - CENTER for camera in cameras])  # mirrored at the camera
    assert region.contains(ahead).all() and not region.contains(behind).any()
    assert (region.distance(behind) > 0).all()


def lens_camera(eye, lens, off_center) -> Camera:
    """A camera that sees what is at the origin near the upper or lower end of its picture."""
    camera = look_at(eye, target=(0.0, 0.0, 0.2 + off_center), size=(135, 240), focal=170.0)
    return replace(camera, distortion=lens)


@pytest.mark.parametrize("lens", [FOX_LENS, (-0.2, 0.03, 0.0, 0.0, 0.001, -0.002)])
def test_lens_distortion_is_honoured_as_opencv_defines_it(lens):
    cameras = [lens_camera((2.0, 0.0, 0.8), lens, 0.9), lens_camera((0.4, -2.0, 0.6), lens, -0.8)]
    masks = [disc(camera, radius=0.25) for camera in cameras]
    region = VisualHull(list(zip(cameras, masks, strict=True)))
    points = points_around(region, 20_000, margin=0.3)
    expected, sure = np.ones(len(points), bool), np.ones(len(points), bool)
    for camera, mask in zip(cameras, masks, strict=True):
        to_opencv = camera.c2w[:, :3].double().numpy() * [1, -1, -1]
        k1, k2, k3, k4, p1, p2 = camera.distortion
        assert k3 == k4 == 0
        rotation = cv2.Rodrigues(to_opencv.T)[0]
        shift = -to_opencv.T @ camera.center.double().numpy()
        matrix = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
        pixels = cv2.projectPoints(
            points.double().numpy(), rotation, shift, matrix, np.array([k1, k2, p1, p2])
        )[0][:, 0]
        whole = np.floor(pixels).astype(int)
        size = np.array([camera.width, camera.height])
        in_picture = ((whole >= 0) & (whole < size)).all(-1)
        x, y = np.clip(whole, 0, size - 1).T
        expected &= in_picture & mask.numpy()[y, x]
        sure &= (np.abs(pixels - np.round(pixels)) > 2e-3).all(-1)  # float32 near a pixel's border
    assert (region.contains(points).numpy() == expected)[sure].all()
    assert expected.sum() > 500

    generator = torch.Generator().manual_seed(0)
    ball = CENTER + 0.23 * torch.nn.functional.normalize(torch.randn(5000, 3, generator=generator), dim=-1)
    assert region.contains(ball).all()
    plain = [replace(camera, distortion=(0.0,) * 6) for camera in cameras]
    if lens is not FOX_LENS:  # which at this place moves things by less than a pixel
        assert not VisualHull(list(zip(plain, masks, strict=True))).contains(ball).all()


def test_fisheye_hulls_hold_what_their_masks_show():
    cameras = [
        replace(c, model="FISHEYE", distortion=(0.02, -0.01, 0.0, 0.0, 0.0, 0.0)) for c in cameras_around()
    ]
    region = VisualHull([(camera, disc(camera)) for camera in cameras])
    points = points_around(region, 20_000)
    assert region.contains(points[(points - CENTER).norm(dim=-1) < 0.28]).all()


def test_nothing_that_all_masks_show_lies_outside_the_bounds():
    region = ball_hull(2)
    cones = region.cones
    points = 3 * torch.rand(300_000, 3, generator=torch.Generator().manual_seed(0)) - torch.tensor(
        [1.5, 1.5, 1.3]
    )
    shown = points[cones[0].contains(points) & cones[1].contains(points)]
    assert len(shown) > 1000
    assert ((shown >= region.bounds[0]) & (shown <= region.bounds[1])).all()


def test_large_batches_are_decided_as_small_ones():
    region = ball_hull(6)
    points = points_around(region, 60_000)
    assert len(points) > visual_hull.GRID_WORTHWHILE
    at_once = region.contains(points)
    assert torch.equal(at_once, torch.cat([region.contains(part) for part in points.split(1000)]))


@pytest.mark.parametrize("size, focal", [((160, 120), 150.0), ((900, 700), 500.0)])
def test_distances_never_promise_too_much(size, focal):
    """No inside point is nearer than the distance of an outside one says, and the other way round. The
    second picture is larger than the map of angles, and wide."""
    cameras = cameras_around(3, size=size, focal=focal)
    masks = [disc(camera) for camera in cameras]
    masks[0][size[1] // 2 - 2 : size[1] // 2 + 2, :] = True  # something thin, to the picture's border
    region = VisualHull(list(zip(cameras, masks, strict=True)))
    points = points_around(region, 60_000, margin=0.4)
    inside = region.contains(points)
    distance = region.distance(points)
    to_inside = torch.from_numpy(cKDTree(points[inside]).query(points[~inside])[0]).float()
    to_outside = torch.from_numpy(cKDTree(points[~inside]).query(points[inside])[0]).float()
    assert (distance[~inside] <= to_inside + region.precision).all()
    assert (-distance[inside] <= to_outside + region.precision).all()
    # and they are of use: most of the way is known
    assert torch.quantile(-distance[inside] / to_outside, 0.5) > 0.5
    assert ((distance < 0) != inside).float().mean() < 0.02


def test_the_cones_angle_is_the_angle_to_the_discs_rim():
    """A ball's disc is a round cone: angles from its axis, also off the picture and behind the camera."""
    camera = look_at((2.0, 0.0, 0.2), size=(200, 160), focal=160.0)
    cone = ViewingCone(camera, disc(camera, radius=0.4))
    axis = (CENTER - camera.center) / 2
    generator = torch.Generator().manual_seed(0)
    points = camera.center + torch.nn.functional.normalize(
        torch.randn(20_000, 3, generator=generator), dim=-1
    )
    off_axis = torch.acos(((points - camera.center) @ axis).clamp(-1, 1))
    expected = off_axis - math.asin(0.4 / 2)
    shown = camera.project(points).inside
    angle = cone.angle(points)
    assert (angle - expected)[shown].abs().max() < cone.slack
    assert (angle <= expected + cone.slack).all()
    assert (expected - angle)[~shown].max() < 0.05  # a block of 5 pixels, 1/160 each, and a little


def test_the_gap_between_rays_is_the_smallest():
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        cameras = [
            look_at(
                torch.randn(3, generator=generator).tolist(),
                target=torch.randn(3, generator=generator).tolist(),
            )
            for _ in "ab"
        ]
        one, two = (
            ViewingCone(c, torch.ones(c.height, c.width, dtype=torch.bool)).center_ray for c in cameras
        )
        t = torch.linspace(0, 20, 1500).double()
        a = one.origins.double() + t[:, None] * one.directions.double()
        b = two.origins.double() + t[:, None] * two.directions.double()
        assert ray_gap(one, two) == pytest.approx(float(torch.cdist(a, b).min()), abs=0.02)  # steps of 0.013


def shifted(camera: Camera, center) -> tuple[Camera, torch.Tensor]:
    return camera, disc(camera, center=center, radius=0.1)


def test_masks_that_do_not_meet_are_named():
    cameras = cameras_around(3)
    views = [
        shifted(cameras[0], (0, 0, 0.2)),
        shifted(cameras[1], (0, 0, 0.2)),
        shifted(cameras[2], (0, 0, 0.7)),
    ]
    with pytest.raises(InputError, match=r"left\.png and top\.png do not meet.* pass 0\.\d+ apart.* check"):
        VisualHull([views[1], views[2]], names=["left.png", "top.png"])
    with pytest.raises(InputError, match=r"for (a|b) and c do not meet"):
        VisualHull(views, names=["a", "b", "c"])


def test_three_masks_can_fail_though_every_two_meet():
    """Rays through the corners of a triangle: each two meet in one of its corners, never all three."""
    eyes = [(2.0, 0.0, 0.2), (-1.0, 1.8, 0.2), (-1.0, -1.8, 0.2)]
    cameras = [look_at(eye, size=(120, 90), focal=110.0) for eye in eyes]
    mask = torch.zeros(90, 120, dtype=torch.bool)
    mask[40:50, 85:90] = True
    with pytest.raises(InputError, match="no point in common in space, though every two of them do"):
        VisualHull([(camera, mask) for camera in cameras])


def test_masks_from_one_side_have_no_end():
    one, two = look_at((2.0, 0.0, 0.8)), look_at((2.01, 0.01, 0.8))
    with pytest.raises(InputError, match=r"nearly the same direction.*another side"):
        VisualHull([(one, disc(one)), (two, disc(two))])
    with pytest.raises(InputError, match="nearly the same direction"):
        VisualHull([(one, disc(one)), (one, disc(one))])


def test_a_hull_that_no_photograph_closes_ends_where_the_scene_does():
    """Forward-facing photographs: all that both see in their masks, up to the given distance."""
    end = 3.5
    cameras = [look_at((2.0, 0.0, 0.8)), look_at((2.0, 0.08, 0.8))]
    views = [(camera, disc(camera)) for camera in cameras]
    with pytest.warns(InputWarning, match=r"nearly the same direction.*ends where the scene does.* 3\.5 "):
        region = VisualHull(views, reach=lambda camera, mask: end)
    axis = ViewingCone(*views[0]).center_ray
    near = axis.origins + torch.linspace(1.0, 0.99 * end, 50)[:, None] * axis.directions
    assert region.contains(near).all()
    points = points_around(region, 50_000)
    inside = region.contains(points)
    away = (points - cameras[0].center).norm(dim=-1)
    both = torch.stack([ViewingCone(*view).contains(points) for view in views]).all(0)
    assert torch.equal(inside[away < end], both[away < end])
    # the box in which a hull ends holds a little more than the cap of a cone that lies askew in it
    cap = end * 0.3 / 2.1  # the radius of the ball's disc, seen from its distance
    assert not inside[away > end + cap].any()
    closed = [(camera, disc(camera)) for camera in cameras_around(3)]
    assert torch.equal(VisualHull(closed, reach=lambda *_: 9.0).bounds, VisualHull(closed).bounds)
    with pytest.raises(InputError, match="unbounded"):  # nothing opaque in the masks
        VisualHull(views, reach=lambda camera, mask: None)


def test_a_box_closes_a_hull_even_of_one_mask():
    camera = look_at((2.0, 0.0, 0.8))
    box = torch.tensor([[-0.2, -0.5, 0.0], [0.6, 0.5, 0.6]])
    region = VisualHull([(camera, disc(camera))], within=box)
    points = (torch.rand(50_000, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 3
    inside = ((points >= box[0]) & (points <= box[1])).all(-1) & ViewingCone(camera, disc(camera)).contains(
        points
    )
    assert inside.sum() > 300 and torch.equal(region.contains(points), inside)
    with pytest.raises(InputError, match="the rest of the region have no point in common"):
        VisualHull([(camera, disc(camera))], within=box + torch.tensor([0.0, 9.0, 0.0]))


def test_masks_that_are_no_use_are_refused():
    camera, other = cameras_around(2)
    with pytest.raises(InputError, match="at least two photographs"):
        VisualHull([(camera, disc(camera))])
    with pytest.raises(InputError, match="mask for b is empty"):
        VisualHull(
            [(camera, disc(camera)), (other, torch.zeros(120, 160, dtype=torch.bool))], names=["a", "b"]
        )
    with pytest.raises(InputError, match=r"30x20 pixels but its photograph is 160x120"):
        VisualHull([(camera, disc(camera)), (other, torch.ones(20, 30, dtype=torch.bool))])


def test_a_panoramic_camera_is_refused():
    camera, other = cameras_around(2)
    with pytest.raises(InputError, match="EQUIRECTANGULAR"):
        VisualHull([(camera, disc(camera)), (replace(other, model="EQUIRECTANGULAR"), disc(other))])
