"""What an inpainter's server and its clients send each other: MessagePack, with tensors compressed.

Requests are POSTed to these paths, each with a body of the type named here:

    /check      Guide     -> Attributes
    /prepare    Context   -> Prepared
    /inpaint    Request   -> Painted
"""

from __future__ import annotations

import io
import math
import re
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
import torch
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.inpaint.api import Inpainter, InpaintView, RenderUse
from nerf_insert.inpaint.guide import Guide
from nerf_insert.regions.region import Region
from nerf_insert.regions.saved import load_region
from nerf_insert.scene.recipe import ShadowKind

VERSION = 1
VERSION_HEADER = "nerf-insert-inpainter"  # carries VERSION, both ways
CONTENT_TYPE = "application/msgpack"
MAX_BYTES = 1 << 30  # of a message, and of each tensor and region in it when unpacked

T = TypeVar("T")
_NUMBERS = {
    "uint8": np.uint8,
    "bool": np.bool_,
    "float32": np.float32,
    "float64": np.float64,
    "int64": np.int64,
}


class Array(msgspec.Struct):
    """A tensor. Images that are whole multiples of 1/255 are sent as bytes, without loss.

    Attributes:
        shape: The tensor's shape.
        numbers: How `data` holds its values.
        image: Whether the values of `data` are to be divided by 255.
        data: The values, row by row, compressed by zlib.
    """

    shape: tuple[int, ...]
    numbers: Literal["uint8", "bool", "float32", "float64", "int64"]
    image: bool
    data: bytes


class Attributes(msgspec.Struct):
    """The attributes of the served inpainter after `check`; see `Inpainter`.

    Attributes:
        name: What is served: the inpainter's name and what identifies its model.
    """

    name: str
    rounds: int
    batch: int | None
    consistent: bool
    view_dependent: bool
    blend_width: float
    uses_render: RenderUse
    shadow: ShadowKind

    @staticmethod
    def of(inpainter: Inpainter, name: str) -> Attributes:
        """Read them from an inpainter."""
        settled = [f"{key}={value}" for key, value in sorted(inpainter.settled.items())]
        return Attributes(
            name=" ".join([name, *settled]),
            rounds=inpainter.rounds,
            batch=inpainter.batch,
            consistent=inpainter.consistent,
            view_dependent=inpainter.view_dependent,
            blend_width=inpainter.blend_width,
            uses_render=inpainter.uses_render,
            shadow=inpainter.shadow,
        )

    def copy_to(self, inpainter: Inpainter) -> None:
        """Give another inpainter the same attributes."""
        for field in msgspec.structs.fields(self):
            if field.name != "name":
                setattr(inpainter, field.name, getattr(self, field.name))


class Context(msgspec.Struct):
    """What `Inpainter.prepare` is told, without the scene and its photographs, which stay where they are."""

    guide: Guide
    region: bytes  # of `pack_region`
    seed: int
    strength: float


class Prepared(msgspec.Struct):
    """The answer to a `Context`: its key, what the inpainter has reported, and its attributes."""

    key: str
    said: list[str]
    warnings: list[str]
    attributes: Attributes


class Request(msgspec.Struct):
    """One call of `Inpainter.inpaint`; `key` is of the context that it belongs to."""

    key: str
    views: list[InpaintView]
    guide: Guide
    strength: float
    seed: int


class Painted(msgspec.Struct):
    """The answer to a `Request`: the painted images, in the order of its views."""

    images: list[Tensor]


class Failure(msgspec.Struct):
    """The body of every answer that is an error.

    Attributes:
        message: A sentence that says what is wrong and what to do.
        kind: "input", the user can fix it; "failure", the work failed; "unprepared", the context is not that
            of the request (the server was started anew, or somebody else uses it).
    """

    message: str
    kind: Literal["input", "failure", "unprepared"]


def encode(message: Any) -> bytes:
    """Encode a message."""
    return _ENCODER.encode(message)


def decode(data: bytes, kind: type[T]) -> T:
    """Decode a message.

    Raises:
        InputError: The data is no such message, or would take more than MAX_BYTES.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind, dec_hook=_unpack)
    except InputError:
        raise
    except (msgspec.MsgspecError, ValueError, TypeError, zlib.error) as cause:
        raise InputError(f"the message is damaged, or of another version of NeRF-Insert ({cause})") from None


def pack_region(region: Region) -> bytes:
    """Return a region as a ZIP archive of what its folder holds."""
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        folder = Path(name)
        packed.writestr("region.json", msgspec.json.encode(region.save(folder)))
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                packed.write(path, f"files/{path.relative_to(folder).as_posix()}")
    return archive.getvalue()


def unpack_region(data: bytes) -> Region:
    """Return the region that `pack_region` has packed.

    Raises:
        InputError: The data is damaged, or unpacks to more than MAX_BYTES.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed, tempfile.TemporaryDirectory() as name:
            if sum(info.file_size for info in packed.infolist()) > MAX_BYTES:
                raise InputError("the region is too large to be sent")
            for info in packed.infolist():
                path = PurePosixPath(info.filename)
                if not re.fullmatch(r"region\.json|files/[\w./-]+", info.filename) or ".." in path.parts:
                    raise InputError(
                        f"the region holds a file {info.filename!r}, which is none of a region's"
                    )
                packed.extract(info, name)
            described = msgspec.json.decode((Path(name) / "region.json").read_bytes(), type=dict)
            return load_region(described, Path(name) / "files")
    except (zipfile.BadZipFile, msgspec.MsgspecError, OSError, zlib.error) as cause:
        raise InputError(f"the region is damaged ({cause})") from None


def _pack(value: Any) -> Any:
    if not isinstance(value, Tensor):
        raise NotImplementedError(f"{type(value).__name__} cannot be sent")
    tensor, image = value.detach().cpu().contiguous(), False
    if tensor.is_floating_point() and tensor.dtype != torch.float64:
        tensor = tensor.float()
        rounded = (tensor.nan_to_num(-1, -1, -1) * 255).round()
        if tensor.numel() and rounded.min() >= 0 and rounded.max() <= 255:
            whole = rounded.to(torch.uint8)
            image = torch.equal(whole.float() / 255, tensor)
            tensor = whole if image else tensor
    numbers = str(tensor.dtype).removeprefix("torch.")
    if numbers not in _NUMBERS:
        raise NotImplementedError(f"tensors of {numbers} cannot be sent")
    return Array(tuple(tensor.shape), numbers, image, zlib.compress(tensor.numpy().tobytes(), 1))  # type: ignore[arg-type]


def _unpack(kind: type, value: Any) -> Any:
    array = msgspec.convert(value, Array)
    if any(side < 0 for side in array.shape) or len(array.shape) > 4:
        raise ValueError(f"a tensor has the shape {array.shape}")
    numbers = np.dtype(_NUMBERS[array.numbers])
    size = math.prod(array.shape) * numbers.itemsize
    if size > MAX_BYTES:
        raise ValueError(f"a tensor has the shape {array.shape}, which is too large")
    opened = zlib.decompressobj()
    data = opened.decompress(array.data, size + 1)
    if len(data) != size or opened.unconsumed_tail:
        raise ValueError(f"a tensor of {size} bytes is cut off or too long")
    tensor = torch.from_numpy(np.frombuffer(bytearray(data), dtype=numbers).reshape(array.shape))
    return tensor.float() / 255 if array.image else tensor


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_pack)
