"""The materials and textures of a glTF file."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

from nerf_insert.geometry.mesh_assets import how_lost
from nerf_insert.geometry.mesh_files.gltf import BASISU, KTX2, LEFT_OUT, SUPPORTED, Document
from nerf_insert.geometry.mesh_files.images import Unreadable, decode
from nerf_insert.geometry.mesh_files.parts import Material, Texture, TextureUse

WRAPS = {10497: "repeat", 33648: "mirror", 33071: "clamp"}
NEAREST = 9728
HALF = 0.5  # alpha at which what is meant to be partly transparent is cut out
SPEC_GLOSS = "KHR_materials_pbrSpecularGlossiness"
IOR, SPECULAR = "KHR_materials_ior", "KHR_materials_specular"
USUAL_IOR = 1.5
OCCLUSION, ROUGHNESS, METALLIC = 0, 1, 2  # channels


class Materials:
    """Reads materials by their index, each image once."""

    def __init__(self, document: Document, max_side: int) -> None:
        self.document, self.max_side = document, max_side
        self.textures: list[Texture] = []
        self.material = cache(self._material)
        self._pixels = cache(self._decoded)
        self._known: dict[int, int] = {}  # the textures that were read, by their number in the file

    def _material(self, number: int | None) -> Material:
        """Return a material; the standard's default for None."""
        if number is None:
            return Material()
        data = self.document.list("materials")[number]
        extensions = data.get("extensions", {})
        name = str(data.get("name") or f"material {number}")
        pbr = data.get("pbrMetallicRoughness", {})
        factor, texture = pbr.get("baseColorFactor"), pbr.get("baseColorTexture")
        if SPEC_GLOSS in extensions:
            other = extensions[SPEC_GLOSS]
            factor, texture = other.get("diffuseFactor"), other.get("diffuseTexture")
        red, green, blue, alpha = _numbers(factor, (1.0, 1.0, 1.0, 1.0))
        strength = extensions.get("KHR_materials_emissive_strength", {}).get("emissiveStrength", 1.0)
        glow = [value * _number(strength) for value in _numbers(data.get("emissiveFactor"), (0.0, 0.0, 0.0))]
        mode = data.get("alphaMode", "OPAQUE")
        cutoff = {"MASK": _number(data.get("alphaCutoff", HALF)), "BLEND": HALF}.get(mode)
        self._tell_what_is_left_out(name, extensions)
        material = Material(
            name=name,
            base_color=(red, green, blue),
            alpha=alpha,
            cutoff=cutoff,
            partly=mode == "BLEND",
            base_texture=self._use(texture, name, "base color"),
            emissive=(glow[0], glow[1], glow[2]),
            emissive_texture=self._use(data.get("emissiveTexture"), name, "emissive") if any(glow) else None,
        )
        if SPEC_GLOSS in extensions:
            self._add_gloss(material, extensions[SPEC_GLOSS])
        else:
            self._add_metal(material, pbr)
            _add_reflectance(material, extensions)
        self._add_relief(material, data)
        return material

    def _add_metal(self, material: Material, pbr: dict[str, Any]) -> None:
        """Add what the file says of metal and roughness.

        Both are 1 by the standard where only one is given, or a map alone. A material that gives none of
        them says nothing: most exporters that leave them out do not mean rough metal.
        """
        info = pbr.get("metallicRoughnessTexture")
        use = self._use(info, material.name, "metallic-roughness")
        said = use is not None or "metallicFactor" in pbr or "roughnessFactor" in pbr
        if not said or (info is not None and use is None):  # without their map, the factors mean nothing
            return
        material.metallic = _fraction(pbr.get("metallicFactor", 1.0))
        material.roughness = _fraction(pbr.get("roughnessFactor", 1.0))
        if use is not None:
            material.metallic_texture = replace(use, channel=METALLIC)
            material.roughness_texture = replace(use, channel=ROUGHNESS)

    def _add_gloss(self, material: Material, other: dict[str, Any]) -> None:
        """Add what the older model of specular and glossiness says."""
        if "specularGlossinessTexture" in other:
            self._tell_unused(f"the map of {SPEC_GLOSS}", material.name)
            return
        red, green, blue = _numbers(other.get("specularFactor"), (1.0, 1.0, 1.0))
        material.reflectance = (_fraction(red), _fraction(green), _fraction(blue))
        material.metallic, material.roughness = 0.0, 1.0 - _fraction(other.get("glossinessFactor", 1.0))

    def _add_relief(self, material: Material, data: dict[str, Any]) -> None:
        """Add the maps of normals and of occlusion."""
        info = data.get("normalTexture")
        material.normal_texture = self._use(info, material.name, "normal")
        if info is not None:
            material.normal_scale = _number(info.get("scale", 1.0))
        info = data.get("occlusionTexture")
        use = self._use(info, material.name, "occlusion")
        if info is not None and use is not None:
            material.occlusion_texture = replace(use, channel=OCCLUSION)
            material.occlusion_strength = _fraction(info.get("strength", 1.0))

    def _tell_unused(self, what: str, material: str) -> None:
        self.document.notes.add(f"{what} is not used, of the material", material)

    def _tell_what_is_left_out(self, name: str, extensions: dict) -> None:
        maps = [key for key in extensions.get(SPECULAR, {}) if key.endswith("Texture")]
        for key in maps:
            self._tell_unused(f"the map {key} of {SPECULAR}", name)
        for extension in extensions:
            if extension in LEFT_OUT:
                text = f"{extension} is shown {LEFT_OUT[extension]}, of the material"
                self.document.notes.add(text, name)
            elif extension not in SUPPORTED:
                self.document.notes.add(
                    f"{extension} is not supported and was left out, of the material", name
                )

    def _use(self, info: dict[str, Any] | None, material: str, slot: str) -> TextureUse | None:
        """Return a texture as a slot uses it; None if there is none, or none that can be read."""
        if info is None:
            return None
        index = int(info["index"])
        if index < 0:
            raise ValueError("a material refers to a texture that does not exist")
        texture = self._texture(index, material, slot)
        if texture is None:
            return None
        transform = info.get("extensions", {}).get("KHR_texture_transform", {})
        uv_set = int(transform.get("texCoord", info.get("texCoord", 0)))
        if not 0 <= uv_set < 16:
            raise ValueError("a texture has no such set of coordinates")
        return TextureUse(texture, uv_set, _uv_matrix(transform))

    def _texture(self, number: int, material: str, slot: str) -> int | None:
        """The index of a texture of the file in `textures`; None, with a note, if it cannot be read."""
        if number in self._known:
            return self._known[number]
        data = self.document.list("textures")[number]
        source, extensions = data.get("source"), data.get("extensions", {})
        if "EXT_texture_webp" in extensions:
            source = extensions["EXT_texture_webp"].get("source", source)
        lost = f"the {slot} texture of the material '{material}' cannot be read"
        if source is None:
            reason = KTX2.format(BASISU) if BASISU in extensions else f"its kind is {', '.join(extensions)}"
            self.document.notes.add(f"{lost}: {reason}")
            return None
        try:
            pixels = self._pixels(int(source))
        except Unreadable as error:
            self.document.notes.add(f"{lost}: {error}")
            return None
        sampler: dict[str, Any] = {}
        if data.get("sampler") is not None:
            sampler = self.document.list("samplers")[data["sampler"]]
        wrap = WRAPS[sampler.get("wrapS", 10497)], WRAPS[sampler.get("wrapT", 10497)]
        self.textures.append(Texture(pixels, wrap, sampler.get("magFilter") == NEAREST))
        self._known[number] = len(self.textures) - 1
        return self._known[number]

    def _decoded(self, number: int):
        image = self.document.list("images")[number]
        if "bufferView" in image:
            return decode(self.document.view(image["bufferView"]), self.max_side)
        uri = image["uri"]
        data = self.document.read_uri(uri)
        if data is None:
            raise Unreadable(f"the image '{uri[:120]}' {how_lost(uri)}")
        try:
            return decode(data, self.max_side)
        except Unreadable as error:
            raise Unreadable(f"the image '{uri[:120]}': {error}") from None


def _add_reflectance(material: Material, extensions: dict[str, Any]) -> None:
    """Add what the extensions for dielectrics say: an index of refraction, and how much is reflected."""
    if IOR not in extensions and SPECULAR not in extensions:
        return
    index = _number(extensions.get(IOR, {}).get("ior", USUAL_IOR))
    if index < 0:
        raise ValueError("a material has a negative index of refraction")
    specular = extensions.get(SPECULAR, {})
    weight = _fraction(specular.get("specularFactor", 1.0))
    tint = _numbers(specular.get("specularColorFactor"), (1.0, 1.0, 1.0))
    head_on = ((index - 1) / (index + 1)) ** 2
    red, green, blue = (weight * _fraction(head_on * value) for value in tint)
    material.reflectance, material.edge_reflectance = (red, green, blue), weight


def _uv_matrix(transform: dict[str, Any]) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The matrix of KHR_texture_transform, for coordinates whose origin is bottom left.

    glTF's origin is the top left corner: v' = 1 - v before and after.
    """
    x, y = _numbers(transform.get("offset"), (0.0, 0.0))
    a, b = _numbers(transform.get("scale"), (1.0, 1.0))
    turn = _number(transform.get("rotation", 0.0))
    c, s = math.cos(turn), math.sin(turn)
    # In the standard's frame: translation * rotation * scale, rotation [[c, s], [-s, c]].
    m = ((a * c, b * s, x), (-a * s, b * c, y))
    u_row = (m[0][0], -m[0][1], m[0][1] + m[0][2])
    v_row = (-m[1][0], m[1][1], 1.0 - m[1][1] - m[1][2])
    return u_row, v_row


def _number(value: Any) -> float:
    value = float(value)
    if not math.isfinite(value):
        raise ValueError("a material has a value that is not finite")
    return value


def _fraction(value: Any) -> float:
    """A number of a material, brought into 0..1."""
    return min(max(_number(value), 0.0), 1.0)


def _numbers(values: Any, default: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers of a material; the default for None."""
    if values is None:
        return default
    if len(values) != len(default):
        raise ValueError(f"a material has {len(values)} numbers where {len(default)} belong")
    return tuple(_number(value) for value in values)
