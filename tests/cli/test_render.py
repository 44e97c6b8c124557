"""`render`: names, sizes, cameras, and that files hold what the scene renders."""

import io
import json
import shutil

import av
import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from nerf_insert.cli.main import main
from nerf_insert.cli.render_cameras import path_fps
from nerf_insert.io.images import read_image
from nerf_insert.rendering import outputs
from nerf_insert.scene.scene import Scene

POSE = [[1, 0, 0, 0], [0, 0.6, -0.8, -1.6], [0, 0.8, 0.6, 1.2], [0, 0, 0, 1]]  # looks at the origin


@pytest.fixture(scope="module")
def scene(tiny_folder, tmp_path_factory):
    """A scene with one layer."""
    folder = shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("render") / "scene")
    tiny.tiny_layer(folder)
    return folder


def render(scene, out, *words):
    assert main(["render", str(scene), "--out", str(out), "--quiet", *map(str, words)]) == 0
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def shows(path, picture):
    """The file holds the picture, rounded to 8 bits."""
    return bool((read_image(path)[0] - picture).abs().max() <= 0.5 / 255 + 1e-6)


def test_test_views_under_the_photographs_names(scene, tmp_path):
    assert render(scene, tmp_path, "--split", "test") == ["003.png", "010.png"]
    opened = Scene.open(scene)
    for view in opened.capture.test:
        assert shows(tmp_path / view.path.name, opened.stack().render_image(view.camera).rgb)
    assert len(render(scene, tmp_path / "all", "--split", "all", "--scale", 0.1)) == tiny.VIEWS
    assert len(render(scene, tmp_path / "train", "--split", "train", "--scale", 0.1)) == tiny.VIEWS - 2


def test_before_and_chosen_layers(scene, tmp_path, capsys):
    pictures = {}
    for name, words in {"base": ["--before"], "edited": [], "chosen": ["--layers", "1,1"]}.items():
        render(scene, tmp_path / name, "--split", "test", *words)
        pictures[name] = (tmp_path / name / "010.png").read_bytes()
    assert pictures["chosen"] == pictures["edited"] != pictures["base"]
    main(["layers", str(scene), "disable", "1"])
    render(scene, tmp_path / "off", "--split", "test")
    render(scene, tmp_path / "shown", "--split", "test", "--layers", "1")
    main(["layers", str(scene), "enable", "1"])
    assert (tmp_path / "off" / "010.png").read_bytes() == pictures["base"]
    assert (tmp_path / "shown" / "010.png").read_bytes() == pictures["edited"]


def test_a_scene_whose_capture_is_gone(scene, tmp_path, capsys):
    alone = shutil.copytree(scene, tmp_path / "scene")
    known = json.loads((alone / "scene.json").read_text())
    known["capture"] |= {"path": str(tmp_path / "gone"), "relative": "../gone"}
    (alone / "scene.json").write_text(json.dumps(known))
    path = {"render_width": 24, "render_height": 18, "camera_path": [{"camera_to_world": POSE}]}
    (tmp_path / "path.json").write_text(json.dumps(path))
    for folder, out in ((alone, tmp_path / "alone"), (scene, tmp_path / "together")):
        assert render(folder, out, "--cameras", tmp_path / "path.json") == ["00000.png"]
        render(folder, out / "deep", "--cameras", tmp_path / "path.json", "--depth")
    for name in ("00000.png", "deep/depth/00000.png", "deep/depth/units.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()
    assert main(["render", str(alone), "--split", "test", "--out", str(tmp_path / "not")]) == 2
    assert (
        f'is not at {tmp_path / "gone"} any more: move it back, or change "path"' in capsys.readouterr().err
    )


def test_a_scene_moved_together_with_its_capture(tiny_folder, tmp_path):
    for part in ("scene", "capture"):
        shutil.copytree(tiny_folder / part, tmp_path / "one" / part)
    known = json.loads((tmp_path / "one" / "scene" / "scene.json").read_text())
    known["capture"]["path"] = str(tmp_path / "gone")
    (tmp_path / "one" / "scene" / "scene.json").write_text(json.dumps(known))
    (tmp_path / "one").rename(tmp_path / "two")
    assert render(tmp_path / "two" / "scene", tmp_path / "out", "--split", "test") == ["003.png", "010.png"]


def test_the_rate_of_a_camera_path(tmp_path):
    def rate(**said):
        (tmp_path / "path.json").write_text(json.dumps({"camera_path": [{}] * 48, **said}))
        return path_fps(tmp_path / "path.json")

    assert rate(seconds=4) == 12 and rate() == rate(seconds=0) == rate(seconds="x") == 24
    assert rate(seconds=1e-9) == 240 and rate(seconds=1e12) == 0.1 and rate(seconds=float("inf")) == 24


def test_depth_and_accumulation(scene, tmp_path):
    files = render(scene, tmp_path, "--split", "test", "--depth", "--accumulation", "--scale", 0.5)
    kinds = ["", "accumulation/", "depth/", "depth/preview/"]
    assert files == sorted(
        [f"{kind}{n}.png" for kind in kinds for n in ("003", "010")] + ["depth/units.json"]
    )
    scale = json.loads((tmp_path / "depth" / "units.json").read_text())["scale"]
    opened = Scene.open(scene)
    for view in opened.capture.test:
        rendered = opened.stack().render_image(view.camera.scaled(0.5))
        file = Image.open(tmp_path / "depth" / view.path.name)
        assert file.mode == "I;16" and file.size == (24, 18)
        steps = np.asarray(file).astype(np.float64)
        nothing = ~rendered.depth.isfinite().numpy()
        assert np.array_equal(steps == 0, nothing) and 0 < nothing.mean() < 1
        error = np.abs(steps * scale - rendered.depth.numpy())[~nothing]
        assert error.max() <= scale / 2 + 1e-6  # rounded to a step, and float32
        assert shows(tmp_path / "accumulation" / view.path.name, rendered.accumulation[..., None])


def test_depth_that_does_not_fit_is_told_from_nothing():
    depth = torch.tensor([[0.0, 0.5, 65534.4, 70000.0, float("inf")]])
    data = outputs.encode_depth(depth, 1.0)
    assert np.asarray(Image.open(io.BytesIO(data))).tolist() == [[1, 1, 65534, 65535, 0]]


def test_the_unit_of_depth_suits_the_scene_and_is_a_power_of_ten(scene):
    assert outputs.depth_unit(1.0) == pytest.approx(1e-3)
    assert outputs.depth_unit(1000.0) == pytest.approx(1.0)
    assert outputs.depth_unit(0.0) > 0
    opened = Scene.open(scene)
    placed = torch.stack([view.camera.center for view in opened.capture.views])
    assert 1 / opened.base.scale == pytest.approx(float((placed - placed.mean(0)).abs().max()), rel=0.3)


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["images/007.png", "images/008.JPG"], ["007", "008"]),
        (["left/a.png", "right/a.png"], ["left/a", "right/a"]),
        (["a/x.png", "a/x.jpg"], ["a/x.png", "a/x.jpg"]),
        (["../photos/a.b.png", "/home/c.png"], ["a.b", "c"]),
        (["../x/a.png", "../y/a.png"], ["x/a", "y/a"]),
        (["images/0001", "images/frame.5"], ["0001", "frame.5"]),
        (["a.png", "a.png"], ["a.png-00000", "a.png-00001"]),
    ],
)
def test_names_of_pictures(names, stems):
    assert outputs.file_stems(names) == stems


def test_cameras_of_files(scene, tmp_path):
    frames = [{"file_path": "views/high.jpg", "transform_matrix": POSE}]
    (tmp_path / "t.json").write_text(json.dumps({"fl_x": 30, "w": 32, "h": 24, "frames": frames}))
    assert render(scene, tmp_path / "a", "--cameras", tmp_path / "t.json") == ["high.png"]
    assert Image.open(tmp_path / "a" / "high.png").size == (32, 24)
    entry = {"camera_to_world": [value for row in POSE for value in row], "fov": 50}
    path = {"render_height": 24, "render_width": 32, "camera_path": [entry] * 6, "seconds": 0.5}
    (tmp_path / "p.json").write_text(json.dumps(path))
    files = render(scene, tmp_path / "b", "--cameras", tmp_path / "p.json", "--scale", 0.5)
    assert files == [f"{k:05d}.png" for k in range(6)]
    assert Image.open(tmp_path / "b" / "00000.png").size == (16, 12)
    render(scene, tmp_path / "c.mp4", "--cameras", tmp_path / "p.json")
    assert video(tmp_path / "c.mp4") == (6, 32, 24, 12)  # six frames in half a second


def video(path):
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        return sum(1 for _ in file.decode(stream)), stream.width, stream.height, float(stream.average_rate)


def test_an_orbit_circles_the_topmost_layer(scene, tmp_path, monkeypatch):
    seen = []

    def catch(stack, cameras, path, fps, progress):
        seen.append(([camera for _, camera in cameras], fps))

    monkeypatch.setattr(outputs, "render_video", catch)
    for words in ([], ["--target", "-1,0,0.5", "--radius", "3", "--elevation", "-10", "--seconds", "0.5"]):
        render(scene, tmp_path / "o.mp4", "--orbit", *words)
    capture = Scene.open(scene).capture
    (auto, fps), (chosen, _) = seen
    assert len(auto) == 144 and fps == 24 and len(chosen) == 12
    where = torch.tensor(tiny.OBJECT[:3])
    distances = [float((view.camera.center - where).norm()) for view in capture.views]
    for camera in auto:
        away = camera.center - where
        assert float(away.norm()) == pytest.approx(sum(distances) / len(distances), rel=1e-4)
        assert torch.allclose(-camera.c2w[:, 2], -away / away.norm(), atol=1e-4)  # looks at it
    for camera in chosen:
        away = camera.center - torch.tensor([-1.0, 0.0, 0.5])
        assert float(away.norm()) == pytest.approx(3, rel=1e-5)
        assert float(away @ capture.up) == pytest.approx(-3 * np.sin(np.radians(10)), abs=1e-4)


def test_an_orbit_as_a_video(scene, tmp_path):
    render(scene, tmp_path / "o.mp4", "--orbit", "--seconds", 0.5, "--fps", 10, "--scale", 0.5)
    assert video(tmp_path / "o.mp4") == (5, 24, 18, 10)
    words = ["--orbit", "--seconds", 0.5, "--fps", 4, "--format", "jpg", "--scale", 0.5]
    assert render(scene, tmp_path / "o", *words) == ["00000.jpg", "00001.jpg"]
    assert Image.open(tmp_path / "o" / "00000.jpg").format == "JPEG"


def test_the_result_for_machines(scene, tmp_path, capsys):
    out = tmp_path / "r"
    assert main(["render", str(scene), "--split", "test", "--out", str(out), "--scale", "0.1", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "ok": True,
        "scene": str(scene),
        "out": str(out),
        "images": 2,
        "pictures": 2,
        "layers": 1,
    }
