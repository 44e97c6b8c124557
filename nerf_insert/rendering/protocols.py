"""What rendering asks of a base field, of a layer and of a shade layer.

M points, N rays. Points and distances are in world units, directions have length one, colors are sRGB in
0..1. A field may be on a GPU: rays and points come on its device, and results are on it.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.fields.splat_field import SplatSamples
from nerf_insert.geometry.cameras import Rays
from nerf_insert.kernels import Samples
from nerf_insert.regions.region import Region


@runtime_checkable
class Volume(Protocol):
    """A part of space."""

    def contains(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Return which points (world coordinates) are inside."""
        ...


@runtime_checkable
class RadianceField(Protocol):
    """A base: our own hash grid, an adopted nerfacto, or a formula in a test."""

    @property
    def background(self) -> Float[Tensor, "3"] | None:
        """The color behind the samples; None: that of each ray's last sample (nerfstudio's `last_sample`)."""
        ...

    @property
    def scale(self) -> float:
        """Field units per world unit. The cameras lie within about 1 / scale world units of their center."""
        ...

    def sample(self, rays: Rays) -> Samples:
        """Sample the rays where the field may have density."""
        ...

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the density per world unit, at least 0, and the color."""
        ...

    def is_empty(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Tell which points `sample` never covers, whatever `query` returns for them."""
        ...

    def content_bounds(self) -> Float[Tensor, "2 3"] | None:
        """Return the box (lowest and highest corner) of all that the field shows; None: it is not known."""
        ...


@runtime_checkable
class RenderingBase(RadianceField, Protocol):
    """A base that can render rays by itself, without listing its samples."""

    @property
    def renders_itself(self) -> bool:
        """Whether it does so here, on its device."""
        ...

    def render(
        self, rays: Rays, stop: float = 0.0
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Return colors over the background, opacities, and depths along the rays.

        Samples that less than the fraction `stop` of the light reaches may be left out.
        """
        ...


@runtime_checkable
class MarchedBase(RenderingBase, Protocol):
    """One that can also go along its rays by itself to query samples."""

    def query_along(
        self, points: Float[Tensor, "M 3"], samples: Samples, rays: Rays, stop: float
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return density and color of samples at their midpoints.

        Samples that less than the fraction `stop` of the light reaches, or that add less, get density 0.
        """
        ...


@runtime_checkable
class SplatBase(RenderingBase, Protocol):
    """A base that is not sampled point by point: Gaussian splats."""

    def splat_samples(self, rays: Rays, certain: Float[Tensor, " N"] | None = None) -> SplatSamples:
        """Return the splats along rays; nothing is taken away before the distances `certain`."""
        ...

    def batches(self, rays: Rays) -> list[slice]:
        """Divide rays into runs whose splats can be listed at once in bounded memory."""
        ...

    def within(self, center: Float[Tensor, "3"], radius: float) -> SplatBase:
        """Return the splats that reach into a ball, world coordinates."""
        ...


@runtime_checkable
class LayerField(Protocol):
    """An enabled layer: a region and the field in it."""

    @property
    def region(self) -> Region:
        """Where the layer replaces what lies below it."""
        ...

    def sample(self, rays: Rays) -> Samples:
        """Sample the rays inside the region, without the cells in which the layer is known to be empty."""
        ...

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the density per world unit, at least 0, and the color."""
        ...

    def weight(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """Return the layer's blend weight at points of its region: 1, less in the blend shell."""
        ...


@runtime_checkable
class ShadeField(Protocol):
    """An enabled shade layer: a region in which the colors below are multiplied."""

    @property
    def region(self) -> Region:
        """What holds all points whose colors change."""
        ...

    def meets(self, rays: Rays) -> Bool[Tensor, " N"]:
        """Return the rays that may pass through a point whose color changes."""
        ...

    def shade(self, points: Float[Tensor, "M 3"], rgb: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Return the colors below (sRGB) as this layer changes them; the others bit for bit."""
        ...
