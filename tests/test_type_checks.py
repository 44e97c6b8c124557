"""Annotations are checked while tests run: the engine's by conftest.py, any by support/type_checks.py."""

from dataclasses import dataclass

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float
from torch import Tensor
from type_checks import checked, checked_once

from nerf_insert.geometry.cameras import Rays
from nerf_insert.lighting.light import relative_irradiances

strictly = checked_once(checked)
ROWS, MORE = torch.zeros(2, 3), torch.zeros(4, 3)


@strictly
def shortened(
    rows: Float[Tensor, "N 3"],
    weights: Float[Tensor, " N"],
    other: "NotImported" = 1,  # noqa: F821
) -> Float[Tensor, " N"]:
    return weights[:3]


@strictly
@dataclass(frozen=True)
class Weighted:
    rows: Float[Tensor, "N 3"]
    weights: Float[Tensor, " N"]

    @strictly
    def scaled(self, factor: float) -> Float[Tensor, "N 3"]:
        return factor * self.rows[:, :2]


def test_what_fits_passes():
    assert shortened(ROWS, torch.ones(2)).shape == (
        2,
    )  # an annotation that cannot be resolved forbids nothing
    assert Weighted(ROWS, torch.ones(2)).weights.shape == (2,)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: shortened([1, 2], torch.ones(2)),
        lambda: shortened(torch.zeros(2, 4), torch.ones(2)),
        lambda: shortened(ROWS, torch.ones(3)),  # sizes of one name, of two arguments
        lambda: shortened(MORE, torch.ones(4)),  # ... and of the result
        lambda: Weighted(ROWS, torch.ones(3)),
        lambda: Weighted(ROWS, torch.ones(2)).scaled(2),
        lambda: Rays(ROWS, MORE),
        lambda: relative_irradiances([], ROWS, MORE, []),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(BeartypeCallHintViolation):
        wrong()
