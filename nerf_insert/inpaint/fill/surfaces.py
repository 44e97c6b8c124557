"""Flat surfaces around a region as textures, completed where the region's content hid them.

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

from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.geometry.masks import inner_distance
from nerf_insert.geometry.planes import Plane
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.inpaint.fill.depth_views import RegionDepthView
from nerf_insert.inpaint.fill.observations import PlaneObservations, align_height
from nerf_insert.inpaint.fill.texture import complete, membrane
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack

MAX_TEXELS = 512  # along each side of a texture
TEXEL_PIXELS = 0.7  # side of a texel in pixels of the nearer photographs
CUT_MARGIN = 3  # texels around the region in which its cut may show
FADE_TEXELS = 2.0  # over which a texture fades into the scene
MAX_HOLE = 0.06  # of the radius that is looked at: smaller holes are errors of the scene's geometry
MIN_VIEWS = 2  # that have to agree
FRINGE = 1.5  # texels beside one that cannot be trusted, whose colors are mixed with its own
USUAL = 0.75  # quantile of the numbers of views that is usual
MIN_SHARE, MANY = 0.2, 0.6  # of the usual number: fewer do not count; fewer have to agree
MAX_SPREAD, SPREAD_NOISE = 4.0, 0.03  # times the median difference of the views' colors, and a term to it
CONTACT_MARGIN = 0.03  # of that radius: how far an object that stands on a surface darkens and tints it
MAX_HIDDEN_FLAT = 0.05  # fraction of a surface in the region that is hidden although no object stands there
MAX_FOG_WIDTH = 0.08  # half width, in that of the surface there, up to which what hides it is no object
OPAQUE_DEPTH = 0.3  # optical depth of what lies close over a surface, above which it hides it


@dataclass(frozen=True, eq=False)
class TexturedPlane:
    """A plane with a texture where it is to be painted."""

    plane: Plane
    texel: float  # side of a texel, world units
    texture: Float[Tensor, "n n 3"]  # sRGB
    opacity: Float[Tensor, "n n"]  # 0..1, over the scene's own color
    solid: Float[Tensor, "n n"]  # 1 where the surface is: what shows below it is a hole of the scene

    def sample(
        self, points: Float[Tensor, "N 3"], below: Bool[Tensor, " N"] | None = None
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, " N"]]:
        """Return the colors (sRGB) and the opacity at points of the plane, world coordinates.

        Args:
            points: World coordinates.
            below: Where the scene shows what is below the surface.
        """
        texels = self.plane.coordinates(points) / self.texel + len(self.opacity) / 2
        maps = torch.cat([self.texture, self.opacity[..., None], self.solid[..., None]], -1)
        found = sample_bilinear(maps, texels)
        opacity = found[:, 3]
        if below is not None:
            opacity = torch.where(below, torch.maximum(opacity, found[:, 4]), opacity)
        return found[:, :3], opacity

    def seen_at(self, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "N 3"], Bool[Tensor, " N"]]:
        """Return the texture's colors at points, and which of the points lie on the surface."""
        color, solid = self.sample(points, torch.ones(len(points), dtype=torch.bool))
        return color, (self.plane.height(points).abs() < self.plane.tolerance) & (solid > 0.99)


@dataclass(frozen=True, eq=False)
class UnfinishedPlane:
    """A plane whose texture still lacks what the region's content hid.

    Attributes:
        surface: The plane, with what photographs show of it.
        points: Its texels, world coordinates.
        kept: The texels whose colors are known.
        wanted: Those that are to be completed from them.
    """

    surface: TexturedPlane
    points: Float[Tensor, "N 3"]
    kept: Bool[ndarray, "n n"]
    wanted: Bool[ndarray, "n n"]

    def complete(self, shade: ShadeLayer | None, seed: int) -> TexturedPlane:
        """Return the plane with all of its texture.

        Args:
            shade: A change of the light that photographs do not show yet: a shadow that is taken back.
            seed: Random seed of the completion.
        """
        texture = self.surface.texture
        if shade is not None:
            texture = shade.shade(self.points, texture.view(-1, 3)).view_as(texture)
        colors = complete(texture.numpy(), self.kept, self.wanted, seed)
        blank = ~(self.kept | self.wanted)
        nearest = np.asarray(distance_transform_edt(blank, return_distances=False, return_indices=True))
        colors = colors[tuple(nearest)]  # colors never mix with texels that have none
        return replace(self.surface, texture=torch.from_numpy(colors))


@dataclass(frozen=True, eq=False)
class TexelGrid:
    """The texels of a plane whose texture is still to be made, as points."""

    plane: Plane
    texel: float  # side of a texel, world units
    points: Float[Tensor, "N 3"]  # row by row
    near: Bool[Tensor, " N"]  # close enough to the region for the views to say something about them

    @property
    def radius(self) -> float:
        """Half of the square's side, world units."""
        return self.texel * len(self.points) ** 0.5 / 2

    @staticmethod
    def around(
        plane: Plane,
        center: Float[Tensor, " 3"],
        radius: float,
        views: Sequence[RegionDepthView],
        photographs: Sequence[UInt8[Tensor, "_ _ 3"]],
    ) -> TexelGrid:
        """Lay out a square of a plane, as fine as the nearer photographs show it.

        The plane is moved to the height at which the photographs agree.

        Args:
            plane: The plane.
            center: The square lies around the foot of this point, world coordinates.
            radius: Half of the square's side, world units.
            views: Depth around the region.
            photographs: Of the same views, sRGB.
        """
        plane = replace(plane, origin=center - plane.height(center[None]) * plane.axes[2])
        few = plane.points(_square(48, radius / 24))
        plane = align_height(plane, few[(few - center).norm(dim=-1) < 0.7 * radius], views, photographs)
        cameras = [view.view.camera for view in views]
        pixel = torch.stack([(camera.center - plane.origin).norm() / camera.fx for camera in cameras])
        n = max(8, min(MAX_TEXELS, int(2 * radius / (TEXEL_PIXELS * float(pixel.quantile(0.1))))))
        points = plane.points(_square(n, 2 * radius / n))
        return TexelGrid(plane, 2 * radius / n, points, (points - center).norm(dim=-1) < 0.9 * radius)

    def grid(self, values: Tensor) -> ndarray:
        """Return values of the texels as an array [n, n, ...]."""
        n = round(len(self.points) ** 0.5)
        return values.view(n, n, *values.shape[1:]).numpy()


def draw_texture(
    texels: TexelGrid,
    seen: PlaneObservations,
    scene: LayerStack,
    region: Region,
    keep_seen: bool,
) -> UnfinishedPlane | None:
    """Draw a plane's texture from photographs, and find what the region's content hid of it.

    Args:
        texels: The texels.
        seen: What the views show at the texels.
        scene: The scene, with the region's content.
        region: The region.
        keep_seen: Whether what photographs show in the region stays.

    Returns:
        The plane with what is known of its texture; None if there is nothing to paint on it.
    """
    hole = MAX_HOLE * texels.radius / texels.texel
    margin = 2 * texels.texel + texels.plane.tolerance + CONTACT_MARGIN * texels.radius
    covered = _dilated(texels.grid(_covered(texels, scene, region)), margin / texels.texel)
    inside = texels.grid(_inside(texels, region))
    kept = ~_dilated(~texels.grid(_is_trusted(seen)), FRINGE) & ~covered
    if not keep_seen:
        kept &= ~_dilated(inside, 1)
    open_ = texels.grid((seen.through > 2 * seen.on) & (seen.through >= MIN_VIEWS)) & ~kept
    # A small hole on its own is an error; what is connected to a large opening is its border.
    ended = np.asarray(binary_propagation(_opened(open_, hole) & open_, mask=open_), bool)
    hidden = covered | texels.grid(seen.on + seen.through < MIN_VIEWS) | (open_ & ~ended)
    # A surface that lies behind the object goes on outside of the region. What lies in its plane but only
    # in the region is the object's own, such as its top, level with a shelf beside it.
    kept &= np.asarray(binary_propagation(kept & ~_dilated(inside, FRINGE), mask=kept | hidden), bool)
    shown = (seen.shown >= MIN_VIEWS) & (seen.shown > seen.barred / 2)
    wanted = (texels.grid(shown) & hidden | inside) & ~kept & ~ended
    gaps = ~_opened(~(kept | wanted), hole) & _dilated(wanted, hole)
    wanted = (wanted | gaps) & ~kept & ~ended & texels.grid(texels.near)
    # Whether the surface continues where it is hidden: its known end is extended through what is hidden.
    wanted &= membrane(kept[..., None].astype(np.float32), kept | ended, wanted)[..., 0] > 0.5
    drawn = (wanted | (kept & _dilated(inside, CUT_MARGIN))) & texels.grid(texels.near)
    if not kept.any() or not drawn.any():
        return None
    fading = np.minimum(2 * gaussian_filter(drawn.astype(np.float32), FADE_TEXELS), 1) * kept
    opacity = np.maximum(fading, drawn.astype(np.float32))
    solid = (~_opened(~(kept | wanted), hole) & ~ended & texels.grid(texels.near)).astype(np.float32)
    maps = (torch.from_numpy(values) for values in (texels.grid(seen.color()), opacity, solid))
    return UnfinishedPlane(TexturedPlane(texels.plane, texels.texel, *maps), texels.points, kept, wanted)


def is_hidden_by_object(texels: TexelGrid, seen: PlaneObservations, region: Region) -> bool:
    """Tell whether the region holds an object that hides the surface there from views.

    Streaks and dots before a surface are fog, not objects.
    """
    inside = texels.grid(_inside(texels, region))
    hidden = texels.grid(seen.shown >= MIN_VIEWS) & inside
    hidden = _opened(hidden, MAX_FOG_WIDTH * inside.sum() ** 0.5) & hidden
    return bool(hidden.sum() > MAX_HIDDEN_FLAT * inside.sum())


def _is_trusted(seen: PlaneObservations) -> Bool[Tensor, " N"]:
    """The texels that about as many views show clear as others, or fewer of them alike.

    At the foot of an object a few views, in which it is misplaced by a little, show its colors on the
    surface.
    """
    clear = seen.clear >= MIN_VIEWS
    if not bool(clear.any()):
        return clear
    usual = float(seen.clear[clear].quantile(USUAL))
    spread = seen.spread()
    limit = MAX_SPREAD * float(spread[clear].median()) + SPREAD_NOISE
    return clear & (seen.clear >= MIN_SHARE * usual) & ((spread < limit) | (seen.clear >= MANY * usual))


def _square(n: int, step: float) -> Float[Tensor, "N 2"]:
    """Coordinates of n x n points around the origin, row by row."""
    axis = (torch.arange(n) + 0.5 - n / 2) * step
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([u.reshape(-1), v.reshape(-1)], -1)


def _covered(texels: TexelGrid, scene: LayerStack, region: Region) -> Bool[Tensor, " N"]:
    """The texels with content of the region so close over them that photographs cannot tell it apart."""
    normal, limit = texels.plane.axes[2], texels.plane.tolerance
    optical_depth = torch.zeros(len(texels.points))
    for height in (1.0, 1.5, 2.0, 2.5):
        above = texels.points + height * limit * normal
        index = region.contains(above).nonzero()[:, 0]
        density, _ = scene.query(above[index], (-normal).expand(len(index), 3))
        optical_depth[index] += density * limit / 2
    return optical_depth > OPAQUE_DEPTH


def _inside(texels: TexelGrid, region: Region) -> Bool[Tensor, " N"]:
    """The texels at which the region passes through the surface."""
    step = texels.plane.tolerance * texels.plane.axes[2]
    return torch.stack([region.contains(texels.points + k * step) for k in (-1, 0, 1)]).any(0)


def _dilated(mask: Bool[ndarray, "n n"], by: float) -> Bool[ndarray, "n n"]:
    return inner_distance(~mask) <= by if mask.any() else mask


def _opened(mask: Bool[ndarray, "n n"], by: float) -> Bool[ndarray, "n n"]:
    """The mask without the parts that a disc of radius `by` does not fit into."""
    return _dilated(inner_distance(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1] > by, by)
