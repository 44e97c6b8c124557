"""The view that can be orbited and what is placed in it: cameras and drops against plain geometry."""

import base64
import io
import math
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from nerf_insert.app import mesh_overlay, orbit_view, region_overlay
from nerf_insert.app.drafts import Box, MeshPose
from nerf_insert.app.jobs import previews
from nerf_insert.app.jobs.queue import Job
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError
from nerf_insert.fields.layer import Layer
from nerf_insert.io.files import write_json
from nerf_insert.regions import BoxRegion
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.optimizer import Optimizer


@pytest.fixture(scope="module")
def open_scene(tiny_folder):
    return OpenScene(SceneLocation(tiny_folder / "scene", "scene"))


@pytest.mark.parametrize("yaw, pitch", [(0, 0), (35, 30), (200, -20), (359, 89)])
def test_the_camera_looks_at_what_the_photographs_look_at(open_scene, yaw, pitch):
    camera = orbit_view.orbit_camera(open_scene, orbit_view.Orbit(yaw, pitch, 0.8), 320)
    center = open_scene.capture.center_of_attention
    seen = camera.project(center[None])
    assert torch.allclose(seen.pixels[0], torch.tensor([160.0, 120.0]), atol=0.05)  # a hundredth of a degree
    assert float(seen.distance[0]) == pytest.approx(0.8 * orbit_view.scene_radius(open_scene), rel=1e-5)
    above = float(camera.center[2] - center[2]) / float(seen.distance[0])
    assert math.degrees(math.asin(above)) == pytest.approx(pitch, abs=0.01)


def test_the_orbit_of_a_photograph_stands_where_it_was_taken(open_scene):
    for view in open_scene.capture.views:
        camera = orbit_view.orbit_camera(open_scene, orbit_view.orbit_at_view(open_scene, view.camera), 320)
        assert torch.allclose(camera.center, view.camera.center, atol=1e-4)


@pytest.mark.parametrize(
    "sent", [{}, {"yaw": "x", "pitch": 1e9, "distance": -1, "target": [1]}, {"yaw": float("nan")}]
)
def test_whatever_a_browser_sends_is_an_orbit(open_scene, sent):
    camera = orbit_view.orbit_camera(open_scene, orbit_view.Orbit.parse(sent), 10**9)
    assert camera.width == orbit_view.MAX_WIDTH and bool(camera.c2w.isfinite().all())


def test_up_is_the_axis_that_the_cameras_agree_on(open_scene):
    assert orbit_view.scene_up(open_scene).tolist() == [0, 0, 1]


def test_a_mesh_stands_on_the_point_that_it_is_dropped_on(open_scene, tiny_folder):
    file, point = tiny_folder / "capture" / "object.ply", torch.tensor([0.3, 0.2, 0.1])
    for start in (MeshPose(), MeshPose((5.0, 5.0, 5.0), (30.0, 0.0, 45.0), 0.5)):
        now = mesh_overlay.drop_mesh(open_scene, file, start, point)
        assert (now.rotate, now.scale) == (start.rotate, start.scale)
        low, high = mesh_overlay.posed_mesh(file, now).bounds
        assert float(low[2]) == pytest.approx(0.1, abs=1e-4)  # placings are rounded to five digits
        assert torch.allclose(((low + high) / 2)[:2], point[:2], atol=1e-4)


def test_a_box_stands_on_the_point_that_it_is_dropped_on(open_scene):
    """Its lowest corner is as high as the point, also where it is turned."""
    point = torch.tensor([0.3, 0.2, 0.1])
    for turned in ((0.0, 0.0, 30.0), (0.0, 45.0, 0.0)):
        now = mesh_overlay.drop_box(open_scene, Box((9.0, 9.0, 9.0), (0.4, 0.2, 0.3), turned), point)
        low, high = BoxRegion(now.center, now.size, now.rotation).bounds
        assert float(low[2]) == pytest.approx(0.1, abs=1e-4)
        assert torch.allclose(((low + high) / 2)[:2], point[:2], atol=1e-4)


def test_a_mesh_is_hidden_behind_what_is_nearer(open_scene, tiny_folder):
    import base64
    import io

    from PIL import Image

    file, camera = tiny_folder / "capture" / "object.ply", open_scene.capture.views[0].camera

    def opacity(depth):
        url = mesh_overlay.draw_mesh(file, MeshPose(), camera, depth)
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))[..., 3] > 0

    free = opacity(None)
    hits = mesh_overlay.read_mesh(file).cast(camera.rays())
    assert np.array_equal(free, hits.hit.view(camera.height, camera.width).numpy())
    wall = torch.full((camera.height, camera.width), float("inf"))
    wall[:, : camera.width // 2] = 0.01
    half = opacity(wall)
    assert not half[:, : camera.width // 2].any()
    assert np.array_equal(half[:, camera.width // 2 :], free[:, camera.width // 2 :])


def test_clicking_past_the_scene_is_said(open_scene):
    camera = open_scene.capture.views[0].camera
    with pytest.raises(InputError, match="no surface"):
        mesh_overlay.surface_at(open_scene, camera, 0.5, 0.01)  # black sky


def test_outlines_are_what_the_photographs_show_of_the_region(open_scene):
    """Against the engine's masks, for which the scene is rendered without what lies in the region."""
    from nerf_insert.editing.region_views import visible_mask

    region = BoxRegion([0.4, -0.3, 0.2], [0.4, 0.4, 0.4])
    for view in open_scene.capture.views:
        open_scene.depth(view)
    found = region_overlay.find_overlays(open_scene, region)
    assert found.complete and not found.problem
    wrong = [
        float((found.masks[view.name] != visible_mask(region, open_scene.stack(), view)).float().mean())
        for view in open_scene.capture.views  # smaller than the small pictures: the same pixels
    ]
    assert max(wrong) < 0.01 and any(bool(mask.any()) for mask in found.masks.values())
    far = region_overlay.find_overlays(open_scene, BoxRegion([90.0, 0.0, 0.0], [0.1, 0.1, 0.1]))
    assert far.problem and not any(bool(mask.any()) for mask in far.masks.values())


def test_a_layer_is_shown_while_it_grows(open_scene, tmp_path):
    """From two sides that show much of it, over the scene as it is."""
    region = BoxRegion([0.4, -0.3, 0.2], [0.4, 0.4, 0.4])
    assert previews.render_unfinished_layer(open_scene, tmp_path) == []
    layer = Layer(region)
    Checkpoint(tmp_path / "checkpoint.safetensors", layer, {}).save(Optimizer(layer, 1e-2, 10), 1)
    write_json(tmp_path / "region" / "region.json", region.save(tmp_path / "region"))
    views = previews.best_views(region, open_scene.capture.views)
    sides = [view.camera.center - region.bounds.mean(0) for view in views]
    assert len(views) == 2 and float(torch.nn.functional.cosine_similarity(*sides, dim=0)) < 0.5
    shown = previews.render_unfinished_layer(open_scene, tmp_path)
    assert len(shown) == 2 and all("so far" in one["label"] for one in shown)
    for view, one in zip(views, shown, strict=True):
        camera = view.camera.scaled(previews.WIDTH / view.camera.width)
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["url"].split(",")[1])))) / 255
        change = np.abs(picture - open_scene.stack().render_image(camera).rgb.numpy()).max(-1)
        inside = region.project(camera).numpy()
        assert change[inside].mean() > 3 * change[~inside].mean()  # a haze in it; JPEG outside


def test_a_job_shows_its_own_pictures_and_not_those_of_the_edit_before_it(tmp_path):
    """Two edits that were queued at once: the first paints at 110 and 120, is stopped, and goes on at 300."""
    location = SceneLocation(tmp_path, "scene")
    first = Job("a", "edit", "first", [], "done", created=100, started=105, ended=130)
    second = replace(first, key="b", state="waiting", started=None, ended=None)
    painted = {}
    for name, time in (("001-one/painted/round-1/a.png", 110), ("001-one/painted/round-1/b.png", 120)):
        painted[name] = tmp_path / "layers" / name
        painted[name].parent.mkdir(parents=True, exist_ok=True)
        painted[name].touch()
        os.utime(painted[name], (time, time))
    both = list(painted.values())
    (both[0].parent / ".0123.tmp.png").touch()  # still being written
    assert previews.output_images(location, first, tmp_path / "job") == both
    assert previews.output_images(location, second, tmp_path / "job") == []
    assert (
        previews.output_images(location, replace(second, state="running", started=140), tmp_path / "job")
        == []
    )
    later = tmp_path / "layers" / "001-one" / "painted" / "round-2" / "a.png"
    later.parent.mkdir()
    later.touch()
    os.utime(later, (310, 310))
    again = replace(first, state="running", started=300, ended=None)
    assert previews.output_images(location, again, tmp_path / "job") == [*both, later]
    assert previews.output_images(location, first, tmp_path / "job") == both
