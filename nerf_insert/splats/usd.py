"""Writing splats as USD: one prim of the schema ParticleField3DGaussianSplat (OpenUSD 26.03 and newer)."""

# pyright: reportAttributeAccessIssue=false
# pxr fills its modules while they are loaded.
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from nerf_insert.io.files import ADVICE
from nerf_insert.runtime.extras import require
from nerf_insert.splats.moving import turn
from nerf_insert.splats.splats import Splats


def write_usd(path: Path, splats: Splats, up: Sequence[float] = (0.0, 1.0, 0.0)) -> None:
    """Write splats to a USD file; its suffix, .usd, .usda or .usdc, says which kind.

    Args:
        path: The file.
        splats: The splats.
        up: The direction that points up in the splats' coordinates.

    Raises:
        InputError: USD's library is not installed.
        OSError: The file cannot be written.
    """
    require("pxr", "splats", "writing USD")
    from pxr import Gf, Tf, Usd, UsdGeom, UsdVol, Vt

    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    prim = UsdVol.ParticleField3DGaussianSplat.Define(stage, "/splats")
    stage.SetDefaultPrim(prim.GetPrim())
    x, y, z, w = turn(up, (0.0, 1.0, 0.0))
    UsdGeom.Xformable(prim).AddOrientOp(UsdGeom.XformOp.PrecisionDouble).Set(Gf.Quatd(w, x, y, z))
    unit = torch.nn.functional.normalize(splats.quaternions, dim=1).numpy()
    scales = splats.scales.numpy()
    means = splats.means.numpy()
    prim.CreatePositionsAttr(Vt.Vec3fArray.FromNumpy(means))
    prim.CreateScalesAttr(Vt.Vec3fArray.FromNumpy(scales))
    prim.CreateOrientationsAttr(Vt.QuatfArray.FromNumpy(np.roll(unit, -1, axis=1)))  # imaginary part first
    prim.CreateOpacitiesAttr(Vt.FloatArray.FromNumpy(splats.opacities.numpy()))
    prim.CreateRadianceSphericalHarmonicsDegreeAttr(splats.degree)
    coefficients = splats.sh.reshape(-1, 3).contiguous().numpy()
    prim.CreateRadianceSphericalHarmonicsCoefficientsAttr(Vt.Vec3fArray.FromNumpy(coefficients))
    reach = 3 * scales.max(1, keepdims=True)
    extent = np.stack([(means - reach).min(0), (means + reach).max(0)]).astype(np.float32)
    prim.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(extent))
    try:
        stage.GetRootLayer().Save()
    except Tf.ErrorException as cause:  # it holds the system's words, and no number
        code = next((code for code in ADVICE if os.strerror(code) in str(cause)), 0)
        raise OSError(code, os.strerror(code) if code else "USD's library failed to write it") from None
