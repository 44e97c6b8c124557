"""From rays to pixels: a base field, the layers over it, and the one rule that combines them.

    density, color (x, d) = topmost enabled layer whose region contains x, else base

A shade layer has no density and no color of its own: it multiplies the colors of all that lies below it in
the stack, in its own region (see fields/shade_layer.py).

Locality holds by construction: the base is always sampled, queried and composited by itself, over the
same rays in the same batches whatever the layers are; only rays with a sample inside a region are then
composited again. Every other pixel keeps the very bits that the base gave it.

N rays, M samples or points; coordinates and distances are in world units. Fields may be on a GPU; rays,
points and results are on the caller's device. Which rays meet a region is computed there, too, so that
masks and pixels agree, whatever a GPU rounds differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.kernels import Samples
from nerf_insert.regions.region import Region
from nerf_insert.rendering.protocols import LayerField, RadianceField, ShadeField, Volume
from nerf_insert.rendering.render_cache import RenderCache
from nerf_insert.rendering.shaded_samples import (
    Background,
    Rendered,
    ShadedSamples,
    batches,
    composite_over,
    interleave,
    mix,
    outside,
    put,
    rendered_alone,
    shade_field,
)

RAYS_PER_BATCH = 1 << 14


@dataclass(frozen=True)
class RenderOptions:
    """How a stack renders."""

    rays_per_batch: int = RAYS_PER_BATCH
    early_stop_eps: float = 1e-4
    """Transmittance below which what lies behind is left out (as in nerfacc); 0: nothing is left out."""


@dataclass(frozen=True, eq=False)
class LayerStack:
    """A base and the enabled layers over it, bottom to top.

    Attributes:
        below: A stack of the same base without the topmost layer, see `with_layer`.
        cache: Images rendered with `keep`. It belongs to this stack, whose fields must not change any more
            once it is used.
    """

    base: RadianceField
    layers: Sequence[LayerField | ShadeField] = ()
    options: RenderOptions = RenderOptions()
    below: LayerStack | None = field(default=None, repr=False)
    cache: RenderCache = field(default_factory=RenderCache, repr=False)

    @property
    def device(self) -> torch.device:
        """The device of the base; the CPU if the base is not a module."""
        weights = next(self.base.parameters(), None) if isinstance(self.base, nn.Module) else None
        return torch.device("cpu") if weights is None else weights.device

    @cached_property
    def fields(self) -> list[tuple[int, LayerField]]:
        """The layers that have a field, with their levels."""
        return [(n, layer) for n, layer in enumerate(self.layers) if not isinstance(layer, ShadeField)]

    @cached_property
    def shades(self) -> list[tuple[int, ShadeField]]:
        """The shade layers, with their levels."""
        return [(n, layer) for n, layer in enumerate(self.layers) if isinstance(layer, ShadeField)]

    @torch.no_grad()
    def light_taken(self, rays: Rays, distance: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the share of each ray's light that the layers take before a distance; the base left out.

        Args:
            rays: World coordinates; the result is on their device.
            distance: World units.
        """
        home, rays, distance = rays.origins.device, rays.to(self.device), distance.to(self.device)
        depth = torch.zeros_like(distance)
        for order, (_, layer) in enumerate(self.fields):
            samples = layer.sample(rays)
            samples = samples.select(samples.starts < distance[samples.ray_index])
            points = samples.midpoints(rays.origins, rays.directions)
            density, _ = layer.query(points, rays.directions[samples.ray_index])
            share = layer.weight(points)
            for _, above in self.fields[order + 1 :]:
                share = share * (1 - above.weight(points) * above.region.contains(points))
            depth.index_add_(0, samples.ray_index, share * density * (samples.ends - samples.starts))
        return -torch.expm1(-depth).to(home)

    def with_shade(self, shade: ShadeField) -> LayerStack:
        """Return a stack with a shade layer on top."""
        return LayerStack(self.base, (*self.layers, shade), self.options)

    def with_layer(self, layer: LayerField) -> LayerStack:
        """Return a stack with one more layer on top, which may still change.

        Where rays miss the layer, its images are those of this stack, which keeps them: they need not be
        rendered again while the layer grows.
        """
        return LayerStack(self.base, (*self.layers, layer), self.options, below=self)

    @torch.no_grad()
    def render(self, rays: Rays, exclude: Region | None = None) -> Rendered:
        """Render N rays.

        Args:
            rays: World coordinates; the result is on their device.
            exclude: A region taken to be empty.
        """
        size = self.options.rays_per_batch
        parts = [self._render(rays[start : start + size], exclude) for start in range(0, rays.count, size)]
        if not parts:
            return Rendered(rays.origins, rays.origins[:, 0], rays.origins[:, 0])
        return Rendered(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def render_masked(self, camera: Camera, mask: Bool[Tensor, "H W"]) -> Rendered:
        """Render the pixels of a camera where the mask is true: [H, W, 3], [H, W], [H, W].

        The others get rgb 0, accumulation 0 and depth infinity.
        """
        shape, index = (camera.height, camera.width), mask.reshape(-1).nonzero()[:, 0]
        kept = self.cache.get(camera)
        if kept is not None:
            some = Rendered(*(column.reshape(-1, *column.shape[2:])[index] for column in kept))
        else:
            some = self.render(camera.rays()[index])
        image = Rendered(torch.zeros(*shape, 3), torch.zeros(shape), torch.full(shape, float("inf")))
        for whole, part in zip(image, some, strict=True):
            whole[mask] = part
        return image

    def render_image(self, camera: Camera, exclude: Region | None = None, keep: bool = False) -> Rendered:
        """Render all pixels of a camera: [H, W, 3], [H, W], [H, W].

        Args:
            camera: The camera, of H times W pixels.
            exclude: A region taken to be empty.
            keep: Take the image from the cache, or keep it there if it fits. Not with `exclude`.
        """
        keep = keep and exclude is None
        if keep and (kept := self.cache.get(camera)) is not None:
            return kept
        shape, rays = (camera.height, camera.width), camera.rays()
        if exclude is None and self.below is not None:
            flat = [column.flatten(0, 1).clone() for column in self.below.render_image(camera, keep=True)]
            index = hits(self.layers[-1].region, rays).nonzero()[:, 0]
            for whole, part in zip(flat, self.render(rays[index]), strict=True):
                whole[index] = part
        else:
            flat = self.render(rays, exclude)
        image = Rendered(*(column.view(*shape, *column.shape[1:]) for column in flat))
        if keep:
            self.cache.put(camera, image)
        return image

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"], rendered: bool = False
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return density per world unit and sRGB color of the stack at points, blend shells included.

        Args:
            points: World coordinates.
            directions: Unit vectors from the camera towards the points.
            rendered: As rendering sees the base: without what lies where it is never sampled.
        """
        home, points, directions = points.device, points.to(self.device), directions.to(self.device)
        if rendered:
            sampled = (~self.base.is_empty(points)).nonzero()[:, 0]
            density, rgb = points.new_zeros(len(points)), torch.zeros_like(points)
            density[sampled], rgb[sampled] = self.base.query(points[sampled], directions[sampled])
        else:
            density, rgb = self.base.query(points, directions)
        for layer in self.layers:
            if isinstance(layer, ShadeField):
                rgb = layer.shade(points, rgb)
                continue
            inside = layer.region.contains(points).nonzero()[:, 0]
            if len(inside):
                below = density[inside], rgb[inside]
                density[inside], rgb[inside] = blend(layer, points[inside], directions[inside], below)
        return density.to(home), rgb.to(home)

    def shade_outside(self, rays: Rays, region: Region) -> tuple[ShadedSamples, Background]:
        """Return all that the stack has outside a region, and what shows behind that.

        Samples lie front to back along each ray, on the stack's device. For many rays, see `batches`.
        """
        return self._overlay(rays.to(self.device), exclude=region)

    @torch.no_grad()
    def render_outside(self, rays: Rays, exclude: Volume, background: tuple[float, float, float]) -> Rendered:
        """Render one batch of N rays without what lies in a part of space, over a color.

        Args:
            rays: World coordinates; the result is on their device.
            exclude: The part of space taken to be empty.
            background: sRGB in 0..1.
        """
        home, rays = rays.origins.device, rays.to(self.device)
        parts = []
        for some in batches(self.base, rays):
            samples, _ = self._overlay(rays[some], exclude)
            color = samples.rgb.new_tensor(background).expand(samples.samples.ray_count, 3)
            behind = Background(color, torch.full_like(color[:, 0], torch.inf))
            parts.append(composite_over(samples, behind))
        return Rendered(*(torch.cat(column).to(home) for column in zip(*parts, strict=True)))

    def _render(self, rays: Rays, exclude: Region | None) -> Rendered:
        """Render one batch: the base by itself, then the rays that meet a region.

        A base that renders itself does so ray by ray: rays that meet a region need not be among its rays.
        """
        home = rays.origins.device
        hit, shaded = (torch.zeros_like(rays.origins[:, 0], dtype=torch.bool) for _ in range(2))
        for region in [layer.region for _, layer in self.fields] + ([] if exclude is None else [exclude]):
            hit |= hits(region, rays)
        for _, shade in self.shades:
            shaded |= shade.meets(rays)
        shaded &= ~hit
        index, only_shaded, untouched = (
            mask.nonzero()[:, 0].to(self.device) for mask in (hit, shaded, ~(hit | shaded))
        )
        rays = rays.to(self.device)
        eps = self.options.early_stop_eps
        rendered, listed = rendered_alone(self.base, rays, eps, untouched), None
        if rendered is None:
            listed = shade_field(self.base, rays, eps)
            rendered = composite_over(*listed)
        for some in batches(self.base, rays[only_shaded]) if len(only_shaded) else []:
            few = only_shaded[some]
            if listed is None:  # only these rays' samples are listed
                part = self._shaded(*shade_field(self.base, rays[few], eps), rays[few], _all(few))
            else:
                part = self._shaded(*listed, rays, few)
            put(rendered, few, part)
        for some in batches(self.base, rays[index]) if len(index) else []:
            put(rendered, index[some], composite_over(*self._overlay(rays[index[some]], exclude)))
        return Rendered(*(column.to(home) for column in rendered))

    def _shaded(
        self, base: ShadedSamples, background: Background, rays: Rays, index: Int64[Tensor, " K"]
    ) -> Rendered:
        """Composite the base's samples on some of the rays once more, under all shade layers."""
        position = torch.full((rays.count,), -1, device=index.device)
        position[index] = torch.arange(len(index), device=index.device)
        ray = position.index_select(0, base.samples.ray_index)
        seen = (ray >= 0) & (base.density > 0)
        kept = seen.nonzero()[:, 0]
        some = base.select(seen)
        samples, rgb = some.samples, self._under_shades(some.points(rays), some.rgb, -1)
        samples = Samples.packed(samples.starts, samples.ends, ray.index_select(0, kept), len(index))
        part = some._replace(samples=samples, rgb=rgb)
        return composite_over(part, Background(background.rgb[index], background.distance[index]))

    def _under_shades(
        self, points: Float[Tensor, "M 3"], rgb: Float[Tensor, "M 3"], level: int
    ) -> Float[Tensor, "M 3"]:
        """Return the colors of a layer as the shade layers above its level change them; -1: of the base."""
        for above, shade in self.shades:
            if above > level:
                rgb = shade.shade(points, rgb)
        return rgb

    def _overlay(self, rays: Rays, exclude: Volume | None) -> tuple[ShadedSamples, Background]:
        """Return the samples along rays, each from the topmost owner of its point, and what is behind."""
        owners = self._owners(exclude)
        base, background = shade_field(self.base, rays, self.options.early_stop_eps, owners)
        # the fewer there are to be sorted; hidden samples have density 0, too
        base = base.select(base.density > 0)
        if self.shades:
            base = base._replace(rgb=self._under_shades(base.points(rays), base.rgb, -1))
        parts = [base]
        for order, (level, layer) in enumerate(self.fields):
            samples = layer.sample(rays)
            points = samples.midpoints(rays.origins, rays.directions)
            free = outside(owners[order + 1 :], points)
            samples, points = samples.select(free), points[free]
            directions = rays.directions[samples.ray_index]
            density, rgb = layer.query(points, directions)
            shell = (layer.weight(points) < 1).nonzero()[:, 0]
            if len(shell):
                lower = LayerStack(self.base, self.layers[:level], self.options)
                below = lower.query(points[shell], directions[shell], rendered=True)
                density[shell], rgb[shell] = blend(layer, points[shell], directions[shell], below)
            rgb = self._under_shades(points, rgb, level)
            parts.append(ShadedSamples(samples, density, rgb))
        return interleave(parts), background

    def _owners(self, exclude: Volume | None) -> list[Volume]:
        """The parts of space that hide the base, bottom to top."""
        return [*(layer.region for _, layer in self.fields), *([] if exclude is None else [exclude])]


def _all(index: Int64[Tensor, " K"]) -> Int64[Tensor, " K"]:
    """Return the numbers of the rays that were chosen by `index`."""
    return torch.arange(len(index), device=index.device)


def hits(region: Region, rays: Rays) -> Bool[Tensor, " N"]:
    """Tell which rays have a sample in the region; masks, fitting and rendering agree on it."""
    return region.entry(rays).isfinite()


def blend(
    layer: LayerField,
    points: Float[Tensor, "M 3"],
    directions: Float[Tensor, "M 3"],
    below: tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]],
) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
    """Return density and color of a layer over `below`, at points of its region (see `mix`)."""
    return mix(layer.weight(points), layer.query(points, directions), below)
