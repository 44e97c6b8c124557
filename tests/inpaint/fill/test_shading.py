"""A surface's shade in a view, continued from a border, against one that is linear and so known inside."""

import numpy as np
import pytest

from nerf_insert.inpaint.fill import shading


@pytest.mark.parametrize("unknown", [6000, 200])  # in the image itself, and in one several times smaller
def test_a_linear_shade_is_continued_in_spite_of_what_stands_at_the_border(monkeypatch, unknown):
    monkeypatch.setattr(shading, "MAX_UNKNOWN", unknown)
    y, x = np.mgrid[:90, :120]
    true = (0.002 * x - 0.001 * y)[..., None].repeat(3, -1).astype(np.float32)
    wanted, border = np.zeros((2, 90, 120), bool)
    wanted[30:60, 40:90] = True
    border[25:65, 35:95] = True
    border &= ~wanted
    ratio = np.where(border[..., None], true, 0).astype(np.float32)
    ratio[25:28, 50:60] = -0.3  # a dark thing that leans over the border
    found = shading.continue_shade(ratio, border, wanted)
    # Averages over 3 pixels of the border, and over 3 of the smaller image, of a shade of 0.002 a pixel.
    assert found is not None and np.abs(found - true)[wanted].max() < 0.006
    assert not found[~wanted].any()


def test_without_a_border_that_shows_the_surface_nothing_is_shaded():
    ratio, wanted = np.ones((40, 40, 3), np.float32), np.zeros((40, 40), bool)
    wanted[10:20, 10:20] = True
    border = np.zeros_like(wanted)
    border[9, 10:20] = True  # ten pixels
    assert shading.continue_shade(ratio, border, wanted) is None
