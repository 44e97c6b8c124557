"""What measured depth gives a base: trained with and without it, for the same steps, on the same photographs.

    python -m benchmarks.base CAPTURE ... [--steps 300,1500] [--depths FOLDER] [--json FILE]

A table of the PSNR on the held-out photographs and of the seconds. `--depths` names a folder with the true
distances along the rays of held-out photographs, as NAME.npz of one array [H, W] a photograph under its stem,
for captures called NAME: then also the share of their pixels whose depth is wrong by more than 5 percent.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from nerf_insert.capture.capture import Capture
from nerf_insert.evaluation.image_metrics import psnr
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import LineProgress
from nerf_insert.training import scene_trainer
from nerf_insert.training.scene_trainer import TrainConfig, train_base

MAX_VIEWS = 8  # held-out photographs that are rendered
WRONG = 0.05  # relative error of depth
FARTHEST = 4.0  # in the cameras' distance from what they look at: true depths beyond do not count


def measure(capture: Capture, steps: int, depths: Any) -> dict[str, float]:
    """Train a base and compare its renders of held-out photographs with these."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint"
        base = train_base(capture, TrainConfig(steps=steps), FieldConfig(), LineProgress(), checkpoint)
    found: dict[str, list[float]] = {"psnr": [], "wrong": []}
    row = {"seconds": time.monotonic() - begin}
    for view in capture.test[:MAX_VIEWS]:
        render = LayerStack(base).render_image(view.camera)
        found["psnr"].append(psnr(render.rgb, view.photograph()))
        if depths is not None and Path(view.name).stem in depths:
            true = torch.from_numpy(depths[Path(view.name).stem])
            known = true < FARTHEST / base.scale
            found["wrong"].append(float(((render.depth / true - 1).abs() > WRONG)[known].float().mean()))
    return row | {name: float(np.mean(values)) for name, values in found.items() if values}


def main() -> None:
    """Train bases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("captures", nargs="+", type=Path, metavar="CAPTURE")
    parser.add_argument("--steps", default="1500", help="numbers of steps (default: 1500)")
    parser.add_argument("--depths", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    until, rows = scene_trainer.DEPTH_UNTIL, []
    for path in args.captures:
        capture = Capture.load(path)
        file = args.depths / f"{path.name}.npz" if args.depths else None
        depths = np.load(file) if file and file.is_file() else None
        for steps in map(int, args.steps.split(",")):
            for with_depth in (False, True):
                scene_trainer.DEPTH_UNTIL = until if with_depth else 1e-9
                found = measure(capture, steps, depths)
                rows.append({"capture": path.name, "steps": steps, "measured depth": with_depth, **found})
                if args.json:
                    args.json.write_text(json.dumps(rows, indent=1))
    table = Table("capture", "steps", "measured depth", "PSNR, dB", "depth wrong", "seconds")
    for row in rows:
        wrong = f"{row['wrong']:.3f}" if "wrong" in row else ""
        name, steps, with_depth = str(row["capture"]), str(row["steps"]), row["measured depth"]
        table.add_row(
            name, steps, "yes" if with_depth else "no", f"{row['psnr']:.2f}", wrong, f"{row['seconds']:.0f}"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
