"""The options of the inpainter `diffusion`, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.inpaint.diffusion.depth_control import SOURCES

PRECISIONS = ("auto", "half", "full")
PLACEMENTS = ("auto", "gpu", "offload", "sequential")


@dataclass(frozen=True)
class Settings:
    """None: what suits the model."""

    model: str = "auto"  # a name, a repository in the cache, a folder; auto: the best that is here and fits
    weights: str | None = (
        None  # a safetensors file that takes the place of the model's own UNet or transformer
    )
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None  # a class of diffusers, such as DDIMScheduler
    lora: tuple[tuple[str, float], ...] = ()  # files and how strongly they count
    controlnet: str | None = None  # for depth
    control_scale: float | None = None
    depth: str = "auto"  # see control.py
    ip_adapter: str | None = None  # for reference pictures
    image_encoder: str | None = None  # the IP-Adapter's; none: the one that lies beside it
    reference_scale: float = 0.6
    mesh_strength: float = 0.75  # of the first painting, where a mesh is there to start from
    resolution: int | None = None  # pixels along a side of what is painted at once
    context: float = 1.6  # side of what the model is shown, in sides of the mask
    tile: int = 4  # views painted in one picture, where they start from nothing; 1: each by itself
    batch: int | None = None  # pictures at once
    device: str | None = None
    precision: str = "auto"
    memory: str = "auto"
    safety: bool = True  # the model's safety checker, where it has one
    attempts: int = 3  # seeds that are tried when the checker refuses

    @staticmethod
    def of(options: dict[str, Any]) -> Settings:
        """Raises InputError that names the option."""
        known = {f.name for f in fields(Settings)}
        for key in options:
            if key not in known:
                raise InputError(
                    f"the inpainter diffusion has no option {key!r}; it has {', '.join(sorted(known))}"
                )
        given = {key: value for key, value in options.items() if value is not None}
        checked = {key: _CHECKS[key](f"diffusion's option {key}", value) for key, value in given.items()}
        return Settings(**checked)


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{where} must be text, not {value!r}")
    return value


def _number(low: float, high: float):
    def check(where: str, value: Any) -> float:
        fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not fine or not low <= value <= high:
            raise InputError(f"{where} must be a number from {low:g} to {high:g}, not {value!r}")
        return float(value)

    return check


def _whole(low: int, high: int):
    def check(where: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{where} must be a whole number from {low} to {high}, not {value!r}")
        return value

    return check


def _one_of(*choices: str):
    def check(where: str, value: Any) -> str:
        if value not in choices:
            raise InputError(f"{where} must be one of {', '.join(choices)}, not {value!r}")
        return value

    return check


def _truth(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where} must be true or false, not {value!r}")
    return value


def _lora(where: str, value: Any) -> tuple[tuple[str, float], ...]:
    """FILE, FILE:WEIGHT, or a list of these."""
    files = []
    for entry in value if isinstance(value, list | tuple) else [value]:
        text = _text(where, entry)
        path, colon, weight = text.rpartition(":")
        if colon and not Path(text).expanduser().exists():
            try:
                files.append((path, _number(-10, 10)(where, float(weight))))
                continue
            except ValueError:
                pass
        files.append((text, 1.0))
    return tuple(files)


_CHECKS = {
    **dict.fromkeys(
        ("model", "weights", "scheduler", "controlnet", "ip_adapter", "image_encoder", "device"), _text
    ),
    "steps": _whole(1, 1000),
    "guidance": _number(0, 100),
    "lora": _lora,
    "control_scale": _number(0, 2),
    "depth": _one_of(*SOURCES),
    "reference_scale": _number(0, 2),
    "mesh_strength": _number(0.05, 1),
    "resolution": _whole(64, 4096),
    "context": _number(1, 10),
    "tile": _whole(1, 16),
    "batch": _whole(1, 64),
    "precision": _one_of(*PRECISIONS),
    "memory": _one_of(*PLACEMENTS),
    "safety": _truth,
    "attempts": _whole(1, 20),
}
