"""What to put into the region."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from nerf_insert.meshes import Mesh


@dataclass(frozen=True, eq=False)
class Guide:
    """Text, a picture, a mesh, or any mix; an inpainter uses what it understands.

    `mesh` is in world coordinates, its pose applied; `reference` is sRGB in 0..1.
    """

    prompt: str = ""
    negative_prompt: str = ""
    reference: Float[Tensor, "h w 3"] | None = None
    mesh: Mesh | None = None
