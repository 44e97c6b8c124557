"""How the edit loop copes with images that disagree from view to view (docs/agreement.md).

    python -m benchmarks.agreement CAPTURE --scene SCENE --out DIR [--steps N --rays N --only ROW --json FILE]

CAPTURE has truth/, object_mask/ and object.ply; SCENE is a trained scene of it without layers. Stand-in
inpainters (benchmarks/standins.py) start from the true images:

    agree        they are the true images
    colors       color and brightness differ       shapes       small warps of shape and position
    wrong        one view in five is another thing  all          the three together
    x1.5         the same, one and a half times as strong
    pasted       all, but outside the mask they return the photograph itself, as some pipelines do
    drift        the change of color varies across the image      blur     as an autoencoder leaves it
    proportions  the thing is higher or wider in each view        texture  a pattern of its own in each view
    halo         the photograph shows through along the mask's border
    follow       colors and shapes, starting from the input image; at lower strength more of it is kept
    follow wrong follow, and one view in five is another thing
    kinds        follow, and each view paints one of three colorings of the thing (anchors the same one), of
                 which the layer is compared with the most similar

Rows are schedules. The table has the in-object PSNR in dB on views that nothing was fitted to (the mean over
views that show at least 50 pixels of the object), the number of images the inpainter painted, and the steps
of the layer's fit. Rows that FILE has already are not measured again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.standins import Standin, of_kind
from nerf_insert.editing.rounds import EditRounds
from nerf_insert.editing.session import INCONSISTENT, EditSession, prepare
from nerf_insert.evaluation.evaluate import MIN_OBJECT_PIXELS, Truth
from nerf_insert.evaluation.image_metrics import psnr
from nerf_insert.io.images import write_image
from nerf_insert.regions.spec import Mesh
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.eta import EtaEstimator
from nerf_insert.runtime.progress import SILENT, Progress, Task
from nerf_insert.scene.recipe import Recipe, Schedule
from nerf_insert.scene.scene import Scene

CASES = {
    "agree": {},
    "colors": {"color": 1.0},
    "shapes": {"warp": 1.0},
    "wrong": {"wrong": 20},
    "all": {"color": 1.0, "warp": 1.0, "wrong": 20},
    "colors x1.5": {"color": 1.5},
    "shapes x1.5": {"warp": 1.5},
    "all x1.5": {"color": 1.5, "warp": 1.5, "wrong": 30},
    "pasted": {"color": 1.0, "warp": 1.0, "wrong": 20, "pasted": True},
    "drift": {"drift": 1.0},
    "blur": {"blur": 1.0},
    "proportions": {"proportions": 1.0},
    "texture": {"texture": 1.0},
    "halo": {"halo": 4.0},
    "follow": {"color": 1.0, "warp": 1.0, "follow": True},
    "follow wrong": {"color": 1.0, "warp": 1.0, "wrong": 20, "follow": True},
    "kinds": {"color": 1.0, "warp": 1.0, "kinds": 3, "follow": True},
}
EVERY = tuple(CASES)
MIXED = ("follow", "follow wrong", "kinds")
PLAIN = {"match_color": False, "match_warp": False, "robust_weights": False}
ONCE = {"rounds": 1, "anchors": 0, **PLAIN}
# name: (schedule, cases, views that share a tile)
WAYS: dict[str, tuple[dict, tuple[str, ...], int]] = {
    "paint once and fit": (ONCE, EVERY, 1),
    "paper's schedule, 15 rounds": ({"rounds": 15, "anchors": 0, **PLAIN}, EVERY, 1),
    "ours": ({}, EVERY, 1),
    "once, all three": ({"rounds": 1}, EVERY, 1),
    "once, colors matched": ({**ONCE, "match_color": True}, ("agree", "colors", "all", "drift"), 1),
    "once, shapes matched": ({**ONCE, "match_warp": True}, ("agree", "shapes", "all", "proportions"), 1),
    "once, weighed": ({**ONCE, "robust_weights": True}, ("agree", "wrong", "all", "texture"), 1),
    "ours without colors": ({"match_color": False}, ("colors", "all", "drift", "follow"), 1),
    "ours without shapes": ({"match_warp": False}, ("shapes", "all", "proportions", "follow"), 1),
    "ours without weights": ({"robust_weights": False}, ("wrong", "all", "texture", "halo", "follow"), 1),
    "ours without anchors": ({"anchors": 0}, ("wrong", "all", *MIXED), 1),
    "ours, strength kept at 1": ({"strength_decay": 0.0}, MIXED, 1),
    "ours, strength as the paper's": ({"strength_decay": 0.8}, MIXED, 1),
    "ours, 16 anchors": ({"anchors": 16}, ("follow", "kinds"), 1),
    "ours, everything again at last": ({"repaint": "all"}, ("follow", "kinds"), 1),
    "ours, nothing again": ({"repaint": "none"}, ("wrong", "all", "follow wrong"), 1),
    "ours, anchors tiled by four": ({}, ("follow",), 4),
}


class EtaRecorder(Progress):
    """Records the remaining time that was estimated at the end of the first round."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds, self.estimate, self.estimated_at = 0, None, 0.0

    def closed(self, task: Task, finished: bool) -> None:
        self.rounds += task.description.startswith("Fitting")

    def changed(self, task: Task) -> None:
        if isinstance(task, EtaEstimator) and self.rounds == 1 and self.estimate is None:
            self.estimate, self.estimated_at = task.left, self.now()

    @property
    def error(self) -> float | None:
        """The estimated over the true remaining time, minus one."""
        return round(self.estimate / (self.now() - self.estimated_at) - 1, 3) if self.estimate else None


class Benchmark:
    def __init__(self, capture: Path, scene: Path, out: Path, steps: int, rays: int):
        self.folder, self.out, self.fit = capture, out, {"steps": steps, "rays": rays}
        self.scene = Scene.open(scene)
        mesh = str(capture / "object.ply")
        options = {"truth": str(capture)}
        recipe = Recipe(region=Mesh(mesh), inpainter="benchmarks.standins:Standin", inpainter_options=options)
        self.session = prepare(self.scene, recipe, SILENT)
        self.truth = Truth(capture / "truth", capture / "object_mask")

    def run(self, case: str, schedule: dict, tiles: int, name: str) -> dict[str, float]:
        """Make one layer and measure it."""
        inpainter = Standin(str(self.folder), tiles=tiles, **CASES[case])
        recipe = replace(self.session.recipe, schedule=Schedule(**{**self.fit, **schedule}))
        session: EditSession = replace(self.session, recipe=recipe, inpainter=inpainter)
        work = self.out / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        start = time.monotonic()
        progress = EtaRecorder()
        layer = EditRounds(session, work, name, progress).run().eval()
        off, seconds = progress.error, time.monotonic() - start
        rounds = json.loads((work / "rounds.json").read_text())["rounds"]
        views = self.scene.capture.test
        write_image(
            self.out / f"{name} {case}.png",
            torch.cat(
                [LayerStack(session.stack.base, [layer]).render_image(v.camera).rgb for v in views[:2]], 1
            ),
        )
        return {
            "in_object": self.in_object(LayerStack(session.stack.base, [layer]), inpainter.kinds),
            "pictures": inpainter.views_painted,
            "steps": sum(this["steps"] for this in rounds),
            "doubted": sum(value < 0.5 for value in rounds[-1]["trust"].values()),
            "seconds": round(seconds, 1),
            "time_left_off": off,
        }

    def in_object(self, stack: LayerStack, kinds: int) -> float:
        found: list[list[float]] = [[] for _ in range(kinds)]
        for view in self.scene.capture.test:
            image, mask = self.truth.load(view)
            if mask is not None and int(mask.sum()) >= MIN_OBJECT_PIXELS:
                shown = stack.render(view.camera.rays()[mask.reshape(-1)]).rgb
                shown = (shown * 255 + 0.5).floor() / 255  # as written to a file
                for kind, values in enumerate(found):
                    values.append(psnr(shown[None], of_kind(image, kind)[mask][None]))
        return max(sum(values) / len(values) for values in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("capture", type=Path)
    parser.add_argument("--scene", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=INCONSISTENT.steps)
    parser.add_argument("--rays", type=int, default=Schedule.rays)
    parser.add_argument("--only", action="append", help="rows by their names; may be given again")
    parser.add_argument("--case", action="append", help="columns by their names; may be given again")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()

    fit = f"{args.steps} x {args.rays}"
    known = json.loads(args.json.read_text()) if args.json and args.json.exists() else {}
    bench = None
    for name, (schedule, cases, tiles) in WAYS.items():
        if args.only and name not in args.only:
            continue
        for case in cases:
            key = f"{name} | {case} | {fit}"
            if key in known or (args.case and case not in args.case):
                continue
            bench = bench or Benchmark(args.capture, args.scene, args.out, args.steps, args.rays)
            known[key] = bench.run(case, schedule, tiles, name)
            print(key, known[key], flush=True)
            if args.json:
                args.json.write_text(json.dumps(known, indent=1))
    show(known, fit)


def show(known: dict[str, dict], fit: str) -> None:
    present = [case for case in CASES if any(f"{name} | {case} | {fit}" in known for name in WAYS)]
    table = Table(title=f"in-object PSNR on unseen views, dB; steps x rays {fit}")
    for column in ("", *present, "pictures", "steps"):
        table.add_column(column)
    for name in WAYS:
        row = {case: known.get(f"{name} | {case} | {fit}") for case in present}
        found = [value for value in row.values() if value]
        if found:
            cells = [f"{value['in_object']:.2f}" if value else "" for value in row.values()]
            pictures = "-".join(str(f(v["pictures"] for v in found)) for f in (min, max))
            table.add_row(name, *cells, pictures, str(found[0]["steps"]))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
