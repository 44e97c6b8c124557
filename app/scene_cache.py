"""Open scenes, shared by all browsers that look at them: photographs, the renders of small pictures.

Nothing here is changed by a browser; what is on disk decides, and is read again when it has changed.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from nerf_insert.app import image_sandbox
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.capture.capture import Capture, View
from nerf_insert.errors import InputError
from nerf_insert.io.images import to_uint8
from nerf_insert.regions.checks import small_camera
from nerf_insert.regions.region import Region
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.scene import Scene

KEPT = 3  # scenes
THUMBNAIL = 176  # pixels of a thumbnail's width
PICTURE = 1280  # ... and of a photograph on the stage, at most

# Renders of several browsers at once would only share the cores: one after the other each is quicker.
RENDERING = threading.Lock()


class OpenScene:
    def __init__(self, place: SceneLocation) -> None:
        self.place = place
        self.lock = threading.RLock()
        self._scene: Scene | None = None
        self._stack: LayerStack | None = None
        self._seen: object = None  # the scene.json that the stack was made from
        self._photographs: OrderedDict[tuple[str, int], str] = OrderedDict()
        self.regions: OrderedDict[str, Region] = OrderedDict()
        self.depths: dict[str, Float[Tensor, "h w"]] = {}  # of small pictures, by the view's name

    @cached_property
    def capture(self) -> Capture:
        if self.place.trained:
            return self.scene.capture
        path = self.place.capture_path
        if path is None:
            raise InputError(f"{self.place.title} is neither a scene nor a capture any more")
        return Capture.load(path)

    @property
    def scene(self) -> Scene:
        """The scene as it is on disk now; the capture and the base are read once."""
        with self.lock:
            if not self.place.trained:
                raise InputError("This capture has no 3D scene yet: build it first (step Open).")
            self._scene = self._scene.reload() if self._scene else Scene.open(self.place.folder)
            return self._scene

    def stack(self) -> LayerStack:
        """The base and the enabled layers."""
        with self.lock:
            scene = self.scene
            state = tuple((entry.folder, entry.enabled) for entry in scene.layers)
            if self._stack is None or state != self._seen:
                self._stack, self._seen = scene.stack(), state
                self.depths.clear()
            return self._stack

    def depth(self, view: View) -> Float[Tensor, "h w"]:
        """The distance at which the scene becomes opaque, for the small picture of a view."""
        stack, known = self.stack(), self.depths
        if view.name not in known:
            with RENDERING:
                known[view.name] = stack.render_image(small_camera(view.camera)).depth
        return known[view.name]

    def photograph(self, view: View, width: int = PICTURE) -> str:
        """A JPEG as a data URL, at most `width` wide."""
        key = (view.name, width)
        with self.lock:
            if key in self._photographs:
                self._photographs.move_to_end(key)
                return self._photographs[key]
        own_width, own_height = view.size
        shown = min(width, own_width)
        url = image_sandbox.photograph(view, (shown, max(1, round(own_height * shown / own_width))))
        with self.lock:
            self._photographs[key] = url
            while len(self._photographs) > 600:
                self._photographs.popitem(last=False)
        return url


class SceneCache:
    """The scenes that were opened last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, OpenScene] = OrderedDict()

    def get(self, place: SceneLocation) -> OpenScene:
        with self._lock:
            opened = self._open.get(place.folder)
            if opened is None or opened.place.trained != place.trained:
                opened = None
            if opened is None:
                opened = self._open[place.folder] = OpenScene(place)
            self._open.move_to_end(place.folder)
            while len(self._open) > KEPT:
                self._open.popitem(last=False)
            return opened


def data_url(picture: Float[Tensor, "H W *C"], quality: int = 88) -> str:
    """A picture as a JPEG, or with four channels as a PNG, in a data URL."""
    array = to_uint8(picture).cpu().numpy()
    return array_url(array, quality)


def array_url(array: np.ndarray, quality: int = 88) -> str:
    buffer = io.BytesIO()
    if array.shape[-1] == 4:
        Image.fromarray(array).save(buffer, "PNG", compress_level=3)
        kind = "png"
    else:
        Image.fromarray(array).save(buffer, "JPEG", quality=quality)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
