"""Measure a scene. The base and the edited scene are compared with the photographs, outside the regions of
the layers; with --truth, pictures of the edit made in reality, also inside. It is checked that no pixel
outside the regions has changed at all, and measured how much changed inside, whether that agrees from view
to view and, with captions and CLIP, whether it is what was asked for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import number, path
from nerf_insert.cli.console import Console
from nerf_insert.cli.tables import table
from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.scene.scene import Scene

SUMMARY = "measure a scene against photographs and true pictures"
WHICH = ("base", "edited", "photograph")
TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "lpips": "LPIPS",
    "in_object": "in object",
    "whole": "whole",
    "outside": "far",
}
NOTES = {
    "psnr": "PSNR, SSIM, LPIPS: against the photographs, outside the regions of the layers",
    "in_object": "in object: PSNR against the truth, over the object's visible pixels",
    "whole": "whole: PSNR against the truth, over the picture",
    "outside": "far: PSNR against the photographs, more than 12 pixels from the object and its shadow",
}

EDIT = {
    "change": "Change of the pixels whose rays meet a region (mean of a channel, 0..1)",
    "change_lpips": "Change of the picture (LPIPS)",
    "warped": "Agreement of neighboring views, warped by depth, in the regions (PSNR)",
    "warped_base": "The same of the base",
    "clip_direction": "CLIP direction similarity of text and pictures (-1..1)",
    "clip_consistency": "CLIP direction consistency of neighboring views (-1..1)",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", type=path, metavar="SCENE", help="the scene folder")
    parser.add_argument(
        "--split", choices=("train", "test", "all"), default="test", help="photographs to use (default: test)"
    )
    parser.add_argument(
        "--truth", type=path, metavar="DIR", help="true pictures of the edit, named as the photographs"
    )
    parser.add_argument(
        "--object-mask", type=path, metavar="DIR", help="white where the edited object is visible in them"
    )
    parser.add_argument(
        "--caption-before", metavar="TEXT", help="what the photographs show, for the figures that use CLIP"
    )
    parser.add_argument(
        "--caption-after",
        metavar="TEXT",
        help="what they show with the edit (default: the topmost layer's prompt)",
    )
    parser.add_argument(
        "--clip", metavar="FOLDER", help="CLIP's weights (default: what `nerf-insert models pull clip` got)"
    )
    parser.add_argument(
        "--scale", type=number(0.01, 1), metavar="F", help="compare in pictures that much smaller"
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    if args.object_mask and not args.truth:
        raise InputError("--object-mask needs --truth, the pictures that the masks belong to")
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
    result = evaluate(scene, views, console.progress, truth, captions)
    return {"scene": str(args.scene), **result}, report(result)


def topmost_prompt(scene: Scene) -> str | None:
    """What the topmost enabled layer was asked to be, as far as that was said in words."""
    from nerf_insert.scene.recipe import Recipe

    for entry in reversed(scene.layers):
        if entry.enabled:
            try:
                return Recipe.load(scene.layer_folder(entry) / "recipe.yaml").guide.prompt or None
            except InputError:
                return None
    return None


def report(result: dict[str, Any]) -> str:
    """The figures as people like to read them."""
    mean = result["mean"]
    columns = [(which, key) for which in WHICH for key in TITLES if key in mean.get(which, {})]
    groups = [which for which, _ in columns]
    upper = ["", *("" if which in groups[:k] else which for k, which in enumerate(groups))]
    lower = ["view", *(TITLES[key] for _, key in columns)]
    cells = [
        [row["view"], *(_show(row.get(which, {}).get(key), key) for which, key in columns)]
        for row in [*result["views"], {"view": "mean", **mean}]
    ]
    lines = [table(upper, [lower, *cells], right=range(1, len(columns) + 1)), ""]
    lines += [note for key, note in NOTES.items() if any(key == other for _, other in columns)]
    lines += [
        f"{title}: {_show(result['edit'][key], key)}"
        for key, title in EDIT.items()
        if key in result.get("edit", {})
    ]
    lines += [f"{(TITLES | EDIT)[key]} is left out: {why}" for key, why in result["left_out"].items()]
    if "locality" in result:
        change, pixels = result["locality"]["largest_change"], result["locality"]["pixels"]
        lines.append(f"Largest change of the {pixels} pixels whose rays miss all regions: {change:g}")
    return "\n".join(lines)


def _show(value: float | None, key: str) -> str:
    fine = key in ("ssim", "lpips", "change", "change_lpips", "clip_direction", "clip_consistency")
    return "" if value is None else f"{value:.4f}" if fine else f"{value:.2f}"
