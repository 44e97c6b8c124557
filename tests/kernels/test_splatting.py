"""Splats in an image: compiled kernels against the float64 twin, the twin against formulas and gsplat."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nerf_insert.kernels import (
    ImagePlane,
    plan_raster,
    project,
    rasterize,
    spherical_harmonics,
    splat_hits,
    use_backend,
)
from nerf_insert.kernels.splatting import BLUR, MAX_ALPHA, MIN_ALPHA, Projected

WIDTH, HEIGHT = 50, 37  # neither is a multiple of a tile
TURN = torch.tensor([[math.cos(0.3), 0, math.sin(0.3)], [0, 1, 0], [-math.sin(0.3), 0, math.cos(0.3)]])
PLANE = ImagePlane(TURN, torch.tensor([0.1, 0.2, -0.3]), 48.0, 50.0, 26.0, 18.0, WIDTH, HEIGHT)
STRAIGHT = ImagePlane(torch.eye(3), torch.zeros(3), 40.0, 40.0, 25.0, 18.5, WIDTH, HEIGHT)
FEW = settings(max_examples=min(6, settings.default.max_examples), deadline=None)


def random_splats(count: int, seed: int = 0, degree: int = 3) -> list[torch.Tensor]:
    """Means, scales, quaternions, opacities and SH of splats in front of, beside and behind the camera."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=rng) * torch.tensor([1.5, 1.0, 1.5]) + torch.tensor(
        [0.0, 0.0, 3.0]
    )
    scales = torch.exp(torch.randn(count, 3, generator=rng) * 0.6 - 2.5)
    quaternions = torch.randn(count, 4, generator=rng)
    opacities = torch.rand(count, generator=rng) * 0.99 + 0.005
    return [
        means,
        scales,
        quaternions,
        opacities,
        torch.randn(count, (degree + 1) ** 2, 3, generator=rng) * 0.3,
    ]


def grid(width: int = WIDTH, height: int = HEIGHT) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2) + 0.5


def draw(splats, plane=PLANE, pixels=None, antialiased=False):
    means, scales, quaternions, opacities, sh = splats
    pixels = grid().to(means) if pixels is None else pixels.to(means)
    projected = project(means, scales, quaternions, opacities, plane, antialiased)
    rgb = spherical_harmonics(means - plane.center.to(means), sh)
    plan = plan_raster(projected, plane.width, plane.height)
    return projected, rgb, plan, rasterize(projected, rgb, pixels, plan)


def twin(splats, **options):
    with use_backend("torch"):
        return draw([tensor.detach().double() for tensor in splats], **options)


# --- the compiled kernels against the twin


@FEW
@given(st.integers(0, 1000), st.integers(1, 300), st.integers(0, 3), st.booleans())
def test_values_are_those_of_the_twin(seed, count, degree, antialiased):
    """Float32 rounds a pixel coordinate near 50 to 4e-6, and the exponential is exact to 1e-6 of itself."""
    splats = random_splats(count, seed, degree)
    found, rgb, plan, raster = draw(splats, antialiased=antialiased)
    expected, true_rgb, true_plan, true_raster = twin(splats, antialiased=antialiased)
    visible = plan.order
    assert torch.equal(visible, true_plan.order)
    for name in Projected._fields:
        some, true = getattr(found, name)[visible].double(), getattr(expected, name)[visible]
        torch.testing.assert_close(some, true, atol=1e-5, rtol=1e-5)
    assert (found.extents == 0).all(1).sum() == count - len(visible)
    torch.testing.assert_close(rgb.double(), true_rgb, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(raster.rgb.double(), true_raster.rgb, atol=2e-5, rtol=0)
    torch.testing.assert_close(raster.accumulation.double(), true_raster.accumulation, atol=2e-5, rtol=0)
    both = raster.depth.isfinite() & true_raster.depth.isfinite()
    assert (raster.depth.isfinite() == true_raster.depth.isfinite()).float().mean() > 0.999
    torch.testing.assert_close(raster.depth[both].double(), true_raster.depth[both], atol=1e-4, rtol=1e-4)


@FEW
@given(st.integers(0, 1000), st.integers(1, 200), st.booleans())
def test_gradients_are_those_of_the_twin(seed, count, antialiased):
    """Relative to each tensor's largest: sums of some hundred float32 terms of either sign."""
    gradients = []
    for kind in (torch.float32, torch.float64):
        splats = [tensor.to(kind).requires_grad_() for tensor in random_splats(count, seed)]
        with use_backend("cpu" if kind is torch.float32 else "torch"):
            raster = draw(splats, antialiased=antialiased)[3]
        weights = torch.rand(WIDTH * HEIGHT, 4, generator=torch.Generator().manual_seed(seed)).to(kind) - 0.3
        loss = (raster.rgb * weights[:, :3]).sum() + (raster.accumulation * weights[:, 3]).sum()
        gradients.append(torch.autograd.grad(loss, splats, allow_unused=True))
    for found, expected in zip(*gradients, strict=True):
        scale = float(expected.abs().max()) + 1e-9
        torch.testing.assert_close(found.double() / scale, expected / scale, atol=3e-4, rtol=0)


def test_gradients_of_the_twin_are_those_of_differences():
    splats = [tensor.double() for tensor in random_splats(6, 3, 1)]

    def loss(*changed):
        with use_backend("torch"):
            raster = draw(changed, pixels=grid()[::7])[3]
        return (raster.rgb * torch.linspace(0, 1, 3)).sum() + raster.accumulation.square().sum()

    # A step of 1e-6 moves an alpha across 1/255 in some pixel with a probability of about 1e-4.
    leaves = [tensor.requires_grad_() for tensor in splats]
    assert torch.autograd.gradcheck(loss, leaves, eps=1e-6, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("limit", [0.0, 2.5, math.inf])
def test_hits_are_those_of_the_twin(limit):
    splats, pixels = random_splats(300, 5), grid()[torch.randperm(WIDTH * HEIGHT)[:700]]
    projected, _, plan, _ = draw(splats, pixels=pixels)
    found = splat_hits(projected, pixels, plan, torch.full((700,), limit))
    with use_backend("torch"):
        expected, _, true_plan, _ = draw([tensor.double() for tensor in splats], pixels=pixels)
        true = splat_hits(expected, pixels.double(), true_plan, torch.full((700,), limit).double())
    assert torch.equal(found.offsets, true.offsets) and torch.equal(found.splat, true.splat)
    torch.testing.assert_close(found.alpha.double(), true.alpha, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.depth.double(), true.depth, atol=1e-4, rtol=1e-5)


def test_hits_composite_to_the_raster():
    splats = random_splats(400, 7)
    projected, rgb, plan, raster = draw(splats)
    hits = splat_hits(projected, grid(), plan, torch.full((WIDTH * HEIGHT,), math.inf))
    for pixel in range(0, WIDTH * HEIGHT, 97):
        some = slice(int(hits.offsets[pixel]), int(hits.offsets[pixel + 1]))
        color, front = torch.zeros(3), 1.0
        for splat, alpha in zip(hits.splat[some].tolist(), hits.alpha[some].tolist(), strict=True):
            if front * (1 - alpha) <= 1e-4:
                break
            color, front = color + front * alpha * rgb[splat], front * (1 - alpha)
        torch.testing.assert_close(raster.rgb[pixel], color, atol=1e-5, rtol=1e-5)
        assert float(raster.accumulation[pixel]) == pytest.approx(1 - front, abs=1e-5)


def test_a_pixel_does_not_depend_on_the_others():
    splats = random_splats(300, 1)
    whole = draw(splats)[3]
    chosen = torch.randperm(WIDTH * HEIGHT, generator=torch.Generator().manual_seed(0))[:333]
    some = draw(splats, pixels=grid()[chosen])[3]
    assert torch.equal(some.rgb, whole.rgb[chosen]) and torch.equal(some.depth, whole.depth[chosen])


def test_the_number_of_threads_changes_nothing():
    results = []
    for threads in (1, 3):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        splats = [tensor.requires_grad_() for tensor in random_splats(200, 2)]
        raster = draw(splats)[3]
        results.append([raster.rgb, *torch.autograd.grad(raster.rgb.square().sum(), splats)])
        torch.set_num_threads(before)
    assert all(map(torch.equal, *results))


# --- closed forms


def one_splat(opacity=0.8, mean=(0.0, 0.0, 2.0), scale=(0.1, 0.2, 0.05), quaternion=(1.0, 0.0, 0.0, 0.0)):
    values = [[mean], [scale], [quaternion], [opacity], [[[0.5, -0.2, 0.1]]]]
    return [torch.tensor(value) for value in values]


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_one_gaussian_before_the_camera(backend):
    """On the axis J is f / z: the image is a Gaussian with variances (f s / z)^2 + blur."""
    with use_backend(backend):
        _, rgb, _, raster = draw(one_splat(), STRAIGHT)
    a, c = ((40 * s / 2) ** 2 + BLUR for s in (0.1, 0.2))
    offset = grid() - torch.tensor([25.0, 18.5])
    alpha = 0.8 * torch.exp(-0.5 * (offset[:, 0] ** 2 / a + offset[:, 1] ** 2 / c))
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0)
    torch.testing.assert_close(raster.accumulation, alpha, atol=1e-6, rtol=1e-5)
    color = 0.5 + torch.tensor([0.5, -0.2, 0.1]) / (2 * math.sqrt(math.pi))
    torch.testing.assert_close(rgb[0], color)
    torch.testing.assert_close(raster.rgb, alpha[:, None] * color, atol=1e-6, rtol=1e-5)
    assert torch.equal(raster.depth.isfinite(), alpha >= 0.5)
    assert (raster.depth[alpha >= 0.5] - 2).abs().max() < 1e-6  # its axes are the camera's: no slope


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_a_flat_splat_lies_in_its_plane(backend):
    """A disc turned by 45 degrees about y lies in a plane: depth follows the rays' cut with it."""
    half = math.pi / 8
    disc = one_splat(0.99, scale=(0.5, 0.5, 1e-4), quaternion=(math.cos(half), 0.0, math.sin(half), 0.0))
    plane = STRAIGHT._replace(fx=400.0, fy=400.0)  # a narrow view, for the projection is linear at the center
    with use_backend(backend):
        raster = draw(disc, plane)[3]
    tangent = (grid()[:, 0] - 25) / 400
    expected = 2 / (1 + tangent)  # x = tangent z, and the disc's plane is x + z = 2
    near = raster.depth.isfinite()
    assert near.float().mean() > 0.5
    # the linear part of 2 / (1 + t) at t = 0, exact to 2 t^2 + 2 t^3 = 8.1e-3
    torch.testing.assert_close(raster.depth[near], expected[near], atol=8.2e-3, rtol=0)


def test_two_splats_hide_each_other_by_depth():
    """Front first, whatever their order in the list; the nearer one is opaque up to 0.999."""
    near, far = one_splat(1.0, (0.0, 0.0, 1.0)), one_splat(1.0, (0.0, 0.0, 2.0))
    near[4], far[4] = torch.full((1, 1, 3), 1.0), torch.full((1, 1, 3), -1.0)
    center = torch.tensor([[25.0, 18.5]])
    shade = [0.5 + v / (2 * math.sqrt(math.pi)) for v in (1.0, -1.0)]
    # the second one would take the transmittance to 1e-6: the pixel stops before it
    for order in ((near, far), (far, near)):
        both = [torch.cat(parts) for parts in zip(*order, strict=True)]
        raster = draw(both, STRAIGHT, center)[3]
        assert float(raster.rgb[0, 0]) == pytest.approx(MAX_ALPHA * shade[0], abs=1e-6)
    far[3][:] = 0.5
    both = [torch.cat(parts) for parts in zip(far, near, strict=True)]
    expected = MAX_ALPHA * shade[0] + (1 - MAX_ALPHA) * 0.5 * shade[1]
    assert float(draw(both, STRAIGHT, center)[3].rgb[0, 0]) == pytest.approx(expected, abs=1e-6)


def test_what_is_behind_or_beside_is_not_shown():
    places = [(0.0, 0.0, -2.0), (0.0, 0.0, 0.005), (9.0, 0.0, 2.0), (0.0, -9.0, 2.0), (0.0, 0.0, 2.0)]
    splats = [torch.cat(p) for p in zip(*(one_splat(mean=place) for place in places), strict=True)]
    assert draw(splats, STRAIGHT)[2].order.tolist() == [4]


def test_antialiasing_keeps_the_light_of_what_is_small():
    """A splat below a pixel covers the blur, at the share of its own area (Mip-Splatting, equation 10)."""
    small = one_splat(scale=(0.01, 0.01, 0.01))
    sharp = (40 * 0.01 / 2) ** 2
    projected = draw(small, STRAIGHT, antialiased=True)[0]
    assert float(projected.opacities[0]) == pytest.approx(0.8 * sharp / (sharp + BLUR), rel=1e-3)


def test_no_splats_and_no_pixels():
    nothing = [tensor[:0] for tensor in random_splats(1)]
    raster = draw(nothing)[3]
    assert not raster.accumulation.any() and raster.depth.isinf().all()
    assert draw(random_splats(5), pixels=torch.zeros(0, 2))[3].rgb.shape == (0, 3)


# --- gsplat's own PyTorch parts, which are the reference of its CUDA kernels


def test_projection_and_colors_are_those_of_gsplat():
    reference = pytest.importorskip("gsplat.cuda._torch_impl")
    means, scales, quaternions, opacities, sh = [t.double() for t in random_splats(300, 11)]
    view = torch.eye(4).double()
    view[:3, :3], view[:3, 3] = PLANE.rotation, -PLANE.rotation @ PLANE.center
    intrinsics = torch.tensor([[PLANE.fx, 0, PLANE.cx], [0, PLANE.fy, PLANE.cy], [0, 0, 1]]).double()
    unit = torch.nn.functional.normalize(quaternions, dim=1)
    covariances, _ = reference._quat_scale_to_covar_preci(unit, scales, True, False)
    radii, at, depths, conics, compensation = reference._fully_fused_projection(
        means, covariances, view[None], intrinsics[None], WIDTH, HEIGHT, calc_compensations=True
    )
    found = draw(random_splats(300, 11), antialiased=True)[0]
    seen = (found.extents[:, 0] > 0) & (radii[0] > 0)
    assert seen.sum() > 100
    torch.testing.assert_close(found.means[seen].double(), at[0][seen], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found.conics[seen].double(), conics[0][seen], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.depths[seen].double(), depths[0][seen], atol=1e-5, rtol=1e-5)
    expected = (opacities * compensation[0])[seen]
    torch.testing.assert_close(found.opacities[seen].double(), expected, atol=1e-5, rtol=1e-4)
    away = means - PLANE.center.double()
    colors = (reference._spherical_harmonics(3, away, sh) + 0.5).clamp_min(0)
    torch.testing.assert_close(
        spherical_harmonics(away.float(), sh.float()).double(), colors, atol=1e-5, rtol=1e-5
    )
