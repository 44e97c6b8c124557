"""Metrics against closed forms, and against the same figures written once more with numpy and scipy."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import runs
import tiny
import torch
import torchmetrics
from scipy import ndimage

from nerf_insert.evaluation.evaluate import (
    MARGIN,
    MIN_OBJECT_PIXELS,
    MIN_TRUE_CHANGE,
    Truth,
    evaluate,
    outside_regions,
)
from nerf_insert.evaluation.image_metrics import grow, load_lpips, psnr, ssim
from nerf_insert.io.images import read_image, write_image
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT
from nerf_insert.scene.scene import Scene


def noise(seed, shape=(40, 50, 3)):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_constant_difference():
    picture = noise(0) * 0.5
    assert psnr(picture + 0.1, picture) == pytest.approx(20, abs=1e-4)  # 0.1 is not exact in float32
    assert psnr(picture, picture) == 120  # mean square 1e-12: JSON has no infinity


def test_psnr_counts_only_what_it_is_told_to():
    picture, where = noise(0), torch.zeros(40, 50, dtype=torch.bool)
    where[5:9, 10:30] = True
    other = torch.where(where[..., None], picture + 0.01, 1 - picture)
    assert psnr(other, picture, where) == pytest.approx(40, abs=1e-3)
    assert psnr(other, picture) < 10


def reference_ssim(a, b):
    """Wang et al., equation 13, with a Gaussian window of sigma 1.5 and 11 taps; [H, W]."""

    def blur(x):
        return ndimage.gaussian_filter(x, (1.5, 1.5, 0), radius=5, mode="mirror")

    a, b = (x.double().numpy() for x in (a, b))
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    upper = (2 * mean_a * mean_b + 0.01**2) * (2 * covariance + 0.03**2)
    lower = (mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2)
    return (upper / lower).mean(-1)


def test_ssim_is_that_of_the_paper():
    a, b = noise(1), 0.7 * noise(1) + 0.3 * noise(2)
    # torchmetrics clamps negative variances, which rounding of 1e-16 makes
    assert ssim(a, b) == pytest.approx(reference_ssim(a, b).mean(), abs=1e-7)
    assert ssim(a, a) == pytest.approx(1, abs=1e-9)
    assert 0.05 < ssim(a, b) < 0.95


def test_ssim_does_not_look_at_what_does_not_count():
    a, b = noise(1), 0.7 * noise(1) + 0.3 * noise(2)
    where = torch.ones(40, 50, dtype=torch.bool)
    where[10:20, 10:25] = False
    changed = torch.where(where[..., None], a, noise(3))
    assert ssim(a, b, where) == ssim(changed, b, where)
    assert ssim(a, b) != ssim(changed, b)
    assert ssim(a[:5], b[:5]) is None  # smaller than the window


def test_growing_is_a_square_dilation():
    mask = noise(4, (30, 40)) > 0.99
    grown = ndimage.binary_dilation(mask.numpy(), np.ones((7, 7)))
    assert np.array_equal(grow(mask, 3).numpy(), grown) and grown.sum() > mask.sum()


def reference_lpips(a, b, state):
    """Zhang et al., equation 1, with the paper's weights of AlexNet's channels, which torchmetrics has."""
    heads = Path(torchmetrics.functional.image.lpips.__file__).parent / "lpips_models" / "alex.pth"
    heads = torch.load(heads, map_location="cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = torch.stack([((2 * image - 1 - shift) / scale).movedim(-1, 0) for image in (a, b)])
    total = 0.0
    for layer, (number, stride, padding) in enumerate(
        [(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]
    ):
        if layer in (1, 2):
            x = torch.nn.functional.max_pool2d(x, 3, 2)
        weight, bias = (state[f"features.{number}.{key}"] for key in ("weight", "bias"))
        x = torch.nn.functional.conv2d(x, weight, bias, stride, padding).relu()
        one, two = x / x.norm(dim=1, keepdim=True)
        total += float(((one - two) ** 2).mean((1, 2)) @ heads[f"lin{layer}.model.1.weight"].view(-1))
    return total


def test_lpips_is_that_of_the_paper(tmp_path, monkeypatch):
    """With random weights in the place of AlexNet's, whose classifier is not used."""
    home = runs.offline_lpips(tmp_path)
    (file,) = home.rglob("*.pth")
    state, generator = torch.load(file, weights_only=True), torch.Generator().manual_seed(4)
    for name in [name for name in state if name.startswith("features")]:
        state[name] = 0.05 * torch.randn(state[name].shape, generator=generator)
    torch.save(state, file)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(home / "hub"))
    lpips, why = load_lpips()
    assert why == ""
    a, b = noise(1, (70, 90, 3)), 0.7 * noise(1, (70, 90, 3)) + 0.3 * noise(2, (70, 90, 3))
    assert (
        lpips(a, b, None) == pytest.approx(reference_lpips(a, b, state), rel=1e-4)
        and lpips(a, b, None) > 0.01
    )
    where = torch.zeros(70, 90, dtype=torch.bool)
    assert lpips(a, b, where) == pytest.approx(0, abs=1e-7)  # where nothing counts, nothing differs
    where[:, :45] = True
    half = torch.where(where[..., None], a, b)
    assert lpips(a, b, where) == pytest.approx(reference_lpips(half, b, state), rel=1e-4)
    assert lpips(a[:60], b[:60], None) is None  # too small for it


def test_lpips_is_left_out_without_its_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    lpips, why = load_lpips()
    assert lpips is None and str(tmp_path) in why
    assert list(tmp_path.iterdir()) == []  # nothing was downloaded


@pytest.fixture(scope="module")
def edited(tiny_folder, tmp_path_factory):
    """A scene with a layer, and its evaluation."""
    folder = shutil.copytree(tiny_folder / "scene", tmp_path_factory.mktemp("eval") / "scene")
    tiny.tiny_layer(folder)
    scene = Scene.open(folder)
    capture = tiny_folder / "capture"
    truth = Truth(capture / "truth", capture / "object_mask")
    return scene, truth, evaluate(scene, scene.capture.test, SILENT, truth)


def test_scores_against_the_truth_are_those_of_the_written_pictures(edited):
    """Recomputed from what `render` would write: 8 bits, masks dilated by repeated shifts."""
    scene, truth, result = edited
    stack = scene.stack()
    seen = 0
    for view, row in zip(scene.capture.test, result.views, strict=True):
        render = (stack.render_image(view.camera).rgb.numpy() * 255).round() / 255
        photograph, true, mask = (
            read_image(path)[0].double().numpy()
            for path in (view.path, truth.images / view.path.name, truth.object_masks / view.path.name)
        )
        mask = mask[..., 0] > 0.5
        touched = mask | (np.abs(true - photograph).max(-1) > MIN_TRUE_CHANGE)
        touched = ndimage.binary_dilation(touched, np.ones((3, 3)), iterations=MARGIN)

        def reference(a, b, where):
            return -10 * math.log10(((a - b)[where] ** 2).mean())

        # render is a float32 picture: 1e-5 dB
        assert row.edited["whole"] == pytest.approx(reference(render, true, ...), abs=1e-4)
        assert row.edited["outside"] == pytest.approx(reference(render, photograph, ~touched), abs=1e-4)
        assert ("in_object" in row.edited) == (mask.sum() >= MIN_OBJECT_PIXELS)
        if mask.sum() >= MIN_OBJECT_PIXELS:
            seen += 1
            assert row.edited["in_object"] == pytest.approx(reference(render, true, mask), abs=1e-4)
            assert row.photograph["in_object"] == pytest.approx(reference(photograph, true, mask), abs=1e-4)
    assert seen
    values = [row.edited["whole"] for row in result.views]
    assert result.mean["edited"]["whole"] == pytest.approx(sum(values) / len(values))


def test_outside_the_region_nothing_changes_inside_it_something_does(edited):
    scene, _, result = edited
    assert result.locality.largest_change == 0
    pixels = len(scene.capture.test) * 48 * 36
    assert 0.5 * pixels < result.locality.pixels < pixels
    for row in result.views:
        assert row.edited["psnr"] == row.base["psnr"] and row.edited["ssim"] == row.base["ssim"]
        assert row.edited["whole"] != row.base["whole"]


def test_a_leak_beyond_the_region_is_measured(edited, monkeypatch):
    """A stack that lets a layer show on rays that miss its region: the rest of the image gets brighter."""
    scene, _, result = edited
    render_image = LayerStack.render_image

    def leaking(self, camera, *args, **kwargs):
        rendered = render_image(self, camera, *args, **kwargs)
        if not self.layers:
            return rendered
        rgb = rendered.rgb.clone()
        rgb[0, 0] = 1 - rgb[0, 0]  # a corner, which looks past the region
        return rendered._replace(rgb=rgb)

    monkeypatch.setattr(LayerStack, "render_image", leaking)
    leaked = evaluate(scene, scene.capture.test, SILENT)
    assert leaked.locality.largest_change > 0.1
    assert leaked.locality.pixels == result.locality.pixels
    corners = [outside_regions(scene.stack(), view)[0, 0] for view in scene.capture.test]
    assert all(corners)


def test_what_the_capture_masks_out_does_not_count(edited, tmp_path):
    scene, _, result = edited
    view = scene.capture.test[0]
    mask = torch.ones(36, 48)
    mask[:, :24] = 0
    write_image(tmp_path / "mask.png", mask)
    write_image(tmp_path / "half.png", view.photograph() * mask[..., None])
    masked = [
        evaluate(scene, [replace(view, path=path, mask_path=tmp_path / "mask.png")], SILENT).mean["base"]
        for path in (view.path, tmp_path / "half.png")
    ]
    assert masked[0]["psnr"] == masked[1]["psnr"] != result.views[0].base["psnr"]
