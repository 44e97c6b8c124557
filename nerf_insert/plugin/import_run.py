"""A trained run of nerfstudio as the base of a scene.

The capture's world coordinates stay what they are; the base knows the way into the *model* coordinates,
in which the run was trained. Where the run corrected its cameras, the scene's cameras are corrected too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError, warnings_to
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.nerfacto import NerfactoBase, NerfactoSpec, spec_fields
from nerf_insert.fields.scene_field import SceneField
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.plugin.checkpoint_reader import read_weights
from nerf_insert.plugin.run_capture import load_capture, name_of, parse
from nerf_insert.plugin.run_reader import Plain, Run, read_run
from nerf_insert.plugin.similarity import into_model, invert, similarity
from nerf_insert.plugin.splatfacto import SPLATFACTO, splatfacto
from nerf_insert.rendering.outputs import check_folder
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.adopt_splats import field_scale
from nerf_insert.scene.scene import Scene, check_free, lock_scene

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
    base: SceneField | NerfactoBase | SplatField
    dataparser: str | None
    downscale: float | None


def adopt(
    run: Run,
    capture: str | Path | None = None,
    appearance: str | None = None,
    trust: bool = False,
    splats: bool = False,
) -> Adopted:
    """Read a run's capture and model.

    Args:
        run: The run.
        capture: Where the photographs are now; by default where they were.
        appearance: The training photograph whose exposure the base gets; by default as nerfstudio renders it.
        trust: Use dataparsers and loaders that can execute code embedded in the files.
        splats: Whether a splatfacto may be adopted.

    Raises:
        InputError: The run cannot be used; the message says why.
    """
    kind = run.model.kind
    if kind == OUR_EDIT:
        raise InputError(
            f"{run.path} is an edited scene already: its scene folder is in the run's checkpoint"
        )
    if kind == SPLATFACTO and not splats:
        raise InputError(
            f"{run.path} holds a splatfacto: make a scene of it with `nerf-insert train --nerfstudio`"
        )
    if kind not in (*NERFACTOS, OUR_BASE, SPLATFACTO):
        raise InputError(
            f"{run.path} holds a {kind.rpartition('.')[2].removesuffix('ModelConfig')}: nerfacto, "
            "nerfacto-big, nerfacto-huge, depth-nerfacto, nerf-insert-base and splatfacto can be adopted"
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
        if kind in (OUR_BASE, SPLATFACTO) and appearance is not None:
            raise InputError(NO_APPEARANCE)
        base: SceneField | NerfactoBase | SplatField
        if kind == SPLATFACTO:
            base = splatfacto(run.model, weights, to_model, field_scale(found))
        elif kind == OUR_BASE:
            base = our_base(run.model, weights, to_model)
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
        config: The `config.yml` of a nerfacto, depth-nerfacto, nerf-insert-base or splatfacto run.
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
        found = adopt(read_run(config, trust), capture, appearance, trust, splats=True)
    for warning in found.capture.warnings:
        progress.warn(warning)
    check_folder(out)
    how = found.dataparser, found.downscale
    with lock_scene(out):
        return Scene.create(out, found.capture, found.base, *how, keep_views=True)


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
