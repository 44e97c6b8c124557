"""Images of a job's output, also while the job runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nerf_insert.app import image_sandbox
from nerf_insert.app.jobs.job import UNFINISHED, Job
from nerf_insert.app.jobs.queue import JobQueue
from nerf_insert.app.scene_cache import RENDER_LOCK, OpenScene, array_data_url, image_data_url
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.capture.capture import Capture, View
from nerf_insert.editing.view_selection import spread_views
from nerf_insert.errors import InputError
from nerf_insert.fields.layer import unfinished_layer
from nerf_insert.regions import Region
from nerf_insert.rendering.outputs import file_stems
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.scene import Scene

MAX_IMAGES = 8  # the newest of a job
WIDTH = 220  # pixels
COARSE = 64  # pixels across, to measure how much of a region a view shows
CHECKPOINTS = {"train": "base/checkpoint.safetensors", "edit": "layers/*/checkpoint.safetensors"}
_rendering = threading.Lock()  # one unfinished field is rendered at a time


def job_images(
    open_scene: OpenScene, jobs: JobQueue, key: str, have: int
) -> tuple[int, list[dict[str, Any]] | None]:
    """Return the newest images of a job's output.

    Args:
        open_scene: The job's scene.
        jobs: The queue.
        key: The job's key.
        have: Version of the images that the caller has; -1 for none.

    Returns:
        The images' version, and the images as {"url", "label"}, or None if the caller has them. Those of a
        preview also have "view", the photograph's name, and "file", the name under which `keep` saves them.

    Raises:
        InputError: There is no such job.
    """
    location = open_scene.location
    job = jobs.get(location.page, key)
    files = output_images(location, job, jobs.folder(location.page, key))
    checkpoint = latest_checkpoint(location, job)
    version = len(files) + (int(checkpoint[0]) if checkpoint else 0)
    if version == have:
        return version, None
    images: list[dict[str, Any]] = [
        {"url": thumbnail(file), "label": file.stem} for file in files[-MAX_IMAGES:]
    ]
    if job.kind == "preview":
        views = views_by_stem(location)
        for image in images:
            image |= {"view": views.get(image["label"]), "file": f"{key}-{image['label']}.png"}
    if checkpoint and job.kind == "train":
        images += render_unfinished_base(location, checkpoint[1])
    elif checkpoint:
        images += render_unfinished_layer(open_scene, checkpoint[1].parent)
    return version, images


def latest_checkpoint(location: SceneLocation, job: Job) -> tuple[float, Path] | None:
    """Return when a running job wrote its latest checkpoint, and the file; None if there is none."""
    if job.kind not in CHECKPOINTS or job.state not in UNFINISHED or job.started is None:
        return None
    newest = max(with_mtimes(location.folder.glob(CHECKPOINTS[job.kind])), default=None)
    return newest if newest and newest[0] >= job.started else None


def output_images(location: SceneLocation, job: Job, folder: Path) -> list[Path]:
    """Return the painted views and other images that a job has written, oldest first.

    Only one edit at a time writes into a scene, so a layer that got an image while the job ran is the job's,
    with all of its earlier images (from before a stop).
    """
    if job.started is None:
        return []
    found = with_mtimes([*folder.glob("out/painted/*.png"), *folder.glob("out/*.jpg")])
    if job.kind == "edit":
        until = (job.ended or float("inf")) + 1
        for layer in (location.folder / "layers").glob("*"):
            painted = with_mtimes(layer.glob("painted/*/*.png"))
            if any(job.started <= time <= until for time, _ in painted):
                found += [(time, path) for time, path in painted if time <= until]
    return [path for _, path in sorted(found)]


def with_mtimes(files: Iterable[Path]) -> list[tuple[float, Path]]:
    """Return the files with the times at which they were last written."""
    found = []
    for file in files:
        if not file.name.startswith("."):  # still being written
            with contextlib.suppress(OSError):  # replaced or removed at this moment
                found.append((file.stat().st_mtime, file))
    return found


def views_by_stem(location: SceneLocation) -> dict[str, str]:
    """Return the photographs' names by the stems of their images in a preview.

    Raises:
        InputError: The scene cannot be read.
    """
    names = [view.name for view in Scene.open(location.folder).capture.views]
    return dict(zip(file_stems(names), names, strict=True))


def preview_image(location: SceneLocation, jobs: JobQueue, key: str, view: str) -> Path:
    """Return the image that a preview painted of a photograph.

    Raises:
        InputError: There is no such preview, or it painted no such image.
    """
    stems = [stem for stem, name in views_by_stem(location).items() if name == view]
    found = [jobs.folder(location.page, key) / "out" / "painted" / f"{stem}.png" for stem in stems]
    if not found or not found[0].exists():
        raise InputError(f"this preview has no image of {view}")
    return found[0]


def thumbnail(file: Path) -> str:
    """Return a small JPEG data URL of an image; "" if it cannot be read at this moment."""
    try:
        with Image.open(file) as image:
            image.draft("RGB", (WIDTH, WIDTH))
            image.thumbnail((WIDTH, WIDTH))
            return array_data_url(np.asarray(image.convert("RGB")))
    except OSError:
        return ""


def render_unfinished_layer(open_scene: OpenScene, folder: Path) -> list[dict[str, Any]]:
    """Render a layer that is being fitted, over the layers below it; [] if it is too early.

    Args:
        open_scene: The scene.
        folder: The layer's folder.
    """
    if not _rendering.acquire(blocking=False):
        return []
    try:
        layer = unfinished_layer(folder)
        if layer is None:
            return []
        below = open_scene.stack()
        stack = LayerStack(below.base, (*below.layers, layer.to(below.device)))
        images = []
        for view in best_views(layer.region, open_scene.capture.views):
            with RENDER_LOCK:
                rgb = stack.render_image(view.camera.scaled(WIDTH / view.camera.width)).rgb
            images.append({"url": image_data_url(rgb), "label": f"{Path(view.name).stem}, so far"})
        return images
    except InputError:
        return []
    finally:
        _rendering.release()


def best_views(region: Region, views: Sequence[View], count: int = 2) -> list[View]:
    """Return views that show much of a region, from different sides."""
    cameras = [view.camera.scaled(COARSE / view.camera.width) for view in views]
    coverage = torch.stack([region.project(camera).float().mean() for camera in cameras])
    if not float(coverage.max()):
        return list(views[:1])
    chosen = spread_views([view.camera for view in views], coverage, region.bounds.mean(0), count)
    return [views[index] for index in chosen]


def render_unfinished_base(location: SceneLocation, checkpoint: Path) -> list[dict[str, Any]]:
    """Render a base that is being trained, beside the photograph; [] if it is too early."""
    from nerf_insert.training.scene_trainer import unfinished_base

    if location.capture_path is None or not _rendering.acquire(blocking=False):
        return []
    try:
        capture = Capture.load(location.capture_path)
        base = unfinished_base(capture, checkpoint)
        if base is None:
            return []
        view = (capture.test or capture.train)[0]
        camera = view.camera.scaled(WIDTH / view.camera.width)
        with RENDER_LOCK:
            rgb = LayerStack(base).render_image(camera).rgb
        photograph = image_sandbox.photograph(view, (camera.width, camera.height))
        return [{"url": image_data_url(rgb), "label": "so far"}, {"url": photograph, "label": "photograph"}]
    except InputError:
        return []
    finally:
        _rendering.release()
