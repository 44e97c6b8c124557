"""The draft's mesh in images: drawn with occlusion, dropped onto surfaces, and the handles that move it.

Positions are world coordinates, angles degrees. Meshes are read once and cached in their own coordinates.
"""

from __future__ import annotations

import math
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
from nerf_insert.app.messages import as_sentence
from nerf_insert.app.orbit_view import scene_radius, scene_up
from nerf_insert.app.scene_cache import RENDER_LOCK, OpenScene, image_data_url
from nerf_insert.capture.capture import camera_distance
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.geometry.mesh_size import size_note
from nerf_insert.geometry.pose import euler_angles
from nerf_insert.geometry.up_axis import UpAxis, standard_up_axis, upright
from nerf_insert.regions import BoxRegion
from nerf_insert.regions.spec import load_pose

LIGHT = torch.nn.functional.normalize(torch.tensor([0.4, 0.3, 0.85]), dim=0)  # direction towards it
FIT_SIZE = 0.18  # of the scene's radius: size given to a mesh that comes in another unit
PLAUSIBLE_SIZES = (0.01, 1.5)  # of the scene's radius: sizes taken to be intended
NEAR_CENTER = 1.5  # of the scene's radius: distance within which a position is taken to be intended
HANDLE_LENGTH = 0.12  # of the distance to the camera
DEPTH_TOLERANCE = 1.001  # keeps the mesh visible on the surface that it touches
FAR = 50.0  # diagonals of a mesh from zero, beyond which float32 gets too coarse for its coordinates
DIGITS = 4  # of positions, more than those of the scene's radius
_reading = threading.Lock()


def read_mesh(path: Path) -> Mesh:
    """Read a mesh in its own coordinates.

    Raises:
        InputError: The file cannot be read.
    """
    with _reading:
        return _read_mesh(str(path), path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=8)
def _read_mesh(path: str, modified: int) -> Mesh:
    return load_mesh(path)


@lru_cache(maxsize=8)
def _read_near(path: str, modified: int, origin: tuple[float, float, float]) -> Mesh:
    """A mesh whose own coordinates are far from zero, relative to an origin."""
    return load_mesh(path, load_pose(None, origin))


def posed_mesh(path: Path, pose: MeshPose, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    """Read a mesh and transform it to world coordinates, relative to the capture's origin.

    Raises:
        InputError: The file cannot be read.
    """
    matrix = torch.tensor(pose_matrix(pose), dtype=torch.float64)
    shift = torch.tensor(origin, dtype=torch.float64)
    mesh = read_mesh(path)
    low, high = mesh.bounds
    if any(origin) and float(low.norm()) > FAR * float((high - low).norm()):
        with _reading:  # vertices v = w + origin, so that m v + t - origin = m w + (m origin + t - origin)
            mesh = _read_near(str(path), path.stat().st_mtime_ns, origin)
        matrix[:3, 3] += matrix[:3, :3] @ shift
    matrix[:3, 3] -= shift
    return mesh.transformed(matrix)


def initial_pose(open_scene: OpenScene, path: Path, up_axis: UpAxis | None = None) -> MeshPose:
    """Return a pose that turns the mesh upright, and nothing else if its coordinates then fit the scene.

    Otherwise it is scaled and moved to the middle of it.

    Args:
        open_scene: The scene.
        path: The mesh file.
        up_axis: The axis of the file that points up; None: what its format's standard says.

    Raises:
        InputError: The file cannot be read.
    """
    capture = open_scene.capture
    turn = upright(up_axis or standard_up_axis(path), capture.up)
    x, y, z = (_round(angle) + 0.0 for angle in euler_angles(turn[:3, :3]))
    low, high = posed_mesh(path, MeshPose(rotate=(x, y, z)), capture.origin).bounds
    size, middle = float((high - low).norm()), (low + high) / 2
    center, radius = capture.center_of_attention, scene_radius(open_scene)
    plausible = PLAUSIBLE_SIZES[0] * radius < size < PLAUSIBLE_SIZES[1] * radius
    scale = 1.0 if plausible else FIT_SIZE * radius / size
    if plausible and float((middle - center).norm()) < NEAR_CENTER * radius:
        return MeshPose(rotate=(x, y, z))
    to = capture.outside(center) - scale * capture.outside(middle)
    return MeshPose(rounded(open_scene, to), (x, y, z), _round(scale))


def stood_up(open_scene: OpenScene, pose: MeshPose, up_axis: UpAxis) -> MeshPose:
    """Return the pose with the rotation that turns an axis of the file to the scene's up, and no other."""
    x, y, z = euler_angles(upright(up_axis, open_scene.capture.up)[:3, :3])
    return replace(pose, rotate=(_round(x) + 0.0, _round(y) + 0.0, _round(z) + 0.0))


def describe_size(open_scene: OpenScene, path: Path, pose: MeshPose) -> str:
    """Say that a mesh is out of all proportion to the scene, and how it is shown; empty if it fits."""
    bounds = posed_mesh(path, replace(pose, scale=1.0), open_scene.capture.origin).bounds
    note = size_note(path.name, bounds, camera_distance(open_scene.capture))
    if note is None and pose.scale == 1:
        return ""
    size = " x ".join(f"{side:.3g}" for side in (bounds[1] - bounds[0]).tolist())
    note = as_sentence(note) if note else f"The mesh is {size} world units large."
    return note if pose.scale == 1 else f"{note} It is shown at a scale of {pose.scale:g}."


def draw_mesh(
    path: Path,
    pose: MeshPose,
    camera: Camera,
    depth: Float[Tensor, "H W"] | None,
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> str:
    """Draw a mesh from a camera, as a PNG data URL that is transparent elsewhere.

    Args:
        path: The mesh file.
        pose: The mesh's pose in world coordinates.
        camera: The camera.
        depth: Depth of the scene along the camera's rays, which hides the mesh; None: nothing hides it.
        origin: The capture's, which the camera is relative to.

    Raises:
        InputError: The file cannot be read.
    """
    mesh = posed_mesh(path, pose, origin)
    hits = mesh.cast(camera.rays())
    visible = hits.hit
    if depth is not None:
        visible = visible & (hits.distance < depth.reshape(-1) * DEPTH_TOLERANCE)
    image = torch.zeros(camera.height * camera.width, 4)
    index = visible.nonzero()[:, 0]
    if len(index):
        face, barycentric = hits.face[index], hits.barycentric[index]
        shading = 0.55 + 0.45 * (mesh.face_normals[face] @ LIGHT).clamp(-0.6, 1)
        shown = mesh.color_at(face, barycentric) * shading[:, None]
        if mesh.emits:
            shown = linear_to_srgb(srgb_to_linear(shown) + mesh.emission_at(face, barycentric)).clamp(0, 1)
        image[index, :3] = shown
        image[index, 3] = 1.0
    return image_data_url(image.view(camera.height, camera.width, 4))


def surface_at(open_scene: OpenScene, camera: Camera, x: float, y: float) -> Float[Tensor, "3"]:
    """Return the point of the scene's surface that an image shows, relative to the capture's origin.

    Args:
        open_scene: The scene.
        camera: The image's camera.
        x: Position in the image as a fraction of its width.
        y: Position in the image as a fraction of its height.

    Raises:
        InputError: There is no surface, or the scene is not trained yet.
    """
    ray = camera.rays_through(torch.tensor([[x * camera.width, y * camera.height]]))
    with RENDER_LOCK:
        depth = open_scene.stack().render(ray).depth[0]
    if not bool(depth.isfinite()):
        raise InputError("There is no surface there: click on something solid.")
    return ray.at(depth[None])[0]


def drop_mesh(open_scene: OpenScene, path: Path, pose: MeshPose, point: Float[Tensor, "3"]) -> MeshPose:
    """Return the pose in which the middle of the mesh's underside stands on a point of the scene.

    Raises:
        InputError: The file cannot be read.
    """
    up = scene_up(open_scene)
    vertices = posed_mesh(path, replace(pose, translate=(0.0, 0.0, 0.0))).vertices
    low, high = vertices.amin(0), vertices.amax(0)
    middle = (low + high) / 2
    foot = middle + up * float((vertices @ up).min() - middle @ up)
    return replace(pose, translate=rounded(open_scene, open_scene.capture.outside(point) - foot))


def drop_box(open_scene: OpenScene, box: Box, point: Float[Tensor, "3"]) -> Box:
    """Return the box centered above a point of the scene, its lowest corner at the point's height."""
    up, region = scene_up(open_scene), BoxRegion((0.0, 0.0, 0.0), box.size, box.rotation)
    half_height = float((up @ region.rotation).abs() @ region.size) / 2
    return replace(box, center=rounded(open_scene, open_scene.capture.outside(point + up * half_height)))


def handles(open_scene: OpenScene, path: Path, pose: MeshPose, camera: Camera) -> dict[str, Any]:
    """Return where an image shows the handles that move a mesh along the world's axes.

    Returns:
        {"at": [x, y], "axes": [{"to": [x, y], "length": world units, "axis": 0..2}], "up": 0..2}, positions
        as fractions of the image's width and height; {} if the mesh's center is outside the image.

    Raises:
        InputError: The file cannot be read.
    """
    low, high = posed_mesh(path, pose, open_scene.capture.origin).bounds
    middle = (low + high) / 2
    length = HANDLE_LENGTH * float((middle - camera.center).norm())
    ends = middle + length * torch.eye(3)
    projection = camera.project(torch.cat([middle[None], ends]))
    if not bool(projection.inside[0]):
        return {}
    points = (projection.pixels / torch.tensor([camera.width, camera.height])).tolist()
    axes = [{"to": points[k + 1], "length": length, "axis": k} for k in range(3)]
    return {"at": points[0], "axes": axes, "up": int(scene_up(open_scene).abs().argmax())}


def rounded(open_scene: OpenScene, point: Float[Tensor, "3"]) -> tuple[float, float, float]:
    """Round a place in the capture's coordinates to what matters in a scene of this size."""
    digits = DIGITS - math.floor(math.log10(max(scene_radius(open_scene), 1e-12)))
    x, y, z = (round(value, digits) for value in point.tolist())
    return x, y, z


def _round(value: float) -> float:
    return float(f"{value:.5g}")
