"""COLMAP's files: cameras and images, text or binary.

https://colmap.github.io/format.html. Since version 3.12 there are rigs and frames beside them; the poses of
images are in images.txt and images.bin all the same. 2D points are skipped.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nerf_insert.capture.formats.content import matrix, rotation_of
from nerf_insert.errors import InputError
from nerf_insert.io.files import read_bytes, read_text

# name, number of parameters; the order is that of COLMAP's model ids
MODELS = (
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
)
# names of the parameters in a transforms.json
PARAMETERS = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fl_x fl_y cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fl_x fl_y cx cy k1 k2 p1 p2",
    "OPENCV_FISHEYE": "fl_x fl_y cx cy k1 k2 k3 k4",
    "FULL_OPENCV": "fl_x fl_y cx cy k1 k2 p1 p2 k3 k4 k5 k6",
    "SIMPLE_RADIAL_FISHEYE": "f cx cy k1",
    "RADIAL_FISHEYE": "f cx cy k1 k2",
}


@dataclass(frozen=True)
class ColmapCamera:
    """One lens."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]

    def lens(self) -> dict[str, float | str]:
        """Return the intrinsics as a transforms.json has them.

        Raises:
            InputError: The model has no counterpart there.
        """
        names = PARAMETERS.get(self.model, "").split()
        values = dict(zip(names, self.parameters, strict=True)) if names else {}
        rational = (
            [values.pop(name, 0.0) for name in ("k4", "k5", "k6")] if self.model == "FULL_OPENCV" else []
        )
        if not names or any(abs(value) > 1e-6 for value in rational):
            raise InputError(
                f"COLMAP's camera model {self.model} cannot be used here: undistort the photographs "
                "(`colmap image_undistorter`) and give the folder that this writes"
            )
        if "f" in values:
            values["fl_x"] = values["fl_y"] = values.pop("f")
        model = "OPENCV_FISHEYE" if "FISHEYE" in self.model else "OPENCV"
        return {**values, "w": self.width, "h": self.height, "camera_model": model}


@dataclass(frozen=True)
class ColmapImage:
    """One registered photograph: world-to-camera, OpenCV's axes."""

    name: str
    camera: int
    quaternion: tuple[float, ...]  # w, x, y, z
    translation: tuple[float, ...]


def read_model(folder: Path) -> tuple[dict[int, ColmapCamera], list[ColmapImage]]:
    """Read the cameras and images of a reconstruction; the binary files if there are both.

    Raises:
        InputError: A file is missing or damaged.
    """
    try:
        if (folder / "cameras.bin").exists() and (folder / "images.bin").exists():
            return binary_cameras(folder / "cameras.bin"), binary_images(folder / "images.bin")
        return text_cameras(folder / "cameras.txt"), text_images(folder / "images.txt")
    except (struct.error, ValueError, IndexError, UnicodeDecodeError) as error:
        raise InputError(
            f"the COLMAP reconstruction {folder} cannot be read: it is damaged ({error})"
        ) from error
    except InputError as error:
        raise InputError(f"the COLMAP reconstruction {folder} cannot be read: {error}") from None


def count_images(folder: Path) -> int:
    """Return the number of registered photographs of a reconstruction, 0 if it cannot be read."""
    try:
        if (folder / "images.bin").exists():
            with open(folder / "images.bin", "rb") as file:
                return struct.unpack("<Q", file.read(8))[0]
        return len(text_images(folder / "images.txt"))
    except (InputError, OSError, struct.error, ValueError, IndexError):
        return 0


def rows(path: Path) -> list[str]:
    """The lines of a text file, comments left out."""
    return [line for line in read_text(path).splitlines() if not line.startswith("#")]


def text_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Read cameras.txt."""
    cameras = {}
    for line in rows(path):
        if line.strip():
            number, model, width, height, *parameters = line.split()
            cameras[int(number)] = ColmapCamera(
                model, int(width), int(height), tuple(float(value) for value in parameters)
            )
    return cameras


def text_images(path: Path) -> list[ColmapImage]:
    """Read images.txt: two lines an image, the second its 2D points, maybe empty or left out."""
    images, lines = [], rows(path)
    index = 0
    while index < len(lines):
        if not lines[index].strip():
            index += 1
            continue
        words = lines[index].split(maxsplit=9)
        numbers = tuple(float(value) for value in words[1:8])
        images.append(ColmapImage(words[9].strip(), int(words[8]), numbers[:4], numbers[4:]))
        index += 2 if index + 1 < len(lines) and are_points(lines[index + 1]) else 1
    return images


def are_points(line: str) -> bool:
    """Whether a line of images.txt holds 2D points, and not the next image, which ends with a file's name."""
    try:
        float((line.rsplit(maxsplit=1) or ["0"])[-1])
    except ValueError:
        return False
    return True


def binary_cameras(path: Path) -> dict[int, ColmapCamera]:
    """Read cameras.bin."""
    data, cameras = read_bytes(path), {}
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        number, kind, width, height = struct.unpack_from("<iiQQ", data, at)
        if not 0 <= kind < len(MODELS):
            raise ValueError(f"camera model {kind}")
        model, size = MODELS[kind]
        cameras[number] = ColmapCamera(model, width, height, struct.unpack_from(f"<{size}d", data, at + 24))
        at += 24 + 8 * size
    return cameras


def binary_images(path: Path) -> list[ColmapImage]:
    """Read images.bin."""
    data, images = read_bytes(path), []
    (count,), at = struct.unpack_from("<Q", data), 8
    for _ in range(count):
        _, *pose, camera = struct.unpack_from("<i7di", data, at)
        at += 64
        end = data.index(b"\0", at)
        name = data[at:end].decode()
        (points,) = struct.unpack_from("<Q", data, end + 1)
        at = end + 9 + 24 * points
        if at > len(data):
            raise ValueError("images.bin is cut off")
        images.append(ColmapImage(name, camera, tuple(pose[:4]), tuple(pose[4:])))
    return images


def camera_to_world(image: ColmapImage) -> np.ndarray:
    """Return the pose [4, 4] of an image, OpenCV's axes, in the reconstruction's own coordinates.

    Raises:
        InputError: Its rotation is none.
    """
    w, x, y, z = image.quaternion
    rotation = rotation_of(np.array([x, y, z, w]), f"the pose of {image.name} in the COLMAP reconstruction").T
    return matrix(rotation, -rotation @ np.array(image.translation))
