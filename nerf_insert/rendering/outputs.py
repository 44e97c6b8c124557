"""Writing renders: an image per camera, or a video.

DIR/007.png                  the photograph's own name
DIR/depth/007.png            16 bits: distance along the ray, in the unit that depth/units.json names
DIR/depth/preview/007.png    depth in colors
DIR/accumulation/007.png     8 bits: opacity
"""

from __future__ import annotations

import io
import math
import posixpath
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.files import ADVICE, atomic_write, write_json
from nerf_insert.io.images import encode_png, to_uint8, write_image
from nerf_insert.io.video import VideoWriter
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.runtime.progress import Progress

NamedCameras = Sequence[tuple[str, Camera]]
MAX_DEPTH_STEPS = 65534  # the largest depth in an image of 16 bits; one more stands for all that is farther
DEPTH_RANGE = 10.0  # depth images reach this many times as far as the cameras lie from their center
JPEG_QUALITY = 95


def check_folder(folder: Path) -> None:
    """Check that a folder can be written to or made, without making it.

    Raises:
        InputError: It is a file, or cannot be made or written to.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, a folder is needed")
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "choose another folder")
        raise InputError(f"cannot write to {folder}: {error.strerror}; {advice}") from None


def file_stems(names: Iterable[str]) -> list[str]:
    """Return distinct file names, without suffix, for the images of cameras.

    These are the photographs' own names; if two share one, with their folders; if that is not enough, with
    their suffixes or with numbers.
    """
    paths = [relative_path(name) for name in names]
    bare = [_without_suffix(path) for path in paths]
    short = [posixpath.basename(path) for path in bare]
    numbered = [f"{path}-{k:05d}" for k, path in enumerate(paths)]
    return next(stems for stems in (short, bare, paths, numbered) if len(set(stems)) == len(stems))


def depth_unit(reach: float) -> float:
    """Return the world units of one step of a depth image, a power of ten.

    Args:
        reach: Greatest distance of a camera from the cameras' center, world units.
    """
    return 10.0 ** math.ceil(math.log10(max(DEPTH_RANGE * reach, 1e-6) / MAX_DEPTH_STEPS))


class ImageFolder:
    """Writes renders into a folder: color, on demand depth (with `unit`, world units a step) and opacity."""

    def __init__(
        self, folder: Path, unit: float | None = None, accumulation: bool = False, suffix: str = ".png"
    ):
        self.folder, self.unit, self.accumulation, self.suffix = folder, unit, accumulation, suffix

    def write(self, stem: str, rendered: Rendered) -> None:
        """Write the images of [H, W] pixels.

        Args:
            stem: File name without suffix, perhaps with folders.
            rendered: The pixels; depth in world units.

        Raises:
            RunError: A file cannot be written.
        """
        write_color(self.folder / f"{stem}{self.suffix}", rendered.rgb)
        if self.unit is not None:
            atomic_write(self.folder / "depth" / f"{stem}.png", encode_depth(rendered.depth, self.unit))
            preview = depth_preview(rendered.depth)
            write_image(self.folder / "depth" / "preview" / f"{stem}.png", preview)
        if self.accumulation:
            write_image(self.folder / "accumulation" / f"{stem}.png", rendered.accumulation)

    def describe_depth(self) -> None:
        """Write depth/units.json, which says what the depth images mean."""
        meaning = {
            "unit": "world units, those of the capture's transforms.json",
            "scale": self.unit,
            "measured": "along the pixel's ray, from the camera to where half of the light is stopped",
            "nothing": 0,
            "farther": MAX_DEPTH_STEPS + 1,
            "formula": "distance = value * scale",
        }
        write_json(self.folder / "depth" / "units.json", meaning)


@runtime_checkable
class ImageRenderer(Protocol):
    """A scene as cameras see it, all of it or cropped."""

    def render_image(self, camera: Camera) -> Rendered:
        """Render all pixels of a camera."""
        ...


def render_images(
    stack: ImageRenderer, cameras: NamedCameras, to: ImageFolder, progress: Progress
) -> list[Path]:
    """Render every camera into a folder and return the images' paths."""
    stems = file_stems(name for name, _ in cameras)
    if to.unit is not None:
        to.describe_depth()
    with progress.task("Rendering", total=len(cameras)) as task:
        for stem, (_, camera) in zip(stems, cameras, strict=True):
            to.write(stem, stack.render_image(camera))
            task.advance(1, note=stem)
    return [to.folder / f"{stem}{to.suffix}" for stem in stems]


def render_video(
    stack: ImageRenderer, cameras: NamedCameras, path: Path, fps: float, progress: Progress
) -> None:
    """Render the cameras as the frames of an MP4, all in the size of the first.

    Raises:
        RunError: The video cannot be written.
    """
    size = cameras[0][1].width, cameras[0][1].height
    with progress.task("Rendering", total=len(cameras)) as task, VideoWriter(path, fps, size) as video:
        for _, camera in cameras:
            video.write(stack.render_image(camera.resized(*size)).rgb)
            task.advance(1)


def write_color(path: Path, image: Float[Tensor, "H W 3"]) -> None:
    """Write a PNG, or a JPEG if the suffix is another.

    Raises:
        RunError: The file cannot be written.
    """
    if path.suffix == ".png":
        data = encode_png(image)
    else:
        buffer = io.BytesIO()
        Image.fromarray(to_uint8(image).cpu().numpy()).save(
            buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0
        )
        data = buffer.getvalue()
    atomic_write(path, data)


def encode_depth(depth: Float[Tensor, "H W"], unit: float) -> bytes:
    """Encode depth as a 16-bit PNG: in steps of `unit`, 0 where there is nothing, 65535 beyond the range."""
    steps = (depth.double() / unit).round().clamp(1, MAX_DEPTH_STEPS + 1)
    steps[~depth.isfinite()] = 0
    buffer = io.BytesIO()
    Image.fromarray(steps.numpy().astype(np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def depth_preview(depth: Float[Tensor, "H W"]) -> Float[Tensor, "H W 3"]:
    """Color depth from this image's nearest to its farthest with nerfstudio's color map."""
    from nerfstudio.utils.colormaps import apply_depth_colormap

    hit = depth.isfinite()
    known = depth[hit]
    if not len(known):
        return torch.ones(*depth.shape, 3)
    some = known[:: 1 + len(known) // 1_000_000]
    near, far = (float(some.quantile(q)) for q in (0.01, 0.99))
    filled = torch.where(hit, depth, known.max())[..., None]
    return apply_depth_colormap(filled, hit[..., None].float(), near_plane=near, far_plane=far)


def relative_path(name: str) -> str:
    """Return the path without ".." that renders of ../photos/a.jpg, /photos/a.jpg or C:/photos/a.jpg get."""
    parts = [part.rstrip(":") for part in name.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "picture"


def _without_suffix(path: str) -> str:
    stem, suffix = posixpath.splitext(path)
    return stem if suffix.lower() in Image.registered_extensions() else path
