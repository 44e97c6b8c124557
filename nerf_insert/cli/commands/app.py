"""The web page: open a scene or a capture, mark a place, say what goes there, look and keep. It is served to
this machine only, unless told otherwise, and asks nothing of any other."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import path, whole
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError

SUMMARY = "start the web page"
WORKSPACE = Path("~/nerf-insert")
LOCAL = ("127.0.0.1", "localhost", "::1")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scene",
        nargs="?",
        type=path,
        metavar="SCENE_OR_CAPTURE",
        help="what to open; else the page offers what it knows",
    )
    parser.add_argument(
        "--workspace",
        type=path,
        default=WORKSPACE,
        metavar="DIR",
        help="where scenes and uploads of the page are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=whole(1, 65535), metavar="N", help="(default: the first free one from 7860 on)"
    )
    parser.add_argument(
        "--host",
        default=LOCAL[0],
        metavar="ADDRESS",
        help="address to listen on (default: %(default)s, this machine only)",
    )
    parser.add_argument("--auth", metavar="NAME:PASSWORD", help="ask for this name and password")
    parser.add_argument(
        "--share",
        action="store_true",
        help="make a public address, through a server of Gradio's; anybody who knows it gets in",
    )
    parser.add_argument(
        "--mcp", action="store_true", help="also serve the page's functions to language models (MCP)"
    )
    parser.add_argument("--browser", action="store_true", help="open the page in a browser")


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    auth = auth_of(args.auth)
    if args.share or args.host not in LOCAL:
        how = (
            "with --share the page can be reached from the internet"
            if args.share
            else f"on {args.host} the page can be reached from other machines"
        )
        console.progress.warn(
            f"{how}: whoever gets in can use this machine's processor and disk"
            + ("" if auth else "; there is no password, give --auth NAME:PASSWORD")
        )
    from nerf_insert.app.server import Settings, serve

    console.if_stopped = ""
    settings = Settings(args.workspace, args.host, args.port, auth, args.share, args.mcp, args.browser)
    shown: list[str] = []

    def ready(url: str) -> None:
        shown.append(url)
        console.progress.say(f"NeRF-Insert is at {url} (Ctrl-C ends it; what runs then can go on later)")

    serve(settings, args.scene, ready)
    return {"url": shown[0] if shown else None, "workspace": str(args.workspace)}, ""


def auth_of(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    name, _, password = text.partition(":")
    if not name or not password:
        raise InputError("--auth: write it as NAME:PASSWORD")
    return name, password
