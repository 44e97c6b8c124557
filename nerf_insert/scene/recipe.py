"""The whole edit as plain data: where, what, by which inpainter, how long, with which seed.

The web page, the command line, the plugin and Python make and run recipes, nothing else. In a recipe file
paths are relative to the file's own folder; `nerf_insert.regions.spec` shows the form of a region. Lengths
and positions are in world units and world coordinates (those of the capture's transforms.json).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from nerf_insert.errors import InputError
from nerf_insert.geometry.mesh_assets import companions
from nerf_insert.geometry.up_axis import UpAxis, settled_up_axis
from nerf_insert.io import schema
from nerf_insert.io.files import atomic_write, read_bytes, read_yaml, write_yaml
from nerf_insert.regions.spec import KINDS, Matrix, RegionSpec
from nerf_insert.scene import recipe_formats
from nerf_insert.scene.scene_file import Strength

FORMAT = recipe_formats.FORMAT
MAX_SEED = 2**31 - 1
MAX_NAME = 200
ShadowKind = Literal["cast", "contact", "none"]


@dataclass(frozen=True)
class GuideSpec(schema.Checked):
    """What to put into the region.

    Attributes:
        prompt: What to paint, for inpainters that read text.
        negative_prompt: What not to paint.
        reference: The file of a reference image, or several.
        mesh: The file of a colored mesh.
        pose: The 4x4 matrix from the mesh's coordinates to the world's; None: they are the same.
        up_axis: The axis of the mesh's file that is turned to the scene's up before the pose; "none": its
            axes stay as they are. Default: y for GLB and glTF, none for others. Recipe files without it,
            which are older than it, mean none.
    """

    prompt: str = ""
    negative_prompt: str = ""
    reference: str | list[str] | None = None
    mesh: str | None = None
    pose: Matrix | None = None
    up_axis: UpAxis | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "negative_prompt"):  # both may be null in a file
            object.__setattr__(self, name, getattr(self, name) or "")
        super().__post_init__()
        if self.mesh is not None:
            object.__setattr__(self, "up_axis", settled_up_axis(self.mesh, self.up_axis))
        if isinstance(self.reference, list) and len(self.reference) < 2:
            object.__setattr__(self, "reference", self.reference[0] if self.reference else None)

    @property
    def references(self) -> tuple[str, ...]:
        """The files of all reference images."""
        return (self.reference,) if isinstance(self.reference, str) else tuple(self.reference or ())


@dataclass(frozen=True)
class ShadowSpec(schema.Checked):
    """What the edit does to the light around it, which becomes a shade layer below the edit's own.

    Attributes:
        kind: "cast": shadows and light thrown back. "contact": only a soft shadow near the object. "none":
            no shade layer. None: the inpainter decides.
        strength: 0 is no shade, 1 as computed.
    """

    kind: ShadowKind | None = None
    strength: Strength = 1.0


def _option(help: str, default: Any = None) -> Any:
    """Return a field with its help text; the default None lets the inpainter decide."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Schedule(schema.Checked):
    """How the views are painted and the layer is fitted; each field's metadata has its help text."""

    rounds: Annotated[int, Meta(ge=1, le=1000)] | None = _option("rounds of painting and fitting")
    steps: Annotated[int, Meta(ge=1, le=10_000_000)] | None = _option(
        "steps of the layer's fit, over all rounds; none: as many as the images need"
    )
    rays: Annotated[int, Meta(ge=1, le=1 << 20)] = _option("rays per step of the fit", 4096)
    strength: Annotated[int | float, Meta(gt=0, le=1)] = _option(
        "strength of the inpainting in the first round: 1 paints anew, less keeps more of what is there", 1.0
    )
    strength_decay: Annotated[int | float, Meta(ge=0, le=1)] | None = _option(
        "strength decay over the rounds; none: 0.1 with anchors, 0.8 without"
    )
    blend_width: Annotated[int | float, Meta(ge=0, le=0.5)] | None = _option(
        "width of the blend between layer and scene, as a fraction of the region's diagonal"
    )
    view_dependent: bool | None = _option("whether the layer's colors may change with the viewing direction")
    min_coverage: Annotated[int | float, Meta(ge=0, le=0.5)] = _option(
        "skip views where the region covers less than this fraction of the image", 0.001
    )
    anchors: Annotated[int, Meta(ge=0, le=1000)] | None = _option(
        "views painted first and jointly; 0: every round paints all views"
    )
    repaint: Literal["inconsistent", "all", "none"] = _option(
        "views painted again in the last round: inconsistent (they contradict the others), all, none",
        "inconsistent",
    )
    share_seed: bool = _option("use one random seed for all calls of the inpainter", True)
    # Corrections of the painted views while the layer is fitted, thrown away afterwards. None: on, unless the
    # inpainter is consistent.
    match_color: bool | None = _option("correct each view by an affine change of color")
    match_warp: bool | None = _option("correct each view by a small smooth warp")
    robust_weights: bool | None = _option("give less weight to views and patches that contradict the others")


@dataclass(frozen=True)
class Recipe(schema.Checked):
    """A whole edit.

    Attributes:
        region: Where; plain data of a region is parsed.
        guide: What to put there.
        inpainter: A registered name, or `package.module:Class`.
        inpainter_options: The inpainter's own options.
        schedule: How to paint and fit.
        name: The layer's name.
        seed: The random seed.
        shadow: Its shadow.
        approved: Files of given images that are not painted, by their views' names.
        deprecations: What was read under an old name, for the person whose file it is; no part of the recipe.
    """

    region: RegionSpec
    guide: GuideSpec = field(default_factory=GuideSpec)
    inpainter: str = "fill"
    inpainter_options: dict[str, Any] = field(default_factory=dict)
    schedule: Schedule = field(default_factory=Schedule)
    name: str = "edit"
    seed: Annotated[int, Meta(ge=0, le=MAX_SEED)] = 0
    shadow: ShadowSpec = field(default_factory=ShadowSpec)
    approved: dict[str, str] = field(default_factory=dict)
    deprecations: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.name.strip() or not self.name.isprintable() or len(self.name) > MAX_NAME:
            raise InputError(
                f"name must be one line of text, at most {MAX_NAME} letters, not {schema.show(self.name)}"
            )
        try:
            json.dumps(self.inpainter_options, sort_keys=True)
        except (TypeError, ValueError, RecursionError):
            raise InputError(
                "inpainter_options may hold text, numbers, true, false, lists and mappings of those; put "
                "text that looks like a date in quotes"
            ) from None

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe file, of this format or an older one; its file names become absolute.

        Raises:
            InputError: The file cannot be read or is no recipe; the message names the key.
        """
        path = Path(path)
        data = read_yaml(path)
        try:
            return Recipe.from_dict(data).map_files(lambda name: str((path.parent / name).absolute()))
        except InputError as error:
            raise InputError(f"recipe {path}: {error}") from None

    @staticmethod
    def from_dict(data: Any) -> Recipe:
        """Parse plain data; keys and values of older formats are read too (see `deprecations`).

        Raises:
            InputError: The data is no recipe, or of a newer format; the message names the key.
        """
        data = schema.mapping(data, "a recipe")
        try:
            data, deprecations = recipe_formats.migrate(data)
            schema.check_keys(data, KEYS, "a recipe")
            if "region" not in data:
                raise InputError(f"it has no region; give one of {', '.join(kind.keyword for kind in KINDS)}")
            empty = [key for key in PARTS if key in data and data[key] is None]
            data = {key: value for key, value in data.items() if key not in empty}
            return replace(schema.parse_fields(data, Recipe, ""), deprecations=deprecations)
        except RecursionError:
            raise InputError("region is nested too deeply, or contains itself") from None

    def save(self, path: Path) -> None:
        """Write a recipe file.

        Files in its folder or below get names relative to it, so that all of them can be moved together.
        """
        folder = path.absolute().parent

        def shorten(name: str) -> str:
            return os.path.relpath(name, folder) if Path(name).is_relative_to(folder) else name

        write_yaml(path, self.map_files(shorten).to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for YAML or JSON, which `from_dict` reads back."""
        return {"format": FORMAT, **{key: schema.to_plain(getattr(self, key)) for key in KEYS}}

    def map_files(self, change: Callable[[str], str]) -> Recipe:
        """Return a copy with every file name changed."""
        references = [change(name) for name in self.guide.references]
        mesh = change(self.guide.mesh) if self.guide.mesh else self.guide.mesh
        return replace(
            self,
            region=self.region.map_files(change),
            guide=replace(self.guide, reference=references, mesh=mesh),
            approved={view: change(file) for view, file in self.approved.items()},
        )

    def with_options(self, options: Mapping[str, Any]) -> Recipe:
        """Return a copy with these options of the inpainter, beside those that it has."""
        return replace(self, inpainter_options={**self.inpainter_options, **options})

    def fingerprint(self) -> str:
        """Return a digest of everything that decides the result: of files the contents, not the names.

        Raises:
            InputError: A file cannot be read.
        """
        return self.fingerprints()[0]

    def fingerprints(self) -> tuple[str, ...]:
        """Return the fingerprint and, after it, those that older versions gave to the same recipe.

        Raises:
            InputError: A file cannot be read.
        """
        data = self.map_files(cache(_digest)).to_dict()
        texts = [json.dumps(form, sort_keys=True) for form in (data, *recipe_formats.older_forms(data))]
        return tuple(hashlib.sha256(text.encode()).hexdigest() for text in dict.fromkeys(texts))

    def copied_into(self, folder: Path) -> Recipe:
        """Copy the files into `folder`/inputs, so that the recipe can be run again from there.

        Returns:
            The recipe with the copies' names, relative to `folder`.

        Raises:
            InputError: A file cannot be read.
            RunError: A file cannot be written.
        """
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


KEYS = tuple(f.name for f in fields(Recipe) if f.name != "deprecations")
PARTS = ("guide", "inpainter_options", "schedule", "shadow", "approved")  # may be null in a file


def _digest(name: str) -> str:
    """Return a digest of a file's content, and of the files that it refers to."""
    parts = [name, *(Path(name).parent / other for other in companions(name))]
    return hashlib.sha256(b"".join(hashlib.sha256(read_bytes(part)).digest() for part in parts)).hexdigest()
