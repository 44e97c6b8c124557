"""Pieces of space that an edit may touch.

    VisualHull      what masks on two or more photographs have in common
    MeshRegion      the inside of a mesh, or what is near it
    BoxRegion       an oriented box
    Union, Intersection, Dilated

    check_region    whether an edit there can come out well, before time is spent

All coordinates are the world's (those of the capture's transforms.json, in its units).
"""

from __future__ import annotations

from pathlib import Path

from nerf_insert.errors import InputError
from nerf_insert.regions.box import BoxRegion
from nerf_insert.regions.checks import Report, check_region
from nerf_insert.regions.csg import Dilated, Intersection, Union
from nerf_insert.regions.mesh_region import MeshRegion
from nerf_insert.regions.region import Region
from nerf_insert.regions.visual_hull import VisualHull

__all__ = [
    "BoxRegion",
    "Dilated",
    "Intersection",
    "MeshRegion",
    "Region",
    "Report",
    "Union",
    "VisualHull",
    "check_region",
    "load_region",
]


def load_region(data: dict, folder: Path) -> Region:
    """The region that `Region.save(folder)` turned into `data`. Raises InputError when that is damaged."""
    folder = Path(folder)
    try:
        kind = data["kind"]
        if kind in ("union", "intersection"):
            parts = [load_region(part, folder / str(index)) for index, part in enumerate(data["regions"])]
            return Union(parts) if kind == "union" else Intersection(parts)
        if kind == "dilated":
            return Dilated(load_region(data["region"], folder / "0"), data["by"])
        load = {"box": BoxRegion.load, "hull": VisualHull.load, "mesh": MeshRegion.load}[kind]
        return load(data, folder)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the region saved in {folder} is damaged or from a newer version ({error!r})"
        ) from None
