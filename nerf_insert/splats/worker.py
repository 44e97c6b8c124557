"""Reads or writes one compressed splat file, in a process of its own: `python -m nerf_insert.splats.worker`.

gsply does the work, with compiled code that trusts the sizes a file states and starts threads of its own.
Files come from strangers and can ask for any amount of memory, so this process first limits itself. A request
comes as JSON on the standard input, {"action": "read" or "write", "kind", "path", "arrays", "memory",
"seconds", "splats", ...}; `arrays` is an npz file of the splats' tensors, which a reader makes and a writer
is given. One JSON line goes to the standard output: {}, {"error": what continues "the splats FILE"}, or
{"system": number and words of a failure of the operating system}.
"""

from __future__ import annotations

import gzip
import io
import json
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nerf_insert.runtime.child import set_limits

SPZ_FLAGS, SPZ_ANTIALIASED = 14, 1  # the place of a byte in the header, and a bit of it


class Refusal(Exception):
    """The file cannot be used; the message continues "the splats FILE ..."."""


def check_count(count: Any, limit: int) -> None:
    """Refuse a number of splats that is none, or too large."""
    if not isinstance(count, int) or count < 1:
        raise Refusal("are none: the file holds no splats")
    if count > limit:
        raise Refusal(f"are {count:,}, more than the {limit:,} that can be read; thin them out")


def spz_header(path: Path) -> bytes:
    """Return the header of an SPZ file: 16 bytes."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[:2] == b"\x1f\x8b":
        with gzip.open(path) as file:
            head = file.read(16)
    if len(head) < 16 or head[:4] != b"NGSP":
        raise Refusal("are no SPZ file: its header is missing")
    return head


def mark_antialiased(path: Path) -> None:
    """Set the flag in an SPZ file that its splats were trained antialiased, which gsply leaves clear."""
    data = path.read_bytes()
    packed = data[:2] == b"\x1f\x8b"
    plain = bytearray(gzip.decompress(data) if packed else data)
    plain[SPZ_FLAGS] |= SPZ_ANTIALIASED
    path.write_bytes(gzip.compress(plain, 6, mtime=0) if packed else plain)


def palette_pixels(part: dict[str, Any]) -> int:
    """Return how many pixels the palette of the higher SH coefficients takes: 64 entries fill a row."""
    if "count" not in part or "bands" not in part:  # of version 1, which does not state its size
        return 0
    return -(-part["count"] // 64) * 64 * ((part["bands"] + 1) ** 2 - 1)


def check_sog(path: Path, limit: int, memory: int) -> None:
    """Refuse what gsply would read beyond the end of: images and codebooks smaller than the file states."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = 1 << 26
    with zipfile.ZipFile(path) as bundle:
        if sum(entry.file_size for entry in bundle.infolist()) > memory // 4:
            raise Refusal("unpack to more than fits into memory")
        meta = json.loads(bundle.read("meta.json"))
        count = meta["count"] if "version" in meta else meta["means"]["shape"][0]
        check_count(count, limit)
        for part in ("means", "quats", "scales", "sh0", "shN"):
            for name in meta.get(part, {}).get("files", []):
                with Image.open(io.BytesIO(bundle.read(name))) as image:
                    palette = part == "shN" and name == meta[part]["files"][0]
                    if palette and image.width * image.height < palette_pixels(meta[part]):
                        raise Refusal(f"are damaged: {name} has fewer pixels than its palette needs")
                    if not palette and image.width * image.height < count:
                        raise Refusal(f"are damaged: {name} has fewer pixels than there are splats")
            book = meta.get(part, {}).get("codebook")
            if book is not None and len(book) < 256:
                raise Refusal(f"are damaged: the codebook of {part} is too short")


def read(request: dict[str, Any]) -> None:
    """Read a file and write its arrays."""
    import gsply

    path, kind = Path(request["path"]), request["kind"]
    if kind == "spz":
        check_count(struct.unpack_from("<I", spz_header(path), 8)[0], request["splats"])
        data = gsply.read_spz(path)
    elif kind == "sog":
        check_sog(path, request["splats"], request["memory"])
        from gsply.sog_reader import sogread

        data = sogread(path.read_bytes())
    else:
        data = gsply.plyread(path)
    sh = np.asarray(data.sh0, np.float32)[:, None]
    if data.shN is not None and data.shN.size:
        sh = np.concatenate([sh, np.asarray(data.shN, np.float32)], 1)
    columns = (data.means, data.scales, data.quats, data.opacities)
    means, log_scales, quaternions, logits = (np.ascontiguousarray(c, np.float32) for c in columns)
    np.savez(request["arrays"], means, log_scales, quaternions, logits.reshape(-1), sh)


def write(request: dict[str, Any]) -> None:
    """Write arrays to a file."""
    import gsply

    with np.load(request["arrays"], allow_pickle=False) as file:
        means, log_scales, quaternions, logits, sh = (file[name] for name in file.files)
    data = gsply.GSData.from_arrays(
        means=means,
        scales=log_scales,
        quats=quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True).clip(1e-12),
        opacities=logits,
        sh0=sh[:, 0],
        shN=sh[:, 1:] if sh.shape[1] > 1 else None,
        format="ply",
    )
    if request["kind"] == "spz":
        gsply.write_spz(request["path"], data, version=request["version"], fractional_bits=request["bits"])
        if request["antialiased"]:
            mark_antialiased(Path(request["path"]))
    else:
        Path(request["path"]).write_bytes(gsply.compress_to_bytes(data))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks for; return what the module's description says."""
    try:
        {"read": read, "write": write}[request["action"]](request)
        return {}
    except Refusal as refusal:
        return {"error": str(refusal)}
    except MemoryError:
        return {"error": "need more memory to read than is allowed; thin them out"}
    except (ImportError, OSError) as cause:
        if isinstance(cause, OSError) and cause.errno:
            return {"system": [cause.errno, cause.strerror]}
        return {"error": f"cannot be read: {cause}"}
    except Exception as cause:  # of any library, for any damage
        what = str(cause).replace(str(request["path"]), "the file").rstrip(": ")[:200]
        return {"error": f"are damaged: {what or type(cause).__name__}; copy or export the file again"}


def main() -> None:
    """Answer one request."""
    request = json.loads(sys.stdin.readline())
    set_limits(request["memory"], request["seconds"])
    print(json.dumps(answer(request)), flush=True)


if __name__ == "__main__":
    main()
