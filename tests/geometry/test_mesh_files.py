"""Mesh files as programs write them: what they say is shown, told, or refused."""

import json
import math
import re
import struct

import numpy as np
import pytest
import torch
from gltf_files import SQUARE, SQUARE_FACES, SQUARE_UV, GltfFile, quadrants
from meshes_in_process import read_in_process
from PIL import Image

from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.mesh_assets import companions
from nerf_insert.geometry.mesh_files.polygons import triangulate
from nerf_insert.geometry.mesh_reader import load_mesh

RED, GREEN, BLUE, YELLOW = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)
CENTERS = [(0.25, 0.75), (0.75, 0.75), (0.25, 0.25), (0.75, 0.25)]  # of the square's quadrants, top row first


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    read_in_process(monkeypatch, faces=100_000, texture=256)


def look_at(mesh, places, emission=False):
    """The colors of a mesh in the plane z = 0 at x, y, seen from above; None where there is nothing."""
    origins = torch.tensor([[x, y, 1.0] for x, y in places])
    hits = mesh.cast(Rays(origins, torch.tensor([[0.0, 0, -1]]).expand(len(origins), 3).contiguous()))
    face = hits.face.clamp_min(0)
    colors = (mesh.emission_at if emission else mesh.color_at)(face, hits.barycentric)
    rounded = [tuple(round(value, 5) + 0.0 for value in color) for color in colors.tolist()]  # of float32
    return [color if hit else None for color, hit in zip(rounded, hits.hit, strict=True)]


def area(mesh) -> float:
    a, b, c = mesh.vertices[mesh.faces].double().unbind(1)
    return float(torch.linalg.cross(b - a, c - a).norm(dim=-1).sum() / 2)


def textured(path, uv=SQUARE_UV, info=None, picture=None, sampler=None, **material):
    """A square with a texture, red, green, blue and yellow if no other picture is given."""
    file = GltfFile()
    picture = quadrants() if picture is None else picture
    texture = {"index": file.texture(picture, **(sampler or {}))} | (info or {})
    look = {"pbrMetallicRoughness": {"baseColorTexture": texture}, **material}
    values = {"POSITION": SQUARE, "TEXCOORD_0": file.accessor(uv, uv.dtype.kind == "u")}
    file.mesh(values, SQUARE_FACES, file.material(name="paint", **look))
    file.write(path)
    return load_mesh(path)


# glTF


@pytest.mark.parametrize("kind", [np.float32, np.uint8, np.uint16])
def test_texture_coordinates_of_every_type(kind, tmp_path):
    scale = 1 if kind == np.float32 else np.iinfo(kind).max
    mesh = textured(tmp_path / "m.glb", (SQUARE_UV * scale).astype(kind))
    assert look_at(mesh, CENTERS) == [RED, GREEN, BLUE, YELLOW] and mesh.warnings == ()


def test_quantized_positions_and_the_second_set_of_texture_coordinates(tmp_path):
    file = GltfFile(extensionsUsed=["KHR_mesh_quantization"], extensionsRequired=["KHR_mesh_quantization"])
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": file.texture(quadrants()), "texCoord": 1}}}
    corners = np.concatenate([(SQUARE * 32767).astype(np.int16), np.zeros((4, 1), np.int16)], 1)
    view = file.view(corners.tobytes())
    file.tree["bufferViews"][view]["byteStride"] = 8
    file.tree["accessors"].append(
        {"bufferView": view, "componentType": 5122, "count": 4, "type": "VEC3", "normalized": True}
    )
    values = {"POSITION": 0, "TEXCOORD_0": SQUARE_UV[[2, 3, 0, 1]], "TEXCOORD_1": SQUARE_UV}
    file.mesh(values, SQUARE_FACES, file.material(**look), {"scale": [2, 2, 2], "translation": [-1, -1, 0]})
    file.write(tmp_path / "m.glb")
    mesh = load_mesh(tmp_path / "m.glb")
    places = [(2 * x - 1, 2 * y - 1) for x, y in CENTERS]
    assert look_at(mesh, places) == [RED, GREEN, BLUE, YELLOW] and mesh.warnings == ()


def test_texture_transforms_are_applied(tmp_path):
    """Against the standard's matrix, translation * rotation * scale, in its own frame with v downwards."""
    info = {"offset": [0.3, -0.2], "rotation": 0.4, "scale": [1.5, 0.7]}
    mesh = textured(tmp_path / "m.glb", info={"extensions": {"KHR_texture_transform": info}})
    generator = np.random.default_rng(0)
    places = generator.uniform(0.05, 0.95, (200, 2))
    u, v = places[:, 0] * 1.5, (1 - places[:, 1]) * 0.7
    c, s = math.cos(0.4), math.sin(0.4)
    u, v = (c * u + s * v + 0.3) % 1, (-s * u + c * v - 0.2) % 1
    clear = (np.abs(u - 0.5) > 0.02) & (np.abs(v - 0.5) > 0.02) & (np.minimum(u, v) > 0.02)
    clear &= np.maximum(u, v) < 0.98
    expected = quadrants()[(v * 64).astype(int), (u * 64).astype(int)] / 255
    assert clear.sum() > 100
    assert np.allclose(np.array(look_at(mesh, places.tolist()))[clear], expected[clear], atol=1e-4)


def test_textures_repeat_mirror_or_end_as_their_sampler_says(tmp_path):
    uv = SQUARE_UV * 3 - 1  # the image itself in the middle ninth
    at = [(1 / 6 + 1 / 12, 0.5 + 1 / 12), (1 / 6 - 1 / 12, 0.5 + 1 / 12)]  # left of it
    shown = {}
    for name, code in (("repeat", 10497), ("mirror", 33648), ("clamp", 33071)):
        mesh = textured(tmp_path / f"{name}.glb", uv, sampler={"wrapS": code, "wrapT": 33071})
        shown[name] = look_at(mesh, at)
    assert shown == {"repeat": [GREEN, RED], "mirror": [RED, GREEN], "clamp": [RED, RED]}


def test_factors_and_colors_of_vertices_are_linear_light(tmp_path):
    file = GltfFile()
    colors = np.full((4, 4), [32768, 65535, 0, 65535], np.uint16)
    pbr = {"baseColorFactor": [0.5, 0.25, 1.0, 1.0]}
    values = {"POSITION": SQUARE, "COLOR_0": file.accessor(colors, True)}
    file.mesh(values, SQUARE_FACES, file.material(pbrMetallicRoughness=pbr))
    file.write(tmp_path / "m.glb")
    color = look_at(load_mesh(tmp_path / "m.glb"), [(0.4, 0.6)])[0]
    encoded = [1.055 * value ** (1 / 2.4) - 0.055 for value in (0.5 * 32768 / 65535, 0.25)]
    assert color == pytest.approx([*encoded, 0.0], abs=1e-5)  # float32


def test_names_are_percent_encoded_hold_spaces_or_backslashes(tmp_path):
    for uri, file in (
        ("textures/my%20wood.png", "textures/my wood.png"),
        ("my wood.png", "my wood.png"),
        ("K%C3%BCche.png", "Küche.png"),
        ("tex\\wood.png", "tex/wood.png"),
        ("C:\\Users\\me\\tex\\Wood.PNG", "tex/wood.png"),
        ("/home/other/wood.png", "wood.png"),
    ):
        home = tmp_path / str(abs(hash(uri)))
        (home / file).parent.mkdir(parents=True)
        gltf = GltfFile()
        look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": gltf.texture(quadrants())}}}
        gltf.tree["images"] = [{"uri": uri}]
        Image.fromarray(quadrants()).save(home / file)
        gltf.mesh({"POSITION": SQUARE, "TEXCOORD_0": SQUARE_UV}, SQUARE_FACES, gltf.material(**look))
        gltf.write(home / "m.gltf")
        mesh = load_mesh(home / "m.gltf")
        assert look_at(mesh, CENTERS) == [RED, GREEN, BLUE, YELLOW] and mesh.warnings == (), uri


def disc(size=64) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    out = np.full((size, size, 4), 255, np.uint8)
    out[..., 3] = 255 * ((x - size / 2) ** 2 + (y - size / 2) ** 2 < (0.4 * size) ** 2)
    return out


def test_cut_outs_are_cut_out(tmp_path):
    masked = textured(tmp_path / "mask.glb", picture=disc(), alphaMode="MASK")
    # A pixel's width of error along the outline would be 4 %; it is cut along the line between pixels.
    assert area(masked) == pytest.approx(math.pi * 0.4**2, rel=0.01)
    rim = [
        (0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for a in np.linspace(0, 6, 50) for r in (0.37, 0.43)
    ]
    assert [color is None for color in look_at(masked, rim)] == [False, True] * 50
    assert masked.warnings == ()
    # Faces divided beside each other leave no gaps: rays through a fine grid meet the disc everywhere.
    inside = [(0.5 + x, 0.5 + y) for x in np.linspace(-0.26, 0.26, 60) for y in np.linspace(-0.26, 0.26, 60)]
    assert None not in look_at(masked, inside)
    opaque = textured(tmp_path / "opaque.glb", picture=disc())
    assert area(opaque) == pytest.approx(1, abs=1e-6)


def test_cutoff_factor_and_transparency(tmp_path):
    ramp = np.full((8, 256, 4), 255, np.uint8)
    ramp[..., 3] = np.arange(256)
    low = textured(tmp_path / "low.glb", picture=ramp, alphaMode="MASK", alphaCutoff=0.25)
    assert area(low) == pytest.approx(0.75, abs=0.01)  # a pixel and a bit
    blend = textured(tmp_path / "blend.glb", picture=ramp, alphaMode="BLEND")
    assert area(blend) == pytest.approx(0.5, abs=0.01)
    assert "partly transparent" in blend.warnings[0] and "'paint'" in blend.warnings[0]
    file = GltfFile()
    glass = file.material(
        name="glass", alphaMode="BLEND", pbrMetallicRoughness={"baseColorFactor": [1, 1, 1, 0.2]}
    )
    file.mesh({"POSITION": SQUARE}, SQUARE_FACES, glass)
    file.write(tmp_path / "glass.glb")
    with pytest.raises(InputError, match="is transparent everywhere"):
        load_mesh(tmp_path / "glass.glb")
    file.mesh({"POSITION": SQUARE}, SQUARE_FACES)
    file.tree["scenes"][0]["nodes"] = [0, 1]
    file.write(tmp_path / "glass.glb")
    mesh = load_mesh(tmp_path / "glass.glb")
    assert len(mesh.faces) == 2 and "left out: what has the material: 'glass'" in mesh.warnings[0]


def test_alpha_of_vertices_and_of_repeating_textures(tmp_path):
    colors = np.full((4, 4), 255, np.uint8)
    colors[[0, 3], 3] = 0  # transparent on the left
    file = GltfFile()
    values = {"POSITION": SQUARE, "COLOR_0": file.accessor(colors, True)}
    file.mesh(values, SQUARE_FACES, file.material(alphaMode="MASK"))
    file.write(tmp_path / "v.glb")
    assert area(load_mesh(tmp_path / "v.glb")) == pytest.approx(0.5, abs=1e-4)
    nine = textured(tmp_path / "r.glb", SQUARE_UV * 3, picture=disc(), alphaMode="MASK")
    assert area(nine) == pytest.approx(math.pi * 0.4**2, rel=0.02)


def test_emission_is_read_and_scaled(tmp_path):
    file = GltfFile()
    look = {
        "emissiveFactor": [1.0, 0.5, 0.0],
        "emissiveTexture": {"index": file.texture(quadrants())},
        "extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 3.0}},
    }
    file.mesh({"POSITION": SQUARE, "TEXCOORD_0": SQUARE_UV}, SQUARE_FACES, file.material(**look))
    file.write(tmp_path / "m.glb")
    mesh = load_mesh(tmp_path / "m.glb")
    assert mesh.emits
    assert look_at(mesh, CENTERS, emission=True) == [(3, 0, 0), (0, 1.5, 0), (0, 0, 0), (3, 1.5, 0)]


def test_skins_are_shown_as_their_joints_stand(tmp_path):
    """The skinned node's own scale of 100 does not count; each half follows its joint."""
    file = GltfFile()
    values = {
        "POSITION": SQUARE,
        "JOINTS_0": np.array([[0, 1, 0, 0]] * 4, np.uint8),
        "WEIGHTS_0": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]], np.float32),
    }
    file.mesh(values, SQUARE_FACES, node={"scale": [100, 100, 100], "skin": 0})
    inverse = np.tile(np.eye(4, dtype=np.float32).reshape(1, 16), (2, 1))
    inverse[1, 12] = -1  # the second joint was bound at x = 1
    file.tree["skins"] = [{"joints": [1, 2], "inverseBindMatrices": file.accessor(inverse)}]
    half = math.sqrt(0.5)
    file.tree["nodes"] += [{"children": [2]}, {"translation": [3, 0, 0], "rotation": [0, 0, half, half]}]
    file.tree["scenes"][0]["nodes"] = [0, 1]
    file.write(tmp_path / "m.glb")
    # The right side, x = 1, is at the joint: turned by 90 degrees about it, (1, 1) goes to (3 - 1, 0).
    expected = [[0, 0, 0], [3, 0, 0], [2, 0, 0], [0, 1, 0]]
    assert np.allclose(load_mesh(tmp_path / "m.glb").vertices, expected, atol=1e-6)


def test_morphs_sparse_values_strips_and_instances(tmp_path):
    file = GltfFile()
    file.tree["accessors"].append(
        {
            "componentType": 5126,
            "count": 4,
            "type": "VEC3",
            "sparse": {
                "count": 1,
                "indices": {
                    "bufferView": file.view(np.array([2], np.uint16).tobytes()),
                    "componentType": 5123,
                },
                "values": {"bufferView": file.view(np.array([0, 2, 0], np.float32).tobytes())},
            },
        }
    )
    node = {"weights": [0.5], "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 1}}}}
    file.accessor(np.array([[0, 0, 0], [5, 0, 0]], np.float32))
    file.mesh({"POSITION": SQUARE}, np.array([0, 1, 3, 2]), node=node, mode=5, targets=[{"POSITION": 0}])
    file.write(tmp_path / "m.glb")
    mesh = load_mesh(tmp_path / "m.glb")
    assert len(mesh.faces) == 4 and area(mesh) == pytest.approx(2 * 1.5, abs=1e-6)
    assert mesh.bounds.tolist() == [[0, 0, 0], [6, 2, 0]]


def test_draco_is_decoded(tmp_path):
    DracoPy = pytest.importorskip("DracoPy")
    name = "KHR_draco_mesh_compression"
    file = GltfFile(extensionsUsed=[name], extensionsRequired=[name])
    data = DracoPy.encode(
        SQUARE, faces=SQUARE_FACES, tex_coord=SQUARE_UV.astype(np.float64), quantization_bits=14
    )
    ids = {a["attribute_type"]: a["unique_id"] for a in DracoPy.decode(data).attributes}
    squeezed = {"bufferView": file.view(data), "attributes": {"POSITION": ids[0], "TEXCOORD_0": ids[3]}}
    for kind in ("VEC3", "VEC2"):
        file.tree["accessors"].append({"componentType": 5126, "count": 4, "type": kind})
    look = {"pbrMetallicRoughness": {"baseColorTexture": {"index": file.texture(quadrants())}}}
    values = {"POSITION": 0, "TEXCOORD_0": 1}
    file.mesh(values, material=file.material(**look), extensions={name: squeezed})
    file.write(tmp_path / "m.glb")
    mesh = load_mesh(tmp_path / "m.glb")
    assert look_at(mesh, CENTERS) == [RED, GREEN, BLUE, YELLOW] and mesh.warnings == ()


def test_draco_with_normalized_integers(tmp_path):
    """What gltf-transform writes with quantization: the decoder gives the integers as floats."""
    DracoPy = pytest.importorskip("DracoPy")
    name = "KHR_draco_mesh_compression"
    file = GltfFile(extensionsUsed=[name, "KHR_mesh_quantization"], extensionsRequired=[name])
    data = DracoPy.encode(SQUARE * 32767, faces=SQUARE_FACES, quantization_bits=20)
    squeezed = {"bufferView": file.view(data), "attributes": {"POSITION": 0}}
    accessor = {"componentType": 5122, "normalized": True, "count": 4, "type": "VEC3"}
    file.tree["accessors"].append(accessor)
    file.mesh({"POSITION": 0}, extensions={name: squeezed})
    file.write(tmp_path / "m.glb")
    assert torch.allclose(
        load_mesh(tmp_path / "m.glb").bounds, torch.tensor([[0.0, 0, 0], [1, 1, 0]]), atol=1e-5
    )


@pytest.mark.parametrize(
    "more, says",
    [
        ({"extensionsRequired": ["FOO_new_thing"]}, "glTF extension 'FOO_new_thing', which is not supported"),
        ({"extensionsRequired": ["KHR_texture_basisu"]}, "KTX2 images"),
        ({"extensionsRequired": ["KHR_meshopt_compression"]}, "compressed with meshopt"),
        ({"asset": {"version": "1.0"}}, "glTF version 1.0"),
    ],
)
def test_what_a_file_needs_and_is_not_supported_is_refused(more, says, tmp_path):
    file = GltfFile(**more)
    file.mesh({"POSITION": SQUARE}, SQUARE_FACES)
    file.write(tmp_path / "m.glb")
    with pytest.raises(InputError, match=says):
        load_mesh(tmp_path / "m.glb")


def test_what_is_left_out_is_told_with_the_material(tmp_path):
    file = GltfFile(extensionsUsed=["FOO_new_thing", "KHR_materials_transmission", "KHR_lights_punctual"])
    file.tree["animations"] = [{}]
    file.texture(quadrants())
    file.tree["textures"].append({"extensions": {"KHR_texture_basisu": {"source": 0}}})
    look = {
        "name": "window",
        "pbrMetallicRoughness": {"baseColorTexture": {"index": 1}},
        "extensions": {"KHR_materials_transmission": {}},
    }
    file.mesh({"POSITION": SQUARE}, SQUARE_FACES, file.material(**look))
    file.mesh({"POSITION": SQUARE}, mode=1)
    file.tree["scenes"][0]["nodes"] = [0, 1]
    file.write(tmp_path / "m.glb")
    told = "\n".join(load_mesh(tmp_path / "m.glb").warnings)
    for text in ("'FOO_new_thing'", "KHR_lights_punctual", "animations", "points or lines", "KTX2"):
        assert text in told
    assert "KHR_materials_transmission is shown opaque here, of the material: 'window'" in told
    assert told.count(str(tmp_path / "m.glb")) == len(told.splitlines())


# OBJ


def write_obj(folder, mtl, uses="usemtl m\n", name="o", library=None, faces="f 1/1 2/2 3/3 4/4\n"):
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.mtl").write_text(mtl)
    body = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
    (folder / f"{name}.obj").write_text(f"mtllib {library or name + '.mtl'}\n{body}{uses}{faces}")
    return folder / f"{name}.obj"


@pytest.mark.parametrize(
    "line, file",
    [
        ("map_Kd textures\\wood.png", "textures/wood.png"),
        ("map_Kd .\\textures\\\\wood.png", "textures/wood.png"),
        ("map_Kd C:\\Users\\me\\Desktop\\wood.png", "wood.png"),
        ("map_Kd D:\\art\\textures\\wood.png", "textures/wood.png"),
        ("map_Kd /home/other/wood.png", "wood.png"),
        ("MAP_KD Wood.PNG", "wood.png"),
        ("\tmap_kd\twood.png  ", "wood.png"),
        ("map_Kd -clamp on -blendu off wood.png", "wood.png"),
        ("map_Kd -s 1 1 1 -o 0 0 0 wood.png", "wood.png"),
        ("map_Kd -bm 0.5 my wood 2.png", "my wood 2.png"),
        ('map_Kd "my wood.png"', "my wood.png"),
        ("map_Kd -colorspace sRGB wood.png", "wood.png"),
    ],
)
def test_obj_textures_are_found_however_they_are_named(line, file, tmp_path):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    Image.fromarray(quadrants()).save(tmp_path / file)
    mesh = load_mesh(write_obj(tmp_path, f"newmtl m\nKd 0 0 0\n{line}\n"))
    assert look_at(mesh, CENTERS) == [RED, GREEN, BLUE, YELLOW] and mesh.warnings == ()


def test_blender_writes_colors_of_mtl_in_linear_light(tmp_path):
    """Its exporter's own lines for a base color of 128, 188, 25 of 255 in sRGB; other programs write sRGB."""
    lines = "newmtl m\nKd 0.215861 0.500000 0.010000\nKe 0.215861 0.000000 0.000000\n"
    blender = "# Blender 4.5.15 LTS MTL File: 'None'\n# www.blender.org\n\n"
    mesh = load_mesh(write_obj(tmp_path, blender + lines))
    assert look_at(mesh, [(0.5, 0.5)])[0] == pytest.approx((128 / 255, 188 / 255, 25 / 255), abs=0.5 / 255)
    assert look_at(mesh, [(0.5, 0.5)], emission=True)[0] == pytest.approx((0.215861, 0, 0), abs=1e-5)
    mesh = load_mesh(write_obj(tmp_path, "# 3ds Max\n" + lines))
    assert look_at(mesh, [(0.5, 0.5)])[0] == pytest.approx((0.215861, 0.5, 0.01), abs=1e-5)


def test_scale_and_offset_of_obj_textures(tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "t.png")
    mesh = load_mesh(write_obj(tmp_path, "newmtl m\nmap_Kd -o 0.5 0 -s 2 1 1 t.png\n"))
    assert look_at(mesh, [(0.125, 0.75), (0.375, 0.75), (0.625, 0.25)]) == [GREEN, RED, YELLOW]


def test_a_texture_may_hold_linear_light(tmp_path):
    Image.fromarray(np.full((4, 4, 3), (0, 55, 255), np.uint8)).save(tmp_path / "t.png")
    mesh = load_mesh(write_obj(tmp_path, "newmtl m\nmap_Kd -colorspace linear t.png\n"))
    # 55 / 255 of linear light is 128 / 255 of sRGB, IEC 61966-2-1
    assert look_at(mesh, [(0.5, 0.5)])[0] == pytest.approx((0, 128 / 255, 1), abs=1.5 / 255)


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be"]
)  # with a byte order mark, and without
def test_utf16_as_some_programs_on_windows_write_it(encoding, tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "holz für den tisch.png")
    path = write_obj(tmp_path, "newmtl m\nmap_Kd holz für den tisch.png\n")
    for file in (path, path.with_suffix(".mtl")):
        file.write_text(file.read_text(), encoding=encoding)
    mesh = load_mesh(path)
    assert look_at(mesh, CENTERS) == [RED, GREEN, BLUE, YELLOW] and mesh.warnings == ()
    assert companions(path) == ["o.mtl", "holz für den tisch.png"]


def test_several_materials_and_none(tmp_path):
    red_and_blue = "newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\nillum 2\n"
    uses = "usemtl RED\nf 1 2 3\nusemtl blue\nf -4 -2 -1\n"
    mesh = load_mesh(write_obj(tmp_path / "a", red_and_blue, uses, faces=""))
    assert look_at(mesh, [(0.7, 0.2), (0.2, 0.7)]) == [RED, BLUE] and mesh.warnings == ()
    mesh = load_mesh(write_obj(tmp_path / "b", "newmtl only\nKd 0 1 0\n", uses=""))
    assert look_at(mesh, CENTERS) == [GREEN] * 4 and "'only'" in mesh.warnings[0]
    mesh = load_mesh(write_obj(tmp_path / "c", red_and_blue, uses="usemtl green\n"))
    assert "no material file has the material, which is shown gray: 'green'" in mesh.warnings[0]
    mesh = load_mesh(write_obj(tmp_path / "d", "newmtl m\nmap_Kd gone.png\n"))
    assert "material 'm' cannot be read: the image 'gone.png' is missing" in mesh.warnings[0]
    mesh = load_mesh(write_obj(tmp_path / "e", "newmtl m\nKd 0 1 0\n", library="C:\\x\\O.MTL"))
    assert look_at(mesh, CENTERS) == [GREEN] * 4


def test_comments_behind_names_in_obj_and_mtl(tmp_path):
    """Names that hold # themselves, as 3ds Max gives them, come first."""
    Image.fromarray(quadrants()).save(tmp_path / "wood #2.png")
    mtl = (
        "newmtl wood # oak\nKd 0 0 1 # blue\nmap_Kd wood #2.png # a picture\nnewmtl Material #25\nKd 1 0 0\n"
    )
    path = write_obj(tmp_path, mtl, "usemtl wood # the wood\n", library="o.mtl # beside it")
    mesh = load_mesh(path)
    assert look_at(mesh, CENTERS) == [RED, GREEN, BLUE, YELLOW] and mesh.warnings == ()
    assert companions(path) == ["o.mtl", "wood #2.png"]
    mesh = load_mesh(write_obj(tmp_path, mtl + "newmtl Material #26\nKd 0 1 0\n", "usemtl Material #26\n"))
    assert look_at(mesh, CENTERS) == [GREEN] * 4
    mesh = load_mesh(write_obj(tmp_path, mtl, "usemtl Material #26\n"))
    assert "no material file has the material, which is shown gray: 'Material #26'" in mesh.warnings[0]


@pytest.mark.parametrize(
    ("mtl", "faces", "said"),
    [
        ("map_Ka t.png", "f 1/1 2/2 3/3 4/4\n", "map_ka is not used, of the material: 'm'"),
        ("Kd spectral oak.rfl 1", "f 1/1 2/2 3/3 4/4\n", "kd spectral is not used, of the material: 'm'"),
        ("map_Kd ../t.png", "f 1/1 2/2 3/3\n", r"'\.\./t.png' is named in a folder outside the mesh's"),
        ("map_Kd a.png", "f 1/1 2/2 3/3\n", "partly transparent, which counts only with a map_d, .* 'm'"),
        ("map_Kd t.png", "f 1/1 2/2 3/3\nf 1 3 4\n", "some faces lack texture coordinates .* 'm'"),
        ("map_Kd t.png", "v 0 0 0 .5 .5 .5\nf 5/1 2/2 3/3\n", "vertices' colors are not used .* 'm'"),
    ],
)
def test_what_an_obj_says_and_is_not_shown_is_told(mtl, faces, said, tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "t.png")
    path = write_obj(tmp_path / "in", f"newmtl m\n{mtl}\n", faces=faces)
    Image.fromarray(disc()).save(tmp_path / "in" / "a.png")
    Image.fromarray(quadrants()).save(tmp_path / "in" / "t.png") if ".." not in mtl else None
    if "v 0" in faces:
        path.write_text(path.read_text().replace("v 0 0 0\n", "v 0 0 0 1 1 1\n", 1))
    (warning,) = load_mesh(path).warnings
    assert re.search(said, warning)


def test_transparent_obj_materials(tmp_path):
    Image.fromarray(disc()[..., 3]).save(tmp_path / "mask.png")
    mesh = load_mesh(write_obj(tmp_path, "newmtl m\nKd 0 1 0\nmap_d mask.png\n"))
    assert area(mesh) == pytest.approx(math.pi * 0.4**2, rel=0.01)
    assert look_at(mesh, [(0.5, 0.5), (0.02, 0.02)])[1] is None
    mesh = load_mesh(write_obj(tmp_path, "newmtl m\nKd 0 1 0\nTr 1\n"))  # written for opaque things too
    assert area(mesh) == pytest.approx(1)


def test_obj_colors_of_vertices_and_odd_lines(tmp_path):
    text = (
        "\ufeff# a comment\nv 0 0 0 1 0 0\nv 1 0 0 1 0 0 # red\nv 1 1 0 1 0 0\nv 0 1 0 1 0 0\n"
        "f 1//1 2//1 \\\n3//1 4//1\nl 1 2\n"
    )
    (tmp_path / "o.obj").write_text(text.replace("\n", "\r\n"))
    assert look_at(load_mesh(tmp_path / "o.obj"), CENTERS) == [RED] * 4


# PLY and STL

PLY_HEAD = (
    "ply\nformat {}\ncomment Created in Blender\nelement vertex 8\nproperty float x\nproperty float y\n"
    "property float z\nproperty {color} red\nproperty {color} green\nproperty {color} blue\n"
    "element face 4\nproperty list uchar uint vertex_indices\nproperty float quality\nend_header\n"
)
# A concave pentagon (an arrow head), a quad and two triangles, all of them in the plane z = 0.
PLY_POINTS = [(0, 0), (1, 1), (2, 0), (1, 2), (3, 0), (4, 0), (4, 1), (3, 1)]
PLY_FACES = [[0, 1, 2, 3], [4, 5, 6, 7], [2, 4, 7], [0, 1, 3]]


@pytest.mark.parametrize("color", ["uchar", "float", "ushort", "float255"])
@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_polygons_of_any_size_in_ply(encoding, color, tmp_path):
    value = {"uchar": 51, "float": 0.2, "ushort": 13107, "float255": 51.0}[color]
    code = {"uchar": "B", "float": "f", "ushort": "H", "float255": "f"}[color]
    head = PLY_HEAD.format(encoding + " 1.0", color=color.removesuffix("255")).encode()
    order = ">" if "big" in encoding else "<"
    if encoding == "ascii":
        rows = [f"{x} {y} 0 {value} 0 0" for x, y in PLY_POINTS]
        rows += [" ".join(map(str, [len(f), *f, 0.5])) for f in PLY_FACES]
        data = "\n".join(rows).encode()
    else:
        data = b"".join(struct.pack(f"{order}3f3{code}", x, y, 0, value, 0, 0) for x, y in PLY_POINTS)
        data += b"".join(struct.pack(f"{order}B{len(f)}If", len(f), *f, 0.5) for f in PLY_FACES)
    (tmp_path / "m.ply").write_bytes(head + data)
    mesh = load_mesh(tmp_path / "m.ply")
    assert len(mesh.faces) == 2 + 2 + 1 + 1 and mesh.warnings == ()
    # The arrow head's notch is not filled: shoelace 1, quad 1, triangle 0.5, and the last one 0.5 again.
    assert area(mesh) == pytest.approx(1 + 1 + 0.5 + 0.5, abs=1e-5)
    assert look_at(mesh, [(1, 0.5), (3.5, 0.5)]) == [None, pytest.approx((0.2, 0, 0), abs=1e-5)]


def test_concave_polygons_are_filled_exactly():
    """Random star-shaped polygons in a tilted plane: the triangles' area is the polygon's, none overlap."""
    generator = np.random.default_rng(0)
    tilt = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    for n in (4, 5, 9, 24):
        angle = np.sort(generator.uniform(0, 2 * math.pi, n) * 0.2 + np.arange(n) * 2 * math.pi / n * 0.8)
        flat = np.stack([np.cos(angle), np.sin(angle)], 1) * generator.uniform(0.2, 1, (n, 1))
        x, y = flat.T
        shoelace = abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2
        points = np.concatenate([flat, np.zeros((n, 1))], 1) @ tilt.T
        faces = triangulate(points, np.array([n]))
        assert len(faces) == n - 2
        a, b, c = points[faces].transpose(1, 0, 2)
        assert np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum() / 2 == pytest.approx(shoelace, rel=1e-9)


def test_a_ring_is_not_filled():
    """A polygon with a hole, to which a bridge leads: there and back along the same edge."""
    outer, inner = (
        2.0 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
        np.array([(-1, 1), (1, 1), (1, -1), (-1, -1)]),
    )
    ring = np.concatenate([outer, outer[:1], inner[[3, 0, 1, 2, 3]]])
    tilt = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    for points in (ring, ring[::-1], np.roll(ring, 4, axis=0)):
        corners = np.concatenate([points, np.ones((len(points), 1))], 1)
        faces = triangulate(corners @ tilt.T, np.array([len(points)]))
        a, b, c = corners[faces][..., :2].transpose(1, 0, 2)
        cross = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
        assert np.abs(cross).sum() / 2 == pytest.approx(16 - 4, rel=1e-9)  # outer less inner: none overlap
        assert (np.abs(corners[faces][..., :2].mean(1)).max(1) > 1).all()  # no centroid in the hole


def test_ply_with_a_texture_and_coordinates_of_each_face(tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "t.png")
    text = (
        "ply\nformat ascii 1.0\ncomment TextureFile T.PNG\nelement vertex 4\nproperty float x\n"
        "property float y\nproperty float z\nelement face 2\nproperty list uchar int vertex_indices\n"
        "property list uchar float texcoord\nend_header\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
        "3 0 1 2 6 0 0 1 0 1 1\n3 0 2 3 6 0 0 1 1 0 1\n"
    )
    (tmp_path / "m.ply").write_text(text)
    assert look_at(load_mesh(tmp_path / "m.ply"), CENTERS) == [RED, GREEN, BLUE, YELLOW]
    (tmp_path / "t.png").unlink()
    assert "the image 'T.PNG' is missing" in load_mesh(tmp_path / "m.ply").warnings[0]


def test_colors_of_each_corner_in_ply_and_types_that_there_are_not(tmp_path):
    text = (
        "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 2\nproperty list uchar int vertex_indices\nproperty list uchar float color\n"
        "end_header\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2 9 1 0 0 1 0 0 1 0 0\n3 0 2 3 9 0 0 1 0 0 1 0 0 1\n"
    )
    (tmp_path / "m.ply").write_text(text)
    assert look_at(load_mesh(tmp_path / "m.ply"), [(0.7, 0.2), (0.2, 0.7)]) == [RED, BLUE]
    (tmp_path / "m.ply").write_text(text.replace("float x", "float16 x"))
    with pytest.raises(InputError, match="values of the type 'float16', which PLY files do not have"):
        load_mesh(tmp_path / "m.ply")


def test_splats_are_no_mesh(tmp_path):
    text = (
        "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
        "property float f_dc_0\nend_header\n0 0 0 1\n"
    )
    (tmp_path / "s.ply").write_text(text)
    with pytest.raises(InputError, match="Gaussian splats"):
        load_mesh(tmp_path / "s.ply")


@pytest.mark.parametrize("header, bits", [(b"", 0x8000 | 31 << 10), (b"COLOR=\xff\xff\xff\xff", 31)])
def test_colors_in_stl(header, bits, tmp_path):
    data = header.ljust(80) + struct.pack("<I", 1)
    data += struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, bits)
    (tmp_path / "m.stl").write_bytes(data)
    assert look_at(load_mesh(tmp_path / "m.stl"), [(0.2, 0.2)]) == [RED]


def test_gltf_1_is_told_where_it_does_not_say_so(tmp_path):
    (tmp_path / "m.gltf").write_text(json.dumps({"asset": {}, "accessors": {"a": {}}, "meshes": {"m": {}}}))
    with pytest.raises(InputError, match=r"is glTF version 1\.0, only version 2 is read"):
        load_mesh(tmp_path / "m.gltf")


def test_json_that_is_no_gltf_is_refused(tmp_path):
    for number, tree in enumerate(
        [
            [],
            {"meshes": 3},
            {
                "asset": {"version": "2.0"},
                "nodes": [{"mesh": 0, "children": [0]}],
                "meshes": [{"primitives": []}],
            },
            {"asset": {"version": "2.0"}, "scenes": [{"nodes": [7]}], "nodes": []},
        ]
    ):
        path = tmp_path / f"{number}.gltf"
        path.write_text(json.dumps(tree))
        with pytest.raises(InputError, match=f"{number}.gltf"):
            load_mesh(path)
