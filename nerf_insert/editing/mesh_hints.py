"""What may be wrong with the place or size of a mesh, added to the errors that it explains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError
from nerf_insert.inpaint.guide import Guide
from nerf_insert.regions.checks import MIN_VIEWS
from nerf_insert.regions.spec import load_pose
from nerf_insert.scene.recipe import GuideSpec


@contextmanager
def explained_by(size: str | None, spec: GuideSpec, guide: Guide, capture: Capture) -> Iterator[None]:
    """Add to errors about the input what may explain them.

    Args:
        size: What is odd about the mesh's size, see `size_note`.
        spec: The recipe's guide.
        guide: The same with its mesh, relative to the capture's origin.
        capture: Whose photographs are edited.
    """
    try:
        yield
    except InputError as error:
        note = size or turn_note(spec, guide, capture)
        raise InputError(f"{error}. The reason may be that {note}") if note else error from None


def turn_note(spec: GuideSpec, guide: Guide, capture: Capture) -> str | None:
    """Say that a mesh would be seen if its axes had not been turned; None where that is not so."""
    if guide.mesh is None or spec.up_axis in (None, "none"):
        return None
    turned, plain = (
        load_pose(spec.pose, capture.origin, axis, capture.up) for axis in (spec.up_axis, "none")
    )
    assert turned is not None
    back = torch.linalg.inv(turned.matrix)
    back = back if plain is None else plain.matrix @ back
    corners = torch.cartesian_prod(*guide.mesh.bounds.double().unbind(1))
    middle = corners.mean(0)
    moved = (back[:3, :3] @ middle + back[:3, 3]).float()
    shown = _showing(moved, capture)
    if shown < MIN_VIEWS or _showing(middle.float(), capture) >= MIN_VIEWS:
        return None
    return (
        f"the file's {spec.up_axis} axis was turned to the scene's up: with its axes as they are (--up-axis "
        f"none) {shown} of {len(capture.views)} photographs show the mesh's place"
    )


def _showing(point: Float[Tensor, " 3"], capture: Capture) -> int:
    """The number of photographs in which a point lies, hidden or not."""
    return sum(bool(view.camera.project(point[None]).inside) for view in capture.views)
