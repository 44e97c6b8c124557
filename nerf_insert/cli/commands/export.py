"""Export a scene.

dataset: its photographs with the edits in them, for any method to train on. nerfstudio: a run folder for
ns-viewer, ns-render, ns-eval and ns-export. mesh, pointcloud: the edited scene as a colored mesh (mesh.glb)
or as colored points (pointcloud.ply), in world coordinates. splat: the edited scene as Gaussian splats; --out
names the file, and its suffix the kind. html: one web page that shows the edited scene's splats from all
sides, without anything else; --out names it.
"""

from __future__ import annotations

import argparse
from typing import Any

from nerf_insert.cli.argument_types import integer, numbers, path
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError
from nerf_insert.runtime.extras import require

SUMMARY = "export an edited dataset, a nerfstudio run, a mesh, a point cloud, splats or a web page"
KINDS = ("dataset", "nerfstudio", "mesh", "pointcloud", "splat", "html")
ONLY_FOR = {
    **{"resolution": "mesh", "box": "mesh", "points": "pointcloud"},
    **dict.fromkeys(("layer", "splats", "steps"), "splat and html"),
    **{"view": "html", "before": "mesh, pointcloud, splat and html"},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scene", type=path, metavar="SCENE", help="scene folder")
    parser.add_argument("kind", choices=KINDS, help="what to export")
    parser.add_argument(
        "--out", type=path, required=True, metavar="OUT", help="folder to write to; splat, html: file"
    )
    parser.add_argument("--before", action="store_true", help="mesh, pointcloud, splat, html: without layers")
    parser.add_argument(
        "--points",
        type=integer(1, 100_000_000),
        metavar="N",
        help="pointcloud: number of points (default: 1000000)",
    )
    parser.add_argument(
        "--resolution",
        type=integer(8, 1024),
        metavar="N",
        help="mesh: voxels along the longest side of the box (default: 192)",
    )
    parser.add_argument(
        "--box",
        type=numbers(6),
        metavar="CX,CY,CZ,SX,SY,SZ",
        help="mesh: center and side lengths of the box to export, in world coordinates (default: the box "
        "that the cameras are in)",
    )
    parser.add_argument(
        "--layer",
        type=integer(1),
        metavar="N",
        help="splat, html: write only what layer N shows in its region",
    )
    parser.add_argument(
        "--splats",
        type=integer(100, 5_000_000),
        metavar="N",
        help="splat, html: the most splats for each layer (default: 30000), or for a scene whose base is "
        "none (default: 150000)",
    )
    parser.add_argument(
        "--steps",
        type=integer(0, 100_000),
        metavar="N",
        help="splat, html: optimization steps of these splats (default: 250 for a layer, 600 for a scene)",
    )
    parser.add_argument(
        "--view",
        metavar="NAME",
        help="html: the photograph from whose camera the scene is seen first (default: the first one)",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Write the files; return where they are."""
    for name, kinds in ONLY_FOR.items():
        if getattr(args, name) not in (None, False) and args.kind not in kinds:
            raise InputError(f"--{name} is for {kinds}")
    if args.box and min(args.box[3:]) <= 0:
        raise InputError("--box: the side lengths must be above 0")
    if args.layer and args.before:
        raise InputError("--layer writes a layer and --before none: give one of them")

    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    data = {"scene": str(args.scene), "kind": args.kind, "out": str(args.out)}
    if args.kind == "dataset":
        from nerf_insert.export.dataset import export_dataset

        data |= export_dataset(scene, args.out, console.progress)
        text = f"{args.out}: {data['photographs']} photographs, {data['edited']} of them edited"
    elif args.kind == "nerfstudio":
        require("nerfstudio", "nerfstudio")
        from nerf_insert.plugin.export_run import export_run

        data |= export_run(scene, args.out)
        text = f"{data['config']}\nView it:  ns-viewer --load-config {data['config']}"
    elif args.kind in ("splat", "html"):
        from nerf_insert.export.html import export_html
        from nerf_insert.export.splats import export_splats

        options = {"layers": not args.before, "layer": args.layer, "count": args.splats, "steps": args.steps}
        options["progress"] = console.progress
        if args.kind == "html":
            data |= export_html(scene, args.out, view=args.view, **options)
            size = f"{data['shown']:,} splats, {data['bytes'] / 1e6:.1f} MB"
            text = f"{data['file']}: {size}; open it in a browser"
        else:
            data |= export_splats(scene, args.out, **options)
            text = f"{data['file']}: {data['splats']:,} splats"
            if data["kept"]:
                text += f", {data['kept']:,} of them as they were read"
    elif args.kind == "pointcloud":
        from nerf_insert.export.geometry import export_pointcloud

        data |= export_pointcloud(
            scene,
            args.out / "pointcloud.ply",
            count=args.points or 1_000_000,
            layers=not args.before,
            progress=console.progress,
        )
        text = f"{data['file']}: {data['points']} points"
    else:
        from nerf_insert.export.geometry import export_mesh
        from nerf_insert.regions.spec import Box

        data |= export_mesh(
            scene,
            args.out / "mesh.glb",
            resolution=args.resolution or 192,
            box=Box(tuple(args.box[:3]), tuple(args.box[3:])) if args.box else None,
            layers=not args.before,
            progress=console.progress,
        )
        text = f"{data['file']}: {data['faces']} faces"
    return data, text
