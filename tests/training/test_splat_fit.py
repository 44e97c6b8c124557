"""Splats on surfaces that depth maps show, and their fit."""

import math

import torch
from analytic import look_at

from nerf_insert.kernels.reference_splatting import rotation_matrices
from nerf_insert.splats.splats import SH_C0
from nerf_insert.training.splat_fit import Target, draw, fit_splats, seed_splats


def plane(height: float, distance: float, size=(64, 48)) -> Target:
    """What a camera above sees of the floor z = 0: red where x < 0, green elsewhere."""
    camera = look_at((0.1, 0.2 * distance, height), size=size)
    rays = camera.rays()
    depth = torch.where(rays.directions[:, 2] < 0, -rays.origins[:, 2] / rays.directions[:, 2], math.inf)
    depth = torch.where(depth < 20, depth, math.inf)
    left = rays.at(depth.nan_to_num(posinf=0.0))[:, :1] < 0
    solid = depth.isfinite()
    rgb = torch.where(left, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.8, 0.2])) * solid[:, None]
    return Target(camera, torch.arange(rays.count), rgb, solid.float(), depth)


def test_seeds_lie_on_the_surface_and_face_its_normal():
    seeds = seed_splats([plane(1.0, 1.0), plane(4.0, 2.0)], 100_000)
    assert seeds.means[:, 2].abs().max() < 1e-4
    normals = rotation_matrices(seeds.quaternions)[:, :, 2]
    assert normals[:, 2].abs().min() > 0.999
    # thin along the normal, and as wide as a pixel of the nearer camera below it: distance / focal
    near = seeds.means[:, :2].norm(dim=1) < 0.2
    pixel = 1.0 / plane(1.0, 1.0).camera.fx
    assert (seeds.scales[:, 2] < 0.3 * seeds.scales[:, 0]).all()
    assert (seeds.scales[near, 0] < 1.5 * pixel).all() and near.sum() > 30
    rgb = 0.5 + SH_C0 * seeds.sh[:, 0]
    away = seeds.means[:, 0].abs() > 0.3
    assert ((rgb[away, 0] > 0.5) == (seeds.means[away, 0] < 0)).all()


def test_there_are_no_more_seeds_than_asked_for():
    few = seed_splats([plane(1.0, 1.0)], 200, degree=1)
    assert 20 < few.count <= 200 and few.degree == 1


def test_seeds_and_fit_show_the_images():
    targets = [plane(1.0 + 0.2 * k, 1.0 + 0.3 * k) for k in range(4)]
    seeds = seed_splats(targets, 3000)
    fitted = fit_splats(seeds, targets, 40)

    def error(splats):
        return sum(float((draw(splats, t)[0] - t.rgb).square().mean()) for t in targets) / len(targets)

    # the constant color of a mean image leaves about 0.1
    assert error(fitted) < 0.6 * error(seeds) and error(fitted) < 0.01
    again = fit_splats(seeds, targets, 40)
    assert all(map(torch.equal, again.tensors(), fitted.tensors()))


def test_nothing_solid_is_told():
    empty = plane(1.0, 1.0)
    assert seed_splats([empty._replace(accumulation=torch.zeros_like(empty.accumulation))], 100) is None
