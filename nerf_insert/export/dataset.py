"""A scene as a capture: its photographs with the edits in them, for any method to train on.

OUT/images/007.png       the photograph; the edited scene's render where the edits change what is seen; where
                         they only change the light on it, the photograph in that light
OUT/edit_masks/007.png   white where that is
OUT/masks/007.png        the capture's own masks, if it has some (zero = ignored)
OUT/depths/007.png       the capture's depth files, if it has some, with the edits in them
OUT/sparse_pc.ply        points of what is there after the edits, see dataset_points.py
OUT/transforms.json      the scene's cameras, in the capture's own world coordinates and split
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.transforms_writer import CAMERA_MODELS, camera_fields
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError, warn, warnings_to
from nerf_insert.export.dataset_depth import depth_files, edited_depth, write_depth
from nerf_insert.export.dataset_points import Cloud, DatasetPoints, read_points, write_points
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.io.files import read_json, write_json
from nerf_insert.io.images import write_image
from nerf_insert.rendering.outputs import check_folder, file_stems
from nerf_insert.rendering.protocols import ShadeField
from nerf_insert.rendering.shaded_samples import Rendered
from nerf_insert.rendering.stack import LayerStack, hits
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene

MIN_CHANGE = 2 / 255  # between two renders, of a pixel that counts as edited
DARK = 0.003  # added to linear colors of which a ratio is taken
KEPT_KEYS = (
    "applied_transform",
    "applied_scale",
    "orientation_override",
    "up",
)  # of the capture's transforms.json
POINTS = "sparse_pc.ply"


def export_dataset(scene: Scene, out: str | Path, progress: Progress = SILENT) -> dict[str, Any]:
    """Write the edited photographs of a scene as a dataset that nerfstudio and this program read.

    Args:
        scene: The scene; its enabled layers are rendered.
        out: The folder to write to.
        progress: Reports the work.

    Returns:
        `{"photographs": number of photographs, "edited": number of those that show an edit, "points": number
        of points}`.

    Raises:
        InputError: The capture mixes camera types or has one that a dataset cannot hold, a photograph cannot
            be read, or `out` cannot be used.
        RunError: A file cannot be written.
    """
    with warnings_to(progress.warn):
        return _export(scene, Path(out), progress)


def _export(scene: Scene, out: Path, progress: Progress) -> dict[str, Any]:
    check_export_folder(scene, out)
    capture, stack = scene.capture, scene.stack()
    models = {view.camera.model for view in capture.views}
    if len(models) > 1 or not models <= set(CAMERA_MODELS):
        raise InputError(f"a dataset cannot hold cameras of the types {', '.join(sorted(models))}")
    stems = file_stems(view.name for view in capture.views)
    names = {view.name: f"images/{stem}.png" for view, stem in zip(capture.views, stems, strict=True)}
    source = _source(capture.path)
    data, own_points = _source_fields(source, capture)
    depths, points = depth_files(source), DatasetPoints(stack, len(stems), own_points)
    frames, edited = [], 0
    with progress.task("Writing the photographs", total=len(stems)) as task:
        for view, stem in zip(capture.views, stems, strict=True):
            image, mask, surface, after, before = edited_photograph(stack, view)
            points.add_view(view.camera, surface, after)
            write_image(out / "images" / f"{stem}.png", image)
            write_image(out / "edit_masks" / f"{stem}.png", mask)
            frame = {
                "file_path": names[view.name],
                "edit_mask_path": f"edit_masks/{stem}.png",
                "transform_matrix": _pose(capture, view.camera),
                **camera_fields(view.camera),
            }
            if (valid := view.valid()) is not None:
                write_image(out / "masks" / f"{stem}.png", valid)
                frame["mask_path"] = f"masks/{stem}.png"
            depth = depths.get(view.name)
            if depth is not None and view.orientation != 1:
                warn(f"the depth file {depth} is left out: its photograph is turned as its EXIF data says")
            elif depth is not None:
                none = torch.zeros(0)
                distances = (part.depth if part else none for part in (after, before))
                if (content := edited_depth(depth, view.camera, surface, *distances)) is not None:
                    frame["depth_file_path"] = write_depth(out, stem, depth, content)
            frames.append(frame)
            edited += bool(mask.any())
            task.advance(1)
    cloud = points.cloud()
    write_points(out / POINTS, cloud, capture)
    test = [names[view.name] for view in capture.test]
    data = {
        "camera_model": CAMERA_MODELS[models.pop()],
        **data,
        "ply_file_path": POINTS,
        "train_filenames": [names[view.name] for view in capture.train],
        "val_filenames": test,
        "test_filenames": test,
        "frames": frames,
    }
    write_json(out / "transforms.json", data)
    return {"photographs": len(frames), "edited": edited, "points": len(cloud[0])}


@torch.no_grad()
def check_export_folder(scene: Scene, out: Path) -> None:
    """Check that a folder can be written to, and that neither the scene nor a capture would be overwritten.

    Raises:
        InputError: It cannot, or one would.
    """
    check_folder(out)
    capture = scene.capture.path if scene.capture.path.is_dir() else scene.capture.path.parent
    for what, folder in (("the scene", scene.folder.resolve()), ("its capture", capture)):
        if out.resolve() == folder:
            raise InputError(f"--out {out} is {what} itself: choose another folder")
    if (out / "transforms.json").exists() and not (out / "edit_masks").exists():
        raise InputError(f"--out {out} holds another capture: choose another folder")


class EditedPhotograph(NamedTuple):
    """A photograph with the layers in it.

    Attributes:
        image: sRGB, with alpha if the photograph has some.
        mask: The pixels that the layers change.
        surface: Those of them in which they change more than the light.
        after: The edited scene in the pixels of `surface`, row by row; None: there are none.
        before: The base in those pixels.
    """

    image: Float[Tensor, "H W C"]
    mask: Bool[Tensor, "H W"]
    surface: Bool[Tensor, "H W"]
    after: Rendered | None
    before: Rendered | None


def edited_photograph(stack: LayerStack, view: View) -> EditedPhotograph:
    """Render the layers into a photograph.

    Args:
        stack: The scene with the layers that are to be seen.
        view: The photograph.

    Raises:
        InputError: The photograph cannot be read.
    """
    image, alpha = view.photograph(), view.alpha()
    camera = view.camera
    rays = camera.rays()
    replaced, shaded = (torch.zeros(rays.count, dtype=torch.bool) for _ in range(2))
    for layer in stack.layers:
        crossed = shaded if isinstance(layer, ShadeField) else replaced
        crossed |= hits(layer.region, rays)
    index = (replaced | shaded).nonzero()[:, 0]
    mask = torch.zeros(rays.count, dtype=torch.bool)
    surface = torch.zeros_like(mask)
    shown: list[Rendered | None] = [None, None]
    if len(index):
        after, before = stack.render(rays[index]), LayerStack(stack.base).render(rays[index])
        changed = (after.rgb - before.rgb).abs().amax(-1) > MIN_CHANGE
        mask[index[changed]] = True
        image.view(-1, 3)[index[changed]] = torch.where(
            replaced[index[changed], None],
            after.rgb[changed],
            _shaded(image.view(-1, 3)[index[changed]], before.rgb[changed], after.rgb[changed]),
        )
        moved = changed & replaced[index]
        surface[index[moved]] = True
        shown = [Rendered(*(column[moved] for column in part)) for part in (after, before)]
        if alpha is not None:
            alpha.view(-1)[index[changed]] = after.accumulation[changed]
    if alpha is not None:
        image = torch.cat([image, alpha[..., None]], -1)
    mask, surface = (found.view(camera.height, camera.width) for found in (mask, surface))
    return EditedPhotograph(image, mask, surface, *shown)


def _shaded(
    photograph: Float[Tensor, "N 3"], before: Float[Tensor, "N 3"], after: Float[Tensor, "N 3"]
) -> Float[Tensor, "N 3"]:
    """Return photographed colors with the change of light that two renders show; the rest stays as sharp."""
    ratio = (srgb_to_linear(after) + DARK) / (srgb_to_linear(before) + DARK)
    return linear_to_srgb(ratio * srgb_to_linear(photograph)).clamp(0, 1)


def _pose(capture: Capture, camera: Camera) -> list[list[float]]:
    """A camera's pose in the capture's own coordinates, 4x4."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3] = camera.c2w
    pose[:3, 3] = capture.outside(camera.center)
    return pose.tolist()


def _source(path: Path) -> Path:
    """A capture's transforms.json, which need not exist."""
    return path / "transforms.json" if path.is_dir() else path


def _source_fields(source: Path, capture: Capture) -> tuple[dict[str, Any], Cloud | None]:
    """The fields of a capture's transforms.json besides its cameras, and its sparse points."""
    if source.suffix != ".json" or not source.exists():
        return {}, None
    data = read_json(source)
    kept = {key: data[key] for key in KEPT_KEYS if key in data}
    points = data.get("ply_file_path")
    file = source.parent / points.replace("\\", "/") if isinstance(points, str) else None
    return kept, read_points(file, capture) if file is not None and file.is_file() else None
