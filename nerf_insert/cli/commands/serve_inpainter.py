"""Serve an inpainter to edits on other machines, until Ctrl-C.

Run it where the GPU is. Where the scene is, name its address: `nerf-insert edit ... --inpainter
http://HOST:PORT`, with the password in the environment variable NERF_INSERT_INPAINTER_TOKEN. It is served to
this machine only unless --host says otherwise; other machines need a password.
"""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path
from typing import Any

from nerf_insert.cli import diffusion_flags
from nerf_insert.cli.argument_types import integer, nonempty, path
from nerf_insert.cli.commands.app import LOCAL_ADDRESSES
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError
from nerf_insert.runtime.extras import require
from nerf_insert.scene.recipe_from_flags import DIFFUSION, options_of

SUMMARY = "serve an inpainter to edits on other machines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "inpainter",
        nargs="?",
        type=nonempty,
        default=DIFFUSION,
        metavar="NAME",
        help="the inpainter, as for `edit` (default: %(default)s)",
    )
    parser.add_argument(
        "--inpainter-option",
        action="append",
        metavar="KEY=VALUE",
        help="option of the inpainter; may be repeated. A value that is valid JSON is read as JSON",
    )
    diffusion_flags.add_arguments(parser)
    group = parser.add_argument_group("server")
    group.add_argument(
        "--host",
        default=LOCAL_ADDRESSES[0],
        metavar="ADDRESS",
        help="address to listen on; 0.0.0.0 for all (default: %(default)s, reachable from this machine only)",
    )
    group.add_argument(
        "--port", type=integer(1, 65535), default=8765, metavar="N", help="(default: %(default)s)"
    )
    group.add_argument(
        "--token-file",
        type=path,
        metavar="FILE",
        help="file with the password (default: a new one is printed if --host is no local address)",
    )
    group.add_argument("--tls-cert", type=path, metavar="FILE", help="PEM file of a certificate: serve HTTPS")
    group.add_argument(
        "--tls-key", type=path, metavar="FILE", help="PEM file of the certificate's private key"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Serve the inpainter until it is stopped; return its address."""
    require("uvicorn", "remote")
    if args.tls_key and not args.tls_cert:
        raise InputError("--tls-key is the key of a certificate: give that too, --tls-cert FILE")
    diffusion = diffusion_flags.diffusion_options(args)
    if diffusion and args.inpainter != DIFFUSION:
        raise InputError(f"a flag for diffusion models was given, but {args.inpainter} is served")
    token = _token(args.token_file, local=args.host in LOCAL_ADDRESSES)
    if args.host not in LOCAL_ADDRESSES and not args.tls_cert:
        console.progress.warn(
            "photographs and the password will travel unencrypted: give --tls-cert outside trusted networks"
        )
    from nerf_insert.inpaint.registry import load_inpainter
    from nerf_insert.inpaint.remote.server import Address, Service, serve

    inpainter = load_inpainter(args.inpainter, diffusion | options_of(args.inpainter_option or []))
    console.if_stopped = ""
    addresses: list[str] = []

    def ready(url: str) -> None:
        addresses.append(url)
        console.progress.say(f"Serving {args.inpainter} at {url} (Ctrl-C stops it)")
        if token and not args.token_file:
            console.progress.say(f"Password, for NERF_INSERT_INPAINTER_TOKEN: {token}")

    service = Service(inpainter, args.inpainter, console.progress)
    serve(service, Address(args.host, args.port, token, args.tls_cert, args.tls_key), ready)
    return {"url": addresses[0]}, ""


def _token(file: Path | None, local: bool) -> str:
    """Return the password: the file's, a new one, or none for this machine only.

    Raises:
        InputError: The file cannot be read, or holds no password.
    """
    if file is None:
        return "" if local else secrets.token_urlsafe(24)
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(f"--token-file {file} cannot be read ({cause})") from None
    if len(token) < 8 or not token.isascii() or len(token.split()) != 1:
        raise InputError(
            f"--token-file {file}: a password of at least 8 ASCII characters in one line is needed"
        )
    return token
