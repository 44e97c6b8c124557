"""Trained runs as bases of scenes: they render what nerfstudio renders, and what does not fit is refused.

The runs are nerfstudio's own, made in this process with random weights (see support/runs.py).
"""

import copy
import json
import os
import shutil

import numpy as np
import pytest
import runs
import torch
import trimesh
import yaml
from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
from PIL import Image
from tiny import tiny_capture

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.dataparsers import quiet
from nerf_insert.cli.edit_flags import recipe_from_args
from nerf_insert.cli.main import build_parser, main
from nerf_insert.errors import InputError
from nerf_insert.fields.nerfacto import NerfactoBase
from nerf_insert.geometry.pose import rotation_matrix
from nerf_insert.plugin.config import nerf_insert
from nerf_insert.plugin.coordinates import world_from_nerfstudio
from nerf_insert.plugin.import_run import adopt
from nerf_insert.plugin.run_reader import read_run
from nerf_insert.rendering import outputs
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT
from nerf_insert.scene.scene import Scene

# OpenCV's, as a phone has them
LENS = {"k1": 0.06, "k2": -0.08, "p1": -0.001, "p2": 0.0002, "camera_model": "OPENCV"}
APPLIED = [[0, 1, 0, 0.3], [1, 0, 0, -0.2], [0, 0, -1, 0.1]]


def distorted(folder):
    """The tiny capture with a distorted lens, as `ns-process-data` would leave it: with an applied_transform
    that the poses include already, and a folder of photographs half as large."""
    tiny_capture(folder)
    data = json.loads((folder / "transforms.json").read_text())
    (folder / "transforms.json").write_text(json.dumps({**data, **LENS, "applied_transform": APPLIED}))
    (folder / "images_2").mkdir()
    for file in (folder / "images").iterdir():
        with Image.open(file) as image:
            image.reduce(2).save(folder / "images_2" / file.name)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where nerfacto finds its LPIPS without a network."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TORCH_HOME", str(runs.offline_lpips(tmp_path_factory.mktemp("torch"))))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def plain_run(home, tiny_folder, tmp_path_factory):
    return runs.made_run(tmp_path_factory.mktemp("plain"), tiny_folder / "capture")


@pytest.fixture(scope="module")
def distorted_run(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distorted")
    return runs.made_run(folder, distorted(folder / "capture"), downscale=2, predict_normals=True)


@pytest.fixture
def run_copy(plain_run, tmp_path):
    return shutil.copytree(plain_run[0], tmp_path / "run")


def theirs(pipeline, split, index, corrected=True):
    """nerfstudio's own picture of one of its photographs, by the name of that; with its camera optimizer's
    correction, which nerfstudio itself applies while it trains only."""
    dataset = getattr(pipeline.datamanager, f"{split}_dataset")
    camera = dataset.cameras[index : index + 1]
    if split == "train" and corrected:
        camera.metadata = {"cam_idx": index}
        camera.camera_to_worlds = pipeline.model.camera_optimizer.apply_to_camera(camera).detach()
        camera.metadata = None
    return dataset.image_filenames[index].name, pipeline.model.get_outputs_for_camera(camera)


@pytest.mark.parametrize("kind", ["plain", "distorted lens, applied_transform, downscaled"])
def test_an_adopted_base_renders_what_nerfstudio_renders(kind, request):
    run, pipeline = request.getfixturevalue("plain_run" if kind == "plain" else "distorted_run")
    found = adopt(read_run(run))
    stack = LayerStack(found.base)
    assert found.downscale == (None if kind == "plain" else 2)
    for split, index in (("eval", 0), ("train", 2), ("train", 7)):
        name, outputs = theirs(pipeline, split, index)
        picture = stack.render_image(found.capture.view(name).camera)
        # Same weights, same samples; but cameras go to world coordinates and back in float32, 1e-7 relative,
        # and the finest grid (128 cells) and the sampling turn that into a little more. One step of a
        # photograph's 255 is 4e-3.
        assert picture.rgb.shape == outputs["rgb"].shape and float(outputs["rgb"].std()) > 0.02
        torch.testing.assert_close(picture.rgb, outputs["rgb"], rtol=0, atol=2e-4)
        assert float((picture.rgb - outputs["rgb"]).abs().mean()) < 5e-6
        accumulation = outputs["accumulation"][..., 0]
        torch.testing.assert_close(picture.accumulation, accumulation, rtol=0, atol=2e-4)
        depth = picture.depth * found.base.scale / outputs["depth"][..., 0]
        assert float((depth - 1).abs().quantile(0.99)) < 1e-4  # a median may fall on the next sample


@pytest.mark.parametrize("kind", ["nerfacto-big", "nerfacto-huge", "depth-nerfacto", "SE3"])
def test_other_nerfactos_and_corrections_render_what_nerfstudio_renders(home, tiny_folder, tmp_path, kind):
    """The widths of the large ones are their own; their grids and numbers of samples are small."""
    widths = {"nerfacto-big": 128, "nerfacto-huge": 256}
    model = {"hidden_dim": widths[kind]} if kind in widths else {}
    if kind == "SE3":
        model["camera_optimizer"] = CameraOptimizerConfig(mode="SE3")
    method = "nerfacto" if kind == "SE3" else kind
    run, pipeline = runs.made_run(tmp_path, tiny_folder / "capture", method=method, **model)
    found = adopt(read_run(run))
    assert found.base.spec.hidden_dim == found.base.spec.hidden_dim_color or kind not in widths
    for split, index in (("eval", 0), ("train", 2)):
        name, outputs = theirs(pipeline, split, index)
        ours = LayerStack(found.base).render_image(found.capture.view(name).camera).rgb
        assert float(outputs["rgb"].std()) > 0.02
        torch.testing.assert_close(ours, outputs["rgb"], rtol=0, atol=5e-4)  # as above
        # float32 in another order, and more of it in layers of 256; the first weights are not seeded
        most = 3e-5 if kind == "nerfacto-huge" else 1e-5
        assert float((ours - outputs["rgb"]).abs().mean()) < most


def test_the_corrections_matter(plain_run):
    """So that the test above can fail."""
    run, pipeline = plain_run
    found = adopt(read_run(run))
    name, outputs = theirs(pipeline, "train", 2, corrected=False)
    picture = LayerStack(found.base).render_image(found.capture.view(name).camera)
    assert float((picture.rgb - outputs["rgb"]).abs().max()) > 0.01


def test_cameras_and_split_are_those_of_the_run(plain_run, tiny_folder):
    run, pipeline = plain_run
    found = adopt(read_run(run))
    names = [file.name for file in pipeline.datamanager.train_dataset.image_filenames]
    assert [view.path.name for view in found.capture.train] == names
    assert {view.path.name for view in found.capture.test} == {"003.png", "010.png"}
    assert found.base.spec.num_nerf_samples_per_ray == 12


def test_the_command_makes_a_scene_that_is_complete_by_itself(run_copy, tmp_path, capsys):
    out = tmp_path / "scene"
    assert main(["train", "--nerfstudio", str(run_copy / "config.yml"), "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["train_views"] == 12 and answer["test_views"] == 2 and answer["psnr"] > 0
    found = adopt(read_run(run_copy))
    shutil.rmtree(run_copy)
    scene = Scene.open(out)
    assert isinstance(scene.base, NerfactoBase)
    assert [v.name for v in scene.capture.train] == [v.name for v in found.capture.train]
    camera = scene.capture.train[0].camera
    torch.testing.assert_close(camera.c2w, found.capture.train[0].camera.c2w, rtol=0, atol=1e-7)
    moved = (camera.c2w - scene.capture_as_found.view(scene.capture.train[0].name).camera.c2w).abs().max()
    assert float(moved) > 1e-3
    picture = LayerStack(found.base).render_image(camera)
    assert scene.stack().render_image(camera).rgb.equal(picture.rgb)


def test_a_capture_that_was_moved_is_named_on_the_command_line(run_copy, tiny_folder, tmp_path):
    text = (run_copy / "config.yml").read_text()
    for part in ("capture",):
        text = text.replace(f"- {part}\n", f"- {part}-was-here\n")
    (run_copy / "config.yml").write_text(text)
    with pytest.raises(InputError, match="say where it is now"):
        adopt(read_run(run_copy))
    assert len(adopt(read_run(run_copy), tiny_folder / "capture").capture.train) == 12


def test_the_appearance_of_one_photograph(plain_run):
    run, pipeline = plain_run
    found = adopt(read_run(run), appearance="005")
    table = pipeline.model.field.embedding_appearance.embedding.weight
    names = [file.name for file in pipeline.datamanager.train_dataset.image_filenames]
    frozen = found.base.field.embedding_appearance.embedding.weight
    assert frozen.equal(table[names.index("005.png")][None])
    mean = adopt(read_run(run)).base.field.embedding_appearance.embedding.weight
    torch.testing.assert_close(mean[0], table.mean(0))
    with pytest.raises(InputError, match="not one of the 12 photographs"):
        adopt(read_run(run), appearance="003")  # it only tests


def test_ns_train_adopts_with_an_appearance_and_reads_strangers_runs_as_data(run_copy, tmp_path, capsys):
    config = copy.deepcopy(nerf_insert.config)
    config.output_dir, config.timestamp, config.experiment_name = tmp_path, "run", "e"
    config.load_dir, config.pipeline.appearance = run_copy / "nerfstudio_models", "005"
    trainer = config.setup()
    trainer._prepare_scene(trainer._checkpoint())
    frozen = Scene.open(trainer.base_dir / "scene").base.field.embedding_appearance.embedding.weight
    wanted = adopt(read_run(run_copy), appearance="005").base.field.embedding_appearance.embedding.weight
    assert frozen.equal(wanted)
    shutil.rmtree(trainer.base_dir / "scene")
    proof, text = tmp_path / "was-run", (run_copy / "config.yml").read_text()
    (run_copy / "config.yml").write_text(f"{text}x: !!python/object/apply:os.system ['touch {proof}']\n")
    with pytest.raises(SystemExit):
        trainer.setup()
    assert "--pipeline.trust" in " ".join(capsys.readouterr().out.split()) and not proof.exists()
    config.pipeline.trust, config.pipeline.scene = True, None
    trainer._prepare_scene(trainer._checkpoint())
    assert proof.exists()


def test_a_capture_that_grew_is_refused(run_copy, tiny_folder, tmp_path):
    capture = shutil.copytree(tiny_folder / "capture", tmp_path / "grown")
    data = json.loads((capture / "transforms.json").read_text())
    extra = json.loads(json.dumps(data["frames"][0]))
    extra["file_path"] = "images/new.png"
    extra["transform_matrix"][0][3] += 1.0
    shutil.copy(capture / "images" / "000.png", capture / "images" / "new.png")
    (capture / "transforms.json").write_text(json.dumps({**data, "frames": [*data["frames"], extra]}))
    with pytest.raises(InputError, match="has changed since"):
        adopt(read_run(run_copy), capture)
    (run_copy / "dataparser_transforms.json").unlink()
    data["train_filenames"].append("images/new.png")
    (capture / "transforms.json").write_text(json.dumps({**data, "frames": [*data["frames"], extra]}))
    with pytest.raises(InputError, match="trained on 12 photographs and the capture has 13"):
        adopt(read_run(run_copy), capture)


def change_checkpoint(run, change):
    file = next((run / "nerfstudio_models").glob("*.ckpt"))
    state = torch.load(file, weights_only=False)
    change(state["pipeline"])
    torch.save(state, file)


@pytest.mark.parametrize("change", ["missing", "strange", "of the cameras", "other size"])
def test_keys_that_do_not_fit_are_an_error(run_copy, change):
    def apply(state):
        if change == "missing":
            del state["_model.field.mlp_head.layers.0.weight"]
        elif change == "strange":
            state["_model.semantics.weight"] = torch.ones(3)
        elif change == "of the cameras":  # where old versions of nerfstudio kept their corrections
            state["datamanager.train_camera_optimizer.pose_adjustment"] = torch.ones(12, 6)
        else:
            state["_model.proposal_networks.0.mlp_base.1.layers.0.weight"] = torch.ones(3, 3)

    change_checkpoint(run_copy, apply)
    says = {"missing": "lacks field.mlp_head", "strange": "semantics", "other size": "size mismatch"}
    says["of the cameras"] = "datamanager.train_camera_optimizer"
    with pytest.raises(InputError, match=f"(?s)does not fit its config.*{says[change]}"):
        adopt(read_run(run_copy))


def test_another_method_is_named(run_copy):
    text = (run_copy / "config.yml").read_text()
    text = text.replace(
        "nerfstudio.models.nerfacto.NerfactoModelConfig", "nerfstudio.models.x.MipModelConfig"
    )
    (run_copy / "config.yml").write_text(text)
    with pytest.raises(InputError, match="holds a Mip: nerfacto"):
        adopt(read_run(run_copy))


class Call:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("trust", [False, True])
def test_a_hostile_capture_is_refused_and_nothing_is_run(run_copy, tmp_path, trust):
    """nerfstudio's minimal-parser unpickles what lies in the capture."""
    from nerfstudio.data.dataparsers.minimal_dataparser import MinimalDataParserConfig

    proof, capture = tmp_path / "was-run", tmp_path / "capture"
    capture.mkdir()
    np.savez(capture / "train.npz", image_filenames=np.array([Call(f"touch {proof}")], dtype=object))
    parser = MinimalDataParserConfig(data=capture)
    config = yaml.load((run_copy / "config.yml").read_text(), Loader=yaml.Loader)
    config.pipeline.datamanager.dataparser = parser
    (run_copy / "config.yml").write_text(yaml.dump(config))
    with pytest.raises(InputError, match=r"minimal-parser runs whatever.*refused"):
        adopt(read_run(run_copy, trust), capture, trust=trust)
    with pytest.raises(InputError, match="refused, and nothing was run"):
        Capture.load(capture, dataparser="minimal-parser")  # as a scene folder may say
    assert not proof.exists()
    with pytest.raises(Exception):  # noqa: B017  # what comes out is no capture
        parser.setup().get_dataparser_outputs()
    assert proof.exists()


def test_only_dataparsers_that_are_known_to_read_data_are_used(run_copy):
    text = (run_copy / "config.yml").read_text()
    theirs = "nerfstudio_dataparser.NerfstudioDataParserConfig"
    assert theirs in text
    (run_copy / "config.yml").write_text(text.replace(theirs, "nuscenes_dataparser.NuScenesDataParserConfig"))
    with pytest.raises(InputError, match=r"nuscenes-data, which can execute code.*--trust"):
        adopt(read_run(run_copy))


def test_a_question_that_nobody_would_see_is_an_error(monkeypatch):
    """COLMAP's dataparser asks whether to make smaller photographs, by a shell and their names."""
    from nerfstudio.utils.rich_utils import CONSOLE
    from rich.prompt import Confirm

    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with quiet(), pytest.raises(EOFError, match="has a question"):
        Confirm.ask("?", console=CONSOLE)
    assert Confirm.ask("?", console=CONSOLE)


def test_sizes_that_only_a_hostile_file_asks_for(run_copy):
    text = (run_copy / "config.yml").read_text()
    (run_copy / "config.yml").write_text(text.replace("log2_hashmap_size: 11", "log2_hashmap_size: 60"))
    with pytest.raises(InputError, match="log2_hashmap_size is 60"):
        adopt(read_run(run_copy))


@pytest.mark.parametrize(
    "flags, says",
    [
        (["--steps", "3"], "trains nothing"),
        (["--appearance", "nobody"], "not one of the 12"),
    ],
)
def test_flags_that_do_not_go_together(run_copy, tmp_path, capsys, flags, says):
    command = ["train", "--nerfstudio", str(run_copy), "--out", str(tmp_path / "s"), *flags]
    assert main(command) == 2
    assert says in capsys.readouterr().err


def test_adoption_flags_are_for_adoption(tiny_folder, tmp_path, capsys):
    assert main(["train", str(tiny_folder / "capture"), "--out", str(tmp_path / "s"), "--trust"]) == 2
    assert main(["train", "--out", str(tmp_path / "s")]) == 2


def test_a_path_of_nerfstudios_viewer_is_in_its_coordinates(
    distorted_run, scene_folder, tmp_path, capsys, monkeypatch
):
    """Keyframes that stand where nerfstudio has put photographs give these photographs' cameras."""
    run, pipeline = distorted_run
    capture = pipeline.config.datamanager.data
    known = json.loads((scene_folder / "scene.json").read_text())
    known["capture"]["path"] = str(capture)
    (scene_folder / "scene.json").write_text(json.dumps(known))
    placed = pipeline.datamanager.train_dataparser_outputs
    entries = []
    for pose in placed.cameras.camera_to_worlds:
        matrix = [*pose.reshape(-1).tolist(), 0, 0, 0, 1]
        entries.append({"camera_to_world": matrix, "fov": 40})
    path = {"render_width": 32, "render_height": 24, "camera_path": entries}
    (tmp_path / "path.json").write_text(json.dumps(path))
    found = []
    monkeypatch.setattr(outputs, "render_images", lambda stack, cameras, *rest: found.extend(cameras) or [])
    words = [
        "render",
        str(scene_folder),
        "--cameras",
        str(tmp_path / "path.json"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*words, "--nerfstudio", str(run / "config.yml")]) == 0
    views = Scene.open(scene_folder).capture
    for (_, camera), file in zip(found, placed.image_filenames, strict=True):
        own = views.view(file.name).camera.c2w
        assert torch.allclose(camera.c2w, own, atol=1e-5) and camera.width == 32
    found.clear()
    assert main(words) == 0  # as if they were in the capture's
    assert torch.allclose(found[3][1].c2w, placed.cameras.camera_to_worlds[3])
    assert main([*words[:2], "--orbit", *words[4:], "--nerfstudio", str(run)]) == 2
    assert "--nerfstudio is for --cameras" in capsys.readouterr().err
    assert main([*words, "--trust"]) == 2
    assert "--trust is for --nerfstudio" in capsys.readouterr().err
    own = "machine: !!python/object/apply:collections.OrderedDict []\n"  # no harm, and none of nerfstudio's
    strange = shutil.copytree(run, tmp_path / "strange")
    (strange / "config.yml").write_text((run / "config.yml").read_text() + own)
    assert main([*words, "--nerfstudio", str(strange)]) == 2
    assert "--trust" in capsys.readouterr().err
    assert main([*words, "--nerfstudio", str(strange), "--trust"]) == 0


def test_a_mesh_and_a_box_placed_in_nerfstudio_are_brought_into_the_world(
    distorted_run, scene_folder, tmp_path, capsys
):
    """What stands at a photograph's camera in nerfstudio stands there in the world, as large."""
    run, pipeline = distorted_run
    known = json.loads((scene_folder / "scene.json").read_text())
    known["capture"]["path"] = str(pipeline.config.datamanager.data)
    (scene_folder / "scene.json").write_text(json.dumps(known))
    placed = pipeline.datamanager.train_dataparser_outputs
    scene = Scene.open(scene_folder)
    own = torch.stack([scene.capture.view(f.name).camera.c2w for f in placed.image_filenames]).double()
    model = placed.cameras.camera_to_worlds.double()
    to_world = world_from_nerfstudio(scene, run / "config.yml")
    assert torch.allclose(model[:, :, 3] @ to_world[:3, :3].T + to_world[:3, 3], own[:, :, 3], atol=1e-5)
    scale = float((own[0, :, 3] - own[5, :, 3]).norm() / (model[0, :, 3] - model[5, :, 3]).norm())

    where, up = model[3, :, 3], torch.tensor([0.0, 0.0, 1.0]).double()
    mesh = trimesh.creation.box([0.1, 0.2, 0.3])
    mesh.export(tmp_path / "m.ply")
    mesh.export(tmp_path / "m.glb")
    numbers = [*where.tolist(), 0.1, 0.2, 0.3, 10, 20, 30]
    pose_text = "translate=" + ",".join(map(str, where.tolist()))
    placing = ["--pose", pose_text, "--nerfstudio", str(run / "config.yml")]
    for name, tall in (("m.ply", 2), ("m.glb", 1)):  # the GLB's y is up
        words = ["edit", "SCENE", "--mesh", str(tmp_path / name), *placing]
        args = build_parser().parse_args([*words, "--box=" + ",".join(map(str, numbers))])
        args.scene = scene_folder
        recipe = recipe_from_args(args, SILENT)
        assert recipe.guide.up_axis == {"m.ply": None, "m.glb": "none"}[name]
        pose = torch.tensor(recipe.guide.pose).double()
        assert torch.allclose(pose[:3, 3], own[3, :, 3], atol=1e-5)
        axis = torch.eye(3).double()[tall]
        expected = scale * own[3, :, :3] @ model[3, :, :3].T @ up
        assert torch.allclose(pose[:3, :3] @ axis, expected, atol=1e-5)
    box = recipe.region.union[1]
    assert torch.allclose(torch.tensor(box.center).double(), own[3, :, 3], atol=1e-5)
    assert torch.allclose(torch.tensor(box.size), scale * torch.tensor([0.1, 0.2, 0.3]), atol=1e-5)
    turned = own[3, :, :3] @ model[3, :, :3].T @ rotation_matrix([10.0, 20.0, 30.0])
    assert torch.allclose(rotation_matrix(box.rotation), turned, atol=1e-5)
    assert main(["edit", str(scene_folder), "--mask", "a=b.png", "--nerfstudio", str(run)]) == 2
    assert "--nerfstudio says in whose coordinates" in capsys.readouterr().err
