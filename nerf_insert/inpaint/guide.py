"""What to put into the region."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Guide:
    """Text, pictures, a mesh, or any mix; an inpainter uses what it understands.

    `mesh` is in world coordinates, its pose applied; `references` are sRGB in 0..1, of any sizes.
    """

    prompt: str = ""
    negative_prompt: str = ""
    references: tuple[Float[Tensor, "h w 3"], ...] = ()
    mesh: Mesh | None = None

    @property
    def reference(self) -> Float[Tensor, "h w 3"] | None:
        """The first of the reference pictures."""
        return self.references[0] if self.references else None
