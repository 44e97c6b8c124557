"""One pinhole or fisheye camera, with lens distortion, in world coordinates.

Frames and units: *world* is the frame of the capture's transforms.json, in its own units (metres or
not). Camera axes are OpenGL's, as in nerfstudio: +x right, +y up, looking along -z. Pixel
coordinates are (x, y) with the origin at the top left corner of the picture, so that the centre of
the first pixel is (0.5, 0.5). N is the number of rays or points, H and W the picture's size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from nerfstudio.cameras.camera_utils import _compute_residual_and_jacobian
from nerfstudio.cameras.cameras import Cameras, CameraType
from torch import Tensor

from nerf_insert.errors import InputError

PROJECTABLE = ("PERSPECTIVE", "FISHEYE")


class Rays(NamedTuple):
    """N rays in world coordinates; `directions` have length one, so distances are in world units."""

    origins: Float[Tensor, "N 3"]
    directions: Float[Tensor, "N 3"]

    def __getitem__(self, index) -> Rays:  # type: ignore[override]  # rays are indexed, not fields
        return Rays(self.origins[index], self.directions[index])

    @property
    def count(self) -> int:
        return self.origins.shape[0]

    def at(self, distances: Float[Tensor, " N"]) -> Float[Tensor, "N 3"]:
        return self.origins + distances[:, None] * self.directions


class Projection(NamedTuple):
    """Where N points fall in a picture."""

    pixels: Float[Tensor, "N 2"]  # (x, y); meaningful where `inside`
    distance: Float[Tensor, " N"]  # from the camera's centre, world units
    inside: Bool[Tensor, " N"]  # in front of the camera and within the picture


@dataclass(frozen=True, eq=False)
class Camera:
    """A camera of a capture or of a camera path.

    `distortion` is OpenCV's as nerfstudio orders it: k1, k2, k3, k4, p1, p2 (zeros: none). `model` is
    the name of a nerfstudio CameraType; `project` knows PERSPECTIVE and FISHEYE.
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

    @staticmethod
    def of(cameras: Cameras, index: int) -> Camera:
        """The `index`-th of nerfstudio's cameras."""
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
        """This camera as a batch of one of nerfstudio's."""
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
    def centre(self) -> Float[Tensor, " 3"]:
        return self.c2w[:, 3]

    def scaled(self, factor: float) -> Camera:
        """The same camera with a picture `factor` times as wide and high (rounded, at least 1 pixel)."""
        return self.resized(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def resized(self, width: int, height: int) -> Camera:
        """The same camera with its picture stretched to another size."""
        x, y = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * x,
            cx=self.cx * x,
            fy=self.fy * y,
            cy=self.cy * y,
            width=width,
            height=height,
        )

    def rays(self) -> Rays:
        """Rays through the centres of all pixels, row by row: N = H * W."""
        y, x = torch.meshgrid(torch.arange(self.height), torch.arange(self.width), indexing="ij")
        return self.rays_through(torch.stack([x.reshape(-1), y.reshape(-1)], -1) + 0.5)

    def rays_through(self, pixels: Float[Tensor, "N 2"]) -> Rays:
        """Rays through pixel coordinates (x, y); the lens distortion is undone by nerfstudio."""
        cameras = self.nerfstudio
        bundle = cameras._generate_rays_from_coords(
            camera_indices=torch.zeros(pixels.shape[0], 1, dtype=torch.long),
            coords=pixels.flip(-1).float(),
        )
        return Rays(bundle.origins.contiguous(), bundle.directions.contiguous())

    def project(self, points: Float[Tensor, "N 3"]) -> Projection:
        """Where points fall in the picture, with lens distortion. Points behind the camera are outside.

        Raises InputError for panoramic and other models that nerfstudio can cast rays for but whose
        projection is not defined here.
        """
        if self.model not in PROJECTABLE:
            raise InputError(
                f"cameras of type {self.model} cannot be edited: regions need to be projected into the "
                f"photographs, which works for {' and '.join(PROJECTABLE).lower()} cameras"
            )
        c2w = self.c2w.to(points)
        local = (points - c2w[:, 3]) @ c2w[:, :3]
        x, y, z = local[:, 0], -local[:, 1], -local[:, 2]  # OpenCV: +y down, looking along +z
        distance = local.norm(dim=-1)
        if self.model == "FISHEYE":
            in_front = distance > 1e-9
            off_axis = torch.hypot(x, y).clamp_min(1e-12)
            scale = torch.atan2(off_axis, z) / off_axis
            x, y = x * scale, y * scale
        else:
            in_front = z > 1e-6 * distance.clamp_min(1e-9)
            z = torch.where(in_front, z, torch.ones_like(z))
            x, y = x / z, y / z
        # Far outside the picture the distortion polynomial folds back into it: only points within the
        # undistorted corners' radius have an image.
        in_front = in_front & (torch.hypot(x, y) <= self._radius)
        if any(self.distortion):
            lens = torch.tensor(self.distortion, dtype=points.dtype, device=points.device)
            zero = torch.zeros_like(x)
            x, y = _compute_residual_and_jacobian(x, y, zero, zero, lens)[:2]
        pixels = torch.stack([self.fx * x + self.cx, self.fy * y + self.cy], -1)
        size = torch.tensor([self.width, self.height], dtype=pixels.dtype, device=pixels.device)
        inside = in_front & (pixels >= 0).all(-1) & (pixels < size).all(-1)
        return Projection(pixels, distance, inside)

    @cached_property
    def _radius(self) -> float:
        """Largest undistorted off-axis radius (tangent, or angle for fisheye) on the picture's border."""
        w, h = float(self.width), float(self.height)
        along = torch.linspace(0, 1, 33)
        zero, one = torch.zeros_like(along), torch.ones_like(along)
        border = torch.cat(
            [
                torch.stack([along * w, zero], -1),
                torch.stack([along * w, one * h], -1),
                torch.stack([zero, along * h], -1),
                torch.stack([one * w, along * h], -1),
            ]
        )
        local = self.rays_through(border).directions @ self.c2w[:, :3]
        off_axis, z = torch.hypot(local[:, 0], local[:, 1]), -local[:, 2]
        radius = torch.atan2(off_axis, z) if self.model == "FISHEYE" else off_axis / z.clamp_min(1e-6)
        return float(radius.max()) * 1.001
