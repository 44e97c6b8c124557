"""Atomic writes, and reads whose errors name the file.

Writing goes to a new file beside the old one, which is flushed to the disk and then renamed over it: a crash,
a full disk or a kill leaves the old file as it was. Reading raises InputError for a file that is missing,
unreadable or damaged.
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

NOTES = "nerf_insert"  # the one metadata entry of a safetensors file, which holds all others as JSON
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
    """Replace a file by one that the block writes.

    Missing parent folders are created. On any failure `path` keeps its old content, and the new file is
    deleted.

    Args:
        path: The file to replace; it need not exist.

    Yields:
        The path of the new file, which the block has to write.

    Raises:
        RunError: The operating system reports a failure, such as a full disk or a missing permission.

    Example:
        >>> with replacing("data.bin") as new:
        ...     new.write_bytes(data)
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
    """Remove half-written files that killed writers left in `folder`. Nobody may be writing there."""
    for leftover in folder.glob(TEMPORARY):
        with suppress(OSError):
            leftover.unlink()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut, where the system can."""
    with suppress(OSError):  # folders cannot be opened on Windows, nor synced on some network disks
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_failure(path: Path, error: OSError) -> str:
    """Return the message for a failure to write `path`."""
    why = error.strerror or str(error)
    if error.errno == errno.ENOSPC:
        why = "No space left on the disk"
    advice = ADVICE.get(error.errno or 0, "check the folder or choose another one")
    return f"cannot write {path}: {why}; nothing that was there has been changed; {advice}"


def atomic_write(path: str | Path, data: bytes | str) -> None:
    """Replace the content of a file atomically; text is written as UTF-8.

    Raises:
        RunError: The file cannot be written; its old content is still there.
    """
    with replacing(path) as new:
        new.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: str | Path, data: Any) -> None:
    """Write plain data as JSON; NaN and infinities, which JSON does not have, become null.

    Raises:
        RunError: The file cannot be written.
    """
    text = json.dumps(finite(data), indent=2, ensure_ascii=False, allow_nan=False)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:  # file names that are not UTF-8 can only be written as escapes
            text = json.dumps(finite(data), indent=2, allow_nan=False)
    atomic_write(path, text + "\n")


def finite(data: Any) -> Any:
    """Replace every number in plain data that is not finite by None."""
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, Mapping):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data


def write_yaml(path: str | Path, data: Any) -> None:
    """Write plain data as YAML, with keys in their own order.

    Raises:
        RunError: The file cannot be written.
    """
    import yaml

    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    assert isinstance(text, str)  # bytes only with an encoding
    atomic_write(path, text)


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors and text as safetensors; equal content gives equal bytes.

    Raises:
        RunError: The file cannot be written.
    """
    from safetensors.torch import save

    ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    # One entry only: safetensors writes several in a random order, and equal content is to be equal bytes.
    notes = {NOTES: json.dumps(dict(metadata or {}), sort_keys=True)}
    atomic_write(path, save(ready, metadata=notes))


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: The file does not exist or cannot be read.
    """
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
    """Return the content of a UTF-8 text file.

    Raises:
        InputError: The file cannot be read or is not text.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file (byte {error.start} is not UTF-8)") from None


def read_json(path: str | Path) -> Any:
    """Return the plain data of a JSON file.

    Raises:
        InputError: The file cannot be read or is not JSON; the message names the line.
    """
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
    """Return the plain data of a YAML file; nothing in it can run code.

    Raises:
        InputError: The file cannot be read or is not YAML; the message names the line.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses keys that come twice, of which YAML's own takes the last one."""

        def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
            node = super().compose_mapping_node(anchor)
            seen = set()
            for key, _ in node.value:
                name = (key.tag, str(key.value))
                if name in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"{key.value} is given twice: leave one out", problem_mark=key.start_mark
                    )
                seen.add(name)
            return node

    try:
        return yaml.load(read_text(path), Loader)  # of plain data alone, as the safe one
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        what = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"{path} is not valid YAML: {where}{what}") from None
    except RecursionError:
        raise InputError(f"{path} is not usable YAML: it is nested too deeply") from None


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return (tensors, metadata) of a safetensors file.

    Raises:
        InputError: The file cannot be read, is damaged, or is something else.
    """
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
