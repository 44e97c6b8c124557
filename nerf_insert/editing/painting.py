"""Call inpainters: prepare their input, check their output, keep painted images on disk.

H and W are a view's height and width; images are sRGB in 0..1.
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
from nerf_insert.geometry.cameras import Rays
from nerf_insert.inpaint.api import Inpainter, InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.io.images import read_image, resize, to_uint8, write_image
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.training.surroundings import Surroundings, compare_surroundings

MAX_DEVIATION = 1.0  # from 0.5; values within it are clamped to 0..1, as a model may overshoot a little
BATCH = 8  # most views in one call of an inpainter, unless it says otherwise


def inpaint_view(inpainter: Inpainter, seen: RegionView, current: LayerStack) -> InpaintView:
    """Return the input of an inpainter for one view: the photograph with `current` rendered in the region."""
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
        mask=wide.clone(),
        depth=depth,
        camera=camera,
    )


def run_inpainter(
    name: str, inpainter: Inpainter, views: Sequence[InpaintView], guide: Guide, strength: float, seed: int
) -> list[Float[Tensor, "_ _ 3"]]:
    """Call the inpainter and check its images.

    Args:
        name: What messages call the inpainter.
        inpainter: What paints.
        views: Its input.
        guide: What to paint.
        strength: How far it may depart from the input, 0..1.
        seed: The random seed.

    Returns:
        One image per view, on the CPU.

    Raises:
        InputError: The inpainter raised it.
        RunError: The inpainter failed, or its output cannot be used.
    """
    with wrap_inpainter_errors(name):
        images = inpainter.inpaint(views, guide, strength=strength, seed=seed)
    if not isinstance(images, Sequence) or len(images) != len(views):
        got = f"{len(images)} images" if isinstance(images, Sequence) else type(images).__name__
        raise RunError(f"the inpainter {name} was given {len(views)} views and returned {got}")
    for view, image in zip(views, images, strict=True):
        if not isinstance(image, Tensor) or image.shape != view.original.shape:
            got = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise RunError(
                f"the inpainter {name} returned {got} for {view.name}: a float tensor of shape "
                f"{tuple(view.original.shape)} was expected"
            )
        if not image.is_floating_point() or not bool(((image[view.mask] - 0.5).abs() <= MAX_DEVIATION).all()):
            raise RunError(
                f"the inpainter {name} returned values for {view.name} that are not finite numbers in 0..1"
            )
    return [image.detach().float().cpu().nan_to_num().clamp(0, 1) for image in images]


def known_distances(
    name: str, inpainter: Inpainter, rays: Rays, spacing: float
) -> Float[Tensor, " N"] | None:
    """Ask the inpainter where along pixels' rays its surface is, and check the answer.

    Args:
        name: What messages call the inpainter.
        inpainter: What paints.
        rays: The rays, world coordinates.
        spacing: How far apart pixels may be on the surface, world units: a layer that is drawn to places
            far apart has holes between them.

    Returns:
        Distances, world units, NaN where they are not known or too far apart; None: they are known nowhere.

    Raises:
        RunError: The inpainter failed, or its answer cannot be used.
    """
    with wrap_inpainter_errors(name):
        distances = inpainter.distances(rays)
    if distances is None:
        return None
    if not isinstance(distances, Tensor) or distances.shape != (rays.count,):
        got = tuple(distances.shape) if isinstance(distances, Tensor) else type(distances).__name__
        raise RunError(
            f"the inpainter {name} returned {got} as the distances along {rays.count} rays: "
            f"a float tensor of shape ({rays.count},) was expected"
        )
    focal = torch.tensor([max(camera.fx, camera.fy) for camera in rays.cameras])[rays.camera_index]
    distances = distances.detach().float().cpu()
    return torch.where(distances / focal <= spacing, distances, torch.nan)


@contextmanager
def wrap_inpainter_errors(name: str) -> Iterator[None]:
    """Turn any other exception of an inpainter's own code into a RunError that names the inpainter."""
    try:
        yield
    except (InputError, RunError, Stopped, MemoryError):
        raise
    except Exception as cause:
        raise RunError(f"the inpainter {name} failed: {type(cause).__name__}: {cause}") from cause


def paste(seen: RegionView, file: Path | None) -> UInt8[Tensor, "H W 3"]:
    """Return the photograph, with the painted image of `file` in the region."""
    photograph = to_uint8(seen.view.photograph())
    if file is None:
        return photograph
    return torch.where(seen.mask[..., None], to_uint8(read_image(file)[0]), photograph)


class PaintedViews:
    """The painted images on disk, FOLDER/round-K/INDEX-STEM.png.

    Attributes:
        latest: The latest file of each painted view, by the view's index.
    """

    def __init__(self, folder: Path, views: Sequence[RegionView]):
        self.folder, self.views = folder, views
        self.latest: dict[int, Path] = {}

    def file(self, number: int, index: int) -> Path:
        """Return the file of a view in a round."""
        stem = Path(self.views[index].view.name).stem
        return self.folder / f"round-{number}" / f"{index:04d}-{stem}.png"

    def use_approved(self, approved: Mapping[int, str]) -> None:
        """Copy approved images into round 0 in place of painted ones, scaled to their views' size.

        Raises:
            InputError: An image cannot be read.
            RunError: The disk cannot be written.
        """
        for index, source in approved.items():
            file = self.file(0, index)
            if not file.exists():
                write_image(file, resize(read_image(source)[0], self.views[index].view.size))
            self.latest[index] = file

    def image(self, index: int) -> UInt8[Tensor, "H W 3"]:
        """Return the photograph with the latest painted image in the region."""
        return paste(self.views[index], self.latest.get(index))

    def image_and_surroundings(self, index: int) -> tuple[UInt8[Tensor, "H W 3"], Surroundings | None]:
        """Return what `image` returns, as far beyond the region as the painted image can be used.

        That is all of it if it shows the photograph around the part to be painted, changed (`Surroundings`);
        else that part.
        """
        seen, file = self.views[index], self.latest.get(index)
        photograph = to_uint8(seen.view.photograph())
        if file is None:
            return photograph, None
        painted = to_uint8(read_image(file)[0])
        around = compare_surroundings(painted, photograph, seen.wide_mask)
        if around is not None:
            return painted, around
        return torch.where(seen.wide_mask[..., None], painted, photograph), None
