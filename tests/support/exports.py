"""The same twelve cameras as the exports of other programs, each written after its own documentation."""

import csv
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

WIDTH, HEIGHT = 24, 16
FX, FY, CX, CY = 20.0, 20.0, 11.5, 8.5
CV = np.diag([1.0, -1.0, -1.0, 1.0])
COUNT = 12


def poses():
    """Camera-to-world [12, 4, 4], OpenGL's axes, z up: on a circle, tilted down, each rolled a little."""
    found = []
    for k in range(COUNT):
        a = 2 * np.pi * k / COUNT
        around = Rotation.from_euler("XYZ", [60 + k, 3 * np.sin(k), 2 * np.cos(k)], degrees=True).as_matrix()
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("z", 90 + np.degrees(a), degrees=True).as_matrix() @ around
        pose[:3, 3] = [3 * np.cos(a), 3 * np.sin(a), 1.5 + 0.1 * k]
        found.append(pose)
    return np.stack(found)


def photographs(folder, names, size=(WIDTH, HEIGHT)):
    for k, name in enumerate(names):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (20 * k, 200 - 10 * k, 50)).save(path)


def names(home="images", suffix=".jpg"):
    return [f"{home}/{k:03d}{suffix}" for k in range(COUNT)]


def w2c_cv(pose):
    return np.linalg.inv(pose @ CV)


def quaternion(rotation):
    x, y, z, w = Rotation.from_matrix(rotation).as_quat()
    return w, x, y, z


def colmap(folder, model="sparse/0", binary=False, count=COUNT, listed=None, lenses=1):
    """A reconstruction of the first `count` photographs; `listed`: their names in it."""
    home = Path(folder) / model
    home.mkdir(parents=True, exist_ok=True)
    listed = listed or [f"{k:03d}.jpg" for k in range(COUNT)]
    lens = (FX, FY, CX, CY, 0.05, -0.02, 0.001, 0.0005)
    rows = [(k + 1, *quaternion((m := w2c_cv(p))[:3, :3]), *m[:3, 3], 1 + k % lenses, listed[k])
            for k, p in enumerate(poses()[:count])]  # fmt: skip
    if binary:
        cameras = struct.pack("<Q", lenses)
        for n in range(lenses):
            cameras += struct.pack("<iiQQ8d", n + 1, 4, WIDTH, HEIGHT, *lens)
        images = struct.pack("<Q", len(rows))
        for number, *pose, camera, name in rows:
            images += struct.pack("<i7di", number, *pose, camera) + name.encode() + b"\0"
            images += struct.pack("<Qddq", 1, 3.0, 4.0, -1)
        (home / "cameras.bin").write_bytes(cameras)
        (home / "images.bin").write_bytes(images)
    else:
        text = "".join(f"{n + 1} OPENCV {WIDTH} {HEIGHT} {' '.join(map(str, lens))}\n" for n in range(lenses))
        (home / "cameras.txt").write_text("# cameras\n" + text)
        (home / "images.txt").write_text("# images\n" + "".join(" ".join(map(str, r)) + "\n\n" for r in rows))
    return folder


def llff(folder, scale=1.0):
    """Rows of 3x5: down, right, back, center, (height, width, focal); then near and far."""
    rows = []
    for pose in poses():
        right, up, back, center = pose[:3].T
        hwf = scale * np.array([HEIGHT, WIDTH, FX])
        rows.append([*np.stack([-up, right, back, center, hwf], 1).ravel(), 0.1, 10.0])
    np.save(Path(folder) / "poses_bounds.npy", np.array(rows))
    return folder


def polycam(folder):
    home = Path(folder) / "keyframes"
    photographs(home / "images", [f"{1000 + k}.jpg" for k in range(COUNT)])
    (home / "cameras").mkdir()
    for k, pose in enumerate(poses()):
        arkit = pose[[1, 2, 0]]  # z up to y up: what nerfstudio's rows (2, 0, 1) undo
        data = {f"t_{i}{j}": arkit[i, j] for i in range(3) for j in range(4)}
        data |= {"fx": FX, "fy": FY, "cx": CX, "cy": CY, "width": WIDTH, "height": HEIGHT, "blur_score": 90}
        (home / "cameras" / f"{1000 + k}.json").write_text(json.dumps(data))
    return folder


def record3d(folder):
    photographs(Path(folder) / "rgb", [f"{k}.jpg" for k in range(COUNT)])
    rows = [[*Rotation.from_matrix(p[:3, :3]).as_quat(), *p[:3, 3]] for p in poses()]
    data = {"poses": rows, "K": [FX, 0, 0, 0, FY, 0, CX, CY, 1], "w": WIDTH, "h": HEIGHT, "fps": 60}
    (Path(folder) / "metadata.json").write_text(json.dumps(data))
    return folder


def metashape(folder, chunk=""):
    """Camera-to-world, OpenCV's axes; labels without suffix; p1, p2 the other way round than OpenCV's."""
    photographs(folder, names())
    cameras = "".join(
        f'<camera id="{k}" sensor_id="0" label="{k:03d}"><transform>{" ".join(map(str, (p @ CV).ravel()))}'
        "</transform></camera>"
        for k, p in enumerate(poses())
    )
    cameras += '<camera id="99" sensor_id="0" label="not_aligned"/>'
    (Path(folder) / "cameras.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<document version="2.0.0"><chunk label="Chunk 1">'
        f'<sensors><sensor id="0" label="phone" type="frame"><resolution width="{WIDTH}" height="{HEIGHT}"/>'
        f'<calibration type="frame" class="adjusted"><f>{FX}</f><cx>{CX - WIDTH / 2}</cx>'
        f"<cy>{CY - HEIGHT / 2}</cy><k1>0.05</k1><p1>0.001</p1><p2>0.002</p2></calibration></sensor>"
        f"</sensors>"
        f"{chunk}<cameras>{cameras}</cameras></chunk></document>"
    )
    return folder


def reality_capture(folder):
    """Heading, pitch, roll in degrees; focal lengths of 35 mm film; lengths in units of the longer side."""
    photographs(folder, names())
    with open(Path(folder) / "cameras.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("#name x y alt heading pitch roll f px py k1 k2 k3 k4 t1 t2".split())
        for k, pose in enumerate(poses()):
            yaw, pitch, roll = Rotation.from_matrix(pose[:3, :3]).as_euler("ZXY", degrees=True)
            lens = [FX * 36 / WIDTH, (CX - WIDTH / 2) / WIDTH, (CY - HEIGHT / 2) / WIDTH, 0.05, 0, 0, 0, 0, 0]
            writer.writerow([f"{k:03d}.jpg", *pose[:3, 3], -yaw, pitch, roll, *lens])
    return folder


def meshroom(folder, old=False):
    """World-to-camera rotations, column by column, and centers; the sensor in millimeters, or pixels."""
    photographs(folder, names())
    lens = {"intrinsicId": "7", "width": str(WIDTH), "height": str(HEIGHT), "type": "radial3",
            "distortionParams": ["0.05", "-0.02", "0"]}  # fmt: skip
    if old:
        lens |= {"pxFocalLength": str(FX), "principalPoint": [str(CX), str(CY)]}
    else:
        middle = [str(CX - WIDTH / 2), str(CY - HEIGHT / 2)]
        lens |= {"focalLength": str(FX * 36 / WIDTH), "sensorWidth": "36", "principalPoint": middle}
    views, found = [], []
    for k, pose in enumerate(poses()):
        w2c = w2c_cv(pose)[:3, :3]
        views.append({"viewId": str(k), "poseId": str(k), "intrinsicId": "7", "path": f"C:/in/{k:03d}.jpg"})
        transform = {"rotation": [str(v) for v in w2c.T.ravel()], "center": [str(v) for v in pose[:3, 3]]}
        found.append({"poseId": str(k), "pose": {"transform": transform, "locked": "0"}})
    data = {"version": ["1", "2", "3"], "views": views, "intrinsics": [lens], "poses": found}
    (Path(folder) / "cameras.sfm").write_text(json.dumps(data))
    return folder


def odm(folder):
    """World-to-camera, rotation vectors; focal lengths in units of the longer side."""
    photographs(folder, names())
    shots = {}
    for k, pose in enumerate(poses()):
        w2c = w2c_cv(pose)
        vector = Rotation.from_matrix(w2c[:3, :3]).as_rotvec()
        shots[f"{k:03d}.jpg"] = {"rotation": [*vector], "translation": [*w2c[:3, 3]], "camera": "v2 phone"}
    camera = {"projection_type": "brown", "width": WIDTH, "height": HEIGHT, "focal_x": FX / WIDTH,
              "focal_y": FY / WIDTH, "c_x": (CX - WIDTH / 2) / WIDTH, "c_y": (CY - HEIGHT / 2) / WIDTH,
              "k1": 0.05, "k2": -0.02, "p1": 0.001, "p2": 0.0, "k3": 0.0}  # fmt: skip
    data = [{"cameras": {"v2 phone": camera}, "shots": shots, "points": {}}]
    home = Path(folder) / "opensfm"
    home.mkdir()
    (home / "reconstruction.json").write_text(json.dumps(data))
    return folder
