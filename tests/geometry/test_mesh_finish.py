"""What mesh files say of metal, roughness, relief and occlusion."""

import json
import math

import numpy as np
import pytest
import torch
import trimesh
from gltf_files import SQUARE, SQUARE_FACES, SQUARE_UV, GltfFile
from meshes_in_process import read_in_process
from PIL import Image
from trimesh.visual.material import PBRMaterial

from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh_files import worker
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.geometry.pose import Pose
from nerf_insert.lighting.finish import finish_at

USUAL = 0.6  # roughness where the file says nothing
TILT = math.radians(30)


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    read_in_process(monkeypatch, faces=100_000, texture=256)


def square(path, look=None, uv=SQUARE_UV, more=None, **pbr):
    """A square of one material: what of it is not None."""
    file = GltfFile()
    material = {"name": "m", "pbrMetallicRoughness": pbr} | (look(file) if callable(look) else look or {})
    values = {"POSITION": SQUARE, "TEXCOORD_0": uv} | (more or {})
    file.mesh(values, SQUARE_FACES, file.material(**material))
    file.write(path)
    return load_mesh(path)


def at(mesh, places):
    """Face and barycentric coordinates of places on the square."""
    origins = torch.tensor([[x, y, 1.0] for x, y in places])
    hits = mesh.cast(Rays(origins, torch.tensor([[0.0, 0, -1]]).expand(len(origins), 3).contiguous()))
    return hits.face, hits.barycentric


def finish(mesh, places=((0.5, 0.4),)):
    return finish_at(mesh, *at(mesh, places), USUAL)


def plain(values, size=8):
    return np.broadcast_to(np.array(values, np.uint8), (size, size, 3))


def halves(left, right, size=8):
    return np.concatenate([plain(left, size)[:, : size // 2], plain(right, size)[:, size // 2 :]], 1)


# Factors and maps


@pytest.mark.parametrize(
    "pbr, metallic, roughness",
    [
        ({}, None, None),
        ({"baseColorFactor": [1, 0, 0, 1]}, None, None),
        ({"metallicFactor": 0}, 0, 1),  # the standard's default of what is left out beside it
        ({"roughnessFactor": 0.25}, 1, 0.25),
        ({"metallicFactor": 0.5, "roughnessFactor": 0.1}, 0.5, 0.1),
        ({"metallicFactor": 7, "roughnessFactor": -1}, 1, 0),
    ],
)
def test_factors(pbr, metallic, roughness, tmp_path):
    mesh = square(tmp_path / "m.glb", **pbr)
    material = mesh.materials[0]
    assert (material.metallic, material.roughness) == (metallic, roughness)
    assert material.has_finish == (metallic is not None) and mesh.warnings == ()
    found = finish(mesh)
    assert float(found.metallic) == (metallic or 0)
    assert float(found.roughness) == pytest.approx(USUAL if roughness is None else roughness)


def test_no_material_says_nothing(tmp_path):
    file = GltfFile()
    file.mesh({"POSITION": SQUARE}, SQUARE_FACES)
    file.write(tmp_path / "m.glb")
    assert not load_mesh(tmp_path / "m.glb").has_finish


def test_another_reader_finds_the_same(tmp_path):
    """trimesh writes the file, reads it again, and we read it."""
    rng = np.random.default_rng(0)
    map_image, normals = (Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(2))
    material = PBRMaterial(
        baseColorFactor=[255, 200, 90, 255],
        metallicFactor=0.8,
        roughnessFactor=0.35,
        emissiveFactor=[0.1, 0.2, 0.3],
        metallicRoughnessTexture=map_image,
        normalTexture=normals,
        occlusionTexture=map_image,
    )
    shape = trimesh.creation.box()
    uv = rng.uniform(0, 1, (len(shape.vertices), 2))
    shape.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    shape.export(tmp_path / "m.glb")
    (theirs,) = trimesh.load(tmp_path / "m.glb").geometry.values()
    theirs, mesh = theirs.visual.material, load_mesh(tmp_path / "m.glb")
    ours = mesh.materials[0]
    assert (ours.metallic, ours.roughness) == (theirs.metallicFactor, theirs.roughnessFactor)
    assert ours.emissive == pytest.approx(tuple(theirs.emissiveFactor))
    for use, image, channel in (
        (ours.metallic_texture, theirs.metallicRoughnessTexture, 2),
        (ours.roughness_texture, theirs.metallicRoughnessTexture, 1),
        (ours.occlusion_texture, theirs.occlusionTexture, 0),
        (ours.normal_texture, theirs.normalTexture, None),
    ):
        assert np.array_equal(mesh.textures[use.texture].image, np.asarray(image.convert("RGB")))
        assert channel is None or use.channel == channel
    assert mesh.warnings == ()


def test_maps_hold_plain_values_and_multiply_the_factors(tmp_path):
    """Green is roughness, blue metal, and red of its own map occlusion: none of them is sRGB."""

    def look(file):
        index = file.texture(plain([10, 128, 64]))
        pbr = {"metallicFactor": 0.5, "roughnessFactor": 0.8, "metallicRoughnessTexture": {"index": index}}
        occlusion = {"index": file.texture(plain([51, 255, 255])), "strength": 0.5}
        return {"pbrMetallicRoughness": pbr, "occlusionTexture": occlusion}

    mesh = square(tmp_path / "m.glb", look)
    found = finish(mesh)
    assert float(found.roughness) == pytest.approx(0.8 * 128 / 255)
    assert float(found.metallic) == pytest.approx(0.5 * 64 / 255)
    assert float(found.occlusion) == pytest.approx(1 + 0.5 * (51 / 255 - 1))
    assert mesh.warnings == ()


def test_a_map_alone_has_factors_of_one_and_obeys_its_transform_and_set(tmp_path):
    def look(file):
        shift = {"extensions": {"KHR_texture_transform": {"offset": [0.5, 0], "texCoord": 1}}}
        index = file.texture(halves([0, 255, 0], [0, 0, 255]))
        return {"pbrMetallicRoughness": {"metallicRoughnessTexture": {"index": index} | shift}}

    other = {"TEXCOORD_1": SQUARE_UV}
    mesh = square(tmp_path / "m.glb", look, uv=np.zeros_like(SQUARE_UV), more=other)
    found = finish(mesh, [(0.25, 0.5), (0.75, 0.5)])  # half the square further: the halves change places
    assert found.metallic[:, 0].tolist() == [1, 0] and found.roughness[:, 0].tolist() == [0, 1]


def test_one_image_in_several_slots_is_kept_once(tmp_path):
    def look(file):
        use = {"index": file.texture(plain([200, 100, 50]))}
        return {"pbrMetallicRoughness": {"metallicRoughnessTexture": use}, "occlusionTexture": use}

    assert len(square(tmp_path / "m.glb", look).textures) == 1


def test_dielectrics_of_another_index_of_refraction_and_specular(tmp_path):
    more = {"KHR_materials_ior": {"ior": 2.0}}
    mesh = square(tmp_path / "a.glb", {"extensions": more})
    assert finish(mesh).head_on[0].tolist() == pytest.approx([1 / 9] * 3)
    more["KHR_materials_specular"] = {"specularFactor": 0.5, "specularColorFactor": [1, 0.5, 12]}
    mesh = square(tmp_path / "b.glb", {"extensions": more})
    assert finish(mesh).head_on[0].tolist() == pytest.approx([1 / 18, 1 / 36, 0.5])
    assert float(finish(mesh).grazing) == 0.5 and mesh.warnings == ()
    more["KHR_materials_specular"]["specularTexture"] = {"index": 0}
    mesh = square(tmp_path / "c.glb", {"extensions": more})
    assert (
        "the map specularTexture of KHR_materials_specular is not used, of the material: 'm'"
        in mesh.warnings[0]
    )


def test_specular_and_glossiness(tmp_path):
    gloss = {"specularFactor": [0.2, 0.3, 0.4], "glossinessFactor": 0.9}
    mesh = square(tmp_path / "m.glb", {"extensions": {"KHR_materials_pbrSpecularGlossiness": gloss}})
    found = finish(mesh)
    assert float(found.metallic) == 0 and float(found.roughness) == pytest.approx(0.1)
    assert found.head_on[0].tolist() == pytest.approx([0.2, 0.3, 0.4])


# Messages


def test_a_map_that_is_missing_is_told_and_its_factors_do_not_count(tmp_path):
    def look(file):
        file.tree["images"] = [{"uri": "gone.png"}, {"uri": "broken.png"}, {"uri": "huge.png"}]
        file.tree["textures"] = [{"source": 0}, {"source": 1}, {"source": 2}]
        return {
            "pbrMetallicRoughness": {"metallicRoughnessTexture": {"index": 0}},
            "normalTexture": {"index": 1},
            "occlusionTexture": {"index": 2},
        }

    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\0\1\x86\xa0" * 2 + b"\x08\x02\0\0\0"
    (tmp_path / "huge.png").write_bytes(head + b"\0" * 64)
    mesh = square(tmp_path / "m.gltf", look)
    told = "\n".join(mesh.warnings)
    assert (
        "the metallic-roughness texture of the material 'm' cannot be read: the image 'gone.png' is missing"
        in told
    )
    assert "the normal texture of the material 'm' cannot be read: the image 'broken.png'" in told
    assert "the occlusion texture of the material 'm' cannot be read: the image 'huge.png'" in told
    assert not mesh.has_finish  # metal that is 1 only where a map says so is no metal


@pytest.mark.parametrize("slot", ["normalTexture", "occlusionTexture", "metallicRoughnessTexture"])
@pytest.mark.parametrize("index", [5, -1])
def test_a_map_that_does_not_exist_is_refused_as_a_base_texture_is(slot, index, tmp_path):
    use = {"index": index}
    inside = {"pbrMetallicRoughness": {slot: use}} if slot.startswith("metallic") else {slot: use}
    for name, look in (("a", inside), ("b", {"pbrMetallicRoughness": {"baseColorTexture": use}})):
        with pytest.raises(InputError, match="is damaged"):
            square(tmp_path / f"{name}.glb", look)


@pytest.mark.parametrize(
    "look",
    [
        {"pbrMetallicRoughness": {"metallicFactor": "much"}},
        {"pbrMetallicRoughness": {"roughnessFactor": math.nan}},
        {"extensions": {"KHR_materials_ior": {"ior": -1}}},
    ],
)
def test_impossible_values_are_refused(look, tmp_path):
    with pytest.raises(InputError, match="is damaged"):
        square(tmp_path / "m.glb", look)


# Normal maps


def tilted_map(turn=0.0, angle=TILT):
    """A map of one normal, tilted by an angle towards a direction in the image (from u towards up)."""
    normal = [math.sin(angle) * math.cos(turn), math.sin(angle) * math.sin(turn), math.cos(angle)]
    return plain(np.rint((np.array(normal) + 1) / 2 * 255))


def mapped(mesh, places=((0.3, 0.4), (0.7, 0.2))):
    return mesh.mapped_normal_at(*at(mesh, places))


def relief(picture, **info):
    return lambda file: {"normalTexture": {"index": file.texture(picture), **info}}


TURNED_UV = SQUARE_UV[[1, 2, 3, 0]]  # u runs against y, v against x


@pytest.mark.parametrize(
    "uv, along, up",
    [
        (SQUARE_UV, (1, 0), (0, 1)),
        (TURNED_UV, (0, -1), (1, 0)),
        (SQUARE_UV * [-1, 1], (-1, 0), (0, 1)),  # mirrored
        (SQUARE_UV * [3, 0.5], (1, 0), (0, 1)),
    ],
)
@pytest.mark.parametrize("turn", [0.0, 0.5, 2.0])
def test_a_tilted_normal_is_tilted_geometry(uv, along, up, turn, tmp_path):
    """Tangents from UVs, whose v grows downwards in the image."""
    mesh = square(tmp_path / "m.glb", relief(tilted_map(turn)), np.float32(uv))
    flat = math.sin(TILT) * (math.cos(turn) * np.array(along) + math.sin(turn) * np.array(up))
    expected = torch.tensor([*flat, math.cos(TILT)], dtype=torch.float32)
    # 8 bits: steps of 1/127 in each component
    assert torch.allclose(mapped(mesh), expected.expand(2, 3), atol=0.006)


def test_scale_multiplies_the_slope(tmp_path):
    mesh = square(tmp_path / "m.glb", relief(tilted_map(), scale=0.5))
    slope = math.tan(TILT) / 2
    expected = torch.tensor([slope, 0, 1]) / math.hypot(slope, 1)
    assert torch.allclose(mapped(mesh), expected.expand(2, 3), atol=0.006)


def test_a_map_that_is_turned_on_the_surface_turns_its_normals(tmp_path):
    """The transform's rotation turns the image clockwise as it is seen, by the standard's matrix."""
    turned = {"extensions": {"KHR_texture_transform": {"rotation": math.pi / 2}}}
    mesh = square(tmp_path / "m.glb", relief(tilted_map(), **turned))
    # u' = v (downwards): to the right in the image is down on the square
    expected = torch.tensor([0, -math.sin(TILT), math.cos(TILT)])
    assert torch.allclose(mapped(mesh), expected.expand(2, 3), atol=0.006)


def test_tangents_and_normals_of_the_file_count(tmp_path):
    """Tangents along y, on UVs without any extent; normals that lean, as on a smooth low-poly shape."""
    tangents = np.tile(np.float32([0, 1, 0, 1]), (4, 1))
    leaning = np.tile(np.float32([0.6, 0, 0.8]), (4, 1))
    more = {"TANGENT": tangents, "NORMAL": np.tile(np.float32([0, 0, 1]), (4, 1))}
    mesh = square(tmp_path / "a.glb", relief(tilted_map()), more=more)
    expected = torch.tensor([0, math.sin(TILT), math.cos(TILT)])
    assert torch.allclose(mapped(mesh), expected.expand(2, 3), atol=0.006)
    mesh = square(tmp_path / "b.glb", relief(plain([128, 128, 255])), more={"NORMAL": leaning})
    assert torch.allclose(mapped(mesh), torch.tensor([0.6, 0, 0.8]).expand(2, 3), atol=0.006)
    # on their outer side, whatever the file says, and as the mesh is turned
    mesh = square(tmp_path / "c.glb", relief(plain([128, 128, 255])), more={"NORMAL": -leaning})
    assert torch.allclose(mapped(mesh), torch.tensor([0.6, 0, 0.8]).expand(2, 3), atol=0.006)


def test_frames_follow_the_pose(tmp_path):
    more = {
        "TANGENT": np.tile(np.float32([1, 0, 0, 1]), (4, 1)),
        "NORMAL": np.tile(np.float32([0, 0, 1]), (4, 1)),
    }
    square(tmp_path / "m.glb", relief(tilted_map()), more=more)
    c, s = math.cos(0.4), math.sin(0.4)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = 2 * torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)
    for mesh in (
        load_mesh(tmp_path / "m.glb", Pose(matrix)),
        load_mesh(tmp_path / "m.glb").transformed(matrix),
    ):
        normal = mesh.mapped_normal_at(torch.tensor([0]), torch.full((1, 3), 1 / 3))
        total = TILT + 0.4  # both tilt towards +x
        expected = torch.tensor([[math.sin(total), 0, math.cos(total)]])
        assert torch.allclose(normal, expected, atol=0.006)


def test_a_sphere_s_tangents_agree_between_its_faces(tmp_path):
    """A map of straight normals leaves a smooth ball as it is; a tilted one turns all by the same angle."""
    shape = trimesh.creation.uv_sphere(count=[16, 24])
    vertices = np.float32(shape.vertices)
    uv = np.stack([np.arctan2(vertices[:, 1], vertices[:, 0]) / (2 * np.pi), (1 - vertices[:, 2]) / 2], -1)
    file = GltfFile()
    look = relief(tilted_map())(file)
    more = {"POSITION": vertices, "TEXCOORD_0": np.float32(uv), "NORMAL": vertices}
    file.mesh(more, shape.faces, file.material(**look))
    file.write(tmp_path / "m.glb")
    mesh = load_mesh(tmp_path / "m.glb")
    # one point in each face but at the seam and the poles, where u ends or has no direction
    middle = mesh.vertices[mesh.faces].mean(1)
    inner = ((mesh.uv_sets[0].amax(1) - mesh.uv_sets[0].amin(1))[:, 0] < 0.1) & (middle[:, 2].abs() < 0.8)
    face = inner.nonzero()[:, 0]
    found = mesh.mapped_normal_at(face, torch.full((len(face), 3), 1 / 3))
    normal = torch.nn.functional.normalize(middle[face], dim=-1)
    east = torch.nn.functional.normalize(
        torch.stack([-normal[:, 1], normal[:, 0], 0 * normal[:, 0]], -1), dim=-1
    )
    expected = math.sin(TILT) * east + math.cos(TILT) * normal
    assert len(face) > 300
    assert float((found - expected).norm(dim=-1).max()) < 0.02  # 8 bits, and facets of 15 degrees


# OBJ


def obj(folder, mtl, images=()):
    for name, pixels in images:
        Image.fromarray(np.uint8(pixels)).save(folder / name)
    (folder / "o.mtl").write_text("newmtl m\nKd 1 1 1\n" + mtl)
    body = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    (folder / "o.obj").write_text(f"mtllib o.mtl\n{body}usemtl m\nf 1/1 2/2 3/3 4/4\n")
    return load_mesh(folder / "o.obj")


def test_values_and_maps_of_an_mtl(tmp_path):
    mesh = obj(tmp_path, "Pm 1.0\nPr 0.25\n")
    assert (mesh.materials[0].metallic, mesh.materials[0].roughness) == (1, 0.25)
    maps = [("r.png", plain([128] * 3)), ("m.png", plain([64] * 3)), ("n.png", tilted_map())]
    mesh = obj(tmp_path, "Pr 0.1\nmap_Pr r.png\nmap_Pm m.png\nnorm n.png\n", maps)
    found = finish(mesh)
    assert float(found.roughness) == pytest.approx(128 / 255)  # a map takes the place of the value
    assert float(found.metallic) == pytest.approx(64 / 255) and mesh.warnings == ()
    expected = torch.tensor([math.sin(TILT), 0, math.cos(TILT)])
    assert torch.allclose(mapped(mesh), expected.expand(2, 3), atol=0.006)


def test_a_bump_that_is_a_normal_map_counts_and_a_height_map_is_told(tmp_path):
    ridge = np.concatenate([tilted_map(), tilted_map(math.pi)])
    mesh = obj(tmp_path, "map_Bump -bm 0.5 n.png\n", [("n.png", ridge)])
    assert mesh.materials[0].normal_scale == 0.5 and mesh.warnings == ()
    mesh = obj(tmp_path, "map_Bump h.png\n", [("h.png", plain([90] * 3))])
    assert not mesh.has_finish
    assert "map_bump is a height map, which is not used, of the material: 'm'" in mesh.warnings[0]
    mesh = obj(tmp_path, "map_Pr gone.png\nPr 0.3\n")
    assert mesh.materials[0].roughness == 0.3 and "image 'gone.png' is missing" in mesh.warnings[0]
    mesh = obj(tmp_path, "Pr nan\n")
    assert mesh.materials[0].roughness == 0


def test_the_reading_process_answers_in_plain_data(tmp_path):
    mesh = square(tmp_path / "m.glb", relief(tilted_map(), scale=0.7))
    request = {"path": str(tmp_path / "m.glb"), "out": str(tmp_path / "x.npz"), "faces": 10, "texture": 64}
    data = json.loads(json.dumps(worker.answer(request)))
    assert data["materials"][0]["normal_scale"] == mesh.materials[0].normal_scale == 0.7
