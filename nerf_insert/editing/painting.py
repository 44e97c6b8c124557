"""What inpainters are given and what is made of what they give back.

H and W are a view's height and width; pictures are sRGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nerf_insert.editing.region_views import RegionView
from nerf_insert.errors import InputError, RunError, Stopped
from nerf_insert.inpaint.api import Inpainter, InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.images import read_image, resize, to_uint8, write_image
from nerf_insert.rendering.stack import LayerStack

BEYOND = 1.0  # farthest from the middle of 0..1 that is still cut to it: a painter may overshoot a little
BATCH = 8  # views that are handed to an inpainter at once, unless it says otherwise


def inpaint_view(inpainter: Inpainter, seen: RegionView, current: LayerStack) -> InpaintView:
    """What an inpainter is given of one view: the photograph with the scene as it is now in the region."""
    image = photograph = seen.view.photograph()
    depth = torch.full_like(image[..., 0], float("inf"))
    camera, wide, uses = seen.view.camera, seen.wide_mask, inpainter.uses_render
    if uses != "none":
        whole = uses == "full"
        rendered = current.render_image(camera, keep=True) if whole else current.render_masked(camera, wide)
        image, depth = torch.where(seen.mask[..., None], rendered.rgb, photograph), rendered.depth.clone()
    return InpaintView(
        name=seen.view.name,
        image=image,
        original=photograph,
        mask=wide,
        depth=depth,
        camera=camera,
    )


def run_inpainter(
    name: str, inpainter: Inpainter, views: Sequence[InpaintView], guide: Guide, strength: float, seed: int
) -> list[Float[Tensor, "H W 3"]]:
    """Call the inpainter and check what it gives back. Raises RunError, naming it, if that is unusable."""
    with wrap_inpainter_errors(name):
        painted = inpainter.inpaint(views, guide, strength=strength, seed=seed)
    if not isinstance(painted, Sequence) or len(painted) != len(views):
        got = f"{len(painted)} pictures" if isinstance(painted, Sequence) else type(painted).__name__
        raise RunError(f"the inpainter {name} was given {len(views)} views and gave back {got}")
    for view, picture in zip(views, painted, strict=True):
        if not isinstance(picture, Tensor) or picture.shape != view.original.shape:
            got = tuple(picture.shape) if isinstance(picture, Tensor) else type(picture).__name__
            raise RunError(
                f"the inpainter {name} gave back {got} for {view.name}: a float tensor of shape "
                f"{tuple(view.original.shape)} was expected"
            )
        if not picture.is_floating_point() or not bool(((picture[view.mask] - 0.5).abs() <= BEYOND).all()):
            raise RunError(
                f"the inpainter {name} gave back values for {view.name} that are not finite numbers in 0..1"
            )
    return [picture.detach().float().cpu().nan_to_num().clamp(0, 1) for picture in painted]


@contextmanager
def wrap_inpainter_errors(name: str) -> Iterator[None]:
    """Whatever an inpainter's own code raises becomes a RunError that names it."""
    try:
        yield
    except (InputError, RunError, Stopped, MemoryError):
        raise
    except Exception as cause:
        raise RunError(f"the inpainter {name} failed: {type(cause).__name__}: {cause}") from cause


def paste(seen: RegionView, file: Path | None) -> UInt8[Tensor, "H W 3"]:
    """The photograph with the painted picture of `file` in the region."""
    photograph = to_uint8(seen.view.photograph())
    if file is None:
        return photograph
    return torch.where(seen.mask[..., None], to_uint8(read_image(file)[0]), photograph)


class PaintedViews:
    """The painted pictures on disk, FOLDER/round-K/INDEX-STEM.png, and which is the latest of each view."""

    def __init__(self, folder: Path, views: Sequence[RegionView]):
        self.folder, self.views = folder, views
        self.latest: dict[int, Path] = {}

    def file(self, number: int, index: int) -> Path:
        stem = Path(self.views[index].view.name).stem
        return self.folder / f"round-{number}" / f"{index:04d}-{stem}.png"

    def take(self, given: Mapping[int, str]) -> None:
        """Pictures that people have approved take the place of painted ones."""
        for index, source in given.items():
            file = self.file(0, index)
            if not file.exists():
                write_image(file, resize(read_image(source)[0], self.views[index].view.size))
            self.latest[index] = file

    def picture(self, index: int) -> UInt8[Tensor, "H W 3"]:
        """The photograph with the latest painted picture in the region."""
        return paste(self.views[index], self.latest.get(index))
