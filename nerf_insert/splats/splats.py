"""A set of 3D Gaussians, as splat files hold it (3D Gaussian Splatting, arXiv 2308.04079).

N is the number of splats, K that of spherical-harmonics coefficients a color channel has: 1, 4, 9 or 16 for
the degrees 0 to 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

SH_C0 = 0.28209479177387814  # the constant basis function, sqrt(1 / 4 pi)
SH_COUNTS = (1, 4, 9, 16)  # coefficients a channel, by degree


@dataclass(frozen=True, eq=False)
class Splats:
    """N splats, with their parameters before activation, as they are trained and stored.

    Attributes:
        means: Centers, in the file's coordinates.
        log_scales: Natural logarithm of the standard deviations along the three axes.
        quaternions: Rotation from the splat's axes to the file's, in the order w, x, y, z, of any length.
        opacity_logits: The opacity is their sigmoid.
        sh: Coefficients of the color, constant first. The color, sRGB, is 0.5 plus their sum over the basis.
    """

    means: Float[Tensor, "N 3"]
    log_scales: Float[Tensor, "N 3"]
    quaternions: Float[Tensor, "N 4"]
    opacity_logits: Float[Tensor, " N"]
    sh: Float[Tensor, "N K 3"]

    @property
    def count(self) -> int:
        """The number of splats."""
        return len(self.means)

    @property
    def degree(self) -> int:
        """The degree of the spherical harmonics, 0 to 3."""
        return SH_COUNTS.index(self.sh.shape[1])

    @property
    def scales(self) -> Float[Tensor, "N 3"]:
        """Standard deviations along the splats' axes."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Float[Tensor, " N"]:
        """Opacities at the centers, 0..1."""
        return self.opacity_logits.sigmoid()

    def tensors(self) -> tuple[Tensor, ...]:
        """Return the five tensors in their order."""
        return self.means, self.log_scales, self.quaternions, self.opacity_logits, self.sh

    def __getitem__(self, index: Int64[Tensor, " M"] | Bool[Tensor, " N"]) -> Splats:
        """Select splats by their numbers or by a mask."""
        return Splats(*(tensor[index] for tensor in self.tensors()))

    def with_colors(self, sh: Float[Tensor, "N K 3"]) -> Splats:
        """Return the splats with other colors."""
        return Splats(self.means, self.log_scales, self.quaternions, self.opacity_logits, sh)

    def to(self, device: torch.device) -> Splats:
        """Move the splats to a device."""
        return Splats(*(tensor.to(device) for tensor in self.tensors()))

    def with_degree(self, degree: int) -> Splats:
        """Drop coefficients above a degree, or fill up with zeros."""
        count = SH_COUNTS[degree]
        sh = torch.nn.functional.pad(self.sh[:, :count], (0, 0, 0, max(0, count - self.sh.shape[1])))
        return Splats(self.means, self.log_scales, self.quaternions, self.opacity_logits, sh)

    @staticmethod
    def joined(parts: Sequence[Splats]) -> Splats:
        """Join several sets in order; all get the highest degree among them."""
        degree = max(part.degree for part in parts)
        columns = zip(*(part.with_degree(degree).tensors() for part in parts), strict=True)
        return Splats(*(torch.cat(column) for column in columns))
