"""What the readers of all formats return: parts with materials, textures, and notes for the person.

V vertices and F faces. Vertices are in the file's coordinates. Colors are linear light in 0..1; the pixels of
textures are sRGB as in the image files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int64, UInt8

GRAY = 0.456  # linear light of what has no color of its own: 180 of 255 in sRGB
MAX_NOTES = 12
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


class Refusal(Exception):
    """The file cannot be used; the message continues "the mesh FILE ..."."""


class Notes:
    """What a file says and the result does not show, each told once."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}

    def add(self, text: str, item: str = "") -> None:
        """Add a note.

        Args:
            text: What is not shown; with items, each of them completes it.
            item: What it is about, such as a material's name. Notes with the same text are joined.
        """
        items = self._texts.setdefault(text, [])
        if item and item not in items:
            items.append(item)

    def texts(self) -> list[str]:
        """Return the notes, at most MAX_NOTES and one that counts the others."""
        all_texts = [f"{text}: {listed(items)}" if items else text for text, items in self._texts.items()]
        more = len(all_texts) - MAX_NOTES
        return all_texts[:MAX_NOTES] + ([f"and {more} more notes of this kind"] if more > 0 else [])


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as one text, the first few of many."""
    quoted = [f"'{name}'" for name in names[:most]]
    return ", ".join(quoted) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass
class TextureUse:
    """A texture as one slot of a material uses it.

    Attributes:
        texture: Its index in `Textures`.
        uv_set: Which of the part's sets of texture coordinates it is placed by.
        matrix: Maps those coordinates (u, v, 1), origin bottom left, to the texture's.
    """

    texture: int
    uv_set: int = 0
    matrix: tuple[tuple[float, float, float], tuple[float, float, float]] = IDENTITY


@dataclass
class Material:
    """How a surface looks, after glTF's metallic-roughness model.

    Attributes:
        name: Its name in the file.
        base_color: Linear light; multiplies the texture and the vertex colors.
        alpha: Multiplies the alpha of the texture and the vertex colors.
        cutoff: Alpha below this is cut out; None: the surface is opaque, whatever its alpha.
        partly: Whether alpha between 0 and 1 is meant to be partly transparent.
        base_texture: The base color's texture.
        emissive: Linear light that the surface gives by itself; multiplies its texture.
        emissive_texture: The emissive texture.
        metallic: From 0, not metallic, to 1; None: the file says nothing.
        roughness: From 0, polished, to 1, rough; None: the file says nothing.
    """

    name: str = ""
    base_color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    alpha: float = 1.0
    cutoff: float | None = None
    partly: bool = False
    base_texture: TextureUse | None = None
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emissive_texture: TextureUse | None = None
    metallic: float | None = None
    roughness: float | None = None

    def slots(self) -> list[TextureUse]:
        """Return the uses of textures."""
        return [use for use in (self.base_texture, self.emissive_texture) if use is not None]


@dataclass
class Texture:
    """An image and how it continues beyond its borders.

    Attributes:
        pixels: sRGB; alpha only where the image has it.
        wrap: How it continues along u and v: "repeat", "mirror" or "clamp".
        nearest: Whether its pixels are shown as squares.
    """

    pixels: UInt8[np.ndarray, "h w c"]
    wrap: tuple[str, str] = ("repeat", "repeat")
    nearest: bool = False


@dataclass
class Part:
    """Triangles of one material.

    Attributes:
        vertices: The file's coordinates.
        faces: Indices of vertices.
        material: How they look.
        colors: Linear light at the corners of faces, with alpha or without; None: white.
        uv: Sets of texture coordinates at the corners of faces, origin bottom left.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int64[np.ndarray, "F 3"]
    material: Material
    colors: Float[np.ndarray, "F 3 c"] | None = None
    uv: list[Float[np.ndarray, "F 3 2"]] = field(default_factory=list)


@dataclass
class MeshFile:
    """What a reader found.

    Attributes:
        parts: All triangles.
        textures: The textures that materials refer to.
    """

    parts: list[Part]
    textures: list[Texture] = field(default_factory=list)


GRAY_MATERIAL = Material(base_color=(GRAY, GRAY, GRAY))
