"""Selection and removal against ground truth, on scenes whose true pictures without a thing are known.

    python -m benchmarks.removal SCENE=FOLDER ... [--clicks N] [--views N] [--remove] [--json FILE]

SCENE is a scene folder trained on the pictures with the thing. FOLDER holds object_mask/ (or removed_mask/),
white where the thing is visible, and for --remove the pictures without it in images/ (or truth/remove/), all
under the photographs' stems. One table:

    clicks 1 ..      mean and worst IoU of the region's masks with the true ones, after each click. The first
                     is in the middle of the thing's largest visible part in the photograph that shows it
                     best; each further one in the middle of the largest error in the photograph with the
                     lowest IoU, to add or to take away
    masks -4, 0, +4  the same for three true masks drawn smaller and larger by so many pixels, as they are
                     and completed (`forgiving`)
    in place         PSNR (dB) of the removal by one click where the thing was, on test views
    outside          PSNR of the base more than 12 pixels from what the truth changes
    changed          largest change of a pixel whose ray misses the region and the shade layer's; 0

IoU is over photographs that show 50 pixels of the thing or more. Seconds are of one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.ndimage import binary_dilation, distance_transform_edt, label

from nerf_insert.capture.view import View
from nerf_insert.editing.loop import edit
from nerf_insert.editing.region_views import visible_mask
from nerf_insert.evaluation.image_metrics import psnr
from nerf_insert.io.images import read_image
from nerf_insert.regions.region import Region
from nerf_insert.regions.spec import Points
from nerf_insert.regions.visual_hull import VisualHull
from nerf_insert.runtime.progress import LineProgress
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene
from nerf_insert.selection.selector import Selector

MIN_PIXELS = 50
STROKES = (-4, 0, 4)  # pixels by which drawn masks differ from the true ones
CHANGED, CLEAR = 0.03, 12  # change of a color that counts; pixels from it that are outside


class Case:
    """A trained scene with the true masks of a thing and, for removal, the true pictures without it."""

    def __init__(self, scene: Path, folder: Path, views: int):
        self.name, self.folder, self.scene = scene.name, folder, Scene.open(scene)
        self.stack, self.capture = self.scene.stack(), self.scene.capture
        masks = folder / ("removed_mask" if (folder / "removed_mask").is_dir() else "object_mask")
        self.masks = {view.name: self._mask(masks, view) for view in self.capture.views}
        shown = [view for view in self.capture.views if self.masks[view.name].sum() >= MIN_PIXELS]
        step = max(1, len(shown) // views)
        self.judged = shown[::step]
        self.train = [view for view in self.capture.train if view in shown]

    def _mask(self, masks: Path, view: View) -> np.ndarray:
        for suffix in (".png", ".jpg"):
            file = masks / (view.path.stem + suffix)
            if file.exists():
                image = read_image(file)[0].mean(-1).numpy() > 0.5
                rows, columns = (
                    np.arange(n) * m // n for n, m in zip(view.size[::-1], image.shape, strict=True)
                )
                return image[np.ix_(rows, columns)]
        return np.zeros(view.size[::-1], bool)

    def overlaps(self, region: Region) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """IoU in the photographs that are judged, and the region's masks there."""
        found = {view.name: visible_mask(region, self.stack, view).numpy() for view in self.judged}
        return {
            name: float((mask & self.masks[name]).sum() / max((mask | self.masks[name]).sum(), 1))
            for name, mask in found.items()
        }, found

    def first_click(self) -> tuple[View, list[float]]:
        best = max(self.train, key=lambda view: _largest(self.masks[view.name]).sum())
        return best, _stored(best, _middle(_largest(self.masks[best.name]))[1])

    def next_click(
        self, overlaps: dict[str, float], found: dict[str, np.ndarray]
    ) -> tuple[View, list[float], bool]:
        """The photograph, the pixel, and whether it adds."""
        names = {view.name: view for view in self.train}
        worst = min((name for name in overlaps if name in names), key=lambda name: overlaps[name])
        missing, surplus = (
            _middle(error) for error in (self.masks[worst] & ~found[worst], found[worst] & ~self.masks[worst])
        )
        adds = missing[0] >= surplus[0]
        return names[worst], _stored(names[worst], (missing if adds else surplus)[1]), adds

    def hull(self, by: int) -> VisualHull:
        """Three of the true masks, from different sides, drawn larger or smaller."""
        chosen = [self.train[k * len(self.train) // 3] for k in range(3)]
        drawn = []
        for view in chosen:
            mask = self.masks[view.name]
            inner = np.asarray(distance_transform_edt(mask))
            wide = binary_dilation(mask, iterations=by) if by > 0 else inner > -by if by < 0 else mask
            drawn.append((view.camera, torch.from_numpy(wide)))
        return VisualHull(drawn)


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = label(mask)  # type: ignore[misc]
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax() if count else mask


def _middle(mask: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The largest distance from a mask's border, and the pixel (x, y) where it is."""
    inner = np.asarray(distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    y, x = np.unravel_index(inner.argmax(), inner.shape)
    return float(inner.max()), (float(x) + 0.5, float(y) + 0.5)


def _stored(view: View, pixel: tuple[float, float]) -> list[float]:
    from nerf_insert.io.images import image_size

    stored = image_size(view.path)
    return [at * size / own for at, size, own in zip(pixel, stored, view.size, strict=True)]


def _iou(overlaps: dict[str, float]) -> dict[str, float]:
    return {"mean": float(np.mean([*overlaps.values()])), "worst": min(overlaps.values())}


def measure(case: Case, clicks: int, remove: bool) -> dict:
    """All figures of one scene."""
    row: dict = {"scene": case.name, "views": len(case.judged)}
    view, pixel = case.first_click()
    points: dict[str, list] = {view.name: [pixel]}
    not_points: dict[str, list] = {}
    first = dict(points)
    selector = Selector(case.stack, case.capture, LineProgress())
    for count in range(1, clicks + 1):
        start = time.monotonic()
        region = selector.select(Points(points, not_points or None))
        seconds = time.monotonic() - start
        overlaps, found = case.overlaps(region)
        row[f"clicks {count}"] = {**_iou(overlaps), "seconds": seconds}
        if count < clicks:
            view, pixel, adds = case.next_click(overlaps, found)
            where = points if adds else not_points
            where[view.name] = [*where.get(view.name, []), pixel]
    forgiving = Selector(case.stack, case.capture, LineProgress(), forgiving=True)
    for by in STROKES:
        hull = case.hull(by)
        row[f"masks {by:+d}"] = _iou(case.overlaps(hull)[0])
        row[f"masks {by:+d}, forgiving"] = _iou(case.overlaps(forgiving.complete(hull))[0])
    return row | (_removal(case, first) if remove else {})


def _removal(case: Case, points: dict[str, list]) -> dict:
    """Remove the thing on a copy of the scene, and compare with the true pictures without it."""
    truth = case.folder / "truth" / "remove"
    truth = truth if truth.is_dir() else case.folder / "images"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "scene"
        shutil.copytree(case.scene.folder, copy, ignore=shutil.ignore_patterns("layers", "page", "preview"))
        scene = Scene.open(copy)
        scene.point_to(case.capture.path, copy)
        start = time.monotonic()
        entry = edit(scene, Recipe(region=Points(points), name="removal"), LineProgress())
        seconds = time.monotonic() - start
        region, stack = scene.load_layer(entry).region, scene.stack()
        inside, outside, changed = [], [], 0.0
        for view in case.capture.test:
            file = next((f for s in (".png", ".jpg") if (f := truth / (view.path.stem + s)).exists()), None)
            mask = torch.from_numpy(case.masks[view.name])
            if file is None or int(mask.sum()) < MIN_PIXELS:
                continue
            want, had = read_image(file)[0], view.photograph()
            before, now = (s.render_image(view.camera).rgb for s in (case.stack, stack))
            differs = ((want - had).abs().amax(-1) > CHANGED) | mask
            clear = torch.from_numpy(np.asarray(distance_transform_edt(~differs.numpy()))) > CLEAR
            inside.append(psnr(now, want, mask))
            outside.append(psnr(before, want, clear))
            missed = torch.ones_like(mask)
            for place in (region, *(shade.region for _, shade in stack.shades)):  # a shadow is taken back
                missed &= ~place.entry(view.camera.rays()).isfinite().view(mask.shape)
            if bool(missed.any()):  # a shadow's region can fill a whole room
                changed = max(changed, float((now - before).abs().amax(-1)[missed].max()))
    figures = {"in place": float(np.mean(inside)), "outside": float(np.mean(outside))}
    return {**figures, "changed": changed, "removal seconds": seconds}


def show(rows: list[dict]) -> Table:
    """The figures as a table, scenes side by side."""
    table = Table("", *(row["scene"] for row in rows))
    for key in dict.fromkeys(key for row in rows for key in row if key != "scene"):
        cells = []
        for row in rows:
            value = row.get(key, "")
            if isinstance(value, dict):
                value = f"{value['mean']:.3f} ({value['worst']:.2f})" + (
                    f" {value['seconds']:.1f} s" if "seconds" in value else ""
                )
            cells.append(f"{value:.2f}" if isinstance(value, float) else str(value))
        table.add_row(key, *cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="+", metavar="SCENE=FOLDER")
    parser.add_argument("--clicks", type=int, default=3)
    parser.add_argument("--views", type=int, default=16, help="photographs that are judged, about")
    parser.add_argument("--remove", action="store_true", help="also remove the thing, by one click")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for text in args.cases:
        scene, _, folder = text.partition("=")
        rows.append(measure(Case(Path(scene), Path(folder), args.views), args.clicks, args.remove))
        Console().print(show(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
