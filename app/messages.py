"""Messages to people: engine messages as sentences of the page, and those that several parts of it share."""

from __future__ import annotations

import re

OUT_OF_MEMORY = "There is not enough memory: close other programs and try again."
INTERNAL_ERROR = "Something in NeRF-Insert failed; see the terminal that it runs in for details."
# What the page calls what the command line sets with a flag.
WIDGETS = {
    "--point": "“Click”",
    "--mask": "“Paint on photographs”",
    "--mesh": "“Place a mesh”",
    "--box": "“Place a box”",
    "--up-axis": "“Axis of the file that points up”:",
    "--pose": "position, rotation and scale",
    "--prompt": "“Prompt”",
    "--reference": "“Reference image”",
    "--model": "“Diffusion model”",
    "--combine": "“Masks, mesh and box together”:",
    "--inpainter": "“Inpainter”",
    "--inpainter-option": "“Inpainter options”",
    "--shadow": "“Shadow”",
    "--steps": "“Steps”",
}
FLAG = re.compile(r"--[a-z][a-z-]*[a-z]")


def as_sentence(text: object) -> str:
    """Return a message with a capital first letter, a final punctuation mark, and the page's own words.

    Flags that the page has no widget for stay as they are.
    """
    words = FLAG.sub(lambda flag: WIDGETS.get(flag[0], flag[0]), str(text).strip())
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "!", "?")) else ".")
