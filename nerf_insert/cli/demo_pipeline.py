"""The whole main job on the bundled sample: train, insert a mesh, remove an object, compare with the truth.

Every step is the same call that the command line makes, and each goes on where it was when stopped.
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
from nerf_insert.editing.loop import edit
from nerf_insert.evaluation.evaluate import Truth, evaluate
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.io.files import write_json
from nerf_insert.io.images import contact_sheet, read_image, write_image
from nerf_insert.io.video import VideoWriter
from nerf_insert.regions.spec import Masks, Mesh
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import GuideSpec, Recipe
from nerf_insert.scene.scene import Scene, lock_scene
from nerf_insert.training.scene_trainer import TrainConfig, train_base

FRAMES, FPS = 48, 16
STEPS = (
    ("train a base on the sample's photographs", "about 3 minutes"),
    ("insert a rocket, from its mesh", "about 1 minute"),
    ("remove the mug, from masks on three photographs", "about 1 minute"),
    ("compare with the true pictures", "about 1 minute"),
    ("render an orbit before and after", "about 2 minutes"),
)


def run_demo(out: Path, progress: Progress) -> tuple[dict[str, Any], str]:
    """Leave a scene, orbit.mp4, sheet.png and report.json in `out`; the figures, and a text that says so."""
    began = time.monotonic()
    sample = sample_path()
    folder = out / "scene"
    progress.say(
        "On two cores without a GPU: " + "; ".join(f"{what} ({how_long})" for what, how_long in STEPS)
    )

    _announce(progress, 0)
    capture = Capture.load(sample)
    if (folder / "scene.json").exists():
        scene = Scene.open(folder)
    else:
        checkpoint = folder / "base" / "checkpoint.safetensors"
        with lock_scene(folder):
            base = train_base(capture, TrainConfig(), FieldConfig(), progress, checkpoint)
            scene = Scene.create(folder, capture, base)
            checkpoint.unlink(missing_ok=True)

    mesh = str(sample / "object.ply")
    _announce(progress, 1)
    insert = Recipe(name="rocket", region=Mesh(mesh), guide=GuideSpec(mesh=mesh), inpainter="mesh")
    _make(scene, insert, progress)
    _announce(progress, 2)
    masks = {capture.view(file.stem).name: str(file) for file in sorted((sample / "masks").glob("*.png"))}
    _make(scene, Recipe(name="remove the mug", region=Masks(masks), inpainter="fill"), progress)

    _announce(progress, 3)
    inserted = evaluate(scene, capture.test, progress, Truth(sample / "truth/both", sample / "object_mask"))
    removed = evaluate(scene, capture.test, progress, Truth(sample / "truth/both", sample / "removed_mask"))
    _announce(progress, 4)
    _orbit_video(scene, capture, out / "orbit.mp4", progress)
    write_image(out / "sheet.png", _sheet(scene, capture, sample))

    figures = {
        "insert": {k: inserted["mean"][k] for k in ("base", "edited", "photograph")},
        "remove": {k: removed["mean"][k] for k in ("base", "edited", "photograph")},
        "locality": inserted["locality"],
        "seconds": round(time.monotonic() - began, 1),
    }
    write_json(out / "report.json", figures)
    return {"out": str(out), **figures}, _report(out, figures)


def _make(scene: Scene, recipe: Recipe, progress: Progress) -> None:
    """The recipe's layer, switched on: that of an earlier run is kept, whatever was done to it since."""
    with scene.locked():
        made = [number for number, entry in enumerate(scene.layers, 1) if entry.name == recipe.name]
        if made:
            scene.enable(made[-1])
    if not made:
        edit(scene, recipe, progress)


def _announce(progress: Progress, step: int) -> None:
    what, how_long = STEPS[step]
    progress.say(f"{step + 1} of {len(STEPS)}: {what} ({how_long})")


def _orbit_video(scene: Scene, capture: Capture, path: Path, progress: Progress) -> None:
    """Both edits from all around, the untouched scene on the left."""
    after = scene.stack()
    cameras = orbit_cameras(capture, FRAMES)
    width, height = cameras[0].width, cameras[0].height
    with progress.task("Rendering the orbit", total=len(cameras)) as task:
        with VideoWriter(path, FPS, (2 * width, height)) as video:
            for camera in cameras:
                both = [stack.render_image(camera).rgb for stack in (LayerStack(after.base), after)]
                video.write(torch.cat(both, 1))
                task.advance(1)


def _sheet(scene: Scene, capture: Capture, sample: Path) -> Tensor:
    """Test views: the photograph, the base, the edited scene, the truth."""
    stack = scene.stack()
    rows = []
    for view in capture.test[:: max(1, len(capture.test) // 4)][:4]:
        rows.append(
            [
                (f"photograph {view.path.stem}", view.photograph()),
                ("before", LayerStack(stack.base).render_image(view.camera).rgb),
                ("after: rocket in, mug out", stack.render_image(view.camera).rgb),
                ("truth", read_image(sample / "truth/both" / view.path.name)[0]),
            ]
        )
    return contact_sheet(rows)


def _report(out: Path, figures: dict[str, Any]) -> str:
    insert, remove = figures["insert"], figures["remove"]
    lines = [
        "PSNR against the true pictures, on views that no step has seen:",
        f"  where the rocket stands   {insert['base']['in_object']:5.1f} dB before, "
        f"{insert['edited']['in_object']:5.1f} dB after",
        f"  where the mug stood       {remove['base']['in_object']:5.1f} dB before, "
        f"{remove['edited']['in_object']:5.1f} dB after",
        f"  whole picture             {insert['base']['whole']:5.1f} dB before, "
        f"{insert['edited']['whole']:5.1f} dB after",
        f"Largest change of {figures['locality']['pixels']} pixels whose rays miss both regions: "
        f"{figures['locality']['largest_change']:g}",
        f"Look at {out / 'sheet.png'} and {out / 'orbit.mp4'} (before on the left, after on the right);",
        f"the scene is {out / 'scene'}: try `nerf-insert layers {out / 'scene'}`.",
        f"All of it took {figures['seconds']:.0f} s.",
    ]
    return "\n".join(lines)
