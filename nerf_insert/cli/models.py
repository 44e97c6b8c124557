"""Diffusion models on this machine, and how to get them. `list` shows the models that are known by name, with
their licences, and what else is in the Hugging Face cache; `pull` downloads one into that cache; `path`
says where one lies. Only `pull` makes requests."""

from __future__ import annotations

import argparse
from pathlib import Path
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
        from nerf_insert.inpaint.diffusion.fetching import pull

        console.if_stopped = "what was downloaded is kept; give the same command again and it goes on"
        pull(args.name)
    path = where(args.name)
    return {"name": args.name, "path": str(path)}, str(path)


def where(name: str) -> Path:
    """The folder or file of a model. Raises InputError unless all of it is here."""
    from nerf_insert.inpaint.diffusion.catalogue import known
    from nerf_insert.inpaint.diffusion.weights import INDEX, find, find_model

    entry = known(name)
    path = find(name, entry.kind if entry else "model")
    return find_model(name).folder if (path / INDEX).is_file() else path


def show() -> tuple[dict[str, Any], str]:
    """The catalogue and what else of it is in the cache."""
    from nerf_insert.inpaint.diffusion.catalogue import MODELS
    from nerf_insert.inpaint.diffusion.surveys import others_here

    rows, data = [], []
    for entry in MODELS:
        try:
            path = str(where(entry.name))
        except InputError:
            path = None
        data.append(
            {
                "name": entry.name,
                "repository": entry.repository,
                "kind": entry.kind,
                "family": entry.family,
                "licence": entry.licence,
                "gigabytes": entry.size,
                "gated": entry.gated,
                "note": entry.note,
                "path": path,
            }
        )
        licence = entry.licence + (" (gated)" if entry.gated else "")
        here = "yes" if path else ""
        rows.append([entry.name, here, f"{entry.size:g} GB", licence, entry.note])
    for model, family in others_here():
        data.append(
            {
                "name": model.name,
                "kind": "model",
                "family": family.name,
                "path": str(model.folder),
                "licence": None,
            }
        )
        rows.append([model.name, "yes", "", "see the model's page", family.title])
    text = table(["name", "here", "size", "licence", "for"], rows, right={2})
    return {"models": data}, text + "\n\nGet one with `nerf-insert models pull NAME`."
