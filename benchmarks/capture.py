"""Measure a capture made from a video whose cameras are known: a walk that `render_walk.py` rendered.

    python -m benchmarks.capture walk --out measured [--steps 1500]

makes a video of the frames and a capture of the video, and prints, as JSON: how many of the chosen frames
were placed; the error of their positions, after the best similarity, in percent of the path's radius; the
error of their rotations and of up, in degrees; minutes and peak memory. With --steps, it trains a base on the
capture and one on the same frames with the true cameras, and prints the PSNR of both on the held-out frames.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from pathlib import Path

import av
import numpy as np
from PIL import Image

from nerf_insert.evaluation.scene_psnr import mean_psnr
from nerf_insert.reconstruction.make import make_capture
from nerf_insert.reconstruction.options import CaptureOptions
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.create import train_scene

FPS = 10


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("walk", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--frames", type=int)
    arguments.add_argument("--steps", type=int, default=0)
    options = arguments.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    truth = json.loads((options.walk / "transforms.json").read_text())
    film = write_film(options.walk, truth, options.out / "walk.mp4")
    progress, start = Progress.of("lines"), time.monotonic()
    made = make_capture(
        film, options.out / "capture", CaptureOptions(frames=options.frames), progress=progress
    )
    result = compare(made.path, truth) | {
        "chosen": len(made.diagnosis.findings),
        "placed": made.diagnosis.placed,
        "reprojection_px": round(made.diagnosis.error, 3),
        "lens": made.diagnosis.lens,
        "minutes": round((time.monotonic() - start) / 60, 2),
        "peak_mb": peak_memory() >> 20,
    }
    if options.steps:
        for name, capture in (
            ("ours", made.path),
            ("true", with_true_cameras(made.path, truth, options.out / "true")),
        ):
            scene = train_scene(
                capture, options.out / f"scene-{name}", steps=options.steps, progress=progress
            )
            result[f"psnr_{name}"] = round(mean_psnr(scene.base, scene.capture.test, progress) or 0.0, 2)
    print(json.dumps(result, indent=2))


def write_film(walk: Path, truth: dict, path: Path) -> Path:
    """H.264 of the frames that are there, all of them in order."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = truth["w"], truth["h"], "yuv420p"
        stream.options = {"crf": "16"}
        for entry in truth["frames"]:
            with Image.open(walk / entry["file_path"]) as image:
                frame = av.VideoFrame.from_ndarray(np.asarray(image.convert("RGB")), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def true_pose(name: str, truth: dict) -> np.ndarray:
    """The camera of a frame, by the time in its name."""
    return np.array(truth["frames"][round(int(Path(name).stem) / 100 * FPS)]["transform_matrix"])


def compare(capture: Path, truth: dict) -> dict:
    """Errors of the cameras after the similarity that fits their positions best."""
    frames = json.loads((capture / "transforms.json").read_text())["frames"]
    found = np.array([frame["transform_matrix"] for frame in frames])[:, :3]
    true = np.array([true_pose(frame["file_path"], truth) for frame in frames])[:, :3]
    a, b = (poses[:, :, 3] - poses[:, :, 3].mean(0) for poses in (found, true))
    u, s, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation, scale = u @ sign @ vt, (s * np.diag(sign)).sum() / (a**2).sum(1).mean()
    miss = np.linalg.norm(scale * a @ rotation.T - b, axis=1)
    radius = np.linalg.norm(b[:, :2], axis=1).mean()
    turns = np.einsum("ij,njk,nlk->nil", rotation, found[:, :, :3], true[:, :, :3])
    angles = np.degrees(np.arccos(np.clip((turns.trace(axis1=1, axis2=2) - 1) / 2, -1, 1)))
    return {
        "position_percent": {
            "mean": round(100 * miss.mean() / radius, 3),
            "max": round(100 * miss.max() / radius, 3),
        },
        "rotation_degrees": {"mean": round(angles.mean(), 3), "max": round(angles.max(), 3)},
        "up_degrees": round(float(np.degrees(np.arccos(np.clip(rotation[2, 2], -1, 1)))), 3),
    }


def with_true_cameras(capture: Path, truth: dict, out: Path) -> Path:
    """The same photographs with the cameras that rendered them."""
    listing = json.loads((capture / "transforms.json").read_text())
    lens = {key: truth[key] for key in ("w", "h", "fl_x", "fl_y", "cx", "cy")}
    frames = [
        {
            "file_path": str((capture / frame["file_path"]).resolve()),
            "transform_matrix": true_pose(frame["file_path"], truth).tolist(),
        }
        for frame in listing["frames"]
    ]
    out.mkdir(exist_ok=True)
    (out / "transforms.json").write_text(
        json.dumps({"camera_model": "OPENCV", **lens, "frames": frames}, indent=1)
    )
    return out


def peak_memory() -> int:
    """Bytes, of this process or its largest child."""
    return 1024 * max(
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )


if __name__ == "__main__":
    main()
