"""One surface from the depths that many views see: smooth, without haze and floaters, quick to cast rays at.

A radiance field's own depth is noisy, and slow to ask; light and shadow need many rays. So the depths of
some views are averaged into a truncated signed distance field (Curless and Levoy, "A volumetric method
for building complex models from range images", 1996), and that is turned into triangles (surface nets:
Gibson, "Constrained elastic surface nets", 1998).

World coordinates and units. G is the number of glances, V vertices, F faces, M grid points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.geometry.color import srgb_to_linear
from nerf_insert.geometry.mesh import Hits, Mesh
from nerf_insert.geometry.mesh_normals import geometric_normals
from nerf_insert.geometry.mesh_topology import adjacent_faces, connected_components
from nerf_insert.geometry.sampling import sample_bilinear
from nerf_insert.io.images import resize
from nerf_insert.lighting.light import Occluder
from nerf_insert.rendering.shaded_samples import Rendered

RAYS = 60_000  # asked of the scene in all
MOST_VIEWS = 30
SHARPER = 2
TRUNCATION = 4.0  # cells
FEWEST_FACES = 40  # of a connected piece; what is smaller is a floater
DENOISE, ALIKE = 20, 0.5  # times, and the cosine between normals from which one side smooths the other
FEWEST_VIEWS = 2  # that have to see a grid point


@runtime_checkable
class Renders(Protocol):
    """A `Stack`, or what looks like one."""

    def render(self, rays: Rays) -> Rendered: ...

    def render_image(self, camera: Camera) -> Rendered: ...


class DepthView(NamedTuple):
    """A small view of the scene: what the photograph shows there and how far it is."""

    camera: Camera
    depth: Float[Tensor, "h w"]  # along the ray, world units; infinity: nothing
    color: Float[Tensor, "H W 3"]  # linear light, SHARPER times as fine


def glance(scene: Renders, views: Sequence[View]) -> list[DepthView]:
    """Small depth pictures of at most MOST_VIEWS views, spread over all of them."""
    count = min(MOST_VIEWS, len(views))
    chosen = [views[k * len(views) // count] for k in range(count)]
    glances = []
    for view in chosen:
        pixels = view.camera.width * view.camera.height
        camera = view.camera.scaled(min(1.0, (RAYS / count / pixels) ** 0.5))
        size = (SHARPER * camera.width, SHARPER * camera.height)
        linear = srgb_to_linear(view.photograph())
        linear = resize(linear, size) if size < view.size else linear
        glances.append(DepthView(camera, scene.render_image(camera).depth, linear))
    return glances


@dataclass(frozen=True, eq=False)
class Surface:
    """What there is near the edit, as triangles whose front looks into free space.

    `radiance` is the light (linear, sRGB's primaries) that leaves each vertex, the median over the
    views that see it, NaN where none does; `spread` the share by which half of the views differ from it,
    large where the surface is not where it seems. `cell` is the size of what can be told apart.
    """

    mesh: Mesh
    front: Float[Tensor, "F 3"]  # unit normals of the faces
    normals: Float[Tensor, "V 3"]
    radiance: Float[Tensor, "V 3"]
    spread: Float[Tensor, " V"]
    cell: float

    def cast(self, rays: Rays) -> Hits:
        """What each ray meets first. A ray that starts below the surface by less than three cells, as
        the scene's own error may let it, goes through it from behind."""
        if not len(self.front):
            none = torch.full((rays.count,), -1)
            return Hits(torch.full((rays.count,), float("inf")), none, torch.zeros(rays.count, 3))
        hits = self.mesh.cast(rays)
        behind = hits.hit & (hits.distance < 3 * self.cell)
        behind &= (self.front[hits.face] * rays.directions).sum(-1) > 0
        again = behind.nonzero()[:, 0]
        if len(again):
            passed = hits.distance[again] + 0.1 * self.cell
            second = self.mesh.cast(Rays(rays[again].at(passed), rays.directions[again]))
            second = second._replace(distance=second.distance + passed)
            hits = Hits(*(old.index_copy(0, again, new) for old, new in zip(hits, second, strict=True)))
        return hits

    def thing(self, radiance: Float[Tensor, "V 3"] | None = None) -> Occluder:
        """For shading what stands in the scene; `radiance` in place of the surface's own."""
        values = (self.radiance if radiance is None else radiance).nan_to_num()
        return Occluder(self.cast, lambda hits, directions: self.at(values, hits))

    def at(self, values: Float[Tensor, "V C"], hits: Hits) -> Float[Tensor, "N C"]:
        """A quantity of the vertices where rays meet the surface."""
        corners = values[self.mesh.faces[hits.face.clamp_min(0)]]
        return (hits.barycentric[:, :, None] * corners).sum(1)


def fuse_tsdf(glances: Sequence[DepthView], bounds: Float[Tensor, "2 3"], resolution: int = 128) -> Surface:
    """The surface within an axis-aligned box; `resolution` cells along its longest side."""
    side = bounds[1] - bounds[0]
    cell = float(side.max()) / resolution
    size = [max(2, math.ceil(float(length) / cell)) + 1 for length in side]
    index = _near_surface(glances, bounds[0], cell, size)
    axes = torch.stack([index // (size[1] * size[2]), index // size[2] % size[1], index % size[2]], -1)
    grid = torch.full((math.prod(size),), float("nan"))
    grid[index] = distance_field(glances, bounds[0] + cell * axes, TRUNCATION * cell)
    vertices, faces = _denoised(*_without_crumbs(*surface_net(grid.view(size))))
    mesh = Mesh.plain(vertices * cell + bounds[0], faces)
    front = geometric_normals(mesh.vertices, faces)
    a, b, c = mesh.vertices[faces].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1, keepdim=True)
    normals = torch.zeros_like(mesh.vertices)
    for corner in faces.unbind(1):
        normals.index_add_(0, corner, area * front)
    normals = torch.nn.functional.normalize(normals, dim=-1)
    return Surface(mesh, front, normals, *radiance(glances, mesh.vertices, normals, 2 * cell), cell)


def _near_surface(
    glances: Sequence[DepthView], low: Float[Tensor, "3"], cell: float, size: list[int]
) -> Int64[Tensor, " M"]:
    """The grid points near anything that a view sees; the others are free or unknown."""
    marked = torch.zeros(size)
    for camera, depth, _ in glances:
        depth = depth.reshape(-1)
        seen = depth.isfinite()
        place = ((camera.rays()[seen].at(depth[seen]) - low) / cell).round().long()
        within = ((place >= 0) & (place < torch.tensor(size))).all(-1)
        marked[tuple(place[within].unbind(-1))] = 1
    reach = int(TRUNCATION)
    for axis in range(3):  # a box is as wide in each direction
        kernel = [1 + 2 * reach * (k == axis) for k in range(3)]
        padding = [reach * (k == axis) for k in range(3)]
        marked = torch.nn.functional.max_pool3d(marked[None], kernel, stride=1, padding=padding)[0]
    return marked.view(-1).nonzero()[:, 0]


def distance_field(
    glances: Sequence[DepthView], points: Float[Tensor, "M 3"], truncation: float
) -> Float[Tensor, " M"]:
    """Distance to the surface, positive in front of it, in truncations and cut off at 1: the mean over the
    views to which a point is not hidden; NaN where fewer than FEWEST_VIEWS are left."""
    total, count = torch.zeros(len(points)), torch.zeros(len(points))
    for camera, depth, _ in glances:
        projection = camera.project(points)
        index = projection.inside.nonzero()[:, 0]
        ahead = (sample_depth(depth, projection.pixels[index]) - projection.distance[index]) / truncation
        known = ahead > -1
        total[index[known]] += ahead[known].clamp_max(1)
        count[index[known]] += 1
    return torch.where(count >= FEWEST_VIEWS, total / count.clamp_min(1), float("nan"))


def sample_depth(depth: Float[Tensor, "h w"], pixels: Float[Tensor, "N 2"]) -> Float[Tensor, " N"]:
    """Depth at pixel coordinates: interpolated on a surface, the nearest pixel's at its edges."""
    height, width = depth.shape
    x, y = pixels[:, 0] - 0.5, pixels[:, 1] - 0.5
    left, top = x.floor().clamp(0, max(width - 2, 0)), y.floor().clamp(0, max(height - 2, 0))
    fx, fy = (x - left).clamp(0, 1), (y - top).clamp(0, 1)
    x0, y0 = left.long(), top.long()
    x1, y1 = (x0 + 1).clamp_max(width - 1), (y0 + 1).clamp_max(height - 1)
    four = torch.stack([depth[y0, x0], depth[y0, x1], depth[y1, x0], depth[y1, x1]], -1)
    weight = torch.stack([(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy], -1)
    smooth = 1 / (weight / four.clamp_min(1e-9)).sum(-1)  # on a plane inverse depth is linear
    nearest = four.gather(-1, weight.argmax(-1, keepdim=True))[:, 0]
    return torch.where(four.amax(-1) < 1.1 * four.amin(-1), smooth, nearest)


def surface_net(grid: Float[Tensor, "X Y Z"]) -> tuple[Float[Tensor, "V 3"], Int64[Tensor, "F 3"]]:
    """The zero set of a grid that is positive in free space: vertices in grid coordinates and triangles
    whose right-hand normals point into free space. Cells with a NaN corner have none."""
    size = torch.tensor(grid.shape)
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    parts = [grid[x : size[0] - 1 + x, y : size[1] - 1 + y, z : size[2] - 1 + z] for x, y, z in corners]
    lowest, highest = parts[0].clone(), parts[0].clone()
    for part in parts[1:]:  # NaN stays NaN
        lowest, highest = torch.minimum(lowest, part), torch.maximum(highest, part)
    cells = ((lowest < 0) & (highest >= 0)).nonzero()
    number = torch.full(tuple(size.tolist()), -1)
    number[tuple(cells.unbind(-1))] = torch.arange(len(cells))
    values = torch.stack([grid[tuple((cells + torch.tensor(c)).unbind(-1))] for c in corners], -1)
    total, count = torch.zeros(len(cells), 3), torch.zeros(len(cells), 1)
    for one, a in enumerate(corners):
        for two, b in enumerate(corners):
            if one < two and sum(abs(p - q) for p, q in zip(a, b, strict=True)) == 1:
                u, v = values[:, one], values[:, two]
                cross = ((u < 0) != (v < 0))[:, None]
                share = (u / (u - v))[:, None].nan_to_num()
                begin, end = torch.tensor(a).float(), torch.tensor(b).float()
                total += torch.where(cross, begin + share * (end - begin), 0)
                count += cross
    faces = []
    for axis in range(3):
        one, two = (axis + 1) % 3, (axis + 2) % 3
        step = torch.eye(3, dtype=torch.long)
        base = cells[(cells[:, one] > 0) & (cells[:, two] > 0)]
        begin, end = grid[tuple(base.unbind(-1))], grid[tuple((base + step[axis]).unbind(-1))]
        quad = [
            number[tuple((base - k).unbind(-1))]
            for k in (0 * step[0], step[one], step[one] + step[two], step[two])
        ]
        quad = torch.stack(quad, -1)
        real = ((begin < 0) != (end < 0)) & (quad >= 0).all(-1)
        quad, inward = quad[real], (begin < 0)[real]
        quad = torch.where(inward[:, None], quad, quad.flip(-1))
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return cells + total / count.clamp_min(1), torch.cat(faces)


def _without_crumbs(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Without the pieces of fewer than FEWEST_FACES faces and what belongs to no face."""
    if not len(faces):
        return vertices[:0], faces
    label = connected_components(len(vertices), faces[:, 0].repeat(2), faces[:, 1:].T.reshape(-1))
    large = torch.bincount(label[faces[:, 0]], minlength=len(vertices)) >= FEWEST_FACES
    faces = faces[large[label[faces[:, 0]]]]
    used, numbers = faces.unique(return_inverse=True)
    return vertices[used], numbers


def _denoised(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Ripples flattened, edges kept: normals become means of those around that look about the same way,
    then vertices follow them (Sun et al., "Fast and effective feature-preserving mesh denoising", 2007)."""
    if not len(faces):
        return vertices, faces
    normals = geometric_normals(vertices, faces)
    one, two, _, _ = adjacent_faces(faces)
    for _ in range(DENOISE):
        alike = ((normals[one] * normals[two]).sum(-1, keepdim=True) - ALIKE).clamp_min(0) ** 2
        total = (1 - ALIKE) ** 2 * normals
        total.index_add_(0, one, alike * normals[two]).index_add_(0, two, alike * normals[one])
        normals = torch.nn.functional.normalize(total, dim=-1)
    around = torch.bincount(faces.reshape(-1), minlength=len(vertices))[:, None]
    for _ in range(DENOISE):
        corners = vertices[faces]
        off = ((corners.mean(1, keepdim=True) - corners) * normals[:, None]).sum(-1, keepdim=True)
        back = (off * normals[:, None]).view(-1, 3)
        move = torch.zeros_like(vertices).index_add_(0, faces.reshape(-1), back)
        vertices = vertices + move / around
    return vertices, faces


def radiance(
    glances: Sequence[DepthView],
    points: Float[Tensor, "N 3"],
    normals: Float[Tensor, "N 3"],
    tolerance: float,
) -> tuple[Float[Tensor, "N 3"], Float[Tensor, " N"]]:
    """The median color (linear) of the views that see a point from its front, NaN where none does, and
    the median difference from it, as a share."""
    seen = torch.full((len(glances), len(points), 3), float("nan"))
    for one, (camera, depth, color) in zip(seen, glances, strict=True):
        toward = torch.nn.functional.normalize(camera.center - points, dim=-1)
        slant = (normals * toward).sum(-1)
        projection = camera.project(points)
        index = (projection.inside & (slant > 0.1)).nonzero()[:, 0]
        pixels = projection.pixels[index]
        beyond = sample_depth(depth, pixels) - projection.distance[index]
        clear = beyond > -tolerance / slant[index].clamp_min(0.3)
        one[index[clear]] = sample_color(color, camera, pixels[clear])
    median = seen.nanmedian(0).values
    apart = (seen - median).abs().sum(-1).nanmedian(0).values
    return median, apart / median.sum(-1).clamp_min(1e-4)


def sees(
    glance: DepthView, points: Float[Tensor, "N 3"], tolerance: float
) -> tuple[Bool[Tensor, " N"], Bool[Tensor, " N"]]:
    """Which points are in a view's picture, and which of these the scene does not hide."""
    projection = glance.camera.project(points)
    clear = sample_depth(glance.depth, projection.pixels) > projection.distance - tolerance
    return projection.inside, projection.inside & clear


def sample_color(
    picture: Float[Tensor, "H W C"], camera: Camera, pixels: Float[Tensor, "N 2"]
) -> Float[Tensor, "N C"]:
    """A picture of any size at the camera's pixel coordinates, bilinear."""
    height, width = picture.shape[:2]
    return sample_bilinear(picture, pixels * torch.tensor([width / camera.width, height / camera.height]))


def far_radiance(
    scene: Renders,
    glances: Sequence[DepthView],
    bounds: Float[Tensor, "2 3"],
    directions: Float[Tensor, "K 3"],
) -> Float[Tensor, "K 3"]:
    """What photographs show beyond a box in each direction from its center (linear); NaN where none does.

    A view shows a direction's end when nothing that it sees on its own way there is much nearer.
    """
    center, half = bounds.mean(0), (bounds[1] - bounds[0]) / 2
    leaves = (half / directions.abs().clamp_min(1e-9)).amin(-1)
    outside = Rays(center + leaves[:, None] * directions, directions)
    depth = scene.render(outside).depth
    depth = torch.where(depth.isfinite(), depth, 100 * half.max())
    points = outside.at(depth)
    seen = torch.full((len(glances), len(points), 3), float("nan"))
    for one, (camera, depth, color) in zip(seen, glances, strict=True):
        projection = camera.project(points)
        index = projection.inside.nonzero()[:, 0]
        pixels = projection.pixels[index]
        clear = sample_depth(depth, pixels) > 0.7 * projection.distance[index]
        one[index[clear]] = sample_color(color, camera, pixels[clear])
    return seen.nanmedian(0).values
