"""Multiresolution hash encoding (Instant NGP, arXiv 2201.05989, section 3), as tiny-cuda-nn lays it out.

M points, L levels, F features a level, T at most 2^log2_hashmap_size entries a level. Level l has
scale s_l = base_resolution * per_level_scale^l - 1 and a point x in 0..1 lies at s_l * x + 0.5 on it.
A level whose ceil(s_l + 1)^3 grid points fit into T is indexed densely, a finer one through
the paper's hash. Parameters of the two therefore interchange.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation

PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class GridSpec:
    """The shape of a hash grid: L levels from `base_resolution` (N_min) to `max_resolution` (N_max).

    Raises:
        ValueError: The numbers describe no grid.
    """

    n_levels: int = 16
    n_features: int = 2
    log2_hashmap_size: int = 19
    base_resolution: int = 16
    max_resolution: int = 2048

    def __post_init__(self) -> None:
        if self.n_levels < 1 or self.n_features < 1 or not 3 <= self.log2_hashmap_size <= 28:
            raise ValueError(
                f"a hash grid needs levels, features and 2^3 to 2^28 entries a level, not {self}"
            )
        if not 1 < self.base_resolution <= self.max_resolution:
            raise ValueError(f"a hash grid's resolutions grow from at least 2, not {self}")

    @property
    def per_level_scale(self) -> float:
        """The growth factor between levels (b in the paper, equation 3)."""
        if self.n_levels == 1:
            return 1.0
        return float((self.max_resolution / self.base_resolution) ** (1 / (self.n_levels - 1)))

    @property
    def output_dim(self) -> int:
        """Features of a point: L * F."""
        return self.n_levels * self.n_features

    @cached_property
    def scales(self) -> np.ndarray:
        """s_l, float32 [L], in float32 arithmetic as tiny-cuda-nn computes them."""
        growth = np.log2(np.float32(self.per_level_scale))
        levels = np.arange(self.n_levels, dtype=np.float32)
        return np.exp2(levels * growth) * np.float32(self.base_resolution) - np.float32(1)

    @cached_property
    def resolutions(self) -> np.ndarray:
        """Grid points along a side of each level, int64 [L]."""
        return np.ceil(self.scales).astype(np.int64) + 1

    @cached_property
    def sizes(self) -> np.ndarray:
        """Entries of each level, int64 [L]: a multiple of 8, at most 2^log2_hashmap_size."""
        return np.minimum(-(-(self.resolutions**3) // 8) * 8, 1 << self.log2_hashmap_size)

    @cached_property
    def offsets(self) -> np.ndarray:
        """The first entry of each level in the table, and its end: int64 [L + 1]."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @property
    def n_entries(self) -> int:
        """Entries of all levels together."""
        return int(self.offsets[-1])

    @cached_property
    def dense(self) -> np.ndarray:
        """Which levels are indexed densely, bool [L]."""
        return self.resolutions**3 <= self.sizes

    @property
    def shift(self) -> float:
        """Position of x = 0 on each level, in cells."""
        return 0.5


@dataclass(frozen=True)
class HashedGridSpec(GridSpec):
    """The grid of nerfstudio's encoding in PyTorch.

    All levels are hashed into 2^log2_hashmap_size entries each, and not shifted by half a cell.
    `level_scales` are its `scalings`, one per level; the resolutions are ignored.
    """

    level_scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.level_scales) != self.n_levels:
            raise ValueError(f"{self.n_levels} levels need as many scales, not {len(self.level_scales)}")

    @cached_property
    def scales(self) -> np.ndarray:
        """The given `level_scales`, float32 [L]."""
        return np.array(self.level_scales, np.float32)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Entries of each level, int64 [L]: 2^log2_hashmap_size."""
        return np.full(self.n_levels, 1 << self.log2_hashmap_size, np.int64)

    @cached_property
    def dense(self) -> np.ndarray:
        """Which levels are indexed densely, bool [L]: none."""
        return np.zeros(self.n_levels, np.bool_)

    @property
    def shift(self) -> float:
        """Position of x = 0 on each level, in cells: 0."""
        return 0.0


def hash_encode(
    points: Float[Tensor, "M 3"], table: Float[Tensor, "entries features"], spec: GridSpec
) -> Float[Tensor, "M output"]:
    """Interpolate each level's features trilinearly and concatenate them: [M, n_levels * n_features].

    Gradients go to the table, and to the points if they require them, which costs more than all the rest;
    the gradient of a clamped coordinate is zero.

    Args:
        points: Clamped to 0..1.
        table: [spec.n_entries, spec.n_features].
        spec: The shape of the grid.

    Returns:
        The features, perhaps as a view with column-major strides.

    Raises:
        ValueError: A tensor has the wrong shape.
    """
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"points should have shape [M, 3], not {list(points.shape)}")
    if table.shape != (spec.n_entries, spec.n_features):
        raise ValueError(
            f"the table of {spec} should be [{spec.n_entries}, {spec.n_features}], not {list(table.shape)}"
        )
    return implementation("hash_encode", table)(points.to(table.dtype), table, spec)


def new_table(spec: GridSpec, generator: torch.Generator | None = None) -> Float[Tensor, "entries features"]:
    """Initialize a table, uniform in -1e-4..1e-4 (arXiv 2201.05989, section 4)."""
    return (torch.rand(spec.n_entries, spec.n_features, generator=generator) * 2 - 1) * 1e-4
