"""The config of an edit: the flags of `ns-train nerf-insert` that our own code reads.

It needs only nerfstudio's configs and plain data of ours, so that the modules behind it may import it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from nerfstudio.configs.base_config import PrintableConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from tyro.conf import arg

from nerf_insert.geometry.up_axis import UpAxis
from nerf_insert.scene.recipe import Schedule
from nerf_insert.scene.recipe_formats import REPAINT, SCHEDULE_KEYS


def _flags_of(part: type) -> list[tuple[str, Any, Any]]:
    """Return the fields of a part of the recipe, as flags with help; None means not given."""
    types, flags = get_type_hints(part), []
    for f in fields(part):
        default = "." if f.default is None else f" (default: {f.default}, or what the recipe says)."
        help = f.metadata["help"].capitalize() + default
        flags.append((f.name, Annotated[types[f.name] | None, arg(help=help)], None))
    return flags


def _with_old_names(flags: list[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    """Add the flags and values of older versions, which `recipe_of` reads with a warning."""
    types = {name: kind for name, kind, _ in flags}
    kind, described = get_args(types["repaint"])
    types["repaint"] = Annotated[kind | Literal[tuple(REPAINT)], described]
    old = [
        (old, Annotated[types[new], arg(help=f"Old name of {new.replace('_', '-')}.")], None)
        for old, new in SCHEDULE_KEYS.items()
    ]
    return [(name, types[name], default) for name, _, default in flags] + old


ScheduleConfig = make_dataclass(
    "ScheduleConfig", _with_old_names(_flags_of(Schedule)), bases=(PrintableConfig,)
)


@dataclass
class EditConfig(ScheduleConfig):
    """The edit: where, what and how, as in a recipe. What says where forms one region, see `combine`."""

    point: tuple[str, ...] = ()
    """Clicks on a thing, each as VIEW=X,Y: pixels of a photograph as it is stored."""
    not_point: tuple[str, ...] = ()
    """Clicks on what does not belong to the thing of --point, likewise."""
    mask: tuple[str, ...] = ()
    """Masks drawn on photographs, white where the edit is, each as VIEW=PNG."""
    exact_masks: bool | None = None
    """Take the masks as they are, also where they cut through a thing that is to be removed."""
    heal: tuple[str, ...] = ()
    """Strokes of a few pixels over what is to be healed, each as VIEW=PNG."""
    mesh: Path | None = None
    """GLB, glTF, OBJ, PLY or STL, in the capture's world coordinates."""
    up_axis: UpAxis | None = None
    """Axis of the mesh's file that points up, turned to the scene's up before the pose; default: y for GLB
    and glTF, none for other files."""
    pose: str | None = None
    """Transform from the mesh's coordinates to the world's: 16 numbers, a file with them, or terms such as
    'scale=2 rotate=0,0,90 translate=0,0,1'."""
    box: tuple[float, ...] = ()
    """Center, side lengths and, in degrees, rotation of a box, in world coordinates: 6 or 9 numbers."""
    combine: Literal["union", "intersection"] | None = None
    """What mask, mesh and box mean together: everything in any of them (union, the default), or what is in
    all of them."""
    nerfstudio: Path | None = None
    """config.yml of a run of the same capture, in whose coordinates mesh, pose and box are, as its viewer and
    ns-export show them."""
    dilate: float | None = None
    """Widen the region by this distance, in world units."""
    negative_prompt: str | None = None
    """What not to paint; what to paint is --prompt."""
    reference: tuple[Path, ...] = ()
    """Images of what to paint."""
    inpainter: str | None = None
    """mesh, fill, diffusion, an installed inpainter, or package.module:Class; default: what fits the rest."""
    inpainter_option: tuple[str, ...] = ()
    """Options of the inpainter, each as KEY=VALUE."""
    shadow: Literal["cast", "contact", "none"] | None = None
    """What the object does to the light around it, as a layer of its own: cast (its shadow, and light thrown
    back), contact (a soft shadow near it) or none."""
    shadow_strength: float | None = None
    """Strength of that layer: 0 is no shadow, 1 as computed, 2 the most."""
    recipe: Path | None = None
    """A recipe file to run; other flags override it."""
    name: str | None = None
    """The layer's name."""
    seed: int | None = None
    """Random seed."""


@dataclass
class EditPipelineConfig(VanillaPipelineConfig):
    """What is edited, and how."""

    scene: Path | None = None
    """A scene folder to edit, instead of the run of --load-dir; a copy of it is edited."""
    appearance: str | None = None
    """Render the base with the exposure of this training photograph; by default as nerfstudio renders it."""
    trust: bool = False
    """Load the run of --load-dir with nerfstudio's own loaders, which can execute code in the files."""
    edit: EditConfig = field(default_factory=EditConfig)
    """The edit."""
