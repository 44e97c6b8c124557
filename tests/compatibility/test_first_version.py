"""What the first version (commit b096d6e) wrote still opens, renders the same, and its edits resume.

The files are in tests/data/first_version; its README.md says what each is and how it was made. Images are
bit-identical on the machine that made them; other CPUs round sums in another order, hence TOLERANCE.
"""

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import runs
import torch
import yaml

from nerf_insert.capture.capture import Capture
from nerf_insert.cli.main import main
from nerf_insert.io.files import read_json, read_tensors
from nerf_insert.rendering.stack import hits
from nerf_insert.scene.renders import layer_stack
from nerf_insert.scene.scene import Scene

pytestmark = pytest.mark.usefixtures("coarse_light")  # shade layers, which the first version did not know

ARCHIVE = Path(__file__).parents[1] / "data" / "first_version" / "first_version.tar.xz"
TOLERANCE = 0.5 / 255  # of colors and opacities: what no written image shows


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "first_version"


@pytest.fixture
def first_version(unpacked, monkeypatch):
    """The unpacked archive as the current folder, which its relative paths start from."""
    monkeypatch.chdir(unpacked)
    return unpacked


def command(capsys, *words):
    """Run a command that has to succeed; its JSON result and what it said."""
    capsys.readouterr()
    assert main([*map(str, words), "--json"]) == 0, "".join(capsys.readouterr())
    out, err = capsys.readouterr()
    return json.loads(out), err


def assert_renders_as_then(file, stacks, capture):
    for key, then in read_tensors(Path(file))[0].items():
        which, stem, part = key.split("/")
        now = getattr(stacks[which].render_image(capture.view(f"images/{stem}.png").camera), part)
        if part == "depth":  # distances jump at silhouettes, where the last bit decides
            close = torch.isclose(now, then, rtol=1e-3) | (now.isinf() & then.isinf())
            assert close.float().mean() > 0.99, key
        else:
            assert (now - then).abs().max() < TOLERANCE, key


def test_a_scene_opens_and_renders_the_same(first_version):
    scene = Scene.open("scene")
    assert [(e.folder, e.name, e.enabled) for e in scene.layers] == [
        ("001-object", "blue ball", True),
        ("002-no-ball", "no ball", True),
    ]
    stacks = {"with-layers": scene.stack(), "base": scene.stack(with_layers=False)}
    assert_renders_as_then("renders/scene.safetensors", stacks, scene.capture)


def test_changes_of_layers_can_be_undone(first_version, tmp_path):
    scene = Scene.open(shutil.copytree("scene", tmp_path / "scene"))
    scene.undo()
    assert [(e.name, e.enabled) for e in scene.layers] == [("blue ball", True), ("no ball", False)]
    scene.undo(), scene.undo()
    assert [(e.name, e.enabled) for e in scene.layers] == [("object", True), ("no ball", True)]


def test_layers_are_listed_as_then(first_version, capsys):
    assert command(capsys, "layers", "scene")[0] == read_json("renders/layers.json")


def test_metrics_are_as_then(first_version, capsys):
    now, then = command(capsys, "eval", "scene")[0], read_json("renders/eval.json")
    assert then.keys() <= now.keys()
    for part in ("base", "edited"):
        for name, value in then["mean"][part].items():
            assert now["mean"][part][name] == pytest.approx(value, abs=0.02), name  # dB, of 8-bit images


@pytest.mark.parametrize(
    "name",
    ["defaults", "everything", "fill", "masks", "mesh", "one-reference", "unfinished", "unfinished-painting"],
)
def test_recipes_mean_what_they_meant(first_version, name):
    from nerf_insert.regions.saved import load_region
    from nerf_insert.scene.recipe import Recipe

    recipe = Recipe.load(f"recipes/{name}.yaml")
    assert read_json("recipes/fingerprints.json")[f"{name}.yaml"] in recipe.fingerprints()
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1000, 3, generator=generator) * torch.tensor([1.6, 1.6, 0.9]) - torch.tensor(
        [0.6, 0.9, 0.1]
    )
    then = read_json("regions/inside.json")["regions"][name]["inside"]
    kept = load_region(read_json(f"regions/{name}/region.json"), Path("regions") / name)
    for region in (recipe.region.build(Capture.load("capture")), kept):
        now = region.contains(points).nonzero()[:, 0].tolist()
        assert len({*now} ^ {*then}) <= 1  # a point may lie within rounding of the border


def test_renamed_keys_of_recipes_are_written_anew(first_version):
    from nerf_insert.scene.recipe import Recipe

    old, new = (
        yaml.safe_load(Path("recipes/everything.yaml").read_text()),
        Recipe.load("recipes/everything.yaml"),
    )
    then, now = old["schedule"], new.to_dict()["schedule"]
    assert [now["strength_decay"], now["blend_width"], now["min_coverage"]] == [
        then["fall"],
        then["shell"],
        then["min_share"],
    ]
    assert [now["match_color"], now["match_warp"], now["robust_weights"]] == [
        then["match_colours"],
        then["match_shapes"],
        then["weigh"],
    ]
    assert not {"fall", "shell", "min_share", "match_colours", "match_shapes", "weigh"} & now.keys()


@pytest.mark.parametrize("name", ["unfinished", "unfinished-painting"])
def test_unfinished_edits_resume(first_version, tmp_path, capsys, name):
    scene = shutil.copytree(name, tmp_path / "scene")
    shutil.copytree("capture", tmp_path / "capture")  # where a scene looks for it, relative to itself
    then = read_json(f"unfinished-results/{name}/summary.json")
    said, err = command(capsys, "edit", scene, "--recipe", f"recipes/{name}.yaml")
    made = Scene.open(scene)
    assert said["made"] and made.layers[-1].folder == then["folder"], err
    home = made.layer_folder(made.layers[-1])
    assert read_json(home / "rounds.json")["rounds"] == then["rounds"]
    found = read_tensors(Path(f"unfinished-results/{name}/renders.safetensors"))[0]
    # the first version knew no shade layers, which an edit makes now in addition
    layers = [number for number, entry in enumerate(made.layers, 1) if entry.shade_of is None]
    below = layer_stack(made, layers[:-1])
    for key, picture in found.items():
        _, stem, part = key.split("/")
        if part == "rgb":  # a fit repeats every rounding many times
            camera = made.capture.view(f"images/{stem}.png").camera
            now = layer_stack(made, layers).render_image(camera).rgb
            # The first version painted and fitted as if the layers below were not there.
            rays = camera.rays()
            met = [layer.meets(rays) for _, layer in below.shades]
            met += [hits(layer.region, rays) for _, layer in below.fields]
            same = ~torch.stack(met).any(0).view(now.shape[:2])
            assert same.float().mean() > 0.5
            assert (now - picture)[same].abs().mean() < TOLERANCE, key


@pytest.mark.parametrize(("run", "kept"), [("nerfacto", "adopted"), ("nerf-insert-base", "adopted-base")])
def test_runs_of_nerfstudio_become_scenes(first_version, tmp_path, capsys, run, kept):
    config = f"nerfstudio/e/{run}/run/config.yml"
    now, _ = command(capsys, "train", "--nerfstudio", config, "--out", tmp_path / "scene")
    assert now["psnr"] == pytest.approx(read_json(f"renders/{kept}.json")["psnr"], abs=1e-3)
    scene = Scene.open(tmp_path / "scene")
    assert_renders_as_then(f"renders/{kept}.safetensors", {"base": scene.stack()}, scene.capture)


@pytest.mark.slow
def test_an_edit_killed_in_nerfstudio_resumes(first_version, tmp_path):
    root = shutil.copytree(first_version, tmp_path / "first_version")
    words = "ns-train nerf-insert --output-dir nerfstudio --experiment-name e --machine.device-type cpu"
    words += " --vis tensorboard --viewer.quit-on-train-completion True --timestamp resumed"
    words += " --load-dir nerfstudio/e/nerf-insert/killed/nerfstudio_models"
    runs.ns(*words.split(), cwd=root)
    scene = Scene.open(root / "nerfstudio/e/nerf-insert/resumed/scene")
    made = [e.folder for e in scene.layers if e.shade_of is None]
    assert made == ["001-object", "002-no-ball", "003-killed-in-nerfstudio"]
