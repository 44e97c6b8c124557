"""The whole edit as plain data: where, what, by whom, how long, with which seed.

The web page, the command line and the plugin make recipes and run recipes, nothing else. In a recipe
file paths are relative to its own folder. A region is a tree:

    masks: {images/003.png: mask.png, ...}      the visual hull of masks drawn on photographs
    mesh: object.glb, pose: [[...]], dilate: d  a solid and all within d of it
    box: {center: [x, y, z], size: [x, y, z], rotation: [degrees about x, y, z]}
    union: [region, ...]   intersection: [region, ...]   dilate: {region: ..., by: d}

Lengths and places are in world units and world coordinates, those of the capture's transforms.json.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.geometry.mesh_assets import companions
from nerf_insert.io.files import atomic_write, read_bytes, read_yaml, write_yaml

FORMAT = 1
REPAINT = ("doubted", "all", "none")
REGION_KINDS = ("masks", "mesh", "box", "union", "intersection", "dilate")
MAX_SEED = 2**31 - 1
MAX_NAME = 200


@dataclass(frozen=True)
class GuideSpec:
    """What to put there; `mesh` and `reference` are files, `pose` is a 4x4 matrix from mesh to world."""

    prompt: str = ""
    negative_prompt: str = ""
    reference: str | list[str] | None = None  # one picture, or several
    mesh: str | None = None
    pose: list[list[float]] | None = None

    @property
    def references(self) -> tuple[str, ...]:
        """The files of all reference pictures."""
        return (self.reference,) if isinstance(self.reference, str) else tuple(self.reference or ())


def _says(text: str, default: Any = None) -> Any:
    """A field and what it means, for the help of fronts; by default what the inpainter asks for."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Schedule:
    rounds: int | None = _says("times that all views are painted")
    steps: int | None = _says("steps of the layer's fit, over all rounds; none: as the pictures need")
    rays: int = _says("rays of one step of the fit", 4096)
    strength: float = _says("how far painting may go from what is there, in the first round", 1.0)
    fall: float | None = _says("how much of the strength is gone at last; none: 0.1 with anchors, else 0.8")
    shell: float | None = _says("the blend shell, as a share of the region's diagonal")
    view_dependent: bool | None = _says("whether the layer's colors may change with the direction of view")
    min_share: float = _says("views are left alone of which the region covers a smaller share", 0.001)
    anchors: int | None = _says("views painted first and together; 0: every round paints all views")
    repaint: str = _says(
        "views painted again at the end: doubted (they contradict the others), all, none", "doubted"
    )
    share_seed: bool = _says("whether all calls of the inpainter get the same seed", True)
    # corrections while the layer is fitted, thrown away afterwards; none: unless the inpainter is consistent
    match_colors: bool | None = _says("correct each view by an affine change of color")
    match_shapes: bool | None = _says("correct each view by a small smooth warp")
    weigh: bool | None = _says("let views and patches that contradict the others weigh less")


@dataclass(frozen=True)
class Recipe:
    region: dict[str, Any]
    guide: GuideSpec = field(default_factory=GuideSpec)
    inpainter: str = "fill"
    inpainter_options: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Schedule)
    name: str = "edit"
    seed: int = 0
    approved: dict[str, str] = field(default_factory=dict)  # pictures that are given, by their views' names

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe file. Raises InputError that names the line's key and what it should be."""
        path = Path(path)
        data = read_yaml(path)
        try:
            return Recipe.from_dict(data).map_files(lambda name: str((path.parent / name).absolute()))
        except InputError as error:
            raise InputError(f"recipe {path}: {error}") from None

    @staticmethod
    def from_dict(data: Any) -> Recipe:
        data = dict(_mapping(data, "a recipe"))
        version = data.pop("format", FORMAT)
        if version != FORMAT:
            raise InputError(
                f"its format is {version!r}, this NeRF-Insert reads format {FORMAT}: update NeRF-Insert"
            )
        _known(data, [f.name for f in fields(Recipe)], "a recipe")
        if "region" not in data:
            raise InputError(f"it has no region; give one of {', '.join(REGION_KINDS)}")
        try:
            check_region_tree(data["region"])
        except RecursionError:
            raise InputError("region is nested too deeply, or contains itself") from None
        return Recipe(
            region=data["region"],
            guide=_guide(_part(data, "guide")),
            inpainter=_text(data.get("inpainter", "fill"), "inpainter"),
            inpainter_options=_options(_part(data, "inpainter_options")),
            schedule=_schedule(_part(data, "schedule")),
            name=_name(data.get("name", "edit")),
            seed=_integer(data.get("seed", 0), "seed", 0, MAX_SEED),
            approved=_approved(_part(data, "approved")),
        )

    def save(self, path: Path) -> None:
        """Write a recipe file; files in its folder or below are named relative to it, so that all can be
        moved together."""
        folder = path.absolute().parent

        def shorten(name: str) -> str:
            return os.path.relpath(name, folder) if Path(name).is_relative_to(folder) else name

        write_yaml(path, self.map_files(shorten).to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML; `from_dict` reads it back."""
        return {"format": FORMAT, **asdict(self)}

    def map_files(self, change: Callable[[str], str]) -> Recipe:
        """The same recipe with every file name changed."""
        pictures = [change(name) for name in self.guide.references]
        named: dict[str, Any] = {"reference": pictures[0] if len(pictures) == 1 else pictures or None}
        if self.guide.mesh:
            named["mesh"] = change(self.guide.mesh)
        return replace(
            self,
            region=_map_region(self.region, change),
            guide=replace(self.guide, **named),
            approved={view: change(picture) for view, picture in self.approved.items()},
        )

    def with_options(self, options: Mapping[str, Any]) -> Recipe:
        """The same recipe with these options of the inpainter."""
        return replace(self, inpainter_options={**self.inpainter_options, **options})

    def fingerprint(self) -> str:
        """A digest of all that decides the result, the files' contents included but not their names."""
        data = self.map_files(_digest).to_dict()
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    def copied_into(self, folder: Path) -> Recipe:
        """Copy the files into `folder`/inputs, so that the recipe can be run again from there; the
        recipe that names them, relative to `folder`."""
        names: dict[str, str] = {}

        def copy(name: str) -> str:
            if name not in names:
                path, others = Path(name), companions(name)
                home = f"inputs/{len(names)}-{path.stem}/" if others else f"inputs/{len(names)}-"
                names[name] = home + path.name
                for part in (path.name, *others):
                    atomic_write(folder / (home + part), read_bytes(path.parent / part))
            return names[name]

        return self.map_files(copy)


def _digest(name: str) -> str:
    """Of a file's content, and of the files that it refers to."""
    parts = [name, *(Path(name).parent / other for other in companions(name))]
    return hashlib.sha256(b"".join(hashlib.sha256(read_bytes(part)).digest() for part in parts)).hexdigest()


def check_region_tree(tree: Any, where: str = "region") -> None:
    """Raises InputError where the tree is not of the form that this module's docstring shows."""
    tree = _mapping(tree, where)
    kinds = [kind for kind in REGION_KINDS if kind in tree and not (kind == "dilate" and "mesh" in tree)]
    if len(kinds) != 1:
        raise InputError(f"{where} needs exactly one of {', '.join(REGION_KINDS)}; it has {[*tree]}")
    kind = kinds[0]
    _known(tree, [kind, *(("pose", "dilate") if kind == "mesh" else ())], where)
    inner = tree[kind]
    if kind in ("union", "intersection"):
        if not isinstance(inner, list) or not inner:
            raise InputError(f"{where}.{kind} needs a list of regions")
        for index, part in enumerate(inner):
            check_region_tree(part, f"{where}.{kind}[{index}]")
    elif kind == "dilate":
        inner = _mapping(inner, f"{where}.dilate")
        _known(inner, ["region", "by"], f"{where}.dilate")
        _number(inner.get("by"), f"{where}.dilate.by", low=0)
        check_region_tree(inner.get("region"), f"{where}.dilate.region")
    elif kind == "masks":
        for view, mask in _mapping(inner, f"{where}.masks").items():
            _text(view, f"a view in {where}.masks"), _text(mask, f"{where}.masks.{view}")
    elif kind == "mesh":
        _text(inner, f"{where}.mesh")
        if tree.get("dilate") is not None:
            _number(tree["dilate"], f"{where}.dilate", low=0)
        check_pose(tree.get("pose"), f"{where}.pose")
    else:
        box = _mapping(inner, f"{where}.box")
        _known(box, ["center", "size", "rotation"], f"{where}.box")
        for key in ("center", "size", "rotation"):
            if key in box or key != "rotation":
                _numbers(box.get(key), f"{where}.box.{key}", 3)
        if min(box["size"]) <= 0:
            raise InputError(f"{where}.box.size must be above 0 in all three directions")


def check_pose(pose: Any, where: str) -> None:
    if pose is None:
        return
    if not isinstance(pose, list) or len(pose) != 4:
        raise InputError(f"{where} must be a matrix of four rows of four numbers")
    for row in pose:
        _numbers(row, where, 4)


def _map_region(tree: dict, change: Callable[[str], str]) -> dict:
    if "union" in tree or "intersection" in tree:
        return {kind: [_map_region(part, change) for part in parts] for kind, parts in tree.items()}
    if "masks" in tree:
        return {"masks": {view: change(mask) for view, mask in tree["masks"].items()}}
    if "mesh" in tree:
        return {**tree, "mesh": change(tree["mesh"])}
    if "dilate" in tree:
        return {"dilate": {**tree["dilate"], "region": _map_region(tree["dilate"]["region"], change)}}
    return tree


def _part(data: Mapping, key: str) -> Mapping:
    return _mapping({} if data.get(key) is None else data[key], key)


def _options(data: Mapping) -> dict[str, Any]:
    try:
        json.dumps(data, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise InputError(
            "inpainter_options may hold text, numbers, true, false, lists and mappings of those; put text "
            "that looks like a date in quotes"
        ) from None
    return dict(data)


def _guide(data: Mapping) -> GuideSpec:
    _known(data, [f.name for f in fields(GuideSpec)], "guide")
    for key, value in data.items():
        if key == "pose":
            check_pose(value, "guide.pose")
        elif key == "reference" and isinstance(value, list):
            for index, name in enumerate(value):
                _text(name, f"guide.reference[{index}]")
        elif value is not None:
            _text(value, f"guide.{key}")
    pictures = data.get("reference")
    if isinstance(pictures, list):
        data = {**data, "reference": pictures[0] if len(pictures) == 1 else pictures or None}
    return GuideSpec(**data)


def _approved(data: Mapping) -> dict[str, str]:
    for view, picture in data.items():
        _text(view, "a view in approved"), _text(picture, f"approved.{view}")
    return dict(data)


def _schedule(data: Mapping) -> Schedule:
    _known(data, [f.name for f in fields(Schedule)], "schedule")
    if data.get("rounds") is not None:
        _integer(data["rounds"], "schedule.rounds", 1, 1000)
    for key, high in (("steps", 10_000_000), ("rays", 1 << 20)):
        if key in data and not (key == "steps" and data[key] is None):
            _integer(data[key], f"schedule.{key}", 1, high)
    for key, high in (("shell", 0.5), ("min_share", 0.5), ("fall", 1)):
        if key in data and not (key != "min_share" and data[key] is None):
            _number(data[key], f"schedule.{key}", 0, high)
    if "strength" in data and not 0 < _number(data["strength"], "schedule.strength", 0, 1):
        raise InputError("schedule.strength must be above 0")
    if data.get("anchors") is not None:
        _integer(data["anchors"], "schedule.anchors", 0, 1000)
    if data.get("repaint", REPAINT[0]) not in REPAINT:
        raise InputError(f"schedule.repaint must be one of {', '.join(REPAINT)}")
    for key in ("view_dependent", "share_seed", "match_colors", "match_shapes", "weigh"):
        may_be_none = key != "share_seed"
        if key in data and not isinstance(data[key], bool) and not (may_be_none and data[key] is None):
            raise InputError(f"schedule.{key} must be true or false")
    return Schedule(**data)


def _mapping(data: Any, where: str) -> Mapping:
    if not isinstance(data, Mapping):
        raise InputError(f"{where} must be a mapping of names to values, not {_show(data)}")
    return data


def _known(data: Mapping, names: list[str], where: str) -> None:
    for key in data:
        if key not in names:
            close = difflib.get_close_matches(str(key), names, 1)
            hint = f"; did you mean {close[0]}?" if close else f"; it may have {', '.join(names)}"
            raise InputError(f"{where} has no {key!r}{hint}")


def _text(data: Any, where: str) -> str:
    if not isinstance(data, str):
        raise InputError(f"{where} must be text, not {_show(data)}")
    return data


def _name(data: Any) -> str:
    name = _text(data, "name")
    if not name.strip() or not name.isprintable() or len(name) > MAX_NAME:
        raise InputError(f"name must be one line of text, at most {MAX_NAME} letters, not {_show(data)}")
    return name


def _number(data: Any, where: str, low: float = -math.inf, high: float = math.inf) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float) or not math.isfinite(data):
        raise InputError(f"{where} must be a number, not {_show(data)}")
    if not low <= data <= high:
        limits = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
        raise InputError(f"{where} must be {limits}, not {data:g}")
    return data


def _integer(data: Any, where: str, low: int, high: int) -> int:
    if isinstance(data, bool) or not isinstance(data, int):
        raise InputError(f"{where} must be a whole number, not {_show(data)}")
    return int(_number(data, where, low, high))


def _numbers(data: Any, where: str, count: int) -> None:
    if not isinstance(data, list | tuple) or len(data) != count:
        raise InputError(f"{where} must be {count} numbers, not {_show(data)}")
    for value in data:
        _number(value, where)


def _show(data: Any) -> str:
    return "nothing" if data is None else repr(data)[:60]
