"""Packed samples along rays: N rays, M samples in all, those of one ray side by side, front to back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation


class Samples(NamedTuple):
    """M intervals of N rays: ray i owns the samples offsets[i] to offsets[i + 1] - 1.

    `starts` and `ends` are distances along the ray, in the unit of the rays' origins. Offsets have length
    N + 1 (`N_plus_1` in annotations).
    """

    starts: Float[Tensor, " M"]
    ends: Float[Tensor, " M"]
    ray_index: Int64[Tensor, " M"]
    offsets: Int64[Tensor, " N_plus_1"]

    @property
    def count(self) -> int:
        """The number of samples, M."""
        return self.starts.shape[0]

    @property
    def ray_count(self) -> int:
        """The number of rays, N, those without samples included."""
        return self.offsets.shape[0] - 1

    @property
    def lengths(self) -> Float[Tensor, " M"]:
        """The length of each sample along its ray."""
        return self.ends - self.starts

    @property
    def distances(self) -> Float[Tensor, " M"]:
        """The distance along its ray of each sample's midpoint."""
        return (self.starts + self.ends) / 2

    def midpoints(
        self, origins: Float[Tensor, "N 3"], directions: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "M 3"]:
        """Return the midpoint of each sample on these N rays."""
        # index_select, here and below: on a CPU several times as fast as indexing
        origins, directions = (part.index_select(0, self.ray_index) for part in (origins, directions))
        return origins + self.distances[:, None] * directions

    def select(self, keep: Bool[Tensor, " M"]) -> Samples:
        """Return the samples where `keep` is true; every ray stays, perhaps without samples."""
        return self.at(keep.nonzero()[:, 0])

    def at(self, index: Int64[Tensor, " K"]) -> Samples:
        """Return the samples at these indices, which must ascend."""
        starts, ends, ray = (part.index_select(0, index) for part in (self.starts, self.ends, self.ray_index))
        return Samples.packed(starts, ends, ray, self.ray_count)

    @staticmethod
    def packed(starts: Tensor, ends: Tensor, ray_index: Tensor, ray_count: int) -> Samples:
        """Build samples that already lie in order; offsets are counted from `ray_index`."""
        counts = torch.bincount(ray_index, minlength=ray_count)
        offsets = torch.zeros(ray_count + 1, dtype=torch.int64, device=starts.device)
        torch.cumsum(counts, 0, out=offsets[1:])
        return Samples(starts, ends, ray_index, offsets)


@torch.no_grad()
def merge(one: Samples, two: Samples) -> tuple[Samples, Int64[Tensor, " M"]]:
    """Merge the samples of two sources over the same rays, ordered by their midpoints along each ray.

    At equal midpoints those of `one` come first.

    Returns:
        The samples, and the index of each in the concatenation of `one` and `two`.
    """
    columns = (torch.cat([getattr(s, name) for s in (one, two)]) for name in ("starts", "ends", "ray_index"))
    order = implementation("merge", one.starts)(
        one.starts + one.ends, one.offsets, two.starts + two.ends, two.offsets
    )
    starts, ends, ray_index = (column.index_select(0, order) for column in columns)
    return Samples(starts, ends, ray_index, one.offsets + two.offsets), order
