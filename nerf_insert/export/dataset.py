"""A scene as a capture: its photographs with the edits in them, for any method to train on.

OUT/images/007.png       the photograph; where the edits change what is seen, the edited scene's render
OUT/edit_masks/007.png   where that is: white
OUT/masks/007.png        the capture's own masks, where it has some (zero = ignored)
OUT/transforms.json      cameras as the scene has them, in the capture's own world coordinates and split
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.files import atomic_write, read_bytes, read_json, write_json
from nerf_insert.io.images import write_image
from nerf_insert.rendering.outputs import file_stems
from nerf_insert.rendering.stack import LayerStack, hits
from nerf_insert.runtime.progress import Progress
from nerf_insert.scene.scene import Scene

CHANGED = 2 / 255  # difference of two renders from which on a pixel counts as edited
KEPT = ("applied_transform", "applied_scale", "orientation_override")  # of the capture's transforms.json
MODELS = {"PERSPECTIVE": "OPENCV", "FISHEYE": "OPENCV_FISHEYE", "EQUIRECTANGULAR": "EQUIRECTANGULAR"}
LENS = ("k1", "k2", "k3", "k4", "p1", "p2")


def export_dataset(scene: Scene, out: Path, progress: Progress) -> dict[str, Any]:
    """Write it; {"photographs", "edited": how many the edits are seen in}. Raises InputError, RunError."""
    capture, stack = scene.capture, scene.stack()
    models = {view.camera.model for view in capture.views}
    if len(models) > 1 or not models <= set(MODELS):
        raise InputError(f"a dataset cannot hold cameras of the types {', '.join(sorted(models))}")
    stems = file_stems(view.name for view in capture.views)
    names = {view.name: f"images/{stem}.png" for view, stem in zip(capture.views, stems, strict=True)}
    frames, edited = [], 0
    with progress.task("Writing the photographs", total=len(stems)) as task:
        for view, stem in zip(capture.views, stems, strict=True):
            picture, mask = edited_photograph(stack, view)
            write_image(out / "images" / f"{stem}.png", picture)
            write_image(out / "edit_masks" / f"{stem}.png", mask)
            frame = {
                "file_path": names[view.name],
                "edit_mask_path": f"edit_masks/{stem}.png",
                "transform_matrix": [*view.camera.c2w.tolist(), [0.0, 0.0, 0.0, 1.0]],
                **intrinsics(view.camera),
            }
            if (valid := view.valid()) is not None:
                write_image(out / "masks" / f"{stem}.png", valid)
                frame["mask_path"] = f"masks/{stem}.png"
            frames.append(frame)
            edited += bool(mask.any())
            task.advance(1)
    test = [names[view.name] for view in capture.test]
    data = {
        "camera_model": MODELS[models.pop()],
        **from_source(capture.path, out),
        "train_filenames": [names[view.name] for view in capture.train],
        "val_filenames": test,
        "test_filenames": test,
        "frames": frames,
    }
    write_json(out / "transforms.json", data)
    return {"photographs": len(frames), "edited": edited}


@torch.no_grad()
def edited_photograph(stack: LayerStack, view: View) -> tuple[Float[Tensor, "H W C"], Bool[Tensor, "H W"]]:
    """The photograph (with alpha, if it has some) with the enabled layers in it, and where they are."""
    picture, alpha = view.photograph(), view.alpha()
    camera = view.camera
    rays = camera.rays()
    crosses = torch.zeros(rays.count, dtype=torch.bool)
    for layer in stack.layers:
        crosses |= hits(layer.region, rays)
    index = crosses.nonzero()[:, 0]
    mask = torch.zeros(rays.count, dtype=torch.bool)
    if len(index):
        after, before = stack.render(rays[index]), LayerStack(stack.base).render(rays[index])
        changed = (after.rgb - before.rgb).abs().amax(-1) > CHANGED
        mask[index[changed]] = True
        picture.view(-1, 3)[index[changed]] = after.rgb[changed]
        if alpha is not None:
            alpha.view(-1)[index[changed]] = after.accumulation[changed]
    if alpha is not None:
        picture = torch.cat([picture, alpha[..., None]], -1)
    return picture, mask.view(camera.height, camera.width)


def intrinsics(camera: Camera) -> dict[str, float]:
    """A frame's own, in pixels of its picture."""
    size = {"fl_x": camera.fx, "fl_y": camera.fy, "cx": camera.cx, "cy": camera.cy}
    lens = dict(zip(LENS, camera.distortion, strict=True)) if any(camera.distortion) else {}
    return {**size, "w": camera.width, "h": camera.height, **lens}


def from_source(source: Path, out: Path) -> dict[str, Any]:
    """What a capture's transforms.json says beside its cameras; its sparse points are copied."""
    folder = source if source.is_dir() else source.parent
    file = folder / "transforms.json" if source.is_dir() else source
    if not file.exists():
        return {}
    data = read_json(file)
    kept = {key: data[key] for key in KEPT if key in data}
    points = data.get("ply_file_path")
    if isinstance(points, str) and (folder / points).is_file():
        atomic_write(out / "sparse_pc.ply", read_bytes(folder / points))
        kept["ply_file_path"] = "sparse_pc.ply"
    return kept
