"""The methods of the plugin, in this process: recipes from flags, edits by steps, scenes as runs, our base in
nerfstudio's loop, encodings. The real commands are in test_plugin_commands.py."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import painters  # noqa: F401  # named in the recipe
import pytest
import tiny
import torch
import yaml
from nerfstudio.engine.trainer import TrainerConfig

from nerf_insert.cli import main
from nerf_insert.edit import edit
from nerf_insert.errors import InputError, RunError
from nerf_insert.plugin import config as entry
from nerf_insert.plugin.config import EditConfig
from nerf_insert.plugin.recipes import recipe_of
from nerf_insert.plugin.run_folder import read_run
from nerf_insert.plugin.scene_copy import copy_scene
from nerf_insert.plugin.stepping import SteppedEdit
from nerf_insert.progress import SILENT
from nerf_insert.recipe import Recipe
from nerf_insert.scene import Scene

BOX = {"box": {"centre": [*tiny.OBJECT[:3]], "size": [0.56] * 3}}


def recipe(inpainter="painters:Quick", **more):
    schedule = {"steps": 6, "rays": 256}
    return Recipe.from_dict({"region": BOX, "inpainter": inpainter, "schedule": schedule, **more})


# --- the entry points


def test_what_the_entry_points_name_is_light():
    """Every `ns-train` imports it: neither our engine nor what that needs, and only nerfstudio's configs."""
    code = (
        "import nerfstudio.configs.method_configs, sys; "
        "print(*(m for m in sys.modules if m.startswith(('nerf_insert', 'numba', 'gradio', 'trimesh'))))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {
        "nerf_insert",
        "nerf_insert.plugin",
        "nerf_insert.plugin.config",
        "nerf_insert.plugin.datamanager",
    }
    assert set(run.stdout.split()) == ours


def test_both_methods_are_registered_and_survive_yaml():
    from nerfstudio.configs.method_configs import all_methods

    for name in ("nerf-insert", "nerf-insert-base"):
        assert isinstance(all_methods[name], TrainerConfig) and all_methods[name].method_name == name
        again = yaml.load(yaml.dump(all_methods[name]), Loader=yaml.Loader)
        assert again.pipeline == all_methods[name].pipeline


# --- recipes


def test_flags_make_the_recipe_that_the_command_line_makes(tiny_folder, tmp_path):
    capture = tiny_folder / "capture"
    mesh = ["--mesh", str(capture / "object.ply"), "--pose", "translate=0,0,1", "--dilate", "0.1"]
    flags = [*mesh, "--seed", "4", "--steps", "9", "--name", "thing"]
    saved = tmp_path / "recipe.yaml"
    scene = str(tiny_folder / "nowhere")  # the recipe is written before the scene is opened
    assert main(["edit", scene, *flags, "--save-recipe", str(saved)]) == 2
    config = EditConfig(mesh=capture / "object.ply", pose="translate=0,0,1", dilate=0.1, seed=4, steps=9)
    config.name = "thing"
    assert recipe_of(config, None).to_dict() == Recipe.load(saved).to_dict()


def test_flags_override_a_recipe_file(tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe(seed=3).to_dict()))
    made = recipe_of(EditConfig(recipe=tmp_path / "r.yaml", steps=11), "a hat")
    assert (made.seed, made.schedule.steps, made.guide.prompt) == (3, 11, "a hat")
    assert made.inpainter == "painters:Quick" and made.region == BOX


def test_what_is_given_together_is_one_region(tiny_folder):
    mask = tiny_folder / "capture/object_mask/000.png"
    made = recipe_of(EditConfig(mask=(f"000.png={mask}",), box=(0, 0, 0, 1, 1, 1)), None)
    assert [list(part) for part in made.region["union"]] == [["masks"], ["box"]] and made.inpainter == "fill"
    assert recipe_of(EditConfig(box=(0, 0, 0, 1, 1, 1)), "a hat").inpainter == "diffusion"
    assert recipe_of(EditConfig(), None) is None


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"inpainter": "fill"}, "say where"),
        ({"box": (1.0, 2.0)}, "6 or 9 numbers"),
        ({"mask": ("a.png",)}, "VIEW=PNG"),
        ({"pose": "scale=2"}, "stands"),
        ({"box": (0, 0, 0, 1, 1, 1), "inpainter_option": ("x",)}, "KEY=VALUE"),
        ({"box": (0, 0, 0, 1, 1, 1), "seed": -1}, "seed"),
    ],
)
def test_flags_without_sense_are_named(wrong, says):
    with pytest.raises(InputError, match=says):
        recipe_of(EditConfig(**wrong), None)


# --- edits by steps


def test_an_edit_by_steps_is_the_edit(scene_folder, tmp_path):
    other = copy_scene(scene_folder, tmp_path / "other")
    edit(Scene.open(scene_folder), recipe(), SILENT)
    seen, steps = [], []
    stepped = SteppedEdit(other, recipe(), seen.append, lambda text: None)
    while (step := stepped.step()) is not None:
        steps.append(step)
    assert stepped.entry == Scene.open(scene_folder).layers[0] == Scene.open(other.folder).layers[0]
    weights = [
        (folder / "layers" / stepped.entry.folder / "field.safetensors").read_bytes()
        for folder in (scene_folder, other.folder)
    ]
    assert weights[0] == weights[1]
    fits = [step for step in steps if step.task.startswith("Fitting")]
    assert len(fits) == 6 and fits[-1].share == 1 and "loss" in fits[0].note
    assert len(seen) == 1 and stepped.step() is None


def test_a_stopped_edit_goes_on(scene_folder):
    scene = Scene.open(scene_folder)
    stepped = SteppedEdit(scene, recipe(), lambda layer: None, lambda text: None)
    while not stepped.step().task.startswith("Fitting"):
        pass
    stepped.stop()
    assert stepped.entry is None and stepped.step() is None and not Scene.open(scene_folder).layers
    painted = list((scene_folder / "layers").glob("*/painted/*/*.png"))
    assert painted
    times = [file.stat().st_mtime_ns for file in painted]
    again = SteppedEdit(Scene.open(scene_folder), recipe(), lambda layer: None, lambda text: None)
    while again.step() is not None:
        pass
    assert Scene.open(scene_folder).layers == [again.entry]
    assert [file.stat().st_mtime_ns for file in painted] == times


def test_what_the_edit_raises_comes_out(scene_folder):
    said = []
    stepped = SteppedEdit(
        Scene.open(scene_folder),
        recipe("painters:Bad", inpainter_options={"how": "raises"}),
        lambda layer: None,
        said.append,
    )
    with pytest.raises(RunError, match="painters:Bad failed"):
        while stepped.step() is not None:
            pass


@pytest.mark.parametrize(
    "given, says",
    [
        ({}, "say what to edit: --load-dir"),
        ({"load_dir": "nowhere"}, "no folder of checkpoints nowhere"),
        ({"scene": "nowhere"}, "there is no scene folder nowhere"),
    ],
)
def test_mistakes_end_the_command_in_a_sentence(tiny_folder, tmp_path, capsys, given, says):
    config = copy.deepcopy(entry.nerf_insert.config)
    config.output_dir, config.timestamp, config.experiment_name = tmp_path, "run", "e"
    config.vis, config.machine.device_type = "tensorboard", "cpu"
    config.pipeline.datamanager.data = tiny_folder / "capture"
    config.load_dir = Path(given["load_dir"]) if "load_dir" in given else None
    config.pipeline.scene = Path(given["scene"]) if "scene" in given else None
    trainer = config.setup()
    with pytest.raises(SystemExit) as stopped:
        trainer.setup()
    assert stopped.value.code == 2 and says in " ".join(capsys.readouterr().out.split())


# --- scenes in runs


def test_a_copied_scene_is_a_scene_of_its_own(tiny_folder, tmp_path):
    scene = shutil.copytree(tiny_folder / "scene", tmp_path / "here" / "scene")
    entry_ = tiny.tiny_layer(scene)
    copied = copy_scene(scene, tmp_path / "there" / "deep" / "scene")
    assert copied.layers == [entry_] and copied.capture.path == Scene.open(scene).capture.path
    one, other = (folder / "base" / "base.safetensors" for folder in (scene, copied.folder))
    assert one.stat().st_ino == other.stat().st_ino  # one file on the disk
    copied.enable(1, False)
    assert Scene.open(scene).layers[0].enabled and not Scene.open(copied.folder).layers[0].enabled
    with pytest.raises(InputError, match="exists already"):
        copy_scene(scene, copied.folder)


def test_an_exported_scene_opens_as_a_run_and_renders_the_same(scene_folder, tmp_path, capsys):
    from nerfstudio.utils.eval_utils import eval_setup

    tiny.tiny_layer(scene_folder)
    tiny.tiny_layer(scene_folder, centre=(0.0, 0.0, 0.5), name="off")
    Scene.open(scene_folder).enable(2, False)
    assert main(["export", str(scene_folder), "nerfstudio", "--out", str(tmp_path / "runs"), "--quiet"]) == 0
    config = next((tmp_path / "runs").rglob("config.yml"))
    shutil.rmtree(scene_folder)  # the run does not need it
    _, pipeline, _, _ = eval_setup(config)
    scene = Scene.open(config.parent / "scene")
    dataset = pipeline.datamanager.eval_dataset
    name = dataset.image_filenames[0].name
    shown = pipeline.model.get_outputs_for_camera(dataset.cameras[0:1])
    ours = scene.stack().picture(scene.capture.view(name).camera)
    # Cameras go through nerfstudio's coordinates in float32; a ray at a silhouette may fall on its far side.
    difference = (shown["rgb"] - ours.rgb).abs()
    assert float(difference.mean()) < 1e-4 and float(difference.quantile(0.99)) < 1e-3
    assert 0 < float(shown["edited"].mean()) < 0.9
    scale = pipeline._frame.scale
    near = ours.depth.isfinite()
    ratio = shown["depth"][..., 0][near] / (ours.depth[near] * scale)
    assert float((ratio - 1).abs().quantile(0.95)) < 1e-2
    # a switch of the viewer takes the layer away
    panel = pipeline.edit_panel
    panel.layer_1.value = False
    panel.layer_1.cb_hook(panel.layer_1)
    before = pipeline.model.get_outputs_for_camera(dataset.cameras[0:1])
    assert float(before["edited"].max()) == 0 and not before["rgb"].equal(shown["rgb"])
    config.parent.joinpath("scene").rename(tmp_path / "moved")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        eval_setup(config)
    assert "any more: move it back" in " ".join(capsys.readouterr().out.split())


def test_a_dataset_is_not_a_run_of_another_capture(scene_folder, tmp_path, capsys):
    """A capture that changed since the scene was made is told apart."""
    from nerf_insert.plugin.frame import Frame

    scene = Scene.open(scene_folder)
    outputs = entry._data().dataparser
    outputs.data = scene.capture.path
    parsed = outputs.setup().get_dataparser_outputs("train")
    parsed.cameras.camera_to_worlds[2, :, 3] += 0.2
    with pytest.raises(InputError, match="not those that the model was trained with"):
        Frame.of(parsed, scene.capture)


# --- our base in nerfstudio's loop


@pytest.fixture(scope="module")
def base_run(tiny_folder, tmp_path_factory):
    config = copy.deepcopy(entry.nerf_insert_base.config)
    config.output_dir, config.timestamp, config.experiment_name = tmp_path_factory.mktemp("b"), "run", "e"
    config.vis, config.machine.device_type, config.max_num_iterations = "tensorboard", "cpu", 220
    config.data = config.pipeline.datamanager.data = tiny_folder / "capture"
    config.viewer.quit_on_train_completion = True
    model = config.pipeline.model
    model.num_levels, model.log2_hashmap_size, model.max_res, model.hidden_dim = 6, 13, 128, 16
    model.samples_per_batch, model.training_steps = 1 << 14, 220
    config.save_config()
    trainer = config.setup()
    trainer.setup()
    untrained = trainer.pipeline.get_average_eval_image_metrics()["psnr"]
    trainer.train()
    return config.get_base_dir(), trainer, untrained


def test_our_base_learns_in_nerfstudios_loop(base_run):
    _, trainer, untrained = base_run
    assert trainer.pipeline.get_average_eval_image_metrics()["psnr"] > untrained + 3
    assert trainer.pipeline.datamanager.get_train_rays_per_batch() != 4096  # rays follow the samples
    assert float(trainer.pipeline.model.base.background.sum()) > 0


def test_our_base_is_adopted_and_renders_the_same(base_run, tmp_path, capsys):
    run, trainer, _ = base_run
    out = tmp_path / "scene"
    assert main(["train", "--nerfstudio", str(run), "--out", str(out), "--quiet"]) == 0
    scene, dataset = Scene.open(out), trainer.pipeline.datamanager.eval_dataset
    trainer.pipeline.eval()
    for index, file in enumerate(dataset.image_filenames):
        theirs = trainer.pipeline.model.get_outputs_for_camera(dataset.cameras[index : index + 1])["rgb"]
        ours = scene.stack().picture(scene.capture.view(file.name).camera).rgb
        difference = (
            theirs - ours
        ).abs()  # rounding moves a sample into the next cell of the grid now and then
        assert float(difference.mean()) < 2e-3 and float(difference.quantile(0.95)) < 1e-2
    assert read_run(run).model.kind.endswith("NerfInsertBaseModelConfig")


# --- nerfstudio's fields with our encoding


def test_patched_fields_give_the_same_values_and_gradients():
    from nerfstudio.fields.density_fields import HashMLPDensityField

    from nerf_insert.nerfstudio_encoding import patch_nerfstudio, unpatch_nerfstudio, use_kernels

    torch.manual_seed(0)
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    field = HashMLPDensityField(box, num_levels=5, max_res=128, log2_hashmap_size=12, implementation="torch")
    points = torch.rand(40, 20, 3) * 1.8 - 0.9
    results = []
    for switch in (unpatch_nerfstudio, patch_nerfstudio):
        switch()
        try:
            field.zero_grad()
            value = field.density_fn(points)
            value.sum().backward()
            results.append((value.detach().clone(), field.encoding.hash_table.grad.clone()))
        finally:
            unpatch_nerfstudio()
    # float32 sums of eight terms in another order
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-5)
    names = list(field.state_dict())
    use_kernels(field)
    assert list(field.state_dict()) == names and field.density_fn(points).shape == value.shape
