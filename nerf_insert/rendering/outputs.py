"""What `render` writes: a picture per camera, or a video.

DIR/007.png                  the photograph's own name
DIR/depth/007.png            16 bits: distance along the ray; depth/units.json says in which unit
DIR/depth/preview/007.png    the same in colors
DIR/accumulation/007.png     8 bits: opacity
"""

from __future__ import annotations

import io
import math
import posixpath
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

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
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress

Named = Sequence[tuple[str, Camera]]
DEEPEST = 65534  # the largest depth in a picture of 16 bits; one more stands for all that is farther
ROOM = 10.0  # what can be told apart reaches this many times as far as the cameras lie from their center
JPEG_QUALITY = 95


def check_folder(folder: Path) -> None:
    """Raises InputError if `folder` is something else or cannot be made or written to; changes nothing."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, a folder is needed")
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, "choose another folder")
        raise InputError(f"cannot write to {folder}: {error.strerror}; {advice}") from None


def file_stems(names: Iterable[str]) -> list[str]:
    """Where the pictures of cameras go, without suffix: the photographs' own names; where two share a name,
    with their folders, and where that is not enough, with their suffixes or with numbers."""
    paths = [_inside(name) for name in names]
    bare = [_without_suffix(path) for path in paths]
    short = [posixpath.basename(path) for path in bare]
    numbered = [f"{path}-{k:05d}" for k, path in enumerate(paths)]
    return next(stems for stems in (short, bare, paths, numbered) if len(set(stems)) == len(stems))


def depth_unit(reach: float) -> float:
    """World units of one step of a depth picture, a power of ten that suits a scene whose cameras lie within
    `reach` world units of their center."""
    return 10.0 ** math.ceil(math.log10(max(ROOM * reach, 1e-6) / DEEPEST))


class PictureFolder:
    """Writes rendered pictures into a folder. With `unit`, depth in steps of so many world units."""

    def __init__(
        self, folder: Path, unit: float | None = None, accumulation: bool = False, suffix: str = ".png"
    ):
        self.folder, self.unit, self.accumulation, self.suffix = folder, unit, accumulation, suffix

    def write(self, stem: str, rendered: Rendered) -> None:
        """Write [H, W] pixels under a name that may have folders in it. Raises RunError."""
        write_color(self.folder / f"{stem}{self.suffix}", rendered.rgb)
        if self.unit is not None:
            atomic_write(self.folder / "depth" / f"{stem}.png", encode_depth(rendered.depth, self.unit))
            shown = depth_preview(rendered.depth)
            write_image(self.folder / "depth" / "preview" / f"{stem}.png", shown)
        if self.accumulation:
            write_image(self.folder / "accumulation" / f"{stem}.png", rendered.accumulation)

    def describe_depth(self) -> None:
        """Write depth/units.json, which says what the depth pictures mean."""
        meaning = {
            "unit": "world units, those of the capture's transforms.json",
            "scale": self.unit,
            "measured": "along the pixel's ray, from the camera to where half of the light is stopped",
            "nothing": 0,
            "farther": DEEPEST + 1,
            "formula": "distance = value * scale",
        }
        write_json(self.folder / "depth" / "units.json", meaning)


def render_pictures(stack: LayerStack, cameras: Named, to: PictureFolder, progress: Progress) -> list[Path]:
    """Render every camera into a folder; the pictures' paths."""
    stems = file_stems(name for name, _ in cameras)
    if to.unit is not None:
        to.describe_depth()
    with progress.task("Rendering", total=len(cameras)) as task:
        for stem, (_, camera) in zip(stems, cameras, strict=True):
            to.write(stem, stack.render_image(camera))
            task.advance(1, note=stem)
    return [to.folder / f"{stem}{to.suffix}" for stem in stems]


def render_video(stack: LayerStack, cameras: Named, path: Path, fps: float, progress: Progress) -> None:
    """Render the cameras as the frames of an MP4, all in the size of the first."""
    size = cameras[0][1].width, cameras[0][1].height
    with progress.task("Rendering", total=len(cameras)) as task, VideoWriter(path, fps, size) as video:
        for _, camera in cameras:
            video.write(stack.render_image(camera.resized(*size)).rgb)
            task.advance(1)


def write_color(path: Path, picture: Float[Tensor, "H W 3"]) -> None:
    """A PNG, or a JPEG where the name says so. Raises RunError."""
    if path.suffix == ".png":
        data = encode_png(picture)
    else:
        buffer = io.BytesIO()
        Image.fromarray(to_uint8(picture).cpu().numpy()).save(
            buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0
        )
        data = buffer.getvalue()
    atomic_write(path, data)


def encode_depth(depth: Float[Tensor, "H W"], unit: float) -> bytes:
    """The bytes of a 16-bit PNG: steps of `unit`, 0 where there is nothing, 65535 beyond what fits."""
    steps = (depth.double() / unit).round().clamp(1, DEEPEST + 1)
    steps[~depth.isfinite()] = 0
    buffer = io.BytesIO()
    Image.fromarray(steps.numpy().astype(np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


def depth_preview(depth: Float[Tensor, "H W"]) -> Float[Tensor, "H W 3"]:
    """Depth in colors from this picture's nearest to its farthest, by nerfstudio's color map."""
    from nerfstudio.utils.colormaps import apply_depth_colormap

    there = depth.isfinite()
    known = depth[there]
    if not len(known):
        return torch.ones(*depth.shape, 3)
    some = known[:: 1 + len(known) // 1_000_000]
    near, far = (float(some.quantile(share)) for share in (0.01, 0.99))
    flat = torch.where(there, depth, known.max())[..., None]
    return apply_depth_colormap(flat, there[..., None].float(), near_plane=near, far_plane=far)


def _inside(name: str) -> str:
    """A relative path that stays where it is put, for names such as ../photos/a.jpg or C:/a.jpg."""
    parts = [part.rstrip(":") for part in name.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part not in ("", ".", "..")) or "picture"


def _without_suffix(path: str) -> str:
    stem, suffix = posixpath.splitext(path)
    return stem if suffix.lower() in Image.registered_extensions() else path
