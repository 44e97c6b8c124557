"""Runs of nerfstudio, made by its real commands: for tests of the plugin."""

import copy
from pathlib import Path

import numpy as np
import torch
from forked import Command

QUICK = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "200"}  # on busy machines
SMALL = [
    *(
        "--pipeline.model.implementation",
        "torch",
        "--machine.device-type",
        "cpu",
        "--mixed-precision",
        "False",
    ),
    *("--pipeline.datamanager.train-num-rays-per-batch", "256", "--pipeline.model.log2-hashmap-size", "13"),
    *("--pipeline.datamanager.eval-num-rays-per-batch", "64", "--pipeline.model.num-levels", "6"),
    *("--pipeline.model.max-res", "256", "--pipeline.model.hidden-dim", "32"),
    *("--pipeline.model.num-proposal-samples-per-ray", "48", "32"),
    *("--pipeline.model.num-nerf-samples-per-ray", "24"),
    *("--vis", "tensorboard", "--steps-per-eval-image", "100000", "--steps-per-eval-batch", "100000"),
]


def offline_lpips(home: Path) -> Path:
    """A TORCH_HOME in which nerfacto finds the weights of LPIPS' AlexNet, all zero: it can be built without
    a network, and only its LPIPS means nothing. Tensors that are one number stretched take no space."""
    from torchvision.models import alexnet

    with torch.device("meta"):
        state = alexnet().state_dict()
    file = home / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.zeros(()).expand(value.shape) for name, value in state.items()}, file)
    return home


def made_run(folder: Path, capture: Path, downscale: int = 1, method: str = "nerfacto", **model):
    """A run folder of a small nerfacto as nerfstudio itself writes it, but with random weights: fog, colors,
    cameras that were corrected. (its folder, nerfstudio's pipeline). Needs `offline_lpips` in TORCH_HOME."""
    from nerfstudio.configs.method_configs import method_configs
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
    from nerfstudio.engine.trainer import Trainer

    config = copy.deepcopy(method_configs[method])
    config.output_dir, config.experiment_name, config.timestamp = folder, "e", "run"
    config.vis, config.machine.device_type, config.data = "tensorboard", "cpu", capture
    config.pipeline.datamanager = VanillaDataManagerConfig(
        data=capture, dataparser=NerfstudioDataParserConfig(downscale_factor=downscale)
    )
    small = {"implementation": "torch", "log2_hashmap_size": 11, "num_levels": 5, "max_res": 128}
    small |= {"hidden_dim": 32, "average_init_density": 1.0, "num_proposal_samples_per_ray": (24, 16)}
    small |= {"num_nerf_samples_per_ray": 12}
    for name, value in {**small, **model}.items():
        setattr(config.pipeline.model, name, value)
    config.save_config()
    torch.manual_seed(1)  # the first weights, too
    trainer = Trainer(config)
    trainer.pipeline = config.pipeline.setup(device="cpu", test_mode="test")
    trainer.optimizers = trainer.setup_optimizers()
    with torch.no_grad():
        for name, weight in trainer.pipeline.named_parameters():
            if name.endswith("hash_table"):
                weight *= 1000
            elif ".field.mlp_" in name and name.endswith("weight"):
                weight *= 4
            elif "pose_adjustment" in name:
                weight += 0.02 * torch.randn_like(weight)
    for group in trainer.optimizers.optimizers.values():
        group.param_groups[0]["lr"] = np.float64(0.01)  # as its schedulers leave it
    trainer.save_checkpoint(30)
    run = config.get_base_dir()
    trainer.pipeline.datamanager.train_dataparser_outputs.save_dataparser_transform(
        run / "dataparser_transforms.json"
    )
    return run, trainer.pipeline.eval()


def start(name: str, *args, home: Path | None = None, cwd: Path) -> Command:
    """Start one of nerfstudio's commands. With `home`, from `offline_lpips`; without it there is no LPIPS."""
    return Command(name, args, cwd, {**QUICK, "TORCH_HOME": str(home or cwd / "no-weights")})


def ns(name: str, *args, home: Path | None = None, cwd: Path, timeout: float = 600):
    """Run one of nerfstudio's commands to its end."""
    command = start(name, *args, home=home, cwd=cwd)
    code = command.wait(timeout)
    assert code == 0, f"{name} {args}:\n{command.said[-6000:]}"


def nerfacto(capture: Path, out: Path, home: Path, steps: int, *flags, dataparser=()) -> Path:
    """`ns-train nerfacto`, small; the run folder."""
    ns(
        *("ns-train", "nerfacto", *SMALL, "--max-num-iterations", steps, "--output-dir", out),
        *(
            "--timestamp",
            "run",
            "--experiment-name",
            "e",
            "--viewer.quit-on-train-completion",
            "True",
            *flags,
        ),
        *("--data", capture, *dataparser),
        home=home,
        cwd=out,
    )
    return out / "e" / "nerfacto" / "run"
