"""Pieces of space that an edit may change, and their descriptions in recipes.

`RegionSpec` and its kinds (`Points`, `Masks`, `Heal`, `Mesh`, `Box`, `Union`, `Intersection`, `Dilate`) are
plain data; `RegionSpec.build` turns them into a `Region` (`GridRegion`, `VisualHull`, `MeshRegion`,
`BoxRegion`, `UnionRegion`, `IntersectionRegion`, `DilatedRegion`). `check_region` tells whether an edit there
can succeed.
All coordinates are world coordinates (those of the capture's transforms.json, in its units). Names are
imported when they are first used: the specs need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "Box",
    "BoxRegion",
    "Dilate",
    "DilatedRegion",
    "GridRegion",
    "Heal",
    "Intersection",
    "IntersectionRegion",
    "Masks",
    "Mesh",
    "MeshRegion",
    "Points",
    "Region",
    "RegionReport",
    "RegionSpec",
    "Union",
    "UnionRegion",
    "VisualHull",
    "check_region",
    "load_region",
]

if TYPE_CHECKING:
    from nerf_insert.regions.box import BoxRegion as BoxRegion
    from nerf_insert.regions.checks import RegionReport as RegionReport
    from nerf_insert.regions.checks import check_region as check_region
    from nerf_insert.regions.csg import DilatedRegion as DilatedRegion
    from nerf_insert.regions.csg import IntersectionRegion as IntersectionRegion
    from nerf_insert.regions.csg import UnionRegion as UnionRegion
    from nerf_insert.regions.grid_region import GridRegion as GridRegion
    from nerf_insert.regions.mesh_region import MeshRegion as MeshRegion
    from nerf_insert.regions.region import Region as Region
    from nerf_insert.regions.saved import load_region as load_region
    from nerf_insert.regions.spec import Box as Box
    from nerf_insert.regions.spec import Dilate as Dilate
    from nerf_insert.regions.spec import Heal as Heal
    from nerf_insert.regions.spec import Intersection as Intersection
    from nerf_insert.regions.spec import Masks as Masks
    from nerf_insert.regions.spec import Mesh as Mesh
    from nerf_insert.regions.spec import Points as Points
    from nerf_insert.regions.spec import RegionSpec as RegionSpec
    from nerf_insert.regions.spec import Union as Union
    from nerf_insert.regions.visual_hull import VisualHull as VisualHull

_MODULES = {
    "box": ["BoxRegion"],
    "checks": ["RegionReport", "check_region"],
    "csg": ["DilatedRegion", "IntersectionRegion", "UnionRegion"],
    "grid_region": ["GridRegion"],
    "mesh_region": ["MeshRegion"],
    "region": ["Region"],
    "saved": ["load_region"],
    "spec": ["Box", "Dilate", "Heal", "Intersection", "Masks", "Mesh", "Points", "RegionSpec", "Union"],
    "visual_hull": ["VisualHull"],
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
