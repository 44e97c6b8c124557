"""Regions as plain data: how they combine, which files they name, and that they check themselves."""

import json
import subprocess
import sys

import pytest

from nerf_insert.errors import InputError
from nerf_insert.regions.spec import (
    KINDS,
    Box,
    Dilate,
    Heal,
    Intersection,
    Masks,
    Mesh,
    Points,
    RegionSpec,
    Union,
    load_pose,
)

BOX = Box((0, 0, 0.5), (1, 1, 1))
TURNED = Box((0, 0, 0.5), (1, 1, 1), (0, 0, 30))
MESH = Mesh("chair.glb", dilate=0.05)
MASKS = Masks({"000.png": "a.png", "004.png": "b.png"})
TREE = ((MASKS | MESH) & TURNED).dilated(0.1)


def test_operators_make_flat_trees():
    assert BOX | MESH | MASKS == Union((BOX, MESH, MASKS))
    assert BOX & MESH & MASKS == Intersection((BOX, MESH, MASKS))
    assert BOX & (MESH | MASKS) == Intersection((BOX, Union((MESH, MASKS))))
    assert MESH.dilated(2) == Dilate(MESH, 2) != MESH


def test_plain_data_is_that_of_a_recipe_file():
    masks = {"masks": {"000.png": "a.png", "004.png": "b.png"}}
    box = {"box": {"center": [0, 0, 0.5], "size": [1, 1, 1], "rotation": [0, 0, 30]}}
    union = {"union": [masks, {"mesh": "chair.glb", "dilate": 0.05, "up_axis": "y"}]}
    plain = {"dilate": {"region": {"intersection": [union, box]}, "by": 0.1}}
    assert TREE.to_dict() == plain and RegionSpec.parse(plain) == TREE
    assert BOX.to_dict() == {"box": {"center": [0, 0, 0.5], "size": [1, 1, 1]}}
    points = Points({"000.png": [(1.0, 2.5)]}, {"004.png": [(3.0, 4.0), (5.0, 6.0)]})
    data = {"points": {"000.png": [[1.0, 2.5]]}, "not_points": {"004.png": [[3.0, 4.0], [5.0, 6.0]]}}
    assert json.loads(json.dumps(points.to_dict())) == data and RegionSpec.parse(data) == points
    heal = Heal({"000.png": "stroke.png"})
    assert RegionSpec.parse(heal.to_dict()) == heal and heal.files() == ["stroke.png"]
    assert {part.keyword for part in (points, heal, BOX, MESH, MASKS, BOX | BOX, BOX & BOX, TREE)} == {
        kind.keyword for kind in KINDS
    }


def test_every_file_is_named_and_changed():
    assert TREE.files() == ["a.png", "b.png", "chair.glb"] and BOX.files() == []
    moved = TREE.map_files(lambda name: f"there/{name}")
    assert moved.files() == ["there/a.png", "there/b.png", "there/chair.glb"]
    assert moved.map_files(lambda name: name.removeprefix("there/")) == TREE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Box((0, 0, 0), (1, 0, 1)), r"size\[1\] must be a number above 0"),
        (lambda: Mesh("a.ply", dilate=-1.0), "dilate must be a number of at least 0, not -1"),
        (lambda: Mesh("a.ply", pose=[[1.0, 0.0]]), "pose must be a matrix of four rows of four numbers"),
        (lambda: Union(()), "union must be a list of regions, at least one"),
        (lambda: BOX.dilated(float("nan")), "by must be a number of at least 0, not nan"),
        (lambda: load_pose([[0.0] * 4] * 4), "last row of a pose should be 0 0 0 1"),
    ],
)
def test_what_makes_no_region_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_specs_need_no_torch():
    code = "import sys; from nerf_insert.regions import Box; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
