"""Measure how many rays a second a scene renders: the base in one pass against one operation after the other.

    python -m benchmarks.rendering SCENE [--threads 1|all] [--rounds N] [--rays N] [--json FILE]

The test views are rendered, of the base alone and of the scene with its enabled layers. Both ways take
turns in one process; the table has medians over the rounds. With one thread they are CPU times of the
process, which do not count other programs, otherwise wall times. `difference` is the largest one of any
pixel and channel, in steps of 8 bits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from unittest.mock import patch

import torch
from jaxtyping import Float
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nerf_insert import Scene
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.geometry.cameras import Camera
from nerf_insert.rendering.stack import LayerStack

WAYS = {"one pass": True, "operations": False}


def rendered(stack: LayerStack, cameras: Sequence[Camera], one_pass: bool) -> Float[Tensor, "P 3"]:
    """Render all pixels of the cameras, one of the two ways."""
    with patch.object(SceneField, "renders_itself", one_pass):
        return torch.cat([stack.render_image(camera).rgb.flatten(0, 1) for camera in cameras])


def measure(stack: LayerStack, cameras: Sequence[Camera], rounds: int) -> dict[str, float]:
    """Return rays a second of both ways, their ratio, and how far their images differ at most."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    images = {}
    for round_ in range(rounds + 1):
        for name, one_pass in WAYS.items():
            start = clock()
            images[name] = rendered(stack, cameras, one_pass)
            if round_:  # the first one compiles and fills caches
                seconds[name].append(clock() - start)
    count = len(images["one pass"])
    rates = {name: count / statistics.median(each) for name, each in seconds.items()}
    difference = float((images["one pass"] - images["operations"]).abs().max()) * 255
    return {**rates, "ratio": rates["one pass"] / rates["operations"], "difference": difference}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scene", help="a scene folder whose base was trained here")
    parser.add_argument("--threads", choices=["1", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rays", type=int, default=60_000, help="rays of a round, over all test views")
    parser.add_argument("--json", metavar="FILE", help="also write the figures")
    flags = parser.parse_args()
    if flags.threads == "1":
        torch.set_num_threads(1)
    scene = Scene.open(flags.scene)
    stack = scene.stack()
    if not isinstance(stack.base, SceneField):
        parser.error("this scene's base is not one of NeRF-Insert's own")
    views = scene.capture.test or scene.capture.train[:8]
    pixels = sum(view.camera.width * view.camera.height for view in views)
    cameras = [view.camera.scaled(min(1.0, (flags.rays / pixels) ** 0.5)) for view in views]
    samples = sum(stack.base.sample(camera.rays()).count for camera in cameras)
    count = sum(camera.width * camera.height for camera in cameras)
    figures = {"base": measure(LayerStack(stack.base), cameras, flags.rounds)}
    if stack.layers:
        figures[f"with {len(stack.layers)} layers"] = measure(stack, cameras, flags.rounds)
    title = f"{flags.scene}: {count} rays, {samples / count:.0f} occupied samples a ray"
    table = Table("rendered", "one pass, rays/s", "operations, rays/s", "ratio", "difference", title=title)
    for name, row in figures.items():
        rates = (f"{row[way]:,.0f}" for way in WAYS)
        table.add_row(name, *rates, f"{row['ratio']:.1f}x", f"{row['difference']:.2f}")
    Console(width=110).print(table)
    if flags.json:
        with open(flags.json, "w") as file:
            json.dump({"threads": torch.get_num_threads(), "rays": count, **figures}, file, indent=1)


if __name__ == "__main__":
    main()
