"""Regions as a recipe describes them: small immutable trees of plain values and file names.

    points: {images/004.jpg: [[812, 455], ...]}  the thing at these pixels of photographs
    masks: {images/003.png: mask.png, ...}      the visual hull of masks drawn on photographs
    heal: {images/003.png: stroke.png, ...}     the surface under strokes of a few pixels
    mesh: object.glb, pose: [[...]], dilate: d  a solid and everything within d of it
    box: {center: [x, y, z], size: [x, y, z], rotation: [degrees about x, y, z]}
    union: [region, ...]   intersection: [region, ...]   dilate: {region: ..., by: d}

A spec opens no file until `build` is called, and this module imports no torch. Lengths and positions are in
world units and world coordinates (those of the capture's transforms.json).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol, runtime_checkable

from msgspec import Meta

from nerf_insert.errors import InputError
from nerf_insert.geometry.up_axis import UpAxis, settled_up_axis, upright
from nerf_insert.io import schema
from nerf_insert.io.schema import LARGEST, Number

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from nerf_insert.capture.capture import Capture, View
    from nerf_insert.geometry.pose import Pose
    from nerf_insert.regions.region import Region
    from nerf_insert.regions.visual_hull import VisualHull

DILATION = 0.08  # default dilation of a mesh, as a fraction of the diagonal of its bounding box

Distance = Annotated[int | float, Meta(ge=0, le=LARGEST)]
Length = Annotated[int | float, Meta(gt=0, le=LARGEST)]
Pixel = Annotated[tuple[Number, Number], Meta(description="a pixel: a list of two numbers, x and y")]
Pixels = Annotated[list[Pixel], Meta(min_length=1, description="a list of pixels [x, y], at least one")]
Row = Annotated[list[Number], Meta(min_length=4, max_length=4, description="a list of 4 numbers")]
Matrix = Annotated[
    list[Row], Meta(min_length=4, max_length=4, description="a matrix of four rows of four numbers")
]


@runtime_checkable
class Selector(Protocol):
    """Finds things in a trained scene; `nerf_insert.selection.Selector` is one."""

    def select(self, points: Points) -> Region:
        """Return the region of the thing that was clicked."""
        ...

    def complete(self, hull: VisualHull) -> Region:
        """Return the hull of drawn masks, with what it cuts off of the thing that they meant."""
        ...

    def depth_box(self, view: View, mask: Tensor) -> Float[Tensor, "2 3"]:
        """Return a box that holds the thing that one mask shows."""
        ...

    def under_stroke(self, view: View, mask: Tensor) -> Region:
        """Return the surface that a stroke of a few pixels covers."""
        ...


class RegionSpec(schema.Checked, ABC):
    """A region as plain data: `Points`, `Masks`, `Heal`, `Mesh`, `Box`, `Union`, `Intersection` or `Dilate`.

    Combine specs with `a | b`, `a & b` and `a.dilated(by)`.
    """

    keyword: ClassVar[str]  # the key that names this kind in plain data
    nested: ClassVar[bool] = False  # whether the fields are a mapping below that key, or keys beside it

    @staticmethod
    def parse(data: Any, where: str = "region") -> RegionSpec:
        """Return the region that plain data describes (see this module's docstring for the form).

        Raises:
            InputError: The data has another form; the message names the key, beginning with `where`.
        """
        if isinstance(data, RegionSpec):
            return data
        data = schema.mapping(data, where)
        found = [kind for kind in KINDS if kind.keyword in data and not (kind is Dilate and "mesh" in data)]
        if len(found) != 1:
            names = ", ".join(kind.keyword for kind in KINDS)
            raise InputError(f"{where} needs exactly one of {names}; it has {[*data]}")
        kind = found[0]
        if not kind.nested:
            return schema.parse_fields(data, kind, where)
        schema.check_keys(data, [kind.keyword], where)
        return schema.parse_fields(data[kind.keyword], kind, f"{where}.{kind.keyword}")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `parse` reads back; fields that are None are left out."""
        values = {name: schema.to_plain(value) for name, value in vars(self).items() if value is not None}
        return {self.keyword: values} if self.nested else values

    def files(self) -> list[str]:
        """Return the names of all files that the region is made of."""
        names: list[str] = []
        self.map_files(lambda name: names.append(name) or name)
        return names

    @abstractmethod
    def map_files(self, change: Callable[[str], str]) -> RegionSpec:
        """Return a copy with every file name changed."""

    @abstractmethod
    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Read the files and return the region in world coordinates.

        Args:
            capture: Provides the cameras of the photographs that masks are drawn on.
            selector: Finds what was clicked; regions without clicks need none.

        Raises:
            InputError: A file cannot be used, or the region is empty.
        """

    def dilated(self, by: float) -> Dilate:
        """Return everything within `by` (world units) of this region."""
        return Dilate(self, by)

    def __or__(self, other: RegionSpec) -> Union:
        return Union((*_parts(self, Union), *_parts(other, Union)))

    def __and__(self, other: RegionSpec) -> Intersection:
        return Intersection((*_parts(self, Intersection), *_parts(other, Intersection)))


@dataclass(frozen=True)
class Points(RegionSpec):
    """The thing that was clicked.

    Attributes:
        points: Pixels of it, by the photograph's name in the capture: (x, y) in the photograph as it is
            stored, from its top left corner.
        not_points: Pixels of what does not belong to it, likewise.
    """

    keyword = "points"
    points: dict[str, Pixels]
    not_points: dict[str, Pixels] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.points:
            raise InputError("points needs at least one photograph with a pixel of the thing")

    def map_files(self, change: Callable[[str], str]) -> Points:
        """Return the points themselves: they have no files."""
        return self

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Find the thing in the scene."""
        if selector is None:
            raise InputError("points can be used with a trained scene only: its depth says what was clicked")
        return selector.select(self)


@dataclass(frozen=True)
class Masks(RegionSpec):
    """The visual hull of masks drawn on photographs.

    Attributes:
        masks: The mask's file for each photograph, by its name in the capture; white is inside.
        exact: Whether the region is the masks' exact visual hull. If not, and the edit removes a thing that
            the hull cuts through, the region is widened to hold all of it.
    """

    keyword = "masks"
    masks: dict[str, str]
    exact: bool | None = None

    def map_files(self, change: Callable[[str], str]) -> Masks:
        """Return a copy with the name of every mask changed; photographs keep theirs."""
        return replace(self, masks={view: change(file) for view, file in self.masks.items()})

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Read the masks and carve their visual hull."""
        from nerf_insert.regions.drawn_masks import drawn_mask, hull_of_masks

        within = None
        if len(self.masks) == 1 and selector is not None:
            ((name, file),) = self.masks.items()
            view = capture.view(name)
            within = selector.depth_box(view, drawn_mask(view, file)[1])
        hull = hull_of_masks(self.masks, capture, within)
        return hull if self.exact or selector is None else selector.complete(hull)


@dataclass(frozen=True)
class Heal(RegionSpec):
    """The surface under strokes of a few pixels: a scratch, a tag, a cable, a scrap that hangs in the air.

    Attributes:
        heal: The stroke's file for each photograph, by its name in the capture; white is the stroke.
    """

    keyword = "heal"
    heal: dict[str, str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.heal:
            raise InputError("heal needs at least one photograph with a stroke")

    def map_files(self, change: Callable[[str], str]) -> Heal:
        """Return a copy with the name of every stroke's file changed; photographs keep theirs."""
        return Heal({view: change(file) for view, file in self.heal.items()})

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Read the strokes and find the surface under them."""
        from nerf_insert.regions.csg import UnionRegion
        from nerf_insert.regions.drawn_masks import drawn_mask

        if selector is None:
            raise InputError("heal can be used with a trained scene only: its depth says what was painted on")
        views = {name: capture.view(name) for name in self.heal}
        parts = [selector.under_stroke(views[n], drawn_mask(views[n], f)[1]) for n, f in self.heal.items()]
        return parts[0] if len(parts) == 1 else UnionRegion(parts)


@dataclass(frozen=True)
class Mesh(RegionSpec):
    """The inside of a mesh and everything near it.

    Attributes:
        mesh: A GLB, glTF, OBJ, PLY or STL file.
        pose: The 4x4 matrix from the mesh's coordinates to the world's; None: they are the same.
        up_axis: The axis of the file that is turned to the scene's up before the pose; "none": its axes stay
            as they are. Default: y for GLB and glTF, none for others. Recipe files without it, which are
            older than it, mean none.
        dilate: The distance (world units) around the mesh that belongs to the region; None: 8 % of the
            diagonal of its bounding box.
    """

    keyword = "mesh"
    mesh: str
    pose: Matrix | None = None
    dilate: Distance | None = None
    up_axis: UpAxis | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "up_axis", settled_up_axis(self.mesh, self.up_axis))

    def map_files(self, change: Callable[[str], str]) -> Mesh:
        """Return a copy with the name of the mesh's file changed."""
        return replace(self, mesh=change(self.mesh))

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Read the mesh, place it in the world and dilate it."""
        from nerf_insert.geometry.mesh_reader import load_mesh
        from nerf_insert.regions.mesh_region import MeshRegion

        mesh = load_mesh(self.mesh, load_pose(self.pose, capture.origin, self.up_axis, capture.up))
        diagonal = float((mesh.bounds[1] - mesh.bounds[0]).norm())
        return MeshRegion(mesh, dilate=DILATION * diagonal if self.dilate is None else float(self.dilate))


@dataclass(frozen=True)
class Box(RegionSpec):
    """An oriented box.

    Attributes:
        center: World coordinates.
        size: The full side lengths, world units.
        rotation: Degrees about the fixed x, then y, then z axis; None: along the world's axes.
    """

    keyword = "box"
    nested = True
    center: tuple[Number, Number, Number]
    size: tuple[Length, Length, Length]
    rotation: tuple[Number, Number, Number] | None = None

    def map_files(self, change: Callable[[str], str]) -> Box:
        """Return the box itself: it has no files."""
        return self

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Return the box, relative to the capture's origin."""
        from nerf_insert.regions.box import BoxRegion

        return BoxRegion(capture.inside(self.center), self.size, self.rotation)


Parts = Annotated[tuple[RegionSpec, ...], Meta(min_length=1, description="a list of regions, at least one")]


@dataclass(frozen=True)
class Union(RegionSpec):
    """Everything that lies in any of the regions."""

    keyword = "union"
    union: Parts

    def map_files(self, change: Callable[[str], str]) -> Union:
        """Return a copy with the file names in all parts changed."""
        return Union(tuple(part.map_files(change) for part in self.union))

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Build the parts and return their union."""
        from nerf_insert.regions.csg import UnionRegion

        return UnionRegion([part.build(capture, selector) for part in self.union])


@dataclass(frozen=True)
class Intersection(RegionSpec):
    """What lies in all of the regions."""

    keyword = "intersection"
    intersection: Parts

    def map_files(self, change: Callable[[str], str]) -> Intersection:
        """Return a copy with the file names in all parts changed."""
        return Intersection(tuple(part.map_files(change) for part in self.intersection))

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Build the parts and return their intersection; the others bound the hull of masks."""
        from nerf_insert.regions.csg import IntersectionRegion
        from nerf_insert.regions.drawn_masks import hull_of_masks

        built: dict[int, Region] = {
            k: part.build(capture, selector)
            for k, part in enumerate(self.intersection)
            if not isinstance(part, Masks)
        }
        within = IntersectionRegion([*built.values()]).bounds if built else None
        for k, part in enumerate(self.intersection):
            if isinstance(part, Masks):
                built[k] = hull_of_masks(part.masks, capture, within)
        return IntersectionRegion([built[k] for k in sorted(built)])


@dataclass(frozen=True)
class Dilate(RegionSpec):
    """Everything within a distance `by` (world units) of a region."""

    keyword = "dilate"
    nested = True
    region: RegionSpec
    by: Distance

    def map_files(self, change: Callable[[str], str]) -> Dilate:
        """Return a copy with the file names in the inner region changed."""
        return Dilate(self.region.map_files(change), self.by)

    def build(self, capture: Capture, selector: Selector | None = None) -> Region:
        """Build the inner region and dilate it."""
        from nerf_insert.regions.csg import DilatedRegion

        return DilatedRegion(self.region.build(capture, selector), float(self.by))


KINDS: tuple[type[RegionSpec], ...] = (Points, Masks, Heal, Mesh, Box, Union, Intersection, Dilate)


def load_pose(
    matrix: Matrix | None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    up_axis: UpAxis | None = None,
    up: Float[Tensor, " 3"] | None = None,
) -> Pose | None:
    """Return the pose from a mesh file's coordinates to the world's; None where they are the same.

    Args:
        matrix: What comes after the file has been turned upright; None: the identity.
        origin: The capture's, which the mesh is placed relative to.
        up_axis: The file's axis that is turned to the scene's up; None: none.
        up: The scene's up direction, world coordinates.

    Raises:
        InputError: The matrix is no affine map, or is singular.
    """
    import torch

    from nerf_insert.geometry.pose import Pose

    if matrix is None and not any(origin) and up_axis is None:
        return None
    pose = Pose() if matrix is None else Pose(torch.tensor(matrix, dtype=torch.float64))
    shift = torch.zeros(4, 4, dtype=torch.float64)
    shift[:3, 3] = torch.tensor(origin, dtype=torch.float64)
    turn = torch.eye(4, dtype=torch.float64) if up is None else upright(up_axis, up)
    return Pose(pose.matrix @ turn - shift)


def _parts(region: RegionSpec, kind: type[Union] | type[Intersection]) -> tuple[RegionSpec, ...]:
    """Return the parts of a region of that kind, so that chains of operators stay flat."""
    return getattr(region, kind.keyword) if isinstance(region, kind) else (region,)
