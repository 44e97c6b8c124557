"""Open scenes, shared by all browsers: photographs, depths, regions, and the layer stack.

Browsers change nothing here: everything follows from what is on disk and is read again when that changes.
"""

from __future__ import annotations

import base64
import io
import threading
from collections import OrderedDict
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
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
from nerf_insert.selection.selector import Selector

MAX_SCENES = 3
MAX_PHOTOGRAPHS = 600  # JPEGs kept per scene
PHOTOGRAPH_WIDTH = 1280  # pixels, at most, of a photograph on the stage
JPEG_QUALITY = 88

# Renders for several browsers at once would only share the cores: one after the other, each is quicker.
RENDER_LOCK = threading.Lock()


class OpenScene:
    """A scene, or a capture without a scene yet, with what was computed for it.

    Attributes:
        location: The scene folder.
        lock: Guards the caches.
        regions: Regions built most recently, by their description.
        depths: Opaque depth in world units of the small image of a view, by the view's name.
    """

    def __init__(self, location: SceneLocation) -> None:
        self.location = location
        self.stamp = _stamp(location)
        self.lock = threading.RLock()
        self.regions: OrderedDict[str, Region] = OrderedDict()
        self.depths: dict[str, Float[Tensor, "_ _"]] = {}
        self._scene: Scene | None = None
        self._stack: LayerStack | None = None
        self._selector: Selector | None = None
        self._stack_layers: object = None  # the layers that the stack was made from
        self._photographs: OrderedDict[tuple[str, int], str] = OrderedDict()

    @cached_property
    def capture(self) -> Capture:
        """The capture, also before the scene is trained.

        Raises:
            InputError: The scene and the capture are gone, or the capture cannot be read.
        """
        if self.location.trained:
            return self.scene.capture
        path = self.location.capture_path
        if self.location.pending:
            raise InputError("The camera positions of this scene are not found yet: see step Open.")
        if path is None:
            raise InputError(f"{self.location.title} is no longer a scene or a capture")
        return Capture.load(path)

    @property
    def scene(self) -> Scene:
        """The scene as it is on disk now; the capture and the base are read once.

        Raises:
            InputError: The scene is not trained yet, or cannot be read.
        """
        with self.lock:
            if not self.location.trained:
                raise InputError("This capture has no 3D scene yet: build it first (step Open).")
            self._scene = self._scene.reload() if self._scene else Scene.open(self.location.folder)
            return self._scene

    def stack(self) -> LayerStack:
        """Return the base and the enabled layers, rebuilt when the layers on disk have changed.

        Raises:
            InputError: The scene is not trained yet, or cannot be read.
        """
        with self.lock:
            scene = self.scene
            layers = tuple(scene.layers)
            if self._stack is None or layers != self._stack_layers:
                self._stack, self._stack_layers = scene.stack(), layers
                self.depths.clear()
            return self._stack

    def selector(self) -> Selector | None:
        """Return what finds things by clicks, and keeps the depth that it needs; None without a base."""
        if not self.location.trained:
            return None
        stack = self.stack()
        with self.lock:
            if self._selector is None or self._selector.scene is not stack:
                self._selector = Selector(stack, self.capture)
            return self._selector

    def depth(self, view: View) -> Float[Tensor, "h w"]:
        """Return the depth along each ray, in world units, of the opaque surface in a view's small image."""
        stack, depths = self.stack(), self.depths
        if view.name not in depths:
            with RENDER_LOCK:
                depths[view.name] = stack.render_image(small_camera(view.camera)).depth
        return depths[view.name]

    def photograph(self, view: View, width: int = PHOTOGRAPH_WIDTH) -> str:
        """Return a photograph, at most `width` pixels wide, as a JPEG data URL.

        Raises:
            InputError: The file cannot be read.
        """
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
            while len(self._photographs) > MAX_PHOTOGRAPHS:
                self._photographs.popitem(last=False)
        return url


class SceneCache:
    """The scenes that were used most recently."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scenes: OrderedDict[Path, OpenScene] = OrderedDict()

    def get(self, location: SceneLocation) -> OpenScene:
        """Return the open scene of a folder, opened anew once the scene has been trained."""
        with self._lock:
            open_scene = self._scenes.get(location.folder)
            if open_scene is None or open_scene.stamp != _stamp(location):
                open_scene = self._scenes[location.folder] = OpenScene(location)
            self._scenes.move_to_end(location.folder)
            while len(self._scenes) > MAX_SCENES:
                self._scenes.popitem(last=False)
            return open_scene


def _stamp(location: SceneLocation) -> tuple[bool, int]:
    """What makes a scene another one: it has been trained, or the cameras of its capture have been moved."""
    capture = location.capture_path if location.source is not None else None
    file = capture / "transforms.json" if capture is not None else None
    moved = file.stat().st_mtime_ns if file is not None and file.exists() else 0
    return location.trained, moved


def image_data_url(image: Float[Tensor, "H W C"]) -> str:
    """Encode an image in 0..1 as a data URL: JPEG with three channels, PNG with four."""
    return array_data_url(to_uint8(image).cpu().numpy())


def array_data_url(array: UInt8[np.ndarray, "H W C"]) -> str:
    """Encode an image as a data URL: JPEG with three channels, PNG with four."""
    buffer = io.BytesIO()
    if array.shape[-1] == 4:
        Image.fromarray(array).save(buffer, "PNG", compress_level=3)
        kind = "png"
    else:
        Image.fromarray(array).save(buffer, "JPEG", quality=JPEG_QUALITY)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
