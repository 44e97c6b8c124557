"""Modules with tiny-cuda-nn's parameters, computed by our kernels: its checkpoints on machines without it.

M points. tiny-cuda-nn keeps all parameters of a module in one flat tensor, `params`. A network's are its
weight matrices [out, in], row by row, without biases. Inputs are padded with ones (behind a hash grid with
zeros) and outputs with values that are dropped, to a multiple of 16 (of 8 in wide networks). A network with
an encoding has its own parameters first, then the encoding's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from nerfstudio.utils.math import components_from_spherical_harmonics
from torch import Tensor, nn

from nerf_insert.kernels import GridSpec, hash_encode, mlp

ALIGNMENTS = (16, 8)


class Grid(nn.Module):
    """A hash grid."""

    def __init__(self, spec: GridSpec):
        super().__init__()
        self.spec = spec
        self.params = nn.Parameter(torch.zeros(spec.n_entries * spec.n_features))

    def forward(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M features"]:
        """Encode points, clamped to 0..1."""
        return hash_encode(points, self.params.view(-1, self.spec.n_features), self.spec)


class Network(nn.Module):
    """An MLP with ReLUs, and optionally a sigmoid at its end."""

    def __init__(self, inputs: int, width: int, outputs: int, hidden: int, size: int, sigmoid: bool = False):
        """Make a network of `hidden` layers of `width`; `size` is the number of its parameters.

        Raises:
            ValueError: No such network has so many parameters.
        """
        super().__init__()
        self.outputs, self.sigmoid = outputs, sigmoid
        self.shapes = _shapes(inputs, width, outputs, hidden, size)
        self.params = nn.Parameter(torch.zeros(size))

    def forward(self, x: Float[Tensor, "M inputs"]) -> Float[Tensor, "M outputs"]:
        """Apply the network; the padding of its input is ones."""
        return self.apply_with(self.params, x, filler=1.0)

    def apply_with(self, params: Tensor, x: Tensor, filler: float) -> Tensor:
        """Apply the network with other parameters, the input padded with `filler`."""
        x = nn.functional.pad(x, (0, self.shapes[0][1] - x.shape[-1]), value=filler)
        parts = params.split([rows * columns for rows, columns in self.shapes])
        weights = [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        out = mlp(x, weights)[:, : self.outputs]
        return out.sigmoid() if self.sigmoid else out


class GridNetwork(nn.Module):
    """A hash grid with a network behind it, their parameters in one tensor."""

    def __init__(self, spec: GridSpec, width: int, outputs: int, hidden: int, size: int):
        super().__init__()
        self.spec = spec
        self.first = size - spec.n_entries * spec.n_features
        self.params = nn.Parameter(torch.zeros(size))
        with torch.device("meta"):  # only for its shapes: the parameters are those above
            network = Network(spec.output_dim, width, outputs, hidden, self.first)
        self._network = [network]  # in a list, so that it is no submodule

    def forward(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M outputs"]:
        """Encode points, clamped to 0..1, and apply the network to their features."""
        table = self.params[self.first :].view(-1, self.spec.n_features)
        features = hash_encode(points, table, self.spec)
        return self._network[0].apply_with(self.params[: self.first], features, filler=0.0)


class Harmonics(nn.Module):
    """Spherical harmonics up to degree 3 of directions given as (direction + 1) / 2.

    Those of odd index have the opposite sign of nerfstudio's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.params = nn.Parameter(torch.zeros(0))

    def forward(self, halved: Float[Tensor, "M 3"]) -> Float[Tensor, "M 16"]:
        """Return the harmonics, with tiny-cuda-nn's signs."""
        values = components_from_spherical_harmonics(4, halved * 2 - 1)
        return values * torch.tensor([1.0, -1.0] * 8)


def _shapes(inputs: int, width: int, outputs: int, hidden: int, size: int) -> list[tuple[int, int]]:
    for by in ALIGNMENTS:
        wide, narrow = -(-inputs // by) * by, -(-outputs // by) * by
        shapes = [(width, wide), *[(width, width)] * (hidden - 1), (narrow, width)]
        if sum(rows * columns for rows, columns in shapes) == size:
            return shapes
    raise ValueError(
        f"no network of {inputs} inputs, {hidden} times {width} and {outputs} outputs has {size} parameters"
    )
