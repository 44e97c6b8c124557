"""Procedural materials for Cycles: a color is a socket of a node tree, in linear RGB unless from `srgb`."""

from __future__ import annotations

import bpy

WHITE = (1.0, 1.0, 1.0, 1.0)


def gray(value: float) -> tuple[float, float, float, float]:
    return (value, value, value, 1.0)


def srgb(code: str) -> tuple[float, float, float, float]:
    """A color like "c8502d" as linear RGBA."""
    values = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return (*[v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values], 1.0)


class Paint:
    """A material under construction; the methods add nodes and return their output socket.

    Patterns live in the object's own coordinates (meters), stretched by `stretch`.
    """

    def __init__(self, name: str, roughness: float = 0.6, specular: float = 0.25):
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.shader = self.tree.nodes["Principled BSDF"]
        self.shader.inputs["Roughness"].default_value = roughness
        self.shader.inputs["Specular IOR Level"].default_value = specular

    def node(self, kind: str, output: int | str = 0, properties: dict | None = None, **inputs):
        """Add a node; inputs are values or sockets, by name ("_" for a blank) or, as `i3`, by position."""
        node = self.tree.nodes.new("ShaderNode" + kind)
        for key, value in (properties or {}).items():
            setattr(node, key, value)
        for key, value in inputs.items():
            socket = node.inputs[int(key[1:]) if key[1:].isdigit() else key.replace("_", " ")]
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return node.outputs[output]

    def place(self, stretch=(1.0, 1.0, 1.0), turn: float = 0.0):
        where = self.node("TexCoord", "Object")
        return self.node("Mapping", Vector=where, Scale=stretch, Rotation=(0.0, 0.0, turn))

    def height(self, top: float):
        """0 at the object's own z = 0, 1 at z = top."""
        height = self.node("SeparateXYZ", 2, Vector=self.node("TexCoord", "Object"))
        return self.node("Math", 0, {"operation": "DIVIDE"}, i0=height, i1=top)

    def noise(self, scale: float, detail: float = 3.0, stretch=(1.0, 1.0, 1.0)):
        return self.node("TexNoise", Vector=self.place(stretch), Scale=scale, Detail=detail)

    def wave(self, scale: float, distortion: float = 0.0, axis="X", stretch=(1.0, 1.0, 1.0)):
        """Bands across an axis, `scale * 10 / pi` of them per meter."""
        return self._wave("BANDS", "bands_direction", scale, distortion, axis, stretch)

    def rings(self, scale: float, distortion: float = 0.0, axis="X"):
        """Rings about an axis, as close as the bands of `wave`."""
        return self._wave("RINGS", "rings_direction", scale, distortion, axis, (1.0, 1.0, 1.0))

    def _wave(self, kind, direction, scale, distortion, axis, stretch):
        properties, where = {"wave_type": kind, direction: axis}, self.place(stretch)
        return self.node(
            "TexWave", 1, properties, Vector=where, Scale=scale, Distortion=distortion, Detail=3.0
        )

    def cells(self, scale: float, output="Color"):
        return self.node("TexVoronoi", output, Vector=self.place(), Scale=scale)

    def bricks(self, one, two, mortar, width: float, height: float, gap: float, turn=0.0):
        """Rows along x of the local x-y plane; each brick's color lies between `one` and `two`."""
        sizes = {"Brick_Width": width, "Row_Height": height, "Mortar_Size": gap, "Mortar_Smooth": 0.1}
        colors = {"Color1": one, "Color2": two, "Mortar": mortar}
        return self.node("TexBrick", Vector=self.place(turn=turn), Scale=1.0, **colors, **sizes)

    def ramp(self, factor, *stops, steps: bool = False):
        """Colors along 0..1 from pairs (position, color); `steps`: no blending between them."""
        ramp = self.node("ValToRGB", Fac=factor)
        colors = ramp.node.color_ramp
        colors.interpolation = "CONSTANT" if steps else "LINEAR"
        while len(colors.elements) < len(stops):
            colors.elements.new(1.0)
        for element, (position, color) in zip(colors.elements, stops, strict=True):
            element.position, element.color = position, srgb(color) if isinstance(color, str) else color
        return ramp

    def steps(self, factor, *stops):
        return self.ramp(factor, *stops, steps=True)

    def mix(self, one, two, factor=1.0, how: str = "MULTIPLY"):
        return self.node("Mix", 2, {"data_type": "RGBA", "blend_type": how}, i0=factor, i6=one, i7=two)

    def done(self, color, glow: float = 0.0) -> bpy.types.Material:
        for name in ("Base Color", "Emission Color")[: 2 if glow else 1]:
            self.tree.links.new(color, self.shader.inputs[name])
        self.shader.inputs["Emission Strength"].default_value = glow
        return self.material


def plain(name: str, code: str, **kwargs) -> bpy.types.Material:
    """One color with a breath of noise, so that no surface is quite featureless."""
    paint = Paint(name, **kwargs)
    breath = paint.ramp(paint.noise(18.0), (0.3, gray(0.82)), (0.7, WHITE))
    return paint.done(paint.mix(srgb(code), breath))


def wood(name: str, dark: str, light: str, planks: float | None = None, **kwargs) -> bpy.types.Material:
    """Grain along x; with `planks`, boards of that width (m) in different tones."""
    paint = Paint(name, **kwargs)
    grain = paint.wave(5.0, 5.0, "Y", stretch=(0.6, 3.0, 3.0))
    fine = paint.noise(40.0, 2.0, (0.08, 1.0, 1.0))
    color = paint.ramp(paint.mix(grain, fine, 0.5, "MIX"), (0.2, dark), (0.8, light))
    if planks:
        tones = WHITE, (0.62, 0.6, 0.58, 1), (0.2, 0.17, 0.15, 1)
        color = paint.mix(color, paint.bricks(*tones, planks * 7, planks, 0.0025))
    return paint.done(color)
