"""What a transforms.json can say of a camera that is not used here: refused, or told."""

from __future__ import annotations

from typing import Any

from nerf_insert.errors import InputError

# OpenCV's rational and thin prism terms; instant-ngp's lenses of other kinds
LENS_TERMS = ("k5", "k6", "s1", "s2", "s3", "s4", "tauX", "tauY")
LENS_KINDS = ("ftheta_p0", "latlong", "equirectangular", "orthographic")
NONE = 1e-6  # values of lens terms below which they are without effect
LENS_VALUES = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "k1", "k2", "k3", "k4", "p1", "p2")
DIFFERENT = 1e-3  # of two values of a lens, relative to the larger
SHUTTER = ("rolling_shutter", "rolling_shutter_time", "rolling_shutter_readout_time")


def check_lens(meta: dict, entry: dict, where: str) -> None:
    """Check that a frame's lens has no terms but those of nerfstudio's six distortion parameters.

    Raises:
        InputError: It has; where its photographs are read as they are, its rays would be wrong.
    """
    for key in (*LENS_TERMS, *LENS_KINDS):
        value = meta.get(key, entry.get(key))
        if not _is_zero(value):
            raise InputError(
                f"{where}: the lens has {key} = {value}, which is not supported; undistort the photographs "
                "(`colmap image_undistorter`), or calibrate with k1 to k4, p1 and p2 alone"
            )


def notes_of(meta: dict, frames: list[Any]) -> list[str]:
    """Say what frames have that is not used.

    Of lenses: what differs from the values for all frames, as nerfstudio does. Of time: here a photograph is
    exposed in one moment, at one pose.
    """
    entries = [entry for entry in frames if isinstance(entry, dict)]
    notes = []
    own = [[key for key in LENS_VALUES if _differ(meta.get(key), entry.get(key))] for entry in entries]
    if any(own):
        names = ", ".join(key for key in LENS_VALUES if any(key in keys for keys in own))
        notes.append(
            f"{sum(map(bool, own))} photographs have lens values of their own ({names}) beside different "
            "ones for all of them, which are used, as in nerfstudio: remove those that are wrong"
        )
    rolling = [e for e in entries if any(not _is_zero(meta.get(key, e.get(key))) for key in SHUTTER)]
    if rolling:
        notes.append(
            f"a rolling shutter is given for {len(rolling)} photographs and not modeled: each is taken to be "
            "exposed in one moment, which blurs where the camera moved fast"
        )
    ends = ("transform_matrix_start", "transform_matrix_end")
    moving = [e for e in entries if all(key in e for key in ends) and e[ends[0]] != e[ends[1]]]
    if moving:
        notes.append(
            f"{len(moving)} photographs have two poses, of the start and the end of their exposure; only "
            "transform_matrix is used"
        )
    return notes


def _differ(shared: Any, own: Any) -> bool:
    """Whether both are numbers, and not the same."""
    if not all(isinstance(value, int | float) for value in (shared, own)):
        return False
    return abs(shared - own) > DIFFERENT * max(abs(shared), abs(own))


def _is_zero(value: Any) -> bool:
    """Whether a value is absent or without effect."""
    if value is None or value is False:
        return True
    if isinstance(value, list):
        return all(_is_zero(item) for item in value)
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= NONE
