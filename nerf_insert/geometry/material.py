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
        image: As in the file: sRGB where it is a color, else plain values.
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
        channel: Which channel is used, by slots that need one: 0, 1 or 2.
    """

    texture: int
    uv_set: int = 0
    matrix: UvMatrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    channel: int = 0

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
        metallic: From 0, not metallic, to 1; multiplies its texture. None: the file says nothing.
        roughness: From 0, polished, to 1, rough; multiplies its texture. None: the file says nothing.
        metallic_texture: One channel of an image, plain values.
        roughness_texture: The same.
        reflectance: What the surface reflects head-on where it is not metallic; None: the file says nothing.
        edge_reflectance: The same at grazing angles.
        normal_texture: Normals in the surface's own frame: along u, along v, outwards.
        normal_scale: Multiplies their slope.
        occlusion_texture: One channel, plain values: how much of the light from around reaches the surface.
        occlusion_strength: How much it counts, 0..1.
    """

    name: str = ""
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

    @property
    def has_finish(self) -> bool:
        """Whether the file says anything of the surface beside its color and the light that it gives."""
        said = (
            self.metallic,
            self.roughness,
            self.reflectance,
            self.normal_texture,
            self.occlusion_texture,
        )
        return any(value is not None for value in said)
