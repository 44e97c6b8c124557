"""Samples along rays with density and color, and the pixels they composite to.

N rays, M samples, packed as in `kernels.Samples`. Distances are in world units, densities per world unit,
colors are sRGB in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.geometry.cameras import Rays
from nerf_insert.kernels import Samples, composite, median_depth, merge, transmittance
from nerf_insert.regions.region import Region
from nerf_insert.rendering.protocols import MarchedBase, RadianceField, RenderingBase, SplatBase, Volume

SPLAT_STOP = 1e-4  # transmittance from which splats are left out
QUERY_CHUNKS = (6, 12, 24)  # ranks of a ray's samples before which its transmittance is looked at


class Rendered(NamedTuple):
    """N pixels, or the [H, W] pixels of an image."""

    rgb: Float[Tensor, "*N 3"]  # over the background
    accumulation: Float[Tensor, "*N"]  # 0..1
    depth: Float[Tensor, "*N"]  # along the ray to where half of the light is stopped; infinity: never


class Background(NamedTuple):
    """What N rays show behind their samples."""

    rgb: Float[Tensor, "N 3"]
    distance: Float[Tensor, " N"]  # infinity: nowhere


class ShadedSamples(NamedTuple):
    """M samples with density and color.

    Attributes:
        samples: Intervals along rays, in the order in which they are composited.
        density: Per world unit.
        rgb: sRGB.
        depth: Where a sample counts as being, for depth; None: in the middle of its interval.
    """

    samples: Samples
    density: Float[Tensor, " M"]
    rgb: Float[Tensor, "M 3"]
    depth: Float[Tensor, " M"] | None = None

    @property
    def distances(self) -> Float[Tensor, " M"]:
        """Where the samples count as being, along their rays."""
        return self.samples.distances if self.depth is None else self.depth

    def points(self, rays: Rays) -> Float[Tensor, "M 3"]:
        """Return where the samples count as being on these rays."""
        if self.depth is None:
            return self.samples.midpoints(rays.origins, rays.directions)
        ray = self.samples.ray_index
        return rays.origins[ray] + self.depth[:, None] * rays.directions[ray]

    def select(self, keep: Bool[Tensor, " M"]) -> ShadedSamples:
        """Return the samples where `keep` is true; every ray stays."""
        depth = None if self.depth is None else self.depth[keep]
        return ShadedSamples(self.samples.select(keep), self.density[keep], self.rgb[keep], depth)


def rendered_alone(
    field: RadianceField, rays: Rays, early_stop_eps: float, index: Int64[Tensor, " K"]
) -> Rendered | None:
    """Render some of N rays of a field that does so by itself.

    Returns:
        N pixels, of which those of the rays `index` are set; None if the field has to be sampled (see
        `shade_field`).
    """
    if not isinstance(field, RenderingBase) or not field.renders_itself:
        return None
    if len(index) == rays.count:
        return Rendered(*field.render(rays, early_stop_eps))
    some, none = rays.origins, rays.origins[:, 0]
    whole = Rendered(torch.zeros_like(some), torch.zeros_like(none), torch.full_like(none, math.inf))
    if len(index):
        put(whole, index, Rendered(*field.render(rays[index], early_stop_eps)))
    return whole


def put(image: Rendered, index: Int64[Tensor, " K"], part: Rendered) -> None:
    """Write some pixels into an image."""
    for whole, values in zip(image, part, strict=True):
        whole[index] = values


def batches(field: RadianceField, rays: Rays) -> list[slice]:
    """Divide rays into runs whose samples fit into memory together: all of them, unless they meet splats."""
    return field.batches(rays) if isinstance(field, SplatBase) else [slice(0, rays.count)]


def shade_splats(
    field: SplatBase, rays: Rays, exclude: Sequence[Volume] = ()
) -> tuple[ShadedSamples, Background]:
    """Return the splats along N rays that lie outside the regions `exclude`, as far as light reaches.

    All splats behind regions are listed meanwhile: for many rays, see `batches`.
    """
    certain = torch.full((rays.count,), math.inf)
    for part in exclude:
        entry = part.entry(rays) if isinstance(part, Region) else torch.zeros_like(certain)
        certain = torch.minimum(certain, entry)
    found = field.splat_samples(rays, certain)
    shaded = ShadedSamples(found.samples, found.density, found.rgb, found.depth)
    if exclude:
        shaded = shaded.select(outside(exclude, shaded.points(rays)))
        reached = transmittance(shaded.density * shaded.samples.lengths, shaded.samples.offsets)
        shaded = shaded.select(reached > SPLAT_STOP)
    return shaded, _background(field, shaded)


def shade_field(
    field: RadianceField, rays: Rays, early_stop_eps: float = 0.0, exclude: Sequence[Volume] = ()
) -> tuple[ShadedSamples, Background]:
    """Sample and query a field along N rays, outside the regions `exclude`.

    With `early_stop_eps`, samples that less than this fraction of the light reaches get density and color
    0 without a query. A field that does not go along its rays by itself is queried in steps: a ray's samples
    in a few chunks, until it is opaque. A field without a background color is always queried as a whole, for
    its last samples are its background.
    """
    if isinstance(field, SplatBase):
        return shade_splats(field, rays, exclude)
    samples = field.sample(rays)
    points = samples.midpoints(rays.origins, rays.directions)
    if exclude:
        free = outside(exclude, points)
        samples, points = samples.select(free), points[free]
    if early_stop_eps and isinstance(field, MarchedBase) and field.renders_itself:
        shaded = ShadedSamples(samples, *field.query_along(points, samples, rays, early_stop_eps))
        return shaded, _background(field, shaded)
    density, rgb = points.new_zeros(samples.count), points.new_zeros(samples.count, 3)
    rank = torch.arange(samples.count, device=points.device) - samples.offsets[samples.ray_index]
    optical_depth = points.new_zeros(rays.count)
    stops = early_stop_eps and field.background is not None
    opaque = -math.log(max(early_stop_eps, 1e-30))
    edges = (0, *QUERY_CHUNKS, samples.count) if stops else (0, samples.count)
    for first, last in pairwise(edges):
        visible = (optical_depth < opaque).index_select(0, samples.ray_index)
        index = ((rank >= first) & (rank < last) & visible).nonzero()[:, 0]
        ray = samples.ray_index.index_select(0, index)
        found = field.query(points.index_select(0, index), rays.directions.index_select(0, ray))
        density[index], rgb[index] = found
        optical_depth.index_add_(0, ray, found[0] * samples.lengths.index_select(0, index))
    shaded = ShadedSamples(samples, density, rgb)
    return shaded, _background(field, shaded)


def composite_over(shaded: ShadedSamples, background: Background) -> Rendered:
    """Composite samples over what lies behind them."""
    samples = shaded.samples
    optical_depth = shaded.density * samples.lengths
    out = composite(optical_depth, shaded.rgb, shaded.distances, samples.offsets)
    rgb = out.rgb + (1 - out.accumulation)[:, None] * background.rgb
    depth = median_depth(optical_depth, shaded.distances, samples.offsets)
    depth = torch.where(depth.isfinite(), depth, background.distance)
    return Rendered(rgb.clamp(0, 1), out.accumulation, depth)


def interleave(parts: Sequence[ShadedSamples]) -> ShadedSamples:
    """Join the samples of several sources over the same rays, sorted along each ray."""
    parts = [part for part in parts if part.samples.count] or list(parts[:1])
    whole = parts[0]
    for part in parts[1:]:
        samples, order = merge(whole.samples, part.samples)
        density, rgb = torch.cat([whole.density, part.density]), torch.cat([whole.rgb, part.rgb])
        depth = None
        if whole.depth is not None or part.depth is not None:
            depth = torch.cat([whole.distances, part.distances]).index_select(0, order)
        whole = ShadedSamples(samples, density.index_select(0, order), rgb.index_select(0, order), depth)
    return whole


def mix(
    weight: Float[Tensor, " M"], above: tuple[Tensor, Tensor], below: tuple[Tensor, Tensor]
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """Blend (density, color) of a layer with that of what lies below it.

    Densities are mixed by `weight`, colors by the densities that they come with. Optical depths of the
    same samples may take the place of densities.
    """
    upper, lower = weight * above[0], (1 - weight) * below[0]
    density = upper + lower
    fraction = (upper / density.clamp_min(1e-12))[:, None]
    return density, fraction * above[1] + (1 - fraction) * below[1]


def outside(regions: Sequence[Volume], points: Float[Tensor, "M 3"]) -> Tensor:
    """Tell which points none of the regions contains, bool [M]."""
    free = torch.ones(len(points), dtype=torch.bool, device=points.device)
    for region in regions:
        free &= ~region.contains(points)
    return free


def _background(field: RadianceField, shaded: ShadedSamples) -> Background:
    """Return the field's background color or, where it has none, each ray's last sample."""
    samples, count = shaded.samples, shaded.samples.ray_count
    distance = torch.full((count,), math.inf, device=shaded.density.device)
    if field.background is not None:
        return Background(field.background.to(distance).expand(count, 3), distance)
    rgb = distance.new_zeros(count, 3)
    sampled = (samples.offsets.diff() > 0).nonzero()[:, 0]
    last = samples.offsets[sampled + 1] - 1
    rgb[sampled], distance[sampled] = shaded.rgb[last], samples.distances[last]
    return Background(rgb, distance)
