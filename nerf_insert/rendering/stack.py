"""From rays to pixels: a base field, the layers over it, and the one rule that combines them.

    density, color (x, d) = topmost enabled layer whose region contains x, else base

Locality holds by construction: the base is always sampled, queried and composited by itself, over the
same rays in the same pieces whatever the layers are; only rays with a sample inside a region are then
composited again. Every other pixel keeps the very bits that the base gave it.

N is the number of rays, M the number of samples; coordinates and distances are in world units. Fields
may be on a GPU; rays, points and what is found along them are where whoever asks has them. Which rays meet
a region is found out there, too: masks and pixels then agree, whatever a GPU rounds differently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.kernels import Samples, composite, median_depth, merge
from nerf_insert.regions.region import Region

RAYS_AT_ONCE = 1 << 14
EARLY_STOP_EPS = 1e-4  # share of the light from which on what is behind does not matter
MAX_KEPT = 1 << 25  # pixels of remembered pictures, 20 bytes each
QUERY_CHUNKS = (6, 12, 24)  # of a ray's samples, after which it is asked whether it goes on


@runtime_checkable
class RadianceField(Protocol):
    """What can be a base: nerfacto, our own hash grid, or a formula in a test."""

    # sRGB, what shows where a ray meets nothing; none: each ray's last sample (nerfstudio's `last_sample`)
    background: Float[Tensor, "3"] | None

    def sample(self, rays: Rays) -> Samples:
        """Where along the rays there may be something."""

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Density per world unit, at least 0, and sRGB color in 0..1."""

    def is_empty(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Where `sample` looks at nothing, whatever `query` says is there."""


@runtime_checkable
class LayerField(Protocol):
    """What an enabled layer brings to rendering."""

    region: Region

    def sample(self, rays: Rays) -> Samples:
        """Samples inside the region, skipping where the layer is known to be empty."""

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]: ...

    def weight(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """The layer's share at points of its region: 1, but for the blend shell at the border."""


class Rendered(NamedTuple):
    rgb: Float[Tensor, "N 3"]  # sRGB 0..1 over the background
    accumulation: Float[Tensor, " N"]  # 0..1
    depth: Float[Tensor, " N"]  # distance at which half of the light is stopped; infinity: never


class Background(NamedTuple):
    """What shows where rays have met nothing."""

    rgb: Float[Tensor, "N 3"]  # sRGB
    distance: Float[Tensor, " N"]  # infinity: nowhere


class ShadedSamples(NamedTuple):
    """Samples with what is there."""

    samples: Samples
    density: Float[Tensor, " M"]
    rgb: Float[Tensor, "M 3"]


@dataclass(frozen=True)
class LayerStack:
    """A base and the enabled layers over it, bottom to top."""

    base: RadianceField
    layers: Sequence[LayerField] = ()
    _below: LayerStack | None = field(default=None, repr=False, compare=False)
    _kept: dict[Camera, Rendered] = field(default_factory=dict, repr=False, compare=False)

    @property
    def device(self) -> torch.device:
        """Where the base is; the processor if it is not a module."""
        weights = next(self.base.parameters(), None) if isinstance(self.base, nn.Module) else None
        return torch.device("cpu") if weights is None else weights.device

    def with_layer(self, layer: LayerField) -> LayerStack:
        """The same with one more layer on top. Its pictures are this one's where rays miss the layer: what is
        remembered of these is used, and need not be rendered again while the layer grows."""
        return LayerStack(self.base, (*self.layers, layer), self)

    @torch.no_grad()
    def render(self, rays: Rays, exclude: Region | None = None) -> Rendered:
        """The pixels of N rays. `carve`: a region taken to be empty."""
        parts = [
            self._render(rays[start : start + RAYS_AT_ONCE], exclude)
            for start in range(0, rays.count, RAYS_AT_ONCE)
        ]
        if not parts:
            return Rendered(rays.origins, rays.origins[:, 0], rays.origins[:, 0])
        return Rendered(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def render_masked(self, camera: Camera, mask: Bool[Tensor, "H W"]) -> Rendered:
        """The same for some pixels of a camera: [H, W, 3], [H, W], [H, W]; the others are as if there were
        nothing at all, not even a background."""
        shape, index = (camera.height, camera.width), mask.reshape(-1).nonzero()[:, 0]
        found = self._kept.get(camera)
        if found is not None:
            some = Rendered(*(column.reshape(-1, *column.shape[2:])[index] for column in found))
        else:
            some = self.render(camera.rays()[index])
        nothing = torch.zeros(*shape, 3), torch.zeros(shape), torch.full(shape, float("inf"))
        for whole, part in zip(nothing, some, strict=True):
            whole[mask] = part
        return Rendered(*nothing)

    def render_image(self, camera: Camera, exclude: Region | None = None, keep: bool = False) -> Rendered:
        """The same for all pixels of a camera. With `keep` it is remembered for the next time that this
        camera's picture is wanted, as long as there is room for it."""
        if keep and exclude is None and camera in self._kept:
            return self._kept[camera]
        shape, rays = (camera.height, camera.width), camera.rays()
        if exclude is None and self._below is not None:
            flat = [column.flatten(0, 1).clone() for column in self._below.render_image(camera, keep=True)]
            index = hits(self.layers[-1].region, rays).nonzero()[:, 0]
            for whole, part in zip(flat, self.render(rays[index]), strict=True):
                whole[index] = part
        else:
            flat = self.render(rays, exclude)
        picture = Rendered(*(column.view(*shape, *column.shape[1:]) for column in flat))
        if keep and exclude is None and (len(self._kept) + 1) * shape[0] * shape[1] <= MAX_KEPT:
            self._kept[camera] = picture
        return picture

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"], rendered: bool = False
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Density and color of the whole stack at points, blend shells included. With `rendered`, nothing
        where the base would not be looked at."""
        asked, points, directions = points.device, points.to(self.device), directions.to(self.device)
        if rendered:
            looked_at = (~self.base.is_empty(points)).nonzero()[:, 0]
            density, rgb = points.new_zeros(len(points)), torch.zeros_like(points)
            density[looked_at], rgb[looked_at] = self.base.query(points[looked_at], directions[looked_at])
        else:
            density, rgb = self.base.query(points, directions)
        for layer in self.layers:
            inside = layer.region.contains(points).nonzero()[:, 0]
            if len(inside):
                below = density[inside], rgb[inside]
                density[inside], rgb[inside] = blend(layer, points[inside], directions[inside], below)
        return density.to(asked), rgb.to(asked)

    def shade_outside(self, rays: Rays, region: Region) -> tuple[ShadedSamples, Background]:
        """All that the stack has outside a region, front to back along each ray, and what shows behind
        that; on the stack's device."""
        return self._overlay(rays.to(self.device), exclude=region)

    def _render(self, rays: Rays, exclude: Region | None) -> Rendered:
        asked, hit = rays.origins.device, torch.zeros_like(rays.origins[:, 0], dtype=torch.bool)
        for region in [layer.region for layer in self.layers] + ([exclude] if exclude is not None else []):
            hit |= hits(region, rays)
        index = hit.nonzero()[:, 0].to(self.device)
        rays = rays.to(self.device)
        rendered = _composite(*_shade(self.base, rays, hidden=EARLY_STOP_EPS))
        if len(index):
            edited = _composite(*self._overlay(rays[index], exclude))
            for whole, part in zip(rendered, edited, strict=True):
                whole[index] = part
        return Rendered(*(column.to(asked) for column in rendered))

    def _overlay(self, rays: Rays, exclude: Region | None) -> tuple[ShadedSamples, Background]:
        """What is seen along rays, each sample from the topmost owner of its place, and behind them."""
        owners = [layer.region for layer in self.layers] + ([exclude] if exclude is not None else [])
        base, behind = _shade(self.base, rays, EARLY_STOP_EPS, owners)
        seen = base.density > 0  # what is hidden was not looked at; the fewer there are to be sorted
        parts = [ShadedSamples(base.samples.select(seen), base.density[seen], base.rgb[seen])]
        for level, layer in enumerate(self.layers):
            samples = layer.sample(rays)
            points = samples.midpoints(rays.origins, rays.directions)
            free = torch.ones(samples.count, dtype=torch.bool, device=points.device)
            for region in owners[level + 1 :]:
                free &= ~region.contains(points)
            samples, points = samples.select(free), points[free]
            directions = rays.directions[samples.ray_index]
            density, rgb = layer.query(points, directions)
            shell = (layer.weight(points) < 1).nonzero()[:, 0]
            if len(shell):
                below = LayerStack(self.base, self.layers[:level])
                below = below.query(points[shell], directions[shell], rendered=True)
                density[shell], rgb[shell] = blend(layer, points[shell], directions[shell], below)
            parts.append(ShadedSamples(samples, density, rgb))
        return interleave(parts), behind


def hits(region: Region, rays: Rays) -> Bool[Tensor, " N"]:
    """Which rays have a sample in the region; the same answer for masks, fitting and rendering."""
    return region.entry(rays).isfinite()


def blend(
    layer: LayerField,
    points: Float[Tensor, "M 3"],
    directions: Float[Tensor, "M 3"],
    below: tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]],
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """A layer over what lies below it, at points of its region: densities are mixed by the layer's
    weight, colors by the densities that they come with."""
    return mix(layer.weight(points), layer.query(points, directions), below)


def mix(
    weight: Float[Tensor, " M"], above: tuple[Tensor, Tensor], below: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    upper, lower = weight * above[0], (1 - weight) * below[0]
    density = upper + lower
    share = (upper / density.clamp_min(1e-12))[:, None]
    return density, share * above[1] + (1 - share) * below[1]


def interleave(parts: Sequence[ShadedSamples]) -> ShadedSamples:
    """Samples of several sources over the same rays, sorted along each ray."""
    parts = [part for part in parts if part.samples.count] or list(parts[:1])
    whole = parts[0]
    for part in parts[1:]:
        samples, order = merge(whole.samples, part.samples)
        density, rgb = torch.cat([whole.density, part.density]), torch.cat([whole.rgb, part.rgb])
        whole = ShadedSamples(samples, density.index_select(0, order), rgb.index_select(0, order))
    return whole


def _composite(shaded: ShadedSamples, behind: Background) -> Rendered:
    samples = shaded.samples
    optical_depth = shaded.density * samples.lengths
    out = composite(optical_depth, shaded.rgb, samples.distances, samples.offsets)
    rgb = out.rgb + (1 - out.accumulation)[:, None] * behind.rgb
    depth = median_depth(optical_depth, samples.distances, samples.offsets)
    return Rendered(rgb.clamp(0, 1), out.accumulation, torch.where(depth.isfinite(), depth, behind.distance))


def _shade(
    source: RadianceField, rays: Rays, hidden: float = 0.0, without: Sequence[Region] = ()
) -> tuple[ShadedSamples, Background]:
    """What a field has along rays, outside of the regions `without`, and behind that. With `hidden`, samples
    that less than this share of the light reaches, whatever is in the regions, may be taken to be empty: a
    ray's first few samples are looked at first, the others where it goes on."""
    samples = source.sample(rays)
    points = samples.midpoints(rays.origins, rays.directions)
    if without:
        free = torch.ones(samples.count, dtype=torch.bool, device=points.device)
        for region in without:
            free &= ~region.contains(points)
        samples, points = samples.select(free), points[free]
    density, rgb = points.new_zeros(samples.count), points.new_zeros(samples.count, 3)
    rank = torch.arange(samples.count, device=points.device) - samples.offsets[samples.ray_index]
    optical_depth = points.new_zeros(rays.count)
    in_waves = hidden and source.background is not None
    edges = (0, *QUERY_CHUNKS, samples.count) if in_waves else (0, samples.count)
    for first, last in pairwise(edges):
        goes_on = (optical_depth < -math.log(max(hidden, 1e-30))).index_select(0, samples.ray_index)
        index = ((rank >= first) & (rank < last) & goes_on).nonzero()[:, 0]
        ray = samples.ray_index.index_select(0, index)
        found = source.query(points.index_select(0, index), rays.directions.index_select(0, ray))
        density[index], rgb[index] = found
        optical_depth.index_add_(0, ray, found[0] * samples.lengths.index_select(0, index))
    shaded = ShadedSamples(samples, density, rgb)
    return shaded, _behind(source, shaded)


def _behind(source: RadianceField, shaded: ShadedSamples) -> Background:
    """Behind each ray's samples: the field's background or, without one, what the last of them has."""
    samples, count = shaded.samples, shaded.samples.ray_count
    distance = torch.full((count,), math.inf, device=shaded.density.device)
    if source.background is not None:
        return Background(source.background.to(distance).expand(count, 3), distance)
    rgb = distance.new_zeros(count, 3)
    seen = (samples.offsets.diff() > 0).nonzero()[:, 0]
    last = samples.offsets[seen + 1] - 1
    rgb[seen], distance[seen] = shaded.rgb[last], samples.distances[last]
    return Background(rgb, distance)
