"""Metrics of an edit without truth: change, agreement between views, CLIP's directions."""

import json
import math

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from nerf_insert.capture.view import View
from nerf_insert.cli.main import main
from nerf_insert.errors import InputError
from nerf_insert.evaluation.clip_metrics import ClipDirections, load_clip
from nerf_insert.evaluation.evaluate import Truth
from nerf_insert.evaluation.warp_consistency import WarpConsistency, mean_change, warped_error
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import to_uint8
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.scene import Scene

REGION = BoxRegion(tiny.OBJECT[:3], [0.56] * 3)


@pytest.fixture(scope="module")
def views():
    """(camera, render) of two neighbors, exact and large enough for a ball's surface to be smooth."""
    stack = LayerStack(tiny.TinyField([tiny.BALL, tiny.OBJECT], step=0.02))
    cameras = [tiny.tiny_cameras()[k].scaled(3) for k in (0, 2)]
    return [(camera, stack.render_image(camera)) for camera in cameras]


def test_one_scene_agrees_with_itself_and_a_change_of_color_is_measured(views):
    one, (camera, render) = views
    error, pixels = warped_error(one, (camera, render), [REGION])
    assert pixels > 300 and error / pixels < 2e-3  # samples 0.02 apart, and pixels on the ball's outline
    shifted = Rendered(render.rgb + 0.1, render.accumulation, render.depth)
    shifted_error, same = warped_error(one, (camera, shifted), [REGION])
    assert same == pixels and shifted_error / pixels == pytest.approx(0.01 + error / pixels, rel=0.2)


def by_hand(one, other, region):
    """`warped_error` once more, pixel by pixel, with Python's numbers and matrices for the cameras."""
    (camera, render), (target, shown) = one, other
    rotation, center = target.c2w[:, :3].double().numpy(), target.c2w[:, 3].double().numpy()
    low, high = region.bounds.double().numpy()
    errors = []
    for row in range(camera.height):
        for column in range(camera.width):
            depth = float(render.depth[row, column])
            if math.isinf(depth):
                continue
            x, y = (column + 0.5 - camera.cx) / camera.fx, (row + 0.5 - camera.cy) / camera.fy
            toward = camera.c2w[:, :3].double().numpy() @ np.array([x, -y, -1.0])
            point = camera.c2w[:, 3].double().numpy() + depth * toward / np.linalg.norm(toward)
            if (point < low).any() or (point > high).any():
                continue
            right, up, back = rotation.T @ (point - center)
            if back >= 0:
                continue
            u, v = target.fx * right / -back + target.cx, target.cy - target.fy * up / -back
            if not (0 <= u < target.width and 0 <= v < target.height):
                continue
            distance = np.linalg.norm(point - center)
            if abs(float(shown.depth[int(v), int(u)]) - distance) >= 0.02 * distance:
                continue
            weights = {}
            for i, wi in ((math.floor(u - 0.5), 1 - (u - 0.5) % 1), (math.floor(u - 0.5) + 1, (u - 0.5) % 1)):
                for j, wj in (
                    (math.floor(v - 0.5), 1 - (v - 0.5) % 1),
                    (math.floor(v - 0.5) + 1, (v - 0.5) % 1),
                ):
                    at = min(max(j, 0), target.height - 1), min(max(i, 0), target.width - 1)
                    weights[at] = weights.get(at, 0) + wi * wj
            there = sum(w * shown.rgb[at].double().numpy() for at, w in weights.items())
            errors.append(((there - render.rgb[row, column].double().numpy()) ** 2).mean())
    return sum(errors), len(errors)


def test_the_warped_error_is_that_of_a_second_implementation(views):
    (one, (camera, render)) = views
    colors = torch.rand(render.rgb.shape, generator=torch.Generator().manual_seed(0))
    other = camera, Rendered(colors, render.accumulation, render.depth)
    error, pixels = warped_error(one, other, [REGION])
    wanted, count = by_hand(one, other, REGION)
    # float32 here and float64 there may disagree about a pixel on a border: of its region, of the 2 %
    assert count > 300 and abs(pixels - count) <= 2
    assert error / pixels == pytest.approx(wanted / count, rel=0.01)


def test_what_the_other_view_does_not_show_does_not_count(views):
    one, (camera, render) = views
    _, pixels = warped_error(one, (camera, render), [REGION])
    behind = Rendered(render.rgb, render.accumulation, render.depth * 0.5)  # something stands before it all
    assert warped_error(one, (camera, behind), [REGION])[1] == 0
    assert warped_error(one, (camera, render), [BoxRegion([9, 9, 9], [1, 1, 1])])[1] == 0
    nothing = torch.full_like(render.depth, float("inf"))
    assert warped_error((one[0], Rendered(*one[1][:2], nothing)), (camera, render), [REGION])[1] == 0
    assert pixels < int(REGION.project(one[0]).sum())  # the far side of the ball is hidden from the other


def test_the_figure_is_over_all_neighbors(views):
    warping = WarpConsistency([REGION])
    for camera, render in views * 2:
        warping.add(camera, render)
    parts = [
        warped_error(a, b, [REGION]) for a, b in ((0, 1), (1, 0), (0, 1)) for a, b in [(views[a], views[b])]
    ]
    mean = sum(error for error, _ in parts) / sum(pixels for _, pixels in parts)
    assert warping.pairs == 3 and warping.psnr == pytest.approx(-10 * torch.tensor(mean).log10().item())
    assert WarpConsistency([REGION]).psnr is None


def test_change_is_a_mean_over_the_region():
    where = torch.tensor([[True, True, False]])
    assert mean_change(torch.zeros(1, 3, 3), torch.ones(1, 3, 3) * 0.3, where) == pytest.approx(0.3)
    assert mean_change(torch.zeros(1, 3, 3), torch.ones(1, 3, 3), where & False) is None


# --- CLIP


def test_directions_by_hand():
    """Embeddings in the plane: images and texts are their angles."""

    def embed(images, texts):
        def at(degrees):
            angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
            return torch.stack([angle.cos(), angle.sin()], -1)

        return at([float(image[0, 0, 0]) for image in images]), at([float(text) for text in texts])

    directions = ClipDirections(embed, ("0", "90"))  # towards (-1, 1)
    pairs = [(0, 90), (0, 60), (90, 0), (10, 10), (0, 90)]  # chords at 135, 120 and -45 degrees; none; 135
    for pair in pairs:
        directions.add(*(torch.full((1, 1, 3), float(x)) for x in pair))
    cos = [torch.deg2rad(torch.tensor(float(d))).cos().item() for d in (0, 15, 180, 0)]
    assert directions.direction == pytest.approx(sum(cos) / 4)
    between = [torch.deg2rad(torch.tensor(float(d))).cos().item() for d in (15, 165)]  # not over the gap
    assert directions.consistency == pytest.approx(sum(between) / 2)
    assert ClipDirections(embed, None).direction is None and ClipDirections(embed, None).consistency is None


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A small random CLIP."""
    import tiny_models

    return tiny_models.clip(tmp_path_factory.mktemp("clip"))


def test_embeddings_are_clips_own(clip, offline):
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    embed, why_not = load_clip(str(clip))
    assert not why_not
    pictures = [torch.rand(40, 60, 3, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    images, texts = embed(pictures, ["a hat", "a much longer text"])
    model = CLIPModel.from_pretrained(clip).eval()
    arrays = [(picture * 255).round().byte().numpy() for picture in pictures]
    pixels = CLIPImageProcessor.from_pretrained(clip)(images=arrays, return_tensors="pt").pixel_values
    with torch.no_grad():
        seen = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
        for k, text in enumerate(["a hat", "a much longer text"]):  # without padding
            words = CLIPTokenizer.from_pretrained(clip)(text, return_tensors="pt").input_ids
            read = model.text_projection(model.text_model(input_ids=words).pooler_output)[0]
            torch.testing.assert_close(texts[k], read / read.norm(), atol=1e-5, rtol=0)
    torch.testing.assert_close(images, seen / seen.norm(dim=-1, keepdim=True), atol=1e-5, rtol=0)


# --- `eval`


@pytest.fixture(scope="module")
def edited(tiny_folder, tmp_path_factory):
    import shutil

    folder = shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("eval") / "scene")
    tiny.tiny_layer(folder)
    return folder


def test_eval_reports_all_metrics_or_why_not(edited, clip, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # without weights for LPIPS
    words = ["eval", str(edited), "--json"]
    captions = ["--caption-before", "a ball", "--caption-after", "a ball and a haze"]
    assert main([*words, *captions, "--clip", str(clip)]) == 0
    answer = json.loads(capsys.readouterr().out)
    metrics = answer["edit"]
    assert set(metrics) == {"change", "clip_direction", "clip_consistency"}
    # there is nothing solid in the region, so no surface to warp
    assert set(answer["left_out"]) == {"lpips", "change_lpips", "warped", "warped_base"}
    assert 0 < metrics["change"] < 1

    scene = Scene.open(edited)
    before, after = [], []
    for view in scene.capture.test:
        for images, stack in ((before, LayerStack(scene.stack().base)), (after, scene.stack())):
            images.append(to_uint8(stack.render_image(view.camera).rgb).float() / 255)
    embed, _ = load_clip(str(clip))
    change = embed(after, [])[0] - embed(before, [])[0]
    texts = embed(before[:1], captions[1::2])[1]
    toward = torch.nn.functional.cosine_similarity(change, (texts[1] - texts[0])[None])
    neighbors = torch.nn.functional.cosine_similarity(change[1:], change[:-1])
    assert metrics["clip_direction"] == pytest.approx(float(toward.mean()), abs=1e-3)
    assert metrics["clip_consistency"] == pytest.approx(float(neighbors.mean()), abs=1e-3)

    assert main([*words, "--clip", str(tmp_path / "none")]) == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert "none" in left_out["clip_direction"] and left_out["clip_consistency"] == left_out["clip_direction"]
    assert main([*words[:-1], "--clip", str(clip)]) == 0
    text = capsys.readouterr().out
    assert "left out: it compares two texts" in text
    assert f"{metrics['change']:.4f}" in text


def test_without_layers_there_is_no_edit_to_measure(tiny_folder, capsys):
    assert main(["eval", str(tiny_folder / "scene"), "--json"]) == 0
    assert "edit" not in json.loads(capsys.readouterr().out)


def test_truth_may_have_the_photographs_size_or_that_of_renders(tmp_path):
    """A scene that was trained on smaller photographs renders in their size."""
    camera = Camera(torch.eye(3, 4), 50.0, 50.0, 24.0, 18.0, 48, 36)
    Image.new("RGB", (48, 36), (10, 20, 30)).save(tmp_path / "a.png")
    view = View("a.png", tmp_path / "a.png", camera.scaled(0.5))
    for size, accepted in (((48, 36), True), ((24, 18), True), ((12, 9), False)):
        (tmp_path / "truth").mkdir(exist_ok=True)
        Image.new("RGB", size, (10, 20, 30)).save(tmp_path / "truth" / "a.png")
        if accepted:
            assert Truth(tmp_path / "truth").load(view)[0].shape == (18, 24, 3)
        else:
            with pytest.raises(InputError, match="is 12x9 pixels but its photograph is 48x36"):
                Truth(tmp_path / "truth").load(view)
