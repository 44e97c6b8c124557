"""nerfstudio's real commands on a CPU: one story from `ns-train nerfacto` to the export.

The tests look at what one run of the story left behind.
"""

import importlib.util
import json
import time
import urllib.request

import numpy as np
import pytest
import runs
import torch
from PIL import Image

from nerf_insert.plugin.pipeline import unfinished_folder
from nerf_insert.scene.scene import Scene

STEPS = ("--pipeline.edit.steps", "40")
PORT = 17007  # and the next one


def nerf_insert(out, *flags):
    named = ["--output-dir", str(out), "--experiment-name", "e", "--viewer.quit-on-train-completion", "True"]
    return ["nerf-insert", *named, "--timestamp", "run", "--machine.device-type", "cpu", *flags]


def wait_for(what, command, seconds=600):
    """Until what() is true; its value. Fails when the process ends or takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert command.process.is_alive(), command.said[-3000:]
        if found := what():
            return found
        time.sleep(0.2)
    raise AssertionError("nothing came")


def page(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as answer:
            return answer.read()
    except OSError:
        return None


class Story:
    """Every command once; the runs that they left."""

    def __init__(self, folder, tiny):
        self.folder, self.capture = folder, tiny / "capture"
        self.home = runs.offline_lpips(folder / "torch")
        self.nerfacto = runs.nerfacto(self.capture, folder, self.home, 3)
        self.edit, self.page = self._killed_edit()
        self.left = unfinished_folder(Scene.open(self.edit / "scene")).name
        self.checkpoints = sorted(p.name for p in (self.edit / "nerfstudio_models").iterdir())
        self.resumed = self._train("resumed", "--load-dir", self.edit / "nerfstudio_models")
        # masks, on top of the first layer, without a viewer
        masks = [f"{n:03d}.png={self.capture}/object_mask/{n:03d}.png" for n in (0, 4, 8, 12)]
        self.second = self._train(
            "second",
            *("--load-dir", self.resumed / "nerfstudio_models", "--pipeline.edit.mask", *masks),
            *("--pipeline.edit.inpainter", "fill", "--pipeline.edit.name", "gone", *STEPS),
            *("--pipeline.edit.shadow", "none"),
        )
        config = self.resumed / "config.yml"
        runs.ns(
            *("ns-render", "dataset", "--load-config", config, "--output-path", folder / "renders"),
            *("--image-format", "png", "--rendered-output-names", "rgb", "depth"),
            cwd=folder,
        )
        runs.ns("ns-eval", "--load-config", config, "--output-path", folder / "eval.json", cwd=folder)
        self.viewer = self._viewed(config)

    def _killed_edit(self):
        """An edit with a mesh and the viewer, killed once the layer grows."""
        out = self.folder / "killed"
        flags = nerf_insert(
            out,
            *("--load-dir", str(self.nerfacto / "nerfstudio_models"), "--data", str(self.capture)),
            *("--pipeline.edit.mesh", str(self.capture / "object.ply"), "--pipeline.edit.name", "ball"),
            *STEPS,
            *("--vis", "viewer", "--viewer.websocket-port", str(PORT), "--steps-per-save", "5"),
            *("--viewer.websocket-host", "127.0.0.1"),
        )
        command = runs.start("ns-train", *flags, cwd=self.folder)
        run = out / "e" / "nerf-insert" / "run"
        try:
            found = wait_for(lambda: page(PORT), command)
            wait_for(lambda: list(run.glob("scene/layers/*/painted/*/*.png")), command)
            seen = {p.name for p in run.glob("nerfstudio_models/*.ckpt")}
            wait_for(lambda: {p.name for p in run.glob("nerfstudio_models/*.ckpt")} - seen, command)
        finally:
            command.process.kill()
            command.wait()
        return run, found

    def _viewed(self, config):
        """The page of `ns-viewer`."""
        there = ["--viewer.websocket-port", str(PORT + 1), "--viewer.websocket-host", "127.0.0.1"]
        command = runs.start("ns-viewer", "--load-config", config, *there, cwd=self.folder)
        try:
            return wait_for(lambda: page(PORT + 1), command)
        finally:
            command.process.kill()
            command.wait()

    def _train(self, name, *flags):
        out = self.folder / name
        runs.ns("ns-train", *nerf_insert(out, "--vis", "tensorboard", *flags), cwd=self.folder)
        return out / "e" / "nerf-insert" / "run"


@pytest.fixture(scope="module")
def story(tiny_folder, tmp_path_factory):
    return Story(tmp_path_factory.mktemp("story"), tiny_folder)


def test_the_viewer_was_up_while_the_edit_grew_and_is_afterwards(story):
    assert b"<html" in story.page.lower() and b"<html" in story.viewer.lower()


def test_checkpoints_are_small_and_hold_only_data(story):
    file = next((story.resumed / "nerfstudio_models").glob("*.ckpt"))
    assert file.stat().st_size < 4e6
    state = torch.load(file, weights_only=True)["pipeline"]
    assert state["layers"] == [Scene.open(story.resumed / "scene").layers[0].folder]
    assert "growing" not in state


def test_a_killed_edit_goes_on_where_it_was(story):
    assert len(story.checkpoints) == 1 and story.checkpoints[0] > "step-000000004.ckpt"
    scene = Scene.open(story.resumed / "scene")
    assert [entry.name for entry in scene.layers] == ["ball"]
    assert scene.layers[0].folder == story.left  # that very folder, with what had been painted
    painted = [
        p.stat().st_mtime_ns for p in (story.edit / "scene/layers" / story.left).glob("painted/*/*.png")
    ]
    again = [
        p.stat().st_mtime_ns for p in (story.resumed / "scene/layers" / story.left).glob("painted/*/*.png")
    ]
    assert painted and sorted(again)[: len(painted)] == sorted(painted)
    assert not Scene.open(story.edit / "scene").layers  # the killed run stays as it was


def test_a_second_edit_lies_on_the_first(story):
    scene = Scene.open(story.second / "scene")
    assert [entry.name for entry in scene.layers] == ["ball", "gone"]
    recipe = (scene.folder / "layers" / scene.layers[1].folder / "recipe.yaml").read_text()
    assert "inpainter: fill" in recipe
    assert len(Scene.open(story.resumed / "scene").layers) == 1


def test_ns_render_shows_what_the_engine_renders(story):
    scene = Scene.open(story.resumed / "scene")
    names = sorted(p.name for p in (story.folder / "renders" / "test" / "rgb").iterdir())
    assert names == ["003.png", "010.png"]
    for name in names:
        with Image.open(story.folder / "renders" / "test" / "rgb" / name) as image:
            shown = np.asarray(image.convert("RGB")) / 255
        ours = scene.stack().render_image(scene.capture_as_found.view(name).camera).rgb.numpy()
        # bytes are cut to 1/255, and the cameras go through nerfstudio's coordinates in float32
        assert np.abs(shown - ours).mean() < 3e-3 and np.quantile(np.abs(shown - ours), 0.99) < 6e-3


def test_ns_eval_needs_no_network(story):
    results = json.loads((story.folder / "eval.json").read_text())["results"]
    assert results["psnr"] > 5 and 0 < results["ssim"] < 1 and results["psnr_outside"] > 5
    assert "lpips" not in results


NO_EXPORT = "ns-export needs open3d, pymeshlab and xatlas: see docs/nerfstudio.md"


@pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason=NO_EXPORT)
def test_ns_export_pointcloud(story):
    runs.ns(
        *("ns-export", "pointcloud", "--load-config", story.resumed / "config.yml", "--num-points", "2000"),
        *(
            "--output-dir",
            story.folder / "points",
            "--normal-method",
            "open3d",
            "--num-rays-per-batch",
            "2048",
        ),
        *("--remove-outliers", "False", "--save-world-frame", "True"),
        cwd=story.folder,
    )
    import trimesh

    cloud = trimesh.load(story.folder / "points" / "point_cloud.ply")
    assert len(cloud.vertices) >= 2000 and np.isfinite(cloud.vertices).all()
