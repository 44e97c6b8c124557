"""What the readers of all formats return: parts with materials, textures, and notes for the person.

V vertices and F faces. Vertices are in the file's coordinates. Colors are linear light in 0..1; the pixels of
textures are as in the image files: sRGB where they are colors, else plain values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, UInt8

GRAY = 0.456  # linear light of what has no color of its own: 180 of 255 in sRGB
MAX_NOTES = 12
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
# The attributes of a material that use a texture.
SLOTS = (
    "base_texture",
    "emissive_texture",
    "metallic_texture",
    "roughness_texture",
    "normal_texture",
    "occlusion_texture",
)


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
        channel: Which channel is used, by slots that need one: 0, 1 or 2.
    """

    texture: int
    uv_set: int = 0
    matrix: tuple[tuple[float, float, float], tuple[float, float, float]] = IDENTITY
    channel: int = 0


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
        metallic: From 0, not metallic, to 1; multiplies its texture. None: the file says nothing.
        roughness: From 0, polished, to 1, rough; multiplies its texture. None: the file says nothing.
        metallic_texture: One channel of an image, plain values.
        roughness_texture: The same.
        reflectance: What the surface reflects head-on where it is not metallic; None: the file says nothing.
        edge_reflectance: The same at grazing angles.
        normal_texture: Normals in the surface's own frame, plain values.
        normal_scale: Multiplies their slope.
        occlusion_texture: One channel, plain values: how much of the light from around reaches the surface.
        occlusion_strength: How much it counts, 0..1.
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
    metallic_texture: TextureUse | None = None
    roughness_texture: TextureUse | None = None
    reflectance: tuple[float, float, float] | None = None
    edge_reflectance: float = 1.0
    normal_texture: TextureUse | None = None
    normal_scale: float = 1.0
    occlusion_texture: TextureUse | None = None
    occlusion_strength: float = 1.0

    def slots(self) -> list[TextureUse]:
        """Return the uses of textures."""
        return [use for slot in SLOTS if (use := getattr(self, slot)) is not None]

    def without_textures(self) -> Material:
        """Return the material without its textures; what is only known by one is not known any more."""
        lost: dict[str, Any] = dict.fromkeys(SLOTS)
        lost |= {"metallic": None} if self.metallic_texture else {}
        lost |= {"roughness": None} if self.roughness_texture else {}
        return replace(self, **lost)


@dataclass
class Texture:
    """An image and how it continues beyond its borders.

    Attributes:
        pixels: As in the image file; alpha only where the image has it.
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
        normals: Of the surface that a normal map tilts, at the corners of faces; None: the file has none.
        tangents: The direction of u there, from the file; None: it has none.
    """

    vertices: Float[np.ndarray, "V 3"]
    faces: Int64[np.ndarray, "F 3"]
    material: Material
    colors: Float[np.ndarray, "F 3 c"] | None = None
    uv: list[Float[np.ndarray, "F 3 2"]] = field(default_factory=list)
    normals: Float[np.ndarray, "F 3 3"] | None = None
    tangents: Float[np.ndarray, "F 3 3"] | None = None

    def with_faces(
        self,
        faces: Int64[np.ndarray, "G 3"],
        corners: Callable[[np.ndarray], np.ndarray],
        vertices: Float[np.ndarray, "W 3"] | None = None,
    ) -> Part:
        """Return a part with other faces.

        Args:
            faces: The new faces.
            corners: Makes a quantity at their corners, [G, 3, C], of one at the old corners, [F, 3, C].
            vertices: The new vertices; None: the same.
        """
        colors, normals, tangents = (
            None if values is None else corners(values).astype(values.dtype)
            for values in (self.colors, self.normals, self.tangents)
        )
        return Part(
            self.vertices if vertices is None else vertices,
            faces,
            self.material,
            colors,
            [corners(uv).astype(uv.dtype) for uv in self.uv],
            normals,
            tangents,
        )


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
