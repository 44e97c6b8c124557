"""Render a walk around the sample scene: frames with known cameras, for `benchmarks/capture.py`.

    uv venv --python 3.11 bpyenv && uv pip install --python bpyenv/bin/python bpy pillow scipy
    bpyenv/bin/python benchmarks/render_walk.py --out walk [--frames 150] [--scale 2]

The camera is carried around the table by a hand: one and a half loops, rising, at an uneven pace and with a
stop, looking a little here and there. The frames are PNGs; `benchmarks/capture.py` makes a video of them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "data"))

import make_sample
from mathutils import Matrix, Vector
from PIL import Image
from scipy.ndimage import gaussian_filter1d

LOOPS = 1.5
ELEVATION = (14.0, 48.0)  # degrees, first and last
STOP = (0.45, 0.1)  # where on the way the hand rests, and for which share of the time


def walk(count: int) -> list[Matrix]:
    """Camera-to-world, OpenGL axes."""
    rng = np.random.default_rng(5)

    def wander(size: float, smooth: float) -> np.ndarray:
        noise = gaussian_filter1d(rng.standard_normal(count), smooth, mode="nearest")
        return size * noise / noise.std()

    pace = np.exp(wander(0.35, count / 15))
    start = int(STOP[0] * count)
    pace[start : start + int(STOP[1] * count)] = 0.02
    way = np.r_[0, np.cumsum(pace)[:-1]]
    way /= way[-1]
    shake = [wander(size, 2.0) for size in (0.004, 0.004, 0.004, 0.02, 0.02, 0.02, 1.2)]
    distance = 1.2 + wander(0.05, count / 8)
    poses = []
    for k in range(count):
        azimuth = 2 * math.pi * LOOPS * float(way[k])
        height = math.radians(ELEVATION[0] + (ELEVATION[1] - ELEVATION[0]) * float(way[k]))
        out = Vector(
            (math.cos(height) * math.cos(azimuth), math.cos(height) * math.sin(azimuth), math.sin(height))
        )
        eye = Vector(make_sample.TARGET) + float(distance[k]) * out + Vector([float(s[k]) for s in shake[:3]])
        look = Vector(make_sample.TARGET) + Vector([float(s[k]) for s in shake[3:6]])
        roll = Matrix.Rotation(math.radians(float(shake[6][k])), 4, "Z")
        poses.append(
            Matrix.Translation(eye) @ (look - eye).to_track_quat("-Z", "Y").to_matrix().to_4x4() @ roll
        )
    return poses


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--frames", type=int, default=150)
    arguments.add_argument("--scale", type=float, default=2.0, help="factor on the sample's 256x192")
    arguments.add_argument("--samples", type=int, default=16, help="paths per pixel, before denoising")
    options = arguments.parse_args()
    poses = walk(options.frames)
    studio = make_sample.Studio(options.samples, options.scale)
    studio.show(False, True)
    (options.out / "frames").mkdir(parents=True, exist_ok=True)
    width, height = (round(n * options.scale) for n in (make_sample.WIDTH, make_sample.HEIGHT))
    lens = {"fl_x": make_sample.FOCAL, "fl_y": make_sample.FOCAL}
    lens |= dict(zip(("cx", "cy"), make_sample.CENTER, strict=True))
    frames = [
        {"file_path": f"frames/{k:04d}.png", "transform_matrix": [list(row) for row in pose]}
        for k, pose in enumerate(poses)
    ]
    listing = {"camera_model": "OPENCV", "w": width, "h": height}
    listing |= {key: value * options.scale for key, value in lens.items()}
    (options.out / "transforms.json").write_text(json.dumps(listing | {"frames": frames}, indent=1))
    for k, pose in enumerate(poses):
        path = options.out / "frames" / f"{k:04d}.png"
        if not path.exists():
            studio.aim(pose)
            Image.fromarray(studio.photograph()).save(path)


if __name__ == "__main__":
    main()
