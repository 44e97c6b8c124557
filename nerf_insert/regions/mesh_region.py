"""The region of a mesh: its inside and what is near it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.regions.distance_grid import DistanceGrid, Lattice, nearest_marked
from nerf_insert.regions.inside_test import inside_points
from nerf_insert.regions.region import Region
from nerf_insert.regions.triangle_distance import near_distances, split, to_triangles

POINTS = 2_000_000  # points of the grid: about 128 along each side of a cube
KEPT = 4  # grids of meshes
EXACT_BAND = math.sqrt(3) + 0.01  # spacings: reaches the corners of every cell that the surface crosses
SHEET = 0.9  # spacings: half the width from which interpolation cannot lose a sheet (sqrt(3) / 2 and a bit)

_kept: dict[bytes, DistanceGrid] = {}


class MeshRegion(Region):
    """Everything inside a mesh or within a distance of its surface.

    The mesh need not be watertight, in one part, free of overlaps or consistently wound (inside_test.py says
    how the inside is found). Signed distances are kept on a grid of two million points, exact next to
    the surface; `precision` is its spacing, and edges and corners of the mesh are rounded by a fraction of
    it. Sheets, and parts thinner than the grid resolves, become at least 1.8 spacings thick, so that they
    are never lost.

    Args:
        mesh: In world coordinates.
        dilate: The distance around the surface that belongs to the region, world units.

    Raises:
        InputError: The distance is negative or not finite.
    """

    def __init__(self, mesh: Mesh, dilate: float = 0.0):
        if not (math.isfinite(dilate) and dilate >= 0):
            raise InputError(
                f"a mesh can be dilated by a distance of 0 or more (world units), not by {dilate}"
            )
        self.mesh, self.dilate = mesh, float(dilate)
        self._grid = _baked(mesh, self.dilate)
        spacing = self._grid.lattice.spacing
        self.precision, self.min_width = spacing, 2 * SHEET * spacing
        self.bounds = _bounds(self._grid)

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return the points within `bounds` at which the grid's distance is not positive."""
        low, high = self.bounds.to(points)
        inside = ((points >= low) & (points <= high)).all(-1)
        index = inside.nonzero()[:, 0]  # few of the samples along rays
        inside[index] = self._grid(points.index_select(0, index)) <= 0
        return inside

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the signed distance interpolated from the grid, `dilate` subtracted."""
        return self._grid(points)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the mesh and return `dilate`; the grid is not kept, `load` computes it anew."""
        surface = {"vertices": self.mesh.vertices, "faces": self.mesh.faces}
        write_tensors(folder / "mesh.safetensors", surface)
        return {"kind": "mesh", "dilate": self.dilate}

    @staticmethod
    def load(data: dict[str, Any], folder: Path) -> MeshRegion:
        """Return the region that `save` described.

        Raises:
            InputError, KeyError: The data or the mesh's file is damaged.
        """
        surface, _ = read_tensors(folder / "mesh.safetensors")
        return MeshRegion(Mesh.plain(surface["vertices"], surface["faces"]), data["dilate"])


def _baked(mesh: Mesh, dilate: float) -> DistanceGrid:
    """Return the grid of a region; that of the last few is kept, for scenes that are opened again."""
    digest = hashlib.sha256(repr((dilate, mesh.vertices.shape)).encode())
    for numbers in (mesh.vertices, mesh.faces):
        digest.update(np.ascontiguousarray(numbers.numpy()).data)
    key = digest.digest()
    grid = _kept.pop(key, None) or _bake(mesh, dilate)
    _kept[key] = grid
    while len(_kept) > KEPT:
        _kept.pop(next(iter(_kept)), None)
    return grid


def _bake(mesh: Mesh, dilate: float) -> DistanceGrid:
    """Return signed distances to the region of a mesh, on a grid."""
    lattice = Lattice.over(mesh.bounds, dilate, POINTS)
    vertices = (mesh.vertices.double() - lattice.low.double()).numpy() / lattice.spacing
    faces = mesh.faces.numpy()
    inside = inside_points(vertices, faces, lattice.shape)
    corners = split(vertices[faces])
    distance, nearest = near_distances(corners, lattice.shape, EXACT_BAND)

    # The mesh is thin where no grid point nearby lies deep inside.
    near = distance < 1
    deep = ndimage.maximum_filter((inside & (distance >= 0.5)).view(np.uint8), 5) > 0
    to_near, near_index = nearest_marked(near)
    thin = (near & ~deep)[near_index] & ~deep
    # A point farther away takes the triangle of the nearest near point, which is its nearest triangle or
    # about as near. Where no border of the region is, an estimate from that point's distance is enough.
    reach = dilate / lattice.spacing
    near_distance = distance[near_index] * np.where(inside[near_index], -1, 1)
    far = np.maximum(to_near + np.where(inside, -1, 1) * near_distance, 0)
    wanted = (distance > EXACT_BAND) & (np.abs(far - reach) < 3) & (reach > 0)
    corner = corners[nearest[tuple(axis[wanted] for axis in near_index)]].astype(np.float32)
    far[wanted] = to_triangles(np.argwhere(wanted).astype(np.float32), corner)
    distance = np.where(distance <= EXACT_BAND, distance, far)
    values = np.where(inside, -distance, distance) - np.where(thin, max(reach, SHEET), reach)
    return DistanceGrid(lattice, torch.from_numpy((values * lattice.spacing).astype(np.float32)))


def _bounds(grid: DistanceGrid) -> Float[Tensor, "2 3"]:
    """Return the bounding box of the cells with any part inside."""
    occupied = (grid.values <= 0).nonzero()
    low = grid.lattice.low + grid.lattice.spacing * (occupied.amin(0) - 1)
    high = grid.lattice.low + grid.lattice.spacing * (occupied.amax(0) + 1)
    return torch.stack([low, high])
