"""Mutate small valid files of every kind that people bring, and see what becomes of them.

    python -m benchmarks.fuzz --count 1000 --json fuzz.json

Kinds: pictures, masks, zips, paths (camera paths), recipes, transforms (transforms.json). A mutated file is
read, or refused with an `InputError`. Found, and printed with the number that makes the input again, is
everything else: other exceptions, a dead process, more than SECONDS, and a file that was read as something
that it is not (values that are no picture's, cameras that are none, a recipe that reads differently when
written again).

Each input is made from (kind, number) alone. A child process reads them, and is replaced when it dies.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nerf_insert.errors import InputError, RunError

SECONDS = 60.0  # for one input; generous, for busy machines
START_SECONDS = 900.0  # for the child's start, which imports everything
SIZE = (48, 36)
ODD_VALUES: list[Any] = [
    None, True, 0, -1, 1, 2, 1e-300, 1e308, -1e308, 2**63, 10**400, math.nan, math.inf, "", "0", "x" * 3000,
    "\0", "../../../etc/passwd", "/dev/zero", "..", "\ud800", [], [[]], {}, {"a": 1}, [1, 2, 3], [None] * 16,
    [0.0] * 16, [[1e200] * 4] * 4, "images", "masks/000.png",
]  # fmt: skip


# --- the files to start from


def picture(shift: int = 0) -> Image.Image:
    """A small picture with some structure."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return Image.fromarray(np.stack([5 * x + shift, 7 * y, 255 - 2 * x - 2 * y], -1).astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pictures() -> dict[str, bytes]:
    """One file of every format and mode."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    rgb, exif = picture(), Image.Exif()
    exif[0x0112] = 6
    gray16 = Image.fromarray(
        (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE[::-1]) * 37 % 65536).astype(np.uint16)
    )
    cut_out = rgb.copy()
    cut_out.putalpha(rgb.getchannel("R").point(lambda v: 255 if v > 99 else 0))
    return {
        "a.png": encoded(cut_out, "PNG"),
        "b.png": encoded(gray16, "PNG"),
        "c.png": encoded(rgb.quantize(16), "PNG", transparency=3),
        "d.jpg": encoded(rgb, "JPEG", exif=exif),
        "e.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "f.webp": encoded(cut_out, "WEBP", lossless=True),
        "g.tif": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "h.tif": encoded(gray16, "TIFF"),
        "i.heic": encoded(rgb, "HEIF"),
        "j.gif": encoded(rgb, "GIF", save_all=True, append_images=[picture(40)]),
        "k.bmp": encoded(rgb, "BMP"),
        "l.avif": encoded(rgb, "AVIF"),
        "m.ppm": encoded(rgb, "PPM"),
        "n.jp2": encoded(rgb, "JPEG2000"),
    }


def masks() -> dict[str, bytes]:
    """Masks in the ways that people draw them."""
    shape = np.zeros(SIZE[::-1], np.uint8)
    shape[10:25, 12:40] = 255
    white = Image.fromarray(shape)
    brush = Image.merge("RGBA", [Image.new("L", SIZE, 200), *[Image.new("L", SIZE, 30)] * 2, white])
    files = {"a.png": white, "b.png": white.convert("1"), "c.png": brush, "d.jpg": white, "e.webp": brush}
    return {
        name: encoded(image, {"p": "PNG", "j": "JPEG", "w": "WEBP"}[name[2]]) for name, image in files.items()
    }


def transforms() -> dict[str, Any]:
    """The content of a transforms.json for five photographs on a circle."""
    frames = []
    for k in range(5):
        c, s = math.cos(1.2 * k), math.sin(1.2 * k)
        pose = [[-s, 0, c, 2 * c], [c, 0, s, 2 * s], [0, 1, 0, 0.5], [0, 0, 0, 1]]
        frames.append({"file_path": f"images/{k:03d}.png", "transform_matrix": pose})
    names = [frame["file_path"] for frame in frames]
    lens = {
        "fl_x": 50.0,
        "fl_y": 50.0,
        "cx": 24.0,
        "cy": 18.0,
        "w": SIZE[0],
        "h": SIZE[1],
        "k1": 0.01,
        "p1": 0.001,
    }
    split = {"train_filenames": names[:4], "val_filenames": names[4:], "test_filenames": names[4:]}
    return {"camera_model": "OPENCV", **lens, **split, "frames": frames}


def camera_path() -> dict[str, Any]:
    """nerfstudio's camera path of three cameras."""
    flat = [value for row in transforms()["frames"][0]["transform_matrix"] for value in row]
    cameras = [{"camera_to_world": flat, "fov": 40.8 + k, "aspect": 1.33} for k in range(3)]
    size = {"camera_type": "perspective", "render_width": 64, "render_height": 48, "fps": 24, "seconds": 1.0}
    return {**size, "camera_path": cameras, "crop": None}


def recipe() -> dict[str, Any]:
    """A recipe that uses most keys."""
    region = {"union": [{"mesh": "a.ply", "dilate": 0.1}, {"box": {"center": [0, 0, 0], "size": [1, 1, 1]}}]}
    return {
        "format": 2,
        "name": "chair",
        "seed": 3,
        "region": {"dilate": {"region": region, "by": 0.2}},
        "guide": {"prompt": "a chair", "reference": ["b.png"], "mesh": "a.ply"},
        "inpainter": "mesh",
        "inpainter_options": {"light": "scene", "n": [1, 2.5]},
        "schedule": {"steps": 100, "rounds": 2, "strength": 0.5, "blend_width": 0.02},
    }


def capture_folder(folder: Path) -> Path:
    """Write a capture of five photographs."""
    (folder / "images").mkdir(parents=True)
    for k in range(5):
        (folder / "images" / f"{k:03d}.png").write_bytes(encoded(picture(10 * k), "PNG"))
    (folder / "transforms.json").write_text(json.dumps(transforms()))
    return folder


def zipped() -> bytes:
    """A zip of that capture."""
    with tempfile.TemporaryDirectory() as folder:
        home = capture_folder(Path(folder) / "capture")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(home.rglob("*.*")):
                archive.write(file, f"capture/{file.relative_to(home)}")
        return buffer.getvalue()


# --- mutations


def mutated_bytes(data: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    """Change a file in one to four ways: bits, bytes, lengths, pieces of itself or of another file."""
    work = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = (
            rng.randrange(max(1, len(work)))
            if rng.random() < 0.6
            else rng.randrange(min(256, max(1, len(work))))
        )
        length = rng.choice((1, 2, 4, 16, 64, 1000))
        kind = rng.randrange(8)
        if kind == 0 and work:
            work[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            work[at : at + length] = rng.randbytes(length)
        elif kind == 2:
            work[at : at + 4] = rng.choice(
                (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1\0\0")
            )
        elif kind == 3:
            del work[at:]
        elif kind == 4:
            del work[at : at + length]
        elif kind == 5:
            work[at:at] = work[at : at + length]
        elif kind == 6:
            work[at:at] = rng.randbytes(length)
        else:
            other = rng.choice(others)
            start = rng.randrange(max(1, len(other)))
            work[at : at + length] = other[start : start + length]
    return bytes(work)


def mutated_tree(data: Any, rng: random.Random) -> str:
    """Change values, keys or lists of JSON data; sometimes its text."""
    data = json.loads(json.dumps(data))
    for _ in range(rng.randint(1, 3)):
        spots: list[tuple[Any, Any]] = []
        pending = [data]
        while pending:
            node = pending.pop()
            keys = (
                list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            )
            for key in keys:
                spots.append((node, key))
                pending.append(node[key])
        if not spots:
            break
        node, key = rng.choice(spots)
        kind = rng.randrange(6)
        if kind <= 2:
            node[key] = deepcopy(rng.choice(ODD_VALUES))
        elif kind == 3:
            del node[key]
        elif kind == 4 and isinstance(node[key], int | float) and not isinstance(node[key], bool):
            node[key] = node[key] * rng.choice((-1, 0.5, 1e6, 1e-6)) + rng.choice((0, 0.5))
        elif isinstance(node, list):
            node.insert(key, deepcopy(rng.choice((node[key], rng.choice(ODD_VALUES)))))
        else:
            node[rng.choice(("frames", "masks", "k5", "union", "", "crop", "__proto__"))] = deepcopy(
                node[key]
            )
    text = json.dumps(data)
    if rng.random() < 0.15:
        text = mutated_bytes(text.encode(), rng, [text.encode()]).decode("utf-8", "replace")
    return text


# --- reading, and what must hold of everything that was read


class Wrong(Exception):
    """A file was read as something that it is not."""


def need(holds: bool, what: str) -> None:
    """Raise Wrong unless something holds."""
    if not holds:
        raise Wrong(what)


def read_picture(name: str, data: bytes, folder: Path) -> None:
    """Read a photograph, a reference image, and an upload of the page."""
    from nerf_insert.app import uploads
    from nerf_insert.io.decoding import open_picture
    from nerf_insert.io.images import read_image, read_reference

    file = folder / name
    file.write_bytes(data)
    uploaded: Exception | None = None
    try:
        uploads.take_image(file, folder / "upload.png")
        with Image.open(folder / "upload.png") as image:
            need(
                image.format == "PNG" and max(image.size) <= uploads.MAX_REFERENCE_SIDE,
                "the upload is no small PNG",
            )
    except InputError as error:
        uploaded = error
    color, alpha = read_image(file)
    need(
        bool(color.isfinite().all()) and 0 <= float(color.min()) <= float(color.max()) <= 1,
        "values beyond 0..1",
    )
    need(
        alpha is None or (alpha.shape == color.shape[:2] and bool(((alpha >= 0) & (alpha <= 1)).all())),
        "its alpha",
    )
    with open_picture(file) as image:
        need((color.shape[1], color.shape[0]) == image.size, "its size is not that of its header")
        starts = {"PNG": b"\x89PNG", "JPEG": b"\xff\xd8", "MPO": b"\xff\xd8", "GIF": b"GIF8", "BMP": b"BM"}
        need(data.startswith(starts.get(image.format or "", b"")), f"its first bytes are no {image.format}'s")
    reference = read_reference(file)
    need(reference.shape[2] == 3 and bool(reference.isfinite().all()), "the reference is no picture")
    if uploaded is not None:
        raise uploaded


def read_drawn_mask(name: str, data: bytes, folder: Path) -> None:
    """Read a mask that was drawn on a photograph of SIZE."""
    from nerf_insert.io.images import read_mask

    file = folder / name
    file.write_bytes(data)
    mask = read_mask(file, SIZE)
    need(mask.shape == SIZE[::-1] and 0 < int(mask.sum()) < mask.numel(), "it marks nothing or everything")


def check_camera(camera: Any) -> None:
    """Check what every camera fulfills."""
    rotation = camera.c2w[:, :3].double()
    need(bool(camera.c2w.isfinite().all()), "a pose is not finite")
    off = (rotation @ rotation.T - torch.eye(3)).abs().max()
    need(float(off) < 1e-3 and float(torch.linalg.det(rotation)) > 0, "a pose is no rotation")
    numbers = (camera.fx, camera.fy, camera.cx, camera.cy, *camera.distortion)
    need(all(map(math.isfinite, numbers)) and camera.fx > 0 and camera.fy > 0, "a lens is none")
    need(camera.width >= 1 and camera.height >= 1, "an image has no pixels")


def read_path(name: str, data: bytes, folder: Path) -> None:
    """Read a camera path."""
    from nerf_insert.capture.camera_paths import read_cameras

    (folder / name).write_bytes(data)
    cameras = read_cameras(folder / name)
    need(bool(cameras), "there are no cameras")
    for _, camera in cameras:
        check_camera(camera)


def read_recipe(name: str, data: bytes, folder: Path) -> None:
    """Read a recipe, write it, and read it again."""
    from nerf_insert.scene.recipe import Recipe

    (folder / name).write_bytes(data)
    found = Recipe.load(folder / name)
    found.save(folder / "again.yaml")
    # A file may be named with more .. than there are folders above; written again, it has fewer.
    before, after = (
        recipe.map_files(os.path.normpath).to_dict() for recipe in (found, Recipe.load(folder / "again.yaml"))
    )
    need(before == after, "it reads differently when written again")


def read_transforms(name: str, data: bytes, folder: Path) -> None:
    """Load a capture whose transforms.json was changed."""
    from nerf_insert.capture.capture import Capture

    home = folder / "capture"
    if not home.exists():
        capture_folder(home)
    (home / name).write_bytes(data)
    check_capture(Capture.load(home))


def check_capture(capture: Any) -> None:
    """Check what every capture fulfills."""
    need(len(capture.views) >= 3 and bool(capture.train), "it has too few photographs")
    need(not {v.name for v in capture.train} & {v.name for v in capture.test}, "views train and test")
    for view in capture.views:
        check_camera(view.camera)
        need(
            tuple(view.photograph().shape[:2]) == view.size[::-1],
            "a photograph has another size than its camera",
        )


def read_zip(name: str, data: bytes, folder: Path) -> None:
    """Upload a zip to the page."""
    from nerf_insert.app.uploads import take_zip
    from nerf_insert.app.workspace import Workspace
    from nerf_insert.capture.capture import Capture

    (folder / name).write_bytes(data)
    work = folder / "work"
    try:
        location = take_zip(folder / name, Workspace(work))
        assert location.capture_path is not None
        need(location.capture_path.resolve().is_relative_to(work.resolve()), "it is outside the workspace")
        check_capture(Capture.load(location.capture_path))
    except InputError:
        left = [path for part in ("captures", "scenes") for path in (work / part).glob("*")]
        need(not left, "it was refused and left files behind")
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


Reader = Callable[[str, bytes, Path], None]
READERS: dict[str, Reader] = {
    "pictures": read_picture,
    "masks": read_drawn_mask,
    "zips": read_zip,
    "paths": read_path,
    "recipes": read_recipe,
    "transforms": read_transforms,
}
TREES = {"paths": camera_path, "recipes": recipe, "transforms": transforms}


def seeds(kind: str) -> dict[str, bytes]:
    """The valid files of a kind, by name."""
    if kind in TREES:
        name = {"paths": "path.json", "recipes": "recipe.yaml", "transforms": "transforms.json"}[kind]
        return {name: json.dumps(TREES[kind]()).encode()}
    return {"pictures": pictures, "masks": masks, "zips": lambda: {"capture.zip": zipped()}}[kind]()


def make_input(kind: str, number: int, known: dict[str, bytes]) -> tuple[str, bytes]:
    """Make an input: its file's name and content. Number 0 and below are the valid files."""
    rng = random.Random(f"{kind} {number}")
    names = sorted(known)
    name = names[number % len(names)]
    if number < len(names):
        return name, known[name]
    if kind in TREES:
        return name, mutated_tree(TREES[kind](), rng).encode("utf-8", "surrogatepass")
    return name, mutated_bytes(known[name], rng, list(known.values()))


# --- the loop


def child(kind: str, numbers: range, pipe: Any) -> None:
    """Read inputs one by one and send what became of each."""
    known = seeds(kind)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        for number in numbers:
            name, data = make_input(kind, number, known)
            pipe.send((number, "begin", ""))
            try:
                with contextlib.redirect_stdout(nowhere):
                    READERS[kind](name, data, Path(folder))
                outcome = ("read", "")
            except (InputError, RunError) as error:
                outcome = ("refused", str(error))
            except Wrong as error:
                outcome = ("wrong", f"{name}: {error}")
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                outcome = ("bug", f"{name}: {error!r} at {Path(place.filename).name}:{place.lineno}")
            pipe.send((number, *outcome))
    pipe.close()


def fuzz(kind: str, count: int) -> tuple[Counter, list[str]]:
    """Read `count` inputs of a kind; return how many came to what, and the findings."""
    outcomes: Counter = Counter()
    findings: list[str] = []
    number = 0
    context = multiprocessing.get_context("spawn")
    while number < count:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(kind, range(number, count), there))
        process.start()
        there.close()
        started = False
        try:
            while number < count:
                if not here.poll(SECONDS if started else START_SECONDS):
                    findings.append(f"{kind} {number}: no answer in time")
                    outcomes["hang"] += 1
                    number += 1
                    break
                number, outcome, text = here.recv()
                started = True
                if outcome == "begin":
                    continue
                outcomes[outcome] += 1
                if outcome in ("bug", "wrong"):
                    findings.append(f"{kind} {number}: {text}")
                number += 1
        except EOFError:
            process.join()
            if number < count:
                code = process.exitcode or 0
                name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                findings.append(f"{kind} {number}: the process died ({name})")
                outcomes["died"] += 1
                number += 1
        process.kill()
        process.join()
    return outcomes, findings


def main() -> int:
    """Fuzz the kinds that are asked for; the exit code is 1 if anything was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=1000, help="inputs of each kind")
    parser.add_argument("--kinds", nargs="+", choices=[*READERS], default=[*READERS])
    parser.add_argument("--json", type=Path, help="write the outcomes here")
    args = parser.parse_args()
    result = {}
    for kind in args.kinds:
        outcomes, findings = fuzz(kind, args.count)
        print(f"{kind}: {dict(outcomes)}", flush=True)
        print("\n".join(f"  {finding}" for finding in findings), flush=True)
        result[kind] = {"outcomes": dict(outcomes), "findings": findings}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    return int(any(part["findings"] for part in result.values()))


if __name__ == "__main__":
    sys.exit(main())
