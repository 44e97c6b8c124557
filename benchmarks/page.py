"""How long the web page lets a person wait, measured in a real browser; a table.

    python -m benchmarks.page SCENE --mesh FILE [--edits 10] [--steps 20] [--json FILE]

From the command to a page that can be used; from a stroke to the updated outline in all photographs; from the
click to a job's first progress; frames a second while the view is being turned; the server's memory before
and after a number of edits, each made and taken back. The scene is copied first and stays as it is.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import browsing

STROKES = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scene", type=Path)
    parser.add_argument("--mesh", type=Path, required=True)
    parser.add_argument("--edits", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="of each edit")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, value, unit in measure(Path(folder), args):
            print(f"{name:<58} {value:>9.2f} {unit}", flush=True)
            rows.append([name, value, unit])
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2) + "\n")


def measure(folder: Path, args) -> Iterator[tuple[str, float, str]]:
    """What was measured, its value and unit, each as soon as it is known."""
    scene = folder / "scenes" / "measured"
    shutil.copytree(args.scene, scene)
    began = time.monotonic()
    server = browsing.Server(folder, scene)
    listening = time.monotonic() - began
    yield "from the command to its address", listening, "s"
    try:
        with browsing.browser() as chromium:
            arrived = time.monotonic()
            person = browsing.Person(chromium, server.url)
            person.page.wait_for_selector("#stage .image[src]")
            seen = time.monotonic() - arrived
            yield "from there, with a new browser, to the first photograph", seen, "s"
            person.photographs()
            yield strokes(person)
            yield turning(person)
            yield from edits(person, server, args)
            person.close()
    finally:
        server.end()


def strokes(person) -> tuple[str, float, str]:
    """Paint on two photographs, then again and again on the second."""
    names = person.page.eval_on_selector_all("#stage .film button", "all => all.map((b) => b.dataset.name)")
    person.step("2 Mark")
    person.page.wait_for_timeout(30_000)  # what stands in front is being rendered for all photographs
    person.choose(names[0])
    person.dab(0.5, 0.55)
    person.wait_for_words("One mask")
    person.choose(names[len(names) // 3])
    x, y = person.page.evaluate(
        "() => { const points = document.querySelector('#stage .guide').points;"
        " const middle = points.getItem(Math.floor(points.numberOfItems * 0.6));"
        " const frame = document.querySelector('#stage .frame');"
        " return [middle.x / frame.clientWidth, middle.y / frame.clientHeight]; }"
    )
    took = []
    for k in range(STROKES):
        asked = int(person.page.get_attribute("#stage .stage", "data-region") or 0)
        began = time.monotonic()
        person.dab(x + 0.004 * k, y)
        person.page.wait_for_function(
            f"() => +document.querySelector('#stage .stage').dataset.region > {asked}"
            " && !document.querySelector('#stage .stage').classList.contains('asking')"
        )
        took.append(time.monotonic() - began)
    return f"from a stroke to the outline in {len(names)} photographs, median", median(took), "s"


def turning(person) -> tuple[str, float, str]:
    person.page.click("#stage [data-mode=live]")
    person.page.wait_for_selector("#stage .stage[data-sharp='2']", timeout=browsing.LATE)
    began = time.monotonic()
    person.page.mouse.move(*person.at(0.3, 0.5))
    person.page.mouse.down()
    while time.monotonic() - began < 8:
        person.page.mouse.move(*person.at(0.3 + 0.05 * (time.monotonic() - began), 0.5))
        person.page.wait_for_timeout(30)
    person.page.mouse.up()
    badge = person.page.inner_text("#stage .badge")
    rate = float(person.page.get_attribute("#stage .stage", "data-fps"))
    return f"while the view is being turned ({badge.split(' at ')[-1]})", rate, "frames/s"


def edits(person, server, args) -> Iterator[tuple[str, float, str]]:
    page = person.page
    person.step("2 Mark")
    page.click("#forget-masks")
    page.get_by_label("Place a mesh").check()
    page.set_input_files("#mesh-file input[type=file]", args.mesh)
    page.wait_for_function("() => document.querySelector('#about-mesh').innerText.includes('faces')")
    person.step("3 Content")
    page.get_by_role("button", name="Advanced").last.click()
    person.number("fit-steps", args.steps)
    yield "memory of the server before the edits", memory(server), "MB"
    for k in range(args.edits):
        person.step("5 Edit")
        began = time.monotonic()
        page.click("#start-edit")
        page.wait_for_selector("#edit-jobs .job:first-child .stage-line")
        if k == 0:
            yield "from the click on Start to the job's first line", time.monotonic() - began, "s"
        page.wait_for_selector("#edit-jobs .job:first-child progress", timeout=browsing.LATE)
        if k == 0:
            yield "... to its first progress bar", time.monotonic() - began, "s"
        person.job("edit-jobs", "done")
        page.click("#edit-jobs .job:first-child [data-action=forget]")
        person.step("6 Results")
        page.wait_for_selector("#slider img")
        page.wait_for_selector("#layers [data-do=undo]:not([disabled])")
        page.click("#layers [data-do=undo]")
        page.wait_for_selector("#layers .nothing")
    yield f"memory after {args.edits} edits, each looked at and taken back", memory(server), "MB"


def memory(server) -> float:
    return psutil.Process(server.process.pid).memory_info().rss / 1e6


if __name__ == "__main__":
    main()
