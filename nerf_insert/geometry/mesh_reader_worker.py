"""Reads one mesh file, in a process of its own: `python -m nerf_insert.geometry.mesh_reader_worker`.

Mesh files come from strangers and can ask for any amount of memory or time, so this process first limits
itself. Of large libraries it imports numpy and trimesh only. A request comes as JSON
on the standard input, {"path", "out", "memory", "seconds", "faces", "texture"}; the answer, plain
arrays, goes to the file `out` (npz, no pickles), and one JSON line to the standard output:
{"warnings": [...]} or {"error": "..."}.

The arrays, V vertices and F faces: vertices float64 [V, 3], faces int64 [F, 3], corner_colors uint8
sRGB [F, 3, 3], corner_uv float32 [F, 3, 2] (origin bottom left), texture_index int64 [F] (-1: none)
and texture_0, texture_1, ... uint8 sRGB [h, w, 3].
"""

from __future__ import annotations

import json
import logging
import math
import re
import struct
import sys
from pathlib import Path

from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear

GRAY = 180  # sRGB of what has no color of its own
ASSETS = (".mtl", ".bin", ".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tga", ".tif", ".tiff")


class Refusal(Exception):
    """The file cannot be used; the message continues "the mesh FILE ..."."""


def set_limits(memory: int, seconds: float) -> None:
    """Limit this process to `memory` bytes of address space and `seconds` of CPU time."""
    try:
        import resource
    except ImportError:  # Windows: the parent's time limit has to do
        return
    for kind, value in (("RLIMIT_AS", memory), ("RLIMIT_CPU", math.ceil(seconds)), ("RLIMIT_CORE", 0)):
        try:
            resource.setrlimit(getattr(resource, kind), (value, value))
        except (ValueError, OSError):  # not every system lets every limit be set
            pass


def check_gltf(path: Path, values: int) -> None:
    """Refuse what trimesh would read wrongly or without bound: a cut off file, compressed or huge data."""
    data = path.read_bytes()
    if path.suffix.lower() == ".glb":
        if len(data) < 20 or data[:4] != b"glTF":
            raise Refusal("is not a GLB file: export it again")
        total, length = struct.unpack("<I", data[8:12])[0], struct.unpack("<I", data[12:16])[0]
        if total > len(data):
            raise Refusal(
                f"is cut off: it should be {total} bytes long and is {len(data)}; copy or export it again"
            )
        data = data[20 : 20 + length]
    try:
        tree = json.loads(data)
        counts = sum(int(accessor["count"]) for accessor in tree.get("accessors", []))
        required = [str(name) for name in tree.get("extensionsRequired", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refusal("is damaged: its glTF description cannot be read; export it again") from None
    compressed = [name for name in required if "draco" in name.lower() or "meshopt" in name.lower()]
    if compressed:
        raise Refusal(f"is compressed ({compressed[0]}): export it without mesh compression")
    if counts > values:
        raise Refusal(f"asks for {counts:,} values, more than the {values:,} that are allowed; simplify it")


def check_whole(path: Path, faces: int) -> None:
    """Refuse a text PLY or STL that ends too early, which trimesh reads as far as it goes."""
    if path.suffix.lower() == ".ply":
        with path.open("rb") as file:
            header = file.read(1 << 16).split(b"end_header")[0].decode("ascii", "replace")
        declared = re.search(r"element\s+face\s+(\d+)", header)
        if declared and faces < int(declared[1]):
            raise Refusal(f"is cut off or damaged: {declared[1]} faces were announced, {faces} can be read")
    elif path.suffix.lower() == ".stl":
        with path.open("rb") as file:
            starts_as_text = file.read(5).lower() == b"solid"
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 1024))
            end = file.read().lower()
        if starts_as_text and b"facet" in end and b"endsolid" not in end:
            raise Refusal("is cut off: its last line should begin with 'endsolid'; copy or export it again")


def read_scene(path: Path):
    """Read the file: a trimesh scene, and messages about images and materials that could not be read."""
    import trimesh
    from PIL import Image
    from trimesh.resolvers import FilePathResolver

    Image.MAX_IMAGE_PIXELS = 1 << 26  # an error from twice this on, instead of gigabytes

    class Folder(FilePathResolver):
        """Reads materials and images beside the mesh, and nowhere else on the disk."""

        def get(self, name: str) -> bytes:
            folder = Path(self.parent).resolve()
            target = (folder / str(name).strip()).resolve()
            if not target.is_relative_to(folder) or target.suffix.lower() not in ASSETS:
                raise FileNotFoundError(name)
            return target.read_bytes()

        def namespaced(self, namespace: str) -> Folder:
            return self

    missing: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage().lower()
            if any(word in text for word in ("image", "texture", "material")) and any(
                word in text for word in ("fail", "unable", "unsupported", "not find")
            ):
                missing.append(text.splitlines()[0][:120])

    log = logging.getLogger("trimesh")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.handlers = [Listener()]
    with path.open("rb") as file:
        kind = path.suffix.lower().lstrip(".")
        scene = trimesh.load_scene(file, file_type=kind, resolver=Folder(str(path)), process=False)
    return scene, missing


def flatten(scene, is_gltf: bool, max_faces: int, max_texture: int) -> dict:
    """Join all triangle meshes of a scene, in the scene's coordinates."""
    import numpy as np

    parts, textures, count, total = [], [], 0, 0
    numbers: dict[int, int] = {}  # an image that several parts share is kept once
    for node in sorted(scene.graph.nodes_geometry):  # a set: its own order changes from run to run
        transform, name = scene.graph[node]
        mesh = scene.geometry[name]
        faces = np.asarray(getattr(mesh, "faces", np.zeros((0, 3))), dtype=np.int64)
        if not len(faces):
            continue  # lines and point clouds
        total += len(faces)
        if total > max_faces:
            raise Refusal(f"has more than {max_faces:,} faces: simplify it")
        vertices = np.asarray(mesh.vertices, dtype=np.float64)
        if faces.min() < 0 or faces.max() >= len(vertices):
            raise Refusal("has faces that refer to vertices which do not exist: it is cut off or damaged")
        vertices = vertices @ np.asarray(transform)[:3, :3].T + np.asarray(transform)[:3, 3]
        colors, uv, image = appearance(mesh, faces, is_gltf)
        index = -1
        if image is not None:
            if id(image) not in numbers:
                numbers[id(image)] = len(textures)
                image.thumbnail((max_texture, max_texture))
                textures.append(np.asarray(image.convert("RGB")))
            index = numbers[id(image)]
        parts.append((vertices, faces + count, colors, uv, np.full(len(faces), index)))
        count += len(vertices)
    if not parts:
        raise Refusal("holds no triangles: it is empty, a point cloud, cut off, or not a mesh at all")
    names = ("vertices", "faces", "corner_colors", "corner_uv", "texture_index")
    arrays = {
        name: np.concatenate(column) for name, column in zip(names, zip(*parts, strict=True), strict=True)
    }
    if not np.isfinite(arrays["vertices"]).all():
        raise Refusal("has vertices that are not finite numbers (NaN or infinity): repair it")
    a, b, c = arrays["vertices"][arrays["faces"]].transpose(1, 0, 2)
    if not (np.linalg.norm(np.cross(b - a, c - a), axis=-1) > 0).any():
        raise Refusal("has no surface: all its triangles are points or lines; check its scale")
    return arrays | {f"texture_{k}": texture for k, texture in enumerate(textures)}


def appearance(mesh, faces, is_gltf: bool):
    """Return uint8 sRGB at the corners [F, 3, 3], UVs there [F, 3, 2], and the image or None, of one part."""
    import numpy as np

    shape = (len(faces), 3)
    colors, uv, image = np.full((*shape, 3), GRAY, np.uint8), np.zeros((*shape, 2), np.float32), None
    visual = mesh.visual
    if visual.kind in ("vertex", "face"):
        if visual.kind == "vertex":
            colors = np.asarray(visual.vertex_colors)[faces][..., :3]
        else:
            colors = np.repeat(np.asarray(visual.face_colors)[:, None, :3], 3, axis=1)
        return (as_srgb(colors / 255.0) if is_gltf else colors), uv, None
    if visual.kind == "texture":
        material = visual.material
        factor = getattr(material, "baseColorFactor", None) if is_gltf else getattr(material, "diffuse", None)
        image = getattr(material, "baseColorTexture" if is_gltf else "image", None)
        has_uv = visual.uv is not None and len(visual.uv) == len(mesh.vertices)
        if not has_uv or getattr(image, "format", None) is None:  # no format: trimesh's stand-in
            image = None
        tint = np.ones((*shape, 3))
        if factor is not None and (is_gltf or image is None):
            # An image takes the place of an OBJ's Kd, which exporters often leave black beside one.
            factor = np.asarray(factor, dtype=np.float64)[:3] / 255
            tint = tint * (factor if is_gltf else srgb_to_linear(factor))
        own = visual.vertex_attributes.get("color") if len(visual.vertex_attributes) else None
        if own is not None and len(own) == len(mesh.vertices):
            own = np.asarray(own)[faces][..., :3]
            scale = np.iinfo(own.dtype).max if own.dtype.kind == "u" else 1
            tint = tint * (own / scale)
        elif factor is None and image is None and not is_gltf:
            return colors, uv, None
        colors = as_srgb(tint)
        if image is not None:
            uv = np.nan_to_num(np.asarray(visual.uv, dtype=np.float32)[faces])
    return colors, uv, image


def as_srgb(linear):
    """Convert linear light, the space of glTF's factors and vertex colors, to uint8 sRGB."""
    import numpy as np

    return np.rint(linear_to_srgb(np.clip(linear, 0, 1)) * 255).astype(np.uint8)


def answer(request: dict) -> dict:
    """Read the mesh of a request; the answer to print."""
    path = Path(request["path"])
    is_gltf = path.suffix.lower() in (".glb", ".gltf")
    try:
        if is_gltf:
            check_gltf(path, values=20 * request["faces"])
        import numpy as np

        scene, missing = read_scene(path)
        arrays = flatten(scene, is_gltf, request["faces"], request["texture"])
        check_whole(path, len(arrays["faces"]))
        np.savez(request["out"], **arrays)
        images = sorted(set(missing))
        return {"warnings": [f"an image or material could not be read ({text})" for text in images]}
    except Refusal as refusal:
        return {"error": str(refusal)}
    except MemoryError:
        return {"error": "needs too much memory to read: simplify it"}
    except Exception as error:  # whatever a reader does with a damaged file
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        return {"error": f"cannot be read: it is damaged, cut off, or not what its name says ({reason})"}


def main() -> None:
    """Answer the request on the standard input."""
    request = json.load(sys.stdin)
    set_limits(request["memory"], request["seconds"])
    print(json.dumps(answer(request)))


if __name__ == "__main__":
    main()
