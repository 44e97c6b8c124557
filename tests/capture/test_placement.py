"""Places in words."""

import math

import pytest
import torch

from nerf_insert.capture.placement import place_in_words


@pytest.mark.parametrize(
    ("extent", "words"),
    [(3.0, "1.23, 0, -2"), (30.0, "1.2, 0, -2"), (1e20, "1, 0, -2"), (math.inf, "1, 0, -2")],
)
def test_a_place_has_the_digits_that_matter(extent, words):
    assert place_in_words(torch.tensor([1.23456, 0.0, -2.0]), extent) == words
