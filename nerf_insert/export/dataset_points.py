"""Sparse points for a dataset, which Gaussian splatting starts from: of what is there after the edits.

Outside the edits they are the capture's own points, where it has some: those in a layer's region, and those
that an edited photograph looks through, belong to what was there before. Everything else is sampled from the
surfaces that the edited scene shows. World coordinates; N points, P pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import warn
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.files import atomic_write
from nerf_insert.io.images import to_uint8
from nerf_insert.rendering.protocols import ShadeField
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.training.optimizer import at_step

SAMPLED = 100_000  # points sampled from a scene whose capture has none
IN_EDITS = 50_000  # points sampled at most where the edits show
MIN_OPACITY = 0.5  # of a pixel that shows a surface
IN_FRONT = 0.97  # of the distance of the edited surface: nearer points are not there any more
PROJECTABLE = ("PERSPECTIVE", "FISHEYE")

Cloud = tuple[Float[Tensor, "N 3"], UInt8[Tensor, "N 3"]]  # positions and sRGB


@dataclass
class DatasetPoints:
    """The points of a dataset, gathered view by view.

    Attributes:
        stack: The edited scene.
        views: How many views there will be.
        own: The capture's points; None: it has none.
    """

    stack: LayerStack
    views: int
    own: Cloud | None
    _sampled: list[Cloud] = field(default_factory=list)
    _added: int = 0

    def __post_init__(self) -> None:
        if self.own is not None:
            inside = torch.zeros(len(self.own[0]), dtype=torch.bool)
            for layer in self.stack.layers:
                if isinstance(layer, ShadeField):  # changes the light on what is there
                    continue
                inside |= layer.region.contains(self.own[0])
            self._keep(~inside)

    def add_view(self, camera: Camera, mask: Bool[Tensor, "H W"], edited: Rendered | None) -> None:
        """Take in a view.

        Args:
            camera: The view's camera.
            mask: Where the edits change the surface that is seen.
            edited: The edited scene in those P pixels, row by row; None: there are none.
        """
        number, self._added = self._added, self._added + 1
        pixels = mask.reshape(-1).nonzero()[:, 0]
        if edited is not None and len(pixels):
            if self.own is not None and camera.model in PROJECTABLE:
                self._drop_seen_through(camera, mask, edited.depth)
            self._sample(camera, pixels, edited, -(-IN_EDITS // self.views), number)
        if self.own is None:
            count = -(-SAMPLED // self.views)
            chosen = torch.randint(
                camera.width * camera.height, (count,), generator=at_step(1, number)
            ).unique()
            chosen = chosen[~mask.reshape(-1)[chosen]]
            self._sample(camera, chosen, self.stack.render(camera.rays()[chosen]), count, number)

    def cloud(self) -> Cloud:
        """Return all points."""
        parts = [*([self.own] if self.own is not None else []), *self._sampled]
        none: Cloud = torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.uint8)
        positions, colors = zip(*(parts or [none]), strict=True)
        return torch.cat(positions), torch.cat(colors)

    def _drop_seen_through(self, camera: Camera, mask: Tensor, depth: Float[Tensor, " P"]) -> None:
        assert self.own is not None
        points = self.own[0]
        surface = torch.full(mask.shape, -float("inf"))
        surface[mask] = depth
        projection = camera.project(points)
        inside = projection.inside.nonzero()[:, 0]
        x, y = projection.pixels[inside].long().unbind(-1)
        away = (points[inside] - camera.center).norm(dim=-1)
        gone = torch.zeros(len(points), dtype=torch.bool)
        gone[inside] = away < IN_FRONT * surface[y, x]
        self._keep(~gone)

    def _sample(self, camera: Camera, pixels: Tensor, seen: Rendered, count: int, number: int) -> None:
        """Add at most `count` points on what pixels (flat indices) show."""
        solid = (seen.depth.isfinite() & (seen.accumulation > MIN_OPACITY)).nonzero()[:, 0]
        solid = solid[torch.randperm(len(solid), generator=at_step(0, number))[:count]]
        rays = camera.rays()[pixels[solid]]
        self._sampled.append((rays.at(seen.depth[solid]), to_uint8(seen.rgb[solid])))

    def _keep(self, kept: Bool[Tensor, " N"]) -> None:
        assert self.own is not None
        self.own = self.own[0][kept], self.own[1][kept]


def read_points(file: Path, capture: Capture) -> Cloud | None:
    """Read a capture's sparse points from a PLY file; None if it cannot be used, which is said.

    Returns:
        The points relative to the capture's origin.
    """
    import trimesh

    try:
        cloud: Any = trimesh.load(file, file_type="ply", process=False)
        positions = capture.inside(torch.from_numpy(np.array(cloud.vertices, np.float64)))
        colors = np.asarray(getattr(cloud, "colors", np.zeros((0, 4))))
    except Exception as error:  # a damaged file fails in any way
        warn(
            f"the capture's points {file} cannot be read ({error}): the dataset's are sampled from the scene"
        )
        return None
    finite = positions.isfinite().all(-1)
    if not finite.any():
        warn(f"the capture's points {file} are empty: the dataset's are sampled from the scene")
        return None
    if colors.ndim != 2 or len(colors) != len(positions):
        colors = np.full((len(positions), 3), 128)  # as nerfstudio's own viewers show points without color
    return positions[finite], torch.from_numpy(colors[:, :3].astype(np.uint8))[finite]


def write_points(file: Path, cloud: Cloud, capture: Capture) -> None:
    """Write points as a binary PLY, as nerfstudio reads them, in the capture's own coordinates.

    Raises:
        RunError: The file cannot be written.
    """
    kind, code = ("double", "<f8") if any(capture.origin) else ("float", "<f4")
    rows = np.zeros(
        len(cloud[0]), [(axis, code) for axis in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
    )
    columns = [*capture.outside(cloud[0]).T.numpy(), *cloud[1].T.numpy()]
    for name, column in zip(rows.dtype.names or (), columns, strict=True):
        rows[name] = column
    head = "".join(
        f"property {kind if name in 'xyz' else 'uchar'} {name}\n" for name in rows.dtype.names or ()
    )
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{head}end_header\n"
    atomic_write(file, head.encode() + rows.tobytes())
