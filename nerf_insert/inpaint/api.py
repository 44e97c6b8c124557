"""The contract between the edit loop and whatever paints the masked part of the views.

Subclass `Inpainter` and implement `inpaint`. Any other object with a callable `inpaint` works too:
`as_inpainter` adapts it. H and W are a view's height and width; images are sRGB in 0..1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.errors import InputError, RunError
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.inpaint.guide import Guide
from nerf_insert.lighting.kept_light import KeptLight
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.recipe import ShadowKind

RenderUse = Literal["full", "mask", "none"]


@dataclass(frozen=True, eq=False)
class InpaintView:
    """One view to be painted.

    Attributes:
        name: The photograph's file_path in the capture, e.g. "images/007.png".
        image: The photograph with the current render of the edited scene pasted inside the region.
        original: The photograph, with what the layers below have changed.
        mask: The pixels to paint. It is a little wider than the region.
        depth: Distance along each ray to the current scene, in world units; inf where there is nothing.
        camera: World coordinates, OpenGL axes.
    """

    name: str
    image: Float[Tensor, "H W 3"]
    original: Float[Tensor, "H W 3"]
    mask: Bool[Tensor, "H W"]
    depth: Float[Tensor, "H W"]
    camera: Camera


@dataclass(frozen=True, eq=False)
class EditContext:
    """What `Inpainter.prepare` is told about the edit.

    Attributes:
        stack: Everything below the layer that is being made; see `scene`. None where the edit runs on another
            machine than the inpainter.
        region: Where the edit is, in world coordinates.
        guide: What to paint.
        views: The capture's training views that show the region, at the size that is painted.
        seed: The random seed of the calls that follow.
        progress: Where to report long work.
        strength: The strength of the first round, in which the scene shows nothing of the edit yet; later
            rounds have less.
        shadow: The shade layer that is wanted.
        shadow_strength: Its strength.
        light: The light that an earlier edit of this place found; None: there is none.
    """

    stack: LayerStack | None
    region: Region
    guide: Guide
    views: tuple[View, ...]
    seed: int
    progress: Progress
    strength: float = 1.0
    shadow: ShadowKind = "none"
    shadow_strength: float = 1.0
    light: KeptLight | None = None

    @property
    def scene(self) -> LayerStack:
        """Everything below the layer that is being made.

        Raises:
            InputError: The scene is on another machine.
        """
        if self.stack is None:
            raise InputError(
                "this inpainter looks at the whole scene, which is on another machine: "
                "use it where the scene is"
            )
        return self.stack


class Inpainter(ABC):
    """Paints the masked part of a batch of views. One object paints all rounds of one process.

    Attributes:
        rounds: Rounds of painting and fitting, unless the recipe says otherwise (see editing/schedule.py).
        batch: Most views in one call; None: up to eight, and all anchor views in one call.
        consistent: Whether all views show one and the same 3D object; then the fit estimates no per-view
            corrections.
        view_dependent: Whether the painted object has highlights: the layer's colors may then depend on the
            viewing direction.
        blend_width: Width of the blend between layer and scene at the region's border, as a fraction of the
            region's diagonal.
        uses_render: Where `InpaintView.image` and `depth` are read: in the "full" image, inside the "mask"
            only, or nowhere ("none"). Elsewhere they need no rendering, and hold the photograph and inf.
        settled: Options that were left to the inpainter, by name, known after `check`. The layer's recipe
            keeps them; the edit is resumed and repeated with them.
        removes: Whether it takes away what is in the region; a shade layer then takes back its shadow.
        empties: Whether the region is left empty: nothing is fitted then, and no shadow taken back.
        shadow: The shade layer that an edit gets, unless the recipe says otherwise.
        shades: Whether `prepare` computes the shade layer, if one is wanted. If not, it is computed from the
            finished layer.
        shade: The shade layer that `prepare` has computed, which is put below the edit's own layer; None:
            the edit changes no light, as far as can be told.
        light_here: The light that `prepare` took for the scene's, which is kept for later edits; None: it
            looked for none.
    """

    rounds: int = 3
    batch: int | None = None
    consistent: bool = False
    view_dependent: bool = False
    blend_width: float = 0.03
    uses_render: RenderUse = "full"
    settled: Mapping[str, Any] = {}
    removes: bool = False
    empties: bool = False
    shadow: ShadowKind = "none"
    shades: bool = False
    shade: ShadeLayer | None = None
    light_here: KeptLight | None = None

    def check(self, guide: Guide) -> None:  # noqa: B027 (optional to implement)
        """Check the guide and the machine before any work is done.

        Raises:
            InputError: The guide cannot be used; the message says what to do.
        """

    def prepare(self, context: EditContext) -> None:  # noqa: B027 (optional to implement)
        """Prepare for painting.

        Called once per process, before the first `inpaint`; by a preview with several seeds, before it
        paints with each of them.

        Raises:
            InputError: The edit cannot be done; the message says what to do.
        """

    def distances(self, rays: Rays) -> Float[Tensor, " N"] | None:
        """Return where along pixels' rays the painted images show an opaque surface, where that is known.

        The layer is drawn to these places. Called after `prepare`.

        Args:
            rays: Through the centers of pixels of the views, world coordinates.

        Returns:
            Distances along the rays, world units, on the CPU; NaN where a pixel shows something else, too, or
            where it is not known. None: it is known nowhere.
        """
        return None

    @abstractmethod
    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[Float[Tensor, "_ _ 3"]]:
        """Paint each view where its mask is true.

        Args:
            views: The views of one call.
            guide: What to paint.
            strength: From 1, paint anew, towards 0, keep what `image` shows.
            seed: The random seed of this call.

        Returns:
            One float tensor [H, W, 3] in 0..1 (sRGB) per view, in order. Pixels outside the mask are
            ignored by the caller, which keeps the photograph there.

        Raises:
            InputError: Something that the user can fix.
        """


class AdaptedInpainter(Inpainter):
    """An object that has an `inpaint` method but is no subclass of `Inpainter`."""

    def __init__(self, wrapped: Any, name: str):
        self.wrapped, self.name = wrapped, name
        _read_attributes(wrapped, self, name)

    def check(self, guide: Guide) -> None:
        """Call the object's `check` if there is one, and read what it has decided."""
        if hasattr(self.wrapped, "check"):
            self.wrapped.check(guide)
            _read_attributes(self.wrapped, self, self.name)

    def prepare(self, context: EditContext) -> None:
        """Call the object's `prepare` if there is one."""
        if hasattr(self.wrapped, "prepare"):
            self.wrapped.prepare(context)
            _read_attributes(self.wrapped, self, self.name)

    def distances(self, rays: Rays) -> Any:
        """Call the object's `distances` if there is one; the caller checks what it returns."""
        return self.wrapped.distances(rays) if hasattr(self.wrapped, "distances") else None

    def inpaint(self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int) -> Any:
        """Call the object's `inpaint`; the caller checks what it returns."""
        return self.wrapped.inpaint(views, guide, strength=strength, seed=seed)


def as_inpainter(candidate: Any, name: str = "") -> Inpainter:
    """Return an `Inpainter` with valid attributes for any object that has an `inpaint` method.

    Args:
        candidate: An `Inpainter`, which is returned itself, or an object to adapt. Its attributes may have
            the names and values of version 0.1: `shell` for `blend_width`, `uses_render` True or False.
        name: What messages call it; the name of its class by default.

    Raises:
        RunError: An attribute has an impossible value.
    """
    name = name or type(candidate).__name__
    if not isinstance(candidate, Inpainter):
        return AdaptedInpainter(candidate, name)
    _read_attributes(candidate, candidate, name)
    return candidate


def _read_attributes(source: Any, target: Inpainter, name: str) -> None:
    """Set the target's attributes to the source's, in their present names and values. Raises RunError."""

    def number(key: str, kind: type, low: float, high: float) -> float:
        value = getattr(source, key)
        if isinstance(value, bool) or not isinstance(value, int | kind) or not low <= value <= high:
            what = "whole number" if kind is int else "number"
            raise RunError(
                f"the inpainter {name} has {key} = {value!r}: a {what} from {low} to {high} is needed"
            )
        return value

    if hasattr(source, "rounds"):
        target.rounds = int(number("rounds", int, 1, 1000))
    if getattr(source, "batch", None) is not None:
        target.batch = int(number("batch", int, 1, 10_000))
    for key in ("blend_width", "shell"):
        if hasattr(source, key):
            target.blend_width = number(key, float, 0, 0.5)
    for key in ("consistent", "view_dependent"):
        if hasattr(source, key):
            setattr(target, key, bool(getattr(source, key)))
    if hasattr(source, "uses_render"):
        uses = source.uses_render
        uses = ("full" if uses else "none") if isinstance(uses, bool) else uses
        if uses not in get_args(RenderUse):
            wanted = " or ".join(f'"{use}"' for use in get_args(RenderUse))
            raise RunError(f"the inpainter {name} has uses_render = {uses!r}: {wanted} is needed")
        target.uses_render = uses
    if hasattr(source, "settled"):
        target.settled = source.settled
