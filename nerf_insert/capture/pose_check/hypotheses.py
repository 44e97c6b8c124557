"""The usual mistakes in a capture, each as another way to read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.photo_files import natural_key
from nerf_insert.capture.reading import INVERSE, Reading, all_axes, axes_in_words
from nerf_insert.errors import InputError

LENS_SCALES = (2.0, 0.5, 4.0, 0.25, 3.0, 1 / 3, 8.0, 0.125, 1.5, 1 / 1.5)
LENS_AXES = (None, "RDF", "w2c-RDF")  # tried together with other focal lengths


def reloads(capture: Capture, dataparser: str | None) -> Iterator[Capture]:
    """Yield the capture with its photographs turned otherwise, or paired with the poses in another order.

    What the user has decided (the capture's `reading`) stays.
    """
    given, pixels, orders = capture.reading, [], []
    if given.pixels is None:
        pixels += ["upright"] if any(view.stored_orientation != 1 for view in capture.views) else []
        pixels += ["stored"] if any(view.orientation != 1 for view in capture.views) else []
    by_text = sorted((view.path for view in capture.views), key=lambda path: path.name)
    if given.order is None and by_text != sorted(by_text, key=natural_key):
        orders = ["natural", "text"]
    for changes in [{"pixels": p} for p in pixels] + [{"order": order} for order in orders]:
        try:
            yield Capture.load(capture.path, dataparser=dataparser, reading=replace(given, **changes))
        except InputError:  # the photographs' sizes do not allow it
            continue


def axes_to_try(given: Reading) -> list[str | None]:
    """Return the conventions to try, the capture's own first, the most usual ones next."""
    if given.axes:
        return [given.axes]
    codes = all_axes()
    return [None, *codes[1:], *(INVERSE + code for code in codes)]


def simplicity(reading: Reading, given: Reading) -> tuple[int, int, int]:
    """Sort by this, the simplest explanation first: one change rather than two, a turn rather than axes."""
    changed = [f.name for f in fields(Reading) if getattr(reading, f.name) != getattr(given, f.name)]
    rank = ("pixels", "axes", "order", "lens_scale")
    kind = min((rank.index(name) for name in changed if name in rank), default=-1)
    axes = axes_to_try(replace(given, axes=None))
    return len(changed), kind, axes.index(reading.axes) if reading.axes in axes else 0


def in_words(reading: Reading, given: Reading) -> str:
    """Say what is different about a way to read a capture."""
    words = []
    if reading.axes != given.axes and reading.axes:
        words.append(f"the poses are in {axes_in_words(reading.axes)}, not in OpenGL's")
    if reading.pixels != given.pixels:
        how = "turned as their EXIF data says" if reading.pixels == "upright" else "as they are stored"
        words.append(f"poses and intrinsics belong to the photographs {how}")
    if reading.order != given.order:
        order = {"natural": "1, 2, 10", "text": "1, 10, 2"}[reading.order or "text"]
        words.append(f"the poses belong to the photographs in the order {order} of their names")
    if reading.lens_scale != given.lens_scale and reading.lens_scale:
        off = 1 / float(reading.lens_scale)
        words.append(f"the focal lengths are {off:.3g} times as long as they should be")
    return "; ".join(words)
