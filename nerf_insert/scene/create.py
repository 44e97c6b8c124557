"""Make a scene folder by training a base on a capture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.errors import InputError, warnings_to
from nerf_insert.runtime.memory import available_memory
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene, check_free, lock_scene

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture
    from nerf_insert.reconstruction.options import CaptureOptions

CAPTURE = "capture"  # folder of a capture that was made for a scene, in the scene folder
BASE_BYTES = 1e9  # of a training besides its pixels
PIXEL_BYTES, MASKED_BYTES = 3, 7  # of a pixel; where the capture has masks
READING_BYTES = 40  # of a pixel of the photograph that is being read
LARGE = 1.1e6  # pixels of a photograph from which a smaller copy is recommended


def train_scene(
    capture: str | Path,
    out: str | Path,
    *,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    downscale: float | None = None,
    dataparser: str | None = None,
    making: CaptureOptions | None = None,
    axes: str | None = None,
    progress: Progress = SILENT,
) -> Scene:
    """Train a base on posed photographs and write it as a scene folder.

    From a video, or photographs without camera poses, the capture is made first, in the scene folder.
    Whether the poses fit the photographs is checked before training, see `check_poses`; a usual mistake is
    mended, and said.

    A run that was stopped, even by a crash, resumes when it is called again with the same arguments, and ends
    with the same scene.

    Args:
        capture: Folder with `transforms.json` or another layout that nerfstudio reads, the JSON file, or a
            zip of such a folder, which is unpacked in the scene folder; or a video, or a folder or zip of
            photographs without camera poses.
        out: The scene folder to make. It must not hold a scene yet.
        steps: Training steps. Default: those of `TrainConfig`.
        samples: Samples along rays in one step. Default: those of `TrainConfig`.
        seed: Random seed.
        downscale: Train on photographs this many times smaller.
        dataparser: Name of one of nerfstudio's dataparsers. Default: the one that fits.
        making: How a capture is made from a video or photographs.
        axes: Where the cameras' axes point in the capture's matrices, "opengl", "opencv" or three letters
            such as "RDF". They are taken as given, even if the poses do not fit then. Default: as the format
            says.
        progress: Where progress and warnings go.

    Returns:
        The new scene, with no layers.

    Raises:
        InputError: The capture cannot be used, its poses do not fit its photographs, it needs more memory
            than there is, or `out` holds something else.
        RunError: The work failed, for example because the disk is full.

    Examples:
        >>> scene = train_scene("data/sample", "my-scene", steps=500)
    """
    from nerf_insert.capture.pose_check.check import load_checked
    from nerf_insert.fields.hash_field import FieldConfig
    from nerf_insert.reconstruction.make import is_source, make_capture
    from nerf_insert.reconstruction.zipped_capture import is_zip, unpack_capture
    from nerf_insert.rendering.outputs import check_folder
    from nerf_insert.training.scene_trainer import TrainConfig, train_base

    out = Path(out)
    check_free(out)
    source = Path(capture).expanduser()
    if is_source(source, dataparser):
        capture = make_capture(capture, out / CAPTURE, making, seed=seed, progress=progress).path
    elif making is not None:
        raise InputError(
            f"{capture} has camera poses already: the options for videos and photographs are without effect"
        )
    elif is_zip(source):
        with lock_scene(out), warnings_to(progress.warn):
            capture = unpack_capture(source, out / CAPTURE)
    with warnings_to(progress.warn):
        found, _ = load_checked(
            capture, dataparser=dataparser, downscale=downscale, axes=axes, progress=progress
        )
    check_memory(found, progress)
    warn_of_size(found, progress)
    for view in found.test:  # an unreadable photograph is found now and not after the training
        view.photograph()
    check_folder(out)
    given = {"steps": steps, "samples": samples, "seed": seed}
    config = TrainConfig(**{name: value for name, value in given.items() if value is not None})
    checkpoint = out / "base" / "checkpoint.safetensors"
    with lock_scene(out):
        check_free(out)  # another process may have trained meanwhile
        base = train_base(found, config, FieldConfig(), progress, checkpoint)
        scene = Scene.create(out, found, base, dataparser, downscale)
        checkpoint.unlink(missing_ok=True)
    return scene


def warn_of_size(capture: Capture, progress: Progress) -> None:
    """Recommend `--downscale` for large photographs."""
    width, height = max((view.size for view in capture.views), key=lambda size: size[0] * size[1])
    if width * height > LARGE:
        factor = -(-((width * height) ** 0.5) // 1000)
        progress.warn(
            f"the photographs are large ({width}x{height}): training and edits take long and much memory; "
            f"--downscale {max(2, factor):.0f} is quicker and rarely looks worse"
        )


def memory_needed(capture: Capture) -> tuple[float, float]:
    """Return the bytes that training on a capture takes, about: for its pixels, and for everything else."""
    pixels = sum(view.size[0] * view.size[1] for view in capture.train)
    largest = max(view.full_size[0] * view.full_size[1] for view in capture.train)
    masked = any(view.mask_path for view in capture.train)
    return pixels * (MASKED_BYTES if masked else PIXEL_BYTES), BASE_BYTES + largest * READING_BYTES


def check_memory(capture: Capture, progress: Progress) -> None:
    """Check that training on a capture fits into the memory that is free; warn where it is scarce.

    Raises:
        InputError: Its pixels alone do not; the message says what would.
    """
    of_pixels, fixed = memory_needed(capture)
    free = available_memory()
    if of_pixels + fixed <= free:
        return
    pixels = sum(view.size[0] * view.size[1] for view in capture.train) / 1e6
    advice = "stop other programs"
    if free > 1.02 * fixed:
        factor = math.ceil(2 * (of_pixels / (free - fixed)) ** 0.5) / 2
        advice = f"--downscale {max(factor, 1.5):g} makes it fit"
    said = (
        f"training on the {len(capture.train)} photographs of {capture.path} ({pixels:.0f} megapixels) takes "
        f"about {(of_pixels + fixed) / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free: {advice}"
    )
    if of_pixels > free:
        raise InputError(said)
    progress.warn(said)
