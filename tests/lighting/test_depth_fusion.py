"""One surface from many depths: balls on a floor, whose place, normals and colors are known."""

import pytest
import torch
from analytic import look_at

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh_normals import geometric_normals
from nerf_insert.lighting.depth_fusion import (
    DepthView,
    distance_field,
    far_radiance,
    fuse_tsdf,
    radiance,
    sample_depth,
    sees,
    surface_net,
)
from nerf_insert.rendering.shaded_samples import Rendered

BOX = torch.tensor([[-1.0, -1.0, -0.3], [1.0, 1.0, 1.0]])
CENTER, RADIUS = torch.tensor([0.1, -0.1, 0.4]), 0.4
EYES = [
    (2.0, 0.1, 1.2),
    (0.1, 2.0, 1.0),
    (-1.9, 0.3, 1.3),
    (0.2, -2.1, 1.0),
    (1.4, 1.4, 2.0),
    (-1.3, -1.4, 1.6),
]


def truth(rays):
    """Distance to a ball on the floor z = 0, and its color: red ball, gray floor."""
    toward = CENTER - rays.origins
    along = (toward * rays.directions).sum(-1)
    off = toward.square().sum(-1) - along**2
    ball = torch.where(
        (off < RADIUS**2) & (along > 0), along - (RADIUS**2 - off).clamp_min(0).sqrt(), float("inf")
    )
    floor = -rays.origins[:, 2] / rays.directions[:, 2]
    floor = torch.where(floor > 0, floor, float("inf"))
    color = torch.where((ball < floor)[:, None], torch.tensor([0.6, 0.1, 0.1]), torch.tensor([0.3, 0.3, 0.3]))
    return torch.minimum(ball, floor), color


def views(size=(64, 48)):
    out = []
    for eye in EYES:
        camera = look_at(eye, (0.0, 0.0, 0.3), size, focal=0.9 * size[0])
        depth, color = truth(camera.rays())
        shape = (camera.height, camera.width)
        out.append(DepthView(camera, depth.view(shape), color.view(*shape, 3)))
    return out


def to_surface(points):
    """Distance to the nearer of ball and floor."""
    return torch.minimum(((points - CENTER).norm(dim=-1) - RADIUS).abs(), points[:, 2].abs())


@pytest.fixture(scope="module")
def surface():
    return fuse_tsdf(views(), BOX, 64)


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
    glances = views()
    glances[0].depth[10:20, 10:20] = 1.0
    camera = glances[0].camera
    floater = camera.rays().at(torch.full((64 * 48,), 1.0)).view(48, 64, 3)[10:20, 10:20].reshape(-1, 3)
    near = torch.cdist(fuse_tsdf(glances, BOX, 64).mesh.vertices, floater).amin(1)
    assert float(near.min()) > 0.1


def test_a_wrong_view_does_not_change_the_median_color():
    glances = views()
    glances[1] = glances[1]._replace(color=torch.ones_like(glances[1].color))
    point, normal = torch.tensor([[-0.6, 0.6, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    color, spread = radiance(glances, point, normal, 0.05)
    assert color[0].tolist() == pytest.approx([0.3, 0.3, 0.3], abs=1e-4)
    assert float(spread) == pytest.approx(0, abs=1e-4)
    hidden, _ = radiance(glances, CENTER[None], normal, 0.05)
    assert bool(hidden.isnan().all())


def test_rays_that_start_a_little_below_the_surface_pass_it(surface):
    start = torch.tensor([[-0.7, 0.7, -surface.cell], [-0.7, 0.7, -0.25], [-0.7, 0.7, 0.5]])
    up = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    hits = surface.cast(Rays(start, up))
    assert hits.hit.tolist() == [False, True, True]  # too far below is below; from above it is met
    assert hits.distance[2] == pytest.approx(0.5, abs=0.3 * surface.cell)


def test_points_hidden_in_a_view_are_told(surface):
    glance = views()[0]
    behind = CENTER + torch.nn.functional.normalize(CENTER - glance.camera.center, dim=0) * 0.6
    front = CENTER + torch.nn.functional.normalize(glance.camera.center - CENTER, dim=0) * 0.41
    shown, clear = sees(glance, torch.stack([front, behind, torch.tensor([9.0, 0.0, 0.0])]), 0.05)
    assert shown.tolist() == [True, True, False]
    assert clear.tolist() == [True, False, False]


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


def test_grid_points_that_too_few_views_reach_are_unknown():
    far_off = torch.tensor([[0.0, 0.0, -5.0], [0.0, 0.0, 0.9]])
    value = distance_field(views(), far_off, 0.1)
    assert bool(value[0].isnan()) and float(value[1]) == 1


class Walls:
    """A scene that is one ball of radius 5 around the origin, seen from inside."""

    def render(self, rays):
        along = -(rays.origins * rays.directions).sum(-1)
        depth = along + (25 - rays.origins.square().sum(-1) + along**2).sqrt()
        return Rendered(torch.zeros(rays.count, 3), torch.ones(rays.count), depth)


def test_far_radiance_is_what_some_view_shows_and_unknown_elsewhere():
    camera = look_at((0.0, -1.0, 0.0), (0.0, 5.0, 0.0))
    depth = Walls().render(camera.rays()).depth.view(48, 64)
    glance = DepthView(camera, depth, torch.full((48, 64, 3), 0.4))
    directions = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    far = far_radiance(Walls(), [glance], torch.tensor([[-1.0] * 3, [1.0] * 3]), directions)
    assert far[0].tolist() == pytest.approx([0.4] * 3)
    assert bool(far[1:].isnan().all())
    blocked = far_radiance(
        Walls(), [glance._replace(depth=depth / 3)], torch.tensor([[-1.0] * 3, [1.0] * 3]), directions
    )
    assert bool(blocked.isnan().all())
