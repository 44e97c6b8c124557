"""Compare how public models look here and in Blender: silhouette and colors in flat light.

    python -m benchmarks.mesh_models FOLDER OUT --blender PYTHON [--count 100] [--seed 0]

FOLDER holds models of any origin; PYTHON is an interpreter that can `import bpy` (a wheel of its own; Blender
is no dependency). Each chosen model is rendered from the same place by an orthographic camera: here by the
rays and colors that the inpainter `mesh` uses, with no light, and in Blender as the base color that Cycles
reports, after its own importers and without animations. Writes OUT/results.json, a picture of each pair, and
OUT/worst.png with the ten worst.

Made equal in Blender is what no standard settles, and what its importers read otherwise on purpose: the color
without a material, Kd of MTL files (sRGB), and images that are used for colors and for roughness at once. A
file with the content of an earlier one is passed over. Files are read in this process, which takes less time
than one for each.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from nerf_insert.errors import InputError, warnings_to
from nerf_insert.geometry import mesh_reader
from nerf_insert.geometry.cameras import Rays
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.geometry.mesh_files import worker
from nerf_insert.geometry.mesh_reader import SUFFIXES, load_mesh
from nerf_insert.geometry.pose import Pose
from nerf_insert.geometry.up_axis import standard_up_axis, upright

SIZE, SUPERSAMPLED = 96, 3
TOWARDS = np.array([-0.5, 0.75, -0.45])
LARGEST = 3_000_000  # bytes of a model's file


def camera(bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Rotation (columns right, up, back), center and width of the view of a box."""
    back = -TOWARDS / np.linalg.norm(TOWARDS)
    right = np.cross([0, 0, 1.0], back)
    right /= np.linalg.norm(right)
    size = float(np.linalg.norm(bounds[1] - bounds[0]))
    return np.stack([right, np.cross(back, right), back], 1), bounds.mean(0), size * 1.05


def render_here(path: Path) -> tuple[np.ndarray, dict]:
    """RGBA in 0..1, and the camera and warnings as plain data."""
    warnings: list[str] = []
    with warnings_to(warnings.append):
        turn = upright(standard_up_axis(path), torch.tensor([0.0, 0.0, 1.0]))
        mesh = load_mesh(path, Pose(turn))
    rotation, center, width = camera(mesh.bounds.double().numpy())
    n = SIZE * SUPERSAMPLED
    x = ((np.arange(n) + 0.5) / n - 0.5) * width
    grid = np.stack(np.meshgrid(x, -x), -1).reshape(-1, 2)
    origins = center + grid[:, :1] * rotation[:, 0] + grid[:, 1:] * rotation[:, 1] + width * rotation[:, 2]
    directions = np.broadcast_to(-rotation[:, 2], origins.shape)
    hits = mesh.cast(Rays(torch.from_numpy(origins).float(), torch.from_numpy(directions.copy()).float()))
    rgba = torch.zeros(len(origins), 4)
    at = hits.hit.nonzero()[:, 0]
    linear = srgb_to_linear(mesh.color_at(hits.face[at], hits.barycentric[at]))
    if mesh.emits:
        linear = linear + mesh.emission_at(hits.face[at], hits.barycentric[at])
    rgba[at, :3], rgba[at, 3] = linear.clamp(0, 1), 1.0
    rgba = rgba.view(SIZE, SUPERSAMPLED, SIZE, SUPERSAMPLED, 4).mean((1, 3))
    view = {"rotation": rotation.tolist(), "center": center.tolist(), "width": width}
    return rgba.numpy(), {"view": view, "faces": len(mesh.faces), "warnings": warnings}


BLENDER = """
import bpy, json, sys, numpy as np
from pathlib import Path
SIZE, SAMPLES = int(sys.argv[2]), 16
for job in json.loads(Path(sys.argv[1]).read_text()):
    try:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        from io_scene_gltf2.blender.imp.scene import BlenderScene
        BlenderScene.create_animations = staticmethod(lambda gltf: None)  # it would show their first frame
        path, kind = job["path"], Path(job["path"]).suffix.lower()
        if kind in (".glb", ".gltf"): bpy.ops.import_scene.gltf(filepath=path)
        elif kind == ".obj": bpy.ops.wm.obj_import(filepath=path, forward_axis="Y", up_axis="Z")
        elif kind == ".ply": bpy.ops.wm.ply_import(filepath=path)
        else: bpy.ops.wm.stl_import(filepath=path)
        scene = bpy.context.scene
        for o in list(scene.objects):
            if o.type in ("LIGHT", "CAMERA"): bpy.data.objects.remove(o)
        for o in scene.objects:  # PLY colors have no material in Blender
            if o.type == "MESH" and not o.data.materials and o.data.color_attributes:
                m = bpy.data.materials.new("own"); m.use_nodes = True; o.data.materials.append(m)
                n = m.node_tree.nodes.new("ShaderNodeVertexColor")
                n.layer_name = o.data.color_attributes[0].name
                m.node_tree.links.new(n.outputs[0], m.node_tree.nodes["Principled BSDF"].inputs["Base Color"])
        white = kind in (".glb", ".gltf")  # what has no material: white by glTF's standard, else our gray
        color = (1, 1, 1, 1) if white else (0.456, 0.456, 0.456, 1)
        none = bpy.data.materials.new("none"); none.use_nodes = True
        none.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = color
        no_mtl = any("material file" in w and "used" not in w for w in job["warnings"])
        for o in scene.objects:
            if o.type != "MESH": continue
            if not len(o.data.materials): o.data.materials.append(none)
            for k, m in enumerate(o.data.materials):
                if m is None or no_mtl: o.data.materials[k] = none
        for i in bpy.data.images:  # one that is also used for roughness would be read as linear light
            if i.source == "FILE": i.colorspace_settings.name = "sRGB"
        head = open(path, "rb").read(300)
        for m in bpy.data.materials if kind == ".obj" and b"Blender" not in head else ():  # Kd, see above
            for n in m.node_tree.nodes if m.node_tree and m != none else ():
                if n.type == "BSDF_PRINCIPLED" and not n.inputs["Base Color"].is_linked:
                    c = [v / 12.92 if v < 0.04045 else ((v + 0.055) / 1.055) ** 2.4
                         for v in n.inputs["Base Color"].default_value[:3]]
                    n.inputs["Base Color"].default_value = (*c, 1)
        for m in bpy.data.materials:
            for n in m.node_tree.nodes if m.node_tree else ():
                if n.type != "BSDF_PRINCIPLED": continue
                for name in ("Metallic", "Specular IOR Level", "Transmission Weight", "Coat Weight"):
                    for link in list(n.inputs[name].links): m.node_tree.links.remove(link)
                    n.inputs[name].default_value = 0
        data = bpy.data.cameras.new("c"); cam = bpy.data.objects.new("c", data)
        scene.collection.objects.link(cam); scene.camera = cam
        view = job["view"]; r, c, w = np.array(view["rotation"]), np.array(view["center"]), view["width"]
        data.type, data.ortho_scale = "ORTHO", w
        data.clip_start, data.clip_end = w * 1e-3, w * 10
        pose = np.eye(4); pose[:3, :3] = r; pose[:3, 3] = c + w * r[:, 2]
        from mathutils import Matrix
        cam.matrix_world = Matrix(pose.tolist())
        scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", SAMPLES, False
        scene.cycles.max_bounces, scene.cycles.transparent_max_bounces = 0, 8
        scene.render.film_transparent = True
        scene.render.resolution_x = scene.render.resolution_y = SIZE
        scene.render.threads_mode, scene.render.threads = "FIXED", 1
        layer = scene.view_layers[0]
        layer.use_pass_diffuse_color = layer.use_pass_emit = True
        scene.use_nodes = True
        tree = scene.node_tree; tree.nodes.clear()
        layers = tree.nodes.new("CompositorNodeRLayers"); out = tree.nodes.new("CompositorNodeOutputFile")
        out.base_path = job["out"]; out.format.file_format = "OPEN_EXR"; out.format.color_depth = "32"
        out.file_slots.clear()
        for slot, name in (("color", "DiffCol"), ("emit", "Emit"), ("alpha", "Alpha")):
            out.file_slots.new(slot)
            tree.links.new(layers.outputs[name], out.inputs[slot])
        bpy.ops.render.render()
        found = {}
        for slot in ("color", "emit", "alpha"):
            image = bpy.data.images.load(str(Path(job["out"]) / f"{slot}0001.exr"))
            image.colorspace_settings.name = "Non-Color"
            found[slot] = np.array(image.pixels[:]).reshape(SIZE, SIZE, 4)[::-1]
        rgba = np.concatenate([found["color"][..., :3] + found["emit"][..., :3], found["alpha"][..., :1]], -1)
        np.save(Path(job["out"]) / "blender.npy", rgba.astype(np.float32))
    except Exception as error:
        (Path(job["out"]) / "blender.txt").write_text(repr(error))
    print("blender", job["path"], flush=True)
"""


def compare(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Agreement of silhouettes, and the mean difference of colors where both are solid, sRGB of 255."""
    one, two = ours[..., 3] > 0.5, theirs[..., 3] > 0.5
    union = (one | two).sum()
    inner = (ours[..., 3] > 0.99) & (theirs[..., 3] > 0.99)
    colors = [linear_to_srgb(np.clip(image[..., :3], 0, 1)) for image in (ours, theirs)]
    off = np.abs(colors[0] - colors[1])[inner]
    return {
        "iou": float((one & two).sum() / union) if union else 0.0,
        "color": float(off.mean() * 255) if len(off) else 0.0,
    }


def picture(ours: np.ndarray, theirs: np.ndarray, title: str) -> Image.Image:
    """Both renders side by side on gray."""
    sheet = Image.new("RGB", (2 * 160, 160 + 14), (40, 40, 40))
    for k, image in enumerate((ours, theirs)):
        alpha = np.clip(image[..., 3:], 0, 1)
        own = linear_to_srgb(np.clip(image[..., :3] / np.maximum(alpha, 1e-3), 0, 1)) if not k else None
        own = linear_to_srgb(np.clip(image[..., :3], 0, 1)) if own is None else own
        shown = np.rint((own * alpha + 0.5 * (1 - alpha)) * 255).astype(np.uint8)
        sheet.paste(Image.fromarray(shown).resize((160, 160), Image.Resampling.NEAREST), (160 * k, 14))
    ImageDraw.Draw(sheet).text((3, 2), title[:60], fill=(255, 255, 255))
    return sheet


def read_here(path: Path) -> tuple[dict, dict, list[str]]:
    """What `mesh_reader` gets from its child process."""
    request = {"path": str(path), "faces": mesh_reader.MAX_FACES, "texture": 2048}
    with tempfile.TemporaryDirectory() as folder:
        answer = worker.answer({**request, "out": f"{folder}/mesh.npz"})
        if "error" in answer:
            raise InputError(f"the mesh {path} {answer['error']}")
        with np.load(f"{folder}/mesh.npz") as file:
            return {name: file[name] for name in file.files}, answer, answer["warnings"]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--blender", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    files = sorted(f for f in args.folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    files = [file for file in files if file.stat().st_size < LARGEST]
    random.Random(args.seed).shuffle(files)
    mesh_reader._read_in_child = read_here
    jobs, results, seen = [], {}, set()
    for file in files:
        if len(jobs) == args.count:
            break
        name, content = str(file.relative_to(args.folder)), hashlib.sha256(file.read_bytes()).digest()
        if content in seen:
            continue
        seen.add(content)
        try:
            ours, data = render_here(file)
        except InputError as error:
            results[name] = {"refused": str(error).split(str(file))[-1].strip()}
            continue
        out = args.out / f"{len(jobs):03d}"
        out.mkdir(parents=True, exist_ok=True)
        np.save(out / "ours.npy", ours)
        jobs.append({"name": name, "path": str(file.resolve()), "out": str(out.resolve()), **data})
        print("here", len(jobs), name, flush=True)
    (args.out / "jobs.json").write_text(json.dumps(jobs))
    (args.out / "blender.py").write_text(BLENDER)
    command = [args.blender, str(args.out / "blender.py"), str(args.out / "jobs.json"), str(SIZE)]
    with open(args.out / "blender.log", "w") as log:
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    scored = []
    for job in jobs:
        out = Path(job["out"])
        if not (out / "blender.npy").exists():
            results[job["name"]] = {"blender": "cannot read it", "warnings": job["warnings"]}
            continue
        ours, theirs = np.load(out / "ours.npy"), np.load(out / "blender.npy")
        score = compare(ours, theirs)
        results[job["name"]] = {**score, "faces": job["faces"], "warnings": job["warnings"]}
        title = f"{job['name'].split('/')[-1]} iou {score['iou']:.2f} color {score['color']:.1f}"
        image = picture(ours, theirs, title)
        image.save(out / "pair.png")
        scored.append((score["iou"] - score["color"] / 100, image))
    (args.out / "results.json").write_text(json.dumps(results, indent=1))
    scored.sort(key=lambda pair: pair[0])
    if scored:
        worst = Image.new("RGB", (2 * 320, 5 * 174))
        for k, (_, image) in enumerate(scored[:10]):
            worst.paste(image, (320 * (k % 2), 174 * (k // 2)))
        worst.save(args.out / "worst.png")
    print(json.dumps({"compared": len(scored), "refused": sum("refused" in r for r in results.values())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
