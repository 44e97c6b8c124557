"""All that one photograph shows within a mask, as a piece of space: a cone from the camera's center.

N points; angles in radians, seen from the camera; distances in world units.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import cKDTree
from torch import Tensor

from nerf_insert.geometry.cameras import Camera, Projection, Rays

MAP_SIDE = 512  # pixels of the map of angles along the picture's longer side, at most
BLOCKS = 40  # along the longer side: directions that stand for the mask in points off the picture


class ViewingCone:
    """The points whose projection falls into the mask of a camera's picture."""

    def __init__(self, camera: Camera, mask: Bool[Tensor, "H W"]):
        self.camera, self.mask = camera, mask

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """In front of the camera, within its picture, and there in the mask."""
        projection = self.camera.project(points)
        inside = projection.inside.clone()
        x, y = projection.pixels[inside].long().unbind(-1)
        inside[inside.clone()] = self.mask.to(points.device)[y, x]
        return inside

    def angle(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """The signed angle from the ray to a point to the nearest ray on the cone's border, negative
        inside. Right within `slack`; for points off the picture it may be too small by a few per cent of
        the picture's width, never too large."""
        projection = self.camera.project(points)
        angle = torch.empty_like(points[:, 0])
        inside = projection.inside
        angle[inside] = self._in_picture(projection, inside)
        outside = ~inside
        towards = torch.nn.functional.normalize(points[outside] - self.camera.center.to(points), dim=-1)
        angle[outside] = self._off_picture(towards)
        return angle

    def distance(self, points: Float[Tensor, "N 3"], slack: float = 0.0) -> Float[Tensor, " N"]:
        """The signed distance to the cone's border, negative inside. `slack` is taken off the angle of
        points outside: with self.slack the distance is never too large."""
        angle = self.angle(points)
        angle = torch.where(angle > 0, (angle - slack).clamp_min(0), angle).clamp(-np.pi / 2, np.pi / 2)
        return (points - self.camera.center.to(points)).norm(dim=-1) * torch.sin(angle)

    @cached_property
    def center_ray(self) -> Rays:
        """One ray, through the middle of the mask."""
        middle = self.mask.nonzero().float().mean(0).flip(-1) + 0.5
        return self.camera.rays_through(middle[None])

    @cached_property
    def slack(self) -> float:
        """An angle that `angle` is surely not off by more than: a pixel of the map and a bit."""
        return 1.25 * self._pixel

    @cached_property
    def width(self) -> float:
        """Twice the angle by which the mask's innermost pixel lies inside."""
        return max(-2 * float(self._map.min()), self._pixel)

    @cached_property
    def _small(self) -> Camera:
        return self.camera.scaled(min(1.0, MAP_SIDE / max(self.camera.width, self.camera.height)))

    @cached_property
    def _directions(self) -> Float[Tensor, "h w 3"]:
        """The rays of the map's pixels, with one more around the picture on each side."""
        y, x = torch.meshgrid(
            *(torch.arange(n + 2) for n in (self._small.height, self._small.width)), indexing="ij"
        )
        rays = self._small.rays_through(torch.stack([x.reshape(-1), y.reshape(-1)], -1) - 0.5)
        return rays.directions.view(*x.shape, 3)

    @cached_property
    def _pixel(self) -> float:
        """The largest angle between the rays of neighboring pixels of the map."""
        rays = self._directions
        return max(float(rays.diff(dim=k).norm(dim=-1).max()) for k in (0, 1))

    @cached_property
    def _map(self) -> Float[Tensor, "h w"]:
        """Signed angles at the map's pixels, never larger than true, to either side."""
        share = torch.nn.functional.adaptive_avg_pool2d(
            self.mask[None].float(), (self._small.height, self._small.width)
        )
        share = np.pad(share[0].numpy(), 1)
        inside, outside = share >= 1 - 1e-6, share <= 1e-6
        return torch.from_numpy(_angles(outside, self._directions) - _angles(inside, self._directions))

    @cached_property
    def _stand_ins(self) -> tuple[Float[Tensor, "B 3"], float]:
        """Directions of blocks of pixels that have a part of the mask; the angle within a block."""
        height, width = self.mask.shape
        block = max(1, -(-max(height, width) // BLOCKS))
        y, x = self.mask.nonzero().unbind(-1)
        blocks = torch.stack([x // block, y // block], -1).unique(dim=0).float()
        directions = self.camera.rays_through((blocks + 0.5) * block).directions
        return directions, 0.75 * block * self._pixel * self._small.width / width

    def _in_picture(self, projection: Projection, inside: Bool[Tensor, " N"]) -> Float[Tensor, " M"]:
        """Signed angles of the points that fall into the picture."""
        height, width = self._map.shape
        scale = torch.tensor([(width - 2) / self.camera.width, (height - 2) / self.camera.height])
        size = torch.tensor([width, height])
        place = (
            2 * (projection.pixels[inside] * scale.to(projection.pixels) + 1) / size.to(projection.pixels) - 1
        )
        return torch.nn.functional.grid_sample(
            self._map.to(place)[None, None], place[None, None], align_corners=False
        ).view(-1)

    def _off_picture(self, directions: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Angles from directions to the mask, less what is between the pixels of a block."""
        there, within = self._stand_ins
        near = [(part @ there.to(part).T).amax(-1) for part in directions.split(1 << 16)]
        cosine = torch.cat(near) if near else directions[:, 0]
        return (torch.acos(cosine.clamp(-1, 1)) - within).clamp_min(1e-4)


def _angles(here: Bool[np.ndarray, "h w"], directions: Float[Tensor, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """The angle from each pixel that is `here` to the border of the nearest that is not; 0 for these."""
    angle = np.zeros(here.shape, dtype=np.float32)
    border = ~here & ndimage.binary_dilation(here)
    if not border.any():
        return angle
    rays = directions.numpy()
    chord, nearest = cKDTree(rays[border]).query(rays[here])
    pixels = np.linalg.norm(np.argwhere(here) - np.argwhere(border)[nearest], axis=1)
    # the border runs half a pixel before the pixel's middle
    angle[here] = 2 * np.arcsin(np.minimum(chord / 2, 1)) * (pixels - 0.5) / pixels
    return angle
