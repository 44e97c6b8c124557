"""The options of the inpainter `diffusion`, validated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nerf_insert.errors import InputError
from nerf_insert.inpaint.diffusion.depth_control import SOURCES

PRECISIONS = ("auto", "half", "full")
PLACEMENTS = ("auto", "gpu", "offload", "sequential")


@dataclass(frozen=True)
class DiffusionOptions:
    """The options; None stands for what suits the model.

    Attributes:
        model: A name, a repository in the cache or a folder; "auto": the best on this machine that fits.
        weights: A safetensors file that replaces the model's UNet or transformer.
        steps: Denoising steps.
        guidance: Guidance scale.
        scheduler: A scheduler class of diffusers, such as DDIMScheduler.
        lora: LoRA files and their weights.
        controlnet: A depth ControlNet.
        control_scale: Weight of the ControlNet.
        depth: Source of the depth, see depth_control.target_distances.
        ip_adapter: An IP-Adapter, for reference images.
        image_encoder: The IP-Adapter's image encoder; None: the one beside it.
        reference_scale: Weight of the IP-Adapter.
        mesh_strength: Strength of the first round if the guide has a mesh to start from.
        resolution: Pixels along a side of what is inpainted at once.
        context: Side of the crop, as a multiple of the mask's side.
        tile: Views inpainted in one image in the first round; 1: each alone.
        batch: Images at once.
        device: cuda, cuda:N, mps or cpu.
        precision: auto, half or full.
        memory: auto, gpu, offload or sequential, see placement.py.
        safety: Whether to use the model's safety checker, if it has one.
        attempts: Seeds to try when an image is rejected.
    """

    model: str = "auto"
    weights: str | None = None
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    lora: tuple[tuple[str, float], ...] = ()
    controlnet: str | None = None
    control_scale: float | None = None
    depth: str = "auto"
    ip_adapter: str | None = None
    image_encoder: str | None = None
    reference_scale: float = 0.6
    mesh_strength: float = 0.75
    resolution: int | None = None
    context: float = 1.6
    tile: int = 4
    batch: int | None = None
    device: str | None = None
    precision: str = "auto"
    memory: str = "auto"
    safety: bool = True
    attempts: int = 3

    @staticmethod
    def parse(options: dict[str, Any]) -> DiffusionOptions:
        """Validate options by name.

        Raises:
            InputError: An option is unknown or has a bad value; the message names it.
        """
        known = {f.name for f in fields(DiffusionOptions)}
        for key in options:
            if key not in known:
                raise InputError(
                    f"the inpainter diffusion has no option {key!r}; it has {', '.join(sorted(known))}"
                )
        given = {key: value for key, value in options.items() if value is not None}
        checked = {key: _CHECKS[key](f"diffusion's option {key}", value) for key, value in given.items()}
        return DiffusionOptions(**checked)


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise InputError(f"{where} must be text, not {value!r}")
    return value


def _number(low: float, high: float) -> Callable[[str, Any], float]:
    def check(where: str, value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number or not low <= value <= high:
            raise InputError(f"{where} must be a number from {low:g} to {high:g}, not {value!r}")
        return float(value)

    return check


def _integer(low: int, high: int) -> Callable[[str, Any], int]:
    def check(where: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InputError(f"{where} must be a whole number from {low} to {high}, not {value!r}")
        return value

    return check


def _one_of(*choices: str) -> Callable[[str, Any], str]:
    def check(where: str, value: Any) -> str:
        if value not in choices:
            raise InputError(f"{where} must be one of {', '.join(choices)}, not {value!r}")
        return value

    return check


def _boolean(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{where} must be true or false, not {value!r}")
    return value


def _lora(where: str, value: Any) -> tuple[tuple[str, float], ...]:
    """Parse FILE, FILE:WEIGHT, or a list of these."""
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


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(
        ("model", "weights", "scheduler", "controlnet", "ip_adapter", "image_encoder", "device"), _text
    ),
    "steps": _integer(1, 1000),
    "guidance": _number(0, 100),
    "lora": _lora,
    "control_scale": _number(0, 2),
    "depth": _one_of(*SOURCES),
    "reference_scale": _number(0, 2),
    "mesh_strength": _number(0.05, 1),
    "resolution": _integer(64, 4096),
    "context": _number(1, 10),
    "tile": _integer(1, 16),
    "batch": _integer(1, 64),
    "precision": _one_of(*PRECISIONS),
    "memory": _one_of(*PLACEMENTS),
    "safety": _boolean,
    "attempts": _integer(1, 20),
}
