"""The guide: what is painted into the region."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from nerf_insert.geometry.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Guide:
    """A text, reference images, a mesh, or any mix of them; an inpainter uses what it understands.

    Attributes:
        prompt: What to paint.
        negative_prompt: What not to paint.
        references: Images of what to paint, sRGB in 0..1, of any sizes.
        mesh: A colored mesh in world coordinates, its pose applied.
    """

    prompt: str = ""
    negative_prompt: str = ""
    references: tuple[Float[Tensor, "_ _ 3"], ...] = ()
    mesh: Mesh | None = None

    @property
    def reference(self) -> Float[Tensor, "h w 3"] | None:
        """The first reference image."""
        return self.references[0] if self.references else None
