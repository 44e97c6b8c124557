"""A video whose frames are rendered by several processes or machines, and then joined.

    OUT.mp4.parts/DIGEST/00007.png

Part K of N has the frames K-1, K-1+N, K-1+2N, ... DIGEST names all that a frame depends on, so frames of
another state of the scene are never taken, and those of a process that was killed need no second rendering.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_bytes
from nerf_insert.io.images import read_image
from nerf_insert.io.video import VideoWriter
from nerf_insert.rendering import outputs
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.renders import DEFAULT_FPS, Layers, check_image_sizes, named_cameras, visible_stack
from nerf_insert.scene.scene import Scene

if TYPE_CHECKING:
    from nerf_insert.capture.camera_crop import Crop
    from nerf_insert.geometry.cameras import Camera

SHOWN = 5  # missing frames that a message names


def render_part(
    scene: Scene,
    cameras: Sequence[Camera | tuple[str, Camera]],
    out: str | Path,
    part: tuple[int, int],
    *,
    layers: Layers = True,
    crop: Crop | None = None,
    progress: Progress = SILENT,
) -> int:
    """Render one part of a video's frames.

    Args:
        scene: The scene.
        cameras: All cameras of the video, as `render_path` takes them.
        out: The video, which `join_parts` writes.
        part: (K, N): which part, from 1, and of how many.
        layers: Which layers to show, see `layer_stack`.
        crop: What to show alone.
        progress: Where progress and warnings go.

    Returns:
        The number of frames in the part.

    Raises:
        InputError: There are no cameras, or no such part.
        RunError: A file cannot be written.
    """
    number, count = part
    if not 1 <= number <= count:
        raise InputError(f"there is no part {number} of {count}")
    named = named_cameras(cameras)
    check_image_sizes(named)
    folder = _folder(scene, named, Path(out), layers, crop)
    outputs.check_folder(folder)
    size = named[0][1].width, named[0][1].height
    mine = range(number - 1, len(named), count)
    missing = [k for k in mine if not _frame(folder, k).exists()]
    if missing:
        shown = visible_stack(scene, layers, crop)
        done = len(mine) - len(missing)
        with progress.task(f"Rendering part {number} of {count}", total=len(mine), done=done) as task:
            for k in missing:
                outputs.write_color(_frame(folder, k), shown.render_image(named[k][1].resized(*size)).rgb)
                task.advance(1)
    return len(mine)


def join_parts(
    scene: Scene,
    cameras: Sequence[Camera | tuple[str, Camera]],
    out: str | Path,
    *,
    layers: Layers = True,
    fps: float = DEFAULT_FPS,
    crop: Crop | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Write a video of frames that were rendered in parts, and delete those.

    Args:
        scene: The scene.
        cameras: As for `render_part`.
        out: The video.
        layers: As for `render_part`.
        fps: Frames per second.
        crop: As for `render_part`.
        progress: Where progress and warnings go.

    Raises:
        InputError: Frames are missing, or were rendered from another state of the scene.
        RunError: The video cannot be written.
    """
    named, out = named_cameras(cameras), Path(out)
    folder = _folder(scene, named, out, layers, crop)
    frames = [_frame(folder, k) for k in range(len(named))]
    missing = [k for k, frame in enumerate(frames) if not frame.exists()]
    if missing:
        listed = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        raise InputError(
            f"{len(missing)} of the {len(frames)} frames of {out} have not been rendered from this state of "
            f"the scene (frames {listed}): render all parts first (--part K/N)"
        )
    size = named[0][1].width, named[0][1].height
    with progress.task("Joining the parts", total=len(frames)) as task, VideoWriter(out, fps, size) as video:
        for frame in frames:
            video.write(read_image(frame)[0])
            task.advance(1)
    shutil.rmtree(folder.parent, ignore_errors=True)
    return out


def _frame(folder: Path, index: int) -> Path:
    return folder / f"{index:05d}.png"


def _folder(
    scene: Scene, named: Sequence[tuple[str, Camera]], out: Path, layers: Layers, crop: Crop | None
) -> Path:
    """Return the folder of the frames of this video, from this state of the scene."""
    if out.suffix.lower() != ".mp4":
        raise InputError(f"{out}: only a video, NAME.mp4, is joined of parts")
    shown = [entry for entry in scene.layers if layers is True and scene.is_shown(entry)]
    if not isinstance(layers, bool):
        shown = [
            scene.layers[number - 1] for number in sorted(set(layers)) if 1 <= number <= len(scene.layers)
        ]
    base = hashlib.sha256(read_bytes(scene.base_file)).hexdigest()
    state = {
        "base": base,
        "layers": [[entry.folder, entry.strength] for entry in shown],
        "crop": crop and [crop.center.tolist(), crop.size.tolist(), crop.rotation.tolist(), crop.background],
        "cameras": [
            [c.c2w.tolist(), c.fx, c.fy, c.cx, c.cy, c.width, c.height, c.distortion, c.model]
            for _, c in named
        ],
    }
    digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
    return out.with_name(f"{out.name}.parts") / digest
