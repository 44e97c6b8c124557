"""One surface from many depth maps: a ball on a floor, whose place, normals and colors are known."""

from dataclasses import replace

import pytest
import torch
from analytic import look_at
from depth_scene import BOX, CENTER, RADIUS, depth_views

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh_normals import geometric_normals
from nerf_insert.lighting.depth_fusion import fuse_tsdf
from nerf_insert.lighting.surface import far_radiance, surface_radiance
from nerf_insert.lighting.surface_nets import surface_net
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.shaded_samples import Rendered


def to_surface(points):
    """Distance to the nearer of ball and floor."""
    return torch.minimum(((points - CENTER).norm(dim=-1) - RADIUS).abs(), points[:, 2].abs())


@pytest.fixture(scope="module")
def surface():
    return fuse_tsdf(depth_views(), BOX, 64)


def test_the_surface_lies_where_it_is(surface):
    off = to_surface(surface.mesh.vertices)
    assert len(off) > 1000
    # cells are 1/32 wide; pixels show 1/25 at this distance
    assert float(off.median()) < 0.1 * surface.cell
    assert float(off.quantile(0.95)) < surface.cell


def test_normals_look_into_free_space(surface):
    on_ball = ((surface.mesh.vertices - CENTER).norm(dim=-1) - RADIUS).abs() < 0.3 * surface.cell
    on_ball &= surface.mesh.vertices[:, 2] > 0.2
    wanted = torch.nn.functional.normalize(surface.mesh.vertices[on_ball] - CENTER, dim=-1)
    cosine = (surface.normals[on_ball] * wanted).sum(-1)
    assert float(cosine.median()) > 0.99
    on_floor = (surface.mesh.vertices[:, 2].abs() < 0.01) & (surface.mesh.vertices[:, :2].norm(dim=-1) > 0.7)
    assert float(surface.normals[on_floor, 2].quantile(0.05)) > 0.99


def test_colors_are_those_of_the_views(surface):
    high = surface.mesh.vertices[:, 2] > 0.3
    far = (surface.mesh.vertices[:, :2] - CENTER[:2]).norm(dim=-1) > 0.7
    for where, color in ((high, [0.6, 0.1, 0.1]), (far, [0.3, 0.3, 0.3])):
        assert torch.allclose(surface.radiance[where].nanmedian(0).values, torch.tensor(color), atol=0.01)


def test_a_floater_that_one_view_believes_in_is_no_surface():
    views = depth_views()
    views[0].depth[10:20, 10:20] = 1.0
    camera = views[0].camera
    floater = camera.rays().at(torch.full((64 * 48,), 1.0)).view(48, 64, 3)[10:20, 10:20].reshape(-1, 3)
    near = torch.cdist(fuse_tsdf(views, BOX, 64).mesh.vertices, floater).amin(1)
    assert float(near.min()) > 0.1


def test_a_wrong_view_does_not_change_the_median_color():
    views = depth_views()
    views[1] = replace(views[1], color=torch.ones_like(views[1].color))
    point, normal = torch.tensor([[-0.6, 0.6, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    color, spread = surface_radiance(views, point, normal, 0.05)
    assert color[0].tolist() == pytest.approx([0.3, 0.3, 0.3], abs=1e-4)
    assert float(spread) == pytest.approx(0, abs=1e-4)
    hidden, _ = surface_radiance(views, CENTER[None], normal, 0.05)
    assert bool(hidden.isnan().all())


def test_rays_that_start_a_little_below_the_surface_pass_it(surface):
    start = torch.tensor([[-0.7, 0.7, -surface.cell], [-0.7, 0.7, -0.25], [-0.7, 0.7, 0.5]])
    up = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    hits = surface.cast(Rays(start, up))
    assert hits.hit.tolist() == [False, True, True]  # too far below is below; from above it is met
    assert hits.distance[2] == pytest.approx(0.5, abs=0.3 * surface.cell)


def test_a_surface_net_of_an_exact_ball_is_the_ball():
    axis = torch.arange(33.0)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    grid = (points - 16.2).norm(dim=-1) - 10.3
    vertices, faces = surface_net(grid)
    off = (vertices - 16.2).norm(dim=-1) - 10.3
    # the mean of edge crossings lies inside a curved cell by about 1 / (8 r)
    assert float(off.abs().max()) < 0.06
    outward = (geometric_normals(vertices, faces) * (vertices[faces].mean(1) - 16.2)).sum(-1)
    assert bool((outward > 0).all())
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    assert bool((edges.unique(dim=0, return_counts=True)[1] == 2).all())  # closed
    grid[:, :, :16] = float("nan")
    assert float(surface_net(grid)[0][:, 2].min()) >= 16


class Walls:
    """A scene that is one ball of radius 5 around the origin, seen from inside."""

    def render(self, rays):
        along = -(rays.origins * rays.directions).sum(-1)
        depth = along + (25 - rays.origins.square().sum(-1) + along**2).sqrt()
        return Rendered(torch.zeros(rays.count, 3), torch.ones(rays.count), depth)

    def render_image(self, camera):
        raise NotImplementedError


def test_far_radiance_is_what_some_view_shows_and_unknown_elsewhere():
    camera = look_at((0.0, -1.0, 0.0), (0.0, 5.0, 0.0))
    depth = Walls().render(camera.rays()).depth.view(48, 64)
    view = DepthView(camera=camera, depth=depth, color=torch.full((48, 64, 3), 0.4))
    directions = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    far = far_radiance(Walls(), [view], torch.tensor([[-1.0] * 3, [1.0] * 3]), directions)
    assert far[0].tolist() == pytest.approx([0.4] * 3)
    assert bool(far[1:].isnan().all())
    blocked = far_radiance(
        Walls(), [replace(view, depth=depth / 3)], torch.tensor([[-1.0] * 3, [1.0] * 3]), directions
    )
    assert bool(blocked.isnan().all())
