"""The exposure of each photograph, found while a base is trained and left out when it is rendered.

A camera that meters each photograph by itself shows one wall in several brightnesses. Without exposures a
base explains that by fog in front of the cameras. V is the number of views, N of rays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

DECAY = 0.99  # of what was seen, from one step to the next
PRIOR = 100.0  # pixels of middle gray that say that a photograph is exposed as all others
MIDDLE = 0.25  # square of middle gray
BEGIN = 0.05  # fraction of the steps before which all exposures are taken to be equal
CLIPPED = 0.98  # sRGB, above which a pixel of a photograph says nothing of its exposure


class Exposures:
    """A gain for each channel of each photograph, on sRGB values: photograph = gain * scene.

    A factor on light is one on sRGB values, too, but for the darkest. The gains follow from what was rendered
    and what was seen by least squares, with a prior of 1; their geometric mean over all views is 1.
    """

    def __init__(self, views: int):
        """Start with equal exposures."""
        self._cross = torch.zeros(views, 3, dtype=torch.float64)
        self._power = torch.zeros(views, 3, dtype=torch.float64)

    @property
    def gains(self) -> Float[Tensor, "V 3"]:
        """The gains found so far."""
        prior = PRIOR * MIDDLE
        gains = ((self._cross + prior) / (self._power + prior)).clamp(0.05, 20.0)
        return (gains / gains.log().mean(0).exp()).float()

    def observe(
        self, view: Int64[Tensor, " N"], scene: Float[Tensor, "N 3"], photograph: Float[Tensor, "N 3"]
    ) -> None:
        """Take in what N rays show.

        Args:
            view: The photograph of each ray.
            scene: What was rendered, without gain.
            photograph: The photographs' colors there, sRGB.
        """
        usable = (photograph < CLIPPED).all(-1)
        scene, photograph = scene[usable].double().cpu(), photograph[usable].double().cpu()
        view = view[usable.to(view.device)]
        self._cross.mul_(DECAY).index_add_(0, view, scene * photograph)
        self._power.mul_(DECAY).index_add_(0, view, scene * scene)

    def state(self) -> dict[str, Any]:
        """Return plain data that `restore` takes."""
        return {"cross": self._cross.tolist(), "power": self._power.tolist()}

    def restore(self, state: dict[str, Any] | None) -> None:
        """Take up a saved state; None leaves everything as it is."""
        if state is not None:
            self._cross = torch.tensor(state["cross"], dtype=torch.float64).view_as(self._cross)
            self._power = torch.tensor(state["power"], dtype=torch.float64).view_as(self._power)


class Observer(NamedTuple):
    """The exposures of N rays in one step, and where to report what they show."""

    exposures: Exposures
    view: Int64[Tensor, " N"]
    gains: Float[Tensor, "N 3"]
