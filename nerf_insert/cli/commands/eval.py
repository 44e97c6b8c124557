"""Evaluate a scene.

Renders of the base and of the edited scene, in 8 bits as `render` writes them, are compared with the
photographs outside the edited regions (PSNR, SSIM, LPIPS) and, with --truth, with ground-truth images of
the edit everywhere. Also measured: that no pixel outside the regions changed, how much changed inside, how
consistent the edit is between views and, with captions, its CLIP scores.

With --protocol, SCENE is a scene of a data set for removal, in its own layout: a base is trained on the
photographs with the thing, the thing is removed by its masks, and the result is compared with the
photographs without it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import number, path
from nerf_insert.cli.console import Console, text_table
from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.scene.scene import Scene

SUMMARY = "evaluate a scene against photographs and ground truth"
PROTOCOLS = ("spin-nerf", "360-usid")
IMAGES = ("base", "edited", "photograph")
TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "in_object": "in object",
    "whole": "whole",
    "outside": "outside",
}
NOTES = {  # explanations below the table, by the column that they explain
    "psnr": "PSNR, SSIM, LPIPS: against the photographs, outside the regions of the layers",
    "in_object": "in object: PSNR against the ground truth, over the object's visible pixels",
    "whole": "whole: PSNR against the ground truth, over the whole image",
    "outside": "outside: PSNR against the photographs, more than 12 pixels from the object and its shadow",
}
EDIT_METRICS = {
    "change": "Mean change of the pixels whose rays meet a region (0..1)",
    "change_lpips": "Change of the image (LPIPS)",
    "warped": "Warp consistency of neighboring views, in the regions (PSNR)",
    "warped_base": "Warp consistency of the base there (PSNR)",
    "clip_direction": "CLIP directional similarity of text and images (-1..1)",
    "clip_consistency": "CLIP directional consistency of neighboring views (-1..1)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("scene", type=path, metavar="SCENE", help="scene folder")
    parser.add_argument(
        "--split",
        choices=("train", "test", "all"),
        default="test",
        help="photographs to compare with (default: test)",
    )
    parser.add_argument(
        "--truth",
        type=path,
        metavar="DIR",
        help="folder of ground-truth images of the edit, named as the photographs",
    )
    parser.add_argument(
        "--object-mask",
        type=path,
        metavar="DIR",
        help="folder of masks, white where the object is visible in the ground truth",
    )
    parser.add_argument(
        "--caption-before", metavar="TEXT", help="caption of the photographs, for the CLIP metrics"
    )
    parser.add_argument(
        "--caption-after",
        metavar="TEXT",
        help="caption of the edited scene (default: the topmost layer's prompt)",
    )
    parser.add_argument(
        "--clip",
        metavar="FOLDER",
        help="folder with CLIP's weights (default: those of `nerf-insert models pull clip`)",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        help="SCENE is a folder of this data set: train, remove and compare",
    )
    parser.add_argument(
        "--out",
        type=path,
        metavar="DIR",
        help="with --protocol: folder for the trained scene (default: SCENE's name and the protocol's)",
    )
    parser.add_argument(
        "--scale", type=number(0.01, 1), metavar="F", help="scale factor for the compared images, at most 1"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Evaluate the scene; return the metrics, in the form of `Evaluation.to_dict`."""
    if args.protocol:
        return _run_protocol(args, console)
    if args.out:
        raise InputError("--out is where --protocol trains its scene: give that too")
    if args.object_mask and not args.truth:
        raise InputError("--object-mask needs --truth, the images that the masks belong to")
    for folder in (args.truth, args.object_mask):
        if folder is not None and not folder.is_dir():
            raise InputError(f"there is no folder {folder}")

    from nerf_insert.evaluation.edit_metrics import Captions
    from nerf_insert.evaluation.evaluate import Truth, evaluate
    from nerf_insert.scene.scene import Scene

    scene = Scene.open(args.scene)
    capture = scene.capture if args.scale is None else scene.capture.scaled(args.scale)
    views = capture.part(args.split)
    truth = Truth(args.truth, args.object_mask) if args.truth else None
    captions = Captions(args.caption_before, args.caption_after or topmost_prompt(scene), args.clip)
    result = evaluate(scene, views, console.progress, truth, captions).to_dict()
    return {"scene": str(args.scene), **result}, report(result)


def _run_protocol(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    """Run a data set's protocol; return its metrics."""
    alone = {"--truth": args.truth, "--object-mask": args.object_mask, "--scale": args.scale}
    given = [flag for flag, value in alone.items() if value is not None]
    if given:
        raise InputError(f"--protocol knows the truth and the photographs itself: leave {given[0]} out")

    from nerf_insert.cli.protocol_pipeline import run_protocol
    from nerf_insert.rendering.outputs import check_folder

    out = args.out or args.scene.with_name(f"{args.scene.resolve().name}-{args.protocol}")
    check_folder(out)
    console.if_stopped = "run the same command again to resume"
    result = run_protocol(args.protocol, args.scene, out, console.progress)
    text = f"{report(result)}\nRemoved by {result['masks']} masks. The scene is {out / 'scene'}."
    return {"scene": str(args.scene), "out": str(out), **result}, text


def topmost_prompt(scene: Scene) -> str | None:
    """Return the prompt of the topmost enabled layer, None if there is none."""
    from nerf_insert.scene.recipe import Recipe

    for entry in reversed(scene.layers):
        if entry.enabled:
            try:
                return Recipe.load(scene.recipe_file(entry)).guide.prompt or None
            except InputError:
                return None
    return None


def report(result: dict[str, Any]) -> str:
    """Lay out the metrics as a table with notes."""
    mean = result["mean"]
    columns = [(image, key) for image in IMAGES for key in TITLES if key in mean.get(image, {})]
    groups = [image for image, _ in columns]
    upper = ["", *("" if image in groups[:k] else image for k, image in enumerate(groups))]
    lower = ["view", *(TITLES[key] for _, key in columns)]
    cells = [
        [row["view"], *(_format(row.get(image, {}).get(key), key) for image, key in columns)]
        for row in [*result["views"], {"view": "mean", **mean}]
    ]
    lines = [text_table(upper, [lower, *cells], right=range(1, len(columns) + 1)), ""]
    lines += [note for key, note in NOTES.items() if any(key == other for _, other in columns)]
    lines += [
        f"{title}: {_format(result['edit'][key], key)}"
        for key, title in EDIT_METRICS.items()
        if key in result.get("edit", {})
    ]
    lines += [f"{(TITLES | EDIT_METRICS)[key]} is left out: {why}" for key, why in result["left_out"].items()]
    if "locality" in result:
        change, pixels = result["locality"]["largest_change"], result["locality"]["pixels"]
        lines.append(f"Largest change of the {pixels} pixels whose rays miss all regions: {change:g}")
    return "\n".join(lines)


def _format(value: float | None, key: str) -> str:
    fine = key in ("ssim", "lpips", "change", "change_lpips", "clip_direction", "clip_consistency")
    return "" if value is None else f"{value:.4f}" if fine else f"{value:.2f}"
