"""Write a mesh with colors at its vertices as a GLB file.

trimesh writes such colors as they are. glTF's standard wants them in linear light, for which 8 bits are too
few: dark colors would be lost. V vertices, F faces.
"""

from __future__ import annotations

import json
import struct

import numpy as np
from jaxtyping import Float, Int

FLOAT, UNSIGNED_INT = 5126, 5125
VERTICES, INDICES = 34962, 34963  # what a buffer view holds


def glb_bytes(
    vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], colors: Float[np.ndarray, "V 3"]
) -> bytes:
    """Return the content of a GLB file.

    Args:
        vertices: Coordinates, y up.
        faces: Indices of vertices, counterclockwise.
        colors: Linear light in 0..1.
    """
    rgba = np.concatenate([np.clip(colors, 0, 1), np.ones((len(colors), 1))], 1)
    blocks = [vertices.astype("<f4"), rgba.astype("<f4"), faces.astype("<u4")]
    views, start = [], 0
    for block, target in zip(blocks, (VERTICES, VERTICES, INDICES), strict=True):
        views.append({"buffer": 0, "byteOffset": start, "byteLength": block.nbytes, "target": target})
        start += block.nbytes
    limits = {"min": vertices.min(0).tolist(), "max": vertices.max(0).tolist()}
    accessors = [
        {"bufferView": 0, "componentType": FLOAT, "count": len(vertices), "type": "VEC3", **limits},
        {"bufferView": 1, "componentType": FLOAT, "count": len(rgba), "type": "VEC4"},
        {"bufferView": 2, "componentType": UNSIGNED_INT, "count": faces.size, "type": "SCALAR"},
    ]
    primitive = {"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 2}
    tree = {
        "asset": {"version": "2.0", "generator": "NeRF-Insert"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "scene"}],
        "meshes": [{"primitives": [primitive], "name": "scene"}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": start}],
    }
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = b"".join(block.tobytes() for block in blocks)
    body += b"\0" * (-len(body) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(body))
    chunk = struct.pack("<I4s", len(text), b"JSON") + text
    return head + chunk + struct.pack("<I4s", len(body), b"BIN\0") + body
