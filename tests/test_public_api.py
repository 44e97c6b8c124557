"""The public API: what `nerf_insert` exports, what making a recipe from arguments gives."""

from pathlib import Path

import pytest

import nerf_insert
from nerf_insert import Box, Inpainter, InputError, Masks, Mesh, Recipe, Schedule, edit, make_recipe


def test_every_public_name_can_be_imported_and_is_documented():
    assert set(nerf_insert.__all__) == set(nerf_insert._ORIGINS)
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    for name in nerf_insert.__all__:
        assert getattr(nerf_insert, name).__doc__, name
        assert f"::: nerf_insert.{name}\n" in page, name
        assert f"`{name}`" in nerf_insert.__doc__, name
    assert set(nerf_insert.__all__) <= set(dir(nerf_insert))
    with pytest.raises(AttributeError, match="no attribute 'Scenes'"):
        nerf_insert.Scenes  # noqa: B018


def test_one_version_everywhere():
    root = Path(__file__).parents[1]
    version = nerf_insert.__version__
    assert f'\nversion = "{version}"\n' in (root / "pyproject.toml").read_text()
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## {version}" in (root / "CHANGELOG.md").read_text()


def test_the_names_for_type_checkers_are_those_that_are_imported():
    lines = [line.strip() for line in Path(nerf_insert.__file__).read_text().splitlines()]
    typed = {line for line in lines if line.startswith("from nerf_insert.")}
    assert typed == {
        f"from {module} import {attribute} as {name}"
        for name, (module, attribute) in nerf_insert._ORIGINS.items()
    }


def test_defaults_follow_from_what_is_given(tmp_path):
    box = Box((0, 0, 0.5), (1, 1, 1))
    assert make_recipe(region=box).inpainter == "fill"
    assert make_recipe(region=box, prompt="a fern").inpainter == "diffusion"
    made = make_recipe(mesh="chairs/red.glb", pose="translate=0,0,1")
    assert (made.inpainter, made.name) == ("mesh", "red")
    assert isinstance(made.region, Mesh) and made.region.mesh == made.guide.mesh
    assert made.guide.mesh == str(Path("chairs/red.glb").absolute())
    assert [*made.guide.pose[2]] == [0, 0, 1, 1] and made.region.pose == made.guide.pose
    both = make_recipe(region=box | Masks({"a": "m.png"}), mesh=tmp_path / "chair.glb", reference=["r.png"])
    assert both.inpainter == "diffusion" and both.guide.references == (str(Path("r.png").absolute()),)


def test_arguments_override_the_recipe(tmp_path):
    file = tmp_path / "recipe.yaml"
    first = make_recipe(
        region={"box": {"center": [0, 0, 0], "size": [1, 1, 1]}}, inpainter_options={"planes": 2}, steps=7
    )
    first.save(file)
    loaded = make_recipe(file)
    assert loaded == first == make_recipe(first)
    again = make_recipe(file, seed=3, rounds=2, schedule={"repaint": "none"}, inpainter_options={"x": 1})
    assert (again.seed, again.schedule) == (3, Schedule(steps=7, rounds=2, repaint="none"))
    assert again.inpainter_options == {"planes": 2, "x": 1}
    assert make_recipe(file, prompt="a fern").inpainter_options == {}  # those of another inpainter


class Paint(Inpainter):
    def inpaint(self, views, guide, *, strength, seed):
        return [view.original for view in views]


def test_inpainters_are_given_by_name_or_class():
    box = Box((0, 0, 0), (1, 1, 1))
    assert make_recipe(region=box, inpainter="mesh").inpainter == "mesh"
    assert make_recipe(region=box, inpainter=Paint).inpainter == f"{__name__}:Paint"

    class Local(Paint):
        pass

    with pytest.raises(InputError, match="cannot be named in a recipe"):
        make_recipe(region=box, inpainter=Local)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({}, "say where"),
        ({"region": Box((0, 0, 0), (1, 1, 1)), "pose": "translate=0,0,1"}, "give the mesh too"),
        ({"mesh": "a.glb", "schedule": {"anchor": 1}}, "did you mean anchors"),
        ({"mesh": "a.glb", "steps": 0}, "steps must be"),
        ({"mesh": "a.glb", "pose": "turn=1"}, "no term 'turn'"),
        ({"mesh": "a.glb", "seed": -1}, "seed must be"),
    ],
)
def test_what_cannot_be_used_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make_recipe(**arguments)


def test_edit_takes_a_folder_and_a_recipe_file(scene_folder, tmp_path):
    recipe = Recipe(region=Box((50, 0, 0), (1, 1, 1)))
    recipe.save(tmp_path / "recipe.yaml")
    with pytest.raises(InputError, match="lies outside the scene"):
        edit(str(scene_folder), tmp_path / "recipe.yaml")
