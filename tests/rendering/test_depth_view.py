"""Depth maps with colors: look-ups between pixels, visibility, and the sizes that they are rendered in."""

import pytest
import torch
from analytic import look_at
from depth_scene import CENTER, depth_views

from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import write_image
from nerf_insert.rendering.depth_view import DepthView, render_depth_views, sample_depth
from nerf_insert.rendering.shaded_samples import Rendered


def test_points_hidden_in_a_view_are_told():
    view = depth_views()[0]
    behind = CENTER + torch.nn.functional.normalize(CENTER - view.camera.center, dim=0) * 0.6
    front = CENTER + torch.nn.functional.normalize(view.camera.center - CENTER, dim=0) * 0.41
    points = torch.stack([front, behind, torch.tensor([9.0, 0.0, 0.0])])
    in_image, visible = view.visibility(points, 0.05)
    assert in_image.tolist() == [True, True, False]
    assert visible.tolist() == [True, False, False]


def test_points_are_those_of_the_valid_pixels():
    view = depth_views()[0]
    points = view.points()
    assert len(points) == int(view.depth.isfinite().sum())
    distance = (points - view.camera.center).norm(dim=-1)
    assert torch.allclose(distance, view.depth[view.depth.isfinite()], rtol=1e-5)
    valid = torch.zeros_like(view.depth, dtype=torch.bool)
    valid[20:30, 30:40] = True
    part = DepthView(camera=view.camera, depth=view.depth, valid=valid)
    assert len(part.points()) == int((valid & view.depth.isfinite()).sum()) > 0


def test_depth_between_pixels_is_exact_on_a_plane_and_takes_sides_at_an_edge():
    camera = look_at((0.0, -3.0, 2.0), (0.0, 0.0, 0.0))
    rays = camera.rays()
    depth = (-rays.origins[:, 2] / rays.directions[:, 2]).view(48, 64)
    pixels = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([50.0, 40]) + 5
    between = camera.rays_through(pixels)
    exact = -between.origins[:, 2] / between.directions[:, 2]
    # inverse depth along the ray is not quite linear in the pixel: its length along the axis is
    assert torch.allclose(sample_depth(depth, pixels), exact, rtol=2e-3)
    depth[:, 32:] = 1.0
    there = sample_depth(depth, torch.tensor([[31.9, 20.5], [32.1, 20.5]]))
    assert float(there[0]) > 2 and float(there[1]) == 1


def test_colors_are_looked_up_at_the_camera_s_pixels_whatever_their_size():
    camera = look_at((0.0, -3.0, 2.0), (0.0, 0.0, 0.0))
    x = (torch.arange(128) + 0.5) / 128
    ramp = x[None, :, None].expand(96, 128, 3)  # twice as fine as the camera
    view = DepthView(camera=camera, depth=torch.ones(48, 64), color=ramp)
    found = view.color_at(torch.tensor([[16.0, 10.0], [32.0, 40.0]]))
    assert found[:, 0].tolist() == pytest.approx([0.25, 0.5], abs=1e-6)


class Blank:
    """A scene without anything in it, of which the cameras are kept that it is rendered from."""

    def __init__(self):
        self.cameras = []

    def render(self, rays):
        return Rendered(
            torch.zeros(rays.count, 3), torch.zeros(rays.count), torch.full((rays.count,), torch.inf)
        )

    def render_image(self, camera):
        self.cameras.append(camera)
        size = camera.height, camera.width
        return Rendered(torch.zeros(*size, 3), torch.zeros(size), torch.full(size, torch.inf))


@pytest.fixture
def narrow_views(tmp_path):
    """Four photographs of 101 x 7 pixels."""
    write_image(tmp_path / "0.png", torch.full((7, 101, 3), 0.5))
    camera = Camera(torch.eye(4)[:3], 50.0, 50.0, 50.5, 3.5, 101, 7)
    return [View(f"{k}.png", tmp_path / "0.png", camera) for k in range(4)]


def test_rays_are_shared_among_the_views(narrow_views):
    scene = Blank()
    found = render_depth_views(scene, narrow_views, total_rays=4 * 28, max_views=30)
    assert len(found) == 4 and all(c.width * c.height == 20 * 1 for c in scene.cameras)
    assert len(render_depth_views(scene, narrow_views, max_views=3)) == 3


def test_colors_are_never_scaled_up_in_one_direction(narrow_views):
    """Half the size rounds to 50 x 4; colors twice as fine, 100 x 8, would be higher than the photograph."""
    (first, *_) = render_depth_views(Blank(), narrow_views, total_rays=101 * 7)
    assert (first.camera.width, first.camera.height) == (50, 4)
    assert first.color.shape == (7, 101, 3)
