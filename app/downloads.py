"""Files to take away: a layer, a recipe with what it needs, the whole scene with its photographs."""

from __future__ import annotations

import json
import secrets
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from nerf_insert.app.workspace import PAGE, slug
from nerf_insert.errors import InputError
from nerf_insert.files import read_json
from nerf_insert.scene import Scene

LISTS = (".json", ".txt", ".bin", ".npy", ".csv")  # of cameras, as nerfstudio's dataparsers read them
STORED = (".png", ".jpg", ".jpeg", ".safetensors", ".glb", ".mp4")  # not made smaller by packing


def layer_zip(scene: Scene, number: int, to: Path) -> Path:
    """A layer's folder: recipe, region, field, painted views."""
    entry = _entry(scene, number)
    folder = scene.layer_folder(entry)
    return _zip(
        _target(to, entry.name), ((f"{entry.folder}/{p.relative_to(folder)}", p) for p in _files(folder))
    )


def recipe_zip(scene: Scene, number: int, to: Path) -> Path:
    """recipe.yaml and inputs/: what `nerf-insert edit SCENE --recipe recipe.yaml` needs."""
    entry = _entry(scene, number)
    folder = scene.layer_folder(entry)
    kept = [folder / "recipe.yaml", *_files(folder / "inputs")]
    return _zip(_target(to, f"{entry.name}-recipe"), ((str(p.relative_to(folder)), p) for p in kept))


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
    return _zip(_target(to, name), pairs, {f"{name}/scene.json": json.dumps(data, indent=2)})


def folder_zip(folder: Path, name: str, to: Path) -> Path:
    return _zip(_target(to, name), ((f"{slug(name)}/{p.relative_to(folder)}", p) for p in _files(folder)))


def copied(file: Path, to: Path) -> Path:
    """A copy that may be handed out."""
    folder = to / secrets.token_hex(8)
    folder.mkdir(parents=True)
    return Path(shutil.copy(file, folder))


def _zip(target: Path, pairs: Iterable[tuple[str, Path]], texts: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in (texts or {}).items():
            archive.writestr(name, text)
        for name, path in pairs:
            packed = zipfile.ZIP_STORED if path.suffix.lower() in STORED else zipfile.ZIP_DEFLATED
            archive.write(path, name, compress_type=packed)
    return target


def _target(to: Path, name: str) -> Path:
    folder = to / secrets.token_hex(8)
    folder.mkdir(parents=True)
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
