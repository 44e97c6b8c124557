"""Starting the page: on this machine only, without analytics, without anything loaded from elsewhere."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nerf_insert.app.workspace import SceneLocation, Workspace
from nerf_insert.errors import InputError, RunError

PATIENCE = 30.0  # seconds
TRIM_EVERY = 20.0  # seconds


@dataclass(frozen=True)
class Settings:
    workspace: Path
    host: str = "127.0.0.1"
    port: int | None = None  # None: the first free one from 7860 on
    auth: tuple[str, str] | None = None
    share: bool = False
    mcp: bool = False
    browser: bool = False


def serve(settings: Settings, first: str | Path | None, ready: Callable[[str], None]) -> None:
    """Run until Ctrl-C or SIGTERM; `ready` hears the address. Raises InputError, RunError."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    if settings.mcp:
        check_mcp()
    workspace = Workspace(settings.workspace)
    os.environ["GRADIO_TEMP_DIR"] = str(workspace.temporary())
    place: SceneLocation | None = workspace.open_path(first) if first is not None else None

    import gradio as gr

    from nerf_insert.app.jobs.queue import Jobs
    from nerf_insert.app.page import CSS, build
    from nerf_insert.app.services import Services
    from nerf_insert.app.shutdown import IN_FLIGHT
    from nerf_insert.app.uploads import MAX_UPLOAD

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    jobs = Jobs(workspace.folder / "queue")
    for folder in workspace.places():
        jobs.adopt(folder.page)
    page = build(Services(workspace, jobs), place)
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
                theme=theme(gr),
                css_paths=[CSS],
                footer_links=["api", "settings"],
                mcp_server=settings.mcp,
                ssr_mode=False,
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
        while not stop.wait(TRIM_EVERY):
            give_memory_back()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        jobs.close()  # what runs is stopped cleanly and can go on
        with contextlib.suppress(Exception):
            page.close(verbose=False)
        IN_FLIGHT.shut(PATIENCE)
        shutil.rmtree(os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)


def give_memory_back() -> None:
    """To the system, what glibc keeps for later of each thread that has computed: with the many threads of a
    server that comes to gigabytes. Other C libraries have no such call."""
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def theme(gr):
    """The system's own fonts: nothing is fetched from elsewhere."""
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
def quiet_gradio():
    """gradio prints and logs its own lines on starting; ours say all that is needed."""
    level = logging.getLogger("httpx").level
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        yield
    finally:
        logging.getLogger("httpx").setLevel(level)


def check_mcp() -> None:
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise InputError("--mcp needs gradio's MCP part, which is not installed: `pip install 'gradio[mcp]'`")
