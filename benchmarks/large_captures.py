"""Memory and time of training on many or large photographs.

    python benchmarks/large_captures.py [--count 300] [--megapixels 2] [--steps 200] [--own-lenses]

The photographs are those of the bundled sample, enlarged and repeated as links, with noise so that JPEG files
have a usual size. What is measured is `nerf-insert train`: seconds to the first step and to the last, and the
process's peak memory until then.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from nerf_insert.capture.bundled_sample import sample_path


def make(folder: Path, count: int, megapixels: float, own_lenses: bool) -> None:
    """Write the capture."""
    sample = sample_path()
    meta = json.loads((sample / "transforms.json").read_text())
    scale = (megapixels * 1e6 / (meta["w"] * meta["h"])) ** 0.5
    width, height = round(meta["w"] * scale), round(meta["h"] * scale)
    scale = width / meta["w"]
    lens = {key: meta[key] * scale for key in ("fl_x", "fl_y", "cx", "cy")} | {"w": width, "h": height}
    (folder / "images").mkdir(parents=True)
    random, frames = np.random.default_rng(0), []
    grain = random.normal(0, 4, (height, width, 1)).astype(np.int16)
    for k in range(count):
        source = meta["frames"][k % len(meta["frames"])]
        name = f"images/{k:04d}.jpg"
        if k < len(meta["frames"]):
            image = Image.open(sample / source["file_path"]).convert("RGB").resize((width, height))
            pixels = (np.asarray(image).astype(np.int16) + np.roll(grain, 7 * k, 1)).clip(0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name, quality=90)
        else:
            os.link(folder / f"images/{k % len(meta['frames']):04d}.jpg", folder / name)
        own = {**lens, "fl_x": lens["fl_x"] + 0.01 * k} if own_lenses else {}
        frames.append({"file_path": name, "transform_matrix": source["transform_matrix"], **own})
    shared = {} if own_lenses else lens
    (folder / "transforms.json").write_text(json.dumps({**shared, "frames": frames}))


def train(capture: Path, scene: Path, steps: int) -> dict[str, float]:
    """Train and measure."""
    command = [sys.executable, "-m", "nerf_insert", "train", str(capture), "--out", str(scene), "--json"]
    start = time.monotonic()
    process = subprocess.Popen(
        [*command, "--steps", str(steps)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    first = last = float("nan")
    for line in process.stderr:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("event") == "warning":
            print("warning:", event.get("text"))
        if event.get("task") == "Training the base":
            first = time.monotonic() - start if first != first else first
            last = time.monotonic() - start
            if event["event"] == "end":
                process.terminate()  # what follows is the comparison with the test photographs
    process.wait()
    if first != first:
        raise SystemExit(f"training failed with exit code {process.returncode}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return {"first_step_s": first, "last_step_s": last, "peak_gb": peak / 1e9}


def main() -> None:
    """Make the capture, train, print one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--megapixels", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--own-lenses", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = args.out or Path(folder)
        make(home / "capture", args.count, args.megapixels, args.own_lenses)
        measured = train(home / "capture", home / "scene", args.steps)
    load = os.getloadavg()[0]
    shown = ", ".join(f"{name} {value:.1f}" for name, value in measured.items())
    what = f"{args.count} photographs of {args.megapixels:g} megapixels, {args.steps} steps"
    print(f"{what}: {shown} (load {load:.1f})")


if __name__ == "__main__":
    main()
