"""Visual hulls: everything that each of several photographs shows within its mask.

A. Laurentini, "The visual hull concept for silhouette-based image understanding", PAMI 1994.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.errors import InputError, warn
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.io.images import read_image, write_image
from nerf_insert.regions.region import CELLS, Region
from nerf_insert.regions.viewing_cone import ViewingCone

Reach = Callable[[Camera, Tensor], float | None]  # of a mask [H, W] in a camera's image: world units
SEARCH_FACTOR = 8.0  # size of the cube that is searched, relative to the extent of cameras and crossing
FINE = 200  # cells along the longest side of a hull's bounding box, when the search ends
MAX_HALVINGS = 24  # halvings of a cell after which a hull is empty
MAX_CELLS = 1 << 20
MASK_FILE = re.compile(r"mask-\d+\.png")  # as `save` names them
GRID_WORTHWHILE = 1 << 14  # points from which on a look-up of cells that are surely in or out pays off


class VisualHull(Region):
    """The points that project into the masks of all views, in front of every camera.

    Lens distortion is taken into account. A point that projects outside one of the images is outside.

    Masks from nearly the same direction, as in forward-facing captures, leave the space behind the object
    open. It is cut off at the box `within`, or where the scene ends in the masks.

    Args:
        views: Cameras in world coordinates, each with a mask in the size of its image, true where the hull
            may be.
        bounds: The bounding box, if it is known; the hull is cut off there.
        names: The masks' names, for messages.
        within: A box that bounds what the hull is used for, lowest and highest corner. One mask is enough.
        reach: Returns how far from a camera the scene ends within a mask.

    Attributes:
        cut: Whether the hull is cut off at `within`.

    Raises:
        InputError: There are fewer than two views, a mask is empty or of another size, the masks have no
            point in common, or they share a direction and nothing says where the hull ends.
    """

    def __init__(
        self,
        views: Sequence[tuple[Camera, Bool[Tensor, "_ _"]]],
        bounds: Float[Tensor, "2 3"] | None = None,
        names: Sequence[str] | None = None,
        within: Float[Tensor, "2 3"] | None = None,
        reach: Reach | None = None,
    ):
        self.names = tuple(names or (f"mask {k + 1}" for k in range(len(views))))
        if len(views) < 2 and bounds is None and within is None:
            raise InputError("masks on at least two photographs are needed to locate something in space")
        for name, (camera, mask) in zip(self.names, views, strict=True):
            if tuple(mask.shape) != (camera.height, camera.width):
                raise InputError(
                    f"the mask for {name} is {mask.shape[1]}x{mask.shape[0]} pixels but its photograph is "
                    f"{camera.width}x{camera.height}: draw it on the photograph in its own size"
                )
            if not mask.any():
                raise InputError(f"the mask for {name} is empty: paint what is to be edited")
            camera.project(torch.zeros(1, 3))  # raises InputError for a camera model without projection
        self.cones = tuple(ViewingCone(camera, mask.bool().cpu()) for camera, mask in views)
        self.cut = False
        if bounds is None:
            bounds = self._find_bounds(within, reach)
        self.bounds = torch.as_tensor(bounds, dtype=torch.float32)
        ranges = [_range(cone.camera, self.bounds) for cone in self.cones]
        self.precision = max(cone.slack * far for cone, (_, far) in zip(self.cones, ranges, strict=True))
        self.min_width = min(cone.width * near for cone, (near, _) in zip(self.cones, ranges, strict=True))

    def _find_bounds(self, within: Float[Tensor, "2 3"] | None, reach: Reach | None) -> Float[Tensor, "2 3"]:
        bounds = find_bounds(self.cones) if len(self.cones) > 1 else torch.full((2, 3), math.inf)
        if bounds is None:
            raise InputError(why_empty(self.cones, self.names))
        if bounds.isfinite().all():
            return bounds
        names = ", ".join(self.names)
        masks = f"the masks ({names})" if len(self.names) > 1 else f"the mask for {names}"
        if within is not None:
            self.cut = True
            bounds = find_bounds(self.cones, within=within)
            if bounds is None:
                raise InputError(f"{masks} and the rest of the region have no point in common")
            return bounds
        same = f"{masks} were drawn from nearly the same direction"
        ends = [reach(cone.camera, cone.mask) if reach else None for cone in self.cones]
        if all(end is None for end in ends):
            raise InputError(
                f"{same}, so that the space they share is unbounded: draw one on a photograph from another "
                "side"
            )
        bounds = find_bounds(self.cones, ends=[math.inf if end is None else end for end in ends])
        if bounds is None:
            raise InputError(f"{same}, and the scene ends before they meet: draw one from another side")
        far = max(end for end in ends if end is not None)
        warn(
            f"{same}, so that no photograph closes the region behind: it ends where the scene does, up to "
            f"{far:.3g} from the cameras (world units); a mask on a photograph from another side, or a box "
            "with --combine intersection, makes it tighter"
        )
        return bounds

    def contains(self, points: Float[Tensor, "N 3"]) -> Bool[Tensor, " N"]:
        """Return which points within `bounds` project into every mask."""
        low, high = self.bounds.to(points)
        inside = ((points >= low) & (points <= high)).all(-1)
        if len(points) > GRID_WORTHWHILE:
            cell = ((points - low) / (high - low) * CELLS).long().clamp(0, CELLS - 1)
            outside, sure = (grid.to(points.device)[tuple(cell.T)] for grid in self._sure)
            inside &= ~outside
        else:
            sure = torch.zeros_like(inside)
        for cone in self.cones:
            rest = (inside & ~sure).nonzero()[:, 0]
            inside[rest] = cone.contains(points[rest])
        return inside

    @cached_property
    def _sure(self) -> tuple[Bool[Tensor, "R R R"], Bool[Tensor, "R R R"]]:
        """The cells of the bounds that are surely outside, and those that are surely inside."""
        distance, reach = self.cell_distances(CELLS)
        return distance > reach, distance < -reach

    def distance(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, " N"]:
        """Return the distance to the farthest cone.

        Inside it is right within a pixel's width. Outside it is too small where cones meet at an angle.
        """
        return torch.stack([cone.distance(points) for cone in self.cones]).amax(0)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write each mask as a PNG file and return the bounds and the cameras."""
        views = []
        for index, (name, cone) in enumerate(zip(self.names, self.cones, strict=True)):
            write_image(folder / f"mask-{index:02d}.png", cone.mask)
            camera = cone.camera
            numbers = {
                key: getattr(camera, key) for key in ("fx", "fy", "cx", "cy", "width", "height", "model")
            }
            pose = {"c2w": camera.c2w.tolist(), "distortion": list(camera.distortion)}
            views.append({"name": name, "mask": f"mask-{index:02d}.png", **numbers, **pose})
        return {"kind": "hull", "bounds": self.bounds.tolist(), "views": views}

    @staticmethod
    def load(data: dict[str, Any], folder: Path) -> VisualHull:
        """Return the region that `save` described.

        Raises:
            InputError, KeyError, TypeError, ValueError: The data or a mask's file is damaged.
        """
        views = []
        for view in data["views"]:
            if not MASK_FILE.fullmatch(view["mask"]):  # not a path: scenes come from others too
                raise ValueError(f"{view['mask']!r} is none of its masks")
            camera = {key: value for key, value in view.items() if key not in ("name", "mask")}
            camera["c2w"], camera["distortion"] = torch.tensor(camera["c2w"]), tuple(camera["distortion"])
            views.append((Camera(**camera), read_image(folder / view["mask"])[0][..., 0] > 0.5))
        names = [view["name"] for view in data["views"]]
        return VisualHull(views, torch.tensor(data["bounds"]), names)


def find_bounds(
    cones: Sequence[ViewingCone],
    ends: Sequence[float] | None = None,
    within: Float[Tensor, "2 3"] | None = None,
) -> Float[Tensor, "2 3"] | None:
    """Return the bounding box of the intersection of cones.

    The search begins with one large cube around the cameras. Cells that are surely outside one of the cones
    are dropped, and those that cannot enlarge the box of what is surely inside; the others are halved along
    all axes, until they are small against that box.

    Args:
        cones: The cones.
        ends: The distance from each cone's camera at which it ends; None: none does.
        within: A box, lowest and highest corner, outside which nothing counts.

    Returns:
        The box; None if the cones do not meet; infinite values if their intersection is unbounded.
    """
    centers = torch.stack([cone.camera.center for cone in cones]).double()
    around, crossing = centers.mean(0), _crossing(cones)
    far = max(float((centers - around).norm(dim=-1).max()), float((crossing - around).norm()))
    whole = half = SEARCH_FACTOR * far if far > 0 else 1.0
    if within is not None:
        around, whole = within.mean(0).double(), float((within[1] - within[0]).max()) / 2
    elif ends is not None:
        whole = float((centers - around).norm(dim=-1).max()) + min(ends)
    half = whole
    box_low, box_high = (
        (torch.full((3,), -math.inf), torch.full((3,), math.inf)) if within is None else within
    )
    cells = around[None].float()
    low, high = torch.full((3,), math.inf), torch.full((3,), -math.inf)  # of points that are inside
    corners = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    for _ in range(MAX_HALVINGS):
        cells = (cells[:, None] + corners * (half / 2)).view(-1, 3)
        half /= 2
        for cone in cones:
            cells = cells[cone.distance(cells, slack=cone.slack) <= half * math.sqrt(3) * 1.001]
        for cone, end in zip(cones, ends or (), strict=bool(ends)):
            cells = cells[(cells - cone.camera.center).norm(dim=-1) <= end + half * math.sqrt(3)]
        cells = cells[((cells - half <= box_high) & (cells + half >= box_low)).all(-1)]
        inside = cells[((cells <= box_high) & (cells >= box_low)).all(-1)]
        for cone, end in zip(cones, ends or (), strict=bool(ends)):
            inside = inside[(inside - cone.camera.center).norm(dim=-1) <= end]
        for cone in cones:
            inside = inside[cone.contains(inside)]
        if len(inside):
            low, high = torch.minimum(low, inside.amin(0)), torch.maximum(high, inside.amax(0))
        cells = cells[~((cells - half >= low) & (cells + half <= high)).all(-1)]
        found = bool((low <= high).all())
        if not len(cells):
            return torch.stack([low, high]) if found else None
        if (found and 2 * half * FINE <= float((high - low).max())) or len(cells) > MAX_CELLS:
            break
    if not found:
        return None
    box = torch.stack([torch.minimum(low, cells.amin(0) - half), torch.maximum(high, cells.amax(0) + half)])
    if within is not None:
        return torch.stack([torch.maximum(box[0], box_low), torch.minimum(box[1], box_high)])
    unbounded = ends is None and float((box - around.float()).abs().max()) >= 0.999 * whole
    return torch.full((2, 3), math.inf) if unbounded else box


def _crossing(cones: Sequence[ViewingCone]) -> Float[Tensor, " 3"]:
    """Return the point nearest to all rays through the masks' centers (least squares), float64."""
    normal, right = torch.zeros(3, 3).double(), torch.zeros(3).double()
    for cone in cones:
        origin, direction = cone.center_ray.origins[0].double(), cone.center_ray.directions[0].double()
        across = torch.eye(3).double() - direction[:, None] * direction
        normal, right = normal + across, right + across @ origin
    return torch.linalg.lstsq(normal + 1e-9 * torch.eye(3).double(), right[:, None]).solution[:, 0]


def ray_gap(one: Rays, two: Rays) -> float:
    """Return the smallest distance between two rays, each beginning at its origin (world units)."""
    (o1, d1), (o2, d2) = ((rays.origins[0].double(), rays.directions[0].double()) for rays in (one, two))
    away, cosine = o2 - o1, float(d1 @ d2)
    gaps = []
    sine2 = 1 - cosine * cosine
    if sine2 > 1e-12:
        t1 = float(away @ d1 - (away @ d2) * cosine) / sine2
        t2 = float((away @ d1) * cosine - away @ d2) / sine2
        if t1 >= 0 and t2 >= 0:
            gaps.append(float((away + t2 * d2 - t1 * d1).norm()))
    if not gaps:  # one of the two ends is nearest
        gaps.append(float((away - max(0.0, float(away @ d1)) * d1).norm()))
        gaps.append(float((-away - max(0.0, float(-away @ d2)) * d2).norm()))
    return min(gaps)


def why_empty(cones: Sequence[ViewingCone], names: Sequence[str]) -> str:
    """Return the message for a person whose masks have no point in common."""
    pairs = list(combinations(range(len(cones)), 2))
    apart = [pair for pair in pairs if len(cones) == 2 or find_bounds([cones[k] for k in pair]) is None]
    gaps = {pair: ray_gap(cones[pair[0]].center_ray, cones[pair[1]].center_ray) for pair in apart or pairs}
    (one, two), gap = max(gaps.items(), key=lambda item: item[1])
    between = (
        f"the rays through the centers of the masks for {names[one]} and {names[two]} pass {gap:.3g} apart"
    )
    advice = "check that they mark the same object, and that the photographs' poses are right"
    if apart:
        pair = f"the masks for {names[one]} and {names[two]} do not meet in space"
        return f"{pair}: {between} (world units); {advice}"
    return f"the masks have no point in common in space, though every two of them do: {between}; {advice}"


def _range(camera: Camera, bounds: Float[Tensor, "2 3"]) -> tuple[float, float]:
    """Return the smallest and the largest distance from a camera to a box."""
    center = camera.center.to(bounds)
    beyond = torch.maximum(bounds[0] - center, center - bounds[1])
    farthest = torch.maximum((bounds[0] - center).abs(), (bounds[1] - center).abs())
    return float(beyond.clamp_min(0).norm()), float(farthest.norm())
