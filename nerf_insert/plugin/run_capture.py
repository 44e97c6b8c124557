"""The capture that a run of nerfstudio was trained on, as the run's own dataparser reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.dataparsers import HARMLESS, NO_POINTS, other_dataparser, quiet
from nerf_insert.capture.reading import FIRST, Reading
from nerf_insert.errors import InputError
from nerf_insert.plugin.run_reader import Name, Plain, Run


@dataclass(frozen=True)
class Parsed:
    """What the run's dataparser makes of the capture."""

    name: str
    train: list[Path]
    test: list[Path]
    poses: Float[Tensor, "N 3 4"]  # of the training views, model coordinates
    downscale: int


def dataparser_config(run: Run, data: Path, trust: bool = False) -> tuple[str, Any]:
    """Return the name and config of the run's own dataparser, for a capture at `data`.

    Raises:
        InputError: The dataparser is not installed or, without `trust`, may execute code from a capture; or
            there is no capture.
    """
    from nerfstudio.configs.dataparser_configs import all_dataparsers

    known = {f"{type(c).__module__}.{type(c).__qualname__}": n for n, c in all_dataparsers.items()}
    if run.dataparser.kind not in known:
        raise InputError(f"{run.path} needs the dataparser {run.dataparser.kind}, which is not installed")
    if not data.exists():
        raise InputError(
            f"the capture of {run.path} is not at {data}: say where it is now (CAPTURE, or --data)"
        )
    name = known[run.dataparser.kind]
    kind = type(other_dataparser(name))
    if not trust and name.removesuffix("-data") not in HARMLESS:
        raise InputError(
            f"{run.path} reads its capture with the dataparser {name}, which can execute code from a "
            "capture: it is refused, and nothing was run. If you trust both authors, --trust reads them"
        )
    fields = run.dataparser.fields.items()
    given = {k: v for k, v in fields if k != "_target" and not isinstance(v, Name | Plain)}
    try:
        return name, kind(**{**given, "data": data, **{k: v for k, v in NO_POINTS.items() if k in given}})
    except TypeError as error:
        raise InputError(f"{run.path} is not for the nerfstudio that is installed: {error}") from error


def parse(run: Run, data: Path, trust: bool = False) -> Parsed:
    """Read the capture with the run's own dataparser, and check that its transform is the run's.

    Raises:
        InputError: It cannot be read, or has changed since.
    """
    name, config = dataparser_config(run, data, trust)
    try:
        with quiet():
            parser = config.setup()
            outputs = parser.get_dataparser_outputs(split="train")
            test = parser.get_dataparser_outputs(split="test")
    except (Exception, SystemExit) as error:
        raise InputError(f"nerfstudio's dataparser {name} cannot read {data}: {error!r}") from error
    then, now = run.transform, outputs.dataparser_transform
    if then is not None:
        try:
            moved = (torch.tensor(then["transform"]) - now).abs().max() > 1e-4
            moved = bool(moved) or abs(then["scale"] / outputs.dataparser_scale - 1) > 1e-4
        except (KeyError, TypeError, ValueError, RuntimeError) as cause:
            raise InputError(f"{run.path.parent / 'dataparser_transforms.json'} is damaged") from cause
        if moved:
            raise InputError(
                f"the capture {data} has changed since {run.path} was trained on it (photographs were added "
                "or taken away): nerfstudio would place it elsewhere. Restore it as it was then"
            )
    return Parsed(
        name,
        [Path(file) for file in outputs.image_filenames],
        [Path(file) for file in test.image_filenames],
        outputs.cameras.camera_to_worlds.double(),
        int(getattr(parser, "downscale_factor", None) or 1),
    )


def load_capture(parsed: Parsed, data: Path) -> Capture:
    """Load the same photographs as the run's dataparser has read."""
    name = None if parsed.name in ("nerfstudio-data", "blender-data", "colmap") else parsed.name
    return Capture.load(
        data,
        dataparser=name,
        downscale=parsed.downscale if parsed.downscale > 1 else None,
        reading=Reading(model=FIRST),  # which nerfstudio reads, larger ones or not
    )


def name_of(capture: Capture, path: Path) -> str:
    """Return the name of the view that an image file of the dataparser, maybe a smaller copy, belongs to."""
    try:
        return capture.view(str(path)).name
    except InputError:
        return capture.view(path.name).name
