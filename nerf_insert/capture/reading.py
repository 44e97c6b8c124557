"""How a capture is read where its files leave it open: axes, orientation, origin. Kept in scene.json.

Axes are written as three letters that say where a camera's x, y and z axes point: R or L (right, left), U or
D (up, down), B or F (back, forward). OpenGL's, nerfstudio's and Blender's are RUB, OpenCV's and COLMAP's RDF.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

from nerf_insert.errors import InputError
from nerf_insert.io import schema
from nerf_insert.io.schema import Number

NAMED_AXES = {"opengl": "RUB", "opencv": "RDF"}
INVERSE = "w2c-"  # prefix: the matrices are world-to-camera
DIRECTIONS = {"R": (0, 1), "L": (0, -1), "U": (1, 1), "D": (1, -1), "B": (2, 1), "F": (2, -1)}
AXES_HELP = (
    "opengl, opencv, or three letters for where the camera's x, y, z axes point (R or L, U or D, B or F), "
    "such as RDF; with w2c- in front of it for world-to-camera matrices"
)


@dataclass(frozen=True)
class Reading(schema.Checked):
    """How a capture's files are read; None: as they say, or as far as that can be told from them.

    Attributes:
        axes: What the columns of the pose matrices are, see `axes_code`; None: OpenGL's.
        pixels: Which pixels poses and intrinsics belong to, where EXIF data says that a photograph is to be
            turned: those "stored", or the "upright" ones; None: those whose size fits.
        order: The order of the photographs' names that poses are assigned in, where the files have another:
            "natural": 1, 2, 10, "text": 1, 10, 2; None: as listed.
        lens_scale: The factor that the focal lengths of the files lack; None: they are right.
        origin: The point of the capture's coordinates, float64, that is the origin inside the program; None:
            zero, or near the cameras where they are far from zero.
        model: Of several COLMAP reconstructions the one to read, relative to the capture; None: the largest.
    """

    axes: str | None = None
    pixels: Literal["stored", "upright"] | None = None
    order: Literal["natural", "text"] | None = None
    lens_scale: Number | None = None
    origin: tuple[Number, Number, Number] | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.axes is not None:
            axes_code(self.axes)

    def to_dict(self) -> dict:
        """Return plain data, without what is None."""
        return {name: schema.to_plain(value) for name, value in vars(self).items() if value is not None}


def axes_code(text: str) -> tuple[str, bool]:
    """Read a convention for the axes of cameras.

    Args:
        text: opengl, opencv, or three letters, perhaps with w2c- in front.

    Returns:
        The three letters, and whether matrices are world-to-camera.

    Raises:
        InputError: It is none, or a left-handed one.
    """
    plain = text.strip().lower()
    code = plain.removeprefix(INVERSE)
    code = NAMED_AXES.get(code, code.upper())
    axes = [DIRECTIONS[letter][0] for letter in code if letter in DIRECTIONS]
    if len(code) != 3 or sorted(axes) != [0, 1, 2]:
        raise InputError(f"there are no camera axes {text!r}: give {AXES_HELP}")
    swaps = sum(axes[i] > axes[j] for i in range(3) for j in range(i + 1, 3))
    flips = sum(DIRECTIONS[letter][1] < 0 for letter in code)
    if (swaps + flips) % 2:
        raise InputError(f"the camera axes {text} are left-handed: a pose that mirrors cannot be used")
    return code, plain.startswith(INVERSE)


def all_axes() -> list[str]:
    """Return the 24 right-handed conventions, OpenGL's and OpenCV's first."""
    found = []
    for order in permutations("RUB"):
        for signs in product((1, -1), repeat=3):
            opposite = {"R": "L", "U": "D", "B": "F"}
            code = "".join(c if s > 0 else opposite[c] for c, s in zip(order, signs, strict=True))
            try:
                axes_code(code)
            except InputError:
                continue
            found.append(code)
    return sorted(found, key=lambda code: (code != "RUB", code != "RDF", code))


def axes_in_words(text: str) -> str:
    """Return how messages call a convention."""
    code = text.removeprefix(INVERSE)
    known = {"RUB": "OpenGL's axes", "RDF": "OpenCV's axes"}
    words = known.get(NAMED_AXES.get(code, code), f"the axes {code}")
    return f"world-to-camera matrices in {words}" if text.startswith(INVERSE) else words


FIRST = "first"  # as `model`: the first COLMAP reconstruction in the usual places
AS_BEFORE = Reading(
    axes="opengl", pixels="stored", origin=(0, 0, 0), model=FIRST
)  # of scenes of version 0.1.0
