"""Triangle meshes from a few numbers: numpy only.

A mesh is a pair (vertices [V, 3] float, faces [F, 3] int), counterclockwise seen from outside, in meters.
"""

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray]


def join(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0] + [len(vertices) for vertices, _ in meshes])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces)


def moved(mesh: Mesh, to=(0.0, 0.0, 0.0), matrix=None) -> Mesh:
    vertices = mesh[0] if matrix is None else mesh[0] @ np.asarray(matrix).T
    return vertices + np.asarray(to), mesh[1]


def turn(degrees: float, axis: int = 2) -> np.ndarray:
    """The rotation matrix about the x, y or z axis (0, 1, 2)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    a, b = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[a, a] = matrix[b, b] = c
    matrix[a, b], matrix[b, a] = -s, s
    return matrix


def quads(rows: int, columns: int, closed: bool) -> np.ndarray:
    """Faces of a grid of rows x columns vertices; `closed` joins last and first row. A row is a ring."""
    i, j = np.meshgrid(np.arange(rows if closed else rows - 1), np.arange(columns), indexing="ij")
    a, b = i * columns + j, i * columns + (j + 1) % columns
    c, d = (i + 1) % rows * columns + (j + 1) % columns, (i + 1) % rows * columns + j
    return np.concatenate([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)


def lathe(profile, segments: int = 64) -> Mesh:
    """The profile, points (radius, height) from bottom to top along the outside, turned about the z axis."""
    profile = np.asarray(profile, float)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle)], -1)
    vertices = np.concatenate(
        [profile[:, None, :1] * rim, np.broadcast_to(profile[:, None, 1:], (len(profile), segments, 1))], -1
    )
    return vertices.reshape(-1, 3), quads(len(profile), segments, closed=False)


def ball(radius: float, squash: float = 1.0, rings: int = 24, segments: int = 48) -> Mesh:
    """A sphere about the origin, its height multiplied by `squash`."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, rings)
    return lathe(np.stack([np.cos(angle).clip(0), squash * np.sin(angle)], -1) * radius, segments)


def tube(
    path, radius: float | np.ndarray, segments: int = 16, flat: float = 1.0, closed: bool = False
) -> Mesh:
    """A tube along a path [P, 3] in a plane; `flat` < 1 makes it a strap, thin across that plane."""
    path = np.asarray(path, float)
    if closed:
        along = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    else:
        along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.linalg.svd(path - path.mean(0))[2][2]  # the plane's normal
    out = np.cross(across, along)
    angle = np.linspace(0, 2 * np.pi, segments, endpoint=False)[:, None]
    radius = np.broadcast_to(radius, len(path))[:, None, None]
    ring = np.cos(angle) * out[:, None] + flat * np.sin(angle) * across
    vertices = (path[:, None] + radius * ring).reshape(-1, 3)
    faces = quads(len(path), segments, closed)
    if closed:
        return vertices, faces
    ends = np.stack([path[0], path[-1]])
    j = np.arange(segments)
    last, n = (len(path) - 1) * segments, len(vertices)
    first_cap = np.stack([np.full_like(j, n), (j + 1) % segments, j], -1)
    last_cap = np.stack([np.full_like(j, n + 1), last + j, last + (j + 1) % segments], -1)
    return np.concatenate([vertices, ends]), np.concatenate([faces, first_cap, last_cap])


def slab(outline, thickness: float, bevel: float) -> Mesh:
    """A star-shaped outline [P, 2] in the x-z plane, counterclockwise seen from -y, with bevelled edges."""
    outline = np.asarray(outline, float)
    middle = outline.mean(0)
    inner = middle + (outline - middle) * (
        1 - bevel / np.linalg.norm(outline - middle, axis=1, keepdims=True)
    )
    half = thickness / 2
    loops = [(inner, -half), (outline, -half + bevel), (outline, half - bevel), (inner, half)]
    vertices = [np.stack([loop[:, 0], np.full(len(loop), y), loop[:, 1]], -1) for loop, y in loops]
    n, j = len(outline), np.arange(len(outline))
    ends = [[middle[0], -half, middle[1]], [middle[0], half, middle[1]]]
    front = np.stack([np.full_like(j, 4 * n), j, (j + 1) % n], -1)
    back = np.stack([np.full_like(j, 4 * n + 1), 3 * n + (j + 1) % n, 3 * n + j], -1)
    return np.concatenate([*vertices, ends]), np.concatenate([quads(4, n, False)[:, ::-1], front, back])


def box(size) -> Mesh:
    """A box standing on the x-y plane, centerd in x and y."""
    x, y, z = np.asarray(size, float) / 2
    corners = np.array([[i, j, k] for k in (-1, 1) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))])
    sides = [(0, 3, 2, 1), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    faces = [triangle for a, b, c, d in sides for triangle in ((a, b, c), (a, c, d))]
    return corners * (x, y, z) + (0, 0, z), np.array(faces)
