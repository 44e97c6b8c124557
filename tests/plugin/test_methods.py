"""The methods of the plugin, in this process: recipes from flags, edits by steps, scenes as runs, our base in
nerfstudio's loop, encodings. The real commands are in test_plugin_commands.py."""

import copy
import json
import math
import os
import random
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import painters  # noqa: F401  # named in the recipe
import pytest
import quick_nerfstudio  # before its methods
import tiny
import torch
import tyro
import yaml
from nerfstudio.engine.trainer import TrainerConfig
from PIL import Image

from nerf_insert.capture.reading import Reading
from nerf_insert.cli.main import main
from nerf_insert.errors import InputError
from nerf_insert.plugin import config as entry
from nerf_insert.plugin.config import EditConfig
from nerf_insert.plugin.error_handling import with_our_flags
from nerf_insert.plugin.import_run import adopt
from nerf_insert.plugin.recipe_from_config import recipe_of
from nerf_insert.plugin.run_reader import read_run
from nerf_insert.plugin.run_scene import dataparser_for
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe, Schedule
from nerf_insert.scene.recipe_formats import SCHEDULE_KEYS
from nerf_insert.scene.scene import Scene
from nerf_insert.scene.scene_copy import copy_scene

BOX = {"box": {"center": [*tiny.OBJECT[:3]], "size": [0.56] * 3}}


def recipe(inpainter="painters:Quick", **more):
    schedule = {"steps": 6, "rays": 256}
    return Recipe.from_dict({"region": BOX, "inpainter": inpainter, "schedule": schedule, **more})


# --- the entry points


# What importing the entry points may load of ours: plain data, and no package behind it.
LIGHT = {"nerf_insert", *(f"nerf_insert.{name}" for name in ("errors", "fields", "geometry", "io", "plugin"))}
LIGHT |= {"nerf_insert.scene.scene_file"}
LIGHT |= {f"nerf_insert.{name}" for name in ("regions", "scene", "geometry.mesh_assets", "regions.spec")}
LIGHT |= {f"nerf_insert.{name}" for name in ("io.files", "io.schema", "scene.recipe", "scene.recipe_formats")}
LIGHT |= {f"nerf_insert.{name}" for name in ("capture", "capture.reading", "geometry.up_axis")}
LIGHT |= {f"nerf_insert.plugin.{name}" for name in ("config", "datamanager", "edit_config")}


BROKEN = """
import os, sys
import quick_nerfstudio
import nerfstudio.engine.trainer, nerfstudio.models.splatfacto  # what takes long, and nothing of ours
for broken in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    os.dup2(os.open(broken + ".out", os.O_CREAT | os.O_WRONLY), 1)
    os.dup2(os.open(broken + ".err", os.O_CREAT | os.O_WRONLY), 2)
    assert not [name for name in sys.modules if name.startswith("nerf_insert")]
    sys.modules[broken] = None  # importing it raises
    from nerfstudio.configs.method_configs import all_methods
    print(*(m for m, loaded in sys.modules.items() if loaded and m.startswith("nerf_insert")))
    print("nerf-insert" in all_methods, *({"numba", "trimesh", "gradio"} & set(sys.modules)))
    import torch
    from nerfstudio.field_components.encodings import HashEncoding as Encoding
    print(Encoding(2, 8, 16, 6, implementation="torch")(torch.rand(5, 3)).isfinite().all().item())
    sys.exit()
"""


@pytest.fixture(scope="module")
def with_broken(tmp_path_factory):
    """What a process says in which one module is broken: a function from its name to output and errors."""
    folder = tmp_path_factory.mktemp("broken")
    environment = {
        **os.environ,
        entry.ENCODING: "1",
        "PYTHONPATH": str(Path(quick_nerfstudio.__file__).parent),
    }
    words = [sys.executable, "-c", BROKEN, "nerf_insert.kernels", "numba"]
    subprocess.run(words, check=True, env=environment, cwd=folder)
    return lambda broken: [(folder / f"{broken}.{kind}").read_text() for kind in ("out", "err")]


@pytest.mark.parametrize("broken", ["nerf_insert.kernels", "numba"])
def test_what_the_entry_points_name_is_light_and_needs_nothing_of_ours(broken, with_broken):
    """Every `ns-train` imports it: neither our engine nor what that needs, and only nerfstudio's configs.
    What is broken breaks nothing, not even where our encoding is asked for."""
    out, err = with_broken(broken)
    ours, methods, encoded = out.splitlines()[-3:]
    assert encoded == "True"
    if broken == "numba":
        assert "numba" in err and "cannot be loaded" in err
    else:
        assert set(ours.split()) == LIGHT and methods == "True"
        assert "our encoding cannot be used" in err


def test_both_methods_are_registered_and_survive_yaml():
    from nerfstudio.configs.method_configs import all_methods

    for name in ("nerf-insert", "nerf-insert-base"):
        assert isinstance(all_methods[name], TrainerConfig) and all_methods[name].method_name == name
        again = yaml.load(yaml.dump(all_methods[name]), Loader=yaml.Loader)
        assert again.pipeline == all_methods[name].pipeline


OLD_SCHEDULE = Schedule(
    strength_decay=0.3,
    blend_width=0.1,
    min_coverage=0.01,
    match_color=False,
    match_warp=True,
    robust_weights=False,
    repaint="inconsistent",
)


class Heard(Progress):
    """Keeps the warnings."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def warn(self, text):
        self.heard.append(text)


def test_a_config_that_version_0_1_saved_is_loaded():
    """It names EditConfig where that was, and fields of a recipe by their former names."""
    lines = yaml.dump(copy.deepcopy(entry.nerf_insert.config)).splitlines(keepends=True)
    text = "".join(line for line in lines if line.strip().removesuffix(": null") not in SCHEDULE_KEYS)
    former = {
        "nerf_insert.plugin.edit_config.EditConfig": "nerf_insert.plugin.config.EditConfig",
        "strength_decay: null": "fall: 0.3",
        "blend_width: null": "shell: 0.1",
        "min_coverage: null": "min_share: 0.01",
        "match_color: null": "match_colours: false",
        "match_warp: null": "match_shapes: true",
        "robust_weights: null": "weigh: false",
        "repaint: null": "repaint: doubted",
    }
    for new, old in former.items():
        assert new in text
        text = text.replace(new, old)
    loaded = yaml.load(text, Loader=yaml.Loader)
    edit_config = loaded.pipeline.edit
    assert isinstance(edit_config, EditConfig)
    edit_config.box = (0, 0, 0, 1, 1, 1)
    assert recipe_of(edit_config, None).schedule == OLD_SCHEDULE


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
    assert made.inpainter == "painters:Quick" and made.region.to_dict() == BOX


def test_what_is_given_together_is_one_region(tiny_folder):
    mask = tiny_folder / "capture/object_mask/000.png"
    made = recipe_of(EditConfig(mask=(f"000.png={mask}",), box=(0, 0, 0, 1, 1, 1)), None)
    assert [part.keyword for part in made.region.union] == ["masks", "box"] and made.inpainter == "fill"
    assert recipe_of(EditConfig(box=(0, 0, 0, 1, 1, 1)), "a hat").inpainter == "diffusion"
    assert recipe_of(EditConfig(), None) is None


def test_flags_are_read_as_the_command_line_reads_them(tmp_path):
    for name in ("x=1.png", "look.jpg", "more.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    made = recipe_of(
        EditConfig(
            mask=(f"a=b.jpg={tmp_path}/x=1.png",),
            reference=(tmp_path / "look.jpg", tmp_path / "more.jpg"),
            inpainter="my:Own",
            inpainter_option=("a=1.5", "b=", "c=[1, 2]"),
        ),
        None,
    )
    assert made.region.to_dict() == {"masks": {"a=b.jpg": f"{tmp_path}/x=1.png"}}
    assert made.guide.references == (f"{tmp_path}/look.jpg", f"{tmp_path}/more.jpg")
    assert made.inpainter_options == {"a": 1.5, "b": "", "c": [1, 2]}


def test_every_field_of_the_schedule_is_a_flag():
    words = ["--box", "0", "0", "0", "1", "1", "1", "--rays", "99", "--strength", "0.5", "--anchors", "0"]
    words += ["--match-color", "False", "--share-seed", "False", "--repaint", "all", "--blend-width", "0.1"]
    made = recipe_of(tyro.cli(EditConfig, args=words), None)
    wanted = Schedule(
        rays=99, strength=0.5, anchors=0, match_color=False, share_seed=False, repaint="all", blend_width=0.1
    )
    assert made.schedule == wanted
    assert {field.name for field in fields(Schedule)} <= {field.name for field in fields(EditConfig)}


def test_flags_of_version_0_1_are_read_with_a_warning():
    words = ["--box", "0", "0", "0", "1", "1", "1", "--fall", "0.3", "--shell", "0.1", "--min-share", "0.01"]
    words += [
        "--match-colours",
        "False",
        "--match-shapes",
        "True",
        "--weigh",
        "False",
        "--repaint",
        "doubted",
    ]
    progress = Heard()
    made = recipe_of(tyro.cli(EditConfig, args=words), None, progress)
    assert made.schedule == OLD_SCHEDULE
    assert all(any(name in said for said in progress.heard) for name in (*SCHEDULE_KEYS, "doubted"))


def test_messages_name_the_flags_of_ns_train():
    with pytest.raises(InputError) as caught:
        recipe_of(EditConfig(steps=3), None)
    assert "--pipeline.edit.point on a thing in a photograph, --pipeline.edit.mask" in with_our_flags(
        str(caught.value)
    )
    said = "--trust opens it; --data, --inpainter-option x and --pipeline.edit.mesh stay"
    assert with_our_flags(said) == said.replace("--trust", "--pipeline.trust").replace(
        "--inpainter-option", "--pipeline.edit.inpainter-option"
    )


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"inpainter": "fill"}, "say where"),
        ({"steps": 3}, "say where"),
        ({"box": (1.0, 2.0)}, "6 or 9 numbers"),
        ({"mask": ("a.png",)}, "VIEW=PNG"),
        ({"mask": ("a=x.png", "a=y.png")}, "names the photograph a twice"),
        ({"box": (0, 0, 0, 1, 1, 1), "inpainter": "mesh"}, "needs a mesh"),
        ({"pose": "scale=2"}, "stands"),
        ({"box": (0, 0, 0, 1, 1, 1), "inpainter_option": ("x",)}, "KEY=VALUE"),
        ({"box": (0, 0, 0, 1, 1, 1), "seed": -1}, "seed"),
    ],
)
def test_flags_without_sense_are_named(wrong, says):
    with pytest.raises(InputError, match=says):
        recipe_of(EditConfig(**wrong), None)


# --- training


def trainer_of(folder, **pipeline):
    """`ns-train nerf-insert`, with fields of its pipeline, and no capture said."""
    config = copy.deepcopy(entry.nerf_insert.config)
    config.output_dir, config.timestamp, config.experiment_name = folder, "run", "e"
    config.vis, config.machine.device_type = "tensorboard", "cpu"
    config.viewer.quit_on_train_completion = True
    for name, value in pipeline.items():
        setattr(config.pipeline, name, value)
    return config.setup()


@pytest.mark.parametrize(
    "given, says",
    [
        ({}, "say what to edit: --load-dir"),
        ({"load_dir": "nowhere"}, "no folder of checkpoints nowhere"),
        ({"scene": "nowhere"}, "there is no scene folder nowhere"),
        ({"scene": "nowhere", "appearance": "003"}, "--pipeline.appearance is for --load-dir"),
    ],
)
def test_mistakes_end_the_command_in_a_sentence(tmp_path, capsys, given, says):
    pipeline = {name: Path(value) for name, value in given.items() if name == "scene"}
    trainer = trainer_of(tmp_path, **pipeline, appearance=given.get("appearance"))
    trainer.config.load_dir = Path(given["load_dir"]) if "load_dir" in given else None
    with pytest.raises(SystemExit) as stopped:
        trainer.setup()
    assert stopped.value.code == 2 and says in " ".join(capsys.readouterr().out.split())


@pytest.fixture
def viewed(scene_folder, tmp_path):
    """A training of six steps on a scene folder with one layer, and nothing else said; its viewer is up."""
    tiny.tiny_layer(scene_folder)
    box = (*tiny.OBJECT[:3], 0.56, 0.56, 0.56)
    edit_ = EditConfig(box=box, inpainter="painters:Quick", steps=6, rays=256)
    trainer = trainer_of(tmp_path / "runs", scene=scene_folder, edit=edit_)
    trainer.config.vis, trainer.config.viewer.websocket_port = "viewer", 17011
    trainer.config.viewer.websocket_host = "127.0.0.1"
    trainer.setup()
    yield trainer
    trainer.pipeline.end()
    trainer.viewer_state.viser_server.stop()


def press(element):
    element.cb_hook(element)


def shown_layers(trainer):
    return len(trainer.pipeline.model._shown[0].layers)


def test_a_scene_folder_is_enough_and_the_viewers_elements_do_what_they_say(viewed):
    trainer, panel = viewed, viewed.pipeline.edit_panel
    elements = [panel.prompt, panel.strength, panel.seed, panel.start_over, panel.preview, panel.pause]
    elements += [panel.new_layer, panel.layer_1]
    homes = {element.gui_handle._impl.parent_container_id for element in elements}
    assert len(homes) == 1 and all(element.gui_handle.visible for element in elements)
    assert shown_layers(trainer) == 1
    press(panel.pause)
    assert trainer.training_state == "paused"
    press(panel.pause)
    assert trainer.training_state == "training"
    for _ in range(3):
        trainer.pipeline.edit_step()
    panel.prompt.value, panel.strength.value, panel.seed.value = "a hat", 0.5, 7
    press(panel.preview)
    assert (trainer.base_dir / "preview" / "sheet.png").exists()
    assert trainer.pipeline.recipe.seed == 0  # it takes effect with
    press(panel.start_over)
    made = trainer.pipeline.recipe
    assert (made.guide.prompt, made.schedule.strength, made.seed, made.schedule.steps) == ("a hat", 0.5, 7, 6)
    while trainer.pipeline._growing is None:
        trainer.pipeline.edit_step()
    assert shown_layers(trainer) == 2
    panel.new_layer.value = False
    press(panel.new_layer)
    assert shown_layers(trainer) == 1
    panel.layer_1.value = False
    press(panel.layer_1)
    assert shown_layers(trainer) == 0
    panel.new_layer.value = panel.layer_1.value = True
    trainer.train()
    assert len(Scene.open(trainer.base_dir / "scene").layers) == shown_layers(trainer) == 2
    panel.new_layer.value = False  # now the second layer's
    press(panel.new_layer)
    assert shown_layers(trainer) == 1
    press(panel.start_over), press(panel.pause)  # when it is over, they do nothing
    assert trainer.training_state == "completed" and trainer.pipeline.edit_step() is None


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
    moved = shutil.copytree(tiny_folder / "capture", tmp_path / "moved")
    assert copy_scene(scene, tmp_path / "again" / "scene", moved).capture.path == moved


def test_colmaps_model_is_read_where_it_lies(scene_folder, tmp_path):
    """nerfstudio's dataparser looks in colmap/sparse/0 unless it is told."""
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    (tmp_path / "sparse" / "0" / "cameras.txt").write_text("")
    scene = Scene.open(scene_folder)
    vars(scene)["capture_as_found"] = SimpleNamespace(path=tmp_path, reading=Reading(), views=[])
    assert dataparser_for(scene).colmap_path == Path("sparse/0")


def test_an_exported_scene_opens_as_a_run_and_renders_the_same(scene_folder, tmp_path, capsys):
    from nerfstudio.utils.eval_utils import eval_setup

    tiny.tiny_layer(scene_folder)
    tiny.tiny_layer(scene_folder, center=(0.0, 0.0, 0.5), name="off")
    Scene.open(scene_folder).enable(2, False)
    assert main(["export", str(scene_folder), "nerfstudio", "--out", str(tmp_path / "runs"), "--quiet"]) == 0
    config = next((tmp_path / "runs").rglob("config.yml"))
    shutil.rmtree(scene_folder)  # the run does not need it
    _, pipeline, _, _ = eval_setup(config)
    scene = Scene.open(config.parent / "scene")
    dataset = pipeline.datamanager.eval_dataset
    name = dataset.image_filenames[0].name
    shown = pipeline.model.get_outputs_for_camera(dataset.cameras[0:1])
    ours = scene.stack().render_image(scene.capture.view(name).camera)
    # Cameras go through nerfstudio's coordinates in float32; a ray at a silhouette may fall on its far side.
    difference = (shown["rgb"] - ours.rgb).abs()
    assert float(difference.mean()) < 1e-4 and float(difference.quantile(0.99)) < 1e-3
    assert 0 < float(shown["edited"].mean()) < 0.9
    scale = pipeline._frame.scale
    near = ours.depth.isfinite()
    ratio = shown["depth"][..., 0][near] / (ours.depth[near] * scale)
    assert float((ratio - 1).abs().quantile(0.95)) < 1e-2
    if with_ffmpeg := shutil.which("ffmpeg") is not None:  # nerfstudio's renderer wants it
        ns_render_follows_a_path(config, dataset.cameras[0], ours.rgb, tmp_path)
    # a switch of the viewer takes the layer away; there is no edit to speak of
    panel = pipeline.edit_panel
    assert not panel.prompt.visible and not panel.new_layer.visible and panel.layer_1.visible
    panel.layer_1.value = False
    panel.layer_1.cb_hook(panel.layer_1)
    before = pipeline.model.get_outputs_for_camera(dataset.cameras[0:1])
    assert float(before["edited"].max()) == 0 and not before["rgb"].equal(shown["rgb"])
    config.parent.joinpath("scene").rename(tmp_path / "moved")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        eval_setup(config)
    assert "any more: move it back" in " ".join(capsys.readouterr().out.split())
    if not with_ffmpeg:
        pytest.skip("all but ns-render was tried: that needs ffmpeg")


def ns_render_follows_a_path(config, camera, wanted, folder):
    """`ns-render interpolate` and `camera-path`, in this process, show the picture of the camera they begin
    with: `wanted`."""
    from nerfstudio.scripts.render import RenderCameraPath, RenderInterpolated

    fov = 2 * math.degrees(math.atan(float(camera.cy / camera.fy)))
    pose = [*camera.camera_to_worlds.flatten().tolist(), 0, 0, 0, 1]
    path = {"render_width": 48, "render_height": 36, "seconds": 1, "fps": 1}
    path["camera_path"] = [{"camera_to_world": pose, "fov": fov, "aspect": 4 / 3}]
    (folder / "path.json").write_text(json.dumps(path))
    told = {"load_config": config, "output_format": "images", "image_format": "png"}
    RenderCameraPath(**told, output_path=folder / "path", camera_path_filename=folder / "path.json").main()
    RenderInterpolated(**told, output_path=folder / "between", interpolation_steps=2).main()
    assert len(list((folder / "between").iterdir())) == 2
    for name in ("path", "between"):
        with Image.open(min((folder / name).iterdir())) as image:
            shown = torch.from_numpy(np.array(image.convert("RGB"))) / 255
        difference = (shown - wanted).abs()  # bytes are cut to 1/255
        assert float(difference.mean()) < 3e-3 and float(difference.quantile(0.99)) < 6e-3


def test_a_dataset_is_not_a_run_of_another_capture(scene_folder, tmp_path, capsys):
    """A capture that changed since the scene was made is told apart."""
    from nerf_insert.plugin.coordinates import Frame

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
    torch.manual_seed(config.machine.seed)  # as ns-train does
    np.random.seed(config.machine.seed)
    random.seed(config.machine.seed)
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


def test_our_base_is_opened_again_adopted_and_renders_the_same(base_run, tmp_path, capsys):
    from nerfstudio.scripts.eval import ComputePSNR

    run, trainer, _ = base_run
    ComputePSNR(load_config=run / "config.yml", output_path=tmp_path / "eval.json").main()
    psnr = json.loads((tmp_path / "eval.json").read_text())["results"]["psnr"]
    assert psnr == pytest.approx(trainer.pipeline.get_average_eval_image_metrics()["psnr"], abs=0.01)
    out = tmp_path / "scene"
    assert main(["train", "--nerfstudio", str(run), "--out", str(out), "--quiet"]) == 0
    scene, dataset = Scene.open(out), trainer.pipeline.datamanager.eval_dataset
    trainer.pipeline.eval()
    for index, file in enumerate(dataset.image_filenames):
        theirs = trainer.pipeline.model.get_outputs_for_camera(dataset.cameras[index : index + 1])["rgb"]
        ours = scene.stack().render_image(scene.capture.view(file.name).camera).rgb
        difference = (
            theirs - ours
        ).abs()  # rounding moves a sample into the next cell of the grid now and then
        assert float(difference.mean()) < 2e-3 and float(difference.quantile(0.95)) < 1e-2
    assert read_run(run).model.kind.endswith("NerfInsertBaseModelConfig")
    with pytest.raises(InputError, match="leave out --appearance"):
        adopt(read_run(run), appearance="000")
    file = read_run(run).checkpoint
    state = torch.load(file)
    torch.save({**state, "pipeline": {**state["pipeline"], "_model.base.more": torch.ones(2)}}, file)
    with pytest.raises(InputError, match=r"(?s)does not fit its config.*more"):
        adopt(read_run(run))


# --- nerfstudio's fields with our encoding


def test_patched_fields_give_the_same_values_and_gradients():
    from nerfstudio.fields.density_fields import HashMLPDensityField

    from nerf_insert.fields.nerfstudio_hash_encoding import patch_nerfstudio, unpatch_nerfstudio, use_kernels

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
