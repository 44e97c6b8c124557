"""What is seen along reflected rays, against scenes that are formulas."""

import math

import pytest
import torch
from analytic import look_at
from lit_ball import NO_SURFACE, plane

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.color import linear_to_srgb
from nerf_insert.lighting.light import Light, fibonacci_sphere
from nerf_insert.lighting.octahedral_map import OctahedralMap, pixel_directions
from nerf_insert.lighting.surroundings import SIDE, Surroundings, picture_surroundings
from nerf_insert.rendering.depth_view import DepthView
from nerf_insert.rendering.shaded_samples import Rendered

UP = torch.tensor([0.0, 0.0, 1.0])
ROOM = 4.0  # radius of a ball around the origin whose wall is the scene
MIDDLE = torch.tensor([0.2, -0.1, 0.3])
BOUNDS = torch.stack([MIDDLE - 0.2, MIDDLE + 0.2])


def wall(points):
    """Radiance of places of the room's wall."""
    return 0.5 + 0.1 * points


def floor(points):
    """Radiance of places of the floor z = 0."""
    x, y, _ = points.unbind(-1)
    return torch.stack([0.5 + 0.2 * torch.sin(2 * x), 0.5 + 0.2 * torch.sin(3 * y), 0.3 + 0 * x], -1)


def met(rays, with_floor):
    """Where rays meet the wall, or the floor before it, and the light there."""
    along = (rays.origins * rays.directions).sum(-1)
    distance = (along**2 - rays.origins.square().sum(-1) + ROOM**2).sqrt() - along
    down = -rays.origins[:, 2] / rays.directions[:, 2]
    first = (down > 0) & (down < distance) & with_floor
    distance = torch.where(first, down, distance)
    points = rays.at(distance)
    return distance, torch.where(first[:, None], floor(points), wall(points))


class Room:
    def __init__(self, with_floor=False):
        self.with_floor = with_floor

    def render(self, rays):
        distance, light = met(rays, self.with_floor)
        return Rendered(linear_to_srgb(light), torch.ones(rays.count), distance)

    def render_image(self, camera):
        raise NotImplementedError


def depth_views():
    """Photographs all around, a fisheye's worth: wide pictures from the middle of the room."""
    eyes = [(0.01, 0.0, 0.5), (0.0, -0.5, 0.6)]
    targets = [(1.0, 0, 0.5), (-1.0, 0, 0.5), (0, 1.0, 0.5), (0, -1.0, 0.5), (0.1, 0, 3.0), (0.1, 0, -3.0)]
    out = []
    for eye in eyes:
        for target in targets:
            camera = look_at(eye, target, (48, 48), focal=20.0)
            distance, _ = met(camera.rays(), False)
            out.append(DepthView(camera=camera, depth=distance.view(48, 48)))
    return out


def pictured(surface=NO_SURFACE, views=(), estimated=True, light=None, with_floor=False, exposure=1.0):
    light = light or Light.flat(0.25)
    return picture_surroundings(Room(with_floor), surface, views, BOUNDS, UP, light, estimated, exposure)


def rays_nearby(count=4000, z=(-1.0, 1.0)):
    generator = torch.Generator().manual_seed(0)
    directions = fibonacci_sphere(count)
    directions = directions[(directions[:, 2] > z[0]) & (directions[:, 2] < z[1])]
    starts = MIDDLE + 0.2 * (2 * torch.rand(len(directions), 3, generator=generator) - 1)
    return Rays(starts, directions)


def test_rays_from_beside_the_center_see_the_place_that_they_meet():
    """Parallax: the wall is 4 away, rays begin up to 0.35 beside the center."""
    around = pictured(views=depth_views())
    assert torch.allclose(around.center, MIDDLE)
    rays = rays_nearby()
    light, distance = around.seen_along(rays, torch.zeros(rays.count))
    where, expected = met(rays, False)
    # a pixel is 0.8 degrees: 0.06 on the wall, of light that changes by 0.1 a unit
    assert torch.allclose(light, expected, atol=0.006)
    assert torch.allclose(distance, where, rtol=0.02)
    shifted = around.from_center(rays.directions, torch.zeros(rays.count))
    assert float((shifted - expected).abs().max()) > 0.02  # what it would be without


def test_near_surfaces_are_met_exactly_and_may_be_shaded():
    surface = plane(lambda points: torch.full((len(points), 3), 0.9))
    around = pictured(surface, with_floor=True)
    rays = rays_nearby(z=(-1.0, -0.5))
    light, distance = around.seen_along(rays, torch.zeros(rays.count))
    where, expected = met(rays, True)
    assert torch.allclose(distance, where, atol=1e-4)
    # a pixel is 0.8 degrees, of a floor at most 1 away, whose light changes by 0.6 a unit
    assert torch.allclose(light, expected, atol=0.01)
    half = around.shaded(surface.radiance, torch.full_like(surface.radiance, 0.5))
    assert torch.allclose(half.seen_along(rays, torch.zeros(rays.count))[0], 0.5 * light, atol=1e-6)


def test_what_the_center_does_not_see_has_the_surface_s_own_light():
    """The picture shows a wall where the surface lies: the surface is hidden from the center."""
    surface = plane(lambda points: torch.full((len(points), 3), 0.9))
    picture = torch.cat([torch.zeros(SIDE, SIDE, 3), torch.full((SIDE, SIDE, 1), 0.05)], -1)
    around = Surroundings(
        MIDDLE, OctahedralMap(picture), surface, surface.radiance, torch.ones_like(surface.radiance)
    )
    rays = rays_nearby(z=(-1.0, -0.5))
    light, _ = around.seen_along(rays, torch.zeros(rays.count))
    assert torch.allclose(light, torch.full_like(light, 0.9))


def test_what_no_photograph_shows_is_the_light_s_environment():
    """Half of the room is photographed; the base's guess of the rest does not count."""
    views = [view for view in depth_views() if view.camera.c2w[0, 2] < -0.5]  # those that look towards +x
    around = pictured(views=views)
    directions = pixel_directions(SIDE).view(-1, 3)
    shown = around.picture.image[..., :3].view(-1, 3)
    away, towards = directions[:, 0] < -0.7, directions[:, 0] > 0.9
    assert torch.allclose(shown[away], torch.tensor(0.25), atol=1e-5)
    _, expected = met(Rays(MIDDLE.expand(len(directions), 3), directions), False)
    assert torch.allclose(shown[towards], expected[towards], atol=1e-4)


@pytest.mark.parametrize("exposure", [1.0, 0.5])
def test_another_light_takes_the_place_of_what_is_far(exposure):
    surface = plane()
    around = pictured(surface, depth_views(), False, Light.flat(0.7), True, exposure)
    image, directions = around.picture.image[..., :3].view(-1, 3), pixel_directions(SIDE).view(-1, 3)
    assert torch.allclose(image[directions[:, 2] > 0.1], torch.tensor(0.7), atol=1e-5)
    down = directions[:, 2] < -0.4  # the floor is near, and as bright as it is
    _, expected = met(Rays(MIDDLE.expand(len(directions), 3), directions), True)
    assert torch.allclose(image[down], expected[down], atol=1e-4)


def test_exposure_is_a_factor_on_what_is_far():
    one, half = (pictured(views=depth_views(), exposure=k).picture.image[..., :3] for k in (1.0, 0.5))
    assert torch.allclose(half, 0.5 * one, atol=1e-4)


def test_irradiance_of_a_room_that_is_linear_in_place():
    around = pictured(views=depth_views())
    normals = fibonacci_sphere(50)
    # the wall is 0.5 + 0.1 p; from the room's middle p = 4 n: 2/3 of that gradient, and the middle is near
    expected = 0.5 + 0.1 * (2 / 3) * ROOM * normals
    assert float((around.irradiance(normals) - expected).abs().max()) < 0.1 * float(MIDDLE.norm())


def test_a_center_within_something_is_moved_up():
    """A view that has something before the mesh's middle in its depth, and not before what is above."""
    camera = look_at((3.0, -0.1, 0.3), (0.2, -0.1, 0.3), (64, 64), focal=60.0)
    depth = torch.full((64, 64), 10.0)
    projected = camera.project(MIDDLE[None]).pixels[0].long()
    depth[projected[1] - 2 : projected[1] + 3, projected[0] - 2 : projected[0] + 3] = 2.0
    around = pictured(views=[DepthView(camera=camera, depth=depth)])
    assert float(around.center[2] - MIDDLE[2]) == pytest.approx(0.5 * 0.2 * math.sqrt(3), rel=1e-4)
