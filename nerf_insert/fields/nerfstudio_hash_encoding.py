"""nerfstudio's hash encoding computed by our kernels, on a CPU.

Values, parameters and therefore checkpoints stay those of nerfstudio's encoding in PyTorch; it only gets
faster.
"""

from __future__ import annotations

from nerfstudio.field_components.encodings import HashEncoding
from torch import Tensor, nn

from nerf_insert.kernels import HashedGridSpec, hash_encode

_original = HashEncoding.pytorch_fwd


def patch_nerfstudio() -> None:
    """Compute all of nerfstudio's hash encodings in this process with our kernels from now on."""
    HashEncoding.pytorch_fwd = encode  # type: ignore[method-assign]


def unpatch_nerfstudio() -> None:
    """Undo `patch_nerfstudio`."""
    HashEncoding.pytorch_fwd = _original  # type: ignore[method-assign]


def use_kernels(module: nn.Module) -> None:
    """Compute the hash encodings inside one module with our kernels."""
    for part in module.modules():
        if isinstance(part, HashEncoding):
            part.pytorch_fwd = encode.__get__(part)  # type: ignore[method-assign]


def encode(encoding: HashEncoding, points: Tensor) -> Tensor:
    """Compute `encoding.pytorch_fwd(points)`: points [..., 3] in 0..1 to features [..., L * F]."""
    table = encoding.hash_table
    if table.device.type != "cpu":
        return _original(encoding, points)
    flat = hash_encode(points.reshape(-1, 3), table, grid_of(encoding))
    return flat.view(*points.shape[:-1], flat.shape[-1])


def grid_of(encoding: HashEncoding) -> HashedGridSpec:
    """Return the shape of nerfstudio's grid, kept on the encoding after the first call."""
    spec = getattr(encoding, "_nerf_insert_grid", None)
    if spec is None:
        spec = HashedGridSpec(
            n_levels=encoding.num_levels,
            n_features=encoding.features_per_level,
            log2_hashmap_size=encoding.log2_hashmap_size,
            level_scales=tuple(encoding.scalings.tolist()),
        )
        encoding._nerf_insert_grid = spec  # pyright: ignore[reportArgumentType]  # neither tensor nor module
    return spec
