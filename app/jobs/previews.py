"""Pictures of what a job has made so far, while it is still at it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from nerf_insert.app import image_sandbox
from nerf_insert.app.jobs.queue import OPEN, Job, Jobs
from nerf_insert.app.scene_cache import RENDERING, OpenScene, array_url, data_url
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.capture.capture import View
from nerf_insert.errors import InputError
from nerf_insert.fields.layer import unfinished_layer
from nerf_insert.regions import Region
from nerf_insert.rendering.outputs import file_stems
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.scene import Scene

MOST, WIDTH = 8, 220  # pictures, and pixels
COARSE = 64  # pixels across, to see how much of a region a view shows
_one = threading.Lock()  # at a time is rendered from what is still being fitted


def pictures(opened: OpenScene, jobs: Jobs, key: str, have: int) -> tuple[int, list[dict[str, Any]] | None]:
    """(how many there are, the newest of them; None where that is as many as the browser has). Those of a
    preview say what photograph they are of, "view", and the name under which they are kept, "file"."""
    place = opened.place
    job = jobs.get(place.page, key)
    files = made(place, job, jobs.folder(place.page, key))
    growing = grows(place, job)
    count = len(files) + (int(growing[0]) if growing else 0)
    if count == have:
        return count, None
    shown = [{"url": thumbnail(file), "label": file.stem} for file in files[-MOST:]]
    if job.kind == "preview":
        views = views_of(place)
        for one in shown:
            one |= {"view": views.get(one["label"]), "file": f"{key}-{one['label']}.png"}
    if growing:
        file = growing[1]
        shown += grown_base(place, file) if job.kind == "train" else grown_layer(opened, file.parent)
    return count, shown


def grows(place: SceneLocation, job: Job) -> tuple[float, Path] | None:
    """The checkpoint that a job writes while it runs, and when it did so last."""
    pattern = {"train": "base/checkpoint.safetensors", "edit": "layers/*/checkpoint.safetensors"}
    if job.kind not in pattern or job.state not in OPEN or job.started is None:
        return None
    newest = max(dated(place.folder.glob(pattern[job.kind])), default=None)
    return newest if newest and newest[0] >= job.started else None


def made(place: SceneLocation, job: Job, folder: Path) -> list[Path]:
    """The painted views and other pictures that a job has written, oldest first. One edit at a time writes
    into a scene: the layer that got a picture while the job ran is the job's, from before a stop too."""
    if job.started is None:
        return []
    found = dated([*folder.glob("out/painted/*.png"), *folder.glob("out/*.jpg")])
    if job.kind == "edit":
        until = (job.ended or float("inf")) + 1
        for layer in (place.folder / "layers").glob("*"):
            pictures = dated(layer.glob("painted/*/*.png"))
            if any(job.started <= time <= until for time, _ in pictures):
                found += [(time, path) for time, path in pictures if time <= until]
    return [path for _, path in sorted(found)]


def dated(files: Iterable[Path]) -> list[tuple[float, Path]]:
    """When each was written last."""
    found = []
    for file in files:
        with contextlib.suppress(OSError):  # replaced, or gone, at this moment
            found.append((file.stat().st_mtime, file))
    return found


def views_of(place: SceneLocation) -> dict[str, str]:
    """The photographs' names by those of their pictures in a preview."""
    names = [view.name for view in Scene.open(place.folder).capture.views]
    return dict(zip(file_stems(names), names, strict=True))


def previewed(place: SceneLocation, jobs: Jobs, key: str, view: str) -> Path:
    """The picture that a preview has painted of a photograph. Raises InputError where there is none."""
    stems = [stem for stem, name in views_of(place).items() if name == view]
    found = [jobs.folder(place.page, key) / "out" / "painted" / f"{stem}.png" for stem in stems]
    if not found or not found[0].exists():
        raise InputError(f"this preview has no picture of {view}")
    return found[0]


def thumbnail(file: Path) -> str:
    import numpy as np

    try:
        with Image.open(file) as picture:
            picture.draft("RGB", (WIDTH, WIDTH))
            picture.thumbnail((WIDTH, WIDTH))
            return array_url(np.asarray(picture.convert("RGB")))
    except OSError:
        return ""


def grown_layer(opened: OpenScene, folder: Path) -> list[dict[str, Any]]:
    """Renders of a layer that is still being fitted, over what lies below it; [] where that is too early."""
    if not _one.acquire(blocking=False):
        return []
    try:
        layer = unfinished_layer(folder)
        if layer is None:
            return []
        below = opened.stack()
        stack = LayerStack(below.base, (*below.layers, layer.to(below.device)))
        views = best_views(layer.region, opened.capture.views)
        with RENDERING:
            renders = [
                stack.render_image(view.camera.scaled(WIDTH / view.camera.width)).rgb for view in views
            ]
        names = [Path(view.name).stem for view in views]
        return [{"url": data_url(r), "label": f"{n}, so far"} for n, r in zip(names, renders, strict=True)]
    except InputError:
        return []
    finally:
        _one.release()


def best_views(region: Region, views: Sequence[View], count: int = 2) -> list[View]:
    """Views that show much of a region, from different sides."""

    def share(view: View) -> float:
        return float(region.project(view.camera.scaled(COARSE / view.camera.width)).float().mean())

    ranked = sorted(views, key=share, reverse=True)
    center, chosen = region.bounds.mean(0), ranked[:1]
    for view in ranked[1 : len(ranked) // 2]:
        toward = [torch.nn.functional.normalize(v.camera.center - center, dim=0) for v in (view, *chosen)]
        if len(chosen) < count and all(float(toward[0] @ other) < 0.5 for other in toward[1:]):
            chosen.append(view)
    return chosen


def grown_base(place: SceneLocation, checkpoint: Path) -> list[dict[str, Any]]:
    """A render of a base that is still being trained, beside the photograph; [] where that is too early."""
    from nerf_insert.capture.capture import Capture
    from nerf_insert.training.scene_trainer import unfinished_base

    if place.capture_path is None or not _one.acquire(blocking=False):
        return []
    try:
        capture = Capture.load(place.capture_path)
        base = unfinished_base(capture, checkpoint)
        if base is None:
            return []
        view = (capture.test or capture.train)[0]
        camera = view.camera.scaled(WIDTH / view.camera.width)
        with RENDERING:
            picture = LayerStack(base).render_image(camera).rgb
        size = (camera.width, camera.height)
        return [
            {"url": data_url(picture), "label": "so far"},
            {"url": image_sandbox.photograph(view, size), "label": "photograph"},
        ]
    except InputError:
        return []
    finally:
        _one.release()
