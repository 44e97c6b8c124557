"""Recipes of older versions: read, told about, written anew, and recognized by their fingerprints.

tests/data/first_version was written by the first version, all of its keys included.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml

from nerf_insert.errors import InputError
from nerf_insert.regions.spec import Box, Mesh, Union
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import FORMAT, GuideSpec, Recipe, Schedule
from nerf_insert.scene.recipe import _digest as digest_of
from nerf_insert.scene.recipe_formats import SCHEDULE_KEYS
from nerf_insert.scene.recipe_from_flags import recipe_of

FIRST = Path(__file__).parents[1] / "data/first_version"
FINGERPRINTS = json.loads((FIRST / "recipes/fingerprints.json").read_text())
BOX = {"box": {"center": [0, 0, 0], "size": [1, 1, 1]}}
OLD_KEYS = [*SCHEDULE_KEYS, "centre", "doubted"]


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_first_version_is_recognized(name):
    recipe = Recipe.load(FIRST / "recipes" / name)
    assert FINGERPRINTS[name] in recipe.fingerprints()[1:]
    assert recipe.fingerprint() != FINGERPRINTS[name]


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_first_version_is_written_with_new_names_only(name, tmp_path):
    old = yaml.safe_load((FIRST / "recipes" / name).read_text())
    recipe = Recipe.load(FIRST / "recipes" / name)
    recipe.save(tmp_path / "new.yaml")
    text = (tmp_path / "new.yaml").read_text()
    assert not any(f"{key}:" in text or f": {key}" in text for key in OLD_KEYS)
    again = Recipe.load(tmp_path / "new.yaml")
    assert again == recipe and again.deprecations == () and again.to_dict()["format"] == FORMAT
    values = {SCHEDULE_KEYS.get(key, key): value for key, value in old["schedule"].items()}
    assert {**values, "repaint": recipe.schedule.repaint} == again.to_dict()["schedule"]
    assert (old["schedule"]["repaint"], recipe.schedule.repaint) in (
        ("doubted", "inconsistent"),
        ("all", "all"),
        ("none", "none"),
    )


def test_one_message_names_every_old_key():
    (message,) = Recipe.load(FIRST / "recipes/defaults.yaml").deprecations
    assert all(f"schedule.{old} is now {new}" in message for old, new in SCHEDULE_KEYS.items())
    assert "box.centre is now center" in message and "repaint: doubted is now repaint: inconsis" in message
    assert Recipe.from_dict({"format": 1, "region": BOX}).deprecations == ()


def test_old_names_are_read_without_a_format():
    """As in the API's plain data."""
    data = {"region": {"dilate": {"region": {"box": {"centre": [1, 2, 3], "size": [1, 1, 1]}}, "by": 1}}}
    recipe = Recipe.from_dict({**data, "schedule": {"fall": 0.5, "repaint": "doubted"}})
    assert recipe.region.region.center == (1, 2, 3)
    assert recipe.schedule == Schedule(strength_decay=0.5, repaint="inconsistent")
    assert len(recipe.deprecations) == 1


def test_a_value_under_both_names_is_refused():
    for schedule in ({"fall": 0.5, "strength_decay": 0.5}, {"weigh": None, "robust_weights": True}):
        with pytest.raises(InputError, match=r"schedule has both \w+ and \w+, its old name"):
            Recipe.from_dict({"region": BOX, "schedule": schedule})


@pytest.mark.parametrize("mesh", [{"mesh": "a"}, {"mesh": "a", "pose": None}, {"mesh": "a", "dilate": None}])
def test_fingerprints_of_the_first_version_kept_a_region_as_it_was_written(mesh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a").write_bytes(b"x")
    ones = [Recipe.from_dict({"region": {"union": [tree, BOX]}}) for tree in (mesh, {"mesh": "a"})]
    assert ones[0] == ones[1] and ones[0].fingerprints() == ones[1].fingerprints()
    assert len(set(ones[0].fingerprints())) == 1 + 1 + 4  # now, without shadows and up axes, in format 1
    with_values = Recipe.from_dict({"region": {"mesh": "a", "dilate": 1, "pose": torch.eye(4).tolist()}})
    assert len(with_values.fingerprints()) == 1 + 1 + 1


class Told(Progress):
    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


FLAGS = dict.fromkeys(
    "recipe mask mesh pose box dilate prompt negative_prompt reference inpainter name seed".split()
)
NO_FLAGS = {**FLAGS, "inpainter_option": ()}


def test_who_gives_an_old_recipe_file_is_told_once():
    told = Told()
    recipe = recipe_of({**NO_FLAGS, "recipe": FIRST / "recipes/defaults.yaml"}, told)
    (warning,) = told.warnings
    assert "defaults.yaml" in warning and "schedule.fall is now strength_decay" in warning
    assert recipe.deprecations == ()  # nobody is told again when it is run


def test_flags_under_old_names_are_read():
    """As in the config.yml of a run of the first version."""
    told = Told()
    flags = {**NO_FLAGS, "box": (0, 0, 0, 1, 1, 1), "fall": 0.5, "weigh": False, "repaint": "doubted"}
    schedule = recipe_of(flags, told).schedule
    assert schedule == Schedule(strength_decay=0.5, robust_weights=False)
    assert len(told.warnings) == 3 and "strength_decay" in told.warnings[0]
    assert recipe_of({**flags, "strength_decay": 0.25}, Told()).schedule.strength_decay == 0.25


def test_recipes_from_before_the_up_axis_keep_their_files_axes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.glb", "a.ply"):
        Path(name).write_bytes(b"x")
    mesh = {"mesh": "a.glb", "pose": None}
    old = Recipe.from_dict({"format": 2, "region": {"union": [mesh, BOX]}, "guide": mesh})
    assert old.guide.up_axis == "none" and old.region.union[0].up_axis == "none"
    assert old == Recipe.from_dict(old.to_dict())  # what is saved now says so
    new = Recipe(region=Union((Mesh("a.glb"), Box((0, 0, 0), (1, 1, 1)))), guide=GuideSpec(mesh="a.glb"))
    assert new.guide.up_axis == "y" and new.region.union[0].up_axis == "y"
    assert not set(new.fingerprints()) & set(old.fingerprints())
    # The version before wrote no such key: its fingerprint of the old recipe is among ours.
    plain = old.map_files(digest_of).to_dict()
    del plain["guide"]["up_axis"], plain["shadow"]
    assert "up_axis" not in json.dumps(plain)
    expected = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    assert expected in old.fingerprints()
    assert GuideSpec(mesh="a.ply", up_axis="none") == GuideSpec(mesh="a.ply")
