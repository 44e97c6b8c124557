"""Render a scene folder: one image, a folder of images or a video; cameras that circle the edit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nerf_insert.errors import InputError
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene

if TYPE_CHECKING:
    from nerf_insert.capture.camera_crop import Crop
    from nerf_insert.geometry.cameras import Camera
    from nerf_insert.rendering.crop import CroppedStack
    from nerf_insert.rendering.stack import LayerStack, Rendered

DEFAULT_FPS = 24.0
DEFAULT_SECONDS = 6.0  # of one turn of an orbit
MAX_ORBIT_SIDE = 1280  # pixels along the longer side of an orbit's images
MAX_PIXELS = 1 << 27  # of one image
Layers = bool | Sequence[int]


def layer_stack(scene: Scene, layers: Layers = True) -> LayerStack:
    """Load a scene's base and layers for rendering.

    Args:
        scene: The scene.
        layers: True: the enabled layers; False: none; or the numbers of layers, from 1 at the bottom, whether
            they are enabled or not.

    Raises:
        InputError: The scene has no layer of that number, or a file is damaged.
    """
    if isinstance(layers, bool):
        return scene.stack(with_layers=layers)
    from nerf_insert.rendering.stack import LayerStack

    chosen = sorted(set(layers))
    for number in chosen:
        if not 1 <= number <= len(scene.layers):
            raise InputError(f"{scene.folder} has no layer {number}: it has {len(scene.layers) or 'none'}")
    return LayerStack(scene.base, tuple(scene.load_layer(scene.layers[number - 1]) for number in chosen))


def render(scene: Scene | LayerStack, camera: Camera, *, layers: Layers = True) -> Rendered:
    """Render one image.

    To render many images, load the layers once with `layer_stack(scene)` and give that instead of the scene.

    Args:
        scene: A scene, or its loaded layers.
        camera: World coordinates; those of the photographs are `view.camera` in `scene.capture.views`.
        layers: Which layers to show, see `layer_stack`.

    Returns:
        `rgb` [H, W, 3], sRGB in 0..1; `accumulation` [H, W], the opacity; `depth` [H, W], the distance along
        each pixel's ray at which half of the light is stopped, in world units, inf where it never is.

    Raises:
        InputError: The scene has no such layer, or the image would be too large.

    Examples:
        >>> scene = Scene.open("my-scene")
        >>> image = render(scene, scene.capture.test[0].camera).rgb
    """
    check_image_sizes([("camera", camera)])
    stack = layer_stack(scene, layers) if isinstance(scene, Scene) else scene
    return stack.render_image(camera)


def render_path(
    scene: Scene,
    cameras: Iterable[Camera | tuple[str, Camera]],
    out: str | PathLike[str],
    *,
    layers: Layers = True,
    fps: float = DEFAULT_FPS,
    depth: bool = False,
    accumulation: bool = False,
    image_format: Literal["png", "jpg"] = "png",
    crop: Crop | None = None,
    progress: Progress = SILENT,
) -> list[Path]:
    """Render cameras to a video or to a folder of images.

    Args:
        scene: The scene.
        cameras: Cameras in world coordinates, or (name, camera) pairs. Names become file names; without them
            images are numbered 00000, 00001, ...
        out: A name that ends in .mp4 makes a video, all frames in the size of the first. Any other is a
            folder.
        layers: Which layers to show, see `layer_stack`.
        fps: Frames per second of a video.
        depth: Write depth as well, to OUT/depth as 16-bit PNG; OUT/depth/units.json has the unit.
        accumulation: Write opacity as well, to OUT/accumulation.
        image_format: Format of the images.
        crop: What to show alone, as `read_crop` finds it in a camera path.
        progress: Where progress and warnings go.

    Returns:
        The video, or the images in the order of the cameras.

    Raises:
        InputError: There are no cameras, an image would be too large, or `out` cannot be used.
        RunError: A file cannot be written.

    Examples:
        >>> render_path(scene, orbit_cameras(scene), "orbit.mp4")
        >>> render_path(scene, [(view.name, view.camera) for view in scene.capture.test], "renders")
    """
    from nerf_insert.rendering import outputs

    named = named_cameras(cameras)
    check_image_sizes(named)
    out = Path(out)
    as_video = out.suffix.lower() == ".mp4"
    if as_video and (depth or accumulation):
        raise InputError(f"depth and accumulation are written as images: {out} must be a folder")
    if not as_video and scene.capture_path:
        check_photographs_are_safe(scene, out, [name for name, _ in named], f".{image_format}")
    outputs.check_folder(out.parent if as_video else out)
    unit = outputs.depth_unit(1 / scene.base.scale) if depth else None
    shown = visible_stack(scene, layers, crop)
    if as_video:
        if len({(camera.width, camera.height) for _, camera in named}) > 1:
            progress.warn("the cameras differ in image size: all frames get the size of the first")
        outputs.render_video(shown, named, out, fps, progress)
        return [out]
    folder = outputs.ImageFolder(out, unit, accumulation, f".{image_format}")
    return outputs.render_images(shown, named, folder, progress)


def named_cameras(cameras: Iterable[Camera | tuple[str, Camera]]) -> list[tuple[str, Camera]]:
    """Give numbers to cameras without names.

    Raises:
        InputError: There are no cameras.
    """
    named = [
        camera if isinstance(camera, tuple) else (f"{index:05d}", camera)
        for index, camera in enumerate(cameras)
    ]
    if not named:
        raise InputError("there are no cameras to render")
    return named


def visible_stack(scene: Scene, layers: Layers, crop: Crop | None) -> LayerStack | CroppedStack:
    """Load a scene's layers, and show only the inside of a crop's box, if there is one."""
    stack = layer_stack(scene, layers)
    if crop is None:
        return stack
    from nerf_insert.regions import BoxRegion
    from nerf_insert.rendering.crop import CroppedStack

    return CroppedStack(stack, BoxRegion(crop.center, crop.size, crop.rotation), crop.background)


def orbit_cameras(
    scene: Scene,
    frames: int = round(DEFAULT_SECONDS * DEFAULT_FPS),
    *,
    target: Sequence[float] | None = None,
    radius: float | None = None,
    elevation: float | None = None,
    max_side: int | None = MAX_ORBIT_SIDE,
) -> list[Camera]:
    """Return cameras that circle a target once; a video of them loops.

    Args:
        scene: The scene; its capture gives the lens, the up direction and the defaults.
        frames: Number of cameras.
        target: What to circle, world coordinates. Default: the topmost layer's region, or what the
            photographs look at.
        radius: Distance from the target, world units. Default: the photographs' mean.
        elevation: Degrees above the target. Default: the photographs' mean.
        max_side: Most pixels along the longer side of the images.
    """
    from nerf_insert.capture import camera_paths

    if target is not None:
        center = scene.capture.inside([float(value) for value in target])
    elif objects := [entry for entry in scene.layers if entry.shade_of is None]:
        center = scene.load_layer(objects[-1]).region.bounds.mean(0)
    else:
        center = None
    return camera_paths.orbit_cameras(
        scene.capture, frames, target=center, radius=radius, elevation_degrees=elevation, max_side=max_side
    )


def check_image_sizes(cameras: Iterable[tuple[str, Camera]]) -> None:
    """Check that the images fit into memory.

    Raises:
        InputError: An image has more than MAX_PIXELS; the message names its camera.
    """
    for name, camera in cameras:
        if camera.width * camera.height > MAX_PIXELS:
            raise InputError(
                f"the image of camera {name} would be {camera.width}x{camera.height} pixels large, more than "
                f"the {MAX_PIXELS:,} that can be rendered: give a smaller --scale"
            )


def check_photographs_are_safe(scene: Scene, out: Path, names: Iterable[str], suffix: str) -> None:
    """Check that no image would be written over a photograph or mask of the scene's capture.

    Raises:
        InputError: One would.
    """
    from nerf_insert.rendering.outputs import file_stems

    files = ((view.path, view.mask_path) for view in scene.capture.views)
    protected = {path.resolve() for pair in files for path in pair if path}
    for stem in file_stems(names):
        file = (out / f"{stem}{suffix}").resolve()
        if file in protected:
            raise InputError(
                f"--out {out} would overwrite {file}, a part of the capture: choose another folder"
            )
