"""The materials of an OBJ file, as exporters write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.geometry.mesh_assets import find_asset, how_lost, map_name, without_comment
from nerf_insert.geometry.mesh_files.images import Unreadable, decode
from nerf_insert.geometry.mesh_files.parts import GRAY, Material, Notes, Texture, TextureUse

OTHER_MAPS = ("bump", "norm", "disp", "decal", "refl")  # whose names do not begin with map_
HONORED = ("-s", "-o", "-clamp", "-colorspace", "-bm")
WITHOUT_EFFECT = ("-blendu", "-blendv", "-texres", "-type", "-cc")
LINEAR = ("linear", "raw", "non-color", "lin_rec709", "lin_srgb", "scene_linear")  # what -colorspace may say
USED = ("map_kd", "map_ke", "map_d", "map_pr", "map_pm", "norm", "map_bump", "bump")
NORMAL_MAPS = ("norm", "map_bump", "bump")  # exporters write normal maps under the names of height maps, too
BLUE, GRAY_SPREAD = 150, 40  # mean of a normal map's third channel at least; of its others around 128 at most
BLENDER = re.compile(
    r"^#.*\bBlender\b", re.MULTILINE
)  # writes its colors, which are linear light, as they are
OTHER_COLORS = ("xyz", "spectral")  # what a color may be written in beside RGB


@dataclass
class Entry:
    """What an MTL file says of one material: values and maps by their key in lower case."""

    name: str
    values: dict[str, list[float]] = field(default_factory=dict)
    maps: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)  # lines that are passed over
    linear: bool = False  # whether its colors are linear light, and not sRGB as in most programs


def parse_mtl(text: str) -> dict[str, Entry]:
    """Return the materials of an MTL file by their names; lines that are not understood are skipped."""
    found: dict[str, Entry] = {}
    entry: Entry | None = None
    linear = BLENDER.search(text[:1000]) is not None
    for line in text.replace("\\\n", " ").splitlines():
        key, _, rest = (
            line.strip().partition(" ")
            if "\t" not in line
            else line.strip().replace("\t", " ").partition(" ")
        )
        key, rest = key.lower(), rest.strip()
        if key == "newmtl":
            entry = found.setdefault(rest, Entry(rest, linear=linear))
        elif entry is None or not rest:
            continue
        elif key.startswith("map_") or key in OTHER_MAPS:
            entry.maps[key] = rest
        elif key in ("kd", "ke", "d", "tr", "pm", "pr"):
            if rest.split()[0].lower() in OTHER_COLORS:
                entry.unread.append(f"{key} {rest.split()[0]}")
            elif numbers := _numbers(without_comment(rest)):
                entry.values[key] = numbers
    return found


class MtlMaterials:
    """The materials that an OBJ file can name, with their textures."""

    def __init__(self, folder: Path, max_side: int, notes: Notes) -> None:
        self.folder, self.notes = folder, notes
        self.entries: dict[str, Entry] = {}
        self.textures: list[Texture] = []
        self._decoded = cache(lambda target: decode(target.read_bytes(), max_side))

    def material(self, name: str) -> Material | None:
        """Return the material of this name, whatever the letter case, also where a comment follows the name.

        None: there is none.
        """
        for plain in (str, str.casefold, lambda text: without_comment(text).casefold()):
            for other, entry in self.entries.items():
                if plain(other) == plain(name):
                    return self._read(entry)
        return None

    def _read(self, entry: Entry) -> Material:
        alpha = entry.values["d"][-1] if "d" in entry.values else None
        if alpha is None and entry.values.get("tr", [1.0])[0] < 1:  # exporters write Tr 1 for opaque things
            alpha = 1 - entry.values["tr"][0]
        material = Material(name=entry.name, alpha=1.0 if alpha is None else min(max(alpha, 0.0), 1.0))
        material.base_texture = self._texture(entry, "map_kd")
        if material.base_texture is None:
            # An image takes the place of Kd, which exporters often leave black beside one.
            lost = "map_kd" in entry.maps and not any(entry.values.get("kd", [0.0]))
            given = _color(entry.values.get("kd", [0.8]), entry.linear)
            material.base_color = (GRAY, GRAY, GRAY) if lost else given
        self._add_alpha(entry, material)
        if any(entry.values.get("ke", [])) or "map_ke" in entry.maps:
            material.emissive_texture = self._texture(entry, "map_ke")
            glow = _color(entry.values.get("ke", [1.0]), entry.linear)
            if "map_ke" in entry.maps and material.emissive_texture is None:
                glow = (0.0, 0.0, 0.0)
            material.emissive = glow if any(glow) or material.emissive_texture is None else (1.0, 1.0, 1.0)
        for key, slot in (("pm", "metallic"), ("pr", "roughness")):
            use = self._texture(entry, f"map_{key}", plain=True)
            if use is not None:  # an image takes the place of the value, as with Kd
                setattr(material, f"{slot}_texture", use)
                setattr(material, slot, 1.0)
            elif key in entry.values:
                setattr(material, slot, _fraction(entry.values[key][0]))
        self._add_normals(entry, material)
        # Exporters write the image of map_Kd once more as map_Ka.
        unused = [k for k in entry.maps if k not in USED and (k != "map_ka" or "map_kd" not in entry.maps)]
        unused += entry.unread
        if unused:
            self.notes.add(f"{', '.join(unused)} is not used, of the material", entry.name)
        return material

    def _add_alpha(self, entry: Entry, material: Material) -> None:
        """Make the material transparent where its map_d, or its value d, says so."""
        mask = self._pixels(entry, "map_d")[0] if "map_d" in entry.maps else None
        if mask is not None:
            use = material.base_texture
            base = (
                self.textures[use.texture]
                if use
                else self._texture_of(entry, "map_d", np.full_like(mask[..., :3], 255))
            )
            if use is None:
                use = material.base_texture = TextureUse(len(self.textures) - 1)
            own_alpha = mask.shape[-1] == 4 and bool((mask[..., 3] < 255).any())
            alpha = Image.fromarray(mask[..., 3] if own_alpha else mask[..., :3].max(-1))
            size = (base.pixels.shape[1], base.pixels.shape[0])
            rgba = np.dstack([base.pixels[..., :3], np.asarray(alpha.resize(size))])
            self.textures.append(Texture(rgba, base.wrap))
            use.texture = len(self.textures) - 1
            material.cutoff = 0.5
        elif material.alpha < 1:
            material.cutoff, material.partly = 0.5, True

    def _add_normals(self, entry: Entry, material: Material) -> None:
        """Add the normal map, if there is one among what may also be a height map."""
        for key in NORMAL_MAPS:
            pixels, options = self._pixels(entry, key)
            if pixels is None:
                continue
            means = pixels[..., :3].reshape(-1, 3).mean(0)
            if key != "norm" and not (means[2] > BLUE and (abs(means[:2] - 128) < GRAY_SPREAD).all()):
                self.notes.add(f"{key} is a height map, which is not used, of the material", entry.name)
                continue
            if material.normal_texture is None:
                material.normal_texture = self._texture(entry, key, plain=True)
                material.normal_scale = _pair(options.get("-bm", []), 1.0)[0]

    def _texture_of(self, entry: Entry, key: str, pixels) -> Texture:
        clamp = map_name(entry.maps[key])[1].get("-clamp", ["off"])[0].lower() == "on"
        wrap = "clamp" if clamp else "repeat"
        self.textures.append(Texture(pixels, (wrap, wrap)))
        return self.textures[-1]

    def _texture(self, entry: Entry, key: str, plain: bool = False) -> TextureUse | None:
        """A map's texture; `plain`: it holds values, not colors."""
        pixels, options = self._pixels(entry, key)
        if pixels is None:
            return None
        if not plain and options.get("-colorspace", ["srgb"])[0].lower() in LINEAR:
            pixels = _to_srgb(pixels)
        if key == "map_kd" and pixels.shape[-1] == 4 and "map_d" not in entry.maps:
            if (pixels[..., 3] < 128).any():
                text = "its image is partly transparent, which counts only with a map_d, of the material"
                self.notes.add(text, entry.name)
            pixels = pixels[..., :3]
        self._texture_of(entry, key, pixels)
        scale, offset = _pair(options.get("-s", []), 1.0), _pair(options.get("-o", []), 0.0)
        matrix = ((scale[0], 0.0, offset[0]), (0.0, scale[1], offset[1]))
        return TextureUse(len(self.textures) - 1, 0, matrix)

    def _pixels(self, entry: Entry, key: str):
        """The image of a map and its options; None if there is none, or it cannot be read."""
        if key not in entry.maps:
            return None, {}
        name, options = map_name(entry.maps[key])
        for option in options:
            if option not in HONORED and option not in WITHOUT_EFFECT:
                self.notes.add(f"the option {option} of {key} is not used, of the material", entry.name)
        target = find_asset(self.folder, name)
        lost = f"the texture of the material '{entry.name}' cannot be read: the image '{name}'"
        if target is None:
            self.notes.add(f"{lost} {how_lost(name)}")
            return None, options
        try:
            return self._decoded(target), options
        except Unreadable as error:
            self.notes.add(f"{lost}: {error}")
            return None, options


def _numbers(text: str) -> list[float]:
    numbers = []
    for word in text.split():
        try:
            numbers.append(float(word))
        except ValueError:
            continue  # -halo, xyz, spectral
    return numbers


def _fraction(value: float) -> float:
    return float(np.clip(np.nan_to_num(value), 0, 1))


def _pair(words: list[str], default: float) -> tuple[float, float]:
    numbers = [float(word) for word in words] + [default, default]
    return numbers[0], numbers[1] if len(words) > 1 else default


def _to_srgb(pixels: UInt8[np.ndarray, "H W C"]) -> UInt8[np.ndarray, "H W C"]:
    """The pixels of an image that holds linear light, as sRGB; alpha stays."""
    table = np.round(255 * linear_to_srgb(np.arange(256) / 255)).astype(np.uint8)
    return np.dstack([table[pixels[..., :3]], pixels[..., 3:]])


def _color(values: list[float], linear: bool) -> tuple[float, float, float]:
    """Three channels in linear light, of one or three values in linear light or sRGB."""
    channels = np.array((values * 3)[:3] if len(values) < 3 else values[:3])
    channels = np.clip(np.nan_to_num(channels), 0, None)
    red, green, blue = (channels if linear else srgb_to_linear(channels)).tolist()
    return red, green, blue
