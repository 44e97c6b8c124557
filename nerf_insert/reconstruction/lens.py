"""The lens model of a reconstruction: the simplest that explains the photographs as well as a richer one."""

from __future__ import annotations

from typing import Any

import pycolmap

from nerf_insert.reconstruction.lens_models import FIRST, MODELS

GAIN = 0.02  # of the mean reprojection error, by which a richer model must be better
LARGEST_DISTORTION = 0.5  # of a plausible k1, k2
LARGEST_TANGENTIAL = 0.02


def refine_lens(model: Any, wanted: str) -> tuple[Any, str, float]:
    """Adjust cameras, lens and points together once more, with the lens model that fits.

    Args:
        model: A pycolmap reconstruction.
        wanted: A key of MODELS, or "auto".

    Returns:
        (the adjusted reconstruction, the name of its lens model, its mean reprojection error in pixels).
    """
    tried = [FIRST, "OPENCV"] if wanted == "auto" else [MODELS[wanted]]
    best: tuple[Any, str, float] | None = None
    for name in tried:
        candidate = pycolmap.Reconstruction(model)
        for camera in candidate.cameras.values():
            _change_model(camera, name)
        _adjust(candidate)
        error = candidate.compute_mean_reprojection_error()
        if best is None or (
            error < (1 - GAIN) * best[2] and all(map(_plausible, candidate.cameras.values()))
        ):
            best = candidate, name, error
    assert best is not None
    return best


def _change_model(camera: Any, name: str) -> None:
    """Give a camera another model with the same focal length and, where both have it, the same distortion."""
    if camera.model.name == name:
        return
    focal, k1 = camera.mean_focal_length(), 0.0
    if camera.model.name in ("SIMPLE_RADIAL", "OPENCV"):
        k1 = float(camera.params[3 if camera.model.name == "SIMPLE_RADIAL" else 4])
    center = [camera.principal_point_x, camera.principal_point_y]
    camera.model = getattr(pycolmap.CameraModelId, name)
    if name == "SIMPLE_PINHOLE":
        camera.params = [focal, *center]
    elif name == "SIMPLE_RADIAL":
        camera.params = [focal, *center, k1]
    else:
        camera.params = [focal, focal, *center, k1 if name == "OPENCV" else 0.0, 0.0, 0.0, 0.0]


def _adjust(model: Any) -> None:
    options = pycolmap.BundleAdjustmentOptions()
    options.print_summary = False
    options.ceres.solver_options.num_threads = 1  # more would add in another order each time
    options.ceres.solver_options.function_tolerance = 1e-6
    pycolmap.bundle_adjustment(model, options)
    model.update_point_3d_errors()


def _plausible(camera: Any) -> bool:
    if camera.model.name != "OPENCV":
        return True
    fx, fy, _, _, k1, k2, p1, p2 = camera.params
    return (
        max(abs(k1), abs(k2)) < LARGEST_DISTORTION
        and max(abs(p1), abs(p2)) < LARGEST_TANGENTIAL
        and 0.9 < fx / fy < 1.1
    )
