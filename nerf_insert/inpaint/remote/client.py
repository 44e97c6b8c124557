"""An inpainter that runs on another machine, `--inpainter http://HOST:PORT`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

from jaxtyping import Float
from msgspec import Meta
from torch import Tensor

from nerf_insert.errors import InputError, RunError
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
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
    pack_region,
)
from nerf_insert.io.schema import Real, parse_fields
from nerf_insert.runtime.extras import require
from nerf_insert.runtime.progress import SILENT, Progress

if TYPE_CHECKING:
    import httpx

TOKEN = "NERF_INSERT_INPAINTER_TOKEN"  # the environment variable with the server's password
CONNECT_SECONDS = 10.0
LONGEST_WAIT = 30.0  # seconds between two attempts
LOCAL = ("127.0.0.1", "localhost", "::1")

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteOptions:
    """Options of the remote inpainter.

    Attributes:
        token_file: A file with the server's password, instead of the environment variable.
        ca_file: A PEM file with the certificate that signed the server's, where the system does not know it.
        timeout: Seconds to wait for the answer to one call.
        attempts: How often a call is tried.
        serves: What the server must serve, as it names it; the layer's recipe keeps this.
    """

    token_file: str | None = None
    ca_file: str | None = None
    timeout: Annotated[Real, Meta(gt=0, le=86400)] = 600
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 6
    serves: str | None = None


class RemoteInpainter(Inpainter):
    """Sends views to `nerf-insert serve-inpainter` and returns what it paints.

    A call that fails because the connection breaks or the server is away is repeated. The server's password
    is read from the environment variable NERF_INSERT_INPAINTER_TOKEN and is never written into a recipe.
    """

    def __init__(self, url: str, **options: Any):
        """Prepare the connection; nothing is sent yet.

        Args:
            url: The server's address, http://HOST:PORT or https://HOST:PORT.
            options: Those of RemoteOptions.

        Raises:
            InputError: The address or an option cannot be used.
        """
        require("httpx", "remote")
        self.options = parse_fields(options, RemoteOptions, "inpainter_options")
        self.url = url.rstrip("/")
        self.progress: Progress = SILENT
        self.settled: Mapping[str, Any] = {}
        self._context: Context | None = None
        self._key = ""
        self._client = _connect(self.url, self.options)

    def check(self, guide: Guide) -> None:
        """Ask the server whether it can paint this, and take over its inpainter's attributes.

        Raises:
            InputError: It cannot, it refuses the password, or it serves another inpainter than before.
            RunError: There is no such server.
        """
        self._adopt(self._call("check", guide, Attributes))

    def prepare(self, context: EditContext) -> None:
        """Send the guide and the region.

        Raises:
            InputError: The server's inpainter cannot do this edit.
            RunError: The server does not answer.
        """
        self.progress = context.progress
        if urlsplit(self.url).scheme == "http" and urlsplit(self.url).hostname not in LOCAL:
            self.progress.warn(
                f"photographs and the password travel to {self.url} unencrypted: serve it with --tls-cert"
            )
        region = pack_region(context.region)
        self._context = Context(context.guide, region, context.seed, context.strength)
        self._prepare()

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[Tensor, "_ _ 3"]]:
        """Have the server paint the views; see Inpainter.inpaint.

        Raises:
            InputError: The server's inpainter cannot use them.
            RunError: The server does not answer, or answers with something else.
        """
        request = Request(self._key, list(views), guide, strength, seed)
        for _ in range(self.options.attempts):
            try:
                return self._call("inpaint", request, Painted).images
            except _Unprepared:
                self._prepare()
                request.key = self._key
        raise RunError(f"{self.url} is used by another edit at the same time: start a second server")

    def _prepare(self) -> None:
        if self._context is None:
            raise RunError("prepare() comes before inpaint()")
        answer = self._call("prepare", self._context, Prepared)
        if answer.key != self._key:  # the first time
            for line in answer.said:
                self.progress.say(f"{self.url}: {line}")
            for line in answer.warnings:
                self.progress.warn(f"{self.url}: {line}")
        self._key = answer.key
        self._adopt(answer.attributes)

    def _adopt(self, attributes: Attributes) -> None:
        begun = self.options.serves
        if begun not in (None, attributes.name):
            raise InputError(
                f"{self.url} serves {attributes.name}, and the edit was begun with {begun}: start the "
                "server with that inpainter again, or begin a new edit"
            )
        attributes.copy_to(self)
        self.settled = {"serves": attributes.name}

    # --- one call

    def _call(self, name: str, message: Any, kind: type[T]) -> T:
        """POST a message, and again while the server cannot be reached; decode the answer."""
        body = encode(message)
        if len(body) > MAX_BYTES:
            raise InputError(
                f"{len(body) / 1e9:.1f} GB would be sent at once: train the scene with --downscale"
            )
        for attempt in range(self.options.attempts):
            try:
                status, kind_of_content, content = self._post(name, body)
            except _Away as cause:
                reason = str(cause)
            else:
                if status not in (502, 503, 504):
                    return self._read(status, kind_of_content, content, kind)
                reason = f"HTTP {status}"
            if attempt + 1 < self.options.attempts:
                wait = min(2.0**attempt, LONGEST_WAIT)
                self.progress.warn(f"{self.url} does not answer ({reason}): trying again in {wait:g} s")
                self._sleep(wait)
        raise RunError(
            f"the inpainter at {self.url} does not answer ({reason}): check the address and that "
            "`nerf-insert serve-inpainter` runs there, then run the same command again to resume"
        )

    def _post(self, name: str, body: bytes) -> tuple[int, str, bytes]:
        """Return the status, the content type and the content of an answer, which is bounded."""
        import httpx

        headers = {"content-type": CONTENT_TYPE, VERSION_HEADER: str(VERSION)}
        try:
            with self._client.stream("POST", f"/{name}", content=body, headers=headers) as answer:
                content = bytearray()
                for part in answer.iter_bytes():
                    content += part
                    if len(content) > MAX_BYTES:
                        raise RunError(f"{self.url} answers with more than {MAX_BYTES / 1e9:.1f} GB")
                ours = VERSION_HEADER in answer.headers
                return answer.status_code, CONTENT_TYPE if ours else "", bytes(content)
        except httpx.TransportError as cause:
            if "certificate" in str(cause).lower():
                raise InputError(
                    f"the certificate of {self.url} is not trusted ({cause}): name the file that signed it, "
                    "--inpainter-option ca_file=FILE"
                ) from None
            raise _Away(str(cause) or type(cause).__name__) from None

    def _read(self, status: int, content_type: str, content: bytes, kind: type[T]) -> T:
        """Decode an answer.

        Raises:
            InputError: The server says that the input cannot be used, or refuses the password.
            RunError: The server failed, or what answers is no inpainter.
        """
        if status in (401, 403):
            raise InputError(
                f"{self.url} refuses the password: set {TOKEN} to the one that the server printed"
            )
        if content_type != CONTENT_TYPE:
            raise RunError(f"{self.url} is no inpainter of NeRF-Insert of this version (HTTP {status})")
        try:
            if status == 200:
                return decode(content, kind)
            failure = decode(content, Failure)
        except InputError as cause:
            raise RunError(f"the answer of {self.url} cannot be read: {cause}") from None
        if failure.kind == "unprepared":
            raise _Unprepared
        raise (InputError if failure.kind == "input" else RunError)(f"{self.url}: {failure.message}")

    def _sleep(self, seconds: float) -> None:
        """Wait; the work can be stopped meanwhile."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.progress.check()
            time.sleep(min(0.2, left))


class _Away(Exception):
    """The server could not be reached, or the connection broke."""


class _Unprepared(Exception):
    """The server has no context, or that of another edit."""


def _read_token(file: str | None) -> str:
    if file is None:
        return os.environ.get(TOKEN, "").strip()
    try:
        return Path(file).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(f"token_file {file} cannot be read ({cause})") from None


def _connect(url: str, options: RemoteOptions) -> httpx.Client:
    import ssl

    import httpx

    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        good = False
    if not good or parts.username or parts.query:
        raise InputError(f"the inpainter {url!r} is no address: write http://HOST:PORT or https://HOST:PORT")
    token, ca_file = _read_token(options.token_file), options.ca_file
    if not token.isascii() or any(letter.isspace() for letter in token):
        raise InputError("the inpainter's password may hold neither spaces nor other letters than ASCII")
    try:
        verify = ssl.create_default_context(cafile=str(Path(ca_file).expanduser()) if ca_file else None)
    except (OSError, ssl.SSLError) as cause:
        raise InputError(f"ca_file {ca_file} is no PEM file with a certificate ({cause})") from None
    return httpx.Client(
        base_url=url,
        headers={"authorization": f"Bearer {token}"} if token else {},
        timeout=httpx.Timeout(float(options.timeout), connect=CONNECT_SECONDS),
        verify=verify,
        trust_env=False,
    )
