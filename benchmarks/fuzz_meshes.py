"""Damage mesh files in a thousand ways each and read them: nothing may crash, hang, or come in out of bounds.

    python -m benchmarks.fuzz_meshes [--count 1000] [--seed 0]

Small valid files of each format are mutated: bytes and bits changed, runs removed, doubled or zeroed, ends
cut off, numbers replaced by extreme ones, words swapped, and values of JSON replaced in files that are whole.
Each is read as the program reads it, in a process of its own with limits, forked here because starting Python
a thousand times takes long. Prints a table and exits with 1 if a process died without an answer, took too
long, or gave arrays that contradict each other.
"""

import argparse
import io
import json
import os
import random
import re
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from nerf_insert.geometry.mesh_files import worker

SECONDS, MEMORY, FACES, TEXTURE = 20, 4 << 30, 100_000, 1024
EXTREMES = (0, 1, -1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, -(2**31), 10**12)
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
FACES_OF_SQUARE = np.array([[0, 1, 2], [0, 2, 3]])


def texture() -> bytes:
    """A small PNG with a transparent disc."""
    y, x = np.mgrid[:16, :16]
    rgba = np.full((16, 16, 4), 200, np.uint8)
    rgba[..., 3] = 255 * ((x - 8) ** 2 + (y - 8) ** 2 < 40)
    out = io.BytesIO()
    Image.fromarray(rgba).save(out, "PNG")
    return out.getvalue()


def gltf_parts() -> tuple[dict, bytes]:
    """A textured, skinned, masked square with sparse values and a texture transform."""
    blocks = [
        SQUARE,
        np.array([[0, 65535], [65535, 65535], [65535, 0], [0, 0]], np.uint16),
        FACES_OF_SQUARE.astype(np.uint16),
        np.zeros((4, 4), np.uint8),
        np.tile(np.array([[255, 0, 0, 0]], np.uint8), (4, 1)),
        np.eye(4, dtype=np.float32),
        np.array([1, 0], np.uint16),
        np.array([[1, 0.1, 0]], np.float32),
        np.frombuffer(texture(), np.uint8),
    ]
    views, data = [], b""
    for block in blocks:
        raw = block.tobytes()
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": len(raw)})
        data += raw + b"\0" * (-len(raw) % 4)
    sparse = {
        "count": 1,
        "indices": {"bufferView": 6, "componentType": 5123},
        "values": {"bufferView": 7},
    }
    kinds = [(0, 5126, 4, "VEC3"), (1, 5123, 4, "VEC2"), (2, 5123, 6, "SCALAR"), (3, 5121, 4, "VEC4")]
    kinds += [(4, 5121, 4, "VEC4"), (5, 5126, 1, "MAT4")]
    accessors = [{"bufferView": v, "componentType": c, "count": n, "type": t} for v, c, n, t in kinds]
    accessors[0]["sparse"] = sparse
    accessors[1]["normalized"] = accessors[4]["normalized"] = True
    attributes = {"POSITION": 0, "NORMAL": 0, "TEXCOORD_0": 1, "JOINTS_0": 3, "WEIGHTS_0": 4}
    transform = {"KHR_texture_transform": {"offset": [0.1, 0.2], "rotation": 0.3, "scale": [2, 2]}}
    use = {"index": 0, "extensions": transform}
    pbr = {"baseColorTexture": use, "baseColorFactor": [1, 0.5, 0.2, 1], "metallicRoughnessTexture": use}
    pbr |= {"metallicFactor": 0.5, "roughnessFactor": 0.5}
    relief = {"normalTexture": use | {"scale": 0.5}, "occlusionTexture": use | {"strength": 0.5}}
    extensions = {"KHR_materials_ior": {"ior": 1.4}, "KHR_materials_specular": {"specularFactor": 0.5}}
    look = {"pbrMetallicRoughness": pbr, **relief, "extensions": extensions}
    tree = {
        "asset": {"version": "2.0"},
        "extensionsUsed": ["KHR_texture_transform"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [
            {"mesh": 0, "skin": 0, "children": [1]},
            {"translation": [0, 0, 1], "rotation": [0, 0, 0, 1]},
        ],
        "skins": [{"joints": [1], "inverseBindMatrices": 5}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 2, "material": 0, "mode": 4}]}],
        "materials": [{**look, "alphaMode": "MASK", "emissiveFactor": [0.1, 0, 0]}],
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [{"wrapS": 33071}],
        "images": [{"bufferView": 8, "mimeType": "image/png"}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(data)}],
    }
    return tree, data


def glb(tree: dict, data: bytes) -> bytes:
    """A GLB file."""
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    head = b"glTF" + struct.pack("<II", 2, 28 + len(text) + len(data))
    return (
        head + struct.pack("<I", len(text)) + b"JSON" + text + struct.pack("<I", len(data)) + b"BIN\0" + data
    )


def seeds() -> dict[str, tuple[str, bytes, dict[str, bytes]]]:
    """The valid files: by kind the name, the content, and files that lie beside it."""
    tree, data = gltf_parts()
    beside = json.loads(json.dumps(tree))
    beside["buffers"][0]["uri"] = "b.bin"
    import DracoPy

    squeezed = DracoPy.encode(SQUARE, faces=FACES_OF_SQUARE)
    name = "KHR_draco_mesh_compression"
    primitive = {
        "attributes": {"POSITION": 0},
        "extensions": {name: {"bufferView": 0, "attributes": {"POSITION": 0}}},
    }
    draco = {
        "asset": {"version": "2.0"},
        "extensionsUsed": [name],
        "extensionsRequired": [name],
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [primitive]}],
        "accessors": [{"componentType": 5126, "count": 4, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": len(squeezed)}],
        "buffers": [{"byteLength": len(squeezed)}],
    }
    ball = trimesh.creation.icosphere(subdivisions=1)
    ball.visual.vertex_colors = np.random.default_rng(0).integers(0, 255, (len(ball.vertices), 4))
    head = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 4\nproperty float x\nproperty float y\n"
        "property float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nelement face 2\n"
        "property list uchar int vertex_indices\nend_header\n"
    )
    mixed = b"".join(struct.pack("<3f3B", *p, 9, 99, 200) for p in SQUARE)
    mixed += struct.pack("<B4i", 4, 0, 1, 2, 3) + struct.pack("<B3i", 3, 0, 1, 2)
    obj = (
        "mtllib o.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0.5 0.2 0\nvt 0 0\nvt 1 0\nvt 1 1\nusemtl m\n"
        "f 1/1 2/2 3/3 4/1 5/2\nusemtl n\nf -1 -2 -3\n"
    )
    mtl = b"newmtl m\nKd 1 0 0\nmap_Kd -s 1 2 t.png\nd 0.7\nnewmtl n\nKe 1 1 1\nmap_d t.png\n"
    return {
        "glb": ("m.glb", glb(tree, data), {}),
        "glb, whole": ("m.glb", glb(tree, data), {}),
        "gltf": ("m.gltf", json.dumps(beside).encode(), {"b.bin": data}),
        "draco": ("m.glb", glb(draco, squeezed), {}),
        "draco, whole": ("m.glb", glb(draco, squeezed), {}),
        "obj": ("o.obj", obj.encode(), {"o.mtl": mtl, "t.png": texture()}),
        "mtl": ("o.obj", mtl, {"o.obj": obj.encode(), "t.png": texture()}),
        "ply": ("m.ply", ball.export(file_type="ply"), {}),
        "ply mixed": ("m.ply", head.encode() + mixed, {}),
        "ply text": ("m.ply", ball.export(file_type="ply", encoding="ascii"), {}),
        "stl": ("m.stl", ball.export(file_type="stl"), {}),
        "stl text": ("m.stl", ball.export(file_type="stl_ascii").encode(), {}),
    }


def mutated(data: bytes, random_: random.Random) -> bytes:
    """The content with one to four damages."""
    kinds = (_bytes, _bits, _cut, _removed, _doubled, _zeroed, _number, _integer, _swapped)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        data = random_.choice(kinds)(bytearray(data), random_)
    return bytes(data)


def mutated_tree(data: bytes, random_: random.Random) -> bytes:
    """A GLB file with other values in its description or other bytes in its data, whole otherwise."""
    length = struct.unpack("<I", data[12:16])[0]
    tree, body = json.loads(data[20 : 20 + length]), data[28 + length :]
    if random_.random() < 0.3:
        return glb(tree, _bytes(bytearray(body), random_))
    for _ in range(random_.choice((1, 1, 2, 3))):
        places: list = []

        def walk(item, places=places):
            pairs = (
                item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
            )
            for key, value in pairs:
                places.append((item, key))
                walk(value)

        walk(tree)
        holder, key = random_.choice(places)
        others = [other[k] for other, k in random_.sample(places, min(5, len(places)))]
        if random_.random() < 0.2:
            del holder[key]
        else:
            extremes = [*EXTREMES, 0.5, 1e300, None, "", "x", [], {}, True, *others]
            holder[key] = json.loads(json.dumps(random_.choice(extremes)))
    return glb(tree, body)


def _bytes(data: bytearray, r: random.Random) -> bytes:
    for _ in range(r.choice((1, 3, 10))):
        if data:
            data[r.randrange(len(data))] = r.randrange(256)
    return bytes(data)


def _bits(data: bytearray, r: random.Random) -> bytes:
    if data:
        data[r.randrange(len(data))] ^= 1 << r.randrange(8)
    return bytes(data)


def _cut(data: bytearray, r: random.Random) -> bytes:
    return bytes(data[: r.randrange(len(data) + 1)])


def _span(data: bytearray, r: random.Random) -> slice:
    start = r.randrange(len(data) + 1)
    return slice(start, start + r.choice((1, 4, 16, 100)))


def _removed(data: bytearray, r: random.Random) -> bytes:
    del data[_span(data, r)]
    return bytes(data)


def _doubled(data: bytearray, r: random.Random) -> bytes:
    span = _span(data, r)
    return bytes(data[: span.stop] + data[span.start :])


def _zeroed(data: bytearray, r: random.Random) -> bytes:
    span = _span(data, r)
    data[span] = bytes(len(data[span]))
    return bytes(data)


def _number(data: bytearray, r: random.Random) -> bytes:
    """Another number in place of one that is written as text."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data[:20000])))
    if not found:
        return bytes(data)
    match = r.choice(found)
    new = r.choice([str(value) for value in EXTREMES] + ["1e999", "nan", "0.5", '"x"', "[]", "null", "{}"])
    return bytes(data[: match.start()] + new.encode() + data[match.end() :])


def _integer(data: bytearray, r: random.Random) -> bytes:
    """An extreme 32-bit integer somewhere."""
    if len(data) >= 4:
        at = r.randrange(len(data) - 3)
        data[at : at + 4] = struct.pack("<I", r.choice(EXTREMES) & 0xFFFFFFFF)
    return bytes(data)


def _swapped(data: bytearray, r: random.Random) -> bytes:
    """Two words of text exchanged."""
    found = list(re.finditer(rb"[A-Za-z_]{3,}", bytes(data[:20000])))
    if len(found) < 2:
        return bytes(data)
    one, two = sorted(r.sample(found, 2), key=lambda match: match.start())
    return bytes(
        data[: one.start()] + two.group() + data[one.end() : two.start()] + one.group() + data[two.end() :]
    )


def read(path: Path) -> tuple[str, str]:
    """Read a file in a forked process: the outcome, and what it said."""
    out = path.parent / "out.npz"
    receive, send = os.pipe()
    child = os.fork()
    if not child:
        os.close(receive)
        sys.stderr = open(os.devnull, "w")
        os.dup2(sys.stderr.fileno(), 2)
        worker.set_limits(MEMORY, SECONDS)
        request = {"path": str(path), "out": str(out), "faces": FACES, "texture": TEXTURE}
        os.write(send, json.dumps(worker.answer(request))[:60000].encode())
        os._exit(0)
    os.close(send)
    end = time.monotonic() + SECONDS + 5
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs", ""
        time.sleep(0.002)
    said = os.read(receive, 1 << 16)
    os.close(receive)
    try:
        answer = json.loads(said)
    except ValueError:
        return "dies", ""
    if "error" in answer:
        return "refused", answer["error"]
    with np.load(out) as arrays:
        vertices, faces = arrays["vertices"], arrays["faces"]
        whole = np.isfinite(vertices).all() and 0 < len(faces) <= FACES
        whole &= faces.min() >= 0 and faces.max() < len(vertices)
        whole &= arrays["corner_colors"].shape == (len(faces), 3, 3)
        whole &= bool(np.isfinite(arrays["corner_colors"]).all())
        whole &= arrays["material_index"].max() < len(answer["materials"])
        for name in ("normals", "tangents"):
            if name in arrays.files:
                whole &= arrays[name].shape == (len(faces), 3, 3) and bool(np.isfinite(arrays[name]).all())
        whole &= all(
            np.isfinite([value for value in material.values() if isinstance(value, float)]).all()
            for material in answer["materials"]
        )
    return ("read" if whole else "contradicts itself"), "; ".join(answer["warnings"])


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import DracoPy  # noqa: F401  # in the parent, so that no child has to

    bad = 0
    print("| kind | read | refused | dies | hangs | contradicts itself | slowest, s |")
    print("|---|---|---|---|---|---|---|")
    for kind, (name, content, beside) in seeds().items():
        outcomes, slowest = Counter(), 0.0
        for number in range(args.count):
            generator = random.Random(f"{args.seed} {kind} {number}")
            with tempfile.TemporaryDirectory() as folder:
                for other, data in beside.items():
                    (Path(folder) / other).write_bytes(data)
                target = Path(folder) / ("o.mtl" if kind == "mtl" else name)
                damage = mutated_tree if kind.endswith("whole") else mutated
                data = damage(content, generator) if number else content
                target.write_bytes(data)
                start = time.monotonic()
                outcome, _ = read(Path(folder) / name)
                slowest = max(slowest, time.monotonic() - start)
                outcomes[outcome] += 1
                if number == 0 and outcome != "read":
                    print(f"the valid {kind} file: {outcome}")
                    bad += 1
                if outcome in ("dies", "hangs", "contradicts itself"):
                    bad += 1
                    kept = (
                        Path(tempfile.gettempdir()) / f"fuzz-{kind.replace(' ', '-')}-{number}{target.suffix}"
                    )
                    kept.write_bytes(data)
                    print(f"{outcome}: {kept}", file=sys.stderr)
        counts = [outcomes[key] for key in ("read", "refused", "dies", "hangs", "contradicts itself")]
        print(f"| {kind} | {' | '.join(map(str, counts))} | {slowest:.1f} |", flush=True)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
