"""Loading a scene's base field, of whichever kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nerf_insert.io.files import read_tensors
from nerf_insert.runtime.devices import device

if TYPE_CHECKING:
    from nerf_insert.fields.nerfacto import NerfactoBase
    from nerf_insert.fields.scene_field import SceneField
    from nerf_insert.fields.splat_field import SplatField


def load_base(path: Path) -> SceneField | NerfactoBase | SplatField:
    """Load our own hash-grid field, on the device for fields, or an imported nerfacto or splats, on the CPU.

    Raises:
        InputError: The file holds none of them.
    """
    _, metadata = read_tensors(path)
    if metadata.get("kind") == "nerfacto":
        from nerf_insert.fields.nerfacto import NerfactoBase

        return NerfactoBase.load(path)
    if metadata.get("kind") == "splats":
        from nerf_insert.fields.splat_field import SplatField

        return SplatField.load(path)
    from nerf_insert.fields.scene_field import SceneField

    return SceneField.load(path).to(device())
