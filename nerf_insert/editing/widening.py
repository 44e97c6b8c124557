"""A removal that left something: its region is widened once, and the layer is fitted again.

Looked for is what remains of a thing that was selected in the scene, by clicks or masks; a box or a mesh is
taken as it is. While the edit is unfinished its folder holds

    remains.json         once the first layer was looked at: the share of the thing that remained
    wider/region.json    the wider region, if something did
"""

from __future__ import annotations

import shutil
from pathlib import Path

from nerf_insert.capture.capture import Capture
from nerf_insert.editing.session import EditSession
from nerf_insert.editing.shades import drop_kept_shade
from nerf_insert.fields.layer import Layer
from nerf_insert.io.files import read_json, write_json
from nerf_insert.regions import load_region
from nerf_insert.regions.csg import DilatedRegion, UnionRegion
from nerf_insert.regions.spec import Dilate, Intersection, Masks, Points, RegionSpec, Union
from nerf_insert.runtime.progress import Progress

RECORD, WIDER = "remains.json", "wider"
MARGIN = 0.02  # of the region's diagonal, around what remained


def resume_wider(session: EditSession, folder: Path, capture: Capture, progress: Progress) -> EditSession:
    """Return the session of an edit whose region was widened before it was stopped; else the same one.

    Raises:
        InputError: The wider region is damaged or cannot be used.
        RunError: The disk cannot be written.
    """
    if not (folder / RECORD).exists() or not (folder / WIDER / "region.json").exists():
        return session
    region = load_region(read_json(folder / WIDER / "region.json"), folder / WIDER)
    write_json(folder / "region" / "region.json", region.save(folder / "region"))
    return session.within(region, capture, progress)


def widen_once(
    session: EditSession, unshaded: EditSession, folder: Path, capture: Capture, progress: Progress
) -> EditSession | None:
    """Look for what remains of a removed thing in the edited scene.

    Args:
        session: The edit.
        unshaded: The same without a shade layer of its own.
        folder: The layer's folder, in which its field is.
        capture: The photographs.
        progress: Is told what was found.

    Returns:
        The session with the wider region, in which everything is to be made again; None if nothing remains,
        or this was done already.

    Raises:
        InputError: The wider region cannot be used.
        RunError: The disk cannot be written.
    """
    inpainter = session.inpainter
    wanted = inpainter.removes and not inpainter.empties and selects(session.recipe.region)
    if not wanted or (folder / RECORD).exists():
        return None
    with progress.task("Looking for what remains", total=1) as task:
        layer = Layer.load(folder / "field.safetensors", session.region).to(session.stack.device)
        found = session.selector.remains(session.region, session.stack.with_layer(layer))
        task.advance(1)
    if found is None:
        write_json(folder / RECORD, {"share": 0.0})
        return None
    rest, share = found
    region = UnionRegion([session.region, DilatedRegion(rest, MARGIN * session.region.diagonal)])
    write_json(folder / WIDER / "region.json", region.save(folder / WIDER))
    shutil.rmtree(folder / "painted", ignore_errors=True)
    for file in [*folder.glob("round*.*"), folder / "checkpoint.safetensors", folder / "field.safetensors"]:
        file.unlink(missing_ok=True)
    drop_kept_shade(folder)
    write_json(folder / RECORD, {"share": round(share, 4)})
    progress.warn(
        f"{100 * share:.1f} % of the thing's surface remained beside the region: the region was widened to "
        "hold it, and everything is fitted once more"
    )
    return resume_wider(unshaded, folder, capture, progress)


def selects(region: RegionSpec) -> bool:
    """Whether clicks or masks say what is to be removed, so that there is a thing to look for."""
    if isinstance(region, Union | Intersection):
        parts = region.union if isinstance(region, Union) else region.intersection
        return any(selects(part) for part in parts)
    if isinstance(region, Dilate):
        return selects(region.region)
    return isinstance(region, Points) or (isinstance(region, Masks) and not region.exact)
