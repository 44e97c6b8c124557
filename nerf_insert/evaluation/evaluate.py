"""How good a scene is, against photographs and, where they are known, the true pictures of the edit.

For each view the base alone and the whole edited scene are rendered as `render` writes them, in 8 bits:

    psnr, ssim, lpips             against the photograph, where no ray meets a region
    in_object, whole, outside     PSNR against the truth: over the object's visible pixels (views that show
                                  at least 50), over the picture, and farther than 12 pixels from the object
                                  and its shadow (against the photograph)

and once, in full precision, *locality*: the largest change that the layers make to any pixel whose ray
meets no region. It is 0 by construction; here it is looked at. What can be said of the edit without the truth
is in edit_figures.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.evaluation.edit_metrics import Captions, EditFigures
from nerf_insert.evaluation.image_metrics import grow, load_lpips, psnr, ssim
from nerf_insert.io.images import read_image, resize, to_uint8
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.scene import Scene

MARGIN = 12  # pixels around the object and its shadow that do not count as outside
SHADOW = 0.06  # change of a pixel, in any channel, that the edit has truly made
FEWEST = 50  # visible pixels of the object for a view to count


@dataclass(frozen=True)
class Truth:
    """What views look like with the edit made in reality: folders of pictures named as the photographs."""

    pictures: Path
    object_masks: Path | None = None  # where the object is visible

    def of(self, view: View) -> tuple[Float[Tensor, "H W 3"], Bool[Tensor, "H W"] | None]:
        """The true picture and the object's mask of a view, in its size. Raises InputError."""
        picture, mask = self._read(self.pictures, view), None
        if self.object_masks is not None:
            mask = self._read(self.object_masks, view).mean(-1) > 0.5
        return picture, mask

    def _read(self, folder: Path, view: View) -> Float[Tensor, "H W 3"]:
        own = view.path.name
        names = (own, f"{view.path.stem}.png", f"{view.path.stem}.jpg", view.name)
        found = next((file for name in names if (file := folder / name).is_file()), None)
        if found is None:
            raise InputError(f"{folder} has no picture for {view.name}: it should be named {own}")
        picture, photograph = read_image(found)[0], read_image(view.path)[0]
        if picture.shape != photograph.shape:
            (height, width), (high, wide) = picture.shape[:2], photograph.shape[:2]
            raise InputError(f"{found} is {width}x{height} pixels but its photograph is {wide}x{high}")
        return resize(picture, view.size)


def evaluate(
    scene: Scene,
    views: Sequence[View],
    progress: Progress,
    truth: Truth | None = None,
    captions: Captions = Captions(),
) -> dict[str, Any]:
    """The figures of this module's docstring, as plain data:

    {"views": [{"view": name, "base": {...}, "edited": {...}, "photograph": {...}}, ...], "mean": {the same},
    "locality": {"largest_change", "pixels"}, "edit": {figure: value}, "left_out": {figure: why}}. "edited",
    "locality" and "edit" are there if there are enabled layers; "photograph" has the figures of an untouched
    photograph against the truth.
    Raises InputError for a truth that does not fit the views.
    """
    if truth is not None:
        for view in views:
            truth.of(view)  # better to know now than after an hour
    lpips, why_not = load_lpips()
    left_out = {} if lpips else {"lpips": why_not}
    if truth and truth.object_masks is None:
        left_out["in_object"] = "there are no object masks"
    stack, rows, largest, checked = scene.stack(), [], 0.0, 0
    edit = EditFigures(stack, captions, lpips) if stack.layers else None
    with progress.task("Rendering and comparing", total=len(views)) as task:
        for view in views:
            base = LayerStack(stack.base).render_image(view.camera)
            renders = {"base": base.rgb}
            outside = missing_all(stack, view)
            if edit is not None:
                edited = stack.render_image(view.camera)
                edit.add(view.camera, base, edited, ~outside)
                renders["edited"] = edited.rgb
                change = (renders["edited"] - renders["base"])[outside].abs()
                largest, checked = (
                    max(largest, float(change.max()) if len(change) else 0.0),
                    checked + len(change),
                )
            row = _figures(view, renders, outside, truth.of(view) if truth else None, lpips)
            rows.append(row)
            task.advance(1, note=", ".join(f"{name} {row[name]['psnr']:.1f} dB" for name in renders))
    result = {"views": rows, "mean": mean_of(rows), "left_out": left_out}
    if edit is not None:
        result |= {"locality": {"largest_change": largest, "pixels": checked}, "edit": edit.result()}
        left_out |= edit.left_out
    return result


def missing_all(stack: LayerStack, view: View) -> Bool[Tensor, "H W"]:
    """The pixels of a view whose rays meet the region of no layer."""
    outside = torch.ones(view.camera.height, view.camera.width, dtype=torch.bool)
    for layer in stack.layers:
        outside &= ~layer.region.project(view.camera)
    return outside


def _figures(
    view: View, renders: dict[str, Tensor], outside: Tensor, true: tuple | None, lpips
) -> dict[str, Any]:
    photograph, valid = view.photograph(), view.valid()
    where = outside if valid is None else outside & valid
    row: dict[str, Any] = {"view": view.name}
    for name, render in renders.items():
        shown = to_uint8(render).float() / 255
        row[name] = {"psnr": psnr(shown, photograph, where), "ssim": ssim(shown, photograph, where)}
        if lpips:
            row[name]["lpips"] = lpips(shown, photograph, where)
        if true:
            row[name] |= _against_truth(shown, photograph, *true)
    if true:
        row["photograph"] = _against_truth(photograph, photograph, *true)
        del row["photograph"]["outside"]  # it is compared with itself there
    return row


def _against_truth(shown: Tensor, photograph: Tensor, truth: Tensor, mask: Tensor | None) -> dict[str, float]:
    touched = (truth - photograph).abs().amax(-1) > SHADOW
    touched = grow(touched if mask is None else touched | mask, MARGIN)
    figures = {"whole": psnr(shown, truth), "outside": psnr(shown, photograph, ~touched)}
    if mask is not None and int(mask.sum()) >= FEWEST:
        figures["in_object"] = psnr(shown, truth, mask)
    return figures


def mean_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The mean of every figure over the views that have it."""
    means: dict[str, dict[str, float]] = {}
    for which in ("base", "edited", "photograph"):
        gathered: dict[str, list[float]] = {}
        for row in rows:
            for name, value in row.get(which, {}).items():
                if value is not None and math.isfinite(value):
                    gathered.setdefault(name, []).append(value)
        if gathered:
            means[which] = {name: sum(values) / len(values) for name, values in gathered.items()}
    return means
