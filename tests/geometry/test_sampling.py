"""Bilinear look-ups, colors and frames."""

import numpy as np
import pytest
import torch

from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.geometry.frames import orthonormal_frame
from nerf_insert.geometry.sampling import sample_bilinear, sample_texture


def test_sample_bilinear_is_exact_on_a_ramp_and_clamps_at_the_border():
    y, x = torch.meshgrid(torch.arange(5) + 0.5, torch.arange(7) + 0.5, indexing="ij")
    image = torch.stack([x, y], -1)  # every pixel holds its center
    pixels = torch.tensor([[0.5, 0.5], [3.25, 1.75], [6.5, 4.5], [0.0, 5.0], [99.0, -99.0]])
    wanted = torch.stack([pixels[:, 0].clamp(0.5, 6.5), pixels[:, 1].clamp(0.5, 4.5)], -1)
    assert torch.allclose(sample_bilinear(image, pixels), wanted, atol=1e-5)


def test_sample_texture_repeats_from_the_bottom_left():
    texture = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0))
    row, column = torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij")
    uv = torch.stack([(column + 0.5) / 6, 1 - (row + 0.5) / 4], -1).view(-1, 2)
    for shift in (0.0, 1.0, -2.0):
        assert torch.allclose(sample_texture(texture, uv + shift), texture.view(-1, 3), atol=1e-5)
    seam = sample_texture(texture, torch.tensor([[0.0, 1 - 0.5 / 4]]))
    assert torch.allclose(seam[0], (texture[0, 0] + texture[0, -1]) / 2, atol=1e-5)


@pytest.mark.parametrize("as_array", [torch.from_numpy, np.asarray], ids=["torch", "numpy"])
def test_srgb_and_linear_light_are_inverse_and_hit_known_values(as_array):
    values = as_array(np.linspace(0, 1, 1001))
    assert float(abs(linear_to_srgb(srgb_to_linear(values)) - values).max()) < 1e-6
    # IEC 61966-2-1: mid-gray 0.5 is 0.21404 of the light
    assert float(srgb_to_linear(as_array(np.array([0.0, 0.5, 1.0])))[1]) == pytest.approx(0.21404, abs=1e-5)


def test_a_frame_is_right_handed_and_ends_with_its_axis():
    axes = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    for axis in [*torch.nn.functional.normalize(axes, dim=-1), *torch.eye(3), *-torch.eye(3)]:
        frame = orthonormal_frame(axis)
        assert torch.equal(frame[2], axis)
        assert torch.allclose(frame @ frame.T, torch.eye(3), atol=1e-6)
        assert float(torch.linalg.det(frame)) == pytest.approx(1, abs=1e-5)
