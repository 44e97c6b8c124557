"""nerfstudio's hash encoding computed by our kernels, on a CPU.

The values, the parameters and therefore the checkpoints stay those of nerfstudio's own encoding in
PyTorch; only the time that it takes changes.
"""

from __future__ import annotations

from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn

from nerf_insert.kernels import HashedGridSpec, hash_encode

_theirs = HashEncoding.pytorch_fwd


def patch_nerfstudio() -> None:
    """From now on all of nerfstudio's hash encodings in this process are computed by our kernels."""
    HashEncoding.pytorch_fwd = encode  # type: ignore[method-assign]


def unpatch_nerfstudio() -> None:
    """Take `patch_nerfstudio` back."""
    HashEncoding.pytorch_fwd = _theirs  # type: ignore[method-assign]


def use_kernels(module: nn.Module) -> None:
    """The same for the hash encodings in one module only."""
    for part in module.modules():
        if isinstance(part, HashEncoding):
            part.pytorch_fwd = encode.__get__(part)  # type: ignore[method-assign]


def encode(encoding: HashEncoding, points: Tensor) -> Tensor:
    """What `encoding.pytorch_fwd(points)` gives: points [..., 3] in 0..1 to features [..., L * F]."""
    table = encoding.hash_table
    if table.device.type != "cpu":
        return _theirs(encoding, points)
    flat = hash_encode(points.reshape(-1, 3), table, grid_of(encoding))
    return flat.view(*points.shape[:-1], flat.shape[-1])


def grid_of(encoding: HashEncoding) -> HashedGridSpec:
    spec = getattr(encoding, "_nerf_insert_grid", None)
    if spec is None:
        spec = HashedGridSpec(
            n_levels=encoding.num_levels,
            n_features=encoding.features_per_level,
            log2_hashmap_size=encoding.log2_hashmap_size,
            level_scales=tuple(encoding.scalings.tolist()),
        )
        encoding._nerf_insert_grid = spec
    return spec
