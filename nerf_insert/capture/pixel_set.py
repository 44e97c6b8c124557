"""The training pixels of several views in one list, each with its ray.

P is the number of pixels of all views together, N of those asked for. A pixel is named by its index in the
list: views in order, each row by row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from nerf_insert.geometry.cameras import PROJECTABLE, Camera, Rays, camera_directions


class PixelSet:
    """P pixels of several views: colors as uint8, rays computed when they are asked for.

    So a pixel takes three bytes, or four with alpha, whatever its lens.

    Args:
        cameras: One camera per view.
        images: The views' images, sRGB, or sRGB and alpha, of their cameras' sizes; or all their pixels.
    """

    def __init__(
        self, cameras: Sequence[Camera], images: Sequence[UInt8[Tensor, "_ _ C"]] | UInt8[Tensor, "P C"]
    ):
        if isinstance(images, Tensor):
            self.colors = images
        else:
            self.colors = torch.cat([image.reshape(-1, image.shape[-1]) for image in images])
        self.cameras = tuple(cameras)
        self._poses = torch.stack([camera.c2w for camera in cameras])
        sizes = torch.tensor([camera.width * camera.height for camera in cameras])
        self._widths = torch.tensor([camera.width for camera in cameras])
        self._ends = torch.cumsum(sizes, 0)
        self._begins = self._ends - sizes
        self._lenses = torch.tensor([[c.fx, c.fy, c.cx, c.cy] for c in cameras])
        self._distortion = torch.tensor([c.distortion for c in cameras])
        self._distorted = bool(self._distortion.any())
        self._fisheye = torch.tensor([camera.model == "FISHEYE" for camera in cameras])
        self._projectable = all(camera.model in PROJECTABLE for camera in cameras)

    def __len__(self) -> int:
        """The number of pixels, P."""
        return len(self.colors)

    def rays(self, index: Int64[Tensor, " N"]) -> Rays:
        """Return the rays through the centers of pixels, world coordinates: those of `Camera.rays`."""
        view, xy = self.view_and_xy(index)
        poses, pixels = self._poses[view], xy + 0.5
        if self._projectable:
            directions = camera_directions(
                pixels,
                self._lenses[view].unbind(1),
                self._distortion[view] if self._distorted else None,
                self._fisheye[view],
                poses[:, :, :3],
            )
        else:
            directions = torch.empty_like(poses[:, :, 3])
            for number in view.unique().tolist():
                own = view == number
                directions[own] = self.cameras[number].rays_through(pixels[own]).directions
        return Rays(poses[:, :, 3].contiguous(), directions, self.cameras, view)

    def images(self) -> list[UInt8[Tensor, "_ _ C"]]:
        """Return the source images, one per view."""
        ends, widths = self._ends.tolist(), self._widths.tolist()
        parts = zip([0, *ends], ends, widths, strict=False)
        return [self.colors[begin:end].view(-1, width, self.colors.shape[-1]) for begin, end, width in parts]

    def view_and_xy(self, index: Int64[Tensor, " N"]) -> tuple[Int64[Tensor, " N"], Int64[Tensor, "N 2"]]:
        """Return the view that each pixel belongs to, and its column and row there."""
        view = torch.searchsorted(self._ends, index, right=True)
        local, width = index - self._begins[view], self._widths[view]
        return view, torch.stack([local % width, local // width], -1)

    def rgba(self, index: Int64[Tensor, " N"]) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 1"]]:
        """Return sRGB in 0..1, and alpha (1 where the images have none)."""
        colors = self.colors[index].float() / 255
        if colors.shape[-1] == 3:
            return colors, torch.ones_like(colors[:, :1])
        return colors[:, :3], colors[:, 3:]
