"""Seconds of one training step of nerfstudio's nerfacto on a CPU, with its own hash encoding and with ours.

    python -m benchmarks.nerfacto_encoding [--rays N] [--steps N]

One process, the two alternating step by step, so that whatever else the machine does falls on both. Random
rays and colors: time does not depend on the scene. Prints a table.
"""

from __future__ import annotations

import argparse
import statistics
import time

import nerf_insert  # noqa: F401  # before torch: how OpenMP's threads wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rays", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=4)
    args = parser.parse_args()

    import torch

    from nerf_insert.fields.nerfstudio_hash_encoding import patch_nerfstudio, unpatch_nerfstudio

    print(f"{args.rays} rays a step, medians of {args.steps} steps, {torch.get_num_threads()} threads")
    print(f"{'cameras':>10}  {'own encoding':>12}  {'ours':>8}  {'ratio':>6}")
    for mode in ("SO3xR3", "off"):
        model, adam = nerfacto(mode)
        seconds: dict[str, list[float]] = {"own": [], "ours": []}
        for step in range(args.steps + 1):
            for name, switch in (("own", unpatch_nerfstudio), ("ours", patch_nerfstudio)):
                switch()
                began = time.perf_counter()
                one_step(model, adam, args.rays)
                if step:  # the first compiles
                    seconds[name].append(time.perf_counter() - began)
        own, ours = (statistics.median(seconds[name]) for name in ("own", "ours"))
        print(f"{mode:>10}  {own:10.2f} s  {ours:6.2f} s  {own / ours:5.1f}x", flush=True)


def nerfacto(mode: str):
    """nerfstudio's own configuration of nerfacto, in PyTorch, and Adam."""
    import torch
    import torchmetrics.image.lpip as lpip
    from nerfstudio.configs.method_configs import method_configs
    from nerfstudio.data.scene_box import SceneBox

    lpip.LearnedPerceptualImagePatchSimilarity = lambda **_: torch.nn.Identity()  # its weights are a download
    config = method_configs["nerfacto"].pipeline.model
    config.implementation, config.camera_optimizer.mode = "torch", mode
    box = SceneBox(aabb=torch.tensor([[-1.0] * 3, [1.0] * 3]))
    model = config.setup(scene_box=box, num_train_data=50, metadata={}, device="cpu").train()
    return model, torch.optim.Adam([p for p in model.parameters() if p.numel()], lr=1e-3, fused=True)


def one_step(model, adam, rays: int) -> None:
    import torch
    from nerfstudio.cameras.rays import RayBundle

    directions = torch.nn.functional.normalize(torch.randn(rays, 3), dim=-1)
    bundle = RayBundle(
        origins=torch.randn(rays, 3) * 0.3,
        directions=directions,
        pixel_area=torch.full((rays, 1), 1e-4),
        camera_indices=torch.randint(50, (rays, 1)),
        metadata={"directions_norm": torch.ones(rays, 1)},
    )
    outputs = model(bundle)
    batch = {"image": torch.rand(rays, 3)}
    losses = model.get_loss_dict(outputs, batch, model.get_metrics_dict(outputs, batch))
    adam.zero_grad()
    sum(losses.values()).backward()
    adam.step()


if __name__ == "__main__":
    main()
