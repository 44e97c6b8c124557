"""Measure a scene against photographs and, where they are known, true images of the edit.

For each view the base alone and the whole edited scene are rendered as `render` writes them, in 8 bits:

    psnr, ssim, lpips             against the photograph, where no ray meets a region
    in_object, whole, outside     PSNR against the truth: over the object's visible pixels (views that show
                                  at least MIN_OBJECT_PIXELS), over the image, and farther than MARGIN pixels
                                  from the object and its shadow (against the photograph)

and once, in full precision, *locality*: the largest change that the layers make to any pixel whose ray
meets no region. It is 0 by construction; here it is measured. Metrics of the edit that need no truth are in
edit_metrics.py. H and W are a view's height and width; images are sRGB in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.photo_files import FolderListing, compose
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.evaluation.edit_metrics import Captions, EditMetrics
from nerf_insert.evaluation.image_metrics import grow, load_lpips, psnr, ssim
from nerf_insert.io.images import read_image, resize, to_uint8
from nerf_insert.rendering.outputs import relative_path
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene

MARGIN = 12  # pixels around the object and its shadow that do not count as outside
MIN_TRUE_CHANGE = 0.06  # of a pixel, in any channel, that the true edit has changed
MIN_OBJECT_PIXELS = 50  # visible pixels of the object for a view to count

Metrics = dict[str, float | None]  # by name; None: the image is too small to tell
TrueView = tuple[Float[Tensor, "H W 3"], Bool[Tensor, "H W"] | None]  # image, object's mask


@dataclass(frozen=True)
class Truth:
    """True images of the edit: folders of images named as the photographs.

    Attributes:
        images: The true images.
        object_masks: Masks, white where the edited object is visible; None: no metrics in the object.
    """

    images: Path
    object_masks: Path | None = None

    def load(self, view: View) -> TrueView:
        """Read the true image of a view and the object's mask, in the view's size.

        Raises:
            InputError: There is no image for the view, or it has neither its photograph's size nor its own.
        """
        image, mask = self._read(self.images, view), None
        if self.object_masks is not None:
            mask = self._read(self.object_masks, view).mean(-1) > 0.5
        return image, mask

    def _read(self, folder: Path, view: View) -> Float[Tensor, "H W 3"]:
        found = _image_of(folder, view)
        if found is None:
            raise InputError(f"{folder} has no image for {view.name}: it should be named {view.path.name}")
        image = read_image(found)[0]
        (height, width), (wide, high) = image.shape[:2], view.full_size
        if (width, height) not in ((wide, high), view.size):  # view.size is that of what `render` writes
            raise InputError(f"{found} is {width}x{height} pixels but its photograph is {wide}x{high}")
        return resize(image, view.size)

    def check_names(self, views: Sequence[View]) -> None:
        """Check that no two views get the same image, as those of two cameras whose photographs share names.

        Raises:
            InputError: Two do.
        """
        for folder in filter(None, (self.images, self.object_masks)):
            served: dict[Path, str] = {}
            for view in views:
                found = _image_of(folder, view)
                if found is not None and served.setdefault(found, view.name) != view.name:
                    raise InputError(
                        f"{found} would serve both {served[found]} and {view.name}: keep the images of "
                        "photographs that share a name in folders, as the photographs are"
                    )


def _image_of(folder: Path, view: View) -> Path | None:
    """Return a view's image: at the photograph's path, with or without its first folder, or by its name.

    Another suffix, letter case or Unicode form, or a suffix behind the photograph's own, makes no difference.
    """
    name = relative_path(view.name)  # never the photograph itself, which an absolute name leads to
    for path in filter(None, (name, name.partition("/")[2], view.path.name)):
        *parents, base = path.split("/")
        home = folder
        for part in parents:
            home = next(
                (child for child in (home / part, *_alike(home, part)) if child.is_dir()), home / part
            )
        listing = FolderListing(home)
        found = listing.find(base) or listing.find(f"{base}.png")
        if found is not None:
            return found
    return None


def _alike(folder: Path, name: str) -> list[Path]:
    """Return what is in a folder under this name in another Unicode form."""
    if not folder.is_dir():
        return []
    return [child for child in folder.iterdir() if compose(child.name) == compose(name)]


@dataclass(frozen=True)
class ViewMetrics:
    """The metrics of one view."""

    view: str
    base: Metrics
    edited: Metrics | None = None  # None: the scene has no enabled layers
    photograph: Metrics | None = None  # of the photograph against the truth; None: there is no truth

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, without what is None."""
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Locality:
    """What the layers change where they should change nothing."""

    largest_change: float  # of any channel, over the pixels whose rays meet no region
    pixels: int  # how many those are


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a scene.

    Attributes:
        views: The metrics of each view.
        mean: For "base", "edited" and "photograph", the mean of each metric over the views that have it:
            "psnr", "ssim", "lpips"; with a truth "whole", "outside" and "in_object".
        locality: The largest change outside all regions; None: the scene has no enabled layers.
        edit: Metrics of the edit without a truth; None: the scene has no enabled layers.
        left_out: Metrics that could not be computed, and why.
    """

    views: list[ViewMetrics]
    mean: dict[str, dict[str, float]]
    locality: Locality | None = None
    edit: dict[str, float] | None = None
    left_out: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as `nerf-insert eval --json` prints it; without what is None."""
        data: dict[str, Any] = {"views": [row.to_dict() for row in self.views], "mean": self.mean}
        data["left_out"] = self.left_out
        if self.locality is not None:
            data["locality"] = vars(self.locality)
        if self.edit is not None:
            data["edit"] = self.edit
        return data


def evaluate(
    scene: Scene,
    views: Sequence[View] | None = None,
    progress: Progress = SILENT,
    truth: Truth | None = None,
    captions: Captions = Captions(),
) -> Evaluation:
    """Render views of a scene and compute the metrics of this module's docstring.

    Args:
        scene: Its base and its enabled layers are measured.
        views: Photographs to compare with; by default the capture's test views.
        progress: Reports the work.
        truth: True images of the edit.
        captions: The scene in words before and after the edit, for the metrics that use CLIP.

    Raises:
        InputError: The truth does not fit the views, an image cannot be read, or the capture has no test
            views and no others are given.

    Examples:
        >>> result = evaluate(scene, truth=Truth(Path("truth"), Path("object_mask")))
        >>> result.mean["edited"]["in_object"], result.locality.largest_change
    """
    views = scene.capture.part("test") if views is None else views
    if truth is not None:
        truth.check_names(views)
        for view in views:
            truth.load(view)  # better to know now than after an hour
    lpips, why_not = load_lpips()
    left_out = {} if lpips else {"lpips": why_not}
    if truth and truth.object_masks is None:
        left_out["in_object"] = "there are no object masks"
    stack = scene.stack()
    rows: list[ViewMetrics] = []
    largest, checked = 0.0, 0
    edit = EditMetrics(stack, captions, lpips) if stack.layers else None
    with progress.task("Rendering and comparing", total=len(views)) as task:
        for view in views:
            base = LayerStack(stack.base).render_image(view.camera)
            renders = {"base": base.rgb}
            outside = outside_regions(stack, view)
            if edit is not None:
                edited = stack.render_image(view.camera)
                edit.add(view.camera, base, edited, ~outside)
                renders["edited"] = edited.rgb
                change = (edited.rgb - base.rgb)[outside].abs()
                largest = max(largest, float(change.max()) if len(change) else 0.0)
                checked += len(change)
            rows.append(_view_metrics(view, renders, outside, truth.load(view) if truth else None, lpips))
            psnrs = {"base": rows[-1].base["psnr"], "edited": (rows[-1].edited or {}).get("psnr")}
            note = ", ".join(f"{name} {value:.1f} dB" for name, value in psnrs.items() if value is not None)
            task.advance(1, note=note)
    if edit is None:
        return Evaluation(rows, mean_of(rows), left_out=left_out)
    metrics = edit.result()
    return Evaluation(rows, mean_of(rows), Locality(largest, checked), metrics, left_out | edit.left_out)


def outside_regions(stack: LayerStack, view: View) -> Bool[Tensor, "H W"]:
    """Return the pixels of a view whose rays meet the region of no layer."""
    outside = torch.ones(view.camera.height, view.camera.width, dtype=torch.bool)
    for layer in stack.layers:
        outside &= ~layer.region.project(view.camera)
    return outside


def _view_metrics(
    view: View,
    renders: Mapping[str, Float[Tensor, "_ _ 3"]],
    outside: Bool[Tensor, "H W"],
    true: TrueView | None,
    lpips: Callable[..., float | None] | None,
) -> ViewMetrics:
    photograph, valid = view.photograph(), view.valid()
    where = outside if valid is None else outside & valid
    rows: dict[str, Metrics] = {}
    for name, render in renders.items():
        shown = to_uint8(render).float() / 255
        rows[name] = {"psnr": psnr(shown, photograph, where), "ssim": ssim(shown, photograph, where)}
        if lpips:
            rows[name]["lpips"] = lpips(shown, photograph, where)
        if true:
            rows[name] |= _against_truth(shown, photograph, *true)
    if true:
        rows["photograph"] = _against_truth(photograph, photograph, *true)
        del rows["photograph"]["outside"]  # there it would be compared with itself
    return ViewMetrics(view.name, **rows)


def _against_truth(shown: Tensor, photograph: Tensor, truth: Tensor, mask: Tensor | None) -> Metrics:
    touched = (truth - photograph).abs().amax(-1) > MIN_TRUE_CHANGE
    touched = grow(touched if mask is None else touched | mask, MARGIN)
    metrics: Metrics = {"whole": psnr(shown, truth), "outside": psnr(shown, photograph, ~touched)}
    if mask is not None and int(mask.sum()) >= MIN_OBJECT_PIXELS:
        metrics["in_object"] = psnr(shown, truth, mask)
    return metrics


def mean_of(rows: Sequence[ViewMetrics]) -> dict[str, dict[str, float]]:
    """Return the mean of every metric over the views that have it."""
    means: dict[str, dict[str, float]] = {}
    for which in ("base", "edited", "photograph"):
        gathered: dict[str, list[float]] = {}
        for row in rows:
            for name, value in (getattr(row, which) or {}).items():
                if value is not None and math.isfinite(value):
                    gathered.setdefault(name, []).append(value)
        if gathered:
            means[which] = {name: sum(values) / len(values) for name, values in gathered.items()}
    return means
