"""The demo on the bundled sample: train, insert a mesh, remove an object, compare with ground truth.

Every step makes the same calls as its command and resumes where it was interrupted.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf_insert.capture.bundled_sample import sample_path
from nerf_insert.capture.camera_paths import orbit_cameras
from nerf_insert.capture.capture import Capture
from nerf_insert.editing.api import edit
from nerf_insert.evaluation.evaluate import Truth, evaluate
from nerf_insert.io.files import write_json
from nerf_insert.io.images import contact_sheet, read_image, write_image
from nerf_insert.io.video import VideoWriter
from nerf_insert.regions.spec import Mesh, Points
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.create import train_scene
from nerf_insert.scene.recipe import GuideSpec, Recipe
from nerf_insert.scene.scene import Scene

FRAMES, FPS = 48, 16
CLICK = ("022", (67.0, 108.0))  # a photograph of the sample and a pixel (x, y) of the mug in it
STEPS = (
    ("train a scene on the sample's photographs", "about 3 minutes"),
    ("insert a rocket from its mesh", "about 1 minute"),
    ("remove the mug by one click on a photograph", "about 1 minute"),
    ("compare with the ground truth", "about 1 minute"),
    ("render an orbit before and after", "about 2 minutes"),
)


def run_demo(out: Path, progress: Progress) -> tuple[dict[str, Any], str]:
    """Write the scene, orbit.mp4, sheet.png and report.json to a folder.

    Returns:
        The metrics, and a text that summarizes them.
    """
    start = time.monotonic()
    sample = sample_path()
    folder = out / "scene"
    progress.say(
        "On two cores without a GPU: " + "; ".join(f"{step} ({duration})" for step, duration in STEPS)
    )

    _announce(progress, 0)
    capture = Capture.load(sample)
    if (folder / "scene.json").exists():
        scene = Scene.open(folder)
    else:
        scene = train_scene(sample, folder, progress=progress)

    mesh = str(sample / "object.ply")
    _announce(progress, 1)
    insert = Recipe(name="rocket", region=Mesh(mesh), guide=GuideSpec(mesh=mesh), inpainter="mesh")
    _run_once(scene, insert, progress)
    _announce(progress, 2)
    name, pixel = CLICK
    mug = Points({capture.view(name).name: [pixel]})
    _run_once(scene, Recipe(name="remove the mug", region=mug, inpainter="fill"), progress)

    _announce(progress, 3)
    inserted = evaluate(scene, capture.test, progress, Truth(sample / "truth/both", sample / "object_mask"))
    removed = evaluate(scene, capture.test, progress, Truth(sample / "truth/both", sample / "removed_mask"))
    _announce(progress, 4)
    _orbit_video(scene, capture, out / "orbit.mp4", progress)
    write_image(out / "sheet.png", _sheet(scene, capture, sample))

    metrics = {
        "insert": {k: inserted.mean[k] for k in ("base", "edited", "photograph")},
        "remove": {k: removed.mean[k] for k in ("base", "edited", "photograph")},
        "locality": vars(inserted.locality),
        "seconds": round(time.monotonic() - start, 1),
    }
    write_json(out / "report.json", metrics)
    return {"out": str(out), **metrics}, _report(out, metrics)


def _run_once(scene: Scene, recipe: Recipe, progress: Progress) -> None:
    """Make the recipe's layer, or enable the one that an earlier run made."""
    with scene.locked():
        made = [number for number, entry in enumerate(scene.layers, 1) if entry.name == recipe.name]
        if made:
            scene.enable(made[-1])
    if not made:
        edit(scene, recipe, progress=progress)


def _announce(progress: Progress, step: int) -> None:
    title, duration = STEPS[step]
    progress.say(f"{step + 1} of {len(STEPS)}: {title} ({duration})")


def _orbit_video(scene: Scene, capture: Capture, path: Path, progress: Progress) -> None:
    """Render an orbit, without edits on the left and with both on the right."""
    after = scene.stack()
    cameras = orbit_cameras(capture, FRAMES)
    width, height = cameras[0].width, cameras[0].height
    with progress.task("Rendering the orbit", total=len(cameras)) as task:
        with VideoWriter(path, FPS, (2 * width, height)) as video:
            for camera in cameras:
                frames = [stack.render_image(camera).rgb for stack in (LayerStack(after.base), after)]
                video.write(torch.cat(frames, 1))
                task.advance(1)


def _sheet(scene: Scene, capture: Capture, sample: Path) -> Tensor:
    """Show four test views: the photograph, the base, the edited scene, the ground truth."""
    stack = scene.stack()
    rows = []
    for view in capture.test[:: max(1, len(capture.test) // 4)][:4]:
        rows.append(
            [
                (f"photograph {view.path.stem}", view.photograph()),
                ("before", LayerStack(stack.base).render_image(view.camera).rgb),
                ("after", stack.render_image(view.camera).rgb),
                ("ground truth", read_image(sample / "truth/both" / view.path.name)[0]),
            ]
        )
    return contact_sheet(rows)


def _report(out: Path, metrics: dict[str, Any]) -> str:
    insert, remove = metrics["insert"], metrics["remove"]
    lines = [
        "PSNR against the ground truth, on held-out views:",
        f"  on the rocket           {insert['base']['in_object']:5.1f} dB before, "
        f"{insert['edited']['in_object']:5.1f} dB after",
        f"  in place of the mug     {remove['base']['in_object']:5.1f} dB before, "
        f"{remove['edited']['in_object']:5.1f} dB after",
        f"  whole image             {insert['base']['whole']:5.1f} dB before, "
        f"{insert['edited']['whole']:5.1f} dB after",
        f"Largest change of {metrics['locality']['pixels']} pixels whose rays miss both regions: "
        f"{metrics['locality']['largest_change']:g}",
        f"See {out / 'sheet.png'} and {out / 'orbit.mp4'} (before on the left, after on the right).",
        f"The scene is {out / 'scene'}; try `nerf-insert layers {out / 'scene'}`.",
        f"Total time: {metrics['seconds']:.0f} s.",
    ]
    return "\n".join(lines)
