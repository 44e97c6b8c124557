"""What the mesh inpainter makes of metal, roughness and relief, against closed forms."""

import math
from dataclasses import replace

import pytest
import torch
import trimesh
from analytic import AnalyticField, look_at
from lit_ball import NO_SURFACE, plane

from nerf_insert.capture.capture import View
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.geometry.material import Material, Texture, TextureUse
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.inpaint.api import EditContext, InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.mesh.compositor import compress_highlights
from nerf_insert.inpaint.mesh.inpainter import MeshInpainter
from nerf_insert.io.images import write_image
from nerf_insert.lighting.finish import LOBE_SAMPLES
from nerf_insert.lighting.light import DiskLight, Light, fibonacci_sphere
from nerf_insert.lighting.octahedral_map import OctahedralMap, pixel_directions
from nerf_insert.lighting.shading import shade
from nerf_insert.lighting.surroundings import SIDE, Surroundings
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress

CENTER, RADIUS = torch.tensor([0.0, 0.0, 0.35]), 0.25
FAR = 50.0  # distance of what is around
GRADIENT = torch.tensor([0.25, -0.1, 0.2])


def finished(mesh, **material):
    """The mesh with one material."""
    index = torch.zeros(len(mesh.faces), dtype=torch.int64)
    return replace(mesh, materials=(Material(**material),), material_index=index)


def ball(color=(1.0, 1.0, 1.0), center=CENTER, radius=RADIUS, finely=5):
    shape = trimesh.creation.icosphere(finely, radius)
    return Mesh.plain(torch.tensor(shape.vertices) + center, torch.tensor(shape.faces), color)


def linear_light(directions):
    """Light from far away that is linear in its direction."""
    return (0.5 + directions @ GRADIENT)[:, None].expand(-1, 3)


def around(light=linear_light, surface=NO_SURFACE):
    """Surroundings that are far away all around, the surface apart."""
    directions = pixel_directions(SIDE)
    picture = torch.cat([light(directions.view(-1, 3)), torch.full((SIDE**2, 1), FAR)], -1)
    picture = OctahedralMap(picture.view(SIDE, SIDE, 4))
    return Surroundings(CENTER, picture, surface, surface.radiance, torch.ones_like(surface.radiance))


def far_light(keys=()):
    return Light(linear_light(fibonacci_sphere()).contiguous(), keys)


def shown(shaded, face, barycentric, direction):
    """What an eye sees of points, that looks along a direction: the mean over the lobe."""
    count = len(face)
    draw = torch.arange(LOBE_SAMPLES).repeat(count)
    face, barycentric = face.repeat_interleave(LOBE_SAMPLES), barycentric.repeat_interleave(LOBE_SAMPLES, 0)
    direction = direction.expand(count, 3).repeat_interleave(LOBE_SAMPLES, 0)
    return shaded.radiance(face, barycentric, direction, draw).view(count, LOBE_SAMPLES, 3).mean(1)


def seen_from(shaded, camera):
    """Points of the mesh that a camera sees well, their normals and directions, and their light."""
    rays = camera.rays()
    hits = shaded.mesh.cast(rays)
    index = hits.hit.nonzero()[:, 0]
    face, barycentric = hits.face[index], hits.barycentric[index]
    normals = torch.nn.functional.normalize(shaded.mesh.points_at(face, barycentric) - CENTER, dim=-1)
    well = (normals * rays.directions[index]).sum(-1) < -0.3
    index, face, barycentric, normals = index[well], face[well], barycentric[well], normals[well]
    return normals, rays.directions[index], shown(shaded, face, barycentric, rays.directions[index])


def mirrored(directions, normals):
    return directions - 2 * (directions * normals).sum(-1, keepdim=True) * normals


CAMERA = look_at((1.2, 0.8, 1.0), tuple(CENTER.tolist()), (24, 24), focal=60.0)


class Nothing:
    """A black void, photographed, with all that an edit of it needs."""

    def __init__(self, folder):
        self.stack = LayerStack(AnalyticField((), False, step=0.02))
        self.views = []
        for k, eye in enumerate([(1.6, 0.3, 1.0), (0.2, 1.7, 1.1), (-1.5, 0.4, 1.0)]):
            camera = look_at(eye, (0.0, 0.0, 0.25), (64, 48), focal=60.0)
            write_image(folder / f"{k}.png", self.stack.render_image(camera).rgb)
            self.views.append(View(f"{k}.png", folder / f"{k}.png", camera))

    def paint(self, mesh, mask=None, **options):
        inpainter = MeshInpainter(light="flat", shadows=False, **options)
        region = BoxRegion((0.0, 0.0, 0.3), (1.6, 1.6, 0.8))
        guide = Guide(mesh=mesh)
        inpainter.prepare(EditContext(self.stack, region, guide, tuple(self.views), 0, Progress()))
        view = self.views[0]
        mask = torch.ones(48, 64, dtype=torch.bool) if mask is None else mask
        depth = torch.full((48, 64), float("inf"))
        picture = view.photograph()
        return inpainter.inpaint([InpaintView("0", picture, picture, mask, depth, view.camera)], guide)[0]


@pytest.fixture(scope="module")
def void(tmp_path_factory):
    return Nothing(tmp_path_factory.mktemp("void"))


def inside(view):
    """The pixels that show the ball and nothing else."""
    rays = view.camera.rays()
    toward = CENTER - rays.origins
    along = (toward * rays.directions).sum(-1)
    return (toward.square().sum(-1) - along**2 < (0.85 * RADIUS) ** 2).view(48, 64)


# Furnaces


@pytest.mark.parametrize("roughness", [0.0, 0.3, 1.0])
def test_white_metal_in_white_light_is_white(void, roughness):
    """The whole way to the picture, in which values near 1 are compressed."""
    painted = void.paint(finished(ball(), metallic=1.0, roughness=roughness))
    wanted = float(linear_to_srgb(compress_highlights(torch.tensor(1.0))))
    # 36 directions stand for a lobe: their mean is off by up to 2 %, of which compressing leaves a third;
    # a mirror loses nothing
    assert torch.allclose(
        painted[inside(void.views[0])], torch.tensor(wanted), atol=1e-5 if not roughness else 5e-3
    )


def test_metal_has_its_own_color_and_no_other(void):
    """Head-on its base color; no diffuse part: black metal is black but for its edge."""
    color = torch.tensor([0.8, 0.4, 0.1])
    painted = void.paint(finished(ball(tuple(color.tolist())), metallic=1.0, roughness=0.0))
    middle = srgb_to_linear(painted[inside(void.views[0])])
    rays = void.views[0].camera.rays()
    base = srgb_to_linear(color)
    # the darkest pixel is seen head-on, where Schlick's term is 0
    assert torch.allclose(middle.amin(0), base, atol=2e-3) and rays.count


def test_the_option_roughness_counts_for_all_of_the_mesh(void):
    mesh = finished(ball((0.1, 0.1, 0.1)), metallic=0.0, roughness=0.1)
    other = finished(ball((0.1, 0.1, 0.1)), metallic=0.0, roughness=0.9)
    assert torch.equal(void.paint(mesh, roughness=0.9), void.paint(other))
    assert not torch.equal(void.paint(mesh), void.paint(other))


def test_a_material_that_says_nothing_is_as_no_material(void):
    mesh = ball((0.7, 0.3, 0.2))
    assert torch.equal(void.paint(mesh), void.paint(finished(mesh, name="paint")))


def test_pixels_do_not_depend_on_what_is_painted_with_them(void):
    mesh = finished(ball(), metallic=1.0, roughness=0.4)
    mask = torch.zeros(48, 64, dtype=torch.bool)
    mask[:, :33] = True
    whole, part = void.paint(mesh), void.paint(mesh, mask)
    # a processor may round the end of a batch differently
    torch.testing.assert_close(part[mask], whole[mask], atol=1.2e-7, rtol=0)


# Mirrors


def test_a_mirror_ball_reflects_what_the_law_of_reflection_says():
    shaded = shade(
        finished(ball(), metallic=1.0, roughness=0.0), NO_SURFACE, far_light(), surroundings=around()
    )
    normals, directions, light = seen_from(shaded, CAMERA)
    assert len(normals) > 60
    # facets of 3 degrees, whose normals are smoothed; pixels of 0.8 degrees
    assert torch.allclose(light, linear_light(mirrored(directions, normals)), atol=0.01)


def test_a_mirror_ball_shows_the_floor_below_it_where_it_lies():
    """Of a floor 0.1 below, which is as near as the ball is large: not where it would be if it were far."""

    def pattern(points):
        return (0.5 + 0.3 * torch.sin(3 * points[:, 0] - 2 * points[:, 1]))[:, None].expand(-1, 3)

    surface = plane(pattern, cells=80, half=2.0)
    directions = pixel_directions(SIDE).view(-1, 3)
    down = -CENTER[2] / directions[:, 2]
    points = CENTER + down[:, None] * directions
    on_floor = (down > 0) & (points[:, :2].abs() < 2.0).all(-1)
    light = torch.where(on_floor[:, None], pattern(points), 0.1)
    distance = torch.where(on_floor, down, FAR)
    picture = torch.cat([light, distance[:, None]], -1).view(SIDE, SIDE, 4)
    place = Surroundings(
        CENTER, OctahedralMap(picture), surface, surface.radiance, torch.ones_like(surface.radiance)
    )
    mesh = finished(ball(), metallic=1.0, roughness=0.0)
    shaded = shade(mesh, surface, Light.flat(0.0), surroundings=place)
    # no light of its own: what the ball takes away is told by the shade, which is left out here
    shaded = replace(shaded, surroundings=place)
    normals, directions, light = seen_from(shaded, CAMERA)
    rays = Rays(CENTER + RADIUS * normals, mirrored(directions, normals))
    away = -rays.origins[:, 2] / rays.directions[:, 2]
    points = rays.at(away)
    here = (away > 0) & (away < 1.2) & (points[:, :2].abs() < 1.5).all(-1)
    assert int(here.sum()) > 20
    # a facet's normal is off by a fraction of a degree, which is 0.02 on the floor at distance 1.2
    assert torch.allclose(light[here], pattern(points)[here], atol=0.03)


def test_a_rough_metal_shows_the_mean_of_what_a_mirror_shows():
    """Of light that is linear in its direction: the lobe's mean is on the mirrored side and shorter."""
    mesh = ball()
    contrast = {}
    for roughness in (0.0, 0.5, 0.9):
        material = finished(mesh, metallic=1.0, roughness=roughness)
        shaded = shade(material, NO_SURFACE, far_light(), surroundings=around())
        _, _, light = seen_from(shaded, CAMERA)
        contrast[roughness] = float(light.std())
        assert float(light.mean()) == pytest.approx(0.5, abs=0.15)
    assert contrast[0.0] > contrast[0.5] > contrast[0.9] > 0


def test_a_key_light_is_mirrored_where_it_stands():
    """The brightest place has its normal half way between light and eye, whatever the metal's color."""
    direction = torch.nn.functional.normalize(torch.tensor([0.4, 0.7, 0.8]), dim=0)
    key = DiskLight(CENTER, direction, 1e3, math.radians(3), torch.ones(3))
    material = finished(ball((1.0, 0.8, 0.3)), metallic=1.0, roughness=0.2)
    shaded = shade(
        material, NO_SURFACE, Light(torch.zeros(256, 3), (key,)), surroundings=around(torch.zeros_like)
    )
    normals, directions, light = seen_from(shaded, CAMERA)
    half = torch.nn.functional.normalize(direction - directions, dim=-1)
    best = (normals * half).sum(-1)
    assert float(best.max()) > 0.98
    brightest = light[:, 0].argmax()
    assert float(best[brightest]) > float(best.max()) - 0.01
    base = srgb_to_linear(torch.tensor([1.0, 0.8, 0.3]))
    assert torch.allclose(light[brightest] / light[brightest, 0], base / base[0], atol=0.02)


def test_a_mesh_reflects_itself():
    """A mirror below a red ball shows it; where the ray misses the ball, what is far."""
    red = ball((1.0, 0.0, 0.0), CENTER + torch.tensor([0.0, 0.0, 0.5]), 0.2, 3)
    corners = torch.tensor([[-0.5, -0.5, 0.2], [0.5, -0.5, 0.2], [0.5, 0.5, 0.2], [-0.5, 0.5, 0.2]])
    faces = torch.cat([red.faces, torch.tensor([[0, 1, 2], [0, 2, 3]]) + len(red.vertices)])
    colors = torch.cat([red.corner_colors, torch.ones(2, 3, 3)])
    index = torch.cat([torch.zeros(len(red.faces), dtype=torch.int64), torch.ones(2, dtype=torch.int64)])
    mesh = Mesh(
        torch.cat([red.vertices, corners]),
        faces,
        colors,
        materials=(Material("red"), Material("mirror", metallic=1.0, roughness=0.0)),
        material_index=index,
    )
    shaded = shade(mesh, NO_SURFACE, Light.flat(), surroundings=around(torch.ones_like))
    face = torch.tensor([len(red.faces), len(red.faces)])
    # in the middle below the ball, and near a corner
    barycentric = torch.tensor([[0.5, 0.0, 0.5], [0.02, 0.96, 0.02]])
    light = shown(shaded, face, barycentric, torch.tensor([[0.0, 0.0, -1.0]]))
    assert float(light[0, 0]) > 5 * float(light[0, 1]) and light[1].tolist() == pytest.approx(
        [1.0] * 3, abs=1e-4
    )


def test_nothing_is_reflected_on_the_inside_of_a_closed_mesh():
    """As where a scene's surface reaches into the mesh: light would be made there."""
    key = DiskLight(CENTER, torch.tensor([0.0, 0.0, 1.0]), 1e3, 0.1, torch.ones(3))
    material = finished(ball(), metallic=1.0, roughness=0.2)
    shaded = shade(material, NO_SURFACE, far_light((key,)), surroundings=around())
    directions = fibonacci_sphere(500)
    hits = shaded.mesh.cast(Rays((CENTER + torch.tensor([0.0, 0.0, -0.2])).expand(500, 3), directions))
    assert float(shaded.radiance(hits.face, hits.barycentric, directions).abs().max()) == 0


# Relief


ANGLE = math.radians(20)
CORNERS = torch.tensor([[-0.2, -0.2, 0.0], [0.2, -0.2, 0.0], [0.2, 0.2, 0.0], [-0.2, 0.2, 0.0]])


def plate(normal=None, picture=None):
    """A square around the center with this unit normal, that of z = 0 if not given, and a normal map."""
    turned = CORNERS + CENTER
    if normal is not None:
        u = torch.nn.functional.normalize(torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0]), normal), dim=0)
        turned = CORNERS @ torch.stack([u, torch.linalg.cross(normal, u), normal]) + CENTER
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uv = (CORNERS[:, :2] / 0.4 + 0.5)[faces]
    mesh = replace(Mesh.plain(turned, faces, (0.8, 0.6, 0.5)), uv_sets=(uv,))
    return mesh if picture is None else replace(mesh, textures=(Texture(picture),))


@pytest.mark.parametrize("metallic", [0.0, 1.0])
@pytest.mark.parametrize("roughness", [0.3, 0.6])
@pytest.mark.parametrize("keyed", [False, True])
def test_a_normal_map_that_tilts_is_as_geometry_that_is_tilted(metallic, roughness, keyed):
    direction = torch.nn.functional.normalize(torch.tensor([0.5, 0.2, 0.9]), dim=0)
    keys = (DiskLight(CENTER, direction, 1e3, math.radians(2), torch.full((3,), 0.6)),) if keyed else ()
    tilt = torch.tensor([math.sin(ANGLE), 0.0, math.cos(ANGLE)])
    pixel = ((tilt + 1) / 2 * 255).round()
    picture = pixel.to(torch.uint8).expand(4, 4, 3).contiguous()
    tilt = torch.nn.functional.normalize(pixel / 255 * 2 - 1, dim=0)  # as 8 bits have it
    look = {"metallic": metallic, "roughness": roughness}
    eye = torch.nn.functional.normalize(torch.tensor([[-0.2, 0.3, -1.0]]), dim=-1)
    middle = torch.tensor([0]), torch.tensor([[0.5, 0.0, 0.5]])
    light = []
    for mesh in (
        finished(plate(picture=picture), normal_texture=TextureUse(0), **look),
        finished(plate(tilt), **look),
        finished(plate(), **look),
    ):
        shaded = shade(mesh, NO_SURFACE, far_light(keys), surroundings=around())
        light.append(shown(shaded, *middle, eye)[0])
    # 256 directions of the light around
    assert torch.allclose(light[0], light[1], rtol=0.02)
    assert not torch.allclose(light[2], light[1], rtol=0.05)


def test_occlusion_darkens_what_comes_from_around_and_not_the_key_light():
    picture = torch.full((4, 4, 3), 51, dtype=torch.uint8)
    use = {"occlusion_texture": TextureUse(0), "occlusion_strength": 0.5}
    eye = torch.tensor([[0.0, 0.0, -1.0]])
    middle = torch.tensor([0]), torch.tensor([[0.5, 0.0, 0.5]])
    key = DiskLight(CENTER, torch.tensor([0.0, 0.0, 1.0]), 1e3, 0.02, torch.ones(3))
    found = {}
    for name, light, place in (
        ("around", far_light(), around()),
        ("key", Light(torch.zeros(256, 3), (key,)), around(torch.zeros_like)),
    ):
        for more in ({}, use):
            mesh = finished(plate(picture=picture), metallic=0.0, roughness=0.5, **more)
            shaded = shade(mesh, NO_SURFACE, light, surroundings=place)
            found[name, bool(more)] = float(shown(shaded, *middle, eye)[0, 0])
    assert found["around", True] == pytest.approx((1 + 0.5 * (0.2 - 1)) * found["around", False], rel=1e-4)
    assert found["key", True] == pytest.approx(found["key", False], rel=1e-6)
