"""Floaters of a scene as an edit: proposed with pictures and a recipe, removed as a layer when approved.

OUT/floaters.ply     their surface, relative to the capture's origin
OUT/recipe.yaml      the edit that empties it
OUT/sheet.png        photographs, the scene as it is and without them, where they are seen best
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from skimage.measure import marching_cubes
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError
from nerf_insert.io.files import atomic_write
from nerf_insert.io.images import contact_sheet, write_image
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.regions.spec import Mesh
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene
from nerf_insert.selection.floaters import Floaters, find_floaters

SHOWN, SHEET_SIDE = 4, 320  # photographs on the sheet; pixels of their longer side
NAME = "clean"


def propose_cleaning(scene: Scene, out: Path, progress: Progress) -> dict[str, Any]:
    """Find floaters and write what would remove them. The scene is not changed.

    Args:
        scene: The scene.
        out: Folder for the recipe and the pictures.
        progress: Where the work is reported.

    Returns:
        "floaters" (the largest first: "center" in the capture's coordinates, "size", "seen" and "confirmed",
        numbers of photographs), "recipe" and "sheet" (files; None without floaters).

    Raises:
        InputError: A photograph cannot be read.
        RunError: The disk cannot be written.
    """
    stack, capture = scene.stack(), scene.capture
    floaters = find_floaters(stack, capture, progress)
    origin = torch.tensor(capture.origin, dtype=torch.float64)
    rows = [
        {
            "center": [round(value, 5) for value in (one.center.double() + origin).tolist()],
            "size": round(one.size, 5),
            "seen": one.seen,
            "confirmed": one.confirmed,
        }
        for one in floaters.found
    ]
    if not rows:
        return {"floaters": [], "recipe": None, "sheet": None}
    mesh = out / "floaters.ply"
    atomic_write(mesh, _surface(floaters))
    pose = None
    if any(capture.origin):  # the file's numbers are small, so that they keep their precision
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 3] = origin
    placed = None if pose is None else pose.tolist()
    region = Mesh(str(mesh.absolute()), placed, floaters.lattice.spacing / 2)
    recipe = Recipe(region=region, inpainter="clear", name=NAME)
    recipe.save(out / "recipe.yaml")
    sheet = _sheet(stack, capture, floaters.region(), progress)
    if sheet is not None:
        write_image(out / "sheet.png", sheet)
    return {
        "floaters": rows,
        "recipe": str(out / "recipe.yaml"),
        "sheet": None if sheet is None else str(out / "sheet.png"),
    }


def _surface(floaters: Floaters) -> bytes:
    """The surface of the floaters' cells, as a PLY file."""
    padded = np.pad(floaters.cells.numpy().astype(np.float32), 1)
    vertices, faces, _, _ = marching_cubes(padded, 0.5)
    points = floaters.lattice.low.numpy() + floaters.lattice.spacing * (vertices - 1)
    data = trimesh.Trimesh(points, faces, process=False).export(file_type="ply")
    assert isinstance(data, bytes)
    return data


def _sheet(stack: LayerStack, capture: Capture, region: GridRegion, progress: Progress) -> Tensor | None:
    """The photographs that show the most of a region, with the scene as it is and without its content."""
    shares = []
    for view in capture.train:
        small = view.camera.scaled(min(1.0, 96 / max(view.size)))
        shares.append(float(region.entry(small.rays()).isfinite().float().mean()))
    best = sorted(range(len(shares)), key=lambda k: -shares[k])[:SHOWN]
    rows = []
    with progress.task("Showing the floaters", total=len(best)) as task:
        for view in (capture.train[k] for k in best if shares[k] > 0):
            camera = view.camera.scaled(min(1.0, SHEET_SIDE / max(view.size)))
            pictures = [stack.render_image(camera, exclude).rgb for exclude in (None, region)]
            photograph = view.photograph((camera.width, camera.height))
            rows.append([(view.name, photograph), ("as it is", pictures[0]), ("without", pictures[1])])
            task.advance(1)
    return contact_sheet(rows) if rows else None


def apply_cleaning(scene: Scene, recipe: Path, progress: Progress) -> int:
    """Remove what was proposed as a layer; return the layer's number.

    Raises:
        InputError: The recipe cannot be used.
        RunError: The disk cannot be written.
    """
    from nerf_insert.editing.api import edit

    if not recipe.exists():
        raise InputError(f"there is no proposal {recipe}: run `nerf-insert clean` first")
    edit(scene, recipe, progress=progress)
    return len(scene.layers)
