"""Photographs of the corner of a room with textured floor and walls, ray cast, with known cameras."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE, FOCAL, COUNT = (240, 180), 210.0, 10
LENS = {"fl_x": FOCAL, "fl_y": FOCAL, "cx": SIZE[0] / 2, "cy": SIZE[1] / 2, "w": SIZE[0], "h": SIZE[1]}


def textures():
    """Smooth noise of several sizes for floor and two walls, [3, 512, 512, 3]."""
    random, out = np.random.default_rng(5), np.zeros((3, 512, 512, 3))
    for cells, weight in ((16, 0.5), (64, 0.35), (128, 0.3)):
        noise = (random.random((3, cells, cells, 3)) * 255).astype(np.uint8)
        for k in range(3):
            image = Image.fromarray(noise[k]).resize((512, 512), Image.Resampling.BICUBIC)
            out[k] += weight * np.asarray(image) / 255
    return ((out / 1.15) ** 2.0).clip(0, 1)


def room_poses():
    """Camera-to-world [10, 4, 4], OpenGL's axes: a quarter of a circle at two heights, towards the corner."""
    poses = []
    for k in range(COUNT):
        angle = np.radians(20 + 50 * k / (COUNT - 1))
        eye = np.array([3.2 * np.cos(angle), 3.2 * np.sin(angle), 1.2 + 0.5 * (k % 2)])
        back = eye - np.array([0.6, 0.6, 0.4])
        back /= np.linalg.norm(back)
        right = np.cross([0, 0, 1.0], back)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(back, right), back, eye], 1)
        poses.append(pose)
    return np.stack(poses)


def photograph(pose, paint):
    """One photograph, uint8 [180, 240, 3], of the planes z = 0, x = 0 and y = 0."""
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    rays = np.stack([(x - SIZE[0] / 2) / FOCAL, -(y - SIZE[1] / 2) / FOCAL, -np.ones_like(x)], -1)
    rays = rays @ pose[:3, :3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(rays < -1e-9, -pose[:3, 3] / rays, np.inf)  # to the planes x, y, z = 0
    nearest = distance.argmin(-1)
    points = pose[:3, 3] + rays * distance.min(-1)[..., None]
    color = np.zeros((*x.shape, 3))
    for axis in range(3):
        on, others = nearest == axis, [k for k in range(3) if k != axis]
        u, v = ((points[on][:, others] * 128) % 512).astype(int).T
        color[on] = paint[axis, u, v]
    return (color * 255).round().astype(np.uint8)


def room(folder, exposures=None):
    """Write images/ and transforms.json; the folder."""
    folder, paint = Path(folder), textures()
    (folder / "images").mkdir(parents=True)
    frames = []
    for k, pose in enumerate(room_poses()):
        pixels = photograph(pose, paint)
        if exposures is not None:
            pixels = (pixels * 2 ** (exposures[k] / 2.2)).clip(0, 255).astype(np.uint8)
        name = f"images/{k + 1}.png"  # 1, 2, 10: text order is another
        Image.fromarray(pixels).save(folder / name)
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    (folder / "transforms.json").write_text(json.dumps(LENS | {"frames": frames}))
    return folder
