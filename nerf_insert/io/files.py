"""Files that are either entirely there or not touched at all.

Writing goes to a new file beside the old one, is flushed to the disk and then renamed over it, so a
crash, a full disk or a kill leaves the old file as it was. Reading turns the ways in which a file can
be wrong into an InputError that names it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf_insert.errors import InputError, RunError

if TYPE_CHECKING:
    from torch import Tensor

NOTES = "nerf_insert"  # the metadata entry that holds all others
ADVICE = {
    errno.ENOSPC: "make room there or choose another folder",
    errno.EDQUOT: "make room in your quota or choose another folder",
    errno.EACCES: "check its permissions or choose another folder",
    errno.EPERM: "check its permissions or choose another folder",
    errno.EROFS: "it is on a read-only disk: choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its links lead in a circle: choose another folder",
    errno.EIO: "the disk reports a failure: choose another one",
    errno.EFBIG: "the system allows no file of that size there: choose another folder, or raise the limit",
}
TEMPORARY = ".????????????.tmp*"  # files that are being written


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """`with replacing(path) as new:` write the file `new`; it takes the place of `path` at the end.

    Folders on the way are made. On any failure `path` keeps its old content and `new` is deleted; what
    the operating system reports (disk full, no permission) becomes a RunError, anything else passes.
    """
    path = Path(path)
    new = path.parent / f".{secrets.token_hex(6)}.tmp{path.suffix}"  # short, for names near the limit
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
        with open(new, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(new, path)
        sync_folder(path.parent)
    except BaseException as error:
        with suppress(OSError):
            new.unlink()
        if isinstance(error, OSError):
            raise RunError(write_failure(path, error)) from error
        raise


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left half written in `folder`. Nobody may be writing there."""
    for leftover in folder.glob(TEMPORARY):
        with suppress(OSError):
            leftover.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` outlast a power cut, where the system can."""
    with suppress(OSError):  # folders cannot be opened on Windows, nor synced on some network disks
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_failure(path: Path, error: OSError) -> str:
    """What to tell the person for whom writing `path` failed."""
    why = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        why = "No space left on the disk"
    advice = ADVICE.get(error.errno or 0, "check the folder or choose another one")
    return f"cannot write {path}: {why}; nothing that was there has been changed; {advice}"


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Replace the content of `path` (text is written as UTF-8) at once or, with a RunError, not at all."""
    with replacing(path) as new:
        new.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | Path, data: Any) -> None:
    """Write plain data as JSON; NaN and infinities, which JSON does not have, become null."""
    text = json.dumps(finite(data), indent=2, ensure_ascii=False, allow_nan=False)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # file names that are not UTF-8 can only be written as escapes
            text = json.dumps(finite(data), indent=2, allow_nan=False)
    atomic_write(path, text + "\n")


def finite(data: Any) -> Any:
    """`data` with None in the place of every number that is not finite."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data


def write_yaml(path: str | Path, data: Any) -> None:
    """Write plain data as YAML, keys in the order they have."""
    import yaml

    atomic_write(path, yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100))


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors and text as safetensors."""
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One entry only: safetensors writes several in a random order, and equal content is to be equal bytes.
    notes = {NOTES: json.dumps(dict(metadata or {}), sort_keys=True)}
    atomic_write(path, save(ready, metadata=notes))


def read_bytes(path: str | Path) -> bytes:
    """The content of a file. Raises InputError when there is none or it cannot be read."""
    path = Path(path)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, a file is needed") from None
    except ValueError:  # a NUL in it
        raise InputError(f"{str(path)!r} cannot be the name of a file") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None


def read_text(path: str | Path) -> str:
    """The content of a UTF-8 file. Raises InputError."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from None


def read_json(path: str | Path) -> Any:
    """Plain data from a JSON file. Raises InputError, with the line, when it is not JSON."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path} is empty, JSON was expected")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        cut = " (the file looks cut off)" if error.pos >= len(text.rstrip()) else ""
        raise InputError(f"{path} is not valid JSON: line {error.lineno}: {error.msg}{cut}") from None
    except RecursionError:
        raise InputError(f"{path} is not usable JSON: it is nested too deeply") from None


def read_yaml(path: str | Path) -> Any:
    """Plain data from a YAML file; nothing in it can run code. Raises InputError with the line."""
    import yaml

    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"{path} is not valid YAML: {where}{what}") from None
    except RecursionError:
        raise InputError(f"{path} is not usable YAML: it is nested too deeply") from None


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, metadata) of a safetensors file. Raises InputError when it is damaged or something else."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = read_bytes(path)
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(f"{path} is damaged or not a safetensors file: {error}") from None
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.get("__metadata__", {})
    try:
        return tensors, json.loads(metadata[NOTES]) if NOTES in metadata else metadata
    except ValueError:
        raise InputError(f"{path} is damaged: its notes are not JSON") from None
