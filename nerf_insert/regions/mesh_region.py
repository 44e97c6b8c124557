"""The inside of a mesh, or what is near it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.regions.distance_grid import DistanceGrid, Lattice
from nerf_insert.regions.inside_test import inside_points
from nerf_insert.regions.region import Region
from nerf_insert.regions.triangle_distance import near_distances, split, to_triangles

POINTS = 2_000_000  # of the grid: about 128 along each side of a cube
REACH = math.sqrt(3) + 0.01  # spacings: the corners of every cell that the surface crosses
THIN = 0.9  # spacings: from here on linear interpolation cannot lose a sheet, sqrt(3) / 2 and a little


class MeshRegion(Region):
    """All that is inside a mesh or within `dilate` (world units) of its surface.

    The mesh need not be watertight, in one part, free of overlaps or consistently wound (solid.py says
    how the inside is found). Signed distances are kept on a grid of two million points, exact next to
    the surface; `precision` is its spacing, edges and corners of the mesh are rounded by a fraction of
    it. What has no inside there, a sheet or something thinner than the grid can show, becomes at least
    1.8 spacings thick, so that it is never lost.
    """

    def __init__(self, mesh: Mesh, dilate: float = 0.0):
        if not (math.isfinite(dilate) and dilate >= 0):
            raise InputError(
                f"a mesh can be dilated by a distance of 0 or more (world units), not by {dilate}"
            )
        self.mesh, self.dilate = mesh, float(dilate)
        self._grid = _bake(mesh, self.dilate)
        spacing = self._grid.lattice.spacing
        self.precision, self.min_width = spacing, 2 * THIN * spacing
        self.bounds = _bounds(self._grid)

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        low, high = self.bounds.to(points)
        inside = ((points >= low) & (points <= high)).all(-1)
        index = inside.nonzero()[:, 0]  # few of the samples along rays that cross it
        inside[index] = self._grid(points.index_select(0, index)) <= 0
        return inside

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        return self._grid(points)

    def save(self, folder: Path) -> dict:
        surface = {"vertices": self.mesh.vertices, "faces": self.mesh.faces}
        write_tensors(folder / "mesh.safetensors", surface)
        return {"kind": "mesh", "dilate": self.dilate}

    @staticmethod
    def load(data: dict, folder: Path) -> MeshRegion:
        surface, _ = read_tensors(folder / "mesh.safetensors")
        return MeshRegion(Mesh.plain(surface["vertices"], surface["faces"]), data["dilate"])


def _bake(mesh: Mesh, dilate: float) -> DistanceGrid:
    """Signed distances to the region of a mesh."""
    lattice = Lattice.over(mesh.bounds, dilate, POINTS)
    vertices = (mesh.vertices.double() - lattice.low.double()).numpy() / lattice.spacing
    faces = mesh.faces.numpy()
    inside = inside_points(vertices, faces, lattice.shape)
    corners = split(vertices[faces])
    distance, nearest = near_distances(corners, lattice.shape, REACH)

    # Where the mesh is thin, no point of the grid lies at all deep inside near by.
    near = distance < 1
    deep = ndimage.maximum_filter((inside & (distance >= 0.5)).view(np.uint8), 5) > 0
    way, place = ndimage.distance_transform_edt(~near, return_indices=True)
    place = tuple(place)
    thin = (near & ~deep)[place] & ~deep
    # A point far away takes the triangle of the near point next to it, which is the nearest one or about
    # as near. Where no border of the region is, a guess from that point's distance will do.
    reach = dilate / lattice.spacing
    far = np.maximum(way + np.where(inside, -1, 1) * distance[place] * np.where(inside[place], -1, 1), 0)
    wanted = (distance > REACH) & (np.abs(far - reach) < 3) & (reach > 0)
    corner = corners[nearest[tuple(axis[wanted] for axis in place)]].astype(np.float32)
    far[wanted] = to_triangles(np.argwhere(wanted).astype(np.float32), corner)
    distance = np.where(distance <= REACH, distance, far)
    values = np.where(inside, -distance, distance) - np.where(thin, max(reach, THIN), reach)
    return DistanceGrid(lattice, torch.from_numpy((values * lattice.spacing).astype(np.float32)))


def _bounds(grid: DistanceGrid) -> Float[Tensor, "2 3"]:
    """The box of the cells with any part inside."""
    occupied = (grid.values <= 0).nonzero()
    low = grid.lattice.low + grid.lattice.spacing * (occupied.amin(0) - 1)
    high = grid.lattice.low + grid.lattice.spacing * (occupied.amax(0) + 1)
    return torch.stack([low, high])
