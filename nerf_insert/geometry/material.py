"""How the surface of a mesh looks: materials and textures, after glTF's metallic-roughness model.

N is a number of points on the surface. UVs have their origin at the bottom left.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from torch import Tensor

UvMatrix = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, eq=False)
class Texture:
    """An image and how it continues beyond its borders.

    Attributes:
        image: sRGB.
        wrap: How it continues along u and v: "repeat", "mirror" or "clamp".
        nearest: Whether its pixels are shown as squares.
    """

    image: UInt8[Tensor, "h w 3"]
    wrap: tuple[str, str] = ("repeat", "repeat")
    nearest: bool = False


@dataclass(frozen=True)
class TextureUse:
    """A texture as one slot of a material uses it.

    Attributes:
        texture: Its index in the mesh's textures.
        uv_set: Which of the mesh's sets of UVs it is placed by.
        matrix: Maps those UVs (u, v, 1) to the texture's.
    """

    texture: int
    uv_set: int = 0
    matrix: UvMatrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))

    def place(self, uv: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Map UVs of the set to the texture's."""
        matrix = uv.new_tensor(self.matrix)
        return uv @ matrix[:, :2].T + matrix[:, 2]


@dataclass(frozen=True)
class Material:
    """One material. Its base color factor is in the mesh's corner colors already.

    Attributes:
        name: Its name in the file.
        base_texture: sRGB; the corner colors tint it.
        emissive: Linear light that the surface gives by itself; tints its texture.
        emissive_texture: sRGB.
        metallic: From 0, not metallic, to 1; None: the file says nothing.
        roughness: From 0, polished, to 1, rough; None: the file says nothing.
    """

    name: str = ""
    base_texture: TextureUse | None = None
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)
    emissive_texture: TextureUse | None = None
    metallic: float | None = None
    roughness: float | None = None
