"""A base made of Gaussian splats.

N rays, M samples, S splats. Rays of a camera see the splats as the reference implementation rasterizes them:
projected into the camera's image, composited in the order of their depth. Other rays see each splat where it
is densest along the ray. A sample along a ray is a splat with the opacity that it has there; where regions
cut, it counts as being at its densest point on the ray. Everything is in world coordinates and on the CPU.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.kernels import (
    ImagePlane,
    Projected,
    RasterPlan,
    Samples,
    SplatCells,
    composite,
    median_depth,
    plan_raster,
    project,
    rasterize,
    ray_hits,
    spherical_harmonics,
    splat_cells,
    splat_density,
    splat_hits,
)
from nerf_insert.kernels.reference_splatting import rotation_matrices
from nerf_insert.kernels.splat_cells import REACH
from nerf_insert.splats.splats import Splats

KIND = "splats"
VIEWS = 4  # whose projections are kept
MOST_LISTED = 1 << 22  # splats that rays may meet, by the bound of their tiles, to be listed at once
FREE_RAYS = 256  # of no camera, to be listed at once
WIDEST = 4.0  # largest tangent off the axis for which a projection into a plane is used
LENGTH = 1 / 64  # of a sample, in its distance: density times length is exact to 1e-5
THINNEST = 0.25  # of a splat's middle scale, at points
VISIBLE = 0.1  # opacity of the splats that count for the bounds


class SplatSamples(NamedTuple):
    """M splats along N rays, front to back.

    Attributes:
        samples: Intervals in the order in which the splats are composited.
        density: Of the intervals, per world unit.
        rgb: sRGB.
        depth: Distance along the ray to the splat's densest point on it.
    """

    samples: Samples
    density: Float[Tensor, " M"]
    rgb: Float[Tensor, "M 3"]
    depth: Float[Tensor, " M"]


class _View(NamedTuple):
    """The splats in a camera's image, with what a distorted lens shows beyond its borders."""

    plane: ImagePlane
    projected: Projected
    rgb: Float[Tensor, "S 3"]
    plan: RasterPlan


class SplatField(nn.Module):
    """Splats as a base: `RadianceField` and `SplatBase` for rendering.

    Args:
        splats: In world coordinates.
        scale: Field units per world unit, see `RadianceField.scale`.
        background: The color behind the splats, sRGB.
        antialiased: Whether the splats were trained with the opacity compensation of Mip-Splatting.
    """

    background: Float[Tensor, "3"]
    means: Float[Tensor, "S 3"]
    log_scales: Float[Tensor, "S 3"]
    quaternions: Float[Tensor, "S 4"]
    opacity_logits: Float[Tensor, " S"]
    sh: Float[Tensor, "S K 3"]

    def __init__(
        self,
        splats: Splats,
        scale: float,
        background: Float[Tensor, "3"] | None = None,
        antialiased: bool = False,
    ):
        super().__init__()
        names = ("means", "log_scales", "quaternions", "opacity_logits", "sh")
        for name, tensor in zip(names, splats.tensors(), strict=True):
            self.register_buffer(name, tensor)
        self.register_buffer("background", torch.zeros(3) if background is None else background)
        self.scale, self.antialiased = scale, antialiased
        self._views: OrderedDict[tuple, _View] = OrderedDict()
        self._lock = threading.Lock()
        self._volume: tuple[Tensor, Tensor, SplatCells] | None = None

    @property
    def splats(self) -> Splats:
        """The splats, world coordinates."""
        return Splats(self.means, self.log_scales, self.quaternions, self.opacity_logits, self.sh)

    def within(self, center: Float[Tensor, "3"], radius: float) -> SplatField:
        """Return the splats that reach into a ball, world coordinates."""
        reach = REACH * self.log_scales.amax(1).exp()
        near = (self.means - center).norm(dim=-1) - reach < radius
        return SplatField(self.splats[near], self.scale, self.background, self.antialiased)

    # --- rays of cameras

    renders_itself = True

    @torch.no_grad()
    def render(
        self, rays: Rays, stop: float = 0.0
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Return the rays' colors over the background, opacities and depths (infinity: nothing is there).

        `stop` is not used: splats have a limit of their own.
        """
        rgb = self.background.expand(rays.count, 3).clone()
        accumulation = torch.zeros(rays.count)
        depth = torch.full((rays.count,), math.inf)
        for index, camera in _by_camera(rays):
            some = rays[index]
            if camera is None:
                color, opacity, distance = self._composite(some)
            else:
                view = self._view(camera)
                pixels, stretch = _to_plane(view.plane, some)
                color, opacity, distance = rasterize(view.projected, view.rgb, pixels, view.plan)
                distance = distance * stretch
            rgb[index] = color + (1 - opacity)[:, None] * self.background
            accumulation[index], depth[index] = opacity, distance
        return rgb.clamp(0, 1), accumulation, depth

    @torch.no_grad()
    def splat_samples(self, rays: Rays, certain: Float[Tensor, " N"] | None = None) -> SplatSamples:
        """Return the splats along rays.

        Args:
            rays: World coordinates.
            certain: Distances up to which no splat is going to be taken away. Behind opaque ones in front of
                that distance, nothing is listed.
        """
        certain = torch.full((rays.count,), math.inf) if certain is None else certain
        parts, owners = [], []
        for index, camera in _by_camera(rays):
            some, until = rays[index], certain[index]
            if camera is None:
                whitening = self._whitening(self.log_scales.exp())
                hits = ray_hits(self.means, whitening, self._opacities(), some.origins, some.directions)
                ray = torch.arange(len(index)).repeat_interleave(hits.offsets.diff())
                away = self.means[hits.splat] - some.origins[ray]
                colors, order, depth = spherical_harmonics(away, self.sh[hits.splat]), hits.depth, hits.depth
            else:
                view = self._view(camera)
                pixels, stretch = _to_plane(view.plane, some)
                hits = splat_hits(view.projected, pixels, view.plan, until / stretch)
                ray = torch.arange(len(index)).repeat_interleave(hits.offsets.diff())
                colors = view.rgb[hits.splat]
                order = view.projected.depths[hits.splat] * stretch[ray]
                depth = (hits.depth * stretch[ray]).clamp_min(0)
            parts.append((order, -torch.log1p(-hits.alpha), colors, depth))
            owners.append(index[ray])
        if not parts:
            none = Samples.packed(certain[:0], certain[:0], torch.zeros(0, dtype=torch.int64), rays.count)
            return SplatSamples(none, certain[:0], certain[:0, None].expand(0, 3), certain[:0])
        order, optical_depth, rgb, depth = (torch.cat(column) for column in zip(*parts, strict=True))
        owner = torch.cat(owners)
        if len(parts) > 1:
            place = owner.argsort(stable=True)
            owner, order, optical_depth, rgb, depth = (
                column[place] for column in (owner, order, optical_depth, rgb, depth)
            )
        half = order * (LENGTH / 2)
        samples = Samples.packed(order - half, order + half, owner, rays.count)
        return SplatSamples(samples, optical_depth / samples.lengths, rgb, depth)

    def batches(self, rays: Rays) -> list[slice]:
        """Divide rays into runs whose splats can be listed at once in bounded memory."""
        most = torch.full((rays.count,), MOST_LISTED // FREE_RAYS)
        for index, camera in _by_camera(rays):
            if camera is not None:
                view = self._view(camera)
                most[index] = view.plan.most_hits(_to_plane(view.plane, rays[index])[0])
        run = most.cumsum(0) // MOST_LISTED
        ends = [*(run.diff().nonzero()[:, 0] + 1).tolist(), rays.count]
        return [slice(first, last) for first, last in pairwise([0, *ends])]

    def _composite(self, rays: Rays) -> tuple[Tensor, Tensor, Tensor]:
        """Composite rays of no camera."""
        parts = []
        for some in self.batches(rays):
            found = self.splat_samples(rays[some])
            optical_depth, offsets = found.density * found.samples.lengths, found.samples.offsets
            out = composite(optical_depth, found.rgb, found.depth, offsets)
            parts.append((out.rgb, out.accumulation, median_depth(optical_depth, found.depth, offsets)))
        rgb, accumulation, depth = (torch.cat(column) for column in zip(*parts, strict=True))
        return rgb, accumulation, depth

    def _view(self, camera: Camera) -> _View:
        """Return the splats as a camera sees them; those of the last few cameras are kept."""
        lens = (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height, camera.distortion)
        key = (*camera.c2w.reshape(-1).tolist(), *lens, camera.reduction)
        with self._lock:
            if key in self._views:
                self._views.move_to_end(key)
                return self._views[key]
        plane = image_plane(camera)
        projected = project(
            self.means, self.log_scales.exp(), self.quaternions, self._opacities(), plane, self.antialiased
        )
        rgb = spherical_harmonics(self.means - plane.center, self.sh)
        view = _View(plane, projected, rgb, plan_raster(projected, plane.width, plane.height))
        with self._lock:
            self._views[key] = view
            while len(self._views) > VIEWS:
                self._views.popitem(last=False)
        return view

    # --- points

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the density per world unit and the color.

        A splat's density is such that its optical depth along a ray through its center is that of its
        opacity.
        """
        if self._volume is None:
            # flat splats are taken to be thicker, for points to meet them
            scales = self.log_scales.exp()
            thick = torch.maximum(scales, THINNEST * scales.median(1, keepdim=True).values).clamp_min(1e-9)
            depth = -torch.log1p(-self._opacities().clamp_max(0.999))
            self._volume = self._whitening(thick), depth, splat_cells(self.means, thick)
        whitening, depth, cells = self._volume
        return splat_density(points, directions, self.means, whitening, depth, self.sh, cells)

    def is_empty(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Tell which points are never sampled: none."""
        return torch.zeros(len(points), dtype=torch.bool)

    def sample(self, rays: Rays) -> Samples:
        """Return the splats' intervals along rays, in the order in which they are composited."""
        return self.splat_samples(rays).samples

    def content_bounds(self) -> Float[Tensor, "2 3"]:
        """Return the box around all splats that can be seen."""
        seen = self._opacities() > VISIBLE
        if not seen.any():
            seen = torch.ones_like(seen)
        reach = 2 * self.log_scales[seen].exp().amax(1, keepdim=True)
        return torch.stack([(self.means[seen] - reach).amin(0), (self.means[seen] + reach).amax(0)])

    def _opacities(self) -> Float[Tensor, " S"]:
        return self.opacity_logits.sigmoid()

    def _whitening(self, scales: Float[Tensor, "S 3"]) -> Float[Tensor, "S 3 3"]:
        return rotation_matrices(self.quaternions).transpose(1, 2) / scales.clamp_min(1e-12)[:, :, None]

    # --- files

    def save(self, path: Path) -> None:
        """Write the field to a safetensors file.

        Raises:
            RunError: The file cannot be written.
        """
        metadata = {"kind": KIND, "scale": repr(self.scale), "antialiased": str(self.antialiased)}
        write_tensors(path, dict(self.state_dict()), metadata=metadata)

    @staticmethod
    def load(path: Path) -> SplatField:
        """Read a file that `save` wrote.

        Raises:
            InputError: The file is no such file.
        """
        tensors, metadata = read_tensors(path)
        try:
            names = ("means", "log_scales", "quaternions", "opacity_logits", "sh")
            splats = Splats(*[tensors[name] for name in names])
            scale, antialiased = float(metadata["scale"]), metadata["antialiased"] == "True"
            return SplatField(splats, scale, tensors["background"], antialiased).eval()
        except (KeyError, ValueError, TypeError) as cause:
            raise InputError(f"{path} does not hold splats: {cause}. Make the scene again.") from cause


def image_plane(camera: Camera) -> ImagePlane:
    """Return the pinhole camera in whose image a camera's rays see splats.

    It has the size that the camera's image was made from: a pixel of a small image would blur thin splats
    into thick ones, in front of what they show. It holds all that a distorted lens shows.
    """
    if camera.reduction > 1:
        grown = camera.scaled(camera.reduction)
        return image_plane(replace(grown, reduction=1.0))
    turn = camera.c2w[:, :3].T * torch.tensor([1.0, -1.0, -1.0])[:, None]
    plane = ImagePlane(
        turn, camera.center, camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height
    )
    if not any(camera.distortion):
        return plane
    left, top, right, bottom = _shown(camera, turn)
    shift = max(0.0, -left), max(0.0, -top)
    width, height = max(right, camera.width) + shift[0], max(bottom, camera.height) + shift[1]
    place = {"cx": camera.cx + shift[0], "cy": camera.cy + shift[1]}
    return plane._replace(width=math.ceil(width), height=math.ceil(height), **place)


def _shown(camera: Camera, turn: Float[Tensor, "3 3"]) -> tuple[float, float, float, float]:
    """Return the bounds of a camera's rays in its plane, pixels: left, top, right, bottom."""
    along = torch.linspace(0, 1, 33)
    edges = [(along, 0 * along), (along, 0 * along + 1), (0 * along, along), (0 * along + 1, along)]
    size = torch.tensor([camera.width, camera.height])
    border = torch.cat([torch.stack(edge, -1) for edge in edges]) * size
    x, y, z = (camera.rays_through(border).directions @ turn.T).unbind(1)
    z = z.clamp_min(1 / WIDEST)
    across, down = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    return float(across.min()), float(down.min()), float(across.max()), float(down.max())


def _to_plane(plane: ImagePlane, rays: Rays) -> tuple[Float[Tensor, "N 2"], Float[Tensor, " N"]]:
    """Return the pixels of rays in a plane, and the distance along each ray per unit of z."""
    # sums rather than a matrix product, whose rounding depends on how many rays there are
    d = rays.directions
    x, y, z = (d[:, 0] * axis[0] + d[:, 1] * axis[1] + d[:, 2] * axis[2] for axis in plane.rotation)
    pixels = torch.stack([plane.fx * x / z + plane.cx, plane.fy * y / z + plane.cy], 1)
    return pixels, 1 / z


def _by_camera(rays: Rays) -> list[tuple[Int64[Tensor, " M"], Camera | None]]:
    """Divide rays by their cameras; those of none, or of one that is no plane's, come with None."""
    whole = torch.arange(rays.count)
    if rays.camera_index is None:
        return [(whole, None)] if rays.count else []
    parts: list[tuple[Tensor, Camera | None]] = []
    other = []
    for number in rays.camera_index.unique().tolist():
        index = (rays.camera_index == number).nonzero()[:, 0]
        camera = rays.cameras[number]
        if camera.model == "PERSPECTIVE":
            parts.append((index, camera))
        else:
            other.append(index)
    return parts + ([(torch.cat(other), None)] if other else [])
