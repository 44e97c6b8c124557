"""Scene folders inside run folders, and the dataparser for their capture."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from nerf_insert.capture.dataparsers import NO_POINTS, guess, other_dataparser, sparse_model
from nerf_insert.errors import InputError, RunError
from nerf_insert.scene.scene import Scene

LEFT_OUT = (".lock", ".*.tmp*", "page")  # page/ has drafts and jobs of the web page


def find_scene(state: dict[str, Any], otherwise: Path | None = None) -> Path:
    """Find the scene folder that a checkpoint's pipeline refers to.

    Args:
        state: The pipeline's state, with the path of the scene, absolute and relative to the current folder.
        otherwise: Another place to look.

    Raises:
        InputError: It is nowhere.
    """
    candidates = [state.get("scene"), state.get("scene_from_here"), otherwise]
    for place in candidates:
        if place and (Path(place) / "scene.json").exists():
            return Path(place)
    raise InputError(
        f"the scene folder of this run is not at {candidates[0]} any more: move it back, or "
        "give --pipeline.scene"
    )


def copy_scene(source: Path, target: Path, capture: Path | None = None) -> Scene:
    """Copy a scene folder.

    Files of a scene are only ever replaced as a whole, so the copy shares them where the disk has hard links.

    Args:
        source: The scene folder.
        target: The new folder.
        capture: Where the capture is now; by default where the scene finds it.

    Raises:
        InputError: There is no scene, or `target` exists.
        RunError: The disk cannot be written.
    """
    scene = Scene.open(source)
    capture = capture or scene.capture_as_found.path
    if target.exists():
        raise InputError(f"{target} exists already: choose another folder")
    new = target.with_name(f".{target.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, new, copy_function=_place, ignore=shutil.ignore_patterns(*LEFT_OUT))
        Scene.open(new).point_to(capture, at=target)
        os.replace(new, target)
    except OSError as error:
        raise RunError(f"cannot write {target}: {error.strerror or error}") from error
    return Scene.open(target)


def _place(here: str, there: str) -> None:
    try:
        os.link(here, there)
    except OSError:
        shutil.copy2(here, there)


def dataparser_for(scene: Scene) -> Any:
    """Return the config of a nerfstudio dataparser that reads the scene's capture."""
    settings = scene.loaded_with
    path = scene.capture_as_found.path
    name = (settings["dataparser"] or guess(path)).removesuffix("-data")
    config: Any = other_dataparser(name)  # its fields depend on the dataparser
    config.data = path
    for key, value in NO_POINTS.items():
        if hasattr(config, key):
            setattr(config, key, value)
    if hasattr(config, "colmap_path") and (model := sparse_model(path)):
        config.colmap_path = model.relative_to(path)
    factor = settings["downscale"]
    if hasattr(config, "downscale_factor"):
        small = factor and factor == int(factor) and (path / f"images_{int(factor)}").is_dir()
        config.downscale_factor = int(factor) if small else 1
    return config
