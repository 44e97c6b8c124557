"""Make a scene folder by training a base on a capture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.errors import InputError, warnings_to
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene, check_free, lock_scene

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture
    from nerf_insert.reconstruction.options import CaptureOptions

CAPTURE = "capture"  # folder of a capture that was made for a scene, in the scene folder
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
    progress: Progress = SILENT,
) -> Scene:
    """Train a base on posed photographs and write it as a scene folder.

    From a video, or photographs without camera poses, the capture is made first, in the scene folder.

    A run that was stopped, even by a crash, resumes when it is called again with the same arguments, and ends
    with the same scene.

    Args:
        capture: Folder with `transforms.json` or another layout that nerfstudio reads, or the JSON file; or a
            video, or a folder or zip of photographs without camera poses.
        out: The scene folder to make. It must not hold a scene yet.
        steps: Training steps. Default: those of `TrainConfig`.
        samples: Samples along rays in one step. Default: those of `TrainConfig`.
        seed: Random seed.
        downscale: Train on photographs this many times smaller.
        dataparser: Name of one of nerfstudio's dataparsers. Default: the one that fits.
        making: How a capture is made from a video or photographs.
        progress: Where progress and warnings go.

    Returns:
        The new scene, with no layers.

    Raises:
        InputError: The capture cannot be used, or `out` holds something else.
        RunError: The work failed, for example because the disk is full.

    Examples:
        >>> scene = train_scene("data/sample", "my-scene", steps=500)
    """
    from nerf_insert.capture.capture import Capture
    from nerf_insert.fields.hash_field import FieldConfig
    from nerf_insert.reconstruction.make import is_source, make_capture
    from nerf_insert.rendering.outputs import check_folder
    from nerf_insert.training.scene_trainer import TrainConfig, train_base

    out = Path(out)
    check_free(out)
    if is_source(Path(capture).expanduser(), dataparser):
        capture = make_capture(capture, out / CAPTURE, making, seed=seed, progress=progress).path
    elif making is not None:
        raise InputError(
            f"{capture} has camera poses already: the options for videos and photographs are without effect"
        )
    with warnings_to(progress.warn):
        found = Capture.load(capture, dataparser=dataparser, downscale=downscale)
    for warning in found.warnings:
        progress.warn(warning)
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
