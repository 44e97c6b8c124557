"""Pinhole and fisheye cameras with lens distortion, and rays, in world coordinates.

Frames and units: *world* is the frame of the capture's transforms.json, in its own units (meters or
not). Camera axes are OpenGL's, as in nerfstudio: +x right, +y up, looking along -z. Pixel
coordinates are (x, y) with the origin at the top left corner of the image, so that the center of
the first pixel is (0.5, 0.5). N is the number of rays or points, H and W the image's size.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.frames import orthonormal_frame

with warnings.catch_warnings():  # about torch.jit, which is nerfstudio's business
    warnings.simplefilter("ignore")
    from nerfstudio.cameras.camera_utils import radial_and_tangential_undistort
    from nerfstudio.cameras.cameras import Cameras, CameraType

PROJECTABLE = ("PERSPECTIVE", "FISHEYE")


@dataclass(frozen=True, eq=False)
class Rays:
    """N rays in world coordinates; `directions` have length one, so distances are in world units.

    Attributes:
        origins: Where the rays start.
        directions: Unit vectors.
        cameras: The cameras whose pixels the rays go through; none: they are of no camera.
        camera_index: Which of them, for each ray; it stays on the CPU.
    """

    origins: Float[Tensor, "N 3"]
    directions: Float[Tensor, "N 3"]
    cameras: tuple[Camera, ...] = ()
    camera_index: Int64[Tensor, " N"] | None = None

    @property
    def count(self) -> int:
        """The number of rays."""
        return self.origins.shape[0]

    def __getitem__(self, index: slice | Int64[Tensor, " M"] | Bool[Tensor, " N"]) -> Rays:
        """Select rays by a slice, by their numbers or by a mask."""
        numbers = self.camera_index
        if numbers is not None:
            numbers = numbers[index if isinstance(index, slice) else index.cpu()]
        return Rays(self.origins[index], self.directions[index], self.cameras, numbers)

    def to(self, device: torch.device) -> Rays:
        """Move the rays to a device."""
        return replace(self, origins=self.origins.to(device), directions=self.directions.to(device))

    def at(self, distances: Float[Tensor, " N"]) -> Float[Tensor, "N 3"]:
        """Return the points at `distances` along the rays, world coordinates."""
        return self.origins + distances[:, None] * self.directions


class Projection(NamedTuple):
    """The projections of N points into an image."""

    pixels: Float[Tensor, "N 2"]  # (x, y); meaningful where `inside`
    distance: Float[Tensor, " N"]  # from the camera's center, world units
    inside: Bool[Tensor, " N"]  # in front of the camera and within the image


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera of a capture or of a camera path.

    Attributes:
        c2w: Camera-to-world pose: rotation and center, OpenGL axes.
        fx: Focal length in pixels, horizontal.
        fy: Focal length in pixels, vertical.
        cx: Principal point, pixel coordinate x.
        cy: Principal point, pixel coordinate y.
        width: Image width in pixels.
        height: Image height in pixels.
        distortion: OpenCV's parameters in nerfstudio's order: k1, k2, k3, k4, p1, p2 (zeros: none).
        model: The name of a nerfstudio CameraType; `project` knows PERSPECTIVE and FISHEYE.
        reduction: How many times smaller the image is than the one that it was made from, at least 1. Splats
            are blurred by a part of a pixel of the latter.
    """

    c2w: Float[Tensor, "3 4"]
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    distortion: tuple[float, ...] = (0.0,) * 6
    model: str = "PERSPECTIVE"
    reduction: float = 1.0

    @staticmethod
    def of(cameras: Cameras, index: int) -> Camera:
        """Convert the `index`-th of nerfstudio's cameras."""
        one = cameras[index : index + 1]
        lens = one.distortion_params
        return Camera(
            c2w=one.camera_to_worlds[0].float(),
            fx=one.fx.item(),
            fy=one.fy.item(),
            cx=one.cx.item(),
            cy=one.cy.item(),
            width=int(one.width.item()),
            height=int(one.height.item()),
            distortion=(0.0,) * 6 if lens is None else tuple(lens[0].tolist()),
            model=CameraType(int(one.camera_type.item())).name,
        )

    @cached_property
    def nerfstudio(self) -> Cameras:
        """The camera as a nerfstudio batch of one."""
        return Cameras(
            camera_to_worlds=self.c2w[None],
            fx=self.fx,
            fy=self.fy,
            cx=self.cx,
            cy=self.cy,
            width=self.width,
            height=self.height,
            distortion_params=torch.tensor([self.distortion]) if any(self.distortion) else None,
            camera_type=CameraType[self.model],
        )

    @property
    def center(self) -> Float[Tensor, " 3"]:
        """The camera's center, world coordinates."""
        return self.c2w[:, 3]

    def scaled(self, factor: float) -> Camera:
        """Scale the image size by a factor (rounded, at least 1 pixel); the field of view stays."""
        return self.resized(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def resized(self, width: int, height: int) -> Camera:
        """Stretch the image to another size; the field of view stays."""
        x, y = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * x,
            cx=self.cx * x,
            fy=self.fy * y,
            cy=self.cy * y,
            width=width,
            height=height,
            reduction=max(1.0, self.reduction / (x * y) ** 0.5),
        )

    def refocused(self, factor: float) -> Camera:
        """Scale the intrinsics, not the image, for files whose intrinsics are those of another size.

        A principal point near the middle of the image stays.
        """
        centered = abs(self.cx / self.width - 0.5) < 0.1 and abs(self.cy / self.height - 0.5) < 0.1
        shift = 1.0 if centered else factor
        return replace(self, fx=self.fx * factor, fy=self.fy * factor, cx=self.cx * shift, cy=self.cy * shift)

    def rays(self) -> Rays:
        """Return the rays through the centers of all pixels, row by row: N = H * W."""
        y, x = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        return self.rays_through(torch.stack([x.reshape(-1), y.reshape(-1)], -1) + 0.5)

    def rays_through(self, pixels: Float[Tensor, "N 2"]) -> Rays:
        """Return the rays through pixel coordinates (x, y); nerfstudio undoes the lens distortion.

        A pixel's ray is the same to the last bit whichever other pixels come with it.
        """
        pixels = pixels.to(self.c2w)
        if self.model not in PROJECTABLE:
            indices = torch.zeros(pixels.shape[0], 1, dtype=torch.long)
            bundle = self.nerfstudio._generate_rays_from_coords(indices, pixels.flip(-1))
            return Rays(bundle.origins.contiguous(), bundle.directions.contiguous())
        directions = camera_directions(
            pixels,
            (self.fx, self.fy, self.cx, self.cy),
            pixels.new_tensor(self.distortion) if any(self.distortion) else None,
            self.model == "FISHEYE",
            self.c2w[:, :3],
        )
        numbers = torch.zeros(len(pixels), dtype=torch.int64)
        return Rays(self.center.expand_as(directions).contiguous(), directions, (self,), numbers)

    def project(self, points: Float[Tensor, "N 3"]) -> Projection:
        """Project points into the image, with lens distortion.

        Args:
            points: World coordinates.

        Returns:
            Pixel coordinates, distances from the camera's center, and which points are in front of the camera
            and within the image.

        Raises:
            InputError: The camera is panoramic or of another model whose projection is not defined here.
        """
        if self.model not in PROJECTABLE:
            raise InputError(
                f"cameras of type {self.model} cannot be edited: regions need to be projected into the "
                f"photographs, which works for {' and '.join(PROJECTABLE).lower()} cameras"
            )
        c2w = self.c2w.to(points)
        right, up, back = c2w[:, :3].unbind(1)
        offset = points - c2w[:, 3]
        # OpenCV's axes, +y down and looking along +z; sums rather than a matrix product, whose rounding
        # depends on how many points there are
        a, b, c = offset.unbind(-1)
        x, y, z = (a * axis[0] + b * axis[1] + c * axis[2] for axis in (right, -up, -back))
        distance = _length(a, b, c)
        if self.model == "FISHEYE":
            off_axis = _length(x, y).clamp_min(1e-12)
            # the half-angle formula, for atan2's last bit depends on its place in the batch
            angle = 2 * torch.atan(off_axis / (distance + z).clamp_min(1e-12))
            x, y = x * (angle / off_axis), y * (angle / off_axis)
            in_front = distance > 1e-9
        else:
            in_front = z > 1e-6 * distance.clamp_min(1e-9)
            z = torch.where(in_front, z, torch.ones_like(z))
            x, y = x / z, y / z
        in_front = in_front & (_length(x, y) <= self._radius)
        x, y = self._distort(x, y)
        pixels = torch.stack([self.fx * x + self.cx, self.fy * y + self.cy], -1)
        pixels = torch.where(in_front[:, None], pixels, torch.full_like(pixels, -1))
        size = pixels.new_tensor([self.width, self.height])
        inside = in_front & (pixels >= 0).all(-1) & (pixels < size).all(-1)
        return Projection(pixels, distance, inside)

    def _distort(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """OpenCV's lens model on coordinates of the image plane (for fisheye: angles off the axis)."""
        if not any(self.distortion):
            return x, y
        k1, k2, k3, k4, p1, p2 = self.distortion
        r = x * x + y * y
        radial = 1 + r * (k1 + r * (k2 + r * (k3 + r * k4)))
        return (
            x * radial + 2 * p1 * x * y + p2 * (r + 2 * x * x),
            y * radial + 2 * p2 * x * y + p1 * (r + 2 * y * y),
        )

    @cached_property
    def _radius(self) -> float:
        """The largest off-axis radius (tangent, for fisheye angle) that the image shows.

        Farther out the distortion polynomial turns round and would fold points back into the image: the limit
        is where it does, or the image's border where that comes first.
        """
        along, zero = torch.linspace(0, 1, 33), torch.zeros(33)
        edges = [(along, zero), (along, zero + 1), (zero, along), (zero + 1, along)]
        border = torch.cat([torch.stack(edge, -1) for edge in edges]) * torch.tensor(
            [self.width, self.height]
        )
        directions = self.rays_through(border).directions
        z = -(directions @ self.c2w[:, 2])
        off_axis = (1 - z * z).clamp_min(0).sqrt()
        radius = torch.atan2(off_axis, z) if self.model == "FISHEYE" else off_axis / z.clamp_min(1e-6)
        return min(1.001 * float(radius[radius.isfinite()].max()), self._turn)

    @cached_property
    def _turn(self) -> float:
        """The radius at which the radial distortion r (1 + k1 r^2 + ...) stops growing; infinity if never."""
        k1, k2, k3, k4 = self.distortion[:4]
        roots = np.roots(np.trim_zeros([9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0], "f"))  # of the slope, in r^2
        real = roots.real[(abs(roots.imag) < 1e-9) & (roots.real > 0)]
        return float(np.sqrt(real.min())) if real.size else float("inf")


def rays_around(center: Float[Tensor, "3"], directions: Float[Tensor, "N 3"], pixels: int = 512) -> Rays:
    """Return rays from a point in all directions, through the images of six cameras that form a cube.

    Splats are rasterized for the rays of cameras; for others, each ray looks at every splat.

    Args:
        center: Where the rays start, world coordinates.
        directions: Unit vectors.
        pixels: Along a side of the cameras' images.
    """
    cameras = []
    forward = torch.cat([torch.eye(3), -torch.eye(3)]).to(center)
    for axis in forward:
        pose = torch.cat([orthonormal_frame(-axis).T, center[:, None]], 1)
        half = pixels / 2
        cameras.append(Camera(pose, half, half, half, half, pixels, pixels))
    numbers = (directions @ forward.T).argmax(1).cpu()
    return Rays(center.expand_as(directions).contiguous(), directions, tuple(cameras), numbers)


def camera_directions(
    pixels: Float[Tensor, "N 2"],
    lens: Sequence[float | Float[Tensor, " N"]],
    distortion: Float[Tensor, "*N 6"] | None,
    fisheye: bool | Bool[Tensor, " N"],
    axes: Float[Tensor, "*N 3 3"],
) -> Float[Tensor, "N 3"]:
    """Return the unit directions of the rays through pixels, of one camera or of a camera each.

    Args:
        pixels: (x, y).
        lens: fx, fy, cx, cy.
        distortion: OpenCV's parameters in nerfstudio's order; None: none.
        fisheye: Whether the lens is one.
        axes: The camera's axes as columns, world coordinates.
    """
    fx, fy, cx, cy = lens
    x, y = (pixels[:, 0] - cx) / fx, (pixels[:, 1] - cy) / fy
    if distortion is not None:
        x, y = radial_and_tangential_undistort(torch.stack([x, y], -1), distortion).unbind(-1)
    z = torch.ones_like(x)
    fisheye = torch.as_tensor(fisheye, device=x.device)
    if fisheye.any():
        angle = _length(x, y).clamp_max(torch.pi)
        shrink = torch.sinc(angle / torch.pi)  # sin(angle) / angle, defined on the axis too
        x, y = (torch.where(fisheye, value * shrink, value) for value in (x, y))
        z = torch.where(fisheye, torch.cos(angle), z)
    right, up, back = axes.unbind(-1)
    directions = x[:, None] * right - y[:, None] * up - z[:, None] * back
    return directions / _length(*directions.unbind(-1))[:, None]


def _length(*axes: Tensor) -> Tensor:
    """The Euclidean length, from operations that round the same wherever an element stands."""
    first, *others = (axis * axis for axis in axes)
    return sum(others, first).sqrt()
