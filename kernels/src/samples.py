"""Packed samples along rays: N rays, M samples in all, those of one ray side by side and front to back."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation


class Samples(NamedTuple):
    """Intervals of N rays, packed: ray i owns the samples offsets[i] to offsets[i + 1] - 1.

    `starts` and `ends` are distances along the ray in the units of the rays' origins.
    """

    starts: Float[Tensor, " M"]
    ends: Float[Tensor, " M"]
    ray_index: Int64[Tensor, " M"]
    offsets: Int64[Tensor, " N_plus_1"]

    @property
    def count(self) -> int:
        return self.starts.shape[0]

    @property
    def ray_count(self) -> int:
        return self.offsets.shape[0] - 1

    @property
    def lengths(self) -> Float[Tensor, " M"]:
        return self.ends - self.starts

    @property
    def distances(self) -> Float[Tensor, " M"]:
        """Distances along the rays to the middle of each sample."""
        return (self.starts + self.ends) / 2

    def midpoints(
        self, origins: Float[Tensor, "N 3"], directions: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "M 3"]:
        # index_select, here and below: on a processor several times as fast as indexing
        origins, directions = (part.index_select(0, self.ray_index) for part in (origins, directions))
        return origins + self.distances[:, None] * directions

    def select(self, keep: Bool[Tensor, " M"]) -> Samples:
        """The samples where `keep` is true; every ray stays, perhaps with none."""
        return self.at(keep.nonzero()[:, 0])

    def at(self, index: Int64[Tensor, " K"]) -> Samples:
        """The samples of these numbers, which ascend along each ray and from ray to ray."""
        columns = (column.index_select(0, index) for column in (self.starts, self.ends, self.ray_index))
        return Samples.packed(*columns, self.ray_count)

    @staticmethod
    def packed(starts: Tensor, ends: Tensor, ray_index: Tensor, ray_count: int) -> Samples:
        """Samples that already lie side by side, with the offsets counted from `ray_index`."""
        counts = torch.bincount(ray_index, minlength=ray_count)
        offsets = torch.zeros(ray_count + 1, dtype=torch.int64, device=starts.device)
        torch.cumsum(counts, 0, out=offsets[1:])
        return Samples(starts, ends, ray_index, offsets)


@torch.no_grad()
def merge(one: Samples, two: Samples) -> tuple[Samples, Int64[Tensor, " M"]]:
    """The samples of two sources over the same rays, by their middles along each ray; at the same place
    those of the first come first. With them, where each was in the two put one after the other."""
    columns = (torch.cat([getattr(s, name) for s in (one, two)]) for name in ("starts", "ends", "ray_index"))
    order = implementation("merge", one.starts)(
        one.starts + one.ends, one.offsets, two.starts + two.ends, two.offsets
    )
    starts, ends, ray_index = (column.index_select(0, order) for column in columns)
    return Samples(starts, ends, ray_index, one.offsets + two.offsets), order
