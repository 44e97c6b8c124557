"""`.splat` files: 32 bytes a splat, without a header, as the first splat viewers on the web read them.

A row is the center and the scales as float32, color and opacity as four bytes, and the quaternion as four
bytes, 128 being zero.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from nerf_insert.errors import InputError
from nerf_insert.splats.splats import SH_C0, Splats

ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rotation", "u1", 4)])
SMALLEST = 1e-10  # of a scale, which is stored without a logarithm


def rows_of_file(path: Path) -> np.ndarray:
    """Return the rows of a file, read from the disk as they are used.

    Raises:
        InputError: The size is no multiple of a row's.
    """
    size = path.stat().st_size
    if size % ROW.itemsize or not size:
        raise InputError(
            f"the splats {path} are cut off or no .splat file: {size} bytes are no multiple of "
            f"{ROW.itemsize}; copy or export the file again"
        )
    return np.memmap(path, ROW, "r")


def splats_of_rows(rows: np.ndarray) -> Splats:
    """Return the splats that rows hold."""
    rgba = torch.from_numpy(rows["rgba"].astype(np.float32)) / 255
    return Splats(
        torch.from_numpy(rows["mean"].astype(np.float32)),
        torch.from_numpy(rows["scale"].astype(np.float32)).clamp_min(SMALLEST).log(),
        (torch.from_numpy(rows["rotation"].astype(np.float32)) - 128) / 128,
        rgba[:, 3].clamp(1e-4, 1 - 1e-4).logit(),
        ((rgba[:, :3] - 0.5) / SH_C0)[:, None],
    )


def rows_of_splats(splats: Splats) -> np.ndarray:
    """Return splats as rows; of their colors only the constant part is kept."""
    rows = np.zeros(splats.count, ROW)
    rows["mean"], rows["scale"] = splats.means.numpy(), splats.scales.numpy()
    rgb = splats.sh[:, 0] * SH_C0 + 0.5
    rows["rgba"] = _byte(torch.cat([rgb, splats.opacities[:, None]], 1) * 255)
    unit = torch.nn.functional.normalize(splats.quaternions, dim=1)
    rows["rotation"] = _byte(unit * 128 + 128)
    return rows


def _byte(values: torch.Tensor) -> np.ndarray:
    return values.round().clamp(0, 255).to(torch.uint8).numpy()
