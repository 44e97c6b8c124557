"""Splat files of every kind: which kind a file is, reading it with bounded memory and time, writing one."""

from __future__ import annotations

import math
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_insert.errors import InputError, RunError
from nerf_insert.io.files import replacing
from nerf_insert.runtime.child import ChildDied, ChildTimeout, ask
from nerf_insert.runtime.extras import require
from nerf_insert.splats import antimatter, ply, worker
from nerf_insert.splats.moving import turned_up
from nerf_insert.splats.splats import Splats

WRITABLE = (".compressed.ply", ".ply", ".splat", ".spz", ".sog", ".glb", ".usd", ".usda", ".usdc")
READABLE = (".ply", ".compressed.ply", ".splat", ".spz", ".sog")
MAX_BYTES = 4 << 30  # of a file
MAX_SPLATS = 10_000_000
MAX_MEMORY = 12 << 30  # bytes of address space for the process that reads a compressed file
MAX_SECONDS = 180
OPAQUE = 15.0  # logit of an opacity that is as good as 1
POSITION_BITS = 24  # of a coordinate in SPZ
SPZ_UP = (0.0, 1.0, 0.0)  # by the definition of the format


def kind_of(path: Path) -> str:
    """Return the kind of a splat file from its first bytes: "ply", "compressed.ply", "splat", "spz" or "sog".

    Raises:
        InputError: There is no such file, it is empty, too large, or of no known kind.
    """
    if not path.is_file():
        raise InputError(f"there is no splat file {path}")
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(
            f"the splats {path} are {size >> 20} MB large, at most {MAX_BYTES >> 20} MB can be read; "
            "thin them out"
        )
    with path.open("rb") as file:
        head = file.read(4)
    if head[:3] == b"ply":
        return "compressed.ply" if ply.read_layout(path).compressed else "ply"
    if head[:2] == b"\x1f\x8b" or head == b"NGSP":
        return "spz"
    if head == b"PK\x03\x04":
        return "sog"
    if path.suffix.lower() == ".splat":
        return "splat"
    known = ", ".join(READABLE)
    raise InputError(f"{path} is empty, damaged or no splat file; these kinds can be read: {known}")


def read_splats(path: str | Path) -> tuple[Splats, list[str]]:
    """Read a splat file.

    Splats with a number that is not finite are kept, as invisible ones, so that every splat keeps its number.

    Args:
        path: A .ply (INRIA's or SuperSplat's compressed layout), .splat, .spz or .sog file.

    Returns:
        The splats, in the file's coordinates and order, and warnings about them.

    Raises:
        InputError: The file is missing, of another kind, damaged, cut off, empty or too large.
    """
    path = Path(path)
    kind = kind_of(path)
    try:
        if kind == "ply":
            layout = ply.read_layout(path)
            _check_count(path, layout.count)
            splats = ply.splats_of_rows(path, layout.rows(path))
        elif kind == "splat":
            rows = antimatter.rows_of_file(path)
            _check_count(path, len(rows))
            splats = antimatter.splats_of_rows(rows)
        else:
            splats = _read_in_child(path, kind)
    except OSError as cause:
        raise InputError(f"the splats {path} cannot be read: {cause.strerror or cause}") from None
    _check_count(path, splats.count)
    return _without_bad_numbers(path, splats)


def says_antialiased(path: str | Path) -> bool:
    """Return whether a splat file, which can be read, says that its splats were trained antialiased."""
    path = Path(path)
    return kind_of(path) == "spz" and bool(worker.spz_header(path)[worker.SPZ_FLAGS] & worker.SPZ_ANTIALIASED)


def _check_count(path: Path, count: int) -> None:
    if not count:
        raise InputError(f"{path} holds no splats")
    if count > MAX_SPLATS:
        raise InputError(
            f"{path} holds {count:,} splats, more than the {MAX_SPLATS:,} that can be read; thin them out"
        )


def _finite(splats: Splats) -> Splats:
    """Replace the infinities that make sense: of wholly opaque, transparent or flat splats."""
    logits, log_scales = splats.opacity_logits, splats.log_scales
    logits = torch.where(logits.isinf(), logits.clamp(-OPAQUE, OPAQUE), logits)
    log_scales = torch.where(log_scales.isneginf(), math.log(antimatter.SMALLEST), log_scales)
    return Splats(splats.means, log_scales, splats.quaternions, logits, splats.sh)


def _without_bad_numbers(path: Path, splats: Splats) -> tuple[Splats, list[str]]:
    """Make splats invisible whose numbers cannot be computed with; warn of them."""
    splats = _finite(splats)
    flat = torch.cat(
        [tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None] for tensor in splats.tensors()], 1
    )
    good = flat.isfinite().all(1) & (splats.log_scales.amax(1) < 80) & (splats.means.abs().amax(1) < 1e15)
    good &= splats.quaternions.norm(dim=1) > 1e-12
    bad = int((~good).sum())
    if not bad:
        return splats, []
    if 2 * bad > splats.count:
        raise InputError(
            f"the splats {path} are damaged: {bad} of {splats.count} hold numbers that make no sense"
        )
    means, log_scales, quaternions, logits, sh = (tensor.clone() for tensor in splats.tensors())
    for tensor in (means, log_scales, sh):
        tensor[~good] = 0
    quaternions[~good] = torch.tensor([1.0, 0, 0, 0])
    logits[~good] = -100
    return Splats(means, log_scales, quaternions, logits, sh), [
        f"{bad} of the {splats.count} splats of {path} hold numbers that make no sense and are not shown"
    ]


def kind_to_write(path: Path) -> str:
    """Return the kind of splat file that a name asks for, such as "compressed.ply".

    Raises:
        InputError: Its suffix is none of `WRITABLE`.
    """
    name = path.name.lower()
    suffix = next((suffix for suffix in WRITABLE if name.endswith(suffix)), None)
    if suffix is None:
        raise InputError(f"{path}: splats are written as {', '.join(WRITABLE)}; choose one of these suffixes")
    return suffix[1:]


def write_splats(
    path: str | Path,
    splats: Splats,
    *,
    up: Sequence[float] = (0.0, 1.0, 0.0),
    spz_version: int = 3,
    antialiased: bool = False,
) -> None:
    """Write splats to a file of the kind that its suffix names.

    Args:
        path: The file; see `WRITABLE`.
        splats: The splats.
        up: The direction that points up in their coordinates: glTF and USD say so, SPZ, whose files are y-up
            by definition, is turned.
        spz_version: 3 (gzip) or 4 (zstd) of the SPZ format.
        antialiased: Whether they were trained with the opacity compensation of Mip-Splatting; SPZ says so.

    Raises:
        InputError: The suffix is unknown, there are no splats, or a library is missing.
        RunError: The file cannot be written.
    """
    path = Path(path)
    kind = kind_to_write(path)
    if not splats.count:
        raise InputError(f"{path}: there are no splats to write")
    splats = Splats(*(tensor.detach().cpu().contiguous() for tensor in splats.tensors()))
    with replacing(path) as new:
        if kind == "ply":
            dtype = ply.inria_dtype(splats.degree)
            ply.write_rows(new, dtype, [ply.rows_of_splats(splats)])
        elif kind == "splat":
            new.write_bytes(antimatter.rows_of_splats(splats).tobytes())
        elif kind == "sog":
            from nerf_insert.splats.sog import write_sog

            write_sog(new, splats)
        elif kind == "glb":
            from nerf_insert.splats.gltf import write_glb

            write_glb(new, splats, up)
        elif kind.startswith("usd"):
            from nerf_insert.splats.usd import write_usd

            write_usd(new, splats, up)
        else:
            options: dict[str, Any] = {}
            if kind == "spz":
                splats = turned_up(splats, up, SPZ_UP)
                options = {"version": spz_version, "bits": _position_bits(splats), "antialiased": antialiased}
            _write_in_child(path, new, kind, splats, options)


def _position_bits(splats: Splats) -> int:
    """Return how many binary places the 24-bit coordinates of SPZ can have: 12 as usual, or fewer."""
    visible = splats.means[splats.opacity_logits > -6]
    reach = float(visible.abs().max()) if len(visible) else 1.0
    return int(min(12, max(1, POSITION_BITS - 1 - np.ceil(np.log2(max(reach, 1e-6) + 1e-6)))))


def _read_in_child(path: Path, kind: str) -> Splats:
    with tempfile.TemporaryDirectory(prefix="nerf-insert-") as folder:
        arrays = Path(folder) / "splats.npz"
        _run_child(
            path, folder, {"action": "read", "kind": kind, "path": str(path.resolve()), "arrays": str(arrays)}
        )
        try:
            with np.load(arrays, allow_pickle=False) as file:
                return Splats(*(torch.from_numpy(file[name]) for name in file.files))
        except (OSError, ValueError, zipfile.BadZipFile, MemoryError) as cause:
            raise InputError(f"the splats {path} cannot be read: {cause}") from None


def _write_in_child(path: Path, new: Path, kind: str, splats: Splats, options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="nerf-insert-") as folder:
        arrays = Path(folder) / "splats.npz"
        np.savez(arrays, *(tensor.numpy() for tensor in splats.tensors()))
        request = {
            "action": "write",
            "kind": kind,
            "path": str(new.resolve()),
            "arrays": str(arrays),
            **options,
        }
        try:
            _run_child(path, folder, request)
        except InputError as cause:
            raise RunError(str(cause)) from None


def _run_child(path: Path, folder: str, request: dict[str, Any]) -> None:
    """Run worker.py.

    Raises:
        InputError: It refuses, fails or takes too long.
        OSError: It cannot read or write, because the disk is full for example.
    """
    require("gsply", "splats")
    limits = {"memory": MAX_MEMORY, "seconds": MAX_SECONDS, "splats": MAX_SPLATS}
    try:
        answer = ask("nerf_insert.splats.worker", {**request, **limits}, folder, 2 * MAX_SECONDS)
    except ChildTimeout:
        raise InputError(f"the splats {path} take longer than {2 * MAX_SECONDS} s; thin them out") from None
    except ChildDied as death:
        raise InputError(
            f"the splats {path} cannot be read: that needs more than {MAX_MEMORY >> 30} GB of memory or "
            f"{MAX_SECONDS} s, or the file is damaged ({death}); thin it out or export it again"
        ) from None
    if "system" in answer:
        raise OSError(*answer["system"])
    if "error" in answer:
        raise InputError(f"the splats {path} {answer['error']}")
