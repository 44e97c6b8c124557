"""Names that files of the first version (0.1.0) use, translated when such a file is read.

Buffers are renamed by a hook of `load_state_dict`, so that base and layer files, checkpoints of a run and
checkpoints of nerfstudio all pass through it. Nothing is written under an old name.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

BUFFERS = {"seen": "weight_ema", "start": "density_bias"}  # of SceneField and Layer
METADATA = {"shell": "blend_width"}  # of a layer file


def accept_old_buffers(module: nn.Module) -> None:
    """Let the module's `load_state_dict` take state under the old names of its buffers."""
    module.register_load_state_dict_pre_hook(_rename_buffers)


def rename_metadata(metadata: dict[str, str]) -> dict[str, str]:
    """Return the metadata of a weights file with old keys replaced by today's."""
    return {METADATA.get(key, key): value for key, value in metadata.items()}


def _rename_buffers(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    own = dict(module.named_buffers(recurse=False))
    for old, new in BUFFERS.items():
        if new in own and prefix + old in state:
            state[prefix + new] = state.pop(prefix + old)
