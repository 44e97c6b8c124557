"""A glTF file: its container, buffers and accessors, and which extensions it needs.

Written after the glTF 2.0 specification. Everything in the file is untrusted: sizes are checked before memory
is taken, and whatever does not fit ends in an exception that the worker turns into a message.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from jaxtyping import Float, Int, Num

from nerf_insert.geometry.mesh_assets import find_asset, how_lost
from nerf_insert.geometry.mesh_files.parts import Notes, Refusal, listed

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
DRACO, BASISU = "KHR_draco_mesh_compression", "KHR_texture_basisu"
# What is read as the extension says, and what changes nothing that is seen.
SUPPORTED = {
    DRACO,
    "KHR_texture_transform",
    "KHR_mesh_quantization",
    "KHR_materials_emissive_strength",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_ior",
    "KHR_materials_specular",
    "EXT_mesh_gpu_instancing",
    "EXT_texture_webp",
    "KHR_node_visibility",
    "KHR_xmp",
    "KHR_xmp_json_ld",
    "KHR_node_selectability",
    "KHR_node_hoverability",
    "EXT_mesh_features",
    "EXT_structural_metadata",
    "EXT_mesh_manifold",
}
# What only changes how a surface looks, or adds what is no surface: left out, and said.
LEFT_OUT = {
    "KHR_materials_unlit": "shaded like any other surface",
    "KHR_materials_transmission": "opaque here",
    "KHR_materials_diffuse_transmission": "opaque here",
    "KHR_materials_volume": "opaque here",
    "KHR_materials_clearcoat": "without its coat",
    "KHR_materials_sheen": "without its sheen",
    "KHR_materials_iridescence": "without its iridescence",
    "KHR_materials_anisotropy": "with the usual highlights",
    "KHR_materials_dispersion": "without dispersion",
    "KHR_materials_variants": "in its default variant",
    "KHR_lights_punctual": "without its lights",
    "EXT_lights_image_based": "without its lights",
    "KHR_animation_pointer": "as it stands, without its animations",
    "MSFT_lod": "in its finest level of detail",
}
KTX2 = "its textures are KTX2 images ({}), which are not read: export it with PNG or JPEG textures"
COMPRESSED = "is compressed with {}: export it without mesh compression, or unpack it with gltf-transform"


class Document:
    """An open glTF file."""

    def __init__(self, path: Path, max_values: int, notes: Notes) -> None:
        """Read the description; buffers are read when they are needed.

        Args:
            path: A GLB or glTF file.
            max_values: The number of values that all accessors together may have.
            notes: Where to tell what is left out.

        Raises:
            Refusal: The file is damaged, too large, or needs what is not supported.
        """
        self.folder, self.notes = path.parent, notes
        data = path.read_bytes()
        self._chunk: bytes | None = None
        if data[:4] == b"glTF" or path.suffix.lower() == ".glb":
            data, self._chunk = _split_glb(data)
        try:
            self.tree: dict[str, Any] = json.loads(data)
            version = str(self.tree.get("asset", {}).get("version", "2.0"))
            if isinstance(self.tree.get("accessors"), dict):  # glTF 1.0, which often names no version
                version = "1.0"
            if version.split(".")[0] != "2":
                raise Refusal(
                    f"is glTF version {version}, only version 2 is read: export it again as glTF 2.0"
                )
            counts = sum(int(accessor["count"]) for accessor in self.list("accessors"))
            required = [str(name) for name in self.list("extensionsRequired")]
            used = [str(name) for name in self.list("extensionsUsed")]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Refusal("is damaged: its glTF description cannot be read; export it again") from None
        if counts > max_values:
            raise Refusal(
                f"asks for {counts:,} values, more than the {max_values:,} that are allowed; simplify it"
            )
        self._check_extensions(used, required)
        self._views: dict[int, bytes] = {}

    def list(self, key: str) -> list[Any]:
        """Return a top-level array; an empty one if the file has none."""
        value = self.tree.get(key)
        if value is not None and not isinstance(value, list):
            raise ValueError(f"{key} is not a list")
        return value or []

    def _check_extensions(self, used: list[str], required: list[str]) -> None:
        squeezed = [name for name in required if "meshopt" in name.lower()]
        if squeezed:
            raise Refusal(COMPRESSED.format(f"meshopt ({squeezed[0]})"))
        if BASISU in required:
            raise Refusal("cannot be shown: " + KTX2.format(BASISU))
        unknown = [name for name in required if name not in SUPPORTED and name not in LEFT_OUT]
        if unknown:
            raise Refusal(
                f"needs the glTF extension {listed(unknown)}, which is not supported: export it without that"
            )
        for name in used:
            if name in LEFT_OUT:
                if not name.startswith("KHR_materials_") or name.endswith("_variants"):
                    self.notes.add(f"it uses {name} and is shown {LEFT_OUT[name]}")
            elif name not in SUPPORTED and name not in required and not _has_own_note(name):
                self.notes.add("it uses glTF extensions that are not supported and were left out", name)
        if self.list("animations"):
            self.notes.add("it is shown as it stands, without its animations")

    @cached_property
    def _buffers(self) -> list[bytes]:
        return [self._read_buffer(k, buffer) for k, buffer in enumerate(self.list("buffers"))]

    def _read_buffer(self, number: int, buffer: dict[str, Any]) -> bytes:
        uri = buffer.get("uri")
        if uri is None:
            if number == 0 and self._chunk is not None:
                return self._chunk
            return b""  # a fallback that only extensions replace
        data = self.read_uri(uri)
        if data is None:
            raise Refusal(f"has its data in the file '{uri}', which {how_lost(uri)}, or export a GLB")
        return data

    def read_uri(self, uri: str) -> bytes | None:
        """Return what a URI names: data within it, or a file in the mesh's folder; None: there is none.

        Raises:
            Refusal: The URI holds damaged data.
        """
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            try:
                return base64.b64decode(body, validate=False) if ";base64" in head else unquote_to_bytes(body)
            except (binascii.Error, ValueError):
                raise Refusal("is damaged: data inside it cannot be decoded; export it again") from None
        target = find_asset(self.folder, uri)
        return None if target is None else target.read_bytes()

    def view(self, number: int) -> bytes:
        """Return the bytes of a buffer view."""
        if number not in self._views:
            view = _item(self.list("bufferViews"), number)
            extension = view.get("extensions", {})
            squeezed = [name for name in extension if "meshopt" in name.lower()]
            start, length = int(view.get("byteOffset", 0)), int(view["byteLength"])
            buffer = _item(self._buffers, view["buffer"])
            if start < 0 or length < 0 or start + length > len(buffer):
                if squeezed:
                    raise Refusal(COMPRESSED.format(f"meshopt ({squeezed[0]})"))
                raise Refusal("is cut off or damaged: its data ends too early; copy or export it again")
            self._views[number] = buffer[start : start + length]
        return self._views[number]

    def raw(self, number: int) -> Num[np.ndarray, "count width"]:
        """Return the values of an accessor in the type in which they are stored."""
        accessor = _item(self.list("accessors"), number)
        width, dtype = WIDTHS[accessor["type"]], np.dtype(COMPONENTS[accessor["componentType"]])
        count = int(accessor["count"])
        if count < 0:
            raise ValueError("an accessor has a negative count")
        if "bufferView" in accessor:
            view = _item(self.list("bufferViews"), accessor["bufferView"])
            stride = int(view.get("byteStride") or width * dtype.itemsize)
            values = _strided(self.view(accessor["bufferView"]), accessor, dtype, (count, width), stride)
        else:
            values = np.zeros((count, width), dtype)
        sparse = accessor.get("sparse")
        if sparse:
            values = values.copy()
            places, changed, n = sparse["indices"], sparse["values"], int(sparse["count"])
            kind = np.dtype(COMPONENTS[places["componentType"]])
            index = _strided(self.view(places["bufferView"]), places, kind, (n, 1), kind.itemsize)[:, 0]
            size = width * dtype.itemsize
            values[index] = _strided(self.view(changed["bufferView"]), changed, dtype, (n, width), size)
        return values

    def integers(self, number: int) -> Int[np.ndarray, "count width"]:
        """Return the values of an accessor of indices."""
        return self.raw(number).astype(np.int64)

    def floats(self, number: int) -> Float[np.ndarray, "count width"]:
        """Return the values of an accessor, integers that stand for fractions converted."""
        values = self.raw(number)
        if _item(self.list("accessors"), number).get("normalized"):
            return as_fractions(values)
        return values.astype(np.float64)


def as_fractions(values: Num[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Convert normalized integers to what they stand for, within -1..1 or 0..1; floats stay."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    return np.maximum(values.astype(np.float64) / np.iinfo(values.dtype).max, -1.0)


def _has_own_note(name: str) -> bool:
    """Whether the extension is told where it is met: compressed data, textures."""
    return "meshopt" in name.lower() or name == BASISU or name.startswith("KHR_texture_")


def _item(items: list[Any], number: Any) -> Any:
    """An item by its index, which may not count from the end."""
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(f"{number!r} is not an index")
    return items[number]


def _strided(
    data: bytes, source: dict[str, Any], dtype: np.dtype, shape: tuple[int, int], stride: int
) -> np.ndarray:
    """Values in a buffer view; its end is checked by numpy."""
    offset = int(source.get("byteOffset", 0))
    if offset < 0 or stride < 0:
        raise ValueError("an accessor has a negative offset")
    if shape[0] and offset + (shape[0] - 1) * stride + shape[1] * dtype.itemsize > len(data):
        raise Refusal("is cut off or damaged: its data ends too early; copy or export it again")
    if not shape[0]:
        return np.zeros(shape, dtype)
    return np.ndarray(shape, dtype, data, offset, (stride, dtype.itemsize))


def _split_glb(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON chunk and the binary chunk of a GLB file."""
    if len(data) < 20 or data[:4] != b"glTF":
        raise Refusal("is not a GLB file: export it again")
    version, total, length = struct.unpack("<III", data[4:16])
    if version != 2:
        raise Refusal(f"is GLB version {version}, only version 2 is read: export it again as glTF 2.0")
    if total > len(data):
        raise Refusal(
            f"is cut off: it should be {total} bytes long and is {len(data)}; copy or export it again"
        )
    body = data[20 : 20 + length]
    at = 20 + length
    if at + 8 <= len(data):
        size, kind = struct.unpack("<I4s", data[at : at + 8])
        if kind == b"BIN\0":
            return body, data[at + 8 : at + 8 + size]
    return body, None
