"""Copies of scene folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nerf_insert.errors import InputError, RunError
from nerf_insert.scene.scene import Scene
from nerf_insert.scene.scene_file import NAME

LEFT_OUT = (".lock", ".*.tmp*", "page")  # page/ has drafts and jobs of the web page


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
    capture = capture or scene.capture_path or scene.capture_as_found.path  # which says that it is gone
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


def open_copy(source: Path, target: Path) -> Scene:
    """Open the copy of a scene in another folder, which is made where there is none.

    Raises:
        InputError: There is no scene, `target` holds something else, or it is `source`.
        RunError: The disk cannot be written.
    """
    if target.resolve() == source.resolve():
        raise InputError(f"{target} is the scene itself: choose another folder for the copy")
    return Scene.open(target) if (target / NAME).exists() else copy_scene(source, target)


def _place(here: str, there: str) -> None:
    try:
        os.link(here, there)
    except OSError:
        shutil.copy2(here, there)
