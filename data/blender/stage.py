"""Objects in the Blender scene: a mesh, a material, a position (meters, z up)."""

from __future__ import annotations

import math

import bpy

from . import shapes


def put(name, mesh, material, at=(0, 0, 0), rotation=(0, 0, 0), bevel=0.0, smooth=True, index=0):
    """Add a mesh to the scene; `rotation` in degrees about x, then y, then z; `bevel` in meters."""
    data = bpy.data.meshes.new(name)
    data.from_pydata(mesh[0].tolist(), [], mesh[1].tolist())
    data.materials.append(material)
    data.shade_smooth() if smooth else data.shade_flat()
    placed = bpy.data.objects.new(name, data)
    placed.location, placed.rotation_euler, placed.pass_index = at, [math.radians(r) for r in rotation], index
    bpy.context.scene.collection.objects.link(placed)
    if bevel:
        rounding = placed.modifiers.new("bevel", "BEVEL")
        rounding.width, rounding.segments = bevel, 3
    return placed


def block(name, size, material, at=(0, 0, 0), turn=0.0, bevel=0.003):
    """A box standing at `at`, turned about z by degrees."""
    return put(name, shapes.box(size), material, at, (0, 0, turn), bevel, smooth=False)


def turned(name, profile, material, at=(0, 0, 0), segments=64, index=0):
    """A profile on the lathe: points (radius, height), bottom to top along the outside."""
    return put(name, shapes.lathe(profile, segments), material, at, index=index)
