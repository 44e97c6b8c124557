"""From drafts to recipes to command lines: what the command line makes of it is the very same recipe."""

import shlex
from dataclasses import replace

import pytest

from nerf_insert.app.drafts import Box, Draft, Drafts, Placing
from nerf_insert.app.recipes import command_line, pose_matrix, recipe_of
from nerf_insert.cli import build_parser, repeat_masks
from nerf_insert.cli.recipes import recipe_of as recipe_of_flags
from nerf_insert.errors import InputError
from nerf_insert.progress import SILENT
from nerf_insert.recipe import Recipe

KEY = "abcdefgh12345678"
BOX = Box((0.5, -0.4, 0.25), (0.4, 0.3, 0.2), (0.0, 0.0, 30.0))
PLACED = Placing((0.1, -0.2, 1 / 3), (10.0, 0.0, -45.5), 0.7)
SAID = {
    "prompt": "a red 'mug' & more",
    "negative_prompt": "blue",
    "inpainter": "fill",
    "seed": 7,
    "steps": 60,
}


@pytest.fixture
def drafts(capture_folder, tmp_path):
    """A place for drafts, in which KEY has the mesh and masks on two photographs."""
    made = Drafts(tmp_path / "a scene" / "page")
    for k in (0, 5):
        mask = (capture_folder / "object_mask" / f"{k:03d}.png").read_bytes()
        made.set_mask(KEY, f"images/{k:03d}.png", mask)
    made.set_mesh(KEY, capture_folder / "object.ply", PLACED)
    return made


def from_flags(line):
    words = shlex.split(line)
    assert words[:2] == ["nerf-insert", "edit"]
    return recipe_of_flags(build_parser().parse_args(repeat_masks(words[1:])), SILENT)


@pytest.mark.parametrize(
    "changes",
    [
        {"mesh": None},
        {"masks": {}},
        {},
        {"box": BOX},
        {"masks": {}, "mesh": None, "box": BOX},
        {"mesh": None, "dilate": 0.05},
        {"masks": {}, "dilate": 0.05},
        {"mesh": None, **SAID},
        {"mesh": None, **SAID, "options": {"a": 1, "b": True, "c": [0.25, None], "d": "2"}, "rounds": 2},
    ],
)
def test_the_command_line_says_the_same(drafts, changes, tmp_path):
    draft = replace(drafts.load(KEY), **changes)
    recipe = recipe_of(draft, drafts, KEY)
    line = command_line(recipe, tmp_path / "a scene", tmp_path / "unused.yaml")
    assert "--recipe" not in line
    assert from_flags(line).fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"view_dependent": True},
        {"shell": 0.1},
        {"mesh_is_region": False},
    ],
)
def test_what_flags_cannot_say_is_left_to_the_recipe(drafts, changes, tmp_path):
    recipe = recipe_of(replace(drafts.load(KEY), inpainter="fill", **changes), drafts, KEY)
    file = tmp_path / "home" / "recipe.yaml"
    from nerf_insert.files import write_yaml

    write_yaml(file, recipe.copied_into(file.parent).to_dict())
    line = command_line(recipe, tmp_path, file)
    assert str(file) in line and from_flags(line).fingerprint() == recipe.fingerprint()


def test_a_draft_comes_back_from_disk_as_it_was(drafts):
    wanted = drafts.change(
        KEY, box=BOX, options={"x": [1, 2]}, **{k: v for k, v in SAID.items() if k != "steps"}
    )
    again = Drafts(drafts.root.parent).load(KEY)
    assert again == wanted and again.placing == PLACED and again.box == BOX


def test_a_pose_is_that_of_the_flag():
    # scaled, turned about x, then y, then z, then moved, by hand for a quarter turn about z
    matrix = pose_matrix(Placing((1.0, 2.0, 3.0), (0.0, 0.0, 90.0), 2.0))
    wanted = [[0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]]
    assert [[round(v, 9) for v in row] for row in matrix] == wanted


@pytest.mark.parametrize("key", ["", "short", "../../../etc", "ABCDEFGH1", "a" * 41, None])
def test_ids_that_are_none_are_refused(drafts, key):
    with pytest.raises(InputError, match="load it again"):
        drafts.load(key)


def test_what_is_missing_is_said(drafts):
    with pytest.raises(InputError, match="Say where first"):
        recipe_of(Draft(), drafts, KEY)
    with pytest.raises(InputError, match="needs a mesh"):
        recipe_of(replace(drafts.load(KEY), mesh=None, inpainter="mesh"), drafts, KEY)
    assert isinstance(recipe_of(drafts.load(KEY), drafts, KEY), Recipe)


def test_a_damaged_draft_is_begun_afresh(drafts):
    (drafts.folder(KEY) / "draft.json").write_text('{"placing": 3')
    assert drafts.load(KEY) == Draft()
