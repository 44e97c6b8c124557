"""Older formats of recipes: read into the present one, and written again for comparison.

Format 1 had other names for some keys of the schedule and for a box's center. Recipes from before glTF files
were turned upright do not say which axis is up: their files' axes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.geometry.up_axis import standard_up_axis

FORMAT = 2
SCHEDULE_KEYS = {  # of format 1, and what they are called now
    "fall": "strength_decay",
    "shell": "blend_width",
    "min_share": "min_coverage",
    "match_colours": "match_color",
    "match_shapes": "match_warp",
    "weigh": "robust_weights",
}
BOX_KEYS = {"centre": "center"}
REPAINT = {"doubted": "inconsistent"}
NO_WORD_OF_SHADOWS = {"kind": None, "strength": 1.0}


def migrate(data: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Bring plain data of a recipe to the present names, whatever format it declares.

    Returns:
        The data without its format, and one message if old names were used in it.

    Raises:
        InputError: The data is of a newer format, or gives a value under its old and its new name.
    """
    data, renamed = dict(data), {}
    version = data.pop("format", FORMAT)
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise InputError(
            f"its format is {version!r}, this NeRF-Insert reads up to format {FORMAT}: update NeRF-Insert"
        )
    schedule = data.get("schedule")
    if isinstance(schedule, Mapping):
        schedule = _rename(schedule, SCHEDULE_KEYS, "schedule", renamed)
        repaint = schedule.get("repaint")
        if isinstance(repaint, str) and repaint in REPAINT:
            renamed[f"schedule.repaint: {repaint}"] = f"repaint: {REPAINT[repaint]}"
            schedule["repaint"] = REPAINT[repaint]
        data["schedule"] = schedule
    if "region" in data:
        data["region"] = _migrate_region(_with_up_axis(data["region"]), renamed)
    if "guide" in data:
        data["guide"] = _with_up_axis(data["guide"])
    if not renamed:
        return data, ()
    names = ", ".join(f"{old} is now {new}" for old, new in renamed.items())
    return data, (f"the recipe uses names of an older version, which are still read: {names}",)


def older_forms(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Write the plain data of a recipe as older versions did.

    Before there were shadows and up axes of meshes, recipes had no keys for them. Format 1 kept a region as
    it was written, so that of a mesh's optional keys those without a value could be null or missing; each way
    is one of the results.
    """
    older = dict(data)
    older["guide"], older["region"] = _without_up_axis(data["guide"]), _without_up_axis(data["region"])
    if data["shadow"] == NO_WORD_OF_SHADOWS:
        del older["shadow"]
    if older != data:
        data = older
        yield dict(data)
    old_schedule = {new: old for old, new in SCHEDULE_KEYS.items()}
    old_repaint = {new: old for old, new in REPAINT.items()}
    schedule = {old_schedule.get(key, key): value for key, value in data["schedule"].items()}
    schedule["repaint"] = old_repaint.get(schedule["repaint"], schedule["repaint"])
    for pose, dilate in product((True, False), repeat=2):
        null_keys = [key for key, kept in (("pose", pose), ("dilate", dilate)) if kept]
        region = _old_region(data["region"], null_keys)
        yield {**data, "format": 1, "schedule": schedule, "region": region}


def _without_up_axis(tree: Any) -> Any:
    """Leave out the up axis of meshes whose axes stay as they are."""
    if isinstance(tree, list):
        return [_without_up_axis(part) for part in tree]
    if not isinstance(tree, Mapping) or "masks" in tree:
        return tree
    kept = {key: value for key, value in tree.items() if key != "up_axis" or value not in (None, "none")}
    return {key: _without_up_axis(value) for key, value in kept.items()}


def _with_up_axis(tree: Any) -> Any:
    """Say of meshes in glTF files that their axes stay as they are, where nothing is said."""
    if isinstance(tree, list):
        return [_with_up_axis(part) for part in tree]
    if not isinstance(tree, Mapping) or "masks" in tree:
        return tree
    tree = {key: _with_up_axis(value) for key, value in tree.items()}
    mesh = tree.get("mesh")
    if isinstance(mesh, str) and standard_up_axis(mesh) and tree.get("up_axis") is None:
        tree["up_axis"] = "none"
    return tree


def _rename(
    data: Mapping[str, Any], names: Mapping[str, str], where: str, renamed: dict[str, str]
) -> dict[str, Any]:
    for old, new in names.items():
        if old in data and new in data:
            raise InputError(f"{where} has both {new} and {old}, its old name: leave {old} out")
        if old in data:
            renamed[f"{where}.{old}"] = new
    return {names.get(key, key): value for key, value in data.items()}


def _migrate_region(tree: Any, renamed: dict[str, str]) -> Any:
    if isinstance(tree, list):
        return [_migrate_region(part, renamed) for part in tree]
    if not isinstance(tree, Mapping):
        return tree
    tree = {key: _migrate_region(value, renamed) for key, value in tree.items()}
    if isinstance(tree.get("box"), Mapping):
        tree["box"] = _rename(tree["box"], BOX_KEYS, "box", renamed)
    return tree


def _old_region(tree: Any, null_keys: list[str]) -> Any:
    if isinstance(tree, list):
        return [_old_region(part, null_keys) for part in tree]
    if not isinstance(tree, Mapping):
        return tree
    old_box = {new: old for old, new in BOX_KEYS.items()}
    if "masks" in tree:
        return tree
    plain = {key: _old_region(value, null_keys) for key, value in tree.items()}
    if isinstance(plain.get("box"), Mapping):
        plain["box"] = {old_box.get(key, key): value for key, value in plain["box"].items()}
    if "mesh" in plain:
        plain = {**dict.fromkeys(null_keys), **plain}
    return plain
