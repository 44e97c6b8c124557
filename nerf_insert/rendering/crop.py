"""What a camera path shows of a scene: one box alone, over a color of its own. N rays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.regions.region import Region
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack, hits


@dataclass(frozen=True)
class AllBut:
    """Everything outside a region."""

    region: Region

    def contains(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Return which points (world coordinates) are outside the region."""
        return ~self.region.contains(points)


@dataclass(frozen=True, eq=False)
class CroppedStack:
    """A stack of which only what lies in a region is rendered.

    Attributes:
        stack: The scene.
        region: World coordinates.
        background: sRGB in 0..1, where nothing in the region is seen.
    """

    stack: LayerStack
    region: Region
    background: tuple[float, float, float]

    def render_image(self, camera: Camera) -> Rendered:
        """Render all pixels of a camera: [H, W, 3], [H, W], [H, W]."""
        shape = (camera.height, camera.width)
        rendered = self.render(camera.rays())
        return Rendered(*(column.view(*shape, *column.shape[1:]) for column in rendered))

    def render(self, rays: Rays) -> Rendered:
        """Render N rays, world coordinates."""
        rgb = torch.tensor(self.background).repeat(rays.count, 1)
        whole = Rendered(rgb, torch.zeros(rays.count), torch.full((rays.count,), torch.inf))
        index = hits(self.region, rays).nonzero()[:, 0]
        for some in index.split(self.stack.options.rays_per_batch):
            part = self.stack.render_outside(rays[some], AllBut(self.region), self.background)
            for column, values in zip(whole, part, strict=True):
                column[some] = values
        return whole
