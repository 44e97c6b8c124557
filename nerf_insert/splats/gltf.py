"""Writing splats as binary glTF with the extension KHR_gaussian_splatting: one primitive of points.

glTF stores what the renderer uses: scales and opacities after activation, quaternions as x, y, z, w. Its
coordinates are y-up and right-handed, so a node turns the scene's up direction to +y.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf_insert.splats.moving import turn
from nerf_insert.splats.splats import SH_C0, Splats

EXTENSION = "KHR_gaussian_splatting"
FLOAT, POINTS, ARRAY_BUFFER = 5126, 0, 34962


def write_glb(path: Path, splats: Splats, up: Sequence[float] = (0.0, 1.0, 0.0)) -> None:
    """Write splats to a GLB file.

    Args:
        path: The file.
        splats: The splats.
        up: The direction that points up in the splats' coordinates.
    """
    colors = torch.cat([(splats.sh[:, 0] * SH_C0 + 0.5).clamp(0, 1), splats.opacities[:, None]], 1)
    columns: dict[str, tuple[str, Tensor]] = {
        "POSITION": ("VEC3", splats.means),
        "COLOR_0": ("VEC4", colors),  # for viewers that know no splats
        f"{EXTENSION}:ROTATION": (
            "VEC4",
            torch.nn.functional.normalize(splats.quaternions, dim=1)[:, [1, 2, 3, 0]],
        ),
        f"{EXTENSION}:SCALE": ("VEC3", splats.scales),
        f"{EXTENSION}:OPACITY": ("SCALAR", splats.opacities),
    }
    index = 0
    for degree in range(splats.degree + 1):
        for number in range(2 * degree + 1):
            columns[f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{number}"] = ("VEC3", splats.sh[:, index])
            index += 1
    views, accessors, offset = [], [], 0
    for kind, column in columns.values():
        size = 4 * column.numel()
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": size, "target": ARRAY_BUFFER})
        accessor = {"bufferView": len(accessors), "componentType": FLOAT, "count": len(column), "type": kind}
        if not accessors:  # glTF asks for the bounds of positions
            accessor |= {"min": column.amin(0).tolist(), "max": column.amax(0).tolist()}
        accessors.append(accessor)
        offset += size
    tree: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "NeRF-Insert"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "rotation": turn(up, (0.0, 1.0, 0.0))}],
        "meshes": [
            {
                "primitives": [
                    {
                        "mode": POINTS,
                        "attributes": {name: k for k, name in enumerate(columns)},
                        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
                    }
                ]
            }
        ],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": offset}],
    }
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + offset))
        file.write(struct.pack("<I4s", len(text), b"JSON") + text)
        file.write(struct.pack("<I4s", offset, b"BIN\0"))
        for _, column in columns.values():
            file.write(column.contiguous().numpy().astype("<f4", copy=False).tobytes())
