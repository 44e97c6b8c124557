"""A trained run of nerfstudio as the base of a scene.

The capture's world coordinates stay what they are; the base knows the way into the *model* coordinates,
in which the run was trained. Where the run corrected its cameras, the scene's cameras are corrected too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.dataparsers import HARMLESS, NO_POINTS, other_dataparser, quiet
from nerf_insert.capture.reading import FIRST, Reading
from nerf_insert.errors import InputError, warnings_to
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.nerfacto import NerfactoBase, NerfactoSpec, spec_fields
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.geometry.cameras import Camera
from nerf_insert.plugin.checkpoint_reader import read_weights
from nerf_insert.plugin.run_reader import Name, Plain, Run, read_run
from nerf_insert.plugin.similarity import into_model, invert, similarity
from nerf_insert.rendering.outputs import check_folder
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene, check_free

NERFACTOS = (
    "nerfstudio.models.nerfacto.NerfactoModelConfig",
    "nerfstudio.models.depth_nerfacto.DepthNerfactoModelConfig",
)
OUR_BASE = "nerf_insert.plugin.config.NerfInsertBaseModelConfig"
OUR_EDIT = "nerf_insert.plugin.config.NerfInsertModelConfig"
NO_APPEARANCE = "this model was trained without appearance embeddings: leave out --appearance"
EMBEDDING = "field.embedding_appearance.embedding.weight"
# Parts of a nerfacto that rendering it does not need.
UNUSED = (
    *("camera_optimizer.", "device_indicator_param", "lpips.", "psnr.", "ssim.", "rgb_loss.", "renderer_"),
    *("normals_shader.", "field.mlp_pred_normals.", "field.field_head_pred_normals."),
    "field.position_encoding.",
)


@dataclass(frozen=True)
class Adopted:
    """What `Scene.create` takes."""

    capture: Capture
    base: SceneField | NerfactoBase
    dataparser: str | None
    downscale: float | None


@dataclass(frozen=True)
class Parsed:
    """What the run's dataparser makes of the capture."""

    name: str
    train: list[Path]
    test: list[Path]
    poses: Float[Tensor, "N 3 4"]  # of the training views, model coordinates
    downscale: int


def adopt(
    run: Run, capture: str | Path | None = None, appearance: str | None = None, trust: bool = False
) -> Adopted:
    """Read a run's capture and model.

    Args:
        run: The run.
        capture: Where the photographs are now; by default where they were.
        appearance: The training photograph whose exposure the base gets; by default as nerfstudio renders it.
        trust: Use dataparsers and loaders that can execute code embedded in the files.

    Raises:
        InputError: The run cannot be used; the message says why.
    """
    kind = run.model.kind
    if kind == OUR_EDIT:
        raise InputError(
            f"{run.path} is an edited scene already: its scene folder is in the run's checkpoint"
        )
    if kind not in (*NERFACTOS, OUR_BASE):
        raise InputError(
            f"{run.path} holds a {kind.rpartition('.')[2].removesuffix('ModelConfig')}: nerfacto, "
            "nerfacto-big, nerfacto-huge, depth-nerfacto and nerf-insert-base can be adopted"
        )
    data = Path(capture) if capture is not None else run.data
    parsed = parse(run, data, trust)
    found = load_capture(parsed, data)
    names = {path: name_of(found, path) for path in (*parsed.train, *parsed.test)}
    train = [names[path] for path in parsed.train]
    world = torch.stack([found.view(name).camera.c2w for name in train])
    to_model = similarity(world, parsed.poses)
    weights = read_weights(run.checkpoint, trust)
    corrected = corrections(run, weights, parsed.poses)
    poses = {}
    if corrected is not None:
        back = into_model(corrected, invert(to_model)).float()
        poses = dict(zip(train, back, strict=True))
    test = [names[path] for path in parsed.test if names[path] not in set(train)]
    found = found.adjusted(poses, train, test)
    try:
        if kind == OUR_BASE:
            if appearance is not None:
                raise InputError(NO_APPEARANCE)
            base: SceneField | NerfactoBase = our_base(run.model, weights, to_model)
        else:
            base = nerfacto(run.model, weights, to_model, train, appearance)
    except (KeyError, ValueError, TypeError, RuntimeError) as cause:
        raise InputError(
            f"the checkpoint {run.checkpoint} does not fit its config.yml: {cause}. Was it written by "
            "nerfstudio 1.1 or newer?"
        ) from cause
    name = None if parsed.name in ("nerfstudio-data", "blender-data", "colmap") else parsed.name
    return Adopted(found, base, name, parsed.downscale if parsed.downscale > 1 else None)


def import_scene(
    config: str | Path,
    out: str | Path,
    *,
    capture: str | Path | None = None,
    appearance: str | None = None,
    trust: bool = False,
    progress: Progress = SILENT,
) -> Scene:
    """Make a scene folder of a run that was trained in nerfstudio; its model becomes the base.

    Args:
        config: The `config.yml` of a nerfacto, depth-nerfacto or nerf-insert-base run.
        out: The scene folder to make. It must not hold a scene yet.
        capture: Where the photographs are now. Default: where the run says.
        appearance: Name of a training photograph whose exposure the base is to have. Default: as nerfstudio
            renders it.
        trust: Load the run with nerfstudio's own loader, which can execute code embedded in the files.
        progress: Where warnings go.

    Returns:
        The new scene, with no layers.

    Raises:
        InputError: The run cannot be used, or `out` holds something else.
    """
    out = Path(out)
    check_free(out)
    with warnings_to(progress.warn):
        found = adopt(read_run(config, trust), capture, appearance, trust)
    for warning in found.capture.warnings:
        progress.warn(warning)
    check_folder(out)
    return Scene.create(out, found.capture, found.base, found.dataparser, found.downscale, keep_views=True)


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


def corrections(
    run: Run, weights: dict[str, Tensor], poses: Float[Tensor, "N 3 4"]
) -> Float[Tensor, "N 3 4"] | None:
    """Return the training poses that the run's camera optimizer has corrected, in model coordinates.

    None if it had no camera optimizer.

    Raises:
        InputError: The number of photographs has changed.
    """
    learned = weights.get("_model.camera_optimizer.pose_adjustment")
    mode = run.model.get("camera_optimizer.mode", "off")
    if learned is None or mode == "off":
        return None
    from nerfstudio.cameras.lie_groups import exp_map_SE3, exp_map_SO3xR3

    if learned.shape != (len(poses), 6):
        raise InputError(
            f"{run.path} was trained on {len(learned)} photographs and the capture has {len(poses)} to train "
            "on: is this the capture that it was trained on, unchanged?"
        )
    change = (exp_map_SE3 if mode == "SE3" else exp_map_SO3xR3)(learned.double())
    turned = change[:, :, :3] @ poses[:, :, :3]
    return torch.cat([turned, poses[:, :, 3:] + change[:, :, 3:]], -1)


def nerfacto(
    model: Plain,
    weights: dict[str, Tensor],
    to_model: Float[Tensor, "3 4"],
    train: list[str],
    appearance: str | None,
) -> NerfactoBase:
    """Build the base of a nerfacto run.

    Raises:
        InputError: The appearance is not that of a training photograph.
        KeyError, TypeError, ValueError, RuntimeError: Config and weights do not fit.
    """
    given = {name: model.fields[name] for name in spec_fields() if name in model.fields}
    for name in ("num_proposal_samples_per_ray", "proposal_net_args_list"):
        given[name] = tuple(given[name])
    if not model.fields.get("use_appearance_embedding", True):
        given["appearance_embed_dim"] = 0
    own, unknown = {}, []
    for key, value in weights.items():
        name = key.removeprefix("_model.")
        if name.startswith(UNUSED):
            continue
        if not key.startswith("_model.") or not name.startswith(("field.", "proposal_networks.")):
            unknown.append(key)
        else:
            own[name] = value
    if unknown:
        raise ValueError(f"no nerfacto has {', '.join(sorted(unknown)[:5])}")
    if given.get("appearance_embed_dim", 32) > 0:
        own[EMBEDDING] = frozen_appearance(model, own[EMBEDDING], train, appearance)
    elif appearance is not None:
        raise InputError(NO_APPEARANCE)
    aabb = own["field.aabb"]
    if not 0 < float((aabb[1] - aabb[0]).min()):
        raise ValueError("its scene box is empty")
    return NerfactoBase(NerfactoSpec(**given), to_model, aabb, own)


def frozen_appearance(
    model: Plain, table: Float[Tensor, "N D"], train: list[str], appearance: str | None
) -> Float[Tensor, "1 D"]:
    """Return the appearance embedding to render with: of one photograph, the mean, or zero, as in nerfstudio.

    Raises:
        InputError: The appearance is not that of a training photograph.
    """
    if appearance is not None:
        chosen = [k for k, name in enumerate(train) if appearance in (name, Path(name).name, Path(name).stem)]
        if len(chosen) != 1 or len(table) != len(train):
            raise InputError(
                f"--appearance {appearance} is not one of the {len(train)} photographs that the model was "
                f"trained on, such as {train[0]}"
            )
        return table[chosen]
    if model.fields.get("use_average_appearance_embedding", True):
        return table.mean(0, keepdim=True)
    return torch.zeros_like(table[:1])


def our_base(model: Plain, weights: dict[str, Tensor], to_model: Float[Tensor, "3 4"]) -> SceneField:
    """Build the base of a nerf-insert-base run.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: Config and weights do not fit.
    """
    base = SceneField(field_config(model.fields), to_model)
    used = {name: value for name, value in weights.items() if name != "_model.device_indicator_param"}
    own = {name.removeprefix("_model.base."): value for name, value in used.items()}
    base.load_state_dict({**own, "to_field": base.to_field})
    return base.eval().requires_grad_(False)


def field_config(fields: dict[str, Any]) -> FieldConfig:
    """Return the size of the field of a NerfInsertBaseModelConfig."""
    return FieldConfig(
        n_levels=fields["num_levels"],
        log2_hashmap_size=fields["log2_hashmap_size"],
        base_resolution=fields["base_res"],
        max_resolution=fields["max_res"],
        width=fields["hidden_dim"],
    )


def model_to_world(capture: Capture, config: Path, trust: bool = False) -> Float[Tensor, "3 4"]:
    """Return the similarity from a run's model coordinates, those of its viewer, to the capture's world.

    A run rotates, moves and scales the capture when it reads it.

    Args:
        capture: The capture that the run was trained on, with its cameras as they were found.
        config: The run's config.yml.
        trust: Open the run with nerfstudio's own loader, which runs whatever code it holds.

    Raises:
        InputError: The run is of another capture, or cannot be read.
    """
    parsed = parse(read_run(config, trust), capture.path, trust)
    world = torch.stack([capture.view(name_of(capture, path)).camera.c2w for path in parsed.train])
    return invert(similarity(world, parsed.poses))


def cameras_in_world(
    named: Sequence[tuple[str, Camera]], back: Float[Tensor, "3 4"]
) -> list[tuple[str, Camera]]:
    """Bring (name, camera) pairs from model coordinates into the world, by `model_to_world`."""
    return [
        (name, replace(camera, c2w=into_model(camera.c2w.double(), back).float())) for name, camera in named
    ]


def world_from_nerfstudio(
    scene: Scene | str | Path, config: str | Path, *, trust: bool = False
) -> Float64[Tensor, "4 4"]:
    """Return the similarity from a nerfstudio run's coordinates to a scene's world coordinates.

    A run rotates, moves and scales the capture when it reads it; its viewer and `ns-export` show and write
    things in these coordinates. The matrix is a pose for `edit` and `make_recipe`.

    Args:
        scene: The scene, or its folder.
        config: The `config.yml` of a run of the same capture.
        trust: Load the run with nerfstudio's own loader, which can execute code embedded in the files.

    Raises:
        InputError: The run cannot be read, or is of another capture.
    """
    scene = scene if isinstance(scene, Scene) else Scene.open(scene)
    capture = scene.capture_as_found
    back = model_to_world(capture, Path(config), trust).clone()
    back[:, 3] += torch.tensor(capture.origin, dtype=torch.float64)
    return torch.cat([back, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)])
