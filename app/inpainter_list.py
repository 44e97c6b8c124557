"""Who can paint: the inpainters that are installed, and the files that they may read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nerf_insert.app import model_list
from nerf_insert.errors import InputError
from nerf_insert.inpaint.registry import GROUP

HELP = {  # of the inpainters that come with NeRF-Insert
    "mesh": "Shades your mesh in its own colors, with the light and shadows of the scene.",
    "fill": "Takes away what is there: fills in from what other photographs see behind it.",
    "diffusion": "Paints what your text or reference picture says, with a diffusion model.",
}


def inpainters() -> dict[str, tuple[bool, str]]:
    """Every registered inpainter: whether it can be loaded here, and a sentence on it."""
    found = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name not in HELP, entry.name)):
        try:
            entry.load()
            found[entry.name] = True, HELP.get(entry.name, f"From another package ({entry.value}).")
        except Exception as cause:  # whatever a foreign package's import raises
            found[entry.name] = False, f"cannot be loaded here: {cause}"
    return found


def available() -> list[dict[str, Any]]:
    """The same with what is missing: "name", "available", "about"."""
    rows = [{"name": name, "available": fine, "about": words} for name, (fine, words) in inpainters().items()]
    for row in rows:
        if row["name"] == "diffusion":
            try:
                model_list.check("")
            except InputError as missing:
                row |= {"available": False, "about": f"{row['about']} {missing}"}
    return rows


def check_painter(name: str, options: dict[str, Any], allowed: Sequence[Path]) -> None:
    """Raises InputError for an inpainter that is not registered (a module's name would run whatever that
    holds), and for options that name files outside the allowed folders."""
    known = sorted(entry_points(group=GROUP).names)
    if name not in known:
        raise InputError(f"there is no inpainter {name!r} here: choose one of {', '.join(known)}")
    for key, value in options.items():
        for text in texts_in(value):
            for place in (text, text.rpartition(":")[0]):  # FILE or FILE:WEIGHT
                if leads_out(place, allowed):
                    raise InputError(
                        f"the option {key} names {place}, which lies outside the page's own folders: put it "
                        f"into {allowed[-1]} and name it there"
                    )


def texts_in(value: Any) -> Iterator[str]:
    """All texts in an option's value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from texts_in(part)


def leads_out(text: str, allowed: Sequence[Path]) -> bool:
    """Whether a text is taken for a file's name, and for one that lies in none of the allowed folders."""
    try:
        path = Path(text).expanduser()
        if not text or not (path.is_absolute() or ".." in path.parts or path.exists()):
            return False
        path = path.resolve()
    except (OSError, RuntimeError, ValueError):  # too long, of nobody's home, with a zero in it
        return text.startswith(("/", "~"))
    return not any(path.is_relative_to(folder.resolve()) for folder in allowed)
