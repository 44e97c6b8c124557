"""The flags of `edit` and `preview` that are options of the inpainter `diffusion`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import filled, number, path, whole

OPTIONS = {  # of the inpainter, by their flags
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
PLACES = ("model", "controlnet", "ip_adapter")  # names, or what lies on the disk


def arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("with a diffusion model (see docs/diffusion.md)")
    group.add_argument(
        "--model",
        type=filled,
        metavar="NAME",
        help="a name that `nerf-insert models list` shows, OWNER/NAME in the Hugging Face cache, a folder, "
        "or a .safetensors file that fits into one of these (default: the best that is here and fits)",
    )
    group.add_argument(
        "--weights",
        type=path,
        metavar="FILE",
        help="a .safetensors file to use in the place of the model's own weights",
    )
    group.add_argument(
        "--guidance-scale", type=number(0, 100), metavar="F", help="how firmly the text is followed"
    )
    group.add_argument("--inference-steps", type=whole(1, 1000), metavar="N", help="denoising steps")
    group.add_argument(
        "--scheduler", type=filled, metavar="CLASS", help="one of diffusers, such as DDIMScheduler"
    )
    group.add_argument(
        "--lora",
        type=filled,
        action="append",
        metavar="FILE[:WEIGHT]",
        help="a LoRA for the model; may be given again",
    )
    group.add_argument(
        "--controlnet",
        type=filled,
        metavar="NAME",
        help="a ControlNet for depth: what is painted follows the region's shape",
    )
    group.add_argument(
        "--ip-adapter",
        type=filled,
        metavar="NAME",
        help="an IP-Adapter, for reference pictures with SD and SDXL",
    )
    group.add_argument(
        "--resolution",
        type=whole(64, 4096),
        metavar="N",
        help="paint in about N x N pixels (default: the model's)",
    )
    group.add_argument(
        "--memory",
        choices=("auto", "gpu", "offload", "sequential"),
        help="all of the model on the GPU, its parts in turn, or its layers (default: what fits)",
    )
    group.add_argument(
        "--no-safety-checker",
        dest="safety_checker",
        action="store_false",
        default=None,
        help="use pictures that the model's safety checker would refuse",
    )


def options_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the flags say, as options of the inpainter; files by their absolute names."""
    given = {flag: getattr(args, flag) for flag in OPTIONS if getattr(args, flag) is not None}
    for flag in (*FILES, *PLACES):
        path = Path(str(given.get(flag, ""))).expanduser()
        if flag in given and (flag in FILES or path.exists()):
            given[flag] = str(path.absolute())
    if "lora" in given:
        given["lora"] = [_absolute(entry) for entry in given["lora"]]
    return {OPTIONS[flag]: value for flag, value in given.items()}


def _absolute(lora: str) -> str:
    """FILE or FILE:WEIGHT with the file's absolute name."""
    path, colon, weight = lora.rpartition(":")
    if colon and not Path(lora).expanduser().exists():
        return f"{Path(path).expanduser().absolute()}:{weight}"
    return str(Path(lora).expanduser().absolute())
