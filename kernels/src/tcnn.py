"""Hash encoding and MLP computed by tiny-cuda-nn; importing this module fails where importing that does.

Parameters stay ours: its modules are called with our table and weights, in its layout, in place of their
own. Grids have the same layout. Its networks take one flat array of [out, in] matrices whose widths are
padded to multiples of 16; it feeds ones, not zeros, to the padding of the input, so the weights there are
zero. Everything passes through autograd, so gradients come back in our layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import tinycudann
import torch
from torch import Tensor, nn

from nerf_insert.kernels.dispatch import after
from nerf_insert.kernels.hashgrid import GridSpec
from nerf_insert.kernels.precision import number_type
from nerf_insert.kernels.reference import clamped

FEATURES = (1, 2, 4, 8)  # per level, that it is compiled for
WIDTHS = (16, 32, 64, 128)  # of its fully fused networks
ALIGNMENT = 16


def hash_encode(points: Tensor, table: Tensor, spec: GridSpec) -> Tensor:
    """Encode points; see `kernels.hashgrid.hash_encode`. Grids it lacks go to the next backend."""
    if type(spec) is not GridSpec or spec.n_features not in FEATURES or not len(points):
        return after("tcnn", "hash_encode", table)(points, table, spec)
    module = _encoding(spec, number_type(table), table.device)
    return _call(module, table, clamped(points))


@cache
def _encoding(spec: GridSpec, dtype: torch.dtype, device: torch.device) -> nn.Module:
    config = {
        "otype": "HashGrid",
        "n_levels": spec.n_levels,
        "n_features_per_level": spec.n_features,
        "log2_hashmap_size": spec.log2_hashmap_size,
        "base_resolution": spec.base_resolution,
        "per_level_scale": spec.per_level_scale,
        "interpolation": "Linear",
    }
    return _without_parameters(tinycudann.Encoding(3, config, dtype=dtype))


def mlp(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Apply the layers; see `kernels.mlp.mlp`. Networks it lacks go to the next backend."""
    hidden = max([w.shape[0] for w in weights[:-1]], default=0)
    if not 0 < hidden <= WIDTHS[-1] or number_type(x) != torch.float16 or not len(x):
        return after("tcnn", "mlp", x)(x, weights)
    width = next(n for n in WIDTHS if n >= hidden)
    module = _network(x.shape[1], weights[-1].shape[0], width, len(weights) - 1, x.device)
    return _call(module, flat_weights(weights, width), x)


@cache
def _network(inputs: int, outputs: int, width: int, hidden: int, device: torch.device) -> nn.Module:
    config = {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": width,
        "n_hidden_layers": hidden,
    }
    return _without_parameters(tinycudann.Network(inputs, outputs, config))


def flat_weights(weights: Sequence[Tensor], width: int) -> Tensor:
    """Pack weight matrices as tiny-cuda-nn takes them, all hidden layers `width` wide."""
    align = lambda n: -(-n // ALIGNMENT) * ALIGNMENT  # noqa: E731
    widths = [align(weights[0].shape[1]), *[width] * (len(weights) - 1), align(weights[-1].shape[0])]
    return torch.cat(
        [
            nn.functional.pad(w, (0, columns - w.shape[1], 0, rows - w.shape[0])).reshape(-1)
            for w, (columns, rows) in zip(weights, pairwise(widths), strict=True)
        ]
    )


def _without_parameters(module: nn.Module) -> nn.Module:
    parameters = module.params
    assert isinstance(parameters, Tensor)  # all weights of a module of tiny-cuda-nn, in one vector
    module.params = nn.Parameter(parameters.detach()[:0], requires_grad=False)
    return module


def _call(module: nn.Module, parameters: Tensor, x: Tensor) -> Tensor:
    result = torch.func.functional_call(module, {"params": parameters.reshape(-1)}, (x,))
    return result.to(x.dtype)
