"""The server of the page: on this machine only by default, without analytics or anything from elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.app.workspace import SceneLocation, Workspace
from nerf_insert.errors import InputError, RunError

if TYPE_CHECKING:
    from gradio.themes.base import Base

SHUTDOWN_TIMEOUT = 30.0  # seconds
TRIM_INTERVAL = 20.0  # seconds


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
        workspace: Folder of scenes, captures and jobs.
        host: Address to listen on.
        port: Port to listen on; None: the first free one from 7860.
        auth: Name and password that are asked for.
        share: Whether to open a public tunnel through Gradio's servers.
        mcp: Whether to offer the endpoints to language models.
        browser: Whether to open a browser.
        root_path: The path, or the whole address, under which a proxy serves the page.
    """

    workspace: Path
    host: str = "127.0.0.1"
    port: int | None = None
    auth: tuple[str, str] | None = None
    share: bool = False
    mcp: bool = False
    browser: bool = False
    root_path: str | None = None


def serve(settings: Settings, first: str | Path | None, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        settings: How to serve it.
        first: A scene, capture or source to show first.
        ready: Called with the address once the server listens.

    Raises:
        InputError: `first` cannot be opened, or an optional package is missing.
        RunError: The server cannot listen on the address.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    # Gradio sums up all calls so far anew after every call, for statistics that nobody sees here: never.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(1 << 62)
    if settings.mcp:
        check_mcp()
    workspace = Workspace(settings.workspace)
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.temporary())
    from nerf_insert.app.uploads import MAX_UPLOAD, open_path

    location: SceneLocation | None = open_path(Path(first), workspace) if first is not None else None

    from nerf_insert.app.jobs.queue import JobQueue
    from nerf_insert.app.page import CSS, build
    from nerf_insert.app.services import Services
    from nerf_insert.app.shutdown import IN_FLIGHT

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    jobs = JobQueue(workspace.folder / "queue")
    for folder in workspace.locations():
        jobs.adopt(folder.page)
    page = build(Services(workspace, jobs), location)
    page.queue(default_concurrency_limit=8)
    stop = threading.Event()
    try:
        with quiet_gradio():
            _, url, shared = page.launch(
                server_name=settings.host,
                server_port=settings.port,
                auth=settings.auth,
                share=settings.share,
                inbrowser=settings.browser,
                prevent_thread_lock=True,
                show_error=True,
                quiet=True,
                max_file_size=MAX_UPLOAD,
                theme=theme(),
                css_paths=[CSS],
                footer_links=["api", "settings"],
                mcp_server=settings.mcp,
                ssr_mode=False,
                root_path=settings.root_path,
            )
    except OSError as error:
        jobs.close()
        where = f"{settings.host}, port {settings.port or '7860 or above'}"
        raise RunError(f"the page cannot be served on {where}: {error}; choose another --port") from None
    before = {
        number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        ready(shared or url)
        while not stop.wait(TRIM_INTERVAL):
            trim_memory()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        jobs.close()  # stops the running job cleanly, so that it can be resumed
        with contextlib.suppress(Exception):
            page.close(verbose=False)
        IN_FLIGHT.close(SHUTDOWN_TIMEOUT)
        shutil.rmtree(os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)


def trim_memory() -> None:
    """Return free heap pages to the operating system.

    glibc keeps them for each thread that has computed; with the many threads of a server that is gigabytes.
    Other C libraries have no such call.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def theme() -> Base:
    """Return the theme, with the system's own fonts: nothing is fetched from elsewhere."""
    import gradio as gr

    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
        radius_size="md",
        spacing_size="sm",
        text_size="md",
    )


@contextlib.contextmanager
def quiet_gradio() -> Iterator[None]:
    """Silence what Gradio logs on starting; our own lines say all that is needed."""
    level = logging.getLogger("httpx").level
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        yield
    finally:
        logging.getLogger("httpx").setLevel(level)


def check_mcp() -> None:
    """Check that Gradio's MCP extra is installed.

    Raises:
        InputError: It is not.
    """
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise InputError(
            "--mcp needs Gradio's MCP extra, which is not installed: `pip install 'gradio[mcp]'`"
        )
