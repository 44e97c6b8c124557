"""Start the web page: open a scene or capture, mark a region, say what goes there, preview, edit, compare.

Unless told otherwise it is served to this machine only and makes no requests. It runs until Ctrl-C; an edit
that runs then is stopped cleanly and can be resumed.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import integer, path
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError
from nerf_insert.runtime.extras import require

SUMMARY = "start the web page"
WORKSPACE = Path("~/nerf-insert")
LOCAL_ADDRESSES = ("127.0.0.1", "localhost", "::1")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "scene",
        nargs="?",
        type=path,
        metavar="SCENE_OR_CAPTURE",
        help="what to open: a scene or a capture, or a zip of one, a video, or a folder or zip of "
        "photographs (default: the page offers the bundled sample, recent scenes and an upload)",
    )
    parser.add_argument(
        "--workspace",
        type=path,
        default=WORKSPACE,
        metavar="DIR",
        help="folder for the page's scenes and uploads (default: %(default)s)",
    )
    group = parser.add_argument_group("server")
    group.add_argument(
        "--port", type=integer(1, 65535), metavar="N", help="port (default: the first free one from 7860)"
    )
    group.add_argument(
        "--host",
        default=LOCAL_ADDRESSES[0],
        metavar="ADDRESS",
        help="address to listen on (default: %(default)s, reachable from this machine only)",
    )
    group.add_argument(
        "--root-path",
        type=root_path,
        metavar="PATH",
        help="path under which a proxy serves the page, such as /nerf-insert, or its whole address; "
        "the proxy takes it off before it passes requests on (default: GRADIO_ROOT_PATH, else none)",
    )
    group.add_argument("--auth", metavar="NAME:PASSWORD", help="require this name and password")
    group.add_argument(
        "--share",
        action="store_true",
        help="create a public address through a Gradio server; anyone who knows it gets in",
    )
    group.add_argument(
        "--mcp",
        action="store_true",
        help="also offer the page's functions to language models over MCP (needs gradio[mcp])",
    )
    group.add_argument("--browser", action="store_true", help="open the page in a browser")


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Serve the page until it is stopped; return its address."""
    auth = parse_auth(args.auth)
    if args.share or args.host not in LOCAL_ADDRESSES:
        reach = (
            "with --share the page can be reached from the internet"
            if args.share
            else f"on {args.host} the page can be reached from other machines"
        )
        console.progress.warn(
            f"{reach}: everyone who gets in can use this machine's CPU and disk"
            + ("" if auth else "; there is no password, add --auth NAME:PASSWORD")
        )
    require("gradio", "app")
    from nerf_insert.app.server import Settings, serve

    console.if_stopped = ""
    settings = Settings(
        args.workspace, args.host, args.port, auth, args.share, args.mcp, args.browser, args.root_path
    )
    addresses: list[str] = []

    def ready(url: str) -> None:
        addresses.append(url)
        console.progress.say(f"NeRF-Insert is at {url} (Ctrl-C stops it; a running edit can be resumed)")

    serve(settings, args.scene, ready)
    return {"url": addresses[0] if addresses else None, "workspace": str(args.workspace)}, ""


def root_path(text: str) -> str:
    """Parse a path such as /nerf-insert, or an http address.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    if not re.fullmatch(r"(https?://[^/\s?#]+)?(/[^\s?#]*)?", text) or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a path that begins with / nor an http address")
    return text.rstrip("/")


def parse_auth(text: str | None) -> tuple[str, str] | None:
    """Split NAME:PASSWORD.

    Raises:
        InputError: One of the two is missing.
    """
    if text is None:
        return None
    name, _, password = text.partition(":")
    if not name or not password:
        raise InputError("--auth: write it as NAME:PASSWORD")
    return name, password
