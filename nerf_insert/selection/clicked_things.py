"""Things that clicks selected, and to which of them a further click belongs. World coordinates and units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from nerf_insert.selection.ball import Ball
from nerf_insert.selection.clicks import Click
from nerf_insert.selection.cloud import SeenPart
from nerf_insert.selection.pieces import Piece
from nerf_insert.selection.shape import Selection
from nerf_insert.selection.support import Extent
from nerf_insert.selection.thing import AROUND

PASSING = 0.15  # of a thing's radius, within which the ray of a click passes it


@dataclass
class ClickedThing:
    """What clicks selected, and what further clicks need.

    Attributes:
        extent: Roughly where it is.
        ball: What is around it.
        scale: Of the photographs.
        parts: What they show of it, by their names.
        selection: What the clicks select.
        piece: That it is, if it touches other things.
    """

    extent: Extent
    ball: Ball
    scale: float
    parts: dict[str, SeenPart]
    selection: Selection
    piece: Piece | None


def key_of(clicks: Sequence[Click]) -> str:
    """Return what a thing that clicks selected is kept under."""
    return " ".join(click.label for click in clicks)


def join(click: Click, found: list[tuple[ClickedThing, list[Click]]], near: bool = False) -> bool:
    """Give a click to the thing that it is on, passes, or (`near`) is beside; whether there is one."""
    for thing, clicks in found:
        passed = _passes(click, thing.extent)
        if passed is not None or _is_part(click, thing.extent):
            clicks.append(click if passed is None else replace(click, point=passed))
            return True
    nearest = min(found, key=lambda each: away(click, each[0].extent), default=None)
    if not near or nearest is None or away(click, nearest[0].extent) > AROUND:
        return False
    nearest[1].append(click)
    return True


def away(click: Click, extent: Extent) -> float:
    """The distance of a click from the middle of a thing, in radii of that."""
    return float((click.point - extent.center).norm()) / extent.radius


def _is_part(click: Click, extent: Extent) -> bool:
    """Whether a click lies on or right beside a thing."""
    return float((extent.points - click.point).norm(dim=-1).min()) < extent.radius / 2


def _passes(click: Click, extent: Extent) -> Float[Tensor, " 3"] | None:
    """Return where a click's ray passes a thing, if what it shows is clearly behind that; else None."""
    eye = click.view.camera.center
    ray = (click.point - eye) / click.distance
    along = (extent.points - eye) @ ray
    gap = (extent.points - eye - along[:, None] * ray).norm(dim=-1)
    nearest = int(gap.argmin())
    behind = click.distance - float(along[nearest]) > extent.radius
    return eye + along[nearest] * ray if behind and float(gap[nearest]) < PASSING * extent.radius else None


def groups(extents: Sequence[Extent]) -> list[Extent]:
    """Return one extent of each group of those whose balls meet."""
    apart: list[Extent] = []
    for extent in extents:
        meets = [
            float((extent.center - other.center).norm()) < extent.radius + other.radius for other in apart
        ]
        if not any(meets):
            apart.append(extent)
    return apart
