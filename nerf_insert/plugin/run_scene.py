"""The scene folder of a run, and the dataparser for its capture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerf_insert.capture.dataparsers import FORMATS, NO_POINTS, guess, other_dataparser
from nerf_insert.capture.formats import colmap
from nerf_insert.capture.reading import AS_BEFORE, FIRST, Reading
from nerf_insert.errors import InputError
from nerf_insert.io.files import write_json
from nerf_insert.scene.scene import Scene


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


def dataparser_for(scene: Scene) -> Any:
    """Return the config of a nerfstudio dataparser that reads the scene's capture.

    For a capture that nerfstudio does not read, or would read otherwise, a transforms.json of what was read
    is put into the scene's folder.

    Raises:
        InputError: The photographs would have to be turned for nerfstudio.
    """
    settings, capture = scene.loaded_with, scene.capture_as_found
    path = capture.path
    name = (settings["dataparser"] or guess(path)).removesuffix("-data")
    taken = capture.reading
    folder = path if path.is_dir() else path.parent
    moved = name == "nerfstudio" and not all((folder / view.name).exists() for view in capture.views)
    otherwise = taken != Reading(model=taken.model) and taken != AS_BEFORE
    if moved or otherwise or (name in FORMATS and name != "colmap"):
        return _translated(scene)
    config: Any = other_dataparser(name)  # its fields depend on the dataparser
    config.data = path
    for key, value in NO_POINTS.items():
        if hasattr(config, key):
            setattr(config, key, value)
    if hasattr(config, "colmap_path"):
        models = colmap.models_in(path)
        model = models[0] if taken.model == FIRST and models else colmap.find(path)
        if model:
            config.colmap_path = model.relative_to(path)
    factor = settings["downscale"]
    if hasattr(config, "downscale_factor"):
        small = factor and factor == int(factor) and (path / f"images_{int(factor)}").is_dir()
        config.downscale_factor = int(factor) if small else 1
    return config


def _translated(scene: Scene) -> Any:
    """Write the capture as nerfstudio reads it, relative to its origin; the config that reads that."""
    capture = scene.capture_as_found
    if any(view.orientation != 1 for view in capture.views):
        raise InputError(
            f"nerfstudio does not turn photographs as EXIF data says, as {capture.path} needs it: write "
            "them turned with `nerf-insert export SCENE dataset`"
        )
    frames = []
    for view in capture.views:
        camera = view.camera.resized(*view.full_size)
        lens = dict(zip(("k1", "k2", "k3", "k4", "p1", "p2"), camera.distortion, strict=True))
        lens |= {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy}
        pose = [*camera.c2w.tolist(), [0.0, 0.0, 0.0, 1.0]]
        frame = {"file_path": str(view.path), "transform_matrix": pose, "w": camera.width, "h": camera.height}
        if view.mask_path and not view.mask_marks_ignored:
            frame["mask_path"] = str(view.mask_path)
        frames.append(frame | lens)
    models = {"PERSPECTIVE": "OPENCV", "FISHEYE": "OPENCV_FISHEYE"}
    data = {"camera_model": models.get(capture.views[0].camera.model, "OPENCV"), "frames": frames}
    for part in ("train", "val", "test"):
        views = capture.train if part == "train" else capture.test
        if views:
            data[f"{part}_filenames"] = [str(view.path) for view in views]
    file = scene.folder / "base" / "transforms.json"
    write_json(file, data)
    config: Any = other_dataparser("nerfstudio")
    config.data, config.downscale_factor = file, 1
    for key, value in NO_POINTS.items():
        setattr(config, key, value)
    return config
