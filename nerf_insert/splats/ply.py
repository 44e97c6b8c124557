"""PLY files of splats: the layout of INRIA's reference implementation, one row of numbers a splat.

The header says which column lies where, so files with further columns or another order are read as well, and
their rows can be written again byte for byte. SuperSplat's compressed layout is only told apart here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.splats.splats import SH_COUNTS, Splats

MAX_HEADER = 1 << 16  # bytes
TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
COLUMNS = ("x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2", "opacity")
COLUMNS += ("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3")
CHUNK = 256  # splats that share their bounds in the compressed layout


@dataclass(frozen=True)
class PlyLayout:
    """Where the rows of a PLY file's splats lie.

    Attributes:
        header: The header's bytes, up to the first element.
        offset: Where the splats' rows begin, bytes.
        count: The number of splats.
        dtype: A row.
        compressed: Whether it is SuperSplat's compressed layout.
    """

    header: bytes
    offset: int
    count: int
    dtype: np.dtype
    compressed: bool

    def rows(self, path: Path) -> np.ndarray:
        """Return the splats' rows of the file, read from the disk as they are used."""
        return np.memmap(path, self.dtype, "r", self.offset, (self.count,))


def read_layout(path: Path) -> PlyLayout:
    """Read and check the header of a PLY file of splats.

    Raises:
        InputError: The file is no PLY of splats, is text, or is cut off.
    """
    with path.open("rb") as file:
        head = file.read(MAX_HEADER)
    end = head.find(b"end_header")
    newline = head.find(b"\n", end)
    if not head.startswith(b"ply") or end < 0 or newline < 0:
        raise InputError(f"the splats {path} have no PLY header: the file is damaged, export it again")
    header = head[: newline + 1]
    order, elements = _elements(path, header.decode("ascii", "replace").splitlines())
    offset, size = len(header), path.stat().st_size
    for name, count, columns in elements:
        try:
            dtype = np.dtype([(column, order + kind) for column, kind in columns])
        except ValueError as cause:
            raise InputError(f"the splats {path} have a damaged PLY header: {cause}") from None
        if name == "vertex":
            break
        offset += count * dtype.itemsize
    else:
        raise InputError(f"{path} holds no splats: its PLY header names no vertices")
    names = dtype.names or ()
    compressed = "packed_position" in names
    if compressed:
        chunks = next((count for name, count, _ in elements if name == "chunk"), 0)
        if chunks * CHUNK < count:
            raise InputError(f"the splats {path} are damaged: {count} of them need more than {chunks} chunks")
    elif missing := [column for column in COLUMNS if column not in names]:
        what = "a point cloud or a mesh" if "scale_0" not in names else "splats of another kind"
        raise InputError(
            f"{path} holds no 3D Gaussian splats: its vertices have no {missing[0]} (it seems to be {what})"
        )
    there = max(0, size - offset) // max(1, dtype.itemsize)
    if there < count:
        raise InputError(
            f"the splats {path} are cut off: {count} of them are announced and {there} are there; copy or "
            "export the file again"
        )
    return PlyLayout(header, offset, count, dtype, compressed)


def _elements(path: Path, lines: list[str]) -> tuple[str, list[tuple[str, int, list[tuple[str, str]]]]]:
    """Return the byte order and the elements of a header: name, count, columns with their types."""
    order, elements = "", []
    for line in lines[1:]:
        words = line.split()
        try:
            if words[:1] == ["format"]:
                order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(words[1], "text")
            elif words[:1] == ["element"]:
                elements.append((words[1], int(words[2]), []))
            elif words[:1] == ["property"] and any(name == "vertex" for name, _, _ in elements[:-1]):
                pass  # what follows the splats is of no interest
            elif words[:1] == ["property"]:
                elements[-1][2].append((words[2], TYPES[words[1]]))
        except (IndexError, ValueError, KeyError):
            raise InputError(
                f"the splats {path} have a PLY header that cannot be read at {line[:80]!r}"
            ) from None
    if order not in ("<", ">"):
        raise InputError(f"the splats {path} are text: save them as a binary PLY")
    if any(count < 0 for _, count, _ in elements):
        raise InputError(f"the splats {path} have a damaged PLY header: a count is negative")
    return order, elements


def splats_of_rows(path: Path, rows: np.ndarray) -> Splats:
    """Return the splats that rows hold.

    Raises:
        InputError: They have a number of SH coefficients that no degree has.
    """
    found = {name for name in rows.dtype.names or () if name.startswith("f_rest_")}
    rest = [f"f_rest_{k}" for k in range(len(found))]
    if len(rest) // 3 + 1 not in SH_COUNTS or len(rest) % 3 or found != set(rest):
        raise InputError(
            f"the splats {path} have {len(rest)} SH coefficients above the constant one: 0, 9, 24 or 45 were "
            "expected, named f_rest_0 and so on"
        )

    def columns(names: list[str]) -> Tensor:
        return torch.from_numpy(np.stack([rows[name].astype(np.float32) for name in names], 1))

    constant = columns(["f_dc_0", "f_dc_1", "f_dc_2"])[:, None]
    higher = constant[:, :0]
    if rest:  # by channel: all of red, of green, of blue
        higher = columns(rest).view(len(rows), 3, -1).transpose(1, 2)
    return Splats(
        columns(["x", "y", "z"]),
        columns(["scale_0", "scale_1", "scale_2"]),
        columns(["rot_0", "rot_1", "rot_2", "rot_3"]),
        columns(["opacity"])[:, 0],
        torch.cat([constant, higher], 1).contiguous(),
    )


def rows_of_splats(splats: Splats, dtype: np.dtype | None = None) -> np.ndarray:
    """Return splats as rows of a layout, by default that of INRIA; columns it has besides are 0."""
    dtype = inria_dtype(splats.degree) if dtype is None else dtype
    rows = np.zeros(splats.count, dtype)
    means, log_scales, quaternions, logits, sh = (tensor.numpy() for tensor in splats.tensors())
    values = {
        **dict(zip("xyz", means.T, strict=True)),
        **{f"scale_{k}": column for k, column in enumerate(log_scales.T)},
        **{f"rot_{k}": column for k, column in enumerate(quaternions.T)},
        **{f"f_dc_{k}": column for k, column in enumerate(sh[:, 0].T)},
        **{
            f"f_rest_{k}": column
            for k, column in enumerate(sh[:, 1:].transpose(2, 1, 0).reshape(3 * (sh.shape[1] - 1), len(sh)))
        },
        "opacity": logits,
    }
    for name in dtype.names or ():
        if name in values:
            rows[name] = values[name]
    return rows


def inria_dtype(degree: int) -> np.dtype:
    """Return a row of the reference implementation: float32 in its order, with unused normals."""
    rest = [f"f_rest_{k}" for k in range(3 * (SH_COUNTS[degree] - 1))]
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, "opacity"]
    names += [f"scale_{k}" for k in range(3)] + [f"rot_{k}" for k in range(4)]
    return np.dtype([(name, "<f4") for name in names])


def write_rows(path: Path, dtype: np.dtype, parts: list[np.ndarray]) -> None:
    """Write rows of one layout to a PLY file, in order."""
    kinds = {kind: name for name, kind in TYPES.items() if not name[-1].isdigit()}
    names = dtype.names or ()
    order = "big" if any(dtype[name].str[0] == ">" for name in names) else "little"
    lines = ["ply", f"format binary_{order}_endian 1.0", f"element vertex {sum(len(part) for part in parts)}"]
    lines += [f"property {kinds[dtype[name].str[1:]]} {name}" for name in names]
    with path.open("wb") as file:
        file.write(("\n".join([*lines, "end_header"]) + "\n").encode())
        for part in parts:
            for first, last in pairwise((*range(0, len(part), 1 << 18), len(part))):
                file.write(np.ascontiguousarray(part[first:last], dtype).tobytes())
