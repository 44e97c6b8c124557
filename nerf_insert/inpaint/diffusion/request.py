"""One call of a model, the same for all families: what is painted, from what, and how.

B pictures of one size, h x w, are painted at once; values are sRGB in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Work:
    images: Float[Tensor, "B 3 h w"]  # what painting starts from
    masks: Float[Tensor, "B 1 h w"]  # 1: paint
    depths: Float[Tensor, "B 3 h w"] | None  # the control picture: near is white
    references: tuple[Any, ...]  # PIL pictures of what to paint, the same for all
    prompt: str
    negative_prompt: str
    strength: float  # 0..1; 1 starts from noise alone
    steps: int  # of the model's schedule; about strength * steps of them are made
    guidance: float
    control_scale: float
    generators: list[Any]  # one torch.Generator for each picture
    each_step: Callable[[], None]  # may raise, which ends the call

    @property
    def count(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.images.shape[2], self.images.shape[3]
