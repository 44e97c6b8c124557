"""Serve an inpainter over HTTP to edits on other machines."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nerf_insert.errors import InputError, RunError
from nerf_insert.inpaint.api import EditContext, Inpainter
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.remote.messages import (
    CONTENT_TYPE,
    MAX_BYTES,
    VERSION,
    VERSION_HEADER,
    Attributes,
    Context,
    Failure,
    Painted,
    Prepared,
    Request,
    decode,
    encode,
    unpack_region,
)
from nerf_insert.runtime.extras import require
from nerf_insert.runtime.progress import Progress

if TYPE_CHECKING:
    from starlette.applications import Starlette

CALLS = ("check", "prepare", "inpaint")


@dataclass(frozen=True)
class Address:
    """Where and how to serve.

    Attributes:
        host: The address to listen on.
        port: The port; 0: a free one.
        token: The password that clients must send; empty: none.
        certificate: PEM file of the TLS certificate, or None for plain HTTP.
        key: PEM file of its private key, where the certificate's file does not hold it.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str = ""
    certificate: Path | None = None
    key: Path | None = None


class Unprepared(Exception):
    """A call of `inpaint` belongs to another context than the latest."""


class Service:
    """One inpainter, which paints for one call at a time."""

    def __init__(self, inpainter: Inpainter, name: str, progress: Progress):
        self.inpainter, self.name, self.progress = inpainter, name, progress
        self._lock = threading.Lock()
        self._prepared = ""

    def answer(self, call: str, body: bytes) -> Any:
        """Do one call.

        Args:
            call: One of CALLS.
            body: Its encoded message.

        Raises:
            InputError: The message cannot be used.
            RunError: The inpainter failed.
            Unprepared: `prepare` has to be called before.
        """
        with self._lock:
            return getattr(self, f"_{call}")(body)

    def _check(self, body: bytes) -> Attributes:
        self.inpainter.check(decode(body, Guide))
        return Attributes.of(self.inpainter, self.name)

    def _prepare(self, body: bytes) -> Prepared:
        context, told = decode(body, Context), Told()
        self._prepared = ""
        self.inpainter.check(context.guide)
        self.inpainter.prepare(
            EditContext(
                stack=None,
                region=unpack_region(context.region),
                guide=context.guide,
                views=(),
                seed=context.seed,
                progress=told,
                strength=context.strength,
            )
        )
        self._prepared = hashlib.sha256(body).hexdigest()
        attributes = Attributes.of(self.inpainter, self.name)
        return Prepared(self._prepared, told.said, told.warnings, attributes)

    def _inpaint(self, body: bytes) -> Painted:
        request = decode(body, Request)
        if not self._prepared or request.key != self._prepared:
            raise Unprepared
        self.progress.say(f"Painting {len(request.views)} views, strength {request.strength:.2f}")
        images = self.inpainter.inpaint(
            request.views, request.guide, strength=request.strength, seed=request.seed
        )
        return Painted(list(images))


class Told(Progress):
    """Keeps what the inpainter reports, for the client."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """Keep a line for people."""
        self.said.append(text)

    def warn(self, text: str) -> None:
        """Keep a warning."""
        self.warnings.append(text)


def application(service: Service, token: str) -> Starlette:
    """Return the ASGI application that answers the calls of a service.

    Args:
        service: What does them.
        token: The password; empty: none.
    """
    from anyio import to_thread
    from starlette.applications import Starlette
    from starlette.requests import Request as HttpRequest
    from starlette.responses import Response
    from starlette.routing import Route

    def respond(message: Any, status: int = 200) -> Response:
        return Response(encode(message), status, {VERSION_HEADER: str(VERSION)}, CONTENT_TYPE)

    def fail(status: int, message: str, kind: Literal["input", "failure", "unprepared"]) -> Response:
        service.progress.warn(message) if message else None
        return respond(Failure(message, kind), status)

    def work(call: str, body: bytes) -> Response:
        try:
            return respond(service.answer(call, body))
        except Unprepared:
            return fail(409, "", "unprepared")
        except InputError as error:
            return fail(400, str(error), "input")
        except MemoryError:
            return fail(500, f"{service.name}: out of memory", "failure")
        except Exception as error:
            text = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
            return fail(500, f"{service.name} failed: {text}", "failure")

    async def endpoint(request: HttpRequest) -> Response:
        call, given = request.path_params["call"], request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return fail(401, "a client sent no password, or a wrong one", "input")
        version = request.headers.get(VERSION_HEADER)
        if version != str(VERSION):
            return fail(400, "the client is none of NeRF-Insert, or of another version of it", "input")
        if call not in CALLS:
            return fail(404, f"there is no call /{call}", "input")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BYTES:
                return fail(413, f"a call may have {MAX_BYTES / 1e9:.1f} GB", "input")
        return await to_thread.run_sync(work, call, bytes(body))

    return Starlette(routes=[Route("/{call}", endpoint, methods=["POST"])])


def serve(service: Service, address: Address, ready: Callable[[str], None]) -> None:
    """Serve until the process is stopped by Ctrl-C or SIGTERM.

    Args:
        service: What does the calls.
        address: Where and how.
        ready: Called with the server's URL once it listens.

    Raises:
        InputError: The port is taken, or the certificate cannot be used.
    """
    for module in ("uvicorn", "starlette"):
        require(module, "remote")
    import socket
    import ssl

    import uvicorn

    tls = address.certificate is not None
    config = uvicorn.Config(
        application(service, address.token),
        log_level="error",
        access_log=False,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as cause:
        raise InputError(f"the certificate {address.certificate} cannot be used ({cause})") from None
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
        listening.listen()
    except OSError as cause:
        raise InputError(f"cannot listen on {address.host}, port {address.port} ({cause.strerror})") from None
    host = f"[{address.host}]" if ":" in address.host else address.host
    ready(f"http{'s' if tls else ''}://{host}:{listening.getsockname()[1]}")
    with listening:
        uvicorn.Server(config).run([listening])
