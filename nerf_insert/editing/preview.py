"""An edit's first steps as pictures: where it would be, and what would be painted there.

OUT/masks/007.png             where the photograph shows the region
OUT/painted/007.png           the photograph with the region painted, with the first seed
OUT/seed-N/007.png            the same with seed N
OUT/seed-N/recipe.yaml        the recipe with these pictures approved: the edit starts from them
OUT/sheet.png                 all side by side
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf_insert.editing.painting import inpaint_view, run_inpainter
from nerf_insert.editing.region_views import RegionView, visible
from nerf_insert.editing.schedule import anchors_of
from nerf_insert.editing.session import EditSession, prepare
from nerf_insert.editing.view_selection import choose_anchors
from nerf_insert.io.images import contact_sheet, write_image
from nerf_insert.rendering.outputs import file_stems
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

FEW = 3  # views to paint for an edit without anchors
TINT = torch.tensor([1.0, 0.25, 0.1])  # of the region on the sheet
ON_SHEET, WIDTH = 8, 400  # rows without painted views, and pixels


def preview(
    scene: Scene,
    recipe: Recipe,
    out: Path,
    progress: Progress,
    *,
    paint: int | None = None,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Paint some views with each of the seeds (the recipe's, if none are given) and write the pictures:
    `paint` many, else those that the edit would paint first, so that they can become its anchors.

    {"photographs", "seen_by", "shares": {view: of its picture}, "painted": [view], "looks": {seed: recipe
    file}}. Raises what `edit` would raise before it starts. The scene is not changed.
    """
    seeds = tuple(dict.fromkeys(seeds)) or (recipe.seed,)
    prepared = prepare(scene, replace(recipe, approved={}, seed=seeds[0]), progress)
    views = scene.capture.views
    stems = dict(zip((view.name for view in views), file_stems(view.name for view in views), strict=True))
    shares = _write_masks(scene, prepared, stems, out / "masks", progress)
    chosen = _choose(prepared, paint)
    looks, columns = {}, []
    for seed in seeds if chosen else ():
        if seed != seeds[0]:
            prepared.introduce(seed, progress)
        pictures = _paint(prepared, chosen, seed, progress)
        for folder in (out / f"seed-{seed}", *([out / "painted"] if seed == seeds[0] else [])):
            _write_painted(folder, chosen, pictures, stems)
        look = out / f"seed-{seed}" / "recipe.yaml"
        approved = {
            seen.view.name: str(look.absolute().parent / f"{stems[seen.view.name]}.png") for seen in chosen
        }
        replace(prepared.recipe, seed=seed, approved=approved).save(look)
        looks[seed] = str(look)
        columns.append([(f"seed {seed}", picture) for picture in pictures])
    if len(columns) > 1 and all(map(_alike, columns, columns[1:])):
        progress.warn(f"the inpainter {recipe.inpainter} paints the same with all of these seeds")
    rows = [[*_marked(seen), *painted] for seen, *painted in zip(chosen, *columns, strict=True)]
    rows = rows or [_marked(seen) for seen in _choose(prepared, ON_SHEET)]
    write_image(out / "sheet.png", contact_sheet(rows, width=WIDTH))
    return {
        "photographs": len(views),
        "seen_by": len(prepared.views),
        "shares": shares,
        "painted": [seen.view.name for seen in chosen],
        "looks": looks,
    }


def _alike(one: Sequence[tuple[str, Tensor]], other: Sequence[tuple[str, Tensor]]) -> bool:
    """Whether two columns of the sheet show the same pictures."""
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


def _choose(prepared: EditSession, count: int | None) -> list[RegionView]:
    """Views from around the region; those that an edit would paint first, if no number is asked for."""
    center = prepared.region.bounds.mean(0)
    if count is None:
        schedule = prepared.recipe.schedule
        anchors = anchors_of(schedule, prepared.rounds, prepared.views, center)
        count = len(anchors) or FEW
    return [prepared.views[index] for index in choose_anchors(prepared.views, center, count)]


def _write_painted(
    folder: Path, chosen: Sequence[RegionView], pictures: Sequence[Tensor], stems: dict[str, str]
) -> None:
    for stem in stems.values():  # an earlier preview painted other views
        (folder / f"{stem}.png").unlink(missing_ok=True)
    for seen, picture in zip(chosen, pictures, strict=True):
        write_image(folder / f"{stems[seen.view.name]}.png", picture)


def _write_masks(
    scene: Scene, prepared: EditSession, stems: dict[str, str], folder: Path, progress: Progress
) -> dict[str, float]:
    """The share of each photograph that shows the region."""
    known = {seen.view.name: seen.mask for seen in prepared.views}
    shares = {}
    with progress.task("Drawing the masks", total=len(stems)) as task:
        for view in scene.capture.views:
            mask = known.get(view.name)
            mask = visible(prepared.region, prepared.stack, view) if mask is None else mask
            write_image(folder / f"{stems[view.name]}.png", mask)
            shares[view.name] = float(mask.float().mean())
            task.advance(1)
    return shares


def _paint(
    prepared: EditSession, chosen: Sequence[RegionView], seed: int, progress: Progress
) -> list[Tensor]:
    pictures: list[Tensor] = []
    size, name = prepared.batch_together, prepared.recipe.inpainter
    strength = prepared.recipe.schedule.strength  # that of the first round
    with progress.task(f"Painting some views, seed {seed}", total=len(chosen)) as task:
        for batch in (chosen[first : first + size] for first in range(0, len(chosen), size)):
            views = [inpaint_view(prepared.inpainter, seen, prepared.stack) for seen in batch]
            made = run_inpainter(name, prepared.inpainter, views, prepared.guide, strength, seed)
            for seen, view, painted in zip(batch, views, made, strict=True):
                pictures.append(torch.where(seen.mask[..., None], painted, view.original))
            task.advance(len(batch))
    return pictures


def _marked(seen: RegionView) -> list[tuple[str, Tensor]]:
    photograph = seen.view.photograph()
    tinted = torch.where(seen.mask[..., None], 0.5 * photograph + 0.5 * TINT, photograph)
    return [(seen.view.name, photograph), ("region", tinted)]
