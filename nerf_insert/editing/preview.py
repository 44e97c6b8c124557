"""Preview an edit: masks of the region and a few painted views, without a fit.

OUT/masks/007.png             where the photograph shows the region
OUT/painted/007.png           the photograph with the region painted, with the first random seed
OUT/seed-N/007.png            the same with seed N
OUT/seed-N/recipe.yaml        the recipe with these images approved: the edit starts from them
OUT/sheet.png                 a contact sheet of everything
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf_insert.editing.edited_view import EditedView
from nerf_insert.editing.painting import inpaint_view, run_inpainter
from nerf_insert.editing.region_views import RegionView, visible_mask
from nerf_insert.editing.schedule import select_anchors
from nerf_insert.editing.session import EditSession, prepare
from nerf_insert.editing.view_selection import choose_anchors
from nerf_insert.io.images import contact_sheet, write_image
from nerf_insert.rendering.outputs import file_stems
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

PAINTED = 3  # views to paint for an edit without anchors
TINT = torch.tensor([1.0, 0.25, 0.1])  # of the region on the contact sheet
SHEET_ROWS, SHEET_WIDTH = 8, 400  # rows if no view is painted; pixels of an image


def preview(
    scene: Scene,
    recipe: Recipe,
    out: str | Path,
    progress: Progress = SILENT,
    *,
    paint: int | None = None,
    seeds: Sequence[int] = (),
) -> dict[str, Any]:
    """Paint some views with each random seed and write the images. The scene is not changed.

    Args:
        scene: The scene to edit.
        recipe: The edit.
        out: Folder for the images.
        progress: Where the work is reported.
        paint: How many views to paint; by default those that the edit would paint first, so that they can
            become its anchors.
        seeds: The random seeds; the recipe's by default.

    Returns:
        "photographs", "seen_by" (their numbers), "shares" (by view: the fraction of the image that shows the
        region), "masks" (the folder of the region's masks), "mask_files" (by view: its mask), "painted"
        (names of views), "looks" (by seed: the recipe file with its images approved).

    Raises:
        InputError: Something that the user can fix; the message says what to do.
        RunError: The inpainter failed, or the disk.
    """
    out = Path(out)
    seeds = tuple(dict.fromkeys(seeds)) or (recipe.seed,)
    session = prepare(scene, replace(recipe, approved={}, seed=seeds[0]), progress, paints=paint != 0)
    views = scene.capture.views
    stems = dict(zip((view.name for view in views), file_stems(view.name for view in views), strict=True))
    coverage = _write_masks(scene, session, stems, out / "masks", progress)
    chosen = _choose(session, paint)
    looks, columns = {}, []
    for seed in seeds if chosen else ():
        if seed != seeds[0]:
            session.prepare_inpainter(seed, progress)
        images = _paint(session, chosen, seed, progress)
        for folder in (out / f"seed-{seed}", *([out / "painted"] if seed == seeds[0] else [])):
            _write_painted(folder, chosen, images, stems)
        look = out / f"seed-{seed}" / "recipe.yaml"
        approved = {
            seen.view.name: str(look.absolute().parent / f"{stems[seen.view.name]}.png") for seen in chosen
        }
        replace(session.recipe, seed=seed, approved=approved).save(look)
        looks[seed] = str(look)
        columns.append([(f"seed {seed}", image) for image in images])
    if len(columns) > 1 and all(map(_alike, columns, columns[1:])):
        progress.warn(f"the inpainter {recipe.inpainter} paints the same with all of these seeds")
    rows = [[*_marked(seen), *painted] for seen, *painted in zip(chosen, *columns, strict=True)]
    rows = rows or [_marked(seen) for seen in _choose(session, SHEET_ROWS)]
    write_image(out / "sheet.png", contact_sheet(rows, width=SHEET_WIDTH))
    return {
        "photographs": len(views),
        "seen_by": len(session.views),
        "shares": coverage,
        "masks": str(out / "masks"),
        "mask_files": {name: str(out / "masks" / f"{stem}.png") for name, stem in stems.items()},
        "painted": [seen.view.name for seen in chosen],
        "looks": looks,
    }


def _alike(one: Sequence[tuple[str, Tensor]], other: Sequence[tuple[str, Tensor]]) -> bool:
    """Whether two columns of the sheet show the same images."""
    return all(torch.equal(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


def _choose(session: EditSession, count: int | None) -> list[RegionView]:
    """Choose well-spread views; by default those that the edit would paint first."""
    center = session.region.bounds.mean(0)
    if count is None:
        schedule = session.recipe.schedule
        anchors = select_anchors(schedule, session.rounds, session.views, center)
        count = len(anchors) or PAINTED
    return [session.views[index] for index in choose_anchors(session.views, center, count)]


def _write_painted(
    folder: Path, chosen: Sequence[RegionView], images: Sequence[Tensor], stems: dict[str, str]
) -> None:
    for stem in stems.values():  # an earlier preview painted other views
        (folder / f"{stem}.png").unlink(missing_ok=True)
    for seen, image in zip(chosen, images, strict=True):
        write_image(folder / f"{stems[seen.view.name]}.png", image)


def _write_masks(
    scene: Scene, session: EditSession, stems: dict[str, str], folder: Path, progress: Progress
) -> dict[str, float]:
    """Write all masks, and return the fraction of each photograph that shows the region."""
    own = session.marked is session.region
    known = {seen.view.name: seen.mask for seen in session.views} if own else {}
    coverage = {}
    with progress.task("Drawing the masks", total=len(stems)) as task:
        for view in scene.capture.views:
            mask = known.get(view.name)
            mask = visible_mask(session.marked, session.stack, view) if mask is None else mask
            write_image(folder / f"{stems[view.name]}.png", mask)
            coverage[view.name] = float(mask.float().mean())
            task.advance(1)
    return coverage


def _paint(session: EditSession, chosen: Sequence[RegionView], seed: int, progress: Progress) -> list[Tensor]:
    images: list[Tensor] = []
    size, name, shade = session.joint_batch, session.recipe.inpainter, session.inpainter.shade
    shaded = None if shade is None else session.over(shade).stack
    strength = session.recipe.schedule.strength  # that of the first round
    with progress.task(f"Painting some views, seed {seed}", total=len(chosen)) as task:
        for batch in (chosen[first : first + size] for first in range(0, len(chosen), size)):
            views = [inpaint_view(session.inpainter, seen, session.stack) for seen in batch]
            made = run_inpainter(name, session.inpainter, views, session.guide, strength, seed)
            for seen, view, painted in zip(batch, views, made, strict=True):
                around = view.original if shaded is None else EditedView.of(seen.view, shaded).photograph()
                images.append(torch.where(seen.mask[..., None], painted, around))
            task.advance(len(batch))
    return images


def _marked(seen: RegionView) -> list[tuple[str, Tensor]]:
    photograph = seen.view.photograph()
    tinted = torch.where(seen.mask[..., None], 0.5 * photograph + 0.5 * TINT, photograph)
    return [(seen.view.name, photograph), ("region", tinted)]
