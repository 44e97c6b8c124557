"""Cameras against OpenCV, against nerfstudio, and against themselves: project is the inverse of rays."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera

# A real phone's lens (k1, k2, k3, k4, p1, p2), portrait, principal point off center.
PHONE = (0.0578421, -0.0805099, 0.0, 0.0, -0.000980296, 0.00015575)
BARREL = (-0.3, 0.0, 0.0, 0.0, 0.0, 0.0)  # r - 0.3 r^3 turns round at r = 1.054
WIDE = (0.02, -0.01, 0.002, -0.0001, 0.0, 0.0)

# float32 pixels near 500 have a spacing of 3e-5; a handful of operations and the Newton steps of the
# undistortion cost up to some tens of that.
PIXEL = 2e-3


def pose(seed: int = 0) -> torch.Tensor:
    """Some rotation and a position a few units from the origin."""
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    return torch.from_numpy(np.concatenate([rotation, random.normal(size=(3, 1)) * 2], 1)).float()


def phone(distortion=PHONE, model="PERSPECTIVE", **other) -> Camera:
    lens = {"fx": 343.88, "fy": 343.6225, "cx": 138.6395, "cy": 241.317, "width": 270, "height": 480}
    return Camera(c2w=pose(), distortion=distortion, model=model, **(lens | other))


def fisheye(**other) -> Camera:
    lens = {"fx": 90.0, "fy": 92.0, "cx": 161.0, "cy": 119.0, "width": 320, "height": 240}
    return phone(WIDE, "FISHEYE", **(lens | other))


CAMERAS = {"pinhole": phone((0.0,) * 6), "phone": phone(), "fisheye": fisheye()}
each_camera = pytest.mark.parametrize("camera", CAMERAS.values(), ids=CAMERAS.keys())


def to_opencv(camera: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World to camera (rotation vector, translation) with OpenCV's axes, and the intrinsic matrix."""
    c2w = camera.c2w.double().numpy()
    rotation = np.diag([1.0, -1.0, -1.0]) @ c2w[:, :3].T
    k = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    return cv2.Rodrigues(rotation)[0], -rotation @ c2w[:, 3], k


def by_opencv(camera: Camera, points: torch.Tensor) -> torch.Tensor:
    """The pixels of world points as OpenCV has them; its pixel centers are whole numbers in its own
    pictures, but projectPoints only multiplies by the intrinsic matrix, whose origin is ours."""
    turn, shift, k = to_opencv(camera)
    k1, k2, k3, k4, p1, p2 = camera.distortion
    world = points.double().numpy()[:, None]
    if camera.model == "FISHEYE":
        pixels = cv2.fisheye.projectPoints(world, turn, shift, k, np.array([k1, k2, k3, k4]))[0]
    else:
        assert k4 == 0  # means something else to OpenCV
        pixels = cv2.projectPoints(world, turn, shift, k, np.array([k1, k2, p1, p2, k3]))[0]
    return torch.from_numpy(pixels[:, 0]).float()


def scattered(camera: Camera, count: int = 4000, seed: int = 1) -> torch.Tensor:
    """World points all around the camera, most of them in front of it."""
    generator = torch.Generator().manual_seed(seed)
    local = torch.randn(count, 3, generator=generator) - torch.tensor([0, 0, 1.5])
    return local @ camera.c2w[:, :3].T + camera.c2w[:, 3]


@each_camera
def test_projection_agrees_with_opencv(camera):
    points = scattered(camera)
    found, pixels = camera.project(points), by_opencv(camera, points)
    local = (points - camera.center) @ camera.c2w[:, :3]
    visible = (pixels >= 1).all(-1) & (pixels < torch.tensor([camera.width, camera.height]) - 1).all(-1)
    visible &= -local[:, 2] > 0.05  # in front; neither of these lenses folds that near its picture
    if camera.model == "PERSPECTIVE":
        visible &= local[:, :2].norm(dim=-1) < -1.2 * local[:, 2]
    assert visible.sum() > 300
    assert found.inside[visible].all()
    assert (found.pixels - pixels)[visible].abs().max() < PIXEL
    assert torch.allclose(found.distance, (points - camera.center).norm(dim=-1), rtol=1e-5)


@each_camera
def test_projection_inverts_rays(camera):
    rays = camera.rays()
    distances = torch.linspace(0.5, 9, rays.count)
    found = camera.project(rays.at(distances))
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    centers = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
    assert found.inside.all()
    # a position near 5 has a spacing of 5e-7; seen from 0.5 away by fx = 344 that is 3e-4 of a pixel
    assert (found.pixels - centers).abs().max() < PIXEL
    assert torch.allclose(found.distance, distances, rtol=1e-5)


@each_camera
def test_rays_agree_with_nerfstudio(camera):
    """nerfstudio's own rays, except on a fisheye's axis, where they are NaN."""
    bundle = camera.nerfstudio.generate_rays(camera_indices=0)
    rays = camera.rays()
    assert torch.allclose(rays.directions, bundle.directions.reshape(-1, 3), atol=1e-6)
    assert torch.equal(rays.origins, bundle.origins.reshape(-1, 3))
    assert torch.allclose(rays.directions.norm(dim=-1), torch.ones(rays.count), atol=1e-6)


def test_rays_agree_with_opencv():
    camera = phone()
    pixels = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([270.0, 480.0])
    _, _, k = to_opencv(camera)
    k1, k2, k3, _, p1, p2 = camera.distortion
    precise = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    lens = np.array([k1, k2, p1, p2, k3])
    seen = pixels.double().numpy()[:, None]
    if hasattr(cv2, "undistortPointsIter"):  # OpenCV 4; the next one's undistortPoints takes the criteria
        plain = cv2.undistortPointsIter(seen, k, lens, None, None, precise)[:, 0]
    else:
        plain = cv2.undistortPoints(seen, k, lens, criteria=precise)[:, 0]
    local = np.concatenate([plain * [1, -1], -np.ones((200, 1))], 1)
    local = local / np.linalg.norm(local, axis=1, keepdims=True)
    directions = camera.rays_through(pixels).directions @ camera.c2w[:, :3]
    assert np.abs(directions.numpy() - local).max() < 2e-6


def test_pixels_count_from_the_corner_and_have_their_centers_at_one_half():
    camera = Camera(torch.eye(4)[:3], fx=2.0, fy=2.0, cx=2.0, cy=1.0, width=4, height=2)
    first = camera.rays().directions[0]
    assert torch.allclose(first / -first[2], torch.tensor([(0.5 - 2) / 2, -(0.5 - 1) / 2, -1.0]))
    assert torch.equal(
        camera.rays_through(torch.tensor([[2.0, 1.0]])).directions[0], torch.tensor([0.0, 0.0, -1.0])
    )
    corner = camera.project(
        torch.tensor([[-0.999, 0.499, -1.0], [-1.001, 0.499, -1.0], [-0.999, 0.501, -1.0]])
    )
    assert corner.inside.tolist() == [True, False, False]
    assert torch.allclose(corner.pixels[0], torch.tensor([0.002, 0.002]), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3))
def test_what_is_behind_is_outside(offset):
    camera = phone()
    local = torch.tensor([[*offset[:2], abs(offset[2])]])  # +z: behind
    assert not camera.project(local @ camera.c2w[:, :3].T + camera.center).inside.any()


def test_the_mirror_image_of_what_is_seen_is_outside():
    camera = phone()
    seen = camera.rays().at(torch.ones(camera.width * camera.height))
    assert not camera.project(2 * camera.center - seen).inside.any()


@pytest.mark.parametrize("lens", [BARREL, (0.1, -0.2, 0.0, 0.0, 0.0, 0.0)])
def test_nothing_folds_back_into_the_picture(lens):
    """Beyond the radius at which the polynomial turns, plain OpenCV returns to the picture."""
    camera = phone(lens)
    angle, radius = torch.linspace(0, 6.28, 64), torch.linspace(1.1, 4, 200)
    x, y = (radius[:, None] * angle.cos()).reshape(-1), (radius[:, None] * angle.sin()).reshape(-1)
    points = torch.stack([x, y, -torch.ones_like(x)], -1) @ camera.c2w[:, :3].T + camera.center
    naive = by_opencv(camera, points)
    folded = (naive > 0).all(-1) & (naive < torch.tensor([270.0, 480.0])).all(-1)
    assert folded.any()  # else this shows nothing
    assert not camera.project(points).inside.any()


def test_a_fold_inside_the_picture_hides_what_lies_beyond_it():
    """With a short lens the picture's corners have no ray at all; what projects there twice counts once."""
    camera = phone(BARREL, fx=120.0, fy=120.0)
    local = torch.tensor([[0.9, 0.0, -1.0], [1.2, 0.0, -1.0], [1.7, 0.0, -1.0]])
    found = camera.project(local @ camera.c2w[:, :3].T + camera.center)
    assert found.inside.tolist() == [True, False, False]


def test_a_fisheye_sees_beyond_a_right_angle_and_along_its_axis():
    camera = fisheye()
    axis = camera.rays_through(torch.tensor([[camera.cx, camera.cy]])).directions[0]
    assert torch.allclose(axis, -camera.c2w[:, 2], atol=1e-6)
    sideways = camera.center + camera.c2w[:, :3] @ torch.tensor([1.0, 0.0, 0.02])  # a little behind
    assert camera.project(sideways[None]).inside.all()


@each_camera
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_scaling_scales_the_picture_only(camera, factor):
    scaled = camera.scaled(factor)
    assert (scaled.width, scaled.height) == (camera.width * factor, camera.height * factor)
    points = scattered(camera, 500)
    before, after = camera.project(points), scaled.project(points)
    assert torch.allclose(after.pixels[before.inside], before.pixels[before.inside] * factor, atol=PIXEL)
    pixels = torch.tensor([[10.0, 20.0], [200.0, 30.0]])
    same = scaled.rays_through(pixels * factor).directions
    assert torch.allclose(same, camera.rays_through(pixels).directions, atol=1e-6)


def test_scaling_to_odd_sizes_keeps_the_corners():
    camera = phone((0.0,) * 6).scaled(0.37)
    assert (camera.width, camera.height) == (100, 178)
    far = camera.rays_through(torch.tensor([[100.0, 178.0]])).directions
    assert torch.allclose(
        far, phone((0.0,) * 6).rays_through(torch.tensor([[270.0, 480.0]])).directions, atol=1e-6
    )
    assert phone().scaled(1e-9).width == 1


@each_camera
def test_a_pixel_has_one_ray_and_a_point_one_place_to_the_last_bit(camera):
    """Whatever else is asked for in the same batch: locality bit for bit depends on it."""
    rays = camera.rays()
    y, x = torch.meshgrid(torch.arange(camera.height), torch.arange(camera.width), indexing="ij")
    centers = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
    points = rays.at(torch.full((rays.count,), 2.0))
    whole = camera.project(points)
    for part in (slice(0, 1), slice(5, 12), slice(1000, 1333)):
        assert torch.equal(camera.rays_through(centers[part]).directions, rays.directions[part])
        assert torch.equal(camera.project(points[part]).pixels, whole.pixels[part])


@each_camera
def test_a_camera_survives_nerfstudio(camera):
    again = Camera.of(camera.nerfstudio, 0)
    assert torch.equal(again.c2w, camera.c2w)
    assert (again.width, again.height, again.model) == (camera.width, camera.height, camera.model)
    for key in ("fx", "fy", "cx", "cy"):
        assert getattr(again, key) == pytest.approx(getattr(camera, key), rel=1e-7)
    assert again.distortion == pytest.approx(camera.distortion, rel=1e-6)


def test_a_panorama_has_rays_but_is_refused_by_name_where_it_would_be_projected():
    camera = Camera(pose(), 32.0, 32.0, 32.0, 16.0, 64, 32, model="EQUIRECTANGULAR")
    assert torch.allclose(camera.rays().directions.norm(dim=-1), torch.ones(64 * 32), atol=1e-5)
    with pytest.raises(InputError, match="EQUIRECTANGULAR"):
        replace(camera).project(torch.zeros(1, 3))
