"""Recipes: plain data that says the same after every way it can take, and says what is wrong with it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
import yaml
from formula import Ball
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from region_shapes import points_around

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError, RunError
from nerf_insert.geometry.mesh_assets import companions
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.io.files import write_yaml
from nerf_insert.regions import BoxRegion
from nerf_insert.regions.spec import Mesh, RegionSpec
from nerf_insert.scene.recipe import MAX_SEED, Recipe

BOX = {"box": {"center": [0.1, 0, 2], "size": [1, 2, 3], "rotation": [0, 0, 30]}}
POSE = [[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]

number = st.floats(-100, 100) | st.integers(-100, 100)
three = st.lists(number, min_size=3, max_size=3)
name = st.text("abc/.", min_size=1, max_size=8)
pose = st.none() | st.just(POSE)
leaf = st.one_of(
    st.builds(
        lambda c, s: {"box": {"center": c, "size": s}},
        three,
        st.lists(st.floats(0.1, 9), min_size=3, max_size=3),
    ),
    st.builds(lambda m: {"masks": m}, st.dictionaries(name, name, min_size=1, max_size=3)),
    st.builds(lambda f, p, d: {"mesh": f, "pose": p, "dilate": d}, name, pose, st.none() | st.floats(0, 9)),
)
tree = st.recursive(
    leaf,
    lambda inner: st.one_of(
        st.builds(
            lambda kind, parts: {kind: parts},
            st.sampled_from(["union", "intersection"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda part, by: {"dilate": {"region": part, "by": by}}, inner, st.floats(0, 9)),
    ),
    max_leaves=5,
)
plain = st.recursive(
    st.none() | st.booleans() | number | st.text(max_size=5),
    lambda i: st.lists(i) | st.dictionaries(st.text(max_size=3), i),
    max_leaves=4,
)
recipes = st.fixed_dictionaries(
    {"region": tree},
    optional={
        "guide": st.fixed_dictionaries(
            {},
            optional={
                "prompt": st.text(max_size=9),
                "mesh": name,
                "reference": st.none() | name | st.lists(name, min_size=2, max_size=3),
                "pose": pose,
            },
        ),
        "inpainter": st.sampled_from(["fill", "mesh", "own.module:Painter"]),
        "inpainter_options": st.dictionaries(st.text(max_size=4), plain, max_size=3),
        "schedule": st.fixed_dictionaries(
            {},
            optional={
                "rounds": st.none() | st.integers(1, 9),
                "steps": st.none() | st.integers(1, 9),
                "blend_width": st.none() | st.floats(0, 0.5),
                "view_dependent": st.none() | st.booleans(),
            },
        ),
        "name": st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=9),
        "seed": st.integers(0, MAX_SEED),
    },
)


@settings(deadline=None)
@given(recipes)
def test_data_comes_back_through_yaml_and_json(data):
    recipe = Recipe.from_dict(data)
    assert recipe.region == RegionSpec.parse(data["region"]) == RegionSpec.parse(recipe.region.to_dict())
    assert Recipe.from_dict(yaml.safe_load(yaml.safe_dump(recipe.to_dict()))) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.map_files(lambda name: name) == recipe
    seen = []
    recipe.map_files(lambda name: seen.append(name) or name)
    text = json.dumps(
        [data["region"], {k: v for k, v in data.get("guide", {}).items() if k in ("mesh", "reference")}]
    )
    assert all(json.dumps(name) in text for name in seen)
    assert len(seen) >= text.count('"mesh": "') + text.count('"reference": "')


# --- what is wrong is named


def without(key, inner=BOX["box"]):
    return {k: v for k, v in inner.items() if k != key}


WRONG = [
    ([], "a recipe must be a mapping"),
    (None, "a recipe must be a mapping of names to values, not nothing"),
    ({}, "it has no region; give one of points, masks, heal, mesh, box"),
    ({"format": 3, "region": BOX}, "its format is 3, this NeRF-Insert reads up to format 2: update"),
    ({"format": "new", "region": BOX}, "its format is 'new'"),
    ({"region": BOX, "promt": "a fern"}, "a recipe has no 'promt'; it may have region"),
    ({"region": BOX, "inpaniter": "fill"}, "has no 'inpaniter'; did you mean inpainter?"),
    ({"region": BOX, 3: "fill"}, "has no 3"),
    ({"region": None}, "region must be a mapping of names to values, not nothing"),
    ({"region": "everywhere"}, "region must be a mapping of names to values, not 'everywhere'"),
    ({"region": {}}, "region needs exactly one of points, masks, heal, mesh, box"),
    ({"region": {"sphere": 1}}, "it has ['sphere']"),
    ({"region": {3: 1}}, "region needs exactly one of"),
    ({"region": {3: 1, "b": 2}}, "region needs exactly one of"),
    ({"region": {**BOX, "mesh": "a.ply"}}, "region needs exactly one of"),
    ({"region": {**BOX, "dilate": 0.1}}, "region needs exactly one of"),
    ({"region": {**BOX, "pose": POSE}}, "region has no 'pose'"),
    ({"region": {"box": [0, 0, 0, 1, 1, 1]}}, "region.box must be a mapping"),
    (
        {"region": {"box": without("size")}},
        "region.box.size must be a list of 3 numbers above 0, not nothing",
    ),
    ({"region": {"box": without("center")}}, "region.box.center must be a list of 3 numbers, not nothing"),
    ({"region": {"box": {**BOX["box"], "centr": [0, 0, 0]}}}, "has no 'centr'; did you mean center?"),
    (
        {"region": {"box": {**BOX["box"], "centre": [0, 0, 0]}}},
        "box has both center and centre, its old name",
    ),
    ({"region": {"box": {**BOX["box"], "size": [1, 2]}}}, "region.box.size must be a list of 3 numbers"),
    ({"region": {"box": {**BOX["box"], "size": [1, 2, "3"]}}}, "region.box.size[2] must be a number above 0"),
    ({"region": {"box": {**BOX["box"], "size": [1, 2, True]}}}, "region.box.size[2] must be a number above"),
    ({"region": {"box": {**BOX["box"], "size": [1, 0, 1]}}}, "region.box.size[1] must be a number above 0"),
    (
        {"region": {"box": {**BOX["box"], "center": [0, 0, float("nan")]}}},
        "region.box.center[2] must be a nu",
    ),
    ({"region": {"box": {**BOX["box"], "center": [0, 0, 10**400]}}}, "region.box.center[2] must be a number"),
    ({"region": {"box": {**BOX["box"], "rotation": 30}}}, "region.box.rotation must be a list of 3 numbers"),
    ({"region": {"masks": ["a.png", "b.png"]}}, "region.masks must be a mapping"),
    ({"region": {"masks": {3: "a.png"}}}, "the names in region.masks must be text, not 3"),
    ({"region": {"masks": {"003": None}}}, "region.masks.003 must be text, not nothing"),
    ({"region": {"mesh": ["a.ply"]}}, "region.mesh must be text"),
    ({"region": {"mesh": "a.ply", "dilate": -1}}, "region.dilate must be a number of at least 0, not -1"),
    (
        {"region": {"mesh": "a.ply", "dilate": "much"}},
        "region.dilate must be a number of at least 0, not 'much'",
    ),
    ({"region": {"mesh": "a.ply", "pose": [[1, 0, 0, 0]]}}, "region.pose must be a matrix of four rows"),
    ({"region": {"mesh": "a.ply", "pose": [[1, 0]] * 4}}, "region.pose[0] must be a list of 4 numbers"),
    ({"region": {"mesh": "a.ply", "pose": "scale=2"}}, "region.pose must be a matrix"),
    ({"region": {"union": []}}, "region.union must be a list of regions"),
    ({"region": {"union": BOX}}, "region.union must be a list of regions"),
    (
        {"region": {"union": [BOX, {"intersection": [{"box": 3}]}]}},
        "region.union[1].intersection[0].box must",
    ),
    ({"region": {"dilate": 0.1}}, "region.dilate must be a mapping"),
    ({"region": {"dilate": {"region": BOX}}}, "region.dilate.by must be a number of at least 0, not nothing"),
    ({"region": {"dilate": {"region": BOX, "by": -0.1}}}, "region.dilate.by must be a number of at least 0"),
    (
        {"region": {"dilate": {"by": 1}}},
        "region.dilate.region must be a mapping of names to values, not nothing",
    ),
    ({"region": BOX, "guide": "a fern"}, "guide must be a mapping"),
    ({"region": BOX, "guide": []}, "guide must be a mapping"),
    ({"region": BOX, "guide": {"promt": "x"}}, "guide has no 'promt'; did you mean prompt?"),
    ({"region": BOX, "guide": {"prompt": ["a", "fern"]}}, "guide.prompt must be text"),
    ({"region": BOX, "guide": {"mesh": 3}}, "guide.mesh must be text"),
    ({"region": BOX, "guide": {"pose": [1] * 16}}, "guide.pose must be a matrix"),
    ({"region": BOX, "inpainter": None}, "inpainter must be text, not nothing"),
    ({"region": BOX, "inpainter_options": ["a"]}, "inpainter_options must be a mapping"),
    ({"region": BOX, "inpainter_options": False}, "inpainter_options must be a mapping"),
    (
        {"region": BOX, "inpainter_options": {"when": __import__("datetime").date(2020, 1, 1)}},
        "inpainter_options may hold",
    ),
    ({"region": BOX, "inpainter_options": {"a": {1: 2, "b": 3}}}, "inpainter_options may hold"),
    ({"region": BOX, "schedule": [1]}, "schedule must be a mapping"),
    ({"region": BOX, "schedule": {"epochs": 3}}, "schedule has no 'epochs'"),
    (
        {"region": BOX, "schedule": {"rounds": 0}},
        "schedule.rounds must be a whole number between 1 and 1000, not 0",
    ),
    (
        {"region": BOX, "schedule": {"rounds": 2.5}},
        "schedule.rounds must be a whole number between 1 and 1000, not 2.5",
    ),
    (
        {"region": BOX, "schedule": {"steps": 0}},
        "schedule.steps must be a whole number between 1 and 10000000",
    ),
    ({"region": BOX, "schedule": {"steps": "nothing"}}, "schedule.steps must be a whole number"),
    ({"region": BOX, "schedule": {"rays": -1}}, "schedule.rays must be a whole number between 1 and 1048576"),
    (
        {"region": BOX, "schedule": {"blend_width": 2}},
        "schedule.blend_width must be a number between 0 and 0.5, not 2",
    ),
    ({"region": BOX, "schedule": {"min_coverage": "all"}}, "schedule.min_coverage must be a number"),
    ({"region": BOX, "schedule": {"view_dependent": "no"}}, "schedule.view_dependent must be true or false"),
    ({"region": BOX, "name": 7}, "name must be text, not 7"),
    ({"region": BOX, "name": " "}, "name must be one line of text"),
    ({"region": BOX, "name": "a" * 201}, "at most 200 letters"),
    ({"region": BOX, "seed": -1}, "seed must be a whole number between 0 and"),
    ({"region": BOX, "seed": 1.0}, "seed must be a whole number between 0 and 2147483647, not 1.0"),
    ({"region": BOX, "seed": True}, "seed must be a whole number between"),
    ({"region": BOX, "seed": MAX_SEED + 1}, "seed must be a whole number between 0 and"),
]


@pytest.mark.parametrize(("data", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_malformed_recipe_is_told_what_is_wrong(data, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Recipe.from_dict(data)


def test_a_file_with_a_mistake_is_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("region:\n  masks: {003: a.png}\n")  # YAML takes that for a number
    with pytest.raises(
        InputError, match=r"recipe .*recipe\.yaml: the names in region\.masks must be text, not 3"
    ):
        Recipe.load(path)
    path.write_text("region: &again {union: [*again]}\n")
    with pytest.raises(InputError, match="nested too deeply, or contains itself"):
        Recipe.load(path)
    path.write_text("region: {box: [")
    with pytest.raises(InputError, match="not valid YAML: line 1"):
        Recipe.load(path)
    path.write_text("region: !!python/object/apply:os.system ['touch here']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        Recipe.load(path)
    with pytest.raises(InputError, match="there is no file"):
        Recipe.load(tmp_path / "gone.yaml")


# --- files


@pytest.fixture
def textured(tmp_path):
    """An OBJ with a material in a folder of its own, which has a picture beside it; its path."""
    folder = tmp_path / "models"
    box = trimesh.creation.box((0.4, 0.4, 0.4))
    uv = box.vertices[:, :2] + 0.5
    picture = Image.fromarray(np.full((4, 4, 3), (200, 40, 40), np.uint8))
    box.visual = trimesh.visual.TextureVisuals(uv, trimesh.visual.material.SimpleMaterial(picture))
    folder.mkdir()
    box.export(folder / "chair.obj", mtl_name="chair.mtl")
    return folder / "chair.obj"


@pytest.fixture
def ready(capture_folder, textured, tmp_path):
    """A recipe of all kinds of files, which exist; their folder can be thrown away."""
    masks = {f"images/{k:03d}.png": str(tmp_path / f"mask-{k}.png") for k in (0, 4)}
    for mask in masks.values():
        pixels = np.zeros((36, 48), np.uint8)
        pixels[8:30, 12:36] = 255
        Image.fromarray(pixels).save(mask)
    Image.new("RGB", (8, 8), (9, 90, 9)).save(tmp_path / "look.png")
    region = {"union": [{"masks": masks}, {"mesh": str(textured), "pose": POSE, "dilate": 0.05}, BOX]}
    data = {"region": region, "guide": {"mesh": str(textured), "reference": str(tmp_path / "look.png")}}
    return Recipe.from_dict(data)


def test_a_copy_needs_nothing_else(ready, capture_folder, textured, tmp_path):
    capture = Capture.load(capture_folder)
    masks, mesh = ready.region.union[0].build(capture), load_mesh(ready.guide.mesh)
    assert companions(textured) == ["chair.mtl", "material_0.png"]
    home = tmp_path / "layer"
    copy = ready.copied_into(home)
    write_yaml(home / "recipe.yaml", copy.to_dict())
    assert not any(Path(name).is_absolute() for name in files_of(copy))
    moved = tmp_path / "other" / "place"
    shutil.copytree(home, moved)
    for path in (home, textured.parent):
        shutil.rmtree(path)
    for mask in tmp_path.glob("*.png"):
        mask.unlink()
    again = Recipe.load(moved / "recipe.yaml")
    assert all(Path(name).is_relative_to(moved) for name in files_of(again))
    same = again.region.union[0].build(capture)
    inside = masks.contains(points := points_around(masks, 3000))
    assert torch.equal(inside, same.contains(points)) and bool(inside.any())
    assert again.region.union[1].mesh == again.guide.mesh
    assert again.region.union[2] == RegionSpec.parse(BOX)
    other = load_mesh(again.guide.mesh)
    assert torch.equal(mesh.vertices, other.vertices)
    assert len(mesh.textures) == 1 and torch.equal(mesh.textures[0].image, other.textures[0].image)


def files_of(recipe):
    names = []
    recipe.map_files(lambda name: names.append(name) or name)
    return names


def test_the_fingerprint_is_of_contents(ready, textured, tmp_path):
    """It knows nothing of where files are and what they are called, and everything of what is in them."""
    first = ready.fingerprint()
    assert first == ready.fingerprint() and re.fullmatch("[0-9a-f]{64}", first)
    home = tmp_path / "layer"
    renamed = ready.copied_into(home).map_files(lambda name: str(home / name))
    assert renamed.fingerprint() == first
    for changed in (tmp_path / "mask-4.png", textured, textured.parent / "chair.mtl", tmp_path / "look.png"):
        before = changed.read_bytes()
        changed.write_bytes(before + b"\n")
        assert ready.fingerprint() != first, changed
        changed.write_bytes(before)
    assert ready.fingerprint() == first


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"name": "other"},
        {"inpainter": "mesh"},
        {"inpainter_options": {"a": 1}},
        {"schedule": {"steps": 9}},
        {"guide": {"prompt": "x"}},
        {"region": {"box": {**BOX["box"], "center": [0.1, 0, 2.0001]}}},
    ],
    ids=str,
)
def test_the_fingerprint_is_of_everything_else_too(change):
    assert (
        Recipe.from_dict({"region": BOX, **change}).fingerprint()
        != Recipe.from_dict({"region": BOX}).fingerprint()
    )


def test_missing_files_and_full_disks(ready, textured, tmp_path, monkeypatch):
    import errno
    import os

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunError, match="No space left on the disk"):
            ready.copied_into(tmp_path / "layer")
    textured.unlink()
    for use in (ready.fingerprint, lambda: ready.copied_into(tmp_path / "layer")):
        with pytest.raises(InputError, match=r"there is no file .*chair\.obj"):
            use()


@pytest.mark.parametrize("kind", ["obj", "ply", "gltf", "glb"])
def test_what_a_mesh_names(tmp_path, kind):
    """Materials and pictures in its folder or below, whatever the format; nothing else on the disk."""
    (tmp_path / "secret.png").write_bytes(b"x")
    folder = tmp_path / "m"
    (folder / "wood").mkdir(parents=True)
    for name in ("a b.mtl", "wood/oak.png", "b.bin", "unused.png"):
        (folder / name).write_bytes(b"map_Kd wood/oak.png\nmap_Kd ../secret.png\nmap_Kd gone.png\n")
    tree = json.dumps(
        {"buffers": [{"uri": "b.bin"}, {"uri": "data:,x"}, {}], "images": [{"uri": "wood/oak.png"}]}
    )
    data = {
        "obj": b"# c\nmtllib a b.mtl\nmtllib " + str(tmp_path / "secret.png").encode() + b"\nv 0 0 0\n",
        "ply": b"ply\nformat ascii 1.0\ncomment TextureFile wood/oak.png\nend_header\nmtllib b.bin\n",
        "gltf": tree.encode(),
        "glb": b"glTF" + bytes(8) + len(tree).to_bytes(4, "little") + b"JSON" + tree.encode() + b"\0" * 9,
    }[kind]
    (folder / f"mesh.{kind}").write_bytes(data)
    wanted = {"obj": ["a b.mtl", "wood/oak.png"], "ply": ["wood/oak.png"]}.get(
        kind, ["b.bin", "wood/oak.png"]
    )
    assert companions(folder / f"mesh.{kind}") == wanted
    (folder / f"mesh.{kind}").write_bytes(b"{" + data[:30])
    companions(folder / f"mesh.{kind}")  # not for this to complain


# --- from trees to regions


def test_trees_become_the_regions_that_they_name(capture_folder, textured):
    capture = Capture.load(capture_folder)
    box = {"box": {"center": [0, 0, 0.3], "size": [0.6, 0.6, 0.6]}}
    other = {"box": {"center": [0.5, 0, 0.3], "size": [0.6, 0.4, 0.4]}}
    one, two = (BoxRegion(tree["box"]["center"], tree["box"]["size"]) for tree in (box, other))
    points = points_around(Ball((0.2, 0.0, 0.3), 0.8), 4000)
    union = RegionSpec.parse({"union": [box, other]}).build(capture).contains(points)
    both = RegionSpec.parse({"intersection": [box, other]}).build(capture).contains(points)
    wide = RegionSpec.parse({"dilate": {"region": box, "by": 0.1}}).build(capture).contains(points)
    assert torch.equal(union, one.contains(points) | two.contains(points))
    assert torch.equal(both, one.contains(points) & two.contains(points))
    assert torch.equal(wide, one.distance(points) <= 0.1)
    mesh = Mesh(str(textured), POSE, dilate=0.0).build(capture)
    moved = BoxRegion((0.5, 0, 0), (0.4, 0.4, 0.4))
    off_border = moved.distance(points).abs() > mesh.precision + 1e-4
    assert torch.equal(mesh.contains(points)[off_border], moved.contains(points)[off_border])
