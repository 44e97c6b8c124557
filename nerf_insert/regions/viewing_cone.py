"""Viewing cones: everything that a photograph shows within a mask, a cone from the camera's center.

N points; angles in radians, seen from the camera; distances in world units.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import KDTree
from torch import Tensor

from nerf_insert.geometry.cameras import Camera, Projection, Rays

MAP_SIDE = 512  # the most pixels of the map of angles along the image's longer side
BLOCKS = 40  # blocks along the longer side, whose directions stand for the mask outside the image


class ViewingCone:
    """The points whose projection falls into a mask of a camera's image.

    Args:
        camera: In world coordinates.
        mask: In the size of the camera's image.
    """

    def __init__(self, camera: Camera, mask: Bool[Tensor, "H W"]):
        self.camera, self.mask = camera, mask

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points are in front of the camera and project into the mask."""
        projection = self.camera.project(points)
        inside = projection.inside.clone()
        x, y = projection.pixels[inside].long().unbind(-1)
        inside[inside.clone()] = self.mask.to(points.device)[y, x]
        return inside

    def angle(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the signed angle from the ray to each point to the nearest ray on the cone's border.

        It is negative inside, and right within `slack`. For points outside the image it may be too small by a
        few per cent of the image's width, never too large.
        """
        projection = self.camera.project(points)
        angle = torch.empty_like(points[:, 0])
        inside = projection.inside
        angle[inside] = self._angle_inside_image(projection, inside)
        outside = ~inside
        towards = torch.nn.functional.normalize(points[outside] - self.camera.center.to(points), dim=-1)
        angle[outside] = self._angle_outside_image(towards)
        return angle

    def distance(self, points: Float[Tensor, "N 3"], slack: float = 0.0) -> Float[Tensor, " N"]:
        """Return the signed distance of points to the cone's border, negative inside.

        Args:
            points: World coordinates.
            slack: Subtracted from the angle of points outside; with `self.slack` the distance is never too
                large.
        """
        angle = self.angle(points)
        angle = torch.where(angle > 0, (angle - slack).clamp_min(0), angle).clamp(-np.pi / 2, np.pi / 2)
        return (points - self.camera.center.to(points)).norm(dim=-1) * torch.sin(angle)

    @cached_property
    def center_ray(self) -> Rays:
        """One ray, through the center of the mask."""
        middle = self.mask.nonzero().float().mean(0).flip(-1) + 0.5
        return self.camera.rays_through(middle[None])

    @cached_property
    def slack(self) -> float:
        """The largest possible error of `angle`: a little more than a pixel of the map."""
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
        """The ray directions of the map's pixels, with one more pixel around the image on each side."""
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
        """Signed angles at the map's pixels, never larger than the true ones on either side."""
        covered = torch.nn.functional.adaptive_avg_pool2d(
            self.mask[None].float(), (self._small.height, self._small.width)
        )
        covered = np.pad(covered[0].numpy(), 1)
        inside, outside = covered >= 1 - 1e-6, covered <= 1e-6
        return torch.from_numpy(_angles(outside, self._directions) - _angles(inside, self._directions))

    @cached_property
    def _block_directions(self) -> tuple[Float[Tensor, "B 3"], float]:
        """Directions of the blocks of pixels that have a part of the mask, and the angle within a block."""
        height, width = self.mask.shape
        block = max(1, -(-max(height, width) // BLOCKS))
        y, x = self.mask.nonzero().unbind(-1)
        blocks = torch.stack([x // block, y // block], -1).unique(dim=0).float()
        directions = self.camera.rays_through((blocks + 0.5) * block).directions
        return directions, 0.75 * block * self._pixel * self._small.width / width

    def _angle_inside_image(self, projection: Projection, inside: Bool[Tensor, " N"]) -> Float[Tensor, " M"]:
        """Return the signed angles of the points that project into the image."""
        height, width = self._map.shape
        scale = torch.tensor([(width - 2) / self.camera.width, (height - 2) / self.camera.height])
        size = torch.tensor([width, height])
        unit = (
            2 * (projection.pixels[inside] * scale.to(projection.pixels) + 1) / size.to(projection.pixels) - 1
        )
        return torch.nn.functional.grid_sample(
            self._map.to(unit)[None, None], unit[None, None], align_corners=False
        ).view(-1)

    def _angle_outside_image(self, directions: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the angles from directions to the mask, less the angle within a block."""
        there, within = self._block_directions
        near = [(part @ there.to(part).T).amax(-1) for part in directions.split(1 << 16)]
        cosine = torch.cat(near) if near else directions[:, 0]
        return (torch.acos(cosine.clamp(-1, 1)) - within).clamp_min(1e-4)


def _angles(here: Bool[np.ndarray, "h w"], directions: Float[Tensor, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Return the angle from each pixel that is `here` to the border of the nearest other pixel; else 0."""
    angle = np.zeros(here.shape, dtype=np.float32)
    border = ~here & ndimage.binary_dilation(here)
    if not border.any():
        return angle
    rays = directions.numpy()
    chord, nearest = KDTree(rays[border]).query(rays[here])
    pixels = np.linalg.norm(np.argwhere(here) - np.argwhere(border)[nearest], axis=1)
    # the border runs half a pixel before the pixel's middle
    angle[here] = 2 * np.arcsin(np.minimum(chord / 2, 1)) * (pixels - 0.5) / pixels
    return angle
