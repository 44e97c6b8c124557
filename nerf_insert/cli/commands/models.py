"""Diffusion models on this machine, and how to get them. `list` shows the models that are known by name, with
their licences, and what else is in the Hugging Face cache; `pull` downloads one into that cache; `path`
says where one lies. Only `pull` makes requests."""

from __future__ import annotations

import argparse
from typing import Any

from nerf_insert.cli.console import Console
from nerf_insert.cli.tables import table
from nerf_insert.errors import InputError

SUMMARY = "show, download and find diffusion models"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", nargs="?", choices=("list", "pull", "path"), default="list", metavar="ACTION"
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="a name of the list, or OWNER/NAME on the hub"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    if args.action == "list":
        if args.name:
            raise InputError("models list takes no name; `models path NAME` says where one lies")
        return show()
    if not args.name:
        raise InputError(f"models {args.action} needs a name; `nerf-insert models list` shows them")
    if args.action == "pull":
        from nerf_insert.hub.download import pull

        console.if_stopped = "what was downloaded is kept; give the same command again and it goes on"
        pull(args.name)
    from nerf_insert.inpaint.diffusion.inventory import where

    path = where(args.name)
    return {"name": args.name, "path": str(path)}, str(path)


def show() -> tuple[dict[str, Any], str]:
    """The catalogue and what else of it is in the cache."""
    from nerf_insert.inpaint.diffusion.inventory import survey

    data = survey()
    rows = []
    for model in data:
        licence = (model["licence"] or "see the model's page") + (" (gated)" if model.get("gated") else "")
        size = f"{model['gigabytes']:g} GB" if "gigabytes" in model else ""
        rows.append([model["name"], "yes" if model["path"] else "", size, licence, model["note"]])
    text = table(["name", "here", "size", "licence", "for"], rows, right={2})
    return {"models": data}, text + "\n\nGet one with `nerf-insert models pull NAME`."
