"""The small MLP behind a hash grid (Instant NGP, arXiv 2201.05989, section 4). M points."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from nerf_insert.kernels.dispatch import implementation


def mlp(x: Float[Tensor, "M D"], weights: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "M _"]:
    """Apply linear layers without bias, with ReLU between them and nothing after the last.

    Compiled backends compute the hidden layers again in the backward instead of keeping them.

    Args:
        x: Column-major strides, as `hash_encode` returns them, cost no copy.
        weights: One [out, in] matrix a layer, as torch.nn.Linear keeps them.

    Returns:
        The last layer's output, perhaps as a view with column-major strides.

    Raises:
        ValueError: The shapes do not fit together.
    """
    sizes = [x.shape[-1], *(w.shape[0] for w in weights)]
    if x.ndim != 2 or not weights or [w.shape[1] for w in weights] != sizes[:-1]:
        shapes = ", ".join(str(list(w.shape)) for w in weights)
        raise ValueError(f"an input {list(x.shape)} does not fit to the weights {shapes or 'of no layer'}")
    return implementation("mlp", x)(x, weights)
