"""A mesh in the pictures: drawn where it stands, hidden by what is in front of it; dropped onto surfaces;
the handles by which it is moved in the view that can be orbited.

Places are world coordinates, angles degrees. Meshes are read once and kept, in their own coordinates.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.app.draft_to_recipe import pose_matrix
from nerf_insert.app.drafts import Box, MeshPose
from nerf_insert.app.orbit_view import up_of
from nerf_insert.app.scene_cache import RENDERING, OpenScene, data_url
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.regions import BoxRegion

SUN = torch.nn.functional.normalize(torch.tensor([0.4, 0.3, 0.85]), dim=0)
FIT = 0.18  # of the scene's radius: how large a mesh is made that comes in another unit
FITS = (0.01, 1.5)  # of the scene's radius: sizes that are taken to be meant
ARROW = 0.12  # of the distance to the camera: length of the handles
_reading = threading.Lock()


def mesh_of(path: Path) -> Mesh:
    """The mesh in its own coordinates. Raises InputError."""
    with _reading:
        return _mesh(str(path), path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=8)
def _mesh(path: str, changed: int) -> Mesh:
    return load_mesh(path)


def placed(path: Path, placing: MeshPose) -> Mesh:
    return mesh_of(path).transformed(torch.tensor(pose_matrix(placing), dtype=torch.float64))


def first_placing(opened: OpenScene, path: Path) -> MeshPose:
    """As the file says where that is in the scene; else in the middle of it, in a size that fits."""
    mesh = mesh_of(path)
    low, high = mesh.bounds
    size, middle = float((high - low).norm()), (low + high) / 2
    center = opened.capture.center_of_attention
    radius = float(torch.stack([(v.camera.center - center).norm() for v in opened.capture.views]).mean())
    sensible = FITS[0] * radius < size < FITS[1] * radius
    scale = 1.0 if sensible else FIT * radius / size
    if sensible and float((middle - center).norm()) < 1.5 * radius:
        return MeshPose()
    return MeshPose(translate=_three(center - scale * middle), scale=_round(scale))


def picture(path: Path, placing: MeshPose, camera: Camera, depth: Float[Tensor, "H W"] | None) -> str:
    """The mesh from a camera as a PNG with opacity; `depth`: the scene's, behind which it is not drawn."""
    mesh = placed(path, placing)
    hits = mesh.cast(camera.rays())
    shown = hits.hit if depth is None else hits.hit & (hits.distance < depth.reshape(-1) * 1.001)
    out = torch.zeros(camera.height * camera.width, 4)
    index = shown.nonzero()[:, 0]
    if len(index):
        face, where = hits.face[index], hits.barycentric[index]
        light = 0.55 + 0.45 * (mesh.face_normals[face] @ SUN).clamp(-0.6, 1)
        out[index, :3] = mesh.color_at(face, where) * light[:, None]
        out[index, 3] = 1.0
    return data_url(out.view(camera.height, camera.width, 4))


def surface_at(opened: OpenScene, camera: Camera, x: float, y: float) -> Float[Tensor, "3"]:
    """The scene's surface at a place of the picture (shares of its width and height). Raises InputError
    where there is none."""
    ray = camera.rays_through(torch.tensor([[x * camera.width, y * camera.height]]))
    with RENDERING:
        depth = opened.stack().render(ray).depth[0]
    if not bool(depth.isfinite()):
        raise InputError("There is no surface there: click on something solid.")
    return ray.at(depth[None])[0]


def dropped(opened: OpenScene, path: Path, placing: MeshPose, point: Float[Tensor, "3"]) -> MeshPose:
    """The mesh standing on a point: the middle of its underside there."""
    up = up_of(opened)
    vertices = placed(path, replace(placing, translate=(0.0, 0.0, 0.0))).vertices
    low, high = vertices.amin(0), vertices.amax(0)
    middle = (low + high) / 2
    foot = middle + up * float((vertices @ up).min() - middle @ up)
    return replace(placing, translate=_three(point - foot))


def dropped_box(opened: OpenScene, box: Box, point: Float[Tensor, "3"]) -> Box:
    """The box standing on a point: its middle above it, its lowest corner as high as it."""
    up, region = up_of(opened), BoxRegion(box.center, box.size, box.rotation)
    reach = float((up @ region.rotation).abs() @ region.size) / 2
    return replace(box, center=_three(point + up * reach))


def handles(opened: OpenScene, path: Path, placing: MeshPose, camera: Camera) -> dict[str, Any]:
    """Where the mesh's middle is in the picture and how far one world unit along each axis goes there:
    {"at": [x, y], "axes": [{"to": [x, y], "length": world units, "axis": 0..2}], "up": 0..2}, in shares of
    the picture; {} where the middle is not in it."""
    low, high = placed(path, placing).bounds
    middle = (low + high) / 2
    length = ARROW * float((middle - camera.center).norm())
    ends = middle + length * torch.eye(3)
    projection = camera.project(torch.cat([middle[None], ends]))
    if not bool(projection.inside[0]):
        return {}
    shares = (projection.pixels / torch.tensor([camera.width, camera.height])).tolist()
    axes = [{"to": shares[k + 1], "length": length, "axis": k} for k in range(3)]
    return {"at": shares[0], "axes": axes, "up": int(up_of(opened).abs().argmax())}


def _three(values: Tensor) -> tuple[float, float, float]:
    return tuple(_round(v) for v in values.tolist())  # type: ignore[return-value]


def _round(value: float) -> float:
    return float(f"{value:.5g}")
