"""A real page and a real browser, for tests that do what a person would.

`Page` starts `nerf-insert app` as a command and ends it as Ctrl-C would; `browser()` is headless Chromium.
"""

import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--enable-unsafe-swiftshader",  # WebGL, computed on the CPU
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NO_WEBGL = "--disable-3d-apis"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_BROWSER = "no Chromium on this machine (on Debian: apt install chromium)"
QUICK = (str(Path(__file__).with_name("quick_program.py")),)  # for tests that do not look at results
# Run in a page first: the end of Gradio's stream of answers comes late, as it may on a busy machine.
LATE_END = r"""
const real = window.fetch;
window.fetch = async (...given) => {
  const answer = await real(...given);
  if (!(given[0].url || String(given[0])).includes('/queue/data')) return answer;
  const reader = answer.body.getReader(), text = new TextDecoder(), bytes = new TextEncoder();
  const late = new ReadableStream({async pull(out) {
    const {done, value} = await reader.read();
    if (done) return out.close();
    for (const part of text.decode(value).split(/(?=data: [^\n]*close_stream)/)) {
      if (part.includes('close_stream')) await new Promise((go) => setTimeout(go, 400));
      out.enqueue(bytes.encode(part));
    }
  }});
  return new Response(late, {status: answer.status, headers: answer.headers});
};
"""
SOON, LATE = 120_000, 480_000  # milliseconds; generous, for machines on which everything else runs too


class Server:
    """`nerf-insert app` on a workspace, started `here`."""

    def __init__(self, workspace, *words, here=None, program=("-m", "nerf_insert")):
        self.here = here
        command = [sys.executable, *program, "app", *map(str, words), "--workspace", str(workspace)]
        self.process = subprocess.Popen(
            [*command, "--port", str(free_port())],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=here,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "HF_HUB_OFFLINE": "1",
                "HF_HOME": str(workspace / "no-models"),
            },
        )
        self.said, lines = [], queue.Queue()
        threading.Thread(target=self._listen, args=(lines,), daemon=True).start()
        deadline = time.monotonic() + 180
        self.url = None
        while self.url is None and time.monotonic() < deadline:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                if self.process.poll() is not None:
                    break
                continue
            if "NeRF-Insert is at " in line:
                self.url = line.split("NeRF-Insert is at ")[1].split()[0]
        assert self.url, "".join(self.said)

    def _listen(self, lines):
        for line in self.process.stderr:
            self.said.append(line)
            lines.put(line)

    def end(self, how=signal.SIGINT):
        """Ctrl-C by default; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(timeout=60)


def until(found, seconds=120, every=0.05):
    """Wait for found() and return its value; `every` so many seconds, more where asking is work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(every)
    raise AssertionError("it never happened")


def free_port():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield chromium
        finally:
            chromium.close()


class Person:
    """Somebody at the page, in a browser window of their own. Keeps what it asked for and complained of."""

    def __init__(self, chromium, url, before="", **options):
        """`before`: a script that is run before those of the page."""
        self.context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        self.page = self.context.new_page()
        self.page.add_init_script(before)
        self.page.set_default_timeout(SOON)
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.page.wait_for_selector("#stage .stage[data-ready]")  # the server knows this browser
        self.page.wait_for_function("() => document.querySelector('[role=tab]')")

    def step(self, name):
        self.page.get_by_role("tab", name=name).click()
        self.page.wait_for_function(f"() => location.search.includes('step={name.split()[-1].lower()}')")

    def upload(self, file):
        """Choose files in the window that the upload area opens, once the last ones are taken."""
        self.page.wait_for_selector("#upload-zip .file-preview", state="detached")
        self.page.set_input_files("#upload-zip input[type=file]", file)

    def photographs(self):
        """The film, once its pictures are there."""
        self.page.wait_for_function(
            "() => { const all = [...document.querySelectorAll('#stage .film button')];"
            " return all.length && all.every((b) => b.querySelector('img').src); }"
        )
        return self.page.locator("#stage .film button")

    def choose(self, name):
        self.page.click(f"#stage .film button[data-name='{name}']")
        self.page.wait_for_selector(f"#stage .stage[data-photograph='{name}']")  # with its mask

    def at(self, x, y):
        """A place of the picture, given in shares of it, on the screen."""
        box = self.page.locator("#stage .frame").bounding_box()
        return box["x"] + x * box["width"], box["y"] + y * box["height"]

    def dab(self, x, y):
        self.page.mouse.move(*self.at(x, y))
        self.page.mouse.down()
        self.page.mouse.up()

    @property
    def words(self):
        return self.page.inner_text("#stage .words")

    def wait_for_words(self, part, timeout=SOON):
        wanted = part.replace("'", "\\'")
        self.page.wait_for_function(
            f"() => document.querySelector('#stage .words').textContent.includes('{wanted}')", timeout=timeout
        )

    def wait_for_summary(self, part):
        """What the step Edit says that it would do."""
        self.page.wait_for_function(
            f"() => document.querySelector('#edit-summary').innerText.includes('{part}')"
        )
        return self.page.inner_text("#edit-summary")

    def job(self, where, state, timeout=LATE):
        """Wait until the newest job of a list stands so."""
        self.page.wait_for_selector(f"#{where} .job:first-child[data-state={state}]", timeout=timeout)
        return self.page.locator(f"#{where} .job:first-child")

    def number(self, elem_id, value):
        field = self.page.locator(f"#{elem_id} input[type=number]").first
        field.fill(str(value))
        field.press("Tab")

    def toast(self):
        """What an error message says."""
        self.page.wait_for_selector(".toast-body")
        text = self.page.inner_text(".toast-body")
        self.page.locator(".toast-close").first.click()
        self.page.wait_for_selector(".toast-body", state="detached")
        return text

    def overlays(self):
        """The region in each photograph of the film, by name: data URLs, None where it is not seen."""
        return self.page.evaluate(
            "() => Object.fromEntries([...document.querySelectorAll('#stage .film button')]"
            ".map((b) => [b.dataset.name, b.querySelector('.over').getAttribute('src')]))"
        )

    def close(self):
        self.context.close()
