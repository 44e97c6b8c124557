"""What half precision costs: a layer's field fitted twice from the same start, once with tables and weights
read in half precision, as GPUs do, once in single.

    python benchmarks/half_precision.py [--steps N] [--points N] [--precision single|half]

Both run the Triton kernels, without a GPU in its interpreter (slowly), and are fitted to the same colors
and densities, a formula with fine and coarse detail. The PSNR is over points that were never fitted to.
"""

from __future__ import annotations

import argparse
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

from nerf_insert.evaluation.image_metrics import psnr
from nerf_insert.fields.hash_field import HashField
from nerf_insert.fields.layer import LAYER_FIELD
from nerf_insert.kernels import use_backend, use_precision
from nerf_insert.training.optimizer import Optimizer, at_step


def truth(points: torch.Tensor) -> torch.Tensor:
    """Return four numbers in 0..1 at points of the unit cube."""
    x, y, z = points.unbind(-1)
    coarse = torch.stack([4 * x + y, 5 * y - z, 3 * z + x, 4 * (x - z)], -1).sin()
    fine = torch.stack([31 * x, 37 * y, 29 * z, 41 * (x + y)], -1).sin()
    return 0.5 + 0.3 * coarse + 0.2 * fine


def fit(precision: str, steps: int, count: int, device: torch.device) -> list[float]:
    """Fit a field and return its PSNR after a quarter, half, and all of the steps."""
    field = HashField(LAYER_FIELD, torch.Generator().manual_seed(0)).to(device)
    optimizer, scores = Optimizer(field, 1e-2, steps), []
    unseen = torch.rand(8192, 3, generator=at_step(1, -1)).to(device)
    with use_precision(precision):
        for step in range(steps):
            points = torch.rand(count, 3, generator=at_step(0, step)).to(device)
            optimizer.step((shown(field, points) - truth(points)).square().mean(), step)
            if step + 1 in (steps // 4, steps // 2, steps):
                with torch.no_grad():
                    scores.append(psnr(shown(field, unseen), truth(unseen)))
    return scores


def shown(field: HashField, points: torch.Tensor) -> torch.Tensor:
    raw, rgb = field(points, points)
    return torch.cat([rgb, raw.sigmoid()[:, None]], -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--points", type=int, default=2048, help="of a step")
    parser.add_argument("--precision", choices=("single", "half"), help="only this one")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print("PSNR, dB, after a quarter, half and all of the steps")
    with use_backend("triton"):
        for precision in [options.precision] if options.precision else ["single", "half"]:
            scores = fit(precision, options.steps, options.points, device)
            print(f"{precision:>7}", *(f"{score:.2f}" for score in scores), flush=True)


if __name__ == "__main__":
    main()
