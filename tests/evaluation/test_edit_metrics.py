"""Figures of an edit without truth: change, agreement from view to view, CLIP's directions."""

import json

import pytest
import tiny
import torch

from nerf_insert.cli.main import main
from nerf_insert.evaluation.clip_metrics import Directions, load_clip
from nerf_insert.evaluation.warp_consistency import Warping, changed, warped_error
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack

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
    warping = Warping([REGION])
    for camera, render in views * 2:
        warping.add(camera, render)
    parts = [
        warped_error(a, b, [REGION]) for a, b in ((0, 1), (1, 0), (0, 1)) for a, b in [(views[a], views[b])]
    ]
    mean = sum(error for error, _ in parts) / sum(pixels for _, pixels in parts)
    assert warping.pairs == 3 and warping.psnr == pytest.approx(-10 * torch.tensor(mean).log10().item())
    assert Warping([REGION]).psnr is None


def test_bilinear_is_exact_on_a_ramp():
    x, y = torch.meshgrid(torch.arange(7) + 0.5, torch.arange(5) + 0.5, indexing="xy")
    ramp = torch.stack([x, y, x + 2 * y], -1)
    places = torch.rand(50, 2) * torch.tensor([6.0, 4.0]) + 0.5
    wanted = torch.stack([places[:, 0], places[:, 1], places[:, 0] + 2 * places[:, 1]], -1)
    torch.testing.assert_close(sample_bilinear(ramp, places), wanted, atol=1e-4, rtol=0)


def test_change_is_a_mean_over_the_region():
    where = torch.tensor([[True, True, False]])
    assert changed(torch.zeros(1, 3, 3), torch.ones(1, 3, 3) * 0.3, where) == pytest.approx(0.3)
    assert changed(torch.zeros(1, 3, 3), torch.ones(1, 3, 3), where & False) is None


# --- CLIP


def test_directions_by_hand():
    """Embeddings in the plane: pictures are their angles."""

    def embed(pictures, texts):
        def at(degrees):
            angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
            return torch.stack([angle.cos(), angle.sin()], -1)

        return at([float(picture) for picture in pictures]), at([float(text) for text in texts])

    directions = Directions(embed, ("0", "90"))  # towards (-1, 1)
    pairs = [(0, 90), (0, 60), (90, 0), (10, 10), (0, 90)]  # chords at 135, 120 and -45 degrees; none; 135
    for pair in pairs:
        directions.add(*(torch.tensor(float(x)) for x in pair))
    cos = [torch.deg2rad(torch.tensor(float(d))).cos().item() for d in (0, 15, 180, 0)]
    assert directions.direction == pytest.approx(sum(cos) / 4)
    between = [torch.deg2rad(torch.tensor(float(d))).cos().item() for d in (15, 165)]  # not over the gap
    assert directions.consistency == pytest.approx(sum(between) / 2)
    assert Directions(embed, None).direction is None and Directions(embed, None).consistency is None


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


def test_eval_says_all_of_it_or_why_not(edited, clip, capsys, monkeypatch, tmp_path):
    words = ["eval", str(edited), "--json"]
    captions = ["--caption-before", "a ball", "--caption-after", "a ball and a haze"]
    assert main([*words, *captions, "--clip", str(clip)]) == 0
    answer = json.loads(capsys.readouterr().out)
    figures = answer["edit"]
    assert {"change", "clip_direction", "clip_consistency"} <= set(figures)
    assert {"warped", "warped_base", "change_lpips"} <= set(figures) | set(answer["left_out"])
    assert 0 < figures["change"] < 1 and all(-1 <= figures[k] <= 1 for k in figures if k.startswith("clip"))

    assert main([*words, "--clip", str(tmp_path / "none")]) == 0
    left_out = json.loads(capsys.readouterr().out)["left_out"]
    assert "none" in left_out["clip_direction"] and left_out["clip_consistency"] == left_out["clip_direction"]
    assert main([*words[:-1], "--clip", str(clip)]) == 0
    text = capsys.readouterr().out
    assert "CLIP direction similarity of text and pictures (-1..1) is left out: it compares two texts" in text
    assert (
        f"Change of the pixels whose rays meet a region (mean of a channel, 0..1): {figures['change']:.4f}"
        in text
    )


def test_without_layers_there_is_no_edit_to_measure(tiny_folder, capsys):
    assert main(["eval", str(tiny_folder / "scene"), "--json"]) == 0
    assert "edit" not in json.loads(capsys.readouterr().out)
