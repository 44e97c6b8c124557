"""A scene as a splat file.

Of a base that was read from a file of the same kind, every splat outside of the layers' regions is written as
it was read, byte for byte and in its order. Splats inside are left out, of those that straddle a border their
part outside is written behind the others, then what each layer shows, bottom to top. Shade layers go into the
colors of the splats that they change. Other bases are written as splats that are fitted to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from nerf_insert.errors import InputError, RunError
from nerf_insert.export.splat_base import Division, divide, shaded_colors
from nerf_insert.export.splat_layers import splats_of_layer, splats_of_scene
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.io.files import replacing
from nerf_insert.rendering.outputs import check_folder
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.adopt_splats import source_file
from nerf_insert.scene.renders import Layers, layer_stack
from nerf_insert.scene.scene import Scene
from nerf_insert.splats import antimatter, ply
from nerf_insert.splats.files import SPZ_UP, kind_of, kind_to_write, write_splats
from nerf_insert.splats.splats import Splats

LAYER_SPLATS, LAYER_STEPS = 30_000, 250
SCENE_SPLATS, SCENE_STEPS = 150_000, 600
GEOMETRY = ("x", "y", "z", "opacity", *(f"{n}_{k}" for n, c in (("scale", 3), ("rot", 4)) for k in range(c)))


def export_splats(
    scene: Scene,
    file: str | Path,
    *,
    layers: Layers = True,
    layer: int | None = None,
    count: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write a scene, or a layer alone, as Gaussian splats.

    Args:
        scene: The scene; splats are in its world coordinates.
        file: Its suffix says which kind is written, see `nerf_insert.splats.files.WRITABLE`.
        layers: Which layers to include, see `layer_stack`.
        layer: Write only what this layer shows in its region, counted from 1 at the bottom.
        count: The largest number of splats of each layer, or of a base that has none.
        steps: Steps of their fit.
        seed: Random seed of the fit.
        progress: Reports the work.

    Returns:
        `{"file": path, "splats": number, "kept": of the base's as they were read, "recolored": of the base's
        that are in a shadow, "cut": of the base's of which a part is written, "dropped": of the base's that
        are left out, "added": splats of layers or of a base that has none}`.

    Raises:
        InputError: The suffix is unknown, or there is no such layer.
        RunError: The views show nothing solid, or the file cannot be written.
    """
    file = Path(file)
    kind_to_write(file)
    check_folder(file.parent)
    edited = edited_splats(
        scene, layers=layers, layer=layer, count=count, steps=steps, seed=seed, progress=progress
    )
    _write(scene, file, edited)
    return {"file": str(file), **edited.counts()}


@dataclass(frozen=True)
class EditedSplats:
    """A scene's splats after its edits, world coordinates. S are those of a base that consists of splats.

    Attributes:
        added: Splats of layers, or of a base that has none.
        base: The base's, with shadows in their colors.
        changed: Which of these are in a shadow.
        division: Which of these are kept or cut.
    """

    added: Sequence[Splats]
    base: Splats | None = None
    changed: Bool[Tensor, " S"] | None = None
    division: Division | None = None

    def parts(self) -> tuple[list[Splats], list[Splats]]:
        """Return what is left of the base, and what was added."""
        if self.base is None or self.division is None:
            return [], list(self.added)
        return [self.base[self.division.kept], self.division.parts], list(self.added)

    def counts(self) -> dict[str, int]:
        """Return how many there are, as `export_splats` does."""
        counts: dict[str, int] = {"kept": 0, "recolored": 0, "cut": 0, "dropped": 0}
        if self.base is not None and self.division is not None and self.changed is not None:
            kept, cut = self.division.kept, len(self.division.cut)
            counts = {
                "kept": int((kept & ~self.changed).sum()),
                "recolored": int((kept & self.changed).sum()),
                "cut": cut,
                "dropped": self.base.count - int(kept.sum()) - cut,
            }
        counts["added"] = sum(part.count for part in self.added)
        return {"splats": sum(counts.values()) - counts["dropped"], **counts}


def edited_splats(
    scene: Scene,
    *,
    layers: Layers = True,
    layer: int | None = None,
    count: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> EditedSplats:
    """Return a scene, or a layer alone, as Gaussian splats; see `export_splats`.

    Raises:
        InputError: There is no such layer.
        RunError: The views show nothing solid.
    """
    if layer is not None:
        return EditedSplats([_layer_alone(scene, layer, count, steps, seed, progress)])
    stack = layer_stack(scene, layers)
    base = stack.base
    if not isinstance(base, SplatField):
        how = (count or SCENE_SPLATS, SCENE_STEPS if steps is None else steps, seed, progress)
        return EditedSplats([splats_of_scene(stack, scene.capture, *how)])
    regions = [entry.region for _, entry in stack.fields]
    division = divide(base.splats, regions)
    changed, sh = shaded_colors(base.splats, [shade for _, shade in stack.shades])
    added = []
    for number, region in enumerate(regions):
        how = (count or LAYER_SPLATS, LAYER_STEPS if steps is None else steps, seed, progress)
        shown = splats_of_layer(stack, region, regions[number + 1 :], scene.capture, *how)
        added += [] if shown is None else [shown]
    parts = division.parts.with_colors(sh[division.cut])
    return EditedSplats(added, base.splats.with_colors(sh), changed, division._replace(parts=parts))


def _layer_alone(
    scene: Scene, number: int, count: int | None, steps: int | None, seed: int, progress: Progress
) -> Splats:
    """Return what one layer shows in its region."""
    stack = layer_stack(scene, [number])
    entry = scene.layers[number - 1]
    if not stack.fields:
        raise InputError(
            f"layer {number} ({entry.name}) is a shade layer, which has no splats of its own: it is baked "
            "into the colors when the scene is exported"
        )
    shades = [k + 1 for k, other in enumerate(scene.layers) if other.shade_of == entry.folder]
    stack = layer_stack(scene, [number, *shades])
    how = (count or LAYER_SPLATS, LAYER_STEPS if steps is None else steps, seed, progress)
    shown = splats_of_layer(stack, stack.fields[0][1].region, (), scene.capture, *how)
    if shown is None:
        raise RunError(
            f"no view shows anything solid in the region of layer {number} ({entry.name}): export the scene "
            "as a whole, without --layer"
        )
    return shown


def _write(scene: Scene, file: Path, edited: EditedSplats) -> None:
    """Write splats; those of a file of the same kind that were not changed, as they are in it."""
    if not edited.counts()["splats"]:
        raise InputError(f"{file}: the layers leave no splats to write")
    source, kind = source_file(scene), kind_to_write(file)
    splats, division, changed = edited.base, edited.division, edited.changed
    if splats is None or division is None or changed is None:
        write_splats(file, _outside(scene, Splats.joined(edited.added)), up=_up(scene))
        return
    kept = division.kept.nonzero()[:, 0]
    new = _outside(scene, Splats.joined([division.parts, *edited.added]).with_degree(splats.degree))
    if source is None or kind_of(source) != kind or kind not in ("ply", "splat"):
        same = source is not None and kind_of(source) == kind  # the file's own coordinates come back
        up = SPZ_UP if same and kind == "spz" else _up(scene)
        all_of_them = Splats.joined([_outside(scene, splats[kept]), new])
        trained_so = isinstance(scene.base, SplatField) and scene.base.antialiased
        write_splats(file, all_of_them, up=up, antialiased=trained_so)
        return
    recolored = changed[kept].numpy()
    if kind == "ply":
        found = ply.read_layout(source).rows(source)
        rows = found[kept.numpy()]
        colors = ply.rows_of_splats(splats[kept[torch.from_numpy(recolored)]], found.dtype)
        for name in found.dtype.names or ():
            if name.startswith(("f_dc_", "f_rest_")):
                rows[name][recolored] = colors[name]
        more = ply.rows_of_splats(new, found.dtype)
        parts = found[division.cut.numpy()]
        for name in found.dtype.names or ():
            if name not in GEOMETRY and not name.startswith("f_"):  # of the splat that was cut
                more[name][: len(parts)] = parts[name]
        with replacing(file) as temporary:
            ply.write_rows(temporary, found.dtype, [rows, more])
    else:
        rows = np.array(antimatter.rows_of_file(source)[kept.numpy()])
        colors = antimatter.rows_of_splats(splats[kept[torch.from_numpy(recolored)]])
        rows["rgba"][recolored, :3] = colors["rgba"][:, :3]
        with replacing(file) as temporary:
            temporary.write_bytes(rows.tobytes() + antimatter.rows_of_splats(new).tobytes())


def _outside(scene: Scene, splats: Splats) -> Splats:
    """Return splats in the capture's own coordinates."""
    if not any(scene.origin):
        return splats
    means = splats.means.double() + torch.tensor(scene.origin, dtype=torch.float64)
    return Splats(means.float(), *splats.tensors()[1:])


def _up(scene: Scene) -> tuple[float, float, float]:
    x, y, z = scene.capture.up.tolist()
    return x, y, z
