"""The folder of the layer that an edit makes: which edit it belongs to, and what is removed at the end.

`work.json` holds digests of the edit: "identity" of the recipe as it was given, "settled" of the recipe with
the options that the inpainter has settled on, which are in "options".
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, sweep, write_json
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import LayerEntry, Scene

LAYERS = "[0-9][0-9][0-9]-*"  # folders in a scene's layers/


def edit_identities(scene: Scene, recipe: Recipe, without: LayerEntry | None = None) -> list[str]:
    """Return digests of what identifies an edit: its recipe and the enabled layers below it.

    The first digest is of this version's recipe format, the others are of older ones. `without` is a layer
    that does not count as below.
    """
    below = [
        entry.folder
        for entry in scene.layers
        if scene.is_shown(entry) and (without is None or without.folder not in (entry.folder, entry.shade_of))
    ]
    return [
        hashlib.sha256(json.dumps([fingerprint, below]).encode()).hexdigest()
        for fingerprint in recipe.fingerprints()
    ]


def unfinished_folders(scene: Scene) -> list[Path]:
    """Return the folders of layers that never joined the scene, oldest first."""
    known = scene.known_folders()
    folders = sorted((scene.folder / "layers").glob(LAYERS))
    return [folder for folder in folders if folder.name not in known]


def find_unfinished(scene: Scene, identities: Sequence[str]) -> Path | None:
    """Return the folder of the unfinished edit with one of these identities."""
    folders = unfinished_folders(scene)
    return next((folder for folder in folders if belongs_to(folder, identities)), None)


def belongs_to(folder: Path, identities: Sequence[str]) -> bool:
    """Whether a layer's folder is of the edit with one of these identities."""
    work = read_work(folder)
    return any(work.get(key) in identities for key in ("identity", "settled"))


def read_work(folder: Path) -> dict[str, Any]:
    """Read `work.json`; empty if it is missing or damaged."""
    try:
        work = read_json(folder / "work.json")
    except InputError:
        return {}
    return work if isinstance(work, dict) else {}


def create_folder(scene: Scene, recipe: Recipe, identity: str, settled: str) -> Path:
    """Create the folder of a new edit, in which `work.json` comes first, so that the folder is found again.

    Raises:
        RunError: The disk cannot be written.
    """
    folder = scene.new_layer_folder(recipe.name)
    work = {"identity": identity, "options": recipe.inpainter_options, "settled": settled}
    write_json(folder / "work.json", work)
    return folder


def tidy(folder: Path) -> None:
    """Remove what only an unfinished layer needs, and files that a killed process left half written."""
    for part in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sweep(part)
    for leftover in [*folder.glob("round-*.*"), folder / "checkpoint.safetensors"]:
        leftover.unlink(missing_ok=True)
    shutil.rmtree(folder / "wider", ignore_errors=True)
