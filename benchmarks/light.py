"""Light and shadow against ground truth, on captures whose true images with and without an object are known.

    python -m benchmarks.light CAPTURE ... --out DIR [--task insert|remove] [--base SCENE ...] [--steps N]

CAPTURE holds transforms.json (the capture without the object), transforms_removal.json (with it), images/
(without), truth/ (with), object_mask/ and object.ply. A base is trained for each, or copied from --base.

    oracle      insertion: every view painted with its true image, in the mesh's region
    none, cast  insertion of the mesh without and with a shade layer
    left, back  removal with `fill`, by three masks, without and with a shade layer that takes the shadow back

Of each, mean over the test views: PSNR of the object's pixels, of the whole image, and `recovered`, the share
of the squared error that the edit takes away where the truth differs from the capture by more than 0.03, at
least 2 pixels clear of the object: its shadow and the light that it throws back. `changed` is the largest
change of a pixel whose ray misses every region. Light is what `nerf-insert light` prints.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from nerf_insert.capture.capture import Capture
from nerf_insert.editing.light_probe import probe_light
from nerf_insert.editing.loop import edit
from nerf_insert.evaluation.evaluate import outside_regions
from nerf_insert.evaluation.image_metrics import grow, psnr
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.io.images import read_image, to_uint8, write_image
from nerf_insert.regions.spec import Masks, Mesh
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import LineProgress
from nerf_insert.scene.recipe import GuideSpec, Recipe, Schedule, ShadowSpec
from nerf_insert.scene.scene import Scene
from nerf_insert.training.scene_trainer import TrainConfig, train_base

ORACLE = "benchmarks.oracle:Oracle"
# Change of a pixel that the object's light reaches; pixels around the object that do not count.
CHANGED, CLEAR = 0.03, 2
MIN_PIXELS = 50
MASKS, MASK_MARGIN = 3, 4  # views that a removal is marked on; pixels by which their masks are dilated


def find(folder: Path, stem: str) -> Path:
    """Return the image of a view."""
    return next(path for path in sorted(folder.glob(f"{stem}.*")) if path.suffix in (".png", ".jpg"))


def true_mask(folder: Path, stem: str) -> torch.Tensor:
    """Return the pixels of a view in which the object is visible; it may be none."""
    return read_image(find(folder, stem))[0].mean(-1) > 0.5


def score(scene: Scene, truth: Path, masks: Path) -> dict[str, float]:
    """Compare the test views with the truth."""
    stack = scene.stack()
    in_object, whole, now, before, changed = [], [], 0.0, 0.0, 0.0
    for view in scene.capture.test:
        want, had = read_image(find(truth, view.path.stem))[0], view.photograph()
        mask = true_mask(masks, view.path.stem)
        rendered, base = (
            stack.render_image(view.camera).rgb,
            LayerStack(stack.base).render_image(view.camera).rgb,
        )
        outside = outside_regions(stack, view)
        changed = max(changed, float((rendered - base)[outside].abs().max()) if bool(outside.any()) else 0.0)
        got, old = (to_uint8(image).float() / 255 for image in (rendered, base))
        shadow = ((want - had).abs().amax(-1) > CHANGED) & ~grow(mask, CLEAR)
        whole.append(psnr(got, want))
        if int(mask.sum()) >= MIN_PIXELS:
            in_object.append(psnr(got, want, mask))
        if int(shadow.sum()) >= MIN_PIXELS:
            now += float((got - want)[shadow].square().sum())
            before += float((old - want)[shadow].square().sum())
    return {
        "in_object": sum(in_object) / max(1, len(in_object)),
        "whole": sum(whole) / len(whole),
        "recovered": 1 - now / max(before, 1e-12),
        "changed": changed,
    }


def base_scene(
    capture: Capture, given: Path | None, folder: Path, steps: int, progress: LineProgress
) -> Scene:
    """Train a base, or take a trained one over, without its layers."""
    if not (folder / "scene.json").exists():
        if given is not None:
            shutil.copytree(given, folder)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            checkpoint = folder.parent / "base.safetensors"
            base = train_base(capture, TrainConfig(steps=steps), FieldConfig(), progress, checkpoint)
            Scene.create(folder, capture, base)
    scene = Scene.open(folder)
    while scene.layers:
        scene.remove(len(scene.layers))
    return scene


def removal_masks(scene: Scene, masks: Path, out: Path) -> Masks:
    """Mark the object on a few training views that see it from different sides."""
    seen = [view for view in scene.capture.train if int(true_mask(masks, view.path.stem).sum()) > MIN_PIXELS]
    files = {}
    for view in (seen[k * len(seen) // MASKS] for k in range(MASKS)):
        files[view.name] = str(out / f"mask-{view.path.stem}.png")
        write_image(Path(files[view.name]), grow(true_mask(masks, view.path.stem), MASK_MARGIN))
    return Masks(files)


def recipes(task: str, folder: Path, scene: Scene, out: Path, steps: int | None) -> dict[str, Recipe]:
    """Return the edits of a task by the names of their rows."""
    schedule = Schedule(steps=steps)
    none = ShadowSpec("none")
    if task == "remove":
        region = removal_masks(scene, folder / "object_mask", out)
        return {
            "left": Recipe(region, inpainter="fill", schedule=schedule, shadow=none, name="left"),
            "back": Recipe(region, inpainter="fill", schedule=schedule, name="back"),
        }
    mesh = str((folder / "object.ply").absolute())
    guide, region = GuideSpec(mesh=mesh), Mesh(mesh)
    truth = {"truth": str((folder / "truth").absolute())}
    return {
        "oracle": Recipe(region, guide, ORACLE, truth, schedule, "oracle", shadow=none),
        "none": Recipe(region, guide, "mesh", {}, schedule, "none", shadow=none),
        "cast": Recipe(region, guide, "mesh", {}, schedule, "cast"),
    }


def run(
    folder: Path, task: str, given: Path | None, out: Path, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """Measure one capture: a row for each edit."""
    file = folder / ("transforms.json" if task == "insert" else "transforms_removal.json")
    progress, capture = LineProgress(), Capture.load(file)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, recipe in recipes(
        task, folder, base_scene(capture, given, out / "scene", args.base_steps, progress), out, args.steps
    ).items():
        scene = base_scene(capture, given, out / "scene", args.base_steps, progress)
        start = time.monotonic()
        edit(scene, recipe, progress, again=True)
        seconds = time.monotonic() - start
        truth = folder / ("truth" if task == "insert" else "images")
        shades = [entry for entry in scene.layers if entry.shade_of]
        size = sum(f.stat().st_size for entry in shades for f in scene.layer_folder(entry).iterdir())
        rows.append(
            {"capture": folder.name, "edit": name, **score(scene, truth, folder / "object_mask")}
            | {"seconds": round(seconds, 1), "shade_bytes": size}
        )
        stack = scene.stack()
        for view in scene.capture.test:
            write_image(out / name / f"{view.path.stem}.png", stack.render_image(view.camera).rgb)
    if task == "insert":
        scene = base_scene(capture, given, out / "scene", args.base_steps, progress)
        at = Mesh(str(folder / "object.ply")).build(capture).bounds.mean(0).tolist()
        rows.append({"capture": folder.name, "light": probe_light(scene, at, None, progress).to_dict()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("captures", type=Path, nargs="+", metavar="CAPTURE")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--task", choices=["insert", "remove"], default="insert")
    parser.add_argument(
        "--base", type=Path, action="append", default=[], help="a trained scene for each CAPTURE"
    )
    parser.add_argument("--base-steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--steps", type=int, help="of each layer's fit")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.base and len(args.base) != len(args.captures):
        parser.error("give --base once for each CAPTURE, or not at all")
    rows = []
    for k, folder in enumerate(args.captures):
        given = args.base[k] if args.base else None
        rows += run(folder, args.task, given, args.out / args.task / folder.name, args)
    table = Table("capture", "edit", "in object, dB", "whole, dB", "recovered", "changed", "s", "shade, MB")
    for row in (row for row in rows if "edit" in row):
        table.add_row(
            row["capture"],
            row["edit"],
            f"{row['in_object']:.1f}",
            f"{row['whole']:.1f}",
            f"{row['recovered']:.2f}",
            f"{row['changed']:g}",
            f"{row['seconds']:.0f}",
            f"{row['shade_bytes'] / 1e6:.1f}",
        )
    Console().print(table)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
