"""Make a scene folder from a splat file.

The file is copied to base/, so that an export can write its splats again byte for byte. Without photographs,
cameras are placed around the content, and the splats' own renders stand for photographs, in capture/.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nerf_insert.errors import InputError, warnings_to
from nerf_insert.io.files import replacing, write_json
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene, check_free, lock_scene

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from nerf_insert.capture.capture import Capture
    from nerf_insert.fields.splat_field import SplatField
    from nerf_insert.geometry.cameras import Camera
    from nerf_insert.splats.splats import Splats

SOURCE = "splats"  # name of the copied file in base/, before its suffix
NOTE = "rendered.json"  # in the folder of such renders: of which file they are
UP = (0.0, -1.0, 0.0)  # of formats that do not define it: most files point down along +y
SOLID = 0.3  # opacity from which a splat counts as content
MIN_CAMERAS = 3


def adopt_splats(
    file: str | Path,
    out: str | Path,
    *,
    capture: str | Path | None = None,
    cameras: str | Path | None = None,
    up: Sequence[float] | None = None,
    background: Sequence[float] = (0.0, 0.0, 0.0),
    antialiased: bool | None = None,
    dataparser: str | None = None,
    downscale: float | None = None,
    progress: Progress = SILENT,
) -> Scene:
    """Make a scene whose base are the splats of a file.

    Args:
        file: A .ply, .splat, .spz or .sog file.
        out: The scene folder to make. It must not hold a scene yet.
        capture: Photographs whose cameras are in the splats' coordinates: a capture, or a zip of one.
        cameras: Without photographs: a transforms.json or a camera path; the splats' renders from there stand
            for photographs. Without both, cameras are placed around the content.
        up: Points up in the splats' coordinates, for cameras that are placed. Default: +y for .spz, else -y.
        background: Color behind the splats, sRGB in 0..1.
        antialiased: Whether the splats were trained with the opacity compensation of Mip-Splatting. Default:
            as the file says, if it is .spz; else not.
        dataparser: Name of a nerfstudio dataparser for `capture`.
        downscale: Read the capture's photographs this many times smaller.
        progress: Where progress and warnings go.

    Returns:
        The new scene, with no layers.

    Raises:
        InputError: The file, the capture or the cameras cannot be used, or `out` holds something else.
        RunError: A file cannot be written.
    """
    from nerf_insert.capture.capture import Capture
    from nerf_insert.fields.splat_field import SplatField
    from nerf_insert.reconstruction.zipped_capture import is_zip, unpack_capture
    from nerf_insert.rendering.outputs import check_folder
    from nerf_insert.splats.files import SPZ_UP, kind_of, read_splats, says_antialiased
    from nerf_insert.splats.splats import Splats

    file, out = Path(file), Path(out)
    check_free(out)
    if capture is not None and cameras is not None:
        raise InputError("give either a capture or cameras: a capture has its own cameras")
    renders = out / "capture"
    if capture is None and renders.exists() and not (renders / NOTE).exists():
        raise InputError(f"{renders} holds something else than renders of splats: choose another --out")
    kind = kind_of(file)
    splats, warnings = read_splats(file)
    if antialiased is None:
        antialiased = says_antialiased(file)
    found = None
    if capture is not None:
        if is_zip(Path(capture)):
            with lock_scene(out), warnings_to(progress.warn):
                capture = unpack_capture(Path(capture), out / "capture")
        found = Capture.load(capture, dataparser=dataparser, downscale=downscale)
        warnings += found.warnings
    for warning in warnings:
        progress.warn(warning)
    check_folder(out)
    color = torch.tensor([float(value) for value in background])
    with lock_scene(out):
        check_free(out)
        field = SplatField(splats, 1.0, color, antialiased)
        if found is None:
            direction = torch.tensor([float(v) for v in up or (SPZ_UP if kind == "spz" else UP)])
            named = _cameras(field, cameras, direction)
            write_json(renders / NOTE, {"file": file.name})
            found = _write_capture(field, named, renders, progress)
        if any(found.origin):  # far from zero, the scene has coordinates of its own
            origin = torch.tensor(found.origin, dtype=torch.float64)
            splats = Splats((splats.means.double() - origin).float(), *splats.tensors()[1:])
            field = SplatField(splats, 1.0, color, antialiased)
        field.scale = field_scale(found)
        copy = out / "base" / f"{SOURCE}.{kind}"
        with replacing(copy) as new:
            shutil.copyfile(file, new)
        scene = Scene.create(out, found, field, dataparser, downscale)
    return scene


def source_file(scene: Scene) -> Path | None:
    """Return the splat file that a scene was made from; None if it was made from something else."""
    return next(iter(sorted((scene.folder / "base").glob(f"{SOURCE}.*"))), None)


def _cameras(field: SplatField, file: str | Path | None, up: Float[Tensor, "3"]) -> list[tuple[str, Camera]]:
    """Return cameras with names: those of a file, or placed ones."""
    from nerf_insert.capture.camera_paths import read_cameras
    from nerf_insert.capture.placed_cameras import place_cameras
    from nerf_insert.fields.splat_field import SplatField
    from nerf_insert.rendering.stack import LayerStack
    from nerf_insert.splats.splats import SH_C0

    if file is not None:
        named = read_cameras(file)
        if len(named) < MIN_CAMERAS:
            raise InputError(f"{file} has {len(named)} cameras, a scene needs at least {MIN_CAMERAS}")
        if len({camera.model for _, camera in named}) > 1:
            raise InputError(f"{file} has cameras of several types: a scene needs all of one type")
        return [(f"images/{k:04d}.png", camera) for k, (_, camera) in enumerate(named)]
    if not up.norm() > 0:
        raise InputError("the up direction must not be zero")

    content = _content(field.splats)
    unit = float((content - content.mean(0)).norm(dim=1).mean().clamp_min(1e-9)) if len(content) else 1.0
    gray = (field.splats.scales.amax(1) / unit).clamp_max(1)  # shows how large each splat is
    sh = ((gray - 0.5) / SH_C0)[:, None, None].expand(-1, 1, 3)
    sizes = LayerStack(SplatField(field.splats.with_colors(sh), 1.0, antialiased=field.antialiased))

    def look(camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
        image = sizes.render_image(camera)
        return image.accumulation, image.depth, unit * image.rgb[..., 0]

    return place_cameras(content, up, look)


def _content(splats: Splats) -> Float[Tensor, "N 3"]:
    """Return the centers of the splats that show something."""
    solid = splats.opacities > SOLID
    return splats.means[solid] if solid.any() else splats.means[splats.opacities > 1 / 255]


def _write_capture(
    field: SplatField, named: list[tuple[str, Camera]], folder: Path, progress: Progress
) -> Capture:
    """Render the splats from cameras and write the images as a capture."""
    from nerf_insert.capture.capture import Capture
    from nerf_insert.capture.transforms_writer import CAMERA_MODELS, camera_fields
    from nerf_insert.io.images import write_image
    from nerf_insert.rendering.stack import LayerStack

    stack, frames = LayerStack(field), []
    with progress.task("Rendering the splats as photographs", total=len(named)) as task:
        for name, camera in named:
            write_image(folder / name, stack.render_image(camera).rgb)
            pose = [*camera.c2w.tolist(), [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": name, "transform_matrix": pose, **camera_fields(camera)})
            task.advance(1)
    model = CAMERA_MODELS[named[0][1].model]
    write_json(folder / "transforms.json", {"camera_model": model, "frames": frames})
    return Capture.load(folder)


def field_scale(capture: Capture) -> float:
    """Return the scale with which the cameras lie within one unit of their center."""
    centers = torch.stack([view.camera.center for view in capture.views])
    return 1 / float((centers - centers.mean(0)).abs().max().clamp_min(1e-9))
