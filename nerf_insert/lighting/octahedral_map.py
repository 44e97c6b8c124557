"""Light from all directions in one square image, and averages of it over any solid angle.

The sphere is folded onto a square by way of an octahedron (Praun and Hoppe 2003), the image's border back
onto itself. A pyramid of ever smaller images holds averages. S is the number of pixels along the square's
side, M a number of directions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

PIXELS = 3.0  # that an interpolated value goes over: a box as wide has the same variance
SMALLEST = 4  # pixels along the side of the last image of the pyramid


def pixel_directions(side: int) -> Float[Tensor, "S S 3"]:
    """Return the unit directions of all pixels' centers."""
    line = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    z = 1 - x.abs() - y.abs()
    folded = (-z).clamp_min(0)
    x, y = x - folded * x.sign(), y - folded * y.sign()
    return normalize(torch.stack([x, y, z], -1), dim=-1)


def square_places(directions: Float[Tensor, "M 3"]) -> Float[Tensor, "M 2"]:
    """Return where directions lie in the square, (x, y) in 0..1."""
    x, y, z = (directions / directions.abs().sum(-1, keepdim=True).clamp_min(1e-9)).unbind(-1)
    sign_x, sign_y = (torch.where(value < 0, -1.0, 1.0) for value in (x, y))
    under = z < 0
    x, y = (
        torch.where(under, (1 - y.abs()) * sign_x, x),
        torch.where(under, (1 - x.abs()) * sign_y, y),
    )
    return torch.stack([x, y], -1) / 2 + 0.5


@dataclass(frozen=True, eq=False)
class OctahedralMap:
    """A quantity of each direction.

    Attributes:
        image: Rows by y, columns by x of the square; a power of two along a side.
    """

    image: Float[Tensor, "S S C"]

    @cached_property
    def _levels(self) -> tuple[Float[Tensor, "L C"], Int64[Tensor, " levels"]]:
        """All images of the pyramid, one behind the other, and where each begins."""
        image, flat, starts = self.image.movedim(-1, 0)[None], [], []
        while True:
            starts.append(sum(len(part) for part in flat))
            flat.append(image[0].flatten(1).T)
            if image.shape[-1] <= SMALLEST:
                return torch.cat(flat), torch.tensor(starts)
            image = avg_pool2d(image, 2)

    def nearest(self, directions: Float[Tensor, "M 3"]) -> Float[Tensor, "M C"]:
        """Return the values of the pixels that directions lie in."""
        side = len(self.image)
        column, row = (square_places(directions) * side).long().clamp(0, side - 1).unbind(-1)
        return self.image[row, column]

    def average(
        self, directions: Float[Tensor, "M 3"], solid_angle: float | Float[Tensor, " M"] = 0.0
    ) -> Float[Tensor, "M C"]:
        """Return averages around unit directions, smooth in both arguments.

        Args:
            directions: Unit vectors.
            solid_angle: What the average goes over, about, steradians; 0: the image as it is.
        """
        side, most = len(self.image), len(self._levels[1]) - 1
        # A pixel's solid angle: the square's area by how obliquely the octahedron's face is seen there.
        size = PIXELS * directions.abs().sum(-1) ** 3 * 4 / side**2
        angle = torch.as_tensor(solid_angle, dtype=torch.float32)
        level = (0.5 * torch.log2((angle / size).clamp_min(1e-9))).clamp(0, most)
        low = level.long().clamp_max(most - 1) if most else level.long()
        place = square_places(directions)
        fine = self._bilinear(place, low)
        if not most:
            return fine
        return torch.lerp(fine, self._bilinear(place, low + 1), (level - low)[:, None])

    def _bilinear(self, place: Float[Tensor, "M 2"], level: Int64[Tensor, " M"]) -> Float[Tensor, "M C"]:
        values, starts = self._levels
        side = (len(self.image) >> level)[:, None]
        at = place * side - 0.5
        corner = at.floor()
        fraction, corner, side = at - corner, corner.long(), side[:, 0]
        out = values.new_zeros(())
        for dx in (0, 1):
            for dy in (0, 1):
                x, y = corner[:, 0] + dx, corner[:, 1] + dy
                # Beyond the border the square goes on with itself, turned half about the border's middle.
                beyond_x, beyond_y = (x < 0) | (x >= side), (y < 0) | (y >= side)
                x, y = x.clamp_min(0).minimum(side - 1), y.clamp_min(0).minimum(side - 1)
                x, y = torch.where(beyond_y, side - 1 - x, x), torch.where(beyond_x, side - 1 - y, y)
                weight = (1 - (dx - fraction[:, 0]).abs()) * (1 - (dy - fraction[:, 1]).abs())
                out = out + weight[:, None] * values[starts[level] + y * side + x]
        return out


def cosine_average(light: OctahedralMap, side: int = 32) -> OctahedralMap:
    """Return the irradiance of surfaces by their normals, of light from all directions.

    A white diffuse surface shows it as its color.

    Args:
        light: Radiance.
        side: Pixels along the side of the result.
    """
    source = max(SMALLEST, min(len(light.image), 64))
    scale = len(light.image) // source
    small = avg_pool2d(light.image.movedim(-1, 0)[None], scale)[0].flatten(1).T
    directions = pixel_directions(source).view(-1, 3)
    size = directions.abs().sum(-1) ** 3
    weight = (pixel_directions(side).view(-1, 3) @ directions.T).clamp_min(0) * size
    weight = weight / weight.sum(-1, keepdim=True)
    return OctahedralMap((weight @ small).view(side, side, -1))


def spread_directions_average(
    values: Float[Tensor, "K C"], directions: Float[Tensor, "K 3"], side: int
) -> Float[Tensor, "S S C"]:
    """Return an image of values that are known in evenly spread directions, smoothed over their distance.

    Args:
        values: The values.
        directions: Unit vectors.
        side: Pixels along the image's side.
    """
    sharpness = len(directions) / 4  # of a lobe as wide as the directions are apart
    closeness = pixel_directions(side).view(-1, 3) @ directions.T
    weight = torch.softmax(sharpness * (closeness - 1), -1)
    return (weight @ values).view(side, side, -1)
