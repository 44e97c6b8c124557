"""Fit a base to a capture and make a scene folder of it. A capture is a folder of posed photographs that
nerfstudio can read. Stopped at any moment, the same command goes on where it was. With --nerfstudio nothing
is trained: a nerfacto that was trained in nerfstudio becomes the base."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nerf_insert.cli.argument_types import number, path, whole
from nerf_insert.cli.console import Console
from nerf_insert.errors import InputError

if TYPE_CHECKING:
    from nerf_insert.capture.capture import Capture, View
    from nerf_insert.fields.nerfacto import NerfactoBase
    from nerf_insert.fields.scene_field import SceneField
    from nerf_insert.runtime.progress import Progress

SUMMARY = "fit a base to the photographs of a capture"
TRAINING = ("steps", "downscale", "dataparser", "seed", "samples")
LOOKED_AT, SMALL = 4, 128  # photographs and pixels along their longer side, to see that an adopted base fits


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "capture",
        type=path,
        nargs="?",
        metavar="CAPTURE",
        help="folder of the capture, or its transforms.json (with --nerfstudio: only if it was moved)",
    )
    parser.add_argument("--out", type=path, required=True, metavar="SCENE", help="the scene folder to make")
    parser.add_argument("--steps", type=whole(1), metavar="N", help="training steps")
    parser.add_argument(
        "--downscale",
        type=number(1, 64),
        metavar="F",
        help="train on photographs that many times smaller",
    )
    parser.add_argument(
        "--dataparser", metavar="NAME", help="one of nerfstudio's, by default the one that fits"
    )
    parser.add_argument("--seed", type=whole(0, 2**31 - 1), metavar="N", help="start of all that is random")
    parser.add_argument(
        "--samples", type=whole(1 << 10, 1 << 24), metavar="N", help="samples along rays, in one step"
    )
    adopt = parser.add_argument_group("a trained model of nerfstudio")
    adopt.add_argument(
        "--nerfstudio",
        type=path,
        metavar="CONFIG",
        help="config.yml of a nerfacto, depth-nerfacto or nerf-insert-base run, to take as the base",
    )
    adopt.add_argument(
        "--appearance",
        metavar="VIEW",
        help="give the base the exposure of this training photograph (default: as nerfstudio renders it)",
    )
    adopt.add_argument(
        "--trust",
        action="store_true",
        help="open the run with nerfstudio's own loader, which runs whatever code stands in it",
    )


def run(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    if args.nerfstudio:
        return run_adopt(args, console)
    for name in ("appearance", "trust"):
        if getattr(args, name):
            raise InputError(f"--{name} is for --nerfstudio")
    if args.capture is None:
        raise InputError("say which capture to train on, or give --nerfstudio; `nerf-insert train --help`")

    from nerf_insert.scene.create import train_scene

    began = time.monotonic()
    console.if_stopped = "give the same command again and it goes on where it was"
    scene = train_scene(
        args.capture,
        args.out,
        steps=args.steps,
        samples=args.samples,
        seed=args.seed or 0,
        downscale=args.downscale,
        dataparser=args.dataparser,
        progress=console.progress,
    )
    base, capture = scene.base, scene.capture
    console.if_stopped = f"the scene {args.out} is complete, only its PSNR is not known"

    psnr = test_psnr(base, capture, console.progress)
    seconds = time.monotonic() - began
    data = {
        "scene": str(args.out),
        "train_views": len(capture.train),
        "test_views": len(capture.test),
        "psnr": psnr,
        "seconds": round(seconds, 1),
    }
    how_good = (
        f"trained on all {len(capture.train)} photographs; none was held back to compare with"
        if psnr is None
        else f"{psnr:.2f} dB on {len(capture.test)} photographs that it was not trained on"
    )
    text = (
        f"{args.out}: {how_good}.\nLook around in it:  nerf-insert render {args.out} --orbit --out orbit.mp4"
    )
    return data, text


def run_adopt(args: argparse.Namespace, console: Console) -> tuple[dict[str, Any], str]:
    for name in TRAINING:
        if getattr(args, name) is not None:
            raise InputError(
                f"--{name} is for training, and with --nerfstudio nothing is trained: leave it out"
            )

    from nerf_insert.plugin.import_run import import_scene

    scene = import_scene(
        args.nerfstudio,
        args.out,
        capture=args.capture,
        appearance=args.appearance,
        trust=args.trust,
        progress=console.progress,
    )
    console.if_stopped = f"the scene {args.out} is complete, only its PSNR is not known"
    capture = scene.capture
    views = (capture.test or capture.train)[:LOOKED_AT]
    psnr = small_psnr(scene.base, views, console.progress)
    data = {
        "scene": str(args.out),
        "adopted": str(args.nerfstudio),
        "train_views": len(capture.train),
        "test_views": len(capture.test),
        "psnr": psnr,
    }
    text = (
        f"{args.out}: {psnr:.2f} dB on {len(views)} photographs, looked at in small.\n"
        f"Look around in it:  nerf-insert render {args.out} --orbit --out orbit.mp4"
    )
    return data, text


def small_psnr(base: NerfactoBase | SceneField, views: Sequence[View], progress: Progress) -> float:
    """The mean PSNR, dB, on small copies of some photographs: quick, and tells whether the base fits them."""
    from dataclasses import replace

    from nerf_insert.evaluation.image_metrics import psnr
    from nerf_insert.rendering.stack import LayerStack

    values = []
    with progress.task("Comparing with photographs", total=len(views)) as task:
        for view in views:
            small = replace(view, camera=view.camera.scaled(min(1.0, SMALL / max(view.size))))
            values.append(
                psnr(LayerStack(base).render_image(small.camera).rgb, small.photograph(), small.valid())
            )
            task.advance(1)
    return sum(values) / len(values)


def test_psnr(base: SceneField, capture: Capture, progress: Progress) -> float | None:
    """The mean PSNR, dB, over the photographs that were not trained on; None if there are none."""
    from nerf_insert.evaluation.image_metrics import psnr
    from nerf_insert.rendering.stack import LayerStack

    if not capture.test:
        return None
    stack, values = LayerStack(base), []
    with progress.task("Comparing with the test photographs", total=len(capture.test)) as task:
        for view in capture.test:
            values.append(psnr(stack.render_image(view.camera).rgb, view.photograph(), view.valid()))
            task.advance(1, note=f"{sum(values) / len(values):.1f} dB")
    return sum(values) / len(values)
