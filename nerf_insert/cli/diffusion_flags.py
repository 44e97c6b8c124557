"""The flags of `edit` and `preview` that are options of the inpainter `diffusion`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import integer, nonempty, number, path

OPTIONS = {  # flag -> option of the inpainter
    "model": "model",
    "weights": "weights",
    "guidance_scale": "guidance",
    "inference_steps": "steps",
    "scheduler": "scheduler",
    "lora": "lora",
    "controlnet": "controlnet",
    "ip_adapter": "ip_adapter",
    "resolution": "resolution",
    "memory": "memory",
    "safety_checker": "safety",
}
FILES = ("weights",)
NAMES_OR_FILES = ("model", "controlnet", "ip_adapter")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    group = parser.add_argument_group(
        "diffusion model", "Options of the inpainter diffusion, explained in docs/diffusion.md."
    )
    group.add_argument(
        "--model",
        type=nonempty,
        metavar="NAME",
        help="a name from `nerf-insert models list`, OWNER/NAME in the Hugging Face cache, a folder, or a "
        ".safetensors file that fits one of these (default: the best model on this machine that fits into "
        "memory)",
    )
    group.add_argument(
        "--weights",
        type=path,
        metavar="FILE",
        help=".safetensors file that replaces the model's own weights",
    )
    group.add_argument(
        "--guidance-scale",
        type=number(0, 100),
        metavar="F",
        help="classifier-free guidance scale (default: the model's)",
    )
    group.add_argument(
        "--inference-steps",
        type=integer(1, 1000),
        metavar="N",
        help="denoising steps (default: the model's)",
    )
    group.add_argument(
        "--scheduler",
        type=nonempty,
        metavar="CLASS",
        help="a scheduler class of diffusers, such as DDIMScheduler (default: the model's)",
    )
    group.add_argument(
        "--lora",
        type=nonempty,
        action="append",
        metavar="FILE[:WEIGHT]",
        help="LoRA for the model; may be repeated",
    )
    group.add_argument(
        "--controlnet",
        type=nonempty,
        metavar="NAME",
        help="depth ControlNet, so that the result follows the shape of the region",
    )
    group.add_argument(
        "--ip-adapter",
        type=nonempty,
        metavar="NAME",
        help="IP-Adapter, for reference images with Stable Diffusion 1.5 and XL",
    )
    group.add_argument(
        "--resolution",
        type=integer(64, 4096),
        metavar="N",
        help="inpaint at about N x N pixels (default: the model's)",
    )
    group.add_argument(
        "--memory",
        choices=("auto", "gpu", "offload", "sequential"),
        help="what to keep on the GPU: the whole model, one component at a time (offload) or one layer at a "
        "time (sequential) (default: auto, what fits)",
    )
    group.add_argument(
        "--no-safety-checker",
        dest="safety_checker",
        action="store_false",
        default=None,
        help="accept images that the model's safety checker would reject",
    )


def diffusion_options(args: argparse.Namespace) -> dict[str, Any]:
    """Collect the given flags as options of the inpainter, with absolute file names."""
    given = {flag: getattr(args, flag) for flag in OPTIONS if getattr(args, flag) is not None}
    for flag in (*FILES, *NAMES_OR_FILES):
        file = Path(str(given.get(flag, ""))).expanduser()
        if flag in given and (flag in FILES or file.exists()):
            given[flag] = str(file.absolute())
    if "lora" in given:
        given["lora"] = [_absolute_lora(entry) for entry in given["lora"]]
    return {OPTIONS[flag]: value for flag, value in given.items()}


def _absolute_lora(lora: str) -> str:
    """Make the file name in FILE or FILE:WEIGHT absolute."""
    file, colon, weight = lora.rpartition(":")
    if colon and not Path(lora).expanduser().exists():
        return f"{Path(file).expanduser().absolute()}:{weight}"
    return str(Path(lora).expanduser().absolute())
