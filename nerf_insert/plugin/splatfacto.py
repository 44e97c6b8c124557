"""The splats of a splatfacto run as a base."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from nerf_insert.fields.splat_field import SplatField
from nerf_insert.plugin.run_reader import Plain
from nerf_insert.plugin.similarity import invert
from nerf_insert.splats.moving import moved
from nerf_insert.splats.splats import SH_C0, Splats

SPLATFACTO = "nerfstudio.models.splatfacto.SplatfactoModelConfig"
BACKGROUNDS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0), "random": (0.1490, 0.1647, 0.2157)}


def splatfacto(
    model: Plain, weights: dict[str, Tensor], to_model: Float[Tensor, "3 4"], scale: float
) -> SplatField:
    """Build the base of a splatfacto run, as nerfstudio renders it.

    Args:
        model: The config of the model.
        weights: The tensors of its checkpoint.
        to_model: From world to model coordinates.
        scale: Field units per world unit.

    Raises:
        KeyError, ValueError, TypeError, RuntimeError: Config and weights do not fit.
    """
    own = {name: value.float() for key, value in weights.items() for name in [_name(key)] if name}
    degree = int(model.fields.get("sh_degree", 3))
    constant = own["features_dc"].view(-1, 1, 3)
    if degree == 0:  # such runs hold the logit of the color
        constant = (constant.sigmoid() - 0.5) / SH_C0
    sh = torch.cat([constant, own["features_rest"].view(len(constant), -1, 3)], 1)
    if sh.shape[1] != (degree + 1) ** 2:
        raise ValueError(f"it has {sh.shape[1]} coefficients a color, its degree is {degree}")
    splats = Splats(own["means"], own["scales"], own["quats"], own["opacities"].view(-1), sh.contiguous())
    if not splats.count or any(len(tensor) != splats.count for tensor in splats.tensors()):
        raise ValueError("its splats are none or not complete")
    background = torch.tensor(BACKGROUNDS[model.fields.get("background_color", "random")])
    antialiased = model.fields.get("rasterize_mode", "classic") == "antialiased"
    return SplatField(moved(splats, invert(to_model)), scale, background, antialiased).eval()


def _name(key: str) -> str:
    """Return the name of a parameter of the splats; "" for anything else."""
    name = key.removeprefix("_model.").removeprefix("gauss_params.")
    return name if name in ("means", "scales", "quats", "features_dc", "features_rest", "opacities") else ""
