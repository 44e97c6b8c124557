"""The pose of a mesh in world coordinates: a 4x4 matrix, however the user likes to write it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float64
from torch import Tensor

from nerf_insert.errors import InputError
from nerf_insert.io.files import read_text

VALUE = r"[^=\s,]+(?![^=\s,]|\s*=)"  # to its end, and not the name of the next term
TERM = re.compile(rf"(\w+)\s*=\s*({VALUE}(?:\s*,\s*{VALUE})*)")
FORMS = (
    "give a JSON 4x4 matrix, a file with one, 16 numbers row by row, "
    "or terms like 'translate=0,0,1 rotate=0,0,90 scale=2'"
)


@dataclass(frozen=True, eq=False)
class Pose:
    """An affine map from a mesh's own coordinates to world coordinates, acting on columns.

    Raises:
        InputError: The matrix is not 4x4, not finite, singular, or its last row is not 0 0 0 1.
    """

    matrix: Float64[Tensor, "4 4"] = field(default_factory=lambda: torch.eye(4, dtype=torch.float64))

    def __post_init__(self) -> None:
        matrix = torch.as_tensor(self.matrix, dtype=torch.float64)
        object.__setattr__(self, "matrix", matrix)
        if matrix.shape != (4, 4):
            shape = "x".join(str(n) for n in matrix.shape)
            raise InputError(f"a pose needs a 4x4 matrix, this one is {shape}; {FORMS}")
        if not matrix.isfinite().all():
            raise InputError("the pose has values that are not finite (NaN or infinity)")
        if (matrix[3] - torch.tensor([0, 0, 0, 1], dtype=torch.float64)).abs().max() > 1e-6:
            raise InputError("the last row of a pose should be 0 0 0 1 (is the matrix transposed?)")
        stretch = torch.linalg.svdvals(matrix[:3, :3])
        if stretch[2] <= 1e-9 * stretch[0]:
            raise InputError(
                "the pose squashes the mesh flat (its matrix is singular): give every axis a scale"
            )

    @staticmethod
    def parse(text: str) -> Pose:
        """Parse a pose that the user typed.

        Args:
            text: A JSON 4x4 matrix or 16 numbers, row by row, inline or in a text file; or any of the terms
                `scale=s` or `scale=x,y,z`, `rotate=x,y,z` (degrees, about the world's x, then y, then z
                axis) or `rotate=w,x,y,z` (quaternion), `translate=x,y,z`, applied in this order.

        Raises:
            InputError: The text is none of these, or the matrix is no pose (see the class).
        """
        text = text.strip()
        if "=" in text and not text.startswith(("[", "{")):
            return Pose(_from_terms(text))
        numbers = _numbers(text)
        if numbers is None:
            numbers = _numbers(_read(text))
            if numbers is None:
                raise InputError(f"the pose file {text} holds no matrix of numbers; {FORMS}")
        if len(numbers) != 16:
            raise InputError(f"a pose needs 4x4 = 16 numbers, there are {len(numbers)}; {FORMS}")
        return Pose(torch.tensor(numbers, dtype=torch.float64).view(4, 4))


def _read(path: str) -> str:
    """The text of a pose file."""
    try:
        return read_text(path)
    except (InputError, ValueError) as error:
        raise InputError(f"cannot understand the pose '{path[:80]}': {error}; {FORMS}") from None


def _numbers(text: str) -> list[float] | None:
    """All numbers of a matrix in JSON or plain text, row by row; None where it is something else."""
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        data = re.split(r"[\s,;]+", text.strip())
    if isinstance(data, dict):
        data = next((data[key] for key in ("matrix", "transform_matrix", "pose") if key in data), None)
    if not isinstance(data, list) or not data:
        return None
    flat = [value for row in data for value in (row if isinstance(row, list) else [row])]
    try:
        return [float(value) for value in flat]
    except (TypeError, ValueError):
        return None


def _from_terms(text: str) -> Float64[Tensor, "4 4"]:
    """The matrix of terms like 'translate=0,0,1 scale=2'."""
    rest = TERM.sub("", text).strip(" ,;")
    if rest:
        raise InputError(f"cannot understand '{rest}' in the pose '{text}'; {FORMS}")
    terms: dict[str, list[float]] = {}
    for name, values in TERM.findall(text):
        counts = {"translate": (3,), "rotate": (3, 4), "scale": (1, 3)}.get(name)
        if counts is None:
            raise InputError(f"the pose has no term '{name}': there are translate, rotate and scale")
        if name in terms:
            raise InputError(
                f"the pose gives {name} twice; terms apply once each, scale, then rotate, then translate"
            )
        try:
            terms[name] = [float(value) for value in values.split(",")]
        except ValueError:
            raise InputError(f"{name}={values} in the pose is not a list of numbers") from None
        if len(terms[name]) not in counts:
            allowed = " or ".join(str(n) for n in counts)
            raise InputError(
                f"{name} in the pose takes {allowed} numbers, {name}={values} has {len(terms[name])}"
            )
    matrix = torch.eye(4, dtype=torch.float64)
    scale = torch.tensor(terms.get("scale", [1.0]), dtype=torch.float64)
    matrix[:3, :3] = rotation_matrix(terms.get("rotate", [0.0, 0.0, 0.0])) * scale
    matrix[:3, 3] = torch.tensor(terms.get("translate", [0.0, 0.0, 0.0]), dtype=torch.float64)
    return matrix


def euler_angles(rotation: Float64[Tensor, "3 3"]) -> tuple[float, float, float]:
    """Return the angles of a rotation in degrees, about the fixed x, then y, then z axis."""
    import warnings

    from scipy.spatial.transform import Rotation

    with warnings.catch_warnings():  # where two axes fall together one of many equal answers is returned
        warnings.simplefilter("ignore")
        x, y, z = Rotation.from_matrix(rotation.numpy()).as_euler("xyz", degrees=True).tolist()
    return x, y, z


def rotation_matrix(values: Sequence[float]) -> Float64[Tensor, "3 3"]:
    """Build a rotation matrix that acts on columns.

    Args:
        values: Three angles in degrees, about the fixed x, then y, then z axis, or a quaternion w, x, y, z of
            any length but zero.

    Raises:
        InputError: The values are not finite, or the quaternion is zero.
    """
    from scipy.spatial.transform import Rotation

    if not all(math.isfinite(value) for value in values):
        raise InputError("a rotation has values that are not finite (NaN or infinity)")
    if len(values) == 3:
        return torch.from_numpy(Rotation.from_euler("xyz", values, degrees=True).as_matrix())
    length = math.hypot(*values)
    if length == 0:
        raise InputError("the quaternion 0,0,0,0 is not a rotation; the identity is 1,0,0,0")
    w, x, y, z = (value / length for value in values)
    return torch.from_numpy(Rotation.from_quat([x, y, z, w]).as_matrix())
