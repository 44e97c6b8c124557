"""Light: closed forms of irradiance and shadow; a known light is found again from colors alone."""

import math

import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.geometry.mesh_normals import geometric_normals
from nerf_insert.lighting.estimation import estimate_light
from nerf_insert.lighting.light import (
    DiskLight,
    Light,
    Occluder,
    fibonacci_sphere,
    incoming_radiance,
    relative_irradiances,
    transport,
)
from nerf_insert.lighting.light_parts import hidden_by_thing
from nerf_insert.lighting.light_samples import ALBEDO, gather_samples, group_samples
from nerf_insert.lighting.surface import SceneSurface

UP = torch.tensor([0.0, 0.0, 1.0])


def unit(*axis):
    return torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float32), dim=0)


def as_mesh(shape):
    return Mesh.plain(torch.tensor(shape.vertices), torch.tensor(shape.faces))


def occluder(mesh, radiance=0.0):
    return Occluder(mesh.cast, lambda hits, directions: torch.full((len(hits.face), 3), radiance))


def plate(width, height, z):
    """A horizontal rectangle around the z axis."""
    x, y = width / 2, height / 2
    corners = torch.tensor([[-x, -y, z], [x, -y, z], [x, y, z], [-x, y, z]])
    return Mesh.plain(corners, torch.tensor([[0, 1, 2], [0, 2, 3]]))


def key(direction=UP, distance=1e4, angle=0.01, irradiance=(1.0, 1.0, 1.0), target=(0.0, 0.0, 0.0)):
    return DiskLight(torch.tensor(target), direction, distance, angle, torch.tensor(irradiance))


@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: sum(x * x for x in v) > 1e-2))
@settings(max_examples=50, deadline=None)
def test_a_frame_is_a_rotation_onto_its_axis(axis):
    rotation = orthonormal_frame(unit(*axis))
    # float32 rounding of three products
    assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-5)
    assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(rotation[2], unit(*axis), atol=1e-6)


def test_the_same_light_from_everywhere_is_what_every_surface_gets():
    normals = fibonacci_sphere(50)
    light = Light.flat(0.7).irradiance(torch.zeros(50, 3), normals)
    assert torch.allclose(light, torch.full((50, 3), 0.7), atol=1e-5)


def test_half_a_sky_gives_the_share_of_its_solid_angle_by_cosine():
    """From above only: 1 for a floor, half for a wall, (1 + cos t) / 2 for a slope, 0 for a ceiling."""
    environment = (fibonacci_sphere()[:, 2] > 0).float()[:, None].expand(-1, 3)
    angles = torch.linspace(0, math.pi, 13)
    normals = torch.stack([angles.sin(), 0 * angles, angles.cos()], -1)
    light = Light(environment).irradiance(torch.zeros(13, 3), normals)[:, 0]
    # 256 directions: the horizon is known to about 1 / sqrt(256) of a radian where it matters
    assert torch.allclose(light, (1 + angles.cos()) / 2, atol=0.03)


def test_inside_a_shell_all_light_is_the_shell_s():
    shell = as_mesh(trimesh.creation.icosphere(3, 2.0))
    near, far = transport(torch.zeros(5, 3), fibonacci_sphere(5), fibonacci_sphere(), [occluder(shell, 0.3)])
    assert torch.allclose(near, torch.full((5, 3), 0.3), atol=1e-5)
    assert float(far.abs().max()) == 0


def test_the_nearer_of_two_things_is_seen():
    near, far = occluder(plate(1, 1, 1.0), 0.2), occluder(plate(1, 1, 2.0), 0.9)
    rays = Rays(torch.zeros(2, 3), torch.stack([UP, -UP]))
    for occluders in ([near, far], [far, near]):
        radiance, met = incoming_radiance(occluders, rays)
        assert radiance[0].tolist() == pytest.approx([0.2] * 3)
        assert met.tolist() == [True, False]


def test_a_far_key_obeys_the_cosine_law():
    angles = torch.linspace(0, math.pi, 10)
    normals = torch.stack([angles.sin(), 0 * angles, angles.cos()], -1)
    relative = key().relative_irradiance(torch.zeros(10, 3), normals, [])
    # the disc of 0.01 radians is not quite a point
    assert torch.allclose(relative, angles.cos().clamp_min(0), atol=5e-3)


def test_a_near_key_falls_off_with_the_square_of_the_distance():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, -2.0]])
    relative = key(distance=2.0, angle=0.001).relative_irradiance(points, UP.expand(3, 3), [])
    assert relative.tolist() == pytest.approx([1.0, 4.0, 0.25], rel=1e-3)


@pytest.mark.parametrize(("offset", "seen"), [(0.0, 0.5), (-1.5, 1.0), (1.5, 0.0)])
def test_half_of_a_disc_behind_an_edge_gives_half_of_its_light(offset, seen):
    """The edge of a wide plate, half way to the key, moves across the disc."""
    edge = as_mesh(trimesh.creation.box((20.0, 20.0, 0.01)))
    edge = edge.transformed(torch.tensor(trimesh.transformations.translation_matrix((10 + offset, 0, 5.0))))
    edge = edge.transformed(torch.tensor(trimesh.transformations.translation_matrix((-2 * offset, 0, 0))))
    relative = key(distance=10.0, angle=math.atan(0.1)).relative_irradiance(
        torch.zeros(1, 3), UP[None], [occluder(edge)]
    )
    # 24 places on the disc; its rim's cosine and distance differ from the middle's by a hundredth
    assert float(relative) == pytest.approx(seen, abs=1 / 24 + 0.02)


def test_what_lies_beyond_the_key_hides_nothing():
    ceiling = occluder(plate(50, 50, 12.0))
    assert float(
        key(distance=10.0).relative_irradiance(torch.zeros(1, 3), UP[None], [ceiling])
    ) == pytest.approx(1, abs=1e-3)
    assert float(key(distance=20.0).relative_irradiance(torch.zeros(1, 3), UP[None], [ceiling])) == 0


def test_a_shadow_stays_in_its_place_over_bumps():
    """A plate one unit over the floor, the light under 45 degrees: the shadow lies one unit farther."""
    x = torch.linspace(-2, 2, 81)[1::2]  # not on the shadow's border
    points, sun = torch.stack([x, 0 * x, 0 * x], -1), key(unit(1.0, 0.0, 1.0), angle=0.001)
    lid, bumps = occluder(plate(1.0, 1.0, 1.0)), occluder(plate(9.0, 9.0, 0.1))
    wanted = ((x > -1.5) & (x < -0.5)).float() * math.cos(math.radians(45))
    clear = math.cos(math.radians(45)) - wanted
    normals = UP.expand(len(x), 3)
    lit = relative_irradiances([sun], points, normals, [lid, bumps], clearance=0.15)[0]
    assert lit.tolist() == pytest.approx(clear.tolist(), abs=2e-3)
    hidden = hidden_by_thing(sun, points, normals, lid, bumps, clearance=0.15, count=48)
    assert hidden.tolist() == pytest.approx(wanted.tolist(), abs=2e-3)
    # the bumps hide the light if they are higher than what is passed over
    assert float(relative_irradiances([sun], points, normals, [bumps], clearance=0.05)[0][20:].max()) == 0


BALLS = [((-0.7, 0.3), 0.35), ((0.6, 0.5), 0.25), ((0.2, -0.8), 0.3)]  # (x, y), radius; they lie on the floor
HALF = 2.0  # of the floor's side


def random_hits(points, normals, count=256, seed=5):
    """The vertex that each of `count` random rays from each point meets, -1: none, [P, count].

    A second implementation of light transport: rays are drawn by cosine, balls and floor are formulas."""
    generator = torch.Generator().manual_seed(seed)
    sideways = torch.nn.functional.normalize(torch.randn(len(points), count, 3, generator=generator), dim=-1)
    rays = torch.nn.functional.normalize(normals[:, None] + sideways, dim=-1)
    start = (points + 1e-3 * normals)[:, None]
    distance = -start[..., 2] / rays[..., 2]
    there = (start + distance[..., None] * rays)[..., :2].abs().amax(-1)
    distance = torch.where((distance > 0) & (there < HALF), distance, torch.inf)
    for (x, y), radius in BALLS:
        toward = torch.tensor([x, y, radius]) - start
        along = (toward * rays).sum(-1)
        inside = radius**2 - toward.square().sum(-1) + along**2
        entry = along - inside.clamp_min(0).sqrt()
        distance = torch.where((inside > 0) & (entry > 0), torch.minimum(entry, distance), distance)
    hit = distance.isfinite()
    index = torch.full(hit.shape, -1)
    met = (start + distance[..., None] * rays)[hit]
    index[hit] = torch.from_numpy(cKDTree(points.numpy()).query(met.numpy())[1])
    return index


def world(light_direction, strength, sky, albedo_of, seed=0):
    """A floor with three balls on it. The key light and its shadows come from a closed form, sky and light
    between the surfaces from `random_hits`; `albedo_of` maps points to [N, 3]."""
    balls = BALLS
    lines = torch.linspace(-HALF, HALF, 49)
    x, y = (c.reshape(-1) for c in torch.meshgrid(lines, lines, indexing="ij"))
    index = torch.arange(49 * 49).view(49, 49)
    a, b, c, d = (q.reshape(-1) for q in (index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]))
    vertices = [torch.stack([x, y, 0 * x], -1)]
    faces = [torch.cat([torch.stack([a, b, c], -1), torch.stack([a, c, d], -1)])]
    for (u, v), radius in balls:
        shape = trimesh.creation.icosphere(3, radius)
        faces.append(torch.tensor(shape.faces) + sum(len(part) for part in vertices))
        vertices.append(torch.tensor(shape.vertices).float() + torch.tensor([u, v, radius]))
    normals = [UP.expand(len(x), 3)]
    normals += [
        torch.nn.functional.normalize(part - torch.tensor([*center, radius]), dim=-1)
        for part, (center, radius) in zip(vertices[1:], balls, strict=True)
    ]
    mesh = Mesh.plain(torch.cat(vertices), torch.cat(faces))
    points, normals = mesh.vertices, torch.cat(normals)
    lit = (normals @ light_direction).clamp_min(0)
    for (u, v), radius in balls:
        toward = torch.tensor([u, v, radius]) - points
        along = toward @ light_direction
        off = (toward.square().sum(-1) - along**2).clamp_min(0).sqrt()
        lit = torch.where((along > 1e-3) & (off < radius) & (toward.norm(dim=-1) > 1.001 * radius), 0.0, lit)
    generator = torch.Generator().manual_seed(seed)
    albedo = albedo_of(points) * torch.exp(0.15 * torch.randn(len(points), 1, generator=generator))
    front, spread = geometric_normals(mesh.vertices, mesh.faces), torch.zeros(len(points))
    hits, radiance = random_hits(points, normals), torch.zeros(len(points), 3)
    hit = (hits >= 0)[..., None]
    for _ in range(3):  # light bounces from one surface to another
        around = torch.where(hit, radiance[hits.clamp_min(0)], torch.tensor(sky)).mean(1)
        radiance = albedo * (around + lit[:, None] * torch.tensor(strength))
    return SceneSurface(mesh, front, normals, radiance, spread, 0.03)


def materials(points):
    """Wood below, red and blue balls, ALBEDO on average."""
    out = torch.tensor([0.42, 0.28, 0.16]).expand(len(points), 3).clone()
    out[(points[:, 2] > 0.01) & (points[:, 0] < 0)] = torch.tensor([0.7, 0.2, 0.15])
    out[(points[:, 2] > 0.01) & (points[:, 0] > 0)] = torch.tensor([0.1, 0.3, 0.65])
    return out


def test_transport_agrees_with_random_rays():
    """Of a point's light from the sky and from the surfaces around it, each of which has its own radiance."""
    surface = world(UP, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), lambda p: 0.3 + 0.2 * torch.sin(3 * p))
    chosen = torch.arange(0, len(surface.mesh.vertices), 7)
    points, normals = surface.mesh.vertices, surface.normals
    hits = random_hits(points, normals, count=1024, seed=6)[chosen]
    hit = (hits >= 0)[..., None]
    wanted_near = torch.where(hit, surface.radiance[hits.clamp_min(0)], 0.0).mean(1)
    x = points[chosen] + 0.003 * normals[chosen]
    near, far = transport(x, normals[chosen], fibonacci_sphere(), [surface.as_occluder()])
    # 1024 random rays know a fraction to 0.015, half of 256 directions to a hundredth
    assert float((near - wanted_near).abs().mean()) < 0.015
    assert float((far.sum(-1) - (~hit).float().mean((1, 2))).abs().mean()) < 0.025
    assert float(wanted_near.std()) > 0.05  # and there is something to agree about


def find(surface, far=None):
    far = torch.full((len(fibonacci_sphere()), 3), float("nan")) if far is None else far
    occluders, center = [surface.as_occluder()], torch.tensor([0.0, 0.0, 0.3])
    samples = gather_samples(surface, occluders, far, center, 1.5, UP)
    return estimate_light(samples, occluders, center, 1.5, UP, far)[0]


@pytest.mark.parametrize(
    "direction", [(0.5, -0.4, 0.77), (-0.8, 0.1, 0.6), (0.1, 0.7, 0.4)], ids=["high", "side", "low"]
)
def test_a_known_light_is_found_from_colors(direction):
    direction = unit(*direction)
    found = find(world(direction, (1.0, 1.0, 1.0), (0.3, 0.3, 0.3), materials))
    # vertices are 0.08 apart, so that shadows are known to a few degrees only
    assert float(found.keys[0].direction @ direction) > math.cos(math.radians(6))
    gray, sky = float(found.keys[0].irradiance.mean()), float(found.environment.mean())
    # textures vary by 15 %, and what they do along a shadow's border is taken for light
    assert gray / sky == pytest.approx(1 / 0.3, rel=0.2)
    assert gray == pytest.approx(1.0, rel=0.15)


def test_hues_of_shade_and_light_are_told_apart():
    found = find(world(unit(0.5, -0.4, 0.77), (1.2, 1.0, 0.8), (0.24, 0.3, 0.36), materials))
    warmth = found.keys[0].irradiance / found.environment[0]
    assert float(warmth[0] / warmth[2]) > 1.3  # the truth is 2.25; the estimate is held back on purpose


def test_without_differences_light_is_soft_and_from_above():
    found = find(world(UP, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), lambda p: torch.full((len(p), 3), ALBEDO)))
    assert float(found.keys[0].direction @ UP) > 0.99
    assert found.keys[0].angle > math.radians(40)
    floor = found.irradiance(torch.tensor([[1.5, -1.5, 0.01]]), UP[None])
    assert float(floor.mean()) == pytest.approx(1.0, rel=0.15)  # brightness comes from ALBEDO: exact here


def test_too_little_to_look_at_still_gives_a_finite_light():
    mesh = Mesh.plain(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))
    none = torch.zeros(0, 3)
    found = find(SceneSurface(mesh, none, none, none, torch.zeros(0), 0.03))
    assert bool(found.environment.isfinite().all()) and bool(found.keys[0].irradiance.isfinite().all())
    assert float(found.irradiance(torch.zeros(1, 3), UP[None]).mean()) > 0.3


def test_what_photographs_show_of_the_environment_is_kept():
    far = torch.full((len(fibonacci_sphere()), 3), float("nan"))
    far[100] = torch.tensor([0.1, 0.2, 0.3])
    found = find(world(unit(0.5, -0.4, 0.77), (1.0,) * 3, (0.3,) * 3, materials), far)
    assert found.environment[100].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_groups_are_alike_in_hue_and_place():
    place = torch.cat([torch.zeros(50, 3), torch.full((50, 3), 9.0), torch.zeros(50, 3)])
    color = torch.cat(
        [torch.tensor([[0.5, 0.2, 0.1]]).expand(100, 3), torch.tensor([[0.1, 0.2, 0.5]]).expand(50, 3)]
    )
    label = group_samples(place, color * torch.linspace(0.2, 1, 150)[:, None], 3)
    parts = [set(label[k : k + 50].tolist()) for k in (0, 50, 100)]
    assert [len(part) for part in parts] == [1, 1, 1] and len(set.union(*parts)) == 3
