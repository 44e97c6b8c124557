"""The triangles of a glTF file, where its nodes and skins place them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from nerf_insert.geometry.mesh_files.gltf import COMPONENTS, COMPRESSED, DRACO, Document
from nerf_insert.geometry.mesh_files.gltf_materials import Materials
from nerf_insert.geometry.mesh_files.parts import MeshFile, Notes, Part, Refusal

TRIANGLES, STRIP, FAN = 4, 5, 6
FRAME = ("NORMAL", "TANGENT")
INSTANCING, VISIBILITY = "EXT_mesh_gpu_instancing", "KHR_node_visibility"

Matrix = Float[np.ndarray, "4 4"]


def read_gltf(path: Path, max_faces: int, max_side: int, notes: Notes) -> MeshFile:
    """Read all triangles of a file's default scene, skins as they are posed there.

    Args:
        path: A GLB or glTF file.
        max_faces: More faces than this are refused.
        max_side: Pixels along a side of a texture, which is scaled down to it.
        notes: Where to tell what is left out.

    Raises:
        Refusal: The file is damaged, too large, or needs what is not supported.
    """
    document = Document(path, 20 * max_faces, notes)
    reader = _Reader(document, max_faces, max_side)
    for node, matrix in reader.shown.items():
        reader.add_node(node, matrix)
    return MeshFile(reader.parts, reader.materials.textures)


class _Reader:
    def __init__(self, document: Document, max_faces: int, max_side: int) -> None:
        self.document, self.max_faces, self.faces = document, max_faces, 0
        self.materials = Materials(document, max_side)
        self.parts: list[Part] = []
        self.nodes = document.list("nodes")
        self.world = _world_matrices(self.nodes)
        self.shown = {node: self.world[node] for node in self._shown_nodes()}

    def _shown_nodes(self) -> list[int]:
        """The nodes of the default scene that are visible; of a file without scenes all nodes."""
        scenes = self.document.list("scenes")
        if not scenes:
            return [*self.world]
        chosen = self.document.tree.get("scene", 0)
        if len(scenes) > 1:
            self.document.notes.add(f"it holds {len(scenes)} scenes, only its default one is shown")
        found: set[int] = set()
        waiting = [*scenes[chosen].get("nodes", [])]
        while waiting:
            number = waiting.pop()
            visible = self.nodes[number].get("extensions", {}).get(VISIBILITY, {}).get("visible", True)
            if number not in found and visible:
                found.add(number)
                waiting += self.nodes[number].get("children", [])
        return sorted(found)

    def add_node(self, number: int, matrix: Matrix) -> None:
        """Add the mesh of a node, as often as the node has instances."""
        node = self.nodes[number]
        if "mesh" not in node:
            return
        mesh = self.document.list("meshes")[node["mesh"]]
        weights = node.get("weights", mesh.get("weights", []))
        joints = self._joint_matrices(node["skin"]) if "skin" in node else None
        places = self._instances(node, matrix)
        for primitive in mesh["primitives"]:
            part, skin = self._primitive(primitive, weights, joints is not None)
            if part is None:
                continue
            self.faces += len(part.faces) * len(places)
            if self.faces > self.max_faces:
                raise Refusal(f"has more than {self.max_faces:,} faces: simplify it")
            if joints is not None and skin is not None:
                # The standard: a skinned mesh is placed by its joints alone, not by its node.
                vertices = _skinned(part.vertices, *skin, joints)
                self.parts.append(Part(vertices, part.faces, part.material, part.colors, part.uv))
                continue
            self.parts += [_placed(part, place) for place in places]

    def _instances(self, node: dict[str, Any], matrix: Matrix) -> list[Matrix]:
        attributes = node.get("extensions", {}).get(INSTANCING, {}).get("attributes", {})
        columns = {
            key: self.document.floats(attributes[name])
            for key, name in (("translation", "TRANSLATION"), ("rotation", "ROTATION"), ("scale", "SCALE"))
            if name in attributes
        }
        if not columns:
            return [matrix]
        count = min(len(column) for column in columns.values())
        if count > self.max_faces:
            raise Refusal(f"has more than {self.max_faces:,} faces: simplify it")
        return [matrix @ _local_matrix({key: c[k] for key, c in columns.items()}) for k in range(count)]

    def _joint_matrices(self, number: int) -> Float[np.ndarray, "J 4 4"]:
        skin = self.document.list("skins")[number]
        joints = np.stack([self.world[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" not in skin:
            return joints
        inverse = self.document.floats(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        return joints @ inverse[: len(joints)]

    def _primitive(
        self, primitive: dict[str, Any], weights: list[float], skinned: bool
    ) -> tuple[Part | None, tuple[np.ndarray, np.ndarray] | None]:
        """One primitive in the mesh's own coordinates, and the joints and weights of its vertices."""
        mode = primitive.get("mode", TRIANGLES)
        if mode not in (TRIANGLES, STRIP, FAN):
            self.document.notes.add("it holds points or lines, which are left out")
            return None, None
        material = self.materials.material(primitive.get("material"))
        attributes, indices = self._attributes(primitive, material.normal_texture is not None)
        vertices, moved = attributes["POSITION"][:, :3], skinned
        for target, weight in zip(primitive.get("targets", []), weights, strict=False):
            if weight and "POSITION" in target:
                vertices = vertices + float(weight) * self.document.floats(target["POSITION"])
                moved = True
        if indices is None:
            indices = np.arange(len(vertices))
        faces = _triangles(indices, mode)
        if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
            raise Refusal("has faces that refer to vertices which do not exist: it is cut off or damaged")
        if not len(faces):
            return None, None
        colors = attributes.get("COLOR_0")
        sets = 1 + max((use.uv_set for use in material.slots()), default=-1)
        uv = []
        for k in range(sets):
            coordinates = attributes.get(f"TEXCOORD_{k}")
            if coordinates is None:
                if any(use.uv_set == k for use in material.slots()):
                    self.document.notes.add(
                        f"texture coordinates {k} are missing, on a part with the material", material.name
                    )
                coordinates = np.zeros((len(vertices), 2))
            uv.append((coordinates[:, :2] * [1, -1] + [0, 1])[faces].astype(np.float32))
        part = Part(vertices, faces, material, None if colors is None else colors[faces], uv)
        if not moved:  # else those of the shape at rest, which do not fit
            part.normals, part.tangents = (
                attributes[name][faces][..., :3].astype(np.float32) if name in attributes else None
                for name in FRAME
            )
        return part, self._skin_of(attributes, len(vertices)) if skinned else None

    def _skin_of(self, attributes: dict[str, np.ndarray], count: int) -> tuple[np.ndarray, np.ndarray] | None:
        sets = [k for k in range(4) if f"JOINTS_{k}" in attributes and f"WEIGHTS_{k}" in attributes]
        if not sets:
            return None
        joints = np.concatenate([attributes[f"JOINTS_{k}"] for k in sets], 1).astype(np.int64)
        weights = np.concatenate([attributes[f"WEIGHTS_{k}"] for k in sets], 1)
        if len(joints) != count or len(weights) != count:
            raise ValueError("a skin has another number of vertices than its mesh")
        return joints, weights

    def _attributes(
        self, primitive: dict[str, Any], frames: bool
    ) -> tuple[dict[str, np.ndarray], Int64[np.ndarray, " N"] | None]:
        """All vertex attributes as float64, with normals and tangents where they are wanted; the indices."""
        names = {name: number for name, number in primitive["attributes"].items() if _is_used(name, frames)}
        found = {}
        squeezed = primitive.get("extensions", {}).get(DRACO)
        if squeezed is not None:
            found, indices = self._decompress(squeezed, names, frames)
            if indices is not None:
                rest = {name: number for name, number in names.items() if name not in found}
                return found | self._plain(rest), indices
        found = self._plain(names)
        if "POSITION" not in found:
            raise Refusal("has a part without positions: it is damaged, export it again")
        indices = self.document.integers(primitive["indices"])[:, 0] if "indices" in primitive else None
        return found, indices

    def _plain(self, names: dict[str, int]) -> dict[str, np.ndarray]:
        return {name: self.document.floats(number) for name, number in names.items()}

    def _decompress(
        self, squeezed: dict[str, Any], names: dict[str, int], frames: bool
    ) -> tuple[dict[str, np.ndarray], Int64[np.ndarray, " N"] | None]:
        """Decode a Draco primitive; without a decoder take its uncompressed fallback, if it has one."""
        try:
            import DracoPy
        except ImportError:
            if DRACO in self.document.list("extensionsRequired"):
                text = COMPRESSED.format("Draco") + ", or install the Python package DracoPy"
                raise Refusal(text) from None
            return {}, None
        decoded: Any = DracoPy.decode(self.document.view(squeezed["bufferView"]))
        found = {}
        accessors = self.document.list("accessors")
        for name, unique_id in squeezed["attributes"].items():
            if not _is_used(name, frames):
                continue
            attribute = decoded.get_attribute_by_unique_id(unique_id)
            if attribute is None:
                raise Refusal(f"is damaged: its compressed data has no {name}; export it again")
            values = np.asarray(attribute["data"])
            values = values.reshape(len(values), -1)
            accessor = accessors[names[name]] if name in names else {}
            found[name] = values.astype(np.float64)
            kind = np.dtype(COMPONENTS[accessor["componentType"]]) if accessor.get("normalized") else None
            if kind is not None and kind.kind in "iu":  # which the decoder may give as floats
                found[name] = np.maximum(found[name] / np.iinfo(kind).max, -1.0)
        return found, np.asarray(decoded.faces, dtype=np.int64).reshape(-1)


def _is_used(name: str, frames: bool) -> bool:
    if name in FRAME:
        return frames
    return name in ("POSITION", "COLOR_0") or name.startswith(("TEXCOORD_", "JOINTS_", "WEIGHTS_"))


def _placed(part: Part, place: Matrix) -> Part:
    """A part where a node places it."""
    linear = place[:3, :3]
    normals, tangents = part.normals, part.tangents
    return replace(
        part,
        vertices=part.vertices @ linear.T + place[:3, 3],
        normals=None if normals is None else (normals @ np.linalg.pinv(linear)).astype(np.float32),
        tangents=None if tangents is None else (tangents @ linear.T).astype(np.float32),
    )


def _triangles(indices: Int64[np.ndarray, " N"], mode: int) -> Int64[np.ndarray, "F 3"]:
    if mode == TRIANGLES:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    if len(indices) < 3:
        return np.zeros((0, 3), np.int64)
    if mode == FAN:
        first = np.broadcast_to(indices[:1], len(indices) - 2)
        return np.stack([first, indices[1:-1], indices[2:]], 1)
    faces = np.stack([indices[:-2], indices[1:-1], indices[2:]], 1)
    faces[1::2] = faces[1::2, [1, 0, 2]]
    proper = (faces != np.roll(faces, 1, axis=1)).all(1)
    return faces[proper]


def _local_matrix(node: dict[str, Any]) -> Matrix:
    """A node's transform, from its matrix or from translation, rotation (x, y, z, w) and scale."""
    if "matrix" in node:
        return np.asarray(node["matrix"], dtype=np.float64).reshape(4, 4).T
    x, y, z, w = np.asarray(node.get("rotation", (0.0, 0.0, 0.0, 1.0)), dtype=np.float64)
    length = np.sqrt(x * x + y * y + z * z + w * w)
    x, y, z, w = (value / length if length > 0 else value for value in (x, y, z, w))
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.asarray(node.get("scale", (1.0, 1.0, 1.0)), dtype=np.float64)
    matrix[:3, 3] = np.asarray(node.get("translation", (0.0, 0.0, 0.0)), dtype=np.float64)
    return matrix


def _world_matrices(nodes: list[dict[str, Any]]) -> dict[int, Matrix]:
    """The transform of every node to the scene; nodes that are their own ancestors have none."""
    parents = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}
    world: dict[int, Matrix] = {}
    waiting = [number for number in range(len(nodes)) if number not in parents]
    for number in waiting:  # grows on the way: parents come before their children
        if number in world:
            continue
        local = _local_matrix(nodes[number])
        world[number] = world[parents[number]] @ local if number in parents else local
        waiting += [child for child in nodes[number].get("children", []) if parents[child] == number]
    if len(world) < len(nodes):
        raise Refusal("is damaged: its nodes contain each other; export it again")
    return world


def _skinned(
    vertices: Float[np.ndarray, "V 3"],
    joints: Int64[np.ndarray, "V n"],
    weights: Float[np.ndarray, "V n"],
    matrices: Float[np.ndarray, "J 4 4"],
) -> Float[np.ndarray, "V 3"]:
    """Vertices moved by the weighted mean of their joints' matrices."""
    total = weights.sum(1, keepdims=True)
    weights = np.where(total > 0, weights / np.where(total > 0, total, 1), 0)
    used = weights > 0
    if (joints[used] >= len(matrices)).any() or (joints[used] < 0).any():
        raise Refusal("is damaged: its skin refers to joints that do not exist; export it again")
    out = np.zeros_like(vertices)
    for column in range(joints.shape[1]):
        m = matrices[np.where(used[:, column], joints[:, column], 0)]
        moved = (m[:, :3, :3] @ vertices[:, :, None])[:, :, 0] + m[:, :3, 3]
        out += weights[:, column, None] * moved
    unbound = total[:, 0] <= 0
    out[unbound] = vertices[unbound]
    return out
