"""Uploads: limited in size and kind, unpacked in folders of their own, images decoded by a child process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.app import image_sandbox
from nerf_insert.app.workspace import PAGE, SceneLocation, Workspace
from nerf_insert.errors import InputError, first_few, warn
from nerf_insert.geometry.mesh_files.images import SUFFIXES as TEXTURES
from nerf_insert.io.archives import unpack
from nerf_insert.io.decoding import NAMES, SUFFIXES
from nerf_insert.io.files import read_json, write_json
from nerf_insert.reconstruction.make import is_source
from nerf_insert.reconstruction.sources import VIDEOS, find_source
from nerf_insert.reconstruction.zipped_capture import CAPTURE_FILES, is_zip
from nerf_insert.splats.files import READABLE, kind_of

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture

MAX_UPLOAD = 4 << 30  # bytes of one file
IMAGES = SUFFIXES
SCENE_FILES = (*CAPTURE_FILES, ".safetensors", ".yaml", ".yml", ".glb", ".gltf", ".obj", ".mtl", ".stl")
SCENE_FILES += (*READABLE, *TEXTURES)
ORIGIN = "zip.json"  # in the page's folder: the zip that was opened from the command line
INDICES = ("scene.json", "transforms.json", "transforms_train.json")
MAX_MASK_SIDE = 16_384  # pixels
MAX_REFERENCE_SIDE = 2048  # pixels
MESHES = (".glb", ".gltf", ".obj", ".ply", ".stl")


def open_path(path: Path, workspace: Workspace) -> SceneLocation:
    """Return the location of what was named on the command line.

    Args:
        path: What `Workspace.open_path` takes, or a zip of a capture or scene, unpacked on first use.
        workspace: Where to.

    Raises:
        InputError: The path is none of these.
    """
    path = path.expanduser().absolute()
    if not is_zip(path) or is_source(path):
        return workspace.open_path(path)
    stat = path.stat()
    origin = {"path": str(path), "size": stat.st_size, "time": int(stat.st_mtime)}
    for location in workspace.locations():
        note = location.page / ORIGIN
        if note.exists() and read_json(note) == origin:
            return location
    location = take_zip(path, workspace)
    write_json(location.page / ORIGIN, origin)
    return location


def take_files(files: list[Path], workspace: Workspace) -> SceneLocation:
    """Take a zip, a video, a file of splats, or photographs that were uploaded together.

    Raises:
        InputError: Nothing can be made from them. Nothing of them stays on disk.
    """
    if len(files) == 1 and files[0].name.lower().endswith(READABLE):
        return take_splats(files[0], workspace)
    zips = [file for file in files if file.suffix.lower() == ".zip"]
    if len(files) == 1 and (zips or files[0].suffix.lower() not in (*VIDEOS, *IMAGES)):
        return take_zip(files[0], workspace)
    if zips:
        raise InputError(f"{zips[0].name} was uploaded with other files: upload one zip, or files without it")
    name = files[0].stem if len(files) == 1 else f"{len(files)} photographs"
    home = workspace.free(workspace.folder / "captures", name)
    try:
        home.mkdir(parents=True)
        for number, file in enumerate(files):
            target = home / file.name
            shutil.move(str(file), target.with_stem(f"{file.stem}-{number}") if target.exists() else target)
        find_source(home, home / "unpacked")
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    return workspace.for_source(home, name)


def take_splats(file: Path, workspace: Workspace) -> SceneLocation:
    """Take a file of splats.

    Raises:
        InputError: It is none. Nothing of it stays on disk.
    """
    kind_of(file)
    name = file.name.split(".")[0]
    home = workspace.free(workspace.folder / "captures", name)
    home.mkdir(parents=True)
    shutil.move(str(file), home / file.name)
    return workspace.for_source(home / file.name, name)


def take_zip(file: Path, workspace: Workspace) -> SceneLocation:
    """Unpack a zipped capture, a scene that was downloaded from this page, photographs, or a video.

    Raises:
        InputError: The file holds none of these, or something unsafe. Nothing of it stays on disk.
    """
    if file.suffix.lower() != ".zip":
        raise InputError(
            f"{file.name} is no video, no photograph, no splat file and no zip file: zip the folder of "
            "the capture and upload the zip"
        )
    home = workspace.free(workspace.folder / "captures", file.stem)
    try:
        _, left_out = unpack(file, home, (*SCENE_FILES, *VIDEOS))
        root = _root(home, file.name)
        if left_out:
            warn(
                f"{file.name}: {len(left_out)} files are left out, of kinds that neither captures nor scenes "
                f"are read from: {first_few(left_out)}"
            )
        if (root / "scene.json").exists():
            return _take_scene(root, home, workspace, file.stem)
        if is_source(root):
            return workspace.for_source(root, file.stem)
        check_images([p for p in root.rglob("*") if p.suffix.lower() in IMAGES])
        from nerf_insert.capture.capture import Capture

        capture = Capture.load(root)
        confine(capture, root)
        return workspace.for_capture(capture.path, file.stem)
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _take_scene(root: Path, home: Path, workspace: Workspace, name: str) -> SceneLocation:
    from nerf_insert.scene.scene import Scene

    check_images([p for p in root.rglob("*") if p.suffix.lower() in IMAGES])
    data = read_json(root / "scene.json")
    if not isinstance(data, dict) or not (root / "capture").is_dir():
        raise InputError(f"{name}.zip holds a scene without its photographs: download it from the page again")
    data["capture"] = {**dict(data.get("capture") or {}), "path": "capture", "relative": "capture"}
    write_json(root / "scene.json", data)
    shutil.rmtree(root / PAGE, ignore_errors=True)  # jobs are command lines: none is accepted from outside
    for mask in (root / "layers").glob("*/region/**/*.png"):  # the page itself reads these
        image_sandbox.convert(mask, mask, MAX_MASK_SIDE)
    scene = Scene.open(root)
    confine(scene.capture, root)
    _ = scene.base  # raises now if the base is damaged
    for entry in scene.layers:
        scene.load_layer(entry)
    target = workspace.free(workspace.folder / "scenes", name)
    shutil.move(str(root), target)
    shutil.rmtree(home, ignore_errors=True)
    return SceneLocation(target, target.name)


def confine(capture: Capture, root: Path) -> None:
    """Check that all images of a capture lie in its own folder and were checked by the child process.

    Raises:
        InputError: One of them does not.
    """
    inside = root.resolve()
    for view in capture.views:
        for path in (view.path, view.mask_path):
            if path is not None and not path.resolve().is_relative_to(inside):
                raise InputError(f"the capture names {view.name}, which is outside its own folder")
            if path is not None and path.suffix.lower() not in IMAGES:
                raise InputError(f"the capture names {path.name}, which is not one of {', '.join(IMAGES)}")


def _root(home: Path, name: str) -> Path:
    """Return the folder of the capture or scene, the one nearest to the top of the zip."""
    for index in INDICES:
        found = sorted(home.rglob(index), key=lambda path: len(path.parts))
        nearest = [path.parent for path in found if len(path.parts) == len(found[0].parts)]
        if len(nearest) > 1:
            names = first_few([folder.relative_to(home).as_posix() for folder in nearest])
            raise InputError(f"{name} holds several captures or scenes: zip one of {names} alone")
        if nearest:
            return nearest[0]
    for folder in ("sparse", "colmap"):  # written by COLMAP
        found = sorted((p for p in home.rglob(folder) if p.is_dir()), key=lambda path: len(path.parts))
        if found:
            return found[0].parent
    while len(entries := sorted(home.iterdir())) == 1 and entries[0].is_dir():
        home = entries[0]
    if not any(path.suffix.lower() in (*IMAGES, *VIDEOS) for path in home.rglob("*")):
        raise InputError(
            f"{name} holds no capture, no photographs and no video: zip a folder with the photographs, and "
            "their transforms.json where there is one"
        )
    return home  # another program's, or what is missing is said by whoever reads it


def take_image(file: Path, target: Path, side: int = MAX_REFERENCE_SIDE) -> None:
    """Write an uploaded image as a PNG of at most `side` pixels along each side.

    Raises:
        InputError: The file is not an image that can be used.
    """
    if file.suffix.lower() not in IMAGES:
        raise InputError(f"{file.name} cannot be used as an image: upload {NAMES}")
    target.parent.mkdir(parents=True, exist_ok=True)
    image_sandbox.convert(file, target, side)


def check_images(files: list[Path]) -> None:
    """Check that all files are images of an acceptable size.

    Raises:
        InputError: One of them is not.
    """
    for file in files:
        image_sandbox.check(file)


def check_mesh_file(file: Path) -> None:
    """Check the name of a mesh file.

    Raises:
        InputError: It is not one of the supported formats.
    """
    if file.suffix.lower() not in MESHES:
        raise InputError(
            f"{file.name} is not a mesh: upload {', '.join(MESHES)}; GLB keeps the colors in one file"
        )
