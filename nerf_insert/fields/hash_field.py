"""A small radiance field: multiresolution hash encoding and MLPs (Instant NGP, arXiv 2201.05989).

M points, F features. Points are in unit coordinates: the field fills the cube 0..1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise

import torch
from jaxtyping import Float
from nerfstudio.utils.math import components_from_spherical_harmonics
from torch import Tensor, nn

from nerf_insert.kernels import FieldWeights, GridSpec, hash_encode, mlp

GEOMETRY_FEATURES = 15
HARMONICS = 16  # spherical harmonics up to degree 3


@dataclass(frozen=True)
class FieldConfig:
    """The size of a field; comments name the symbols of Instant NGP (arXiv 2201.05989, table 1)."""

    n_levels: int = 16  # L
    log2_hashmap_size: int = 17  # log2 T
    base_resolution: int = 16  # N_min
    max_resolution: int = 2048  # N_max
    width: int = 64
    view_dependent: bool = True
    head_width: int = 0  # of the MLP for view-dependent color; 0: `width`
    head_layers: int = 2  # hidden layers of that MLP

    @property
    def grid(self) -> GridSpec:
        """The shape of the hash grid."""
        return GridSpec(
            n_levels=self.n_levels,
            log2_hashmap_size=self.log2_hashmap_size,
            base_resolution=self.base_resolution,
            max_resolution=self.max_resolution,
        )

    def with_view_dependence(self, on: bool) -> FieldConfig:
        """Return this configuration with view-dependent color switched on or off."""
        return replace(self, view_dependent=on)

    def to_text(self) -> dict[str, str]:
        """Return the metadata of a weights file; `from_text` reads it back."""
        return {name: str(value) for name, value in asdict(self).items()}

    @staticmethod
    def from_text(metadata: dict[str, str]) -> FieldConfig:
        """Read the configuration from the metadata of a weights file.

        Raises:
            KeyError: A value is missing.
            ValueError: A value is not a number.
        """
        values = {field.name: metadata[field.name] for field in fields(FieldConfig)}
        view_dependent = values.pop("view_dependent") == "True"
        return FieldConfig(
            **{name: int(text) for name, text in values.items()}, view_dependent=view_dependent
        )


class HashField(nn.Module):
    """Raw density and color at unit points; without view dependence one MLP computes both."""

    def __init__(self, config: FieldConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.config = config
        grid, width = config.grid, config.width
        table = torch.rand(grid.n_entries, grid.n_features, generator=generator)
        self.table = nn.Parameter((table * 2 - 1) * 1e-4)
        features = 1 + GEOMETRY_FEATURES if config.view_dependent else 4
        self.trunk = _weights([grid.output_dim, width, features], generator)
        self.head = nn.ParameterList()
        if config.view_dependent:
            hidden = [config.head_width or width] * config.head_layers
            self.head = _weights([GEOMETRY_FEATURES + HARMONICS, *hidden, 3], generator)

    def forward(
        self, unit: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the raw density (before the exponential) and the sRGB color in 0..1."""
        features = self._features(unit)
        if not self.config.view_dependent:
            return features[:, 0], features[:, 1:].sigmoid()
        color = mlp(torch.cat([features[:, 1:], self.view_features(directions)], -1), list(self.head))
        return features[:, 0], color.sigmoid()

    def view_features(self, directions: Float[Tensor, "M 3"]) -> Float[Tensor, "M H"]:
        """Return what the color depends on besides the point: none without view dependence."""
        if not self.config.view_dependent:
            return directions[:, :0]
        return components_from_spherical_harmonics(4, directions)

    def weights(self, density_bias: float) -> FieldWeights:
        """Return the field as `kernels.render_rays` takes it."""
        return FieldWeights(self.config.grid, self.table, list(self.trunk), list(self.head), density_bias)

    def raw_density(self, unit: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """Return the raw density alone."""
        return self._features(unit)[:, 0]

    def _features(self, unit: Float[Tensor, "M 3"]) -> Float[Tensor, "M F"]:
        return mlp(hash_encode(unit, self.table, self.config.grid), list(self.trunk))


def _weights(widths: list[int], generator: torch.Generator | None) -> nn.ParameterList:
    """Initialize weight matrices [out, in], He-uniform."""
    layers = nn.ParameterList()
    for wide, narrow in pairwise(widths):
        bound = (6 / wide) ** 0.5
        layers.append(nn.Parameter((torch.rand(narrow, wide, generator=generator) * 2 - 1) * bound))
    return layers


class _TruncatedExp(torch.autograd.Function):
    """exp, constant above x = 15, with a gradient that is never zero."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[override]
        """Compute exp(min(x, 15))."""
        ctx.save_for_backward(x)
        return x.clamp(max=15).exp()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[override]
        """Multiply by exp of x, clamped to -15..15."""
        (x,) = ctx.saved_tensors
        return grad * x.clamp(-15, 15).exp()


def truncated_exp(x: Tensor) -> Tensor:
    """Compute exp with a value and gradient that stay finite, as Instant NGP does for densities."""
    return _TruncatedExp.apply(x)  # type: ignore[no-any-return]
