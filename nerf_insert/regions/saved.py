"""Regions as they are kept in a layer's folder, ready to use and independent of the recipe's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.regions.box import BoxRegion
from nerf_insert.regions.csg import DilatedRegion, IntersectionRegion, UnionRegion
from nerf_insert.regions.grid_region import GridRegion
from nerf_insert.regions.mesh_region import MeshRegion
from nerf_insert.regions.region import Region
from nerf_insert.regions.visual_hull import VisualHull


def load_region(data: dict[str, Any], folder: Path) -> Region:
    """Return the region that `Region.save(folder)` turned into `data`.

    Raises:
        InputError: The data or a file in the folder is damaged.
    """
    folder = Path(folder)
    try:
        kind = data["kind"]
        if kind in ("union", "intersection"):
            parts = [load_region(part, folder / str(index)) for index, part in enumerate(data["regions"])]
            return UnionRegion(parts) if kind == "union" else IntersectionRegion(parts)
        if kind == "dilated":
            return DilatedRegion(load_region(data["region"], folder / "0"), data["by"])
        kinds = {"box": BoxRegion, "grid": GridRegion, "hull": VisualHull, "mesh": MeshRegion}
        load = kinds[kind].load
        return load(data, folder)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"the region saved in {folder} is damaged or from a newer version ({error!r})"
        ) from None
