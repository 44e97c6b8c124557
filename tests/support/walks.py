"""A room of textured planes, ray by ray in numpy, for tests that start from photographs or a video.

World: meters, z up. A floor at z = 0, walls at x = -2 and y = 2, a box of 0.8 x 0.6 x 0.7 on the floor.
Cameras have OpenGL axes and no distortion.
"""

from functools import cache

import av
import numpy as np
from PIL import Image

SIZE = (256, 192)
FOCAL = 232.0
BOX = ((-0.4, 0.4), (-0.3, 0.3), (0.0, 0.7))
FPS = 12


@cache
def texture(seed):
    """Blots of several sizes, 512x512, that repeat."""
    rng = np.random.default_rng(seed)
    total = np.zeros((512, 512, 3))
    for cells, weight in ((8, 0.4), (24, 0.6), (56, 0.5)):
        small = Image.fromarray(rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        total += weight * np.asarray(small.resize((512, 512), Image.Resampling.BICUBIC)).astype(float)
    total -= total.min()
    return total / total.max() * 235 + 10


def look_at(eye, target, roll=0.0):
    """Camera-to-world [3, 4]; `roll` in degrees about the optical axis."""
    back = np.subtract(eye, target) / np.linalg.norm(np.subtract(eye, target))
    right = np.cross((0, 0, 1), back)
    right /= np.linalg.norm(right)
    up = np.cross(back, right)
    c, s = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return np.column_stack([c * right + s * up, c * up - s * right, back, eye])


def arc(count, degrees=100.0, height=1.3, distance=2.4):
    """Cameras on an arc around the box, which look at it."""
    poses = []
    for k in range(count):
        angle = np.radians(-85 + degrees * k / max(1, count - 1))
        eye = (distance * np.cos(angle), distance * np.sin(angle), height + 0.25 * np.sin(0.7 * k))
        poses.append(look_at(eye, (0.0, 0.1, 0.3), roll=2.0 * np.sin(1.3 * k)))
    return poses


def floor_at(c2w, x, y, size=SIZE, focal=FOCAL):
    """Return the point of the floor that a pixel shows."""
    direction = c2w[:, :3] @ [(x - size[0] / 2) / focal, (size[1] / 2 - y) / focal, -1.0]
    return c2w[:, 3] - c2w[2, 3] / direction[2] * direction


def picture(c2w, size=SIZE, focal=FOCAL, other=0):
    """uint8 [H, W, 3]; `other` gives the same room other textures: somebody else's kitchen."""
    width, height = size
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    directions = (
        np.stack([(x - width / 2) / focal, (height / 2 - y) / focal, -np.ones_like(x)], -1) @ c2w[:, :3].T
    )
    origin, image, depth = c2w[:, 3], np.full((height, width, 3), 128.0), np.full((height, width), np.inf)
    for number, (axis, value, limits) in enumerate(_planes()):
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (value - origin[axis]) / directions[..., axis]
        points = origin + t[..., None] * directions
        a, b = [k for k in range(3) if k != axis]
        inside = (t > 1e-6) & (t < depth)
        for k, (low, high) in zip((a, b), limits, strict=True):
            inside &= (points[..., k] >= low) & (points[..., k] <= high)
        depth[inside] = t[inside]
        scale = 220.0 if number > 2 else 110.0
        u, v = (points[inside][:, k] * scale for k in (a, b))
        image[inside] = _bilinear(texture(100 * other + number), u, v)
    return image.round().clip(0, 255).astype(np.uint8)


def film(path, pictures, fps=FPS, codec="libx264", times=None):
    """Write pictures as a video; `times` are in units of 1/fps, for a variable frame rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "12", "x265-params": "log-level=none"}
        for k, image in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = k if times is None else times[k]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _planes():
    """(axis, value, limits along the two other axes)."""
    yield 2, 0.0, ((-6, 6), (-6, 6))
    yield 0, -2.0, ((-6, 6), (0, 3))
    yield 1, 2.0, ((-6, 6), (0, 3))
    for axis in range(3):
        others = [BOX[k] for k in range(3) if k != axis]
        for value in BOX[axis]:
            if (axis, value) != (2, 0.0):
                yield axis, value, others


def _bilinear(image, u, v):
    u, v = u % 512, v % 512
    i, j = np.floor(u).astype(int), np.floor(v).astype(int)
    a, b = (u - i)[:, None], (v - j)[:, None]
    i, j, k, m = i % 512, j % 512, (i + 1) % 512, (j + 1) % 512
    return (1 - b) * ((1 - a) * image[j, i] + a * image[j, k]) + b * ((1 - a) * image[m, i] + a * image[m, k])
