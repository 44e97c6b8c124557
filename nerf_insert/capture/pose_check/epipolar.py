"""How far matches are from where poses and lenses say.

M is the number of matches. Errors are in pixels of a photograph whose longer side has SIDE of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nerf_insert.capture.placement import extent_of
from nerf_insert.capture.pose_check.matching import SIDE, Match
from nerf_insert.geometry.cameras import Camera

PARALLAX = np.radians(1.0)  # between two rays, above which their crossing has a side
STILL = 1e-4  # baseline, in units of the cameras' extent, of photographs taken from the same place
MAX_MATCHES = 60  # of one pair


@dataclass(frozen=True)
class Posed:
    """The camera of a photograph in its full size; its pose is not used.

    `orientation` is the EXIF orientation that takes the file's pixels to the camera's.
    """

    camera: Camera
    orientation: int = 1


@dataclass(frozen=True)
class Fit:
    """How well poses fit.

    Attributes:
        pairs: The median error of each pair, pixels.
        in_front: The share of the matches, of those with parallax, that lie in front of both cameras.
    """

    pairs: np.ndarray
    in_front: float

    @property
    def error(self) -> float:
        """The median of the pairs' errors."""
        return float(np.median(self.pairs))

    @property
    def score(self) -> float:
        """The error; SIDE where most things would lie behind the cameras, which no right pose does."""
        return self.error if self.in_front >= 0.5 else float(SIDE)


def turned_pixels(pixels: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Return where pixels [M, 2] of a stored image of (width, height) are after an EXIF orientation."""
    x, y = pixels.T
    width, height = size
    if orientation >= 5:
        x, y, width, height = y, x, height, width
    if orientation in (2, 3, 6, 7):
        x = width - x
    if orientation in (3, 4, 7, 8):
        y = height - y
    return np.stack([x, y], 1)


def bearings(posed: Posed, pixels: np.ndarray) -> np.ndarray:
    """Return the unit directions [M, 3] of stored pixels in the camera's own frame, OpenGL's axes."""
    camera = posed.camera
    size = (camera.width, camera.height)
    stored = (size[1], size[0]) if posed.orientation >= 5 else size
    identity = Camera(
        torch.eye(3, 4), camera.fx, camera.fy, camera.cx, camera.cy, *size, camera.distortion, camera.model
    )
    at = turned_pixels(pixels, stored, posed.orientation)
    return identity.rays_through(torch.from_numpy(at).float()).directions.double().numpy()


class Rays:
    """The matches of all pairs as directions in the cameras' own frames, for poses that are to be tried."""

    def __init__(self, matches: Sequence[Match], posed: Sequence[Posed]):
        """Undistort the matched pixels.

        Args:
            matches: Of photographs, by their numbers.
            posed: The photographs' cameras, of their full size; their poses are not used.
        """
        step = [max(1, len(m.pixels) // MAX_MATCHES) for m in matches]
        self.counts = [len(m.pixels[::s]) for m, s in zip(matches, step, strict=True)]
        ends = [(m.first, m.second) for m in matches]
        self.first, self.second = (np.repeat([e[k] for e in ends], self.counts) for k in (0, 1))
        pixels = np.concatenate([m.pixels[::s] for m, s in zip(matches, step, strict=True)])
        self.a, self.b = np.zeros((2, len(self.first), 3))
        for number, camera in enumerate(posed):  # all pixels of a photograph at once
            for side, own, rays in ((0, self.first, self.a), (1, self.second, self.b)):
                here = own == number
                if here.any():
                    rays[here] = bearings(camera, pixels[here, side])
        # pixels that a radian has in a photograph of SIDE pixels
        self.focal = np.array([p.camera.fx * SIDE / max(p.camera.width, p.camera.height) for p in posed])

    def errors(self, c2w: np.ndarray) -> Fit:
        """Measure poses [P, 4, 4], camera-to-world, OpenGL's axes."""
        one, two = c2w[self.first], c2w[self.second]
        a = np.einsum("mij,mj->mi", one[:, :3, :3], self.a)
        b = np.einsum("mij,mj->mi", two[:, :3, :3], self.b)
        base = two[:, :3, 3] - one[:, :3, 3]
        length = np.linalg.norm(base, axis=1, keepdims=True)
        base = base / length.clip(1e-12)
        normal_a, normal_b = np.cross(base, a), np.cross(base, b)
        volume = np.abs((normal_a * b).sum(1))
        slope = np.sqrt((normal_a**2).sum(1) + (normal_b**2).sum(1))
        focal = np.sqrt(self.focal[self.first] * self.focal[self.second])
        errors = volume / slope.clip(1e-9) * focal
        still = length[:, 0] < STILL * max(extent_of(c2w[:, :3, 3]), 1e-12)  # then rays are parallel
        apart = np.linalg.norm(np.cross(a, b), axis=1)
        errors[still] = (apart * focal)[still]
        # where the rays come closest: a s - b t = base * length
        cosine = (a * b).sum(1)
        sine2 = (1 - cosine**2).clip(1e-12)
        along_a, along_b = (a * base).sum(1), (b * base).sum(1)
        s, t = (along_a - along_b * cosine) / sine2, (along_a * cosine - along_b) / sine2
        wide = sine2 > np.sin(PARALLAX) ** 2
        in_front = float(((s > 0) & (t > 0))[wide].mean()) if wide.any() else 1.0
        splits = np.split(errors, np.cumsum(self.counts)[:-1])
        return Fit(np.array([np.median(part) for part in splits]), in_front)
