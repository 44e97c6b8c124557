"""An edit's first steps as pictures: where it would be, and what would be painted there.

OUT/masks/007.png     where the photograph shows the region
OUT/painted/007.png   the photograph with the region painted, as the layer would be fitted to it
OUT/sheet.png         both, side by side, for a few views
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf_insert.edit import BATCH, Prepared, inpaint_view, prepare, run_inpainter
from nerf_insert.masking import RegionView, visible
from nerf_insert.outputs import file_stems
from nerf_insert.pictures import contact_sheet, write_picture
from nerf_insert.progress import Progress
from nerf_insert.recipe import Recipe
from nerf_insert.scene import Scene

TINT = torch.tensor([1.0, 0.25, 0.1])  # of the region on the sheet
ON_SHEET, WIDTH = 8, 400  # rows without painted views, and pixels


def preview(scene: Scene, recipe: Recipe, out: Path, progress: Progress, *, paint: int = 3) -> dict[str, Any]:
    """Write the pictures; {"photographs", "seen_by", "shares": {view: of its picture}, "painted": [view]}.

    Raises what `edit` would raise before it starts. The scene is not changed.
    """
    prepared = prepare(scene, recipe, progress)
    views = scene.capture.views
    stems = dict(zip((view.name for view in views), file_stems(view.name for view in views), strict=True))
    shares = _write_masks(scene, prepared, stems, out / "masks", progress)
    for stem in stems.values():  # an earlier preview painted other views
        (out / "painted" / f"{stem}.png").unlink(missing_ok=True)
    chosen = evenly(prepared.views, paint)
    rows = []
    for seen, picture in zip(chosen, _paint(prepared, chosen, progress), strict=True):
        write_picture(out / "painted" / f"{stems[seen.view.name]}.png", picture)
        rows.append([*_marked(seen), ("painted", picture)])
    rows = rows or [_marked(seen) for seen in evenly(prepared.views, ON_SHEET)]
    write_picture(out / "sheet.png", contact_sheet(rows, width=WIDTH))
    return {
        "photographs": len(views),
        "seen_by": len(prepared.views),
        "shares": shares,
        "painted": [seen.view.name for seen in chosen],
    }


def evenly(views: Sequence[RegionView], count: int) -> list[RegionView]:
    """At most `count` of the views, spread over all of them."""
    count = min(count, len(views))
    return [views[index * len(views) // count] for index in range(count)]


def _write_masks(
    scene: Scene, prepared: Prepared, stems: dict[str, str], folder: Path, progress: Progress
) -> dict[str, float]:
    """The share of each photograph that shows the region."""
    known = {seen.view.name: seen.mask for seen in prepared.views}
    shares = {}
    with progress.task("Drawing the masks", total=len(stems)) as task:
        for view in scene.capture.views:
            mask = known.get(view.name)
            mask = visible(prepared.region, prepared.stack, view) if mask is None else mask
            write_picture(folder / f"{stems[view.name]}.png", mask)
            shares[view.name] = float(mask.float().mean())
            task.advance(1)
    return shares


def _paint(prepared: Prepared, chosen: Sequence[RegionView], progress: Progress) -> list[Tensor]:
    pictures: list[Tensor] = []
    size = getattr(prepared.inpainter, "batch", BATCH)
    strength = prepared.recipe.schedule.strength  # that of the first round
    with progress.task("Painting some views", total=len(chosen)) as task:
        for start in range(0, len(chosen), size):
            batch = chosen[start : start + size]
            views = [inpaint_view(prepared, seen, prepared.stack) for seen in batch]
            for seen, view, painted in zip(
                batch, views, run_inpainter(prepared, views, strength), strict=True
            ):
                pictures.append(torch.where(seen.mask[..., None], painted, view.original))
            task.advance(len(batch))
    return pictures


def _marked(seen: RegionView) -> list[tuple[str, Tensor]]:
    photograph = seen.view.photograph()
    tinted = torch.where(seen.mask[..., None], 0.5 * photograph + 0.5 * TINT, photograph)
    return [(seen.view.name, photograph), ("region", tinted)]
