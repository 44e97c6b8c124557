"""Files to take away: a layer, a recipe with what it needs, the whole scene with its photographs, what jobs
have made. They are handed out in a folder of their own, for a day."""

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

from nerf_insert.app.jobs.queue import Job
from nerf_insert.app.workspace import PAGE, slug
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_json, replacing
from nerf_insert.scene.scene import Scene

LISTS = (".json", ".txt", ".bin", ".npy", ".csv")  # of cameras, as nerfstudio's dataparsers read them
FILM = "orbit.mp4"
AGE = 86_400.0  # seconds
STORED = (".png", ".jpg", ".jpeg", ".safetensors", ".glb", ".mp4")  # not made smaller by packing
_packing = threading.Lock()


def layer_zip(scene: Scene, number: int, to: Path) -> Path:
    """A layer's folder: recipe, region, field, painted views."""
    entry = _entry(scene, number)
    folder = scene.layer_folder(entry)
    pairs = [(f"{entry.folder}/{p.relative_to(folder)}", p) for p in _files(folder)]
    return _zip(_target(to, folder, entry.name), pairs)


def recipe_zip(scene: Scene, number: int, to: Path) -> Path:
    """recipe.yaml and inputs/: what `nerf-insert edit SCENE --recipe recipe.yaml` needs."""
    entry = _entry(scene, number)
    folder = scene.layer_folder(entry)
    kept = [folder / "recipe.yaml", *_files(folder / "inputs")]
    pairs = [(str(p.relative_to(folder)), p) for p in kept]
    return _zip(_target(to, folder, f"{entry.name}-recipe"), pairs)


def scene_zip(scene: Scene, to: Path) -> Path:
    """The scene folder with its capture inside it; it can be opened anywhere, and uploaded here again."""
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
    """What a render or an export has made, as one file. It stays with the job, what is handed out is a link
    to it. Raises InputError where there is none."""
    file = folder / "out" / FILM if job.kind == "render" else folder / f"{slug(job.title)}.zip"
    with _packing:
        if job.state == "done" and job.kind == "export" and not file.exists():
            made = folder / "out"
            _zip(file, [(f"{slug(job.title)}/{p.relative_to(made)}", p) for p in _files(made)])
            shutil.rmtree(made, ignore_errors=True)
        if job.state != "done" or not file.exists():
            raise InputError("this job has made nothing that could be taken away, or not yet")
        target = _target(to, folder, file.stem).with_suffix(file.suffix)
        if not target.exists():
            try:
                os.link(file, target)
            except OSError:  # on another disk
                shutil.copyfile(file, target)
        return target


def sweep(to: Path, age: float = AGE) -> None:
    """Remove what was handed out so long ago that nobody waits for it any more."""
    for folder in to.glob("*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > age:
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
    """Where a zip of a folder is handed out: the same place each time, so that there is one of it."""
    sweep(to)
    folder = to / hashlib.sha256(str(source).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    os.utime(folder)
    return folder / f"{slug(name)}.zip"


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def _capture_files(scene: Scene, root: Path) -> list[Path]:
    """The photographs, their masks, and what says where the cameras are; not what else lies beside them."""
    own = {path.absolute() for view in scene.capture.views for path in (view.path, view.mask_path) if path}
    lists = {p for p in _files(root) if p.suffix.lower() in LISTS and not p.is_relative_to(scene.folder)}
    return sorted(p for p in own | lists if p.is_relative_to(root))


def _entry(scene: Scene, number: int):
    if not 1 <= number <= len(scene.layers):
        raise InputError("this layer is not there any more")
    return scene.layers[number - 1]
