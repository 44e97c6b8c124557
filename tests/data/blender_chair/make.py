"""Makes chair.glb in Blender, beside a scene's exported points: run it with an interpreter that has bpy.

    nerf-insert export SCENE pointcloud --out OUT
    python make.py OUT/pointcloud.ply chair.glb

The chair's boxes, in the scene's world coordinates, and its colors are in `BOXES`; the test compares with them.
"""

import sys
from pathlib import Path

import numpy as np

# Center, side lengths, and the color: sRGB of 255.
BOXES = {
    "seat": ((0.10, -0.05, 0.22), (0.20, 0.20, 0.02), (200, 60, 40)),
    "back": ((0.10, 0.045, 0.33), (0.20, 0.01, 0.20), (30, 120, 220)),
    "leg 1": ((0.01, -0.14, 0.105), (0.02, 0.02, 0.21), (90, 160, 20)),
    "leg 2": ((0.19, -0.14, 0.105), (0.02, 0.02, 0.21), (90, 160, 20)),
    "leg 3": ((0.01, 0.04, 0.105), (0.02, 0.02, 0.21), (90, 160, 20)),
    "leg 4": ((0.19, 0.04, 0.105), (0.02, 0.02, 0.21), (90, 160, 20)),
}


def linear(color):
    srgb = np.array(color) / 255
    return [*np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).tolist(), 1.0]


def main() -> None:
    import bpy

    cloud, out = sys.argv[1:3]
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.ply_import(filepath=cloud)
    points = bpy.context.object.data.vertices
    shown = np.array([points[k].co[:] for k in range(100)])
    head, body = Path(cloud).read_bytes().split(b"end_header\n", 1)
    fields = [line.split() for line in head.decode().splitlines() if line.startswith("property")]
    types = {"float": "<f4", "uchar": "u1"}
    own = np.frombuffer(body, [(name, types[kind]) for _, kind, name in fields], 100)
    assert np.allclose(shown, np.stack([own[axis] for axis in "xyz"], 1), atol=1e-6)  # nothing is turned

    bpy.ops.object.select_all(action="DESELECT")
    for name, (center, size, color) in BOXES.items():
        bpy.ops.mesh.primitive_cube_add(size=1, location=center)
        thing = bpy.context.object
        thing.name, thing.scale = name, size
        material = bpy.data.materials.new(name)
        material.use_nodes = True
        nodes, links = material.node_tree.nodes, material.node_tree.links
        base = nodes["Principled BSDF"].inputs["Base Color"]
        if name == "back":  # an image
            image = bpy.data.images.new("back", 4, 4)
            image.pixels = [*(np.array(color) / 255), 1.0] * 16
            image.pack()
            node = nodes.new("ShaderNodeTexImage")
            node.image = image
            links.new(node.outputs["Color"], base)
        elif name.startswith("leg"):  # a color attribute
            attribute = thing.data.color_attributes.new("paint", "FLOAT_COLOR", "POINT")
            for corner in attribute.data:
                corner.color = linear(color)
            node = nodes.new("ShaderNodeVertexColor")
            node.layer_name = "paint"
            links.new(node.outputs["Color"], base)
        else:
            base.default_value = linear(color)
        thing.data.materials.append(material)
    for thing in bpy.context.scene.objects:
        thing.select_set(thing.name in BOXES)
    bpy.ops.export_scene.gltf(filepath=out, export_format="GLB", use_selection=True, export_yup=True)


if __name__ == "__main__":
    main()
