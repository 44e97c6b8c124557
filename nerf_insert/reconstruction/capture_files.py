"""The files of a capture: transforms.json as nerfstudio has it, and the points as PLY."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool

from nerf_insert.io.files import atomic_write, write_json
from nerf_insert.reconstruction.alignment import World
from nerf_insert.reconstruction.diagnosis import Diagnosis
from nerf_insert.reconstruction.solution import Solution
from nerf_insert.reconstruction.up_direction import Up

POINTS = "sparse_pc.ply"
UP = [0.0, 0.0, 1.0]
SUMMARY = "capture.json"
RELIABLE_ERROR = 2.0  # pixels
RELIABLE_VIEWS = 3  # photographs that see a point


def write_capture(
    folder: Path, solution: Solution, diagnosis: Diagnosis, source: str, up: Up, world: World
) -> None:
    """Write a capture's cameras, points and summary; its photographs are there already.

    Args:
        folder: The capture.
        solution: Cameras and points in the capture's world.
        diagnosis: What was found.
        source: What the capture was made from.
        up: Up, for what it follows from.
        world: What the user said about the world.
    """
    keep = reliable(solution)
    write_points(folder / POINTS, solution.points[keep], solution.colors[keep])
    shared = solution.lenses[0] if len(solution.lenses) == 1 else {}
    frames = [
        {
            "file_path": name,
            **({} if shared else solution.lenses[lens]),
            "transform_matrix": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]],
        }
        for name, lens, pose in zip(solution.names, solution.lens, solution.c2w, strict=True)
    ]
    listing = {**shared, "ply_file_path": POINTS, "up": UP, "frames": frames}
    write_json(folder / "transforms.json", listing)
    summary: dict[str, Any] = {
        "source": source,
        "photographs": len(diagnosis.findings),
        "placed": diagnosis.placed,
        "points": int(keep.sum()),
        "up": up.origin,
        "up_is_sure": up.sure,
        "world": asdict(world),
        "diagnosis": diagnosis.to_dict(),
    }
    write_json(folder / "reconstruction" / SUMMARY, summary)


def reliable(solution: Solution) -> Bool[np.ndarray, " P"]:
    """Return which points are seen well by several photographs."""
    views = np.bincount(solution.seen[:, 1].astype(int), minlength=len(solution.points))
    return (solution.errors < RELIABLE_ERROR) & (views >= RELIABLE_VIEWS)


def write_points(path: Path, points: np.ndarray, colors: np.ndarray) -> None:
    """Write a binary PLY of positions [P, 3] and sRGB colors [P, 3]."""
    vertex = np.zeros(len(points), [("at", "<f4", 3), ("color", "u1", 3)])
    vertex["at"], vertex["color"] = points, colors
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertex)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    atomic_write(path, "\n".join([*header, "end_header\n"]).encode() + vertex.tobytes())
