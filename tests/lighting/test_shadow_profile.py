"""The edge of a shadow that is not as the light predicts it, against the formula that it was made by."""

import pytest
import torch

from nerf_insert.lighting.shadow_profile import Profile, fit_profile

COUNT, TEXTURE = 3000, 0.05


def seen(shape):
    """Log luminance of samples with a texture, and how dark a light predicts them and they are."""
    generator = torch.Generator().manual_seed(0)
    predicted = torch.rand(COUNT, generator=generator).clamp(0.5, 0.95) * 1.9 - 0.95  # half lie beside it
    texture = TEXTURE * torch.randn(COUNT, generator=generator)
    pairs = torch.randint(COUNT, (2, 4 * COUNT), generator=generator)

    def difference(dark):
        clear = texture - shape(predicted) + dark
        return float((clear[pairs[0]] - clear[pairs[1]]).abs().mean())

    return predicted, difference


@pytest.mark.parametrize("shape", [lambda d: d**2, lambda d: 0.8 * (d / 0.8) ** 0.6, lambda d: 0.5 * d])
def test_the_profile_is_that_of_the_shadow(shape):
    predicted, difference = seen(shape)
    found = fit_profile(predicted, difference).of(predicted)
    # levels are 0.1 apart and moved in steps of 7 %; the mean of a twentieth over 3000 samples is nothing
    assert float((found - shape(predicted)).abs().mean()) < 0.03
    assert float((found - shape(predicted)).abs().max()) < 0.12
    assert difference(found) < 1.1 * difference(shape(predicted))


def test_a_shadow_as_predicted_stays_as_it_is():
    predicted, difference = seen(lambda d: d)
    found = fit_profile(predicted, difference).of(predicted)
    assert float((found - predicted).abs().max()) < 0.03


def test_too_few_samples_tell_nothing():
    dark = torch.linspace(0, 0.8, 30)
    assert torch.equal(fit_profile(dark, lambda _: 0.0).of(dark), dark)


def test_color_keeps_its_hue_and_goes_on_beyond_the_levels():
    profile = Profile(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 0.2, 1.0]))
    color = torch.tensor([[0.6, 0.5, 0.3], [0.0, 0.0, 0.0], [2.4, 2.0, 1.2]])
    weights = torch.tensor([0.2126, 0.7152, 0.0722])
    found = profile.apply(color)
    before = color @ weights
    torch.testing.assert_close(
        found @ weights,
        torch.tensor([0.2, 0.0, 0.0]) + torch.stack([(before[0] - 0.5) * 1.6, before[1], before[2]]),
        atol=1e-5,
        rtol=0,
    )
    torch.testing.assert_close(found[[0, 2]] / found[[0, 2]][:, :1], color[[0, 2]] / color[[0, 2]][:, :1])
