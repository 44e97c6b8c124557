"""Flags become recipes."""

import argparse
import json
import re
from pathlib import Path

import pytest
import torch

from nerf_insert.cli import edit_flags
from nerf_insert.cli.argv import repeat_masks, replace_deprecated
from nerf_insert.cli.main import build_parser, main
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_yaml
from nerf_insert.regions import Box, Masks, Mesh, Points
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe


class Warnings(Progress):
    def __init__(self):
        self.texts = []

    def warn(self, text):
        self.texts.append(text)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The current folder, with files that recipes can name."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "chair.glb", "look.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def parse(*words) -> argparse.Namespace:
    return build_parser().parse_args(["edit", "scene", *map(str, words)])


def recipe(*words, warnings=None) -> Recipe:
    return edit_flags.recipe_from_args(parse(*words), warnings or Warnings())


def test_masks(here):
    made = recipe("--mask", "images/003.png=a.png", "--mask", "007=b.png", "--seed", 5)
    masks = {"images/003.png": str(here / "a.png"), "007": str(here / "b.png")}
    assert made == Recipe(region=Masks(masks), inpainter="fill", seed=5)


def test_names_with_an_equals_sign(here):
    (here / "x=1.png").write_bytes(b"x")
    made = recipe("--mask", "a=b.jpg=x=1.png", "--mask", "007=b.png")
    assert made.region.to_dict() == {"masks": {"a=b.jpg": str(here / "x=1.png"), "007": str(here / "b.png")}}


def test_several_masks_may_follow_one_flag(capsys):
    apart = repeat_masks(["edit", "--mask", "1=a.png", "--mask", "2=b.png", "scene", "--seed", "5"])
    assert repeat_masks(["edit", "--mask", "1=a.png", "2=b.png", "scene", "--seed", "5"]) == apart
    other = ["edit", "scene", "--name", "--mask=1=a.png", "--inpainter-option", "a=b"]
    assert repeat_masks(other) == other


def test_a_mesh_is_where_and_what(here):
    made = recipe(
        "--mesh", "chair.glb", "--pose", "translate=1,2,3", "--steps", 99, "--rounds", 2, "--strength", 0.7
    )
    pose = torch.eye(4)
    pose[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    assert made.region == Mesh(str(here / "chair.glb"), pose.tolist())
    assert made.guide.mesh == str(here / "chair.glb") and made.guide.pose == made.region.pose
    assert (made.inpainter, made.name, made.seed) == ("mesh", "chair", 0)
    assert (made.schedule.steps, made.schedule.rounds, made.schedule.strength) == (99, 2, 0.7)


def test_a_box_may_lie_on_the_negative_side():
    box = {"center": [-1.0, 0.0, 0.5], "size": [1.0, 2.0, 3.0], "rotation": [0.0, 0.0, 0.0]}
    assert recipe("--box", "-1,0,.5,1,2,3").region.to_dict() == {"box": box}
    assert recipe("--box=-1,0,.5,1,2,3").region.to_dict() == {"box": box}
    turned = {**box, "rotation": [0.0, 0.0, -45.0]}
    assert recipe("--box", "-1,0,.5,1,2,3,0,0,-45").region.to_dict() == {"box": turned}


def test_several_kinds_are_a_union_and_dilation_is_around_all(here):
    words = ["--mask", "1=a.png", "--mask", "2=b.png", "--box", "0,0,0,1,1,1", "--mesh", "chair.glb"]
    kinds = [part.keyword for part in recipe(*words).region.union]
    assert kinds == ["masks", "mesh", "box"]
    assert recipe(*words, "--dilate", 0.5).region == recipe(*words).region.dilated(0.5)
    alone = recipe("--mesh", "chair.glb", "--dilate", 0.5).region
    assert alone == Mesh(str(here / "chair.glb"), dilate=0.5)


def test_several_kinds_may_mean_what_is_in_all_of_them(here):
    words = ["--mask", "1=a.png", "--box", "0,0,0,1,1,1", "--combine"]
    made = recipe(*words, "intersection").region
    assert made == Masks({"1": str(here / "a.png")}) & Box((0, 0, 0), (1, 1, 1), (0, 0, 0))
    assert recipe(*words, "union").region == recipe(*words[:-1]).region
    with pytest.raises(InputError, match="needs two of --mask, --mesh and --box"):
        recipe("--box", "0,0,0,1,1,1", "--combine", "intersection")


def test_options_are_json_or_text():
    words = ["a=1.5", "b=true", "c=[1, 2]", "d=some text", "e=x=y", "f=", 'g="1.5"']
    given = [word for option in words for word in ("--inpainter-option", option)]
    made = recipe("--box", "0,0,0,1,1,1", *given)
    wanted = {"a": 1.5, "b": True, "c": [1, 2], "d": "some text", "e": "x=y", "f": "", "g": "1.5"}
    assert made.inpainter_options == wanted


def test_text_is_for_an_inpainter_that_reads():
    for words in (["--reference", "look.jpg"], ["--prompt", "a hat"], ["--model", "sdxl-inpaint"]):
        assert recipe("--box", "0,0,0,1,1,1", *words).inpainter == "diffusion"
    made = recipe(
        "--box", "0,0,0,1,1,1", "--prompt", "a hat", "--reference", "look.jpg", "--inpainter", "my:Own"
    )
    assert made.guide.prompt == "a hat" and made.guide.reference.endswith("look.jpg")
    warnings = Warnings()
    assert recipe("--mesh", "chair.glb", "--prompt", "a chair", warnings=warnings).inpainter == "mesh"
    assert "reads neither prompts" in warnings.texts[0]


def test_flags_override_a_recipe(here):
    recipe(
        "--mesh",
        "chair.glb",
        "--seed",
        3,
        "--steps",
        50,
        "--inpainter-option",
        "shade=1",
        "--save-recipe",
        "r.yaml",
    )
    same = recipe("--recipe", "r.yaml")
    assert same == recipe("--mesh", "chair.glb", "--seed", 3, "--steps", 50, "--inpainter-option", "shade=1")
    other = recipe("--recipe", "r.yaml", "--seed", 4, "--rounds", 2, "--dilate", 0.1, "--name", "stool")
    assert (other.seed, other.name, other.region.dilate) == (4, "stool", 0.1)
    assert (other.schedule.steps, other.schedule.rounds) == (50, 2)
    assert other.inpainter_options == {"shade": 1} and other.guide == same.guide
    boxed = recipe("--recipe", "r.yaml", "--box", "0,0,0,1,1,1")
    assert isinstance(boxed.region, Box) and boxed.guide == same.guide and boxed.inpainter == "mesh"
    # options belong to the inpainter that they were given for
    assert recipe("--recipe", "r.yaml", "--inpainter", "fill").inpainter_options == {}


def test_a_saved_recipe_can_be_moved_with_its_files(here, monkeypatch):
    (here / "job").mkdir()
    (here / "job" / "a.png").write_bytes(b"a.png")
    words = ["--mask", "1=job/a.png", "--mask", "2=b.png"]
    digest = recipe(*words, "--save-recipe", "job/r.yaml").fingerprint()
    masks = read_yaml(here / "job" / "r.yaml")["region"]["masks"]
    assert masks == {"1": "a.png", "2": str(here / "b.png")}  # what lies elsewhere keeps its place
    (here / "job").rename(here / "moved")
    monkeypatch.chdir("/")
    assert recipe("--recipe", here / "moved" / "r.yaml").fingerprint() == digest


def test_saving_replaces_recipes_only(here):
    recipe("--box", "0,0,0,1,1,1", "--save-recipe", "r.yaml")
    recipe("--box", "0,0,0,1,1,2", "--save-recipe", "r.yaml")
    assert read_yaml(here / "r.yaml")["region"]["box"]["size"] == [1, 1, 2]
    with pytest.raises(InputError, match="something else"):
        recipe("--box", "0,0,0,1,1,1", "--save-recipe", "a.png")
    assert (here / "a.png").read_bytes() == b"a.png"


def test_missing_files_are_found_before_anything_is_loaded(capsys):
    assert main(["edit", "no-scene", "--mesh", "stool.glb", "--json"]) == 2
    assert "stool.glb" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize("flag", ["--mesh", "--pose", "--box", "--recipe"])
def test_what_is_edited_is_given_once(flag, capsys):
    value = "1,1,1,2,2,2" if flag == "--box" else "x"
    assert main(["edit", "scene", flag, value, flag, value]) == 2
    assert f"argument {flag}: it is given twice" in capsys.readouterr().err


def test_flags_of_diffusion_are_options_of_it(tmp_path):
    (tmp_path / "style.safetensors").write_bytes(b"")
    words = [
        "--model",
        "sdxl-inpaint",
        "--guidance-scale",
        "9",
        "--inference-steps",
        "12",
        "--no-safety-checker",
    ]
    words += [
        "--lora",
        f"{tmp_path}/style.safetensors:0.5",
        "--lora",
        "look.jpg",
        "--scheduler",
        "DDIMScheduler",
    ]
    made = recipe("--box", "0,0,0,1,1,1", "--prompt", "a hat", *words, "--inpainter-option", "tile=1")
    assert made.inpainter_options == {
        "model": "sdxl-inpaint",
        "guidance": 9.0,
        "steps": 12,
        "scheduler": "DDIMScheduler",
        "lora": [f"{tmp_path}/style.safetensors:0.5", str(Path("look.jpg").absolute())],
        "safety": False,
        "tile": 1,
    }
    for inpainter in ("fill", "my:Own"):
        with pytest.raises(InputError, match="--guidance-scale is for the inpainter diffusion"):
            recipe("--box", "0,0,0,1,1,1", "--inpainter", inpainter, "--guidance-scale", "3")


def test_a_mesh_with_words_is_painted_by_diffusion_when_asked():
    made = recipe("--mesh", "chair.glb", "--prompt", "a chair", "--model", "sd15-inpaint")
    assert made.inpainter == "diffusion" and made.guide.mesh and made.guide.prompt == "a chair"


def test_several_reference_pictures():
    made = recipe("--box", "0,0,0,1,1,1", "--reference", "look.jpg", "--reference", "a.png")
    assert [Path(name).name for name in made.guide.references] == ["look.jpg", "a.png"]


def test_renamed_flags_are_replaced_with_a_warning():
    renamed = {"edit": {"--old": "--new"}}
    words, notes = replace_deprecated(["--json", "edit", "s", "--old=1", "--", "--old"], renamed)
    assert words == ["--json", "edit", "s", "--new=1", "--", "--old"]
    assert notes == ["--old is deprecated: use --new"]
    assert replace_deprecated(["layers", "s", "--old"], renamed) == (["layers", "s", "--old"], [])


def test_an_old_flag_still_works_and_is_reported(capsys):
    """In the result and as an event with --json, on stderr otherwise."""
    assert main(["edit", "no-scene", "--box", "0,0,0,1,1,1", "--again", "--json"]) == 2
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert "no-scene" in answer["error"] and answer["warnings"] == ["--again is deprecated: use --force"]
    assert json.loads(err.splitlines()[0])["event"] == "warning"
    assert main(["edit", "no-scene", "--box", "0,0,0,1,1,1", "--again"]) == 2
    assert "warning: --again is deprecated: use --force" in capsys.readouterr().err


def test_points(here):
    made = recipe("--point", "images/003.png=12,34.5", "--point", "a=b.jpg=1,2", "--not-point", "003=5,6")
    points = {"images/003.png": [(12.0, 34.5)], "a=b.jpg": [(1.0, 2.0)]}
    assert made.region == Points(points, {"003": [(5.0, 6.0)]})
    assert Recipe.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    both = recipe("--point", "003=1,2", "--point", "003=3,4", "--mask", "1=a.png", "--dilate", "0.1")
    assert both.region.region.union[0] == Points({"003": [(1.0, 2.0), (3.0, 4.0)]})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--point", "003=12"), "write it as VIEW=X,Y"),
        (("--point", "12,34"), "write it as VIEW=X,Y"),
        (("--point", "003=nan,4"), "write it as VIEW=X,Y"),
        (("--point", "003=1,2", "--not-point", "003"), "--not-point 003: write it as VIEW=X,Y"),
        (("--not-point", "003=1,2"), "give --point too"),
    ],
)
def test_points_that_are_none(words, message):
    with pytest.raises(InputError, match=re.escape(message)):
        recipe(*words)
