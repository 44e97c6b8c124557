"""The names of lens models."""

from __future__ import annotations

MODELS = {  # what a user asks for -> COLMAP's model
    "pinhole": "SIMPLE_PINHOLE",
    "radial": "SIMPLE_RADIAL",
    "opencv": "OPENCV",
    "fisheye": "OPENCV_FISHEYE",
}
FIRST = "SIMPLE_RADIAL"  # what an automatic choice begins with: one parameter cannot go astray


def first_model(lens: str) -> str:
    """Return the model that cameras are first estimated with, for "auto" or a key of MODELS."""
    return MODELS[lens] if lens == "fisheye" else FIRST
