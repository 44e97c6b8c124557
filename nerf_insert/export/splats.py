"""A scene as a splat file.

Of a base that was read from a file of the same kind, every splat outside of the layers' regions is written as
it was read, byte for byte and in its order. Splats inside are left out, of those that straddle a border their
part outside is written behind the others, then what each layer shows, bottom to top. Shade layers go into the
colors of the splats that they change. Other bases are written as splats that are fitted to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_insert.errors import InputError
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
from nerf_insert.splats.files import kind_of, kind_to_write, write_splats
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
    if layer is not None:
        return _layer_alone(scene, file, layer, count, steps, seed, progress)
    stack = layer_stack(scene, layers)
    base = stack.base
    if not isinstance(base, SplatField):
        how = (count or SCENE_SPLATS, SCENE_STEPS if steps is None else steps, seed, progress)
        splats = splats_of_scene(stack, scene.capture, *how)
        write_splats(file, _outside(scene, splats), up=_up(scene))
        return _counts(file, added=splats.count)
    regions = [entry.region for _, entry in stack.fields]
    division = divide(base.splats, regions)
    changed, sh = shaded_colors(base.splats, [shade for _, shade in stack.shades])
    added = []
    for number, region in enumerate(regions):
        how = (count or LAYER_SPLATS, LAYER_STEPS if steps is None else steps, seed, progress)
        added.append(splats_of_layer(stack, region, regions[number + 1 :], scene.capture, *how))
    splats = base.splats
    recolored = splats.with_colors(sh)
    parts = division.parts.with_colors(sh[division.cut])
    _write(scene, file, recolored, changed, division._replace(parts=parts), added)
    kept = division.kept
    return _counts(
        file,
        kept=int((kept & ~changed).sum()),
        recolored=int((kept & changed).sum()),
        cut=len(division.cut),
        dropped=splats.count - int(kept.sum()) - len(division.cut),
        added=sum(part.count for part in added),
    )


def _layer_alone(
    scene: Scene,
    file: Path,
    number: int,
    count: int | None,
    steps: int | None,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Write what one layer shows in its region."""
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
    splats = splats_of_layer(stack, stack.fields[0][1].region, (), scene.capture, *how)
    write_splats(file, _outside(scene, splats), up=_up(scene))
    return _counts(file, added=splats.count)


def _counts(
    file: Path, kept: int = 0, recolored: int = 0, cut: int = 0, dropped: int = 0, added: int = 0
) -> dict[str, Any]:
    counts = {"kept": kept, "recolored": recolored, "cut": cut, "dropped": dropped, "added": added}
    return {"file": str(file), "splats": kept + recolored + cut + added, **counts}


def _write(
    scene: Scene,
    file: Path,
    splats: Splats,
    changed: torch.Tensor,
    division: Division,
    added: Sequence[Splats],
) -> None:
    """Write the base's splats as the edits left them, and those that were added."""
    source, kind = source_file(scene), kind_to_write(file)
    kept = division.kept.nonzero()[:, 0]
    new = _outside(scene, Splats.joined([division.parts, *added]).with_degree(splats.degree))
    if source is None or kind_of(source) != kind or kind not in ("ply", "splat"):
        write_splats(file, Splats.joined([_outside(scene, splats[kept]), new]), up=_up(scene))
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
