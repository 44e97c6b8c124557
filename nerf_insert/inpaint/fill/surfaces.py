"""Flat surfaces around a region as textures, completed where the object hid them.

A texture has n x n texels; world coordinates and units, N points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray
from scipy.ndimage import binary_propagation, distance_transform_edt, gaussian_filter
from torch import Tensor

from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.inpaint.fill.depth_views import Evidence, Sight, settle
from nerf_insert.inpaint.fill.planes import Plane
from nerf_insert.inpaint.fill.texture import complete, membrane
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack

TEXELS = 512  # along each side of a texture, at most
FINE = 0.7  # side of a texel in pixels of the nearer photographs
BEYOND = 3  # texels around the region in which its cut may show
SOFT = 2.0  # texels over which a texture fades into the scene
SPECK = 0.06  # of the radius that is looked at: smaller holes are mistakes of the scene's geometry
ENOUGH = 2  # views that have to agree
NEAR = 0.03  # of that radius: how far what stands on a surface darkens and tints it
FLAT = 0.05  # share of a surface in the region, hidden by its content, up to which nothing stands there
FOG = 0.08  # half the width, in that of the surface there, up to which what hides it is no thing
OPAQUE = 0.3  # optical thickness of what stands on a surface, from which on it hides it


@dataclass(frozen=True, eq=False)
class Surface:
    """A plane with a texture where it is to be painted."""

    plane: Plane
    texel: float  # side of a texel, world units
    texture: Float[Tensor, "n n 3"]  # sRGB
    share: Float[Tensor, "n n"]  # how much the texture counts, 0..1, beside the scene's own color

    def at(self, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, " N"]]:
        """Colors of points of the plane, and how much they count."""
        texels = self.plane.coordinates(points) / self.texel + len(self.share) / 2
        found = sample_bilinear(torch.cat([self.texture, self.share[..., None]], -1), texels)
        return found[:, :3], found[:, 3]


@dataclass(frozen=True, eq=False)
class Blank:
    """A plane whose texture is still to be made: its texels as points."""

    plane: Plane
    texel: float
    points: Float[Tensor, "N 3"]
    near: Bool[Tensor, " N"]  # near enough to the region for the views to say something about them

    @property
    def radius(self) -> float:
        """Half of the square's side, world units."""
        return self.texel * len(self.points) ** 0.5 / 2

    @staticmethod
    def of(
        plane: Plane,
        middle: Float[Tensor, " 3"],
        radius: float,
        sights: Sequence[Sight],
        photographs: Sequence[UInt8[Tensor, "H W 3"]],
    ) -> Blank:
        """The square of the plane around the foot of `middle`, as fine as the nearer photographs show it,
        at the height at which they agree."""
        plane = replace(plane, origin=middle - plane.height(middle[None]) * plane.axes[2])
        few = plane.points(_square(48, radius / 24))
        plane = settle(plane, few[(few - middle).norm(dim=-1) < 0.7 * radius], sights, photographs)
        pixel = torch.stack([(s.view.camera.center - plane.origin).norm() / s.view.camera.fx for s in sights])
        n = max(8, min(TEXELS, int(2 * radius / (FINE * float(pixel.quantile(0.1))))))
        points = plane.points(_square(n, 2 * radius / n))
        return Blank(plane, 2 * radius / n, points, (points - middle).norm(dim=-1) < 0.9 * radius)

    def grid(self, values: Tensor) -> ndarray:
        n = round(len(self.points) ** 0.5)
        return values.view(n, n, *values.shape[1:]).numpy()


def paint(
    blank: Blank, evidence: Evidence, scene: LayerStack, region: Region, keep_seen: bool, seed: int
) -> Surface | None:
    """The surface with all that the object hid completed; None if there is nothing to paint on it.

    `keep_seen`: whether what photographs show in the region stays."""
    speck = SPECK * blank.radius / blank.texel
    margin = 2 * blank.texel + blank.plane.tolerance + NEAR * blank.radius
    covered = _widened(blank.grid(_covered(blank, scene, region)), margin / blank.texel)
    inside = blank.grid(_inside(blank, region))
    kept = blank.grid(evidence.clear >= ENOUGH) & ~covered
    if not keep_seen:
        kept &= ~_widened(inside, 1)
    past = blank.grid((evidence.through > 2 * evidence.on) & (evidence.through >= ENOUGH)) & ~kept
    # A speck on its own is a mistake; what hangs together with a large opening is its border.
    ended = binary_propagation(_opened(past, speck) & past, mask=past)
    hidden = covered | blank.grid(evidence.on + evidence.through < ENOUGH) | (past & ~ended)
    shown = (evidence.shown >= ENOUGH) & (evidence.shown > evidence.barred / 2)
    wanted = (blank.grid(shown) & hidden | inside) & ~kept & ~ended
    gaps = ~_opened(~(kept | wanted), speck) & _widened(wanted, speck)
    wanted = (wanted | gaps) & ~kept & ~ended & blank.grid(blank.near)
    # Does the surface go on where it is hidden? Its known end is carried on through what is hidden.
    wanted &= membrane(kept[..., None].astype(np.float32), kept | ended, wanted)[..., 0] > 0.5
    drawn = (wanted | (kept & _widened(inside, BEYOND))) & blank.grid(blank.near)
    if not kept.any() or not drawn.any():
        return None
    texture = complete(blank.grid(evidence.color()), kept, wanted, seed)
    nearest = distance_transform_edt(~(kept | wanted), return_distances=False, return_indices=True)
    fading = np.minimum(2 * gaussian_filter(drawn.astype(np.float32), SOFT), 1) * kept
    share = np.maximum(fading, drawn.astype(np.float32))
    texture = texture[tuple(nearest)]  # so that colors never mix with what is no color
    return Surface(blank.plane, blank.texel, torch.from_numpy(texture), torch.from_numpy(share))


def stands(blank: Blank, evidence: Evidence, region: Region) -> bool:
    """Whether the region holds something that hides the surface there from views."""
    inside = blank.grid(_inside(blank, region))
    hidden = blank.grid(evidence.shown >= ENOUGH) & inside
    # Streaks and dots are fog before the surface.
    hidden = _opened(hidden, FOG * inside.sum() ** 0.5) & hidden
    return bool(hidden.sum() > FLAT * inside.sum())


def _square(n: int, step: float) -> Float[Tensor, "N 2"]:
    """Coordinates of n x n points around the origin, row by row."""
    axis = (torch.arange(n) + 0.5 - n / 2) * step
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([u.reshape(-1), v.reshape(-1)], -1)


def _covered(blank: Blank, scene: LayerStack, region: Region) -> Bool[Tensor, " N"]:
    """The texels with something of the region's content close over them: too close for the photographs
    to tell it apart."""
    normal, limit = blank.plane.axes[2], blank.plane.tolerance
    thickness = torch.zeros(len(blank.points))
    for height in (1.0, 1.5, 2.0, 2.5):
        above = blank.points + height * limit * normal
        index = region.contains(above).nonzero()[:, 0]
        thickness[index] += scene.query(above[index], (-normal).expand(len(index), 3))[0] * limit / 2
    return thickness > OPAQUE


def _inside(blank: Blank, region: Region) -> Bool[Tensor, " N"]:
    """The texels at which the region passes through the surface."""
    step = blank.plane.tolerance * blank.plane.axes[2]
    return torch.stack([region.contains(blank.points + k * step) for k in (-1, 0, 1)]).any(0)


def _widened(mask: Bool[ndarray, "n n"], by: float) -> Bool[ndarray, "n n"]:
    return distance_transform_edt(~mask) <= by if mask.any() else mask


def _opened(mask: Bool[ndarray, "n n"], by: float) -> Bool[ndarray, "n n"]:
    """The mask without what a disc of radius `by` does not fit into."""
    return _widened(distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1] > by, by)
