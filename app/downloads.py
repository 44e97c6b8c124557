"""Downloads: a layer, a recipe with its files, a whole scene with its photographs, the output of jobs.

They are kept for a day, in a folder of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

from nerf_insert.app.jobs.job import Job
from nerf_insert.app.workspace import PAGE, slug
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, replacing
from nerf_insert.scene.scene import LayerEntry, Scene

CAMERA_FILES = (".json", ".txt", ".bin", ".npy", ".csv")  # as nerfstudio's dataparsers read them
ORBIT_VIDEO = "orbit.mp4"
SINGLE_FILES = {"splat": "splats.ply", "html": "scene.html"}  # exports that are one file
MAX_AGE = 86_400.0  # seconds
STORED = (".png", ".jpg", ".jpeg", ".webp", ".heic", ".safetensors", ".glb", ".mp4")  # compressed already
_packing = threading.Lock()


def zip_file(what: str, scene: Scene, number: int, to: Path) -> Path:
    """Zip a "layer", the "recipe" of a layer, or the whole "scene", and return the file.

    Args:
        what: What to zip.
        scene: The scene.
        number: The layer's number, from 1 at the bottom; ignored for a scene.
        to: Folder of the downloads.

    Raises:
        InputError: There is no such layer.
    """
    if what == "scene":
        return scene_zip(scene, to)
    return (layer_zip if what == "layer" else recipe_zip)(scene, number, to)


def layer_zip(scene: Scene, number: int, to: Path) -> Path:
    """Zip a layer's folder (recipe, region, field, painted views) and return the file.

    Args:
        scene: The scene.
        number: The layer's number, from 1 at the bottom.
        to: Folder of the downloads.

    Raises:
        InputError: There is no such layer.
    """
    entry = _entry(scene, number)
    folder = scene.layer_folder(entry)
    pairs = [(f"{entry.folder}/{p.relative_to(folder)}", p) for p in _files(folder)]
    return _zip(_target(to, folder, entry.name), pairs)


def recipe_zip(scene: Scene, number: int, to: Path) -> Path:
    """Zip what `nerf-insert edit SCENE --recipe recipe.yaml` needs, and return the file.

    Args:
        scene: The scene.
        number: The layer's number, from 1 at the bottom.
        to: Folder of the downloads.

    Raises:
        InputError: There is no such layer.
    """
    entry = _entry(scene, number)
    folder = scene.recipe_file(entry).parent
    kept = [folder / "recipe.yaml", *_files(folder / "inputs")]
    pairs = [(str(p.relative_to(folder)), p) for p in kept]
    return _zip(_target(to, folder, f"{entry.name}-recipe"), pairs)


def scene_zip(scene: Scene, to: Path) -> Path:
    """Zip a scene folder with its capture inside, which can be opened elsewhere and uploaded again.

    Args:
        scene: The scene.
        to: Folder of the downloads.
    """
    name, folder, capture = slug(scene.folder.name), scene.folder, scene.capture.path
    root = capture if capture.is_dir() else capture.parent
    kept = [
        p
        for p in _files(folder)
        if p.relative_to(folder).parts[0] not in (PAGE, "scene.json", "preview", ".lock")
    ]
    pairs = [(f"{name}/{p.relative_to(folder)}", p) for p in kept]
    pairs += [(f"{name}/capture/{p.relative_to(root)}", p) for p in _capture_files(scene, root)]
    data = read_json(folder / "scene.json")
    data["capture"] |= {"path": "capture", "relative": "capture"}
    return _zip(_target(to, folder, name), pairs, {f"{name}/scene.json": json.dumps(data, indent=2)})


def job_file(job: Job, folder: Path, to: Path) -> Path:
    """Return the output of a render or an export as one file, a link to the job's own.

    Args:
        job: The job.
        folder: Its folder.
        to: Folder of the downloads.

    Raises:
        InputError: The job has no output, or has not ended.
    """
    out = folder / "out"
    file = out / ORBIT_VIDEO if job.kind == "render" else folder / f"{slug(job.title)}.zip"
    file = next((out / name for name in SINGLE_FILES.values() if (out / name).exists()), file)
    with _packing:
        if job.state == "done" and job.kind == "export" and not file.exists():
            _zip(file, [(f"{slug(job.title)}/{p.relative_to(out)}", p) for p in _files(out)])
            shutil.rmtree(out, ignore_errors=True)
        if job.state != "done" or not file.exists():
            raise InputError("this job has nothing to download, or not yet")
        target = _target(to, folder, file.stem).with_suffix(file.suffix)
        if not target.exists():
            try:
                os.link(file, target)
            except OSError:  # on another disk
                shutil.copyfile(file, target)
        return target


def sweep(to: Path, max_age: float = MAX_AGE) -> None:
    """Remove downloads that are older than `max_age` seconds."""
    for folder in to.glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > max_age:
                shutil.rmtree(folder, ignore_errors=True)


def _zip(target: Path, pairs: Iterable[tuple[str, Path]], texts: dict[str, str] | None = None) -> Path:
    with replacing(target) as half, zipfile.ZipFile(half, "w") as archive:
        for name, text in (texts or {}).items():
            archive.writestr(name, text)
        for name, path in pairs:
            packed = zipfile.ZIP_STORED if path.suffix.lower() in STORED else zipfile.ZIP_DEFLATED
            archive.write(path, name, compress_type=packed)
    return target


def _target(to: Path, source: Path, name: str) -> Path:
    """Return the path for the zip of a folder: always the same, so that there is only one of it."""
    sweep(to)
    folder = to / hashlib.sha256(str(source).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    return folder / f"{slug(name)}.zip"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _capture_files(scene: Scene, root: Path) -> list[Path]:
    """List the photographs, their masks and the camera files, but nothing else beside them."""
    own = {path.absolute() for view in scene.capture.views for path in (view.path, view.mask_path) if path}
    cameras = {
        p for p in _files(root) if p.suffix.lower() in CAMERA_FILES and not p.is_relative_to(scene.folder)
    }
    return sorted(p for p in own | cameras if p.is_relative_to(root))


def _entry(scene: Scene, number: int) -> LayerEntry:
    if not 1 <= number <= len(scene.layers):
        raise InputError("this layer no longer exists")
    return scene.layers[number - 1]
