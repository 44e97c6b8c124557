"""A mesh whose size does not fit the scene: how large it is, and which unit it may be in."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

PLAUSIBLE = (1 / 300, 10.0)  # sizes of things that people insert, in the cameras' distance
USUAL = 0.3  # of these, what a proposed scale comes nearest to
UNITS = {
    0.001: "in millimeters",
    0.01: "in centimeters",
    0.0254: "in inches",
    0.3048: "in feet",
    100.0: "in meters and the scene in centimeters",
    1000.0: "in meters and the scene in millimeters",
}


def size_note(name: str, bounds: Float[Tensor, "2 3"], distance: float) -> str | None:
    """Describe a mesh that is out of all proportion to the scene, with a scale that would fit.

    Args:
        name: The mesh's name, for the text.
        bounds: Lowest and highest corner of the box around the mesh, world coordinates.
        distance: How far the cameras are from what they look at, world units.

    Returns:
        The text, as warnings are; None if the mesh fits.
    """
    sides = (bounds[1] - bounds[0]).tolist()
    size = math.hypot(*sides)
    if not size > 0 or not distance > 0 or PLAUSIBLE[0] <= size / distance <= PLAUSIBLE[1]:
        return None
    fitting = [s for s in UNITS if 0.01 <= s * size / distance <= 3]
    power = 10.0 ** round(math.log10(USUAL * distance / size))
    scale = min(fitting, key=lambda s: abs(math.log(s * size / distance / USUAL)), default=power)
    kind = "large" if size > distance else "small"
    unit = f"it may be {UNITS[scale]}; " if scale in UNITS else ""
    return (
        f"the mesh {name} is very {kind} for this scene: {_sides(sides)} world units, and the cameras are "
        f"{distance:.3g} from what they look at; {unit}with a scale of {scale:g} (--pose scale={scale:g}) it "
        f"is {_sides([scale * side for side in sides])}"
    )


def _sides(values: list[float]) -> str:
    return " x ".join(f"{value:.3g}" for value in values)
