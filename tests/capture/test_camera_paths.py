"""Camera paths: nerfstudio's reader is the reference for files, geometry for the rest."""

import json
import math
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.camera_paths import get_path_from_json
from PIL import Image

from nerf_insert.capture.camera_paths import interpolate, look_at, orbit, orbit_cameras, read_cameras
from nerf_insert.capture.capture import Capture, View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera

LIKE = Camera(
    look_at(torch.tensor([3.0, 1.0, 2.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])),
    fx=100.0, fy=101.0, cx=63.0, cy=49.0, width=128, height=96, distortion=(0.1, 0.0, 0.0, 0.0, 0.0, 0.0),
)  # fmt: skip
UP = torch.tensor([0.3, -0.2, 0.9])


def matrix(camera=LIKE):
    return [*camera.c2w.tolist(), [0, 0, 0, 1]]


def viewer_path(**other):
    flat = [value for row in matrix() for value in row]
    entries = [{"camera_to_world": flat, "fov": fov, "aspect": 1.5} for fov in (50.0, 75.0)]
    return {
        "render_height": 90,
        "render_width": 160,
        "camera_type": "perspective",
        "camera_path": entries,
    } | other


def write(tmp_path, data):
    path = tmp_path / "path.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


@pytest.mark.parametrize("kind", ["perspective", "fisheye", "equirectangular"])
def test_viewer_paths_mean_what_nerfstudio_takes_them_for(tmp_path, kind):
    data = viewer_path(camera_type=kind)
    reference = get_path_from_json(data)
    found = read_cameras(write(tmp_path, data))
    assert [name for name, _ in found] == ["00000", "00001"]
    for index, (_, camera) in enumerate(found):
        other = Camera.of(reference, index)
        assert torch.equal(camera.c2w, other.c2w) and camera.model == other.model
        assert (camera.width, camera.height) == (other.width, other.height) == (160, 90)
        assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx(
            (other.fx, other.fy, other.cx, other.cy), rel=1e-6
        )


def test_fov_is_vertical_and_size_rescales(tmp_path):
    (_, camera), _ = read_cameras(write(tmp_path, viewer_path()), size=(320, 180))
    assert (camera.width, camera.height) == (320, 180)
    top = camera.rays_through(torch.tensor([[160.0, 0.0]])).directions[0]
    assert math.degrees(math.acos(float(top @ -camera.c2w[:, 2]))) == pytest.approx(25, abs=1e-3)


def test_transforms_need_no_pictures(tmp_path):
    data = {"w": 128, "h": 96, "camera_angle_x": 1.0, "k1": 0.1,
            "frames": [{"file_path": "a/b.png", "transform_matrix": matrix()}]}  # fmt: skip
    ((name, camera),) = read_cameras(write(tmp_path, data))
    assert name == "a/b.png" and torch.allclose(camera.c2w, LIKE.c2w)
    assert camera.fx == camera.fy == pytest.approx(64 / math.tan(0.5))
    assert camera.distortion == (0.1, 0, 0, 0, 0, 0) and (camera.cx, camera.cy) == (64, 48)


def test_sizes_come_from_the_picture_or_the_call(tmp_path):
    data = {"camera_angle_x": 1.0, "frames": [{"file_path": "b", "transform_matrix": matrix()}]}
    path = write(tmp_path, data)
    with pytest.raises(InputError, match=r'frame 0 .* lacks "w"'):
        read_cameras(path)
    assert read_cameras(path, size=(60, 30))[0][1].fx == pytest.approx(30 / math.tan(0.5))
    Image.new("RGB", (40, 20)).save(tmp_path / "b.png")
    assert read_cameras(path)[0][1].width == 40
    assert read_cameras(path, size=(60, 30))[0][1].fx == pytest.approx(30 / math.tan(0.5))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "holds no cameras"),
        ({"poses": []}, "holds no cameras"),
        (viewer_path(camera_path=[]), "no cameras"),
        (viewer_path(camera_type="vr180"), "camera_type vr180 is not supported"),
        (viewer_path(render_width=0), "render_width is 0"),
        (viewer_path(render_height=None), "render_height should be a number"),
        (viewer_path(camera_path=[{"fov": 50}]), 'camera 0 of .* has no "camera_to_world"'),
        (viewer_path(camera_path=[{"camera_to_world": [1] * 15, "fov": 50}]), "camera 0 .* 4x4"),
        (viewer_path(camera_path=[{"camera_to_world": [2.0] * 16, "fov": 50}]), "camera 0 .* last row"),
        (viewer_path(camera_path=[{"camera_to_world": matrix(), "fov": 180}]), "fov is 180"),
        ({"frames": []}, "no frames"),
        ({"frames": [{"file_path": "a"}]}, "transform_matrix"),
    ],
)
def test_bad_paths_are_named(tmp_path, data, message):
    with pytest.raises(InputError, match=message) as caught:
        read_cameras(write(tmp_path, data))
    assert "path.json" in str(caught.value)


def test_a_missing_path_is_named(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_cameras(tmp_path / "gone.json")


@pytest.mark.parametrize("elevation", [-20.0, 0.0, 35.0, 90.0])
def test_an_orbit_goes_once_around_at_its_distance(elevation):
    target = torch.tensor([0.5, 1.0, -0.25])
    cameras = orbit(target, UP, 2.5, elevation, 12, LIKE)
    up = UP / UP.norm()
    for camera in cameras:
        away = camera.center - target
        assert float(away.norm()) == pytest.approx(2.5, rel=1e-5)
        assert float(away @ up) == pytest.approx(2.5 * math.sin(math.radians(elevation)), abs=1e-5)
        assert torch.allclose(-camera.c2w[:, 2], -away / 2.5, atol=1e-5)  # looks at the target
        rotation = camera.c2w[:, :3]
        assert (
            torch.allclose(rotation.T @ rotation, torch.eye(3), atol=1e-6) and torch.linalg.det(rotation) > 0
        )
        assert (camera.fx, camera.width, camera.distortion) == (LIKE.fx, LIKE.width, LIKE.distortion)
        if elevation < 90:
            assert abs(float(camera.c2w[:, 0] @ up)) < 1e-5 and float(camera.c2w[:, 1] @ up) > 0  # level
    around = torch.stack([c.center - target for c in cameras])
    around = around - (around @ up)[:, None] * up
    if elevation < 90:
        around = around / around.norm(dim=-1, keepdim=True)
        # equal steps of 30 degrees, the last to the first too
        assert torch.allclose(
            (around * around.roll(1, 0)).sum(-1), torch.tensor(math.cos(math.pi / 6)), atol=1e-5
        )
        side = LIKE.center - target
        side = side - (side @ up) * up
        assert torch.allclose(around[0], side / side.norm(), atol=1e-5)  # begins where `like` stands


def test_an_orbit_begins_somewhere_when_like_stands_on_the_axis():
    above = Camera(
        look_at(UP * 3, torch.zeros(3), torch.tensor([1.0, 0.0, 0.0])), 50.0, 50.0, 8.0, 8.0, 16, 16
    )
    assert all(bool(c.c2w.isfinite().all()) for c in orbit(torch.zeros(3), UP, 2.0, 10, 4, above))


def test_interpolation_passes_through_its_cameras_and_stays_rigid():
    cameras = orbit(torch.zeros(3), UP, 2.0, 20, 4, LIKE)[:3]
    path = interpolate(cameras, 9)
    for index, camera in enumerate(cameras):
        assert torch.allclose(path[4 * index].c2w, camera.c2w, atol=1e-6)
    for camera in path:
        rotation = camera.c2w[:, :3]
        assert torch.allclose(rotation.T @ rotation, torch.eye(3), atol=1e-6)
    # halfway between two cameras a quarter turn apart: 45 degrees to each
    step = cameras[0].c2w[:, :3].T @ cameras[1].c2w[:, :3]
    half = cameras[0].c2w[:, :3].T @ path[2].c2w[:, :3]
    assert torch.allclose(half @ half, step, atol=1e-5)
    assert torch.allclose(path[2].center, (cameras[0].center + cameras[1].center) / 2, atol=1e-6)
    wider = interpolate([LIKE, LIKE.scaled(2)], 3)
    assert [c.fx for c in wider] == pytest.approx([LIKE.fx] * 3)  # the same lens in another size
    assert len(interpolate([LIKE], 5)) == 5


def test_an_orbit_of_a_capture_goes_as_far_and_as_high_as_its_photographs():
    ring = orbit(torch.tensor([0.5, 0.0, 0.0]), UP, 2.5, 30, 8, LIKE)
    views = tuple(View(f"{k}.png", Path(f"{k}.png"), camera) for k, camera in enumerate(ring))
    capture = Capture(Path("capture"), views, views, ())
    target = capture.center_of_attention
    assert torch.allclose(target, torch.tensor([0.5, 0.0, 0.0]), atol=1e-4)
    cameras = orbit_cameras(capture, 5, max_side=10)
    for camera in cameras:
        away = camera.center - target
        assert float(away.norm()) == pytest.approx(2.5, rel=1e-4)
        assert math.degrees(math.asin(float(away @ capture.up) / 2.5)) == pytest.approx(30, abs=0.01)
        assert max(camera.width, camera.height) == 10 and not any(camera.distortion)
    assert len(cameras) == 5
    (above,) = orbit_cameras(capture, 1, target=torch.zeros(3), radius=7.0, elevation_degrees=90.0)
    assert torch.allclose(above.center, 7 * capture.up, atol=1e-4)


def circle(first, last, count=12):
    """Cameras on an arc around the origin, degrees, at height 1."""
    found = []
    for angle in torch.linspace(math.radians(first), math.radians(last), count).tolist():
        eye = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 1.0])
        found.append(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0, 1])))
    return found


@pytest.mark.parametrize(("first", "last"), [(-20, 20), (170, 220), (100, 330)])
def test_orbits_stay_where_the_photographs_are_from(first, last):
    """To and fro on their arc, also across 180 degrees; a full circle where they are all around."""
    from nerf_insert.capture.camera_paths import covered_arc, orbit

    up, target = torch.tensor([0.0, 0, 1]), torch.zeros(3)
    poses = circle(first, last)
    away = torch.stack([pose[:, 3] for pose in poses])
    like = Camera(poses[3], 50, 50, 16, 16, 32, 32)
    arc = covered_arc(away, up, like.center)
    cameras = orbit(target, up, 3.0, 20.0, 24, like, arc)
    angles = torch.stack([torch.atan2(c.center[1], c.center[0]) for c in cameras]).rad2deg()
    middle = (first + last) / 2
    off = (angles - middle + 180) % 360 - 180
    assert off.abs().max() < (last - first) / 2 + 1e-3 and off.max() > (last - first) / 2 - 1
    assert off.min() < -(last - first) / 2 + 1
    steps = torch.stack([c.center for c in cameras])
    assert (steps - steps.roll(1, 0)).norm(dim=1).max() < 3 * math.radians(last - first) * 0.15  # a loop
    assert covered_arc(torch.stack([p[:, 3] for p in circle(0, 330)]), up, like.center) is None


@pytest.mark.parametrize("value", [10**400, 1e300, float("nan"), [[1]], "\ud800"])
def test_numbers_that_are_none_are_refused(tmp_path, value):
    """Integers beyond floats, floats beyond 32 bits, and what is no number."""
    for where in ("pose", "fov"):
        pose = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1]
        look = {"camera_to_world": pose, "fov": 50}
        if where == "pose":
            pose[3] = value
        else:
            look["fov"] = value
        file = tmp_path / "path.json"
        file.write_text(json.dumps({"render_width": 8, "render_height": 6, "camera_path": [look]}))
        with pytest.raises(InputError, match="camera 0 of"):
            read_cameras(file)
