"""Exposures: gains that were put into photographs are found again, and not rendered."""

import json

import pytest
import torch

from nerf_insert.training.exposure import Exposures


def observed(gains, steps=300, noise=0.02, seed=0):
    """Exposures after some steps of random pixels, whose photographs were multiplied by gains."""
    generator = torch.Generator().manual_seed(seed)
    exposures = Exposures(len(gains))
    for _ in range(steps):
        view = torch.randint(len(gains), (400,), generator=generator)
        scene = torch.rand(400, 3, generator=generator)
        photograph = scene * gains[view] + noise * torch.randn(400, 3, generator=generator)
        exposures.observe(view, scene, photograph.clamp(0, 1))
    return exposures


def test_gains_are_found_up_to_a_common_factor():
    gains = torch.tensor([[1.0, 1.0, 1.0], [0.75, 0.75, 0.75], [0.9, 0.8, 0.6], [0.5, 0.6, 0.7]])
    found = observed(gains).gains
    wanted = gains / gains.log().mean(0).exp()
    # the prior of 100 pixels against the 10000 that are remembered, and clipped pixels: two percent
    assert (found / wanted - 1).abs().max() < 0.02
    assert torch.allclose(found.log().mean(0), torch.zeros(3), atol=1e-5)


def test_equal_exposures_stay_equal():
    assert (observed(torch.ones(5, 3)).gains - 1).abs().max() < 0.01


def test_a_view_that_is_never_seen_has_the_mean_exposure():
    exposures = Exposures(3)
    exposures.observe(torch.tensor([0, 0]), torch.full((2, 3), 0.4), torch.full((2, 3), 0.5))
    gains = exposures.gains
    assert torch.equal(gains[1], gains[2]) and float(gains[0, 0]) > float(gains[1, 0])


def test_clipped_pixels_say_nothing():
    exposures = Exposures(2)
    exposures.observe(torch.zeros(1000, dtype=torch.long), torch.full((1000, 3), 0.7), torch.ones(1000, 3))
    assert torch.equal(exposures.gains, torch.ones(2, 3))


def test_a_saved_state_goes_on_to_the_same_bits():
    """By way of JSON, as a checkpoint keeps it."""
    whole = observed(torch.tensor([[1.0] * 3, [0.7] * 3]), steps=20)
    again = Exposures(2)
    again.restore(json.loads(json.dumps(whole.state())))
    for exposures in (whole, again):
        exposures.observe(torch.tensor([0, 1]), torch.full((2, 3), 0.4), torch.full((2, 3), 0.5))
    assert torch.equal(whole.gains, again.gains)
    again.restore(None)
    assert torch.equal(whole.gains, again.gains)


def test_the_exposures_of_a_base_in_training_are_found(tiny_folder, darker=0.6):
    """Every second photograph darker: so is its gain, of rays through a field that knows the scene."""
    from nerf_insert.capture.capture import Capture
    from nerf_insert.scene.scene import Scene
    from nerf_insert.training.optimizer import at_step
    from nerf_insert.training.scene_trainer import base_loss, gather_pixels

    scene = Scene.open(tiny_folder / "scene")
    capture = Capture.load(tiny_folder / "capture")
    pixels, exposures = gather_pixels(capture), Exposures(len(capture.train))
    view = pixels.view_and_xy(torch.arange(len(pixels)))[0]
    dark = view % 2 == 1
    pixels.colors[dark] = (pixels.colors[dark] * darker).round().to(torch.uint8)
    chosen = torch.arange(0, len(pixels), 7)
    with torch.no_grad():
        for step in range(20):
            base_loss(scene.base, pixels, chosen, at_step(0, step), 1.0, exposures)
    gains = exposures.gains.mean(1)
    assert float(gains[1::2].mean() / gains[::2].mean()) == pytest.approx(darker, abs=0.05)
