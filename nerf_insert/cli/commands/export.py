"""Take a scene elsewhere. dataset: its photographs with the edits in them, for any method to train on.
nerfstudio: a run folder for ns-viewer, ns-render, ns-eval and ns-export. mesh, pointcloud: the edited scene
as a colored mesh or as points, in world coordinates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nerf_insert.cli.argument_types import numbers, path, whole
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError

SUMMARY = "write an edited dataset, a nerfstudio run, a mesh or points"
KINDS = ("dataset", "nerfstudio", "mesh", "pointcloud")
ONLY_FOR = {"resolution": "mesh", "box": "mesh", "points": "pointcloud", "before": "mesh and pointcloud"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", type=path, metavar="SCENE", help="the scene folder")
    parser.add_argument("kind", choices=KINDS, help="what to write")
    parser.add_argument("--out", type=path, required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--before", action="store_true", help="mesh, pointcloud: without layers")
    parser.add_argument(
        "--points", type=whole(1, 100_000_000), metavar="N", help="pointcloud: how many (default: 1000000)"
    )
    parser.add_argument(
        "--resolution",
        type=whole(8, 1024),
        metavar="N",
        help="mesh: voxels along the box's longest side (default: 192)",
    )
    parser.add_argument(
        "--box",
        type=numbers(6),
        metavar="CX,CY,CZ,SX,SY,SZ",
        help="mesh: center and side lengths of what to take, in world coordinates (default: the room in "
        "which the cameras are)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    for name, kinds in ONLY_FOR.items():
        if getattr(args, name) and args.kind not in kinds:
            raise InputError(f"--{name} is for {kinds}")
    if args.box and min(args.box[3:]) <= 0:
        raise InputError("--box: the side lengths must be above 0")

    from nerf_insert.rendering.outputs import check_folder
    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    check_folder(args.out)
    if args.kind in ("dataset", "nerfstudio"):
        check_apart(scene, args.out)
    data = {"scene": str(args.scene), "kind": args.kind, "out": str(args.out)}
    if args.kind == "dataset":
        from nerf_insert.export.dataset import export_dataset

        data |= export_dataset(scene, args.out, console.progress)
        text = f"{args.out}: {data['photographs']} photographs, the edits are seen in {data['edited']}"
    elif args.kind == "nerfstudio":
        from nerf_insert.plugin.export_run import export_run

        data |= export_run(scene, args.out)
        text = f"{data['config']}\nLook at it:  ns-viewer --load-config {data['config']}"
    elif args.kind == "pointcloud":
        from nerf_insert.export.geometry import export_points

        stack, file = scene.stack(not args.before), args.out / "pointcloud.ply"
        data |= export_points(stack, scene.capture, args.points or 1_000_000, file, console.progress)
        text = f"{file}: {data['points']} points"
    else:
        import torch

        from nerf_insert.export.geometry import export_mesh

        box = None
        if args.box:
            center, half = torch.tensor(args.box[:3]), torch.tensor(args.box[3:]) / 2
            box = torch.stack([center - half, center + half])
        stack, file = scene.stack(not args.before), args.out / "mesh.glb"
        data |= export_mesh(stack, scene.capture, file, console.progress, args.resolution or 192, box)
        text = f"{file}: {data['faces']} faces"
    return data, text


def check_apart(scene: Any, out: Path) -> None:
    """Raises InputError if the capture or the scene itself would be written over."""
    capture = scene.capture.path if scene.capture.path.is_dir() else scene.capture.path.parent
    for what, folder in (("the scene", scene.folder.resolve()), ("its capture", capture)):
        if out.resolve() == folder:
            raise InputError(f"--out {out} is {what} itself: choose another folder")
    if (out / "transforms.json").exists() and not (out / "edit_masks").exists():
        raise InputError(f"--out {out} holds another capture: choose another folder")
