"""A data set for removal with truth, end to end: train, remove, compare. Resumes where it was interrupted."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from nerf_insert.capture.capture import Capture
from nerf_insert.editing.api import edit
from nerf_insert.editing.region_views import visible_mask
from nerf_insert.evaluation.evaluate import Truth, evaluate
from nerf_insert.evaluation.removal_protocols import RemovalData, read_data, write_capture
from nerf_insert.io.images import write_image
from nerf_insert.regions.spec import Masks
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.create import train_scene
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

MAX_MASKS = 6  # of the data set's, evenly spread; a person draws no more
NAME = "removal"


def run_protocol(protocol: str, folder: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """Train on the photographs with the thing, remove it by its masks, compare with those without it.

    Args:
        protocol: A key of `removal_protocols.PROTOCOLS`.
        folder: The data set's scene.
        out: Folder for the capture, the trained scene and the places of the thing.
        progress: Where the work is reported.

    Returns:
        The metrics, in the form of `Evaluation.to_dict`, with "protocol", "masks" (their number) and
        "seconds".

    Raises:
        InputError: The folder has another layout, or a file cannot be used.
        RunError: The work failed.
        Stopped: The user stopped it; what was done is kept.
    """
    start = time.monotonic()
    data = read_data(protocol, folder)
    home = write_capture(data, out / "capture")
    if (out / "scene" / "scene.json").exists():
        scene = Scene.open(out / "scene")
    else:
        scene = train_scene(home, out / "scene", progress=progress)
    capture = scene.capture
    masks = chosen_masks(data, home, capture)
    edit(scene, Recipe(region=Masks(masks), inpainter="fill", name=NAME), progress=progress)
    places = home / "places"
    if not data.places:
        _write_places(scene, places, progress)
    result = evaluate(scene, capture.test, progress, Truth(home / "photographs", places)).to_dict()
    return {
        **result,
        "protocol": protocol,
        "masks": len(masks),
        "seconds": round(time.monotonic() - start, 1),
    }


def chosen_masks(data: RemovalData, home: Path, capture: Capture) -> dict[str, str]:
    """Return masks of evenly spread training photographs, by the photographs' names."""
    known = [view for view in capture.train if view.path.stem in data.masks]
    count = min(MAX_MASKS, len(known))
    views = [known[k * len(known) // count] for k in range(count)]
    return {view.name: str(home / "masks" / f"{view.path.stem}.png") for view in views}


def _write_places(scene: Scene, folder: Path, progress: Progress) -> None:
    """Write where the removed thing was in the test photographs: the region, as far as nothing hides it."""
    region, stack = scene.load_layer(scene.layers[-1]).region, scene.stack()
    with progress.task("Finding where it was", total=len(scene.capture.test)) as task:
        for view in scene.capture.test:
            write_image(folder / f"{view.path.stem}.png", visible_mask(region, stack, view))
            task.advance(1)
