"""The splats of an open scene as the page's 3D view draws them while it moves, with switches for its layers.

Every layer has a bit of the words that `web_splats` packs, so that layers are switched in the browser. What
a layer does to the splats below it is folded in from the bottom to the top: those that its region takes away
are hidden by its bit, their parts outside and what the layer shows need it, and so do copies in the colors of
a shade layer. Layers' splats are not fitted: where the view rests, the scene's own render takes their place.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from nerf_insert.app.orbit_view import FOV, scene_radius, scene_up
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.export.splat_base import divide, shaded_colors
from nerf_insert.export.splat_layers import splats_of_layer
from nerf_insert.export.web_splats import pack_splats
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.scene.renders import layer_stack
from nerf_insert.scene.scene import LayerEntry, Scene
from nerf_insert.splats.splats import Splats

MAX_LAYERS = 16  # bits
VIEWS, PIXELS, MOST = 12, 4000, 20_000  # for a layer's splats: images, pixels of each, splats


class Packed(NamedTuple):
    """Splats for the viewer.

    Attributes:
        key: Tells whether a browser has them already.
        about: What the viewer has to know of them.
        orbit: What it has to know of the 3D view's orbits.
        parts: The splats, base64 of parts that can be decoded one by one.
    """

    key: str
    about: dict[str, Any]
    orbit: dict[str, Any]
    parts: list[str]


class Pool(NamedTuple):
    """N splats that some layers show and others hide.

    Attributes:
        splats: World coordinates.
        antialiased: Which were trained with the opacity compensation of Mip-Splatting.
        needed: Bits of the layers that have to be shown.
        hiding: Bits of the layers that hide them.
    """

    splats: Splats
    antialiased: Bool[Tensor, " N"]
    needed: Int64[Tensor, " N"]
    hiding: Int64[Tensor, " N"]

    def part(self, index: Int64[Tensor, " M"], splats: Splats, needed: int) -> Pool:
        """Return others in the place of the splats `index`, which also need the layers of these bits."""
        return Pool(splats, self.antialiased[index], self.needed[index] | needed, self.hiding[index])

    def hidden_by(self, bit: int, which: Bool[Tensor, " N"]) -> Pool:
        """Return the pool with some splats hidden by a layer."""
        return self._replace(hiding=torch.where(which, self.hiding | bit, self.hiding))

    def joined(self, other: Pool) -> Pool:
        """Return the splats of both."""
        rest = (torch.cat(pair) for pair in zip(self[1:], other[1:], strict=True))
        return Pool(Splats.joined([self.splats, other.splats]), *rest)


class LiveSplats:
    """The packed splats of one open scene, made when they are first asked for and after its layers changed.

    Attributes:
        latest: Those that were made last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.latest: Packed | None = None
        self._shown: dict[str, Splats | None] = {}  # what each layer shows, by its folder

    def of(self, open_scene: OpenScene) -> Packed | None:
        """Return the scene's splats; None if its base has none or there are too many layers."""
        scene = open_scene.scene
        if not isinstance(scene.base, SplatField) or len(scene.layers) > MAX_LAYERS:
            return None
        key = _key(open_scene, scene)
        with self._lock:  # for the second browser that asks, they are then there
            if self.latest is None or self.latest.key != key:
                self.latest = self._pack(open_scene, scene, scene.base, key)
            return self.latest

    def _pack(self, open_scene: OpenScene, scene: Scene, base: SplatField, key: str) -> Packed:
        none = torch.zeros(base.splats.count, dtype=torch.int64)
        pool = Pool(base.splats, torch.full_like(none, base.antialiased, dtype=torch.bool), none, none)
        for number, entry in enumerate(scene.layers):
            pool = self._with_layer(scene, pool, number, entry)
        words = pool.needed | pool.hiding << MAX_LAYERS
        packed = pack_splats(pool.splats, base.background, pool.antialiased, words)
        orbit = {
            "up": scene_up(open_scene).tolist(),
            "target": open_scene.capture.center_of_attention.tolist(),
            "radius": scene_radius(open_scene),
            "fov": FOV,
        }
        return Packed(key, packed.about, orbit, [base64.b64encode(p).decode() for p in packed.deflated()])

    def _with_layer(self, scene: Scene, pool: Pool, number: int, entry: LayerEntry) -> Pool:
        layer, bit = scene.load_layer(entry), 1 << number
        if isinstance(layer, ShadeLayer):
            changed, sh = shaded_colors(pool.splats, [layer])
            index = changed.nonzero()[:, 0]
            darker = pool.part(index, pool.splats[index].with_colors(sh[index]), bit)
            return pool.hidden_by(bit, changed).joined(darker)
        division = divide(pool.splats, [layer.region])
        pieces = pool.part(division.cut, division.parts, bit)
        below = pool.hidden_by(bit, ~division.kept).joined(pieces)
        shown = self._layer_splats(scene, number, entry)
        if shown is None:
            return below
        none = torch.zeros(shown.count, dtype=torch.int64)
        return below.joined(Pool(shown, none.bool(), none | bit, none))

    def _layer_splats(self, scene: Scene, number: int, entry: LayerEntry) -> Splats | None:
        """Return what a layer shows in its region; None: nothing."""
        if entry.folder not in self._shown:
            stack = layer_stack(scene, [number + 1])
            region = stack.fields[0][1].region
            self._shown[entry.folder] = splats_of_layer(
                stack, region, (), scene.capture, MOST, 0, views=VIEWS, pixels=PIXELS
            )
        return self._shown[entry.folder]


def shown_layers(scene: Scene) -> int:
    """Return the bits of the layers that are shown."""
    return sum(1 << number for number, entry in enumerate(scene.layers) if scene.is_shown(entry))


def _key(open_scene: OpenScene, scene: Scene) -> str:
    layers = [(entry.folder, entry.shade_of, entry.strength) for entry in scene.layers]
    return hashlib.sha256(repr((open_scene.stamp, layers)).encode()).hexdigest()[:16]
