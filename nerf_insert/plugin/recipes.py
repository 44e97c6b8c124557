"""The recipe that the flags of `ns-train nerf-insert` make."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.plugin.config import EditConfig
from nerf_insert.recipe import Recipe

WORDS = ("prompt", "negative_prompt", "reference")


def recipe_of(config: EditConfig, prompt: str | None) -> Recipe | None:
    """None where the flags say nothing of an edit. Raises InputError."""
    words = {"prompt": prompt, "negative_prompt": config.negative_prompt, "reference": config.reference}
    data: dict[str, Any] = Recipe.load(config.recipe).to_dict() if config.recipe else {}
    parts = region_parts(config)
    if not parts and not data:
        if any(words.values()) or config.inpainter:
            raise InputError("say where: --pipeline.edit.mask, .mesh, .box or .recipe")
        return None
    if parts:
        data["region"] = parts[0] if len(parts) == 1 else {"union": parts}
    if config.dilate is not None:
        region = data["region"]
        inside = {"dilate": {"region": region, "by": config.dilate}}
        data["region"] = {**region, "dilate": config.dilate} if "mesh" in region else inside
    guide = data.setdefault("guide", {})
    if config.mesh:
        guide |= {"mesh": _file(config.mesh), "pose": pose_of(config)}
    for key, value in words.items():
        if value:
            guide[key] = _file(value) if key == "reference" else value
    if config.inpainter:
        data |= {"inpainter": config.inpainter, "inpainter_options": {}}
    elif "inpainter" not in data:
        by_words = any(guide.get(key) for key in WORDS)
        data["inpainter"] = "mesh" if config.mesh else "diffusion" if by_words else "fill"
    if config.inpainter_option:
        data["inpainter_options"] = {**data.get("inpainter_options", {}), **options_of(config)}
    data.setdefault("name", config.mesh.stem if config.mesh else "edit")
    for key in ("name", "seed"):
        if getattr(config, key) is not None:
            data[key] = getattr(config, key)
    schedule = {k: getattr(config, k) for k in ("steps", "rounds") if getattr(config, k) is not None}
    data["schedule"] = {**data.get("schedule", {}), **schedule}
    recipe = Recipe.from_dict(data)
    recipe.fingerprint()  # reads all files
    return recipe


def region_parts(config: EditConfig) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    if config.mask:
        masks = dict(text.partition("=")[::2] for text in config.mask)
        if not all(masks) or not all(masks.values()) or len(masks) < len(config.mask):
            raise InputError("write each --pipeline.edit.mask as VIEW=PNG, one per photograph")
        parts.append({"masks": {view: _file(png) for view, png in masks.items()}})
    if config.mesh:
        parts.append({"mesh": _file(config.mesh), "pose": pose_of(config)})
    elif config.pose:
        raise InputError("--pipeline.edit.pose says where the mesh stands: give --pipeline.edit.mesh too")
    if config.box:
        if len(config.box) not in (6, 9):
            raise InputError("--pipeline.edit.box takes 6 or 9 numbers: centre, side lengths, rotation")
        centre, size, turn = config.box[:3], config.box[3:6], config.box[6:] or (0.0, 0.0, 0.0)
        parts.append({"box": {"centre": list(centre), "size": list(size), "rotation": list(turn)}})
    return parts


def pose_of(config: EditConfig) -> list[list[float]] | None:
    if config.pose is None:
        return None
    from nerf_insert.poses import Pose

    return Pose.parse(config.pose).matrix.tolist()


def options_of(config: EditConfig) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for text in config.inpainter_option:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise InputError(f"--pipeline.edit.inpainter-option {text}: write it as KEY=VALUE")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def changed(recipe: Recipe, prompt: str, seed: int) -> Recipe:
    """The same edit with other words and another seed."""
    return replace(recipe, guide=replace(recipe.guide, prompt=prompt), seed=seed)


def _file(name: str | Path) -> str:
    return str(Path(name).expanduser().absolute())
