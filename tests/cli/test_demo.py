"""`demo` on a tiny sample whose scene is trained and edited already: what it leaves, and doing it again."""

import json
import shutil

import av
import pytest
import tiny

from nerf_insert.cli import demo_pipeline
from nerf_insert.cli.main import main
from nerf_insert.io.images import image_size
from nerf_insert.regions.spec import Points
from nerf_insert.scene.scene import Scene


@pytest.fixture
def sample(capture_folder, monkeypatch):
    """The tiny capture in the form of the sample; both of its edits concern the ball at tiny.OBJECT."""
    (capture_folder / "truth").rename(capture_folder / "both")
    (capture_folder / "truth").mkdir()
    (capture_folder / "both").rename(capture_folder / "truth" / "both")
    shutil.copytree(capture_folder / "object_mask", capture_folder / "removed_mask")
    monkeypatch.setattr(demo_pipeline, "CLICK", ("004", (20.0, 15.0)))
    monkeypatch.setattr(demo_pipeline, "sample_path", lambda: capture_folder)
    monkeypatch.setattr(demo_pipeline, "FRAMES", 3)
    return capture_folder


def test_a_demo_that_was_played_with_can_be_repeated(sample, scene_folder, capsys, monkeypatch):
    """One of its layers was switched off and the other removed: the one comes on, the other is made again."""
    made = []

    def edit(scene, recipe, progress):
        made.append(recipe)
        tiny.tiny_layer(scene_folder, name=recipe.name)
        with scene.locked():  # which takes note of it
            pass

    monkeypatch.setattr(demo_pipeline, "edit", edit)
    tiny.tiny_layer(scene_folder, name="rocket")
    Scene.open(scene_folder).enable(1, False)
    out = scene_folder.parent
    assert main(["demo", "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)

    (recipe,) = made
    assert (recipe.name, recipe.inpainter) == ("remove the mug", "fill")
    assert recipe.region == Points({"images/004.png": [(20.0, 15.0)]})
    layers = Scene.open(scene_folder).layers
    assert [(layer.name, layer.enabled) for layer in layers] == [("rocket", True), ("remove the mug", True)]
    report = json.loads((out / "report.json").read_text())
    assert report == {key: answer[key] for key in ("insert", "remove", "locality", "seconds")}
    assert report["locality"]["largest_change"] == 0 and report["insert"]["edited"]["in_object"] > 5
    assert image_size(out / "sheet.png")[0] > 4 * tiny.SIZE[0]
    with av.open(str(out / "orbit.mp4")) as video:
        stream = video.streams.video[0]
        assert (stream.frames, stream.width, stream.height) == (3, 2 * tiny.SIZE[0], tiny.SIZE[1])
