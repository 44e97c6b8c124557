"""Render the sample capture `data/sample/`: a table in a sunlit room, seen from 56 positions around it.

    uv venv --python 3.11 bpyenv && uv pip install --python bpyenv/bin/python bpy pillow scipy
    bpyenv/bin/python data/make_sample.py [--out data/sample] [--views 0,10,20] [--scale 2]

Blender's Cycles renders every view on the CPU, a few seconds each. World coordinates are meters, z up,
the origin in the middle of the table's top. The mug is the object to remove, the rocket the object to
insert; "the capture" shows the mug and not the rocket.

    transforms.json      the capture's cameras (OpenGL axes) and its split
    images/              the capture
    object.ply           the rocket in place, with its colors
    masks/               the mug as a user would paint over it, on three training views
    truth/insert/        all views with mug and rocket
    truth/remove/        test views with neither
    truth/both/          test views with the rocket, without the mug
    object_mask/         where the rocket is visible in truth/insert
    removed_mask/        where the mug is visible in the capture
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import bpy
import numpy as np
from blender import rocket, room, stage, tabletop
from blender.paint import Paint
from mathutils import Matrix, Vector
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

WIDTH, HEIGHT, FOCAL = 256, 192, 258.0
CENTER = (129.4, 95.1)  # the principal point, a little off the middle as in any phone
LOOPS = [(16.0, 20), (33.0, 20), (51.0, 16)]  # elevation in degrees, number of views
TEST = range(3, 56, 7)
TARGET, DISTANCE = (0.02, 0.0, 0.07), 1.22
ROCKET_AT, ROCKET_TURN = (-0.09, -0.11, 0.0), 20.0
MASK_AZIMUTHS = (-75.0, 40.0, 165.0)  # from where the mug gets painted over
ROCKET, MUG = 1, 2  # object indices
# Folder: are training views wanted too, is the rocket there, is the mug there?
PHOTOGRAPHS = {
    "images": (True, False, True),
    "truth/insert": (True, True, True),
    "truth/remove": (False, False, False),
    "truth/both": (False, True, False),
}
# Folder: whose pixels, is the rocket there, is the mug there?
MASKS = {"object_mask": (ROCKET, True, True), "removed_mask": (MUG, False, True)}


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "sample")
    arguments.add_argument("--views", help="render only these, e.g. 0,10,20")
    arguments.add_argument("--scale", type=float, default=1.0, help="factor on the image size")
    arguments.add_argument("--samples", type=int, default=24, help="paths per pixel, before denoising")
    options = arguments.parse_args()
    out = options.out.resolve()

    poses = viewpoints()
    names = [f"{i:03d}" for i in range(len(poses))]
    chosen = [int(i) for i in options.views.split(",")] if options.views else range(len(poses))
    studio = Studio(options.samples, options.scale)
    write_ply(out / "object.ply", *studio.rocket_mesh)
    write_transforms(out, poses, names, options.scale)
    for folder, (everywhere, *shown) in PHOTOGRAPHS.items():
        studio.show(*shown)
        for i in (i for i in chosen if everywhere or i in TEST):
            studio.aim(poses[i])
            write_jpeg(out / folder / f"{names[i]}.jpg", studio.photograph())
    for folder, (index, *shown) in MASKS.items():
        studio.show(*shown)
        for i in chosen:
            studio.aim(poses[i])
            write_mask(out / folder / f"{names[i]}.png", studio.mask(index))
    if not options.views:
        paint_masks(out, poses, names)


def viewpoints() -> list[Matrix]:
    """Camera-to-world, OpenGL axes: three loops around the table, held by hand."""
    rng = np.random.default_rng(11)
    poses = []
    for loop, (elevation, count) in enumerate(LOOPS):
        for i in range(count):
            azimuth = math.radians(360 / count * (i + 0.37 * loop + rng.uniform(-0.2, 0.2)))
            height = math.radians(elevation + rng.uniform(-5, 5))
            out = (
                math.cos(height) * math.cos(azimuth),
                math.cos(height) * math.sin(azimuth),
                math.sin(height),
            )
            eye = Vector(TARGET) + DISTANCE * rng.uniform(0.9, 1.06) * Vector(out)
            look = Vector(TARGET) + Vector(rng.uniform(-0.08, 0.08, 3).tolist())
            roll = Matrix.Rotation(math.radians(rng.uniform(-3, 3)), 4, "Z")
            aim = (look - eye).to_track_quat("-Z", "Y").to_matrix().to_4x4()
            poses.append(Matrix.Translation(eye) @ aim @ roll)
    return poses


class Studio:
    """The scene in Blender, and a camera."""

    def __init__(self, samples: int, scale: float):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.scene = scene = bpy.context.scene
        scene.render.engine = "CYCLES"
        scene.render.resolution_x, scene.render.resolution_y = round(WIDTH * scale), round(HEIGHT * scale)
        scene.render.use_persistent_data = True
        scene.render.image_settings.file_format = "PNG"
        self.samples = samples
        room.build()
        tabletop.build(room.FLOOR)
        self.mug = tabletop.mug(MUG)
        self.rocket_mesh, self.rocket = self._rocket()
        index = Paint("index")
        self.index_material, self.wanted = self._index_material(index)
        lens = bpy.data.cameras.new("camera")
        lens.sensor_width, lens.lens = float(WIDTH), FOCAL  # millimeters stand for pixels
        lens.shift_x = (WIDTH / 2 - CENTER[0]) / WIDTH
        lens.shift_y = (CENTER[1] - HEIGHT / 2) / WIDTH
        self.camera = bpy.data.objects.new("camera", lens)
        scene.collection.objects.link(self.camera)
        scene.camera = self.camera

    def aim(self, pose: Matrix) -> None:
        self.camera.matrix_world = pose

    def show(self, with_rocket: bool, with_mug: bool) -> None:
        self.rocket.hide_render = not with_rocket
        for part in self.mug:
            part.hide_render = not with_mug

    def photograph(self) -> np.ndarray:
        """uint8 [H, W, 3], sRGB."""
        self.scene.cycles.samples, self.scene.cycles.use_denoising = self.samples, True
        self.scene.cycles.max_bounces = 4
        self.scene.view_settings.view_transform = "Standard"
        return self._render()

    def mask(self, index: int) -> np.ndarray:
        """bool [H, W]: true where at least half of the pixel shows the object with that index."""
        layer = self.scene.view_layers[0]
        self.scene.cycles.samples, self.scene.cycles.use_denoising = 32, False
        self.scene.cycles.max_bounces = 0
        self.scene.view_settings.view_transform = "Raw"
        self.wanted.default_value, layer.material_override = float(index), self.index_material
        seen = self._render()[..., 0] > 127
        layer.material_override = None
        return seen

    def _render(self) -> np.ndarray:
        path = Path(bpy.app.tempdir) / "view.png"
        self.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))

    def _rocket(self):
        vertices, faces, colors = rocket.rocket()
        turn = Matrix.Rotation(math.radians(ROCKET_TURN), 3, "Z")
        vertices = vertices @ np.array(turn).T + ROCKET_AT
        paint = Paint("rocket", roughness=0.6)
        material = paint.done(paint.node("Attribute", 0, {"attribute_name": "color"}))
        placed = stage.put("rocket", (vertices, faces), material, index=ROCKET)
        srgb = colors / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        layer = placed.data.color_attributes.new("color", "FLOAT_COLOR", "POINT")
        layer.data.foreach_set("color", np.c_[linear, np.ones(len(linear))].ravel())
        return (vertices, faces, colors), placed

    def _index_material(self, paint: Paint):
        """Emits with strength 1 on objects with the wanted index and not at all elsewhere."""
        index = paint.node("ObjectInfo", "Object Index")
        same = paint.node("Math", 0, {"operation": "COMPARE"}, i0=index, i1=1.0, i2=0.1)
        glow = paint.node("Emission", 0, Strength=same)
        paint.tree.links.new(glow, paint.tree.nodes["Material Output"].inputs["Surface"])
        return paint.material, same.node.inputs[1]


def write_jpeg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, quality=90, subsampling=0, optimize=True)


def write_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, optimize=True)


def write_ply(path: Path, vertices: np.ndarray, faces: np.ndarray, colors: np.ndarray) -> None:
    """Binary PLY with sRGB vertex colors."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = vertices.astype(np.float32)[faces]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    faces = faces[area > 0]  # the poles of a lathe
    vertex = np.zeros(len(vertices), [("at", "<f4", 3), ("color", "u1", 3)])
    vertex["at"], vertex["color"] = vertices, colors
    face = np.zeros(len(faces), [("count", "u1"), ("corners", "<i4", 3)])
    face["count"], face["corners"] = 3, faces
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(vertex)}"]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    header += [f"element face {len(face)}", "property list uchar int vertex_indices", "end_header\n"]
    path.write_bytes("\n".join(header).encode() + vertex.tobytes() + face.tobytes())


def write_transforms(out: Path, poses: list[Matrix], names: list[str], scale: float) -> None:
    split = {"train": [], "test": []}
    for i, name in enumerate(names):
        split["test" if i in TEST else "train"].append(f"images/{name}.jpg")
    capture = {"camera_model": "OPENCV", "w": round(WIDTH * scale), "h": round(HEIGHT * scale)}
    capture |= {
        "fl_x": FOCAL * scale,
        "fl_y": FOCAL * scale,
        "cx": CENTER[0] * scale,
        "cy": CENTER[1] * scale,
    }
    capture |= {"k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0}
    capture |= {
        "train_filenames": split["train"],
        "val_filenames": split["test"],
        "test_filenames": split["test"],
    }
    capture["frames"] = [
        {"file_path": f"images/{name}.jpg", "transform_matrix": [[round(x, 7) for x in row] for row in pose]}
        for name, pose in zip(names, poses, strict=True)
    ]
    (out / "transforms.json").write_text(json.dumps(capture, indent=1) + "\n")


def paint_masks(out: Path, poses: list[Matrix], names: list[str]) -> None:
    """Brush over the mug in three training views: a few pixels too far, more here than there."""
    rng = np.random.default_rng(3)
    middle = range(LOOPS[0][1], LOOPS[0][1] + LOOPS[1][1])
    for wanted in MASK_AZIMUTHS:
        off = {
            i: abs((math.degrees(math.atan2(poses[i][1][3], poses[i][0][3])) - wanted + 180) % 360 - 180)
            for i in middle
            if i not in TEST
        }
        name = names[min(off, key=off.get)]
        with Image.open(out / "removed_mask" / f"{name}.png") as image:
            mug = np.asarray(image) > 0
        wobble = gaussian_filter(rng.standard_normal(mug.shape), 6)
        reach = 3.5 + 1.3 * wobble / wobble.std()
        write_mask(out / "masks" / f"{name}.png", distance_transform_edt(~mug) <= reach.clip(1.5))


if __name__ == "__main__":
    main()
