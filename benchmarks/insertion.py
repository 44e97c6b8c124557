"""Insertion against ground truth, on a capture whose true images with the object are known.

    python -m benchmarks.insertion CAPTURE --out DIR [--steps N] [--only ROW] [--json FILE]

CAPTURE holds transforms.json, images/, truth/ (or truth/insert/), object_mask/ and object.ply. One run
trains a base and then measures on the test views, which nothing was fitted to:

    base            the scene without an edit
    mesh            --mesh object.ply, the built-in `mesh` inpainter
    oracle          the same region, every view painted with its true image
    hull, oracle    the region from three dilated masks instead of the mesh
    bare oracle     an oracle that does not declare its images consistent: painted in rounds and judged
    retrained       a whole new base fitted to the true images, for comparison with the oracle
    whole model     as earlier editors do: training of the base itself continues on the true images; the time
                    until it reaches the in-object PSNR of the layer's fit, as a ratio

Times are of one run on one machine. `edit` is all of `nerf-insert edit` but loading the scene, `loop` the
part of it that caches rays, paints and fits. The ratio is to the latter: locating the edit comes before it
either way.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.editing.loop import edit
from nerf_insert.evaluation.evaluate import Truth, evaluate
from nerf_insert.evaluation.image_metrics import grow, psnr
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.io.images import read_image, read_mask, to_uint8, write_image
from nerf_insert.regions.spec import Masks, Mesh
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import LineProgress, Task
from nerf_insert.scene.recipe import GuideSpec, Recipe
from nerf_insert.scene.scene import Scene
from nerf_insert.training.optimizer import Optimizer, at_step
from nerf_insert.training.scene_trainer import TrainConfig, base_loss, train_base

ORACLE, BARE_ORACLE = "benchmarks.oracle:Oracle", "benchmarks.oracle:BareOracle"
ROWS = ("base", "mesh", "oracle", "hull, oracle", "bare oracle", "retrained", "whole model")
EVALUATE_EVERY = 10.0  # seconds of training of the whole model between two measurements of its PSNR


class Timed(LineProgress):
    """Records how long each task took."""

    def __init__(self) -> None:
        super().__init__()
        self.took: dict[str, float] = {}

    def closed(self, task: Task, finished: bool) -> None:
        super().closed(task, finished)
        self.took[task.description] = self.took.get(task.description, 0.0) + task.elapsed

    def loop(self) -> float:
        """Seconds of the edit loop since the last call; "The edit" includes painting and fitting."""
        return sum(self.took.pop(name, 0.0) for name in ("The edit", "Caching the scene around the region"))


class Benchmark:
    """One capture with its truth, and the scene that is trained on it."""

    def __init__(self, capture: Path, out: Path, steps: int):
        self.folder, self.out = capture, out
        self.capture = Capture.load(capture)
        self.images = (
            capture / "truth" / "insert" if (capture / "truth" / "insert").is_dir() else capture / "truth"
        )
        self.truth = Truth(self.images, capture / "object_mask")
        self.config = TrainConfig(steps=steps)
        self.progress = Timed()

    def base_scene(self) -> Scene:
        folder = self.out / "scene"
        if (folder / "scene.json").exists():
            return Scene.open(folder)
        base = train_base(
            self.capture, self.config, FieldConfig(), self.progress, self.out / "base.safetensors"
        )
        return Scene.create(folder, self.capture, base)

    def edited(self, name: str, recipe: Recipe) -> dict:
        """Metrics of one edit, made on the bare base, and the seconds it took."""
        scene = self.base_scene()
        for number in range(len(scene.layers), 0, -1):
            scene.remove(number)
        start = time.monotonic()
        edit(scene, recipe, self.progress)
        seconds, loop = time.monotonic() - start, self.progress.loop()
        metrics = evaluate(scene, self.capture.test, self.progress, self.truth)
        for view in self.capture.test:
            write_image(
                self.out / name / f"{view.path.stem}.png", scene.stack().render_image(view.camera).rgb
            )
        return {**metrics.mean["edited"], "locality": vars(metrics.locality), "edit": seconds, "loop": loop}

    def in_object(self, base: SceneField, views: int = 4) -> float:
        """PSNR over the object's visible pixels in a few test views."""
        found = []
        for view in self.capture.test:
            image, mask = self.truth.load(view)
            if len(found) < views and mask is not None and int(mask.sum()) >= 50:
                render = LayerStack(base).render_image(view.camera).rgb
                found.append(psnr(to_uint8(render).float() / 255, image, mask))
        return sum(found) / len(found)

    def oracle_pixels(self) -> PixelSet:
        images = [read_image(self.images / view.path.name)[0] for view in self.capture.train]
        return PixelSet([view.camera for view in self.capture.train], [to_uint8(image) for image in images])

    def retrained(self) -> dict:
        """A whole base fitted to the true images from scratch."""
        start = time.monotonic()
        checkpoint = self.out / "retrained.safetensors"
        base = train_base(
            self.capture, self.config, FieldConfig(), self.progress, checkpoint, self.oracle_pixels()
        )
        return {"in_object": self.in_object(base, 1000), "loop": time.monotonic() - start}

    def continue_whole_model(self, until: float, limit: float) -> list[tuple[float, float]]:
        """Continue to train the base on the true images; return (seconds, in-object PSNR) as time passes."""
        base = self.base_scene().base.train().requires_grad_(True)
        base.occupancy.fill_(True)  # something may appear where nothing was
        pixels, optimizer, rays = self.oracle_pixels(), Optimizer(base, 1e-2, self.config.steps), 256
        spent, evaluated, found = 0.0, 0.0, []
        for step in range(1_000_000):
            start = time.monotonic()
            generator = at_step(1, step)
            chosen = torch.randint(len(pixels), (rays,), generator=generator)
            loss = base_loss(base, pixels, chosen, generator)
            optimizer.step(loss.total, min(step, self.config.steps))
            if step % 16 == 0:
                base.update_occupancy(generator, min(1.0, step / 300))
            rays = int(
                min(max(64, rays * self.config.samples / max(loss.samples, 1), rays / 2), 2 * rays, 1 << 15)
            )
            spent += time.monotonic() - start
            if spent - evaluated >= EVALUATE_EVERY:
                evaluated = spent
                with torch.no_grad():
                    found.append((spent, self.in_object(base)))
                print(f"whole model: {spent:6.1f} s {found[-1][1]:6.2f} dB", flush=True)
                if found[-1][1] >= until or spent > limit:
                    break
        return found


def three_masks(bench: Benchmark, folder: Path) -> dict[str, str]:
    """Object masks of three training views, dilated as if drawn with a brush.

    They are the first view and those a third and two thirds through the capture, not picked for what they
    show, so that the row stays comparable from run to run; each has to show the object."""
    views = bench.capture.train
    masks = {}
    for view in (views[0], views[len(views) // 3], views[2 * len(views) // 3]):
        mask = read_mask(bench.folder / "object_mask" / f"{view.path.stem}.png", size=view.size)
        file = folder / f"{view.path.stem}.png"
        write_image(file, grow(mask, 4).float())
        masks[view.name] = str(file)
    return masks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capture", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=TrainConfig.steps)
    parser.add_argument("--limit", type=float, default=600.0, help="most seconds for the whole model")
    parser.add_argument("--only", action="append", choices=ROWS, help="rows; may be given again")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    wanted = args.only or ROWS

    bench = Benchmark(args.capture, args.out, args.steps)
    scene = bench.base_scene()
    rows: dict[str, dict] = {}
    if "base" in wanted:
        metrics = evaluate(Scene.open(scene.folder), bench.capture.test, bench.progress, bench.truth)
        rows["base"] = dict(metrics.mean["base"])

    mesh = str(args.capture / "object.ply")
    oracle = {"inpainter": ORACLE, "inpainter_options": {"truth": str(bench.images)}}
    region = Mesh(mesh)
    recipes = {
        "mesh": Recipe(name="mesh", region=region, guide=GuideSpec(mesh=mesh), inpainter="mesh"),
        "oracle": Recipe(name="oracle", region=region, **oracle),
        "hull, oracle": Recipe(name="hull", region=Masks(three_masks(bench, args.out / "masks")), **oracle),
        "bare oracle": Recipe(name="bare", region=region, **{**oracle, "inpainter": BARE_ORACLE}),
    }
    for name, recipe in recipes.items():
        if name in wanted:
            rows[name] = bench.edited(name, recipe)
    if "retrained" in wanted:
        rows["retrained"] = bench.retrained()
    curve: list[tuple[float, float]] = []
    if "whole model" in wanted:
        until = rows["oracle"]["in_object"] if "oracle" in rows else float("inf")
        curve = bench.continue_whole_model(until, args.limit)
        rows["whole model"] = {"in_object": curve[-1][1], "loop": curve[-1][0]}
    table = Table(title=f"{args.capture.name}: PSNR on unseen views, dB")
    columns = ("in_object", "whole", "outside", "psnr", "edit", "loop")
    for column in ("", *columns, "locality"):
        table.add_column(column)
    for name, row in rows.items():
        cells = [f"{row[c]:.2f}" if row.get(c) is not None else "" for c in columns]
        table.add_row(name, *cells, str(row.get("locality", {}).get("largest_change", "")))
    Console().print(table)
    if curve and "oracle" in rows:
        ratio, reached = curve[-1][0] / rows["oracle"]["loop"], curve[-1][1] >= rows["oracle"]["in_object"]
        print(f"The layer takes 1/{ratio:.1f} of the whole model's time" + ("" if reached else ", or less"))
    if args.json:
        args.json.write_text(json.dumps({"rows": rows, "whole_model": curve}, indent=1))


if __name__ == "__main__":
    main()
