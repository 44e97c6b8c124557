"""The inpainters that are installed, and the files that they may read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nerf_insert.app import model_list
from nerf_insert.errors import InputError
from nerf_insert.inpaint.registry import GROUP

HELP = {  # of the inpainters that come with NeRF-Insert
    "mesh": "Renders your mesh in its own colors, with the scene's light and shadows.",
    "fill": "Removes what is there: fills in what other photographs show behind it.",
    "clear": "Empties the region, quickly: for haze and floating scraps.",
    "diffusion": "Paints from your text or reference image, with a diffusion model.",
}


def registered_inpainters() -> dict[str, tuple[bool, str]]:
    """Return every registered inpainter by name: whether it can be loaded, and a sentence about it."""
    found = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name not in HELP, entry.name)):
        try:
            entry.load()
            found[entry.name] = True, HELP.get(entry.name, f"From another package ({entry.value}).")
        except Exception as cause:  # whatever the import of another package raises
            found[entry.name] = False, f"Cannot be loaded: {cause}"
    return found


def available_inpainters() -> list[dict[str, Any]]:
    """List the registered inpainters: "name", "available" and "about", which also says what is missing."""
    rows: list[dict[str, Any]] = []
    for name, (available, about) in registered_inpainters().items():
        if name == "diffusion":
            try:
                model_list.check_model("")
            except InputError as missing:
                available, about = False, f"{about} {missing}"
        rows.append({"name": name, "available": available, "about": about})
    return rows


def check_inpainter(name: str, options: Mapping[str, Any], allowed: Sequence[Path]) -> None:
    """Check that a browser may use an inpainter with these options.

    Args:
        name: The inpainter. Only registered ones are allowed: the name of a module would run its code.
        options: Its options.
        allowed: Folders whose files the options may name.

    Raises:
        InputError: The inpainter is not registered, or an option names a file elsewhere.
    """
    known = sorted(entry_points(group=GROUP).names)
    if name not in known:
        raise InputError(f"there is no inpainter {name!r} here: choose one of {', '.join(known)}")
    for key, value in options.items():
        for text in strings_in(value):
            for path in (text, text.rpartition(":")[0]):  # FILE or FILE:WEIGHT
                if is_outside(path, allowed):
                    raise InputError(
                        f"the option {key} names {path}, which is outside the page's own folders: put it "
                        f"into {allowed[-1]} and name it there"
                    )


def strings_in(value: Any) -> Iterator[str]:
    """Yield all strings in the value of an option, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from strings_in(part)


def is_outside(text: str, allowed: Sequence[Path]) -> bool:
    """Return whether a text names a file that lies in none of the allowed folders."""
    try:
        path = Path(text).expanduser()
        if not text or not (path.is_absolute() or ".." in path.parts or path.exists()):
            return False
        path = path.resolve()
    except (OSError, RuntimeError, ValueError):  # too long, an unknown user's home, a null character
        return text.startswith(("/", "~"))
    return not any(path.is_relative_to(folder.resolve()) for folder in allowed)
