"""From drafts to recipes to command lines: what the command line makes of it is the very same recipe."""

import json
import shlex
from dataclasses import replace

import pytest

from nerf_insert.app import drafts as drafts_module
from nerf_insert.app import model_list
from nerf_insert.app.draft_to_recipe import command_line, pose_matrix, recipe_from_draft
from nerf_insert.app.drafts import Box, Draft, Drafts, MeshPose
from nerf_insert.cli.argv import repeat_masks
from nerf_insert.cli.edit_flags import recipe_from_args
from nerf_insert.cli.main import build_parser
from nerf_insert.errors import InputError
from nerf_insert.runtime.progress import SILENT
from nerf_insert.scene.recipe import Recipe

KEY = "abcdefgh12345678"
BOX = Box((0.5, -0.4, 0.25), (0.4, 0.3, 0.2), (0.0, 0.0, 30.0))
PLACED = MeshPose((0.1, -0.2, 1 / 3), (10.0, 0.0, -45.5), 0.7)
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
    return recipe_from_args(build_parser().parse_args(repeat_masks(words[1:])), SILENT)


@pytest.mark.parametrize(
    "changes",
    [
        {"mesh": None},
        {"masks": {}},
        {},
        {"box": BOX},
        {"masks": {}, "mesh": None, "heal": {"images/000.png": "0.png"}},
        {"heal": {"images/000.png": "0.png", "images/005.png": "1.png"}, "box": BOX},
        {"masks": {}, "mesh": None, "box": BOX},
        {"points": {"images/001.png": [[12.5, 3.0], [14.0, 2.2]]}, "masks": {}, "mesh": None},
        {"points": {"a/1.png": [[12.5, 3.0]]}, "not_points": {"2": [[1.0, 2.0]]}, "mesh": None},
        {"mesh": None, "dilate": 0.05},
        {"masks": {}, "dilate": 0.05},
        {"masks": {}, "light": {"direction": [0.0, 0.6, 0.8], "angle": 3.0, "distance": None}},
        {"mesh": None, **SAID},
        {"mesh": None, **SAID, "options": {"a": 1, "b": True, "c": [0.25, None], "d": "2"}, "rounds": 2},
    ],
)
def test_the_command_line_says_the_same(drafts, changes, tmp_path):
    draft = replace(drafts.load(KEY), **changes)
    recipe = recipe_from_draft(draft, drafts, KEY)
    line = command_line(recipe, tmp_path / "a scene", tmp_path / "unused.yaml")
    assert "--recipe" not in line
    assert from_flags(line).fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize(
    "changes",
    [
        {"view_dependent": True},
        {"blend_width": 0.1},
        {"mesh_is_region": False},
    ],
)
def test_what_flags_cannot_say_is_left_to_the_recipe(drafts, changes, tmp_path):
    recipe = recipe_from_draft(replace(drafts.load(KEY), inpainter="fill", **changes), drafts, KEY)
    file = tmp_path / "home" / "recipe.yaml"
    from nerf_insert.io.files import write_yaml

    write_yaml(file, recipe.copied_into(file.parent).to_dict())
    line = command_line(recipe, tmp_path, file)
    assert str(file) in line and from_flags(line).fingerprint() == recipe.fingerprint()


def test_a_draft_comes_back_from_disk_as_it_was(drafts):
    wanted = drafts.change(
        KEY, box=BOX, options={"x": [1, 2]}, **{k: v for k, v in SAID.items() if k != "steps"}
    )
    again = Drafts(drafts.root.parent).load(KEY)
    assert again == wanted and again.mesh_pose == PLACED and again.box == BOX


def test_a_drag_is_one_undo_step_however_long_it_takes(drafts, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(drafts_module.time, "time", lambda: clock[0])
    for drag, xs in (("one", (0.1, 0.2, 0.3)), ("two", (0.4, 0.5))):  # the second follows at once
        for x in xs:
            drafts.change(KEY, drag=drag, mesh_pose=replace(PLACED, translate=(x, 0.0, 0.0)))
            clock[0] += 20.0 if x < 0.3 else 0.1  # the frames between may take their time
    for x in (0.3, PLACED.translate[0]):
        drafts.undo(KEY)
        assert drafts.load(KEY).mesh_pose.translate[0] == x


def test_what_was_marked_is_taken_back_step_by_step(drafts, capture_folder, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(drafts_module.time, "time", lambda: clock[0])
    home, view = drafts.folder(KEY), "images/000.png"
    start = drafts.load(KEY)
    mesh, mask = (drafts.file(KEY, "mesh", start.mesh), drafts.file(KEY, "masks", start.masks[view]))
    kept = mesh.read_bytes(), mask.read_bytes()
    stroke = drafts.set_mask(KEY, view, b"another")
    for x in (0.1, 0.2, 0.3):  # dragging a mesh
        clock[0] += 0.3
        dragged = drafts.change(KEY, mesh_pose=replace(PLACED, translate=(x, 0.0, 0.0)))
    clock[0] += 5
    drafts.change(KEY, mesh_pose=MeshPose(), prompt="what is said is no step")
    drafts.change(KEY, masks={}, box=BOX)
    drafts.change(KEY, box=replace(BOX, center=(0.0, 0.0, 0.0)))  # at once, but another step than to set it
    drafts.set_mesh(KEY, None, MeshPose())
    drafts.set_mesh(KEY, capture_folder / "object.ply", MeshPose(scale=2.0))

    def where(draft):
        return [getattr(draft, name) for name in drafts_module.UNDOABLE]

    again = Drafts(drafts.root.parent)  # by another server
    assert [again.undo(KEY) for _ in range(3)] == [("mesh", None), ("mesh", None), ("box", None)]
    assert again.undo(KEY) == ("paint", "images/005.png")
    assert again.load(KEY).mesh_pose == MeshPose() and where(again.load(KEY))[0] == stroke.masks
    assert again.undo(KEY) == ("mesh", None) and where(again.load(KEY)) == where(dragged)
    assert again.undo(KEY) == ("mesh", None) and where(again.load(KEY)) == where(stroke)
    assert again.undo(KEY) == ("paint", view) and where(again.load(KEY)) == where(start)
    assert (mesh.read_bytes(), mask.read_bytes()) == kept and again.load(
        KEY
    ).prompt == "what is said is no step"
    for _ in start.past:
        again.undo(KEY)
    assert where(again.load(KEY)) == where(Draft())
    with pytest.raises(InputError, match="nothing to undo"):
        again.undo(KEY)
    again.set_mask(KEY, view, b"one")  # nothing leads to the others any more
    assert [len(list((home / part).iterdir())) for part in ("masks", "mesh")] == [1, 0]
    for k in range(drafts_module.MAX_UNDO_STEPS + 10):
        again.set_mask(KEY, view, b"%d" % k)
    assert len(list((home / "masks").iterdir())) == drafts_module.MAX_UNDO_STEPS + 1


@pytest.mark.parametrize("name", ["../../../../secret", "/etc/passwd"])
def test_a_draft_names_no_file_elsewhere(drafts, name):
    with pytest.raises(InputError, match="damaged"):
        drafts.file(KEY, "masks", name)


def test_models_are_marked_as_here_or_say_how_to_get_them(drafts, tmp_path, monkeypatch):
    import torch
    from huggingface_hub import constants
    from safetensors.torch import save_file

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    said = replace(drafts.load(KEY), mesh=None, prompt="a hat")
    painted = recipe_from_draft(said, drafts, KEY)
    assert painted.inpainter == "diffusion" and painted.inpainter_options == {}
    with pytest.raises(InputError, match=r"no diffusion model on this machine.*models pull"):
        model_list.check_recipe_model(painted)
    assert all("not on this machine" in label for label, name in model_list.model_choices() if name)
    location = tmp_path / "models--diffusers--stable-diffusion-xl-1.0-inpainting-0.1"
    folder = location / "snapshots" / "1"
    (folder / "unet").mkdir(parents=True)
    (location / "refs").mkdir()
    (location / "refs" / "main").write_text("1")
    (folder / "unet" / "config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, folder / "unet" / "diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text('{"_class_name": "X", "unet": ["diffusers", "UNet"]}')
    model_list.check_recipe_model(painted)
    assert (
        model_list.model_choices()[1] == ("sdxl-inpaint", "sdxl-inpaint")
        and model_list.describe_model("") == ""
    )
    chosen = recipe_from_draft(replace(said, model="flux2-klein", options={"guidance": 3}), drafts, KEY)
    assert chosen.inpainter_options == {"model": "flux2-klein", "guidance": 3}
    with pytest.raises(InputError, match="models pull flux2-klein"):
        model_list.check_recipe_model(chosen)
    by_mesh = recipe_from_draft(replace(drafts.load(KEY), model="flux2-klein"), drafts, KEY)
    assert by_mesh.inpainter_options == {}
    model_list.check_recipe_model(by_mesh)


def test_a_pose_is_that_of_the_flag():
    # scaled, turned about x, then y, then z, then moved, by hand for a quarter turn about z
    matrix = pose_matrix(MeshPose((1.0, 2.0, 3.0), (0.0, 0.0, 90.0), 2.0))
    wanted = [[0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]]
    assert [[round(v, 9) for v in row] for row in matrix] == wanted


@pytest.mark.parametrize("key", ["", "short", "../../../etc", "ABCDEFGH1", "a" * 41])
def test_ids_that_are_none_are_refused(drafts, key):
    with pytest.raises(InputError, match="reload"):
        drafts.load(key)


def test_what_is_missing_is_said(drafts):
    with pytest.raises(InputError, match="Mark a region first"):
        recipe_from_draft(Draft(), drafts, KEY)
    with pytest.raises(InputError, match="needs a mesh"):
        recipe_from_draft(replace(drafts.load(KEY), mesh=None, inpainter="mesh"), drafts, KEY)
    assert isinstance(recipe_from_draft(drafts.load(KEY), drafts, KEY), Recipe)


def test_a_damaged_draft_is_begun_afresh(drafts):
    (drafts.folder(KEY) / "draft.json").write_text('{"placing": 3')
    assert drafts.load(KEY) == Draft()


def test_a_draft_with_the_keys_of_the_first_version_opens(drafts):
    wanted = drafts.change(KEY, box=BOX, blend_width=0.02)
    old = json.loads((drafts.folder(KEY) / "draft.json").read_text())
    for now, before in {value: key for key, value in drafts_module.RENAMED.items()}.items():
        for place in (old, old["box"], *old["past"]):
            if now in place:
                place[before] = place.pop(now)
    assert {"placing", "shell"} <= old.keys() and "centre" in old["box"]
    (drafts.folder(KEY) / "draft.json").write_text(json.dumps(old))
    assert drafts.load(KEY) == wanted
    drafts.undo(KEY)  # the box
    drafts.undo(KEY)  # the mesh, whose step has an old key
    assert drafts.load(KEY).mesh_pose == MeshPose() and drafts.load(KEY).box is None


def test_clicks_are_kept_and_undone_one_by_one(drafts):
    masks = drafts.load(KEY).masks
    drafts.add_point(KEY, "images/001.png", (12.0, 3.0), True)
    drafts.add_point(KEY, "images/002.png", (1.0, 2.0), False)
    drafts.add_point(KEY, "images/001.png", (13.0, 4.0), True)
    now = drafts.load(KEY)
    assert now.points == {"images/001.png": [[12.0, 3.0], [13.0, 4.0]]} and now.has_region
    assert now.not_points == {"images/002.png": [[1.0, 2.0]]}
    assert drafts.undo(KEY) == ("click", "images/001.png")
    assert drafts.undo(KEY) == ("click", "images/002.png")
    assert drafts.undo(KEY) == ("click", "images/001.png")
    now = drafts.load(KEY)
    assert (now.points, now.not_points, now.masks) == ({}, {}, masks)
