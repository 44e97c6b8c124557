"""Writes glTF files by hand, independently of what reads them."""

import io
import json
import struct

import numpy as np
from PIL import Image

TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
COMPONENTS = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}


class GltfFile:
    """A glTF file that grows; integers are normalized where `normalized` says so."""

    def __init__(self, **more):
        self.data = b""
        self.tree = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "bufferViews": []}
        self.tree |= {"accessors": [], "meshes": [], "nodes": [], **more}

    def view(self, data: bytes) -> int:
        self.tree["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.tree["bufferViews"]) - 1

    def accessor(self, values, normalized=False) -> int:
        values = np.asarray(values)
        width = 1 if values.ndim == 1 else values.shape[1]
        item = {"bufferView": self.view(values.tobytes()), "componentType": COMPONENTS[values.dtype.name]}
        item |= {"count": len(values), "type": TYPES[width]} | ({"normalized": True} if normalized else {})
        self.tree["accessors"].append(item)
        return len(self.tree["accessors"]) - 1

    def texture(self, pixels, **sampler) -> int:
        out = io.BytesIO()
        Image.fromarray(np.asarray(pixels, np.uint8)).save(out, "PNG")
        images, textures, samplers = (self.tree.setdefault(k, []) for k in ("images", "textures", "samplers"))
        images.append({"bufferView": self.view(out.getvalue()), "mimeType": "image/png"})
        samplers.append(sampler)
        textures.append({"source": len(images) - 1, "sampler": len(samplers) - 1})
        return len(textures) - 1

    def material(self, **material) -> int:
        self.tree.setdefault("materials", []).append(material)
        return len(self.tree["materials"]) - 1

    def mesh(self, attributes, faces=None, material=None, node=None, **primitive) -> int:
        """Add a mesh and a node that shows it; attributes are accessors, or arrays to make some of."""
        made = {k: v if isinstance(v, int) else self.accessor(v) for k, v in attributes.items()}
        primitive = {"attributes": made, **primitive}
        if faces is not None:
            primitive["indices"] = self.accessor(np.asarray(faces, np.uint32).reshape(-1))
        if material is not None:
            primitive["material"] = material
        self.tree["meshes"].append({"primitives": [primitive]})
        self.tree["nodes"].append({"mesh": len(self.tree["meshes"]) - 1, **(node or {})})
        return len(self.tree["nodes"]) - 1

    def write(self, path) -> None:
        """Write a GLB, or a glTF with its buffer beside it."""
        self.tree["buffers"] = [{"byteLength": len(self.data)}]
        if path.suffix == ".gltf":
            self.tree["buffers"][0]["uri"] = path.stem + ".bin"
            path.with_suffix(".bin").write_bytes(self.data)
            path.write_text(json.dumps(self.tree))
            return
        text = json.dumps(self.tree).encode()
        text += b" " * (-len(text) % 4)
        total = 28 + len(text) + len(self.data)
        head = b"glTF" + struct.pack("<II", 2, total) + struct.pack("<I", len(text)) + b"JSON" + text
        path.write_bytes(head + struct.pack("<I", len(self.data)) + b"BIN\0" + self.data)


SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
SQUARE_FACES = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
# glTF's origin is the top left corner: (0, 0, 0), the lower left corner of the square, has v = 1.
SQUARE_UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)


def quadrants(size=64) -> np.ndarray:
    """An image: red top left, green top right, blue bottom left, yellow bottom right."""
    out = np.zeros((size, size, 3), np.uint8)
    half = size // 2
    out[:half, :half], out[:half, half:] = (255, 0, 0), (0, 255, 0)
    out[half:, :half], out[half:, half:] = (0, 0, 255), (255, 255, 0)
    return out
