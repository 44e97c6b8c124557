"""One call of a model, the same for all families.

B images of one size, h x w, are inpainted at once; values are sRGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class InpaintRequest:
    """What a pipeline is called with.

    Attributes:
        images: What inpainting starts from.
        masks: 1 where to inpaint.
        depths: The control images, near is white; None without a ControlNet.
        references: PIL images of the object, the same for all images.
        prompt: The text prompt, for all images.
        negative_prompt: What to avoid, for all images.
        strength: 0..1; 1 starts from pure noise.
        steps: Denoising steps of the schedule, of which about strength * steps are run.
        guidance: Guidance scale.
        control_scale: Weight of the ControlNet.
        generators: One torch.Generator per image.
        on_step: Called after each step; an exception from it ends the call.
    """

    images: Float[Tensor, "B 3 h w"]
    masks: Float[Tensor, "B 1 h w"]
    depths: Float[Tensor, "B 3 h w"] | None
    references: tuple[Any, ...]
    prompt: str
    negative_prompt: str
    strength: float
    steps: int
    guidance: float
    control_scale: float
    generators: list[Any]
    on_step: Callable[[], None]

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return self.images.shape[2], self.images.shape[3]
