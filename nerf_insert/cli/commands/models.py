"""Manage the diffusion models on this machine.

`list` shows the models known by name, with size and license, and what else is in the Hugging Face cache;
`pull` downloads one into that cache; `path` prints where one is. Only `pull` accesses the network.
"""

from __future__ import annotations

import argparse
from typing import Any

from nerf_insert.cli.console import Console, text_table
from nerf_insert.errors import InputError
from nerf_insert.runtime.extras import require

SUMMARY = "list, download and locate diffusion models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "pull", "path"),
        default="list",
        metavar="ACTION",
        help="list, pull NAME or path NAME (default: list)",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a name from the list, or OWNER/NAME on the Hugging Face hub"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """List the models, or download or locate one."""
    require("huggingface_hub", "diffusion", f"models {args.action}")
    if args.action == "list":
        if args.name:
            raise InputError("models list takes no name; use `nerf-insert models path NAME` to locate one")
        return list_models()
    if not args.name:
        raise InputError(f"models {args.action} needs a name; `nerf-insert models list` shows the names")
    if args.action == "pull":
        from nerf_insert.hub.download import pull

        console.if_stopped = "the partial download is kept; run the same command again to resume"
        pull(args.name)
    from nerf_insert.inpaint.diffusion.inventory import locate

    path = locate(args.name)
    return {"name": args.name, "path": str(path)}, str(path)


def list_models() -> tuple[dict[str, Any], str]:
    """List the catalog, and what else is in the cache."""
    from nerf_insert.inpaint.diffusion.inventory import survey

    models = survey()
    rows = []
    for model in models:
        license_ = (model["license"] or "see the model's page") + (" (gated)" if model.get("gated") else "")
        size = f"{model['gigabytes']:g} GB" if "gigabytes" in model else ""
        rows.append([model["name"], "yes" if model["path"] else "", size, license_, model["note"]])
    text = text_table(["name", "here", "size", "license", "for"], rows, right={2})
    return {"models": models}, text + "\n\nDownload one with `nerf-insert models pull NAME`."
