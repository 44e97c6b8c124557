"""Splats as a base: rays of cameras and others, samples along rays, densities at points, layers over them."""

import math
from dataclasses import replace

import pytest
import torch
from analytic import look_at
from formula import Ball, FormulaLayer

from nerf_insert.errors import InputError
from nerf_insert.fields.load import load_base
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.geometry.cameras import Rays, rays_around
from nerf_insert.kernels import use_backend
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.shaded_samples import composite_over, shade_field
from nerf_insert.rendering.stack import LayerStack, hits
from nerf_insert.splats.splats import SH_C0, Splats

BACKGROUND = torch.tensor([0.1, 0.2, 0.3])


def splats_at(means, scale=0.05, opacity=0.9, color=(0.8, 0.3, 0.2)) -> Splats:
    """Round splats of one size and color."""
    count = len(means)
    quaternions = torch.tensor([1.0, 0, 0, 0]).expand(count, 4).contiguous()
    sh = ((torch.tensor(color) - 0.5) / SH_C0).expand(count, 1, 3).contiguous()
    logits = torch.full((count,), opacity).logit()
    return Splats(torch.tensor(means), torch.full((count, 3), math.log(scale)), quaternions, logits, sh)


def cloud(count=400, seed=0) -> Splats:
    """Splats of all shapes in a ball around (0, 0, 0.2), some of them nearly opaque."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=rng) * 0.3 + torch.tensor([0.0, 0.0, 0.2])
    log_scales = torch.randn(count, 3, generator=rng) * 0.5 - 3
    logits = torch.randn(count, generator=rng) * 2
    sh = torch.randn(count, 4, 3, generator=rng) * 0.4
    return Splats(means, log_scales, torch.randn(count, 4, generator=rng), logits, sh)


CLOUD = SplatField(cloud(), 1.0, BACKGROUND)
CAMERA = look_at((1.2, 1.0, 0.8))


def test_rays_of_a_camera_meet_what_its_image_shows():
    """Samples composited one by one are the image, with the splats' densest points as depth."""
    rays = CAMERA.rays()
    image = LayerStack(CLOUD).render(rays)
    shaded, background = shade_field(CLOUD, rays)
    composited = composite_over(shaded, background)
    # interval lengths round in float32 (1e-5 of a density), and the raster stops at a transmittance of 1e-4
    torch.testing.assert_close(composited.rgb, image.rgb, atol=3e-4, rtol=0)
    torch.testing.assert_close(composited.accumulation, image.accumulation, atol=3e-4, rtol=0)
    same = image.depth == composited.depth
    close = (image.depth - composited.depth).abs() < 1e-4
    assert (same | close).float().mean() > 0.995  # a transmittance of just 1/2 may fall to the next splat
    assert shaded.samples.count > 1000 and image.accumulation.max() > 0.9
    assert ((shaded.samples.offsets.diff() > 0) == (image.accumulation > 0)).all()


def test_a_pixel_has_the_same_bits_in_any_company():
    rays = CAMERA.rays()
    index = torch.randperm(rays.count, generator=torch.Generator().manual_seed(1))[:500]
    some, whole = LayerStack(CLOUD).render(rays[index]), LayerStack(CLOUD).render(rays)
    assert torch.equal(some.rgb, whole.rgb[index]) and torch.equal(some.depth, whole.depth[index])


def test_rays_of_several_cameras_come_back_in_their_order():
    other = look_at((-1.0, 0.6, 0.5), size=(32, 40))
    one, two = CAMERA.rays(), other.rays()
    numbers = torch.cat([torch.zeros(one.count), torch.ones(two.count)]).long()
    both = Rays(
        torch.cat([one.origins, two.origins]),
        torch.cat([one.directions, two.directions]),
        (CAMERA, other),
        numbers,
    )
    mixed = torch.randperm(both.count, generator=torch.Generator().manual_seed(2))
    found = LayerStack(CLOUD).render(both[mixed]).rgb
    expected = torch.cat([LayerStack(CLOUD).render(rays).rgb for rays in (one, two)])
    assert torch.equal(found, expected[mixed])
    lists = CLOUD.splat_samples(both[mixed]).samples
    assert (lists.ray_index.diff() >= 0).all() and lists.ray_count == both.count


def test_rays_of_no_camera_see_the_same_scene():
    """Blur and projection change little of splats larger than a pixel and smaller than their distance."""
    field = SplatField(splats_at([[0.0, 0.0, 0.2], [0.1, 0.2, 0.0], [-0.2, 0.1, 0.3]], 0.08), 1.0, BACKGROUND)
    camera = replace(look_at((3.0, 2.0, 1.0)), fx=400.0, fy=400.0)
    rays = camera.rays()
    seen = LayerStack(field).render(rays)
    free = LayerStack(field).render(Rays(rays.origins, rays.directions))
    assert (seen.rgb - free.rgb).abs().max() < 0.02 and seen.accumulation.max() > 0.8
    both = seen.depth.isfinite() & free.depth.isfinite()
    # at a silhouette, half of the light may be stopped by another splat
    assert both.sum() > 100 and (seen.depth - free.depth)[both].abs().median() < 0.005


def test_rays_around_a_point_see_the_same_scene():
    """From the middle of the splats, through a cube of cameras, and ray by ray."""
    center, count = torch.tensor([0.1, 0.0, 0.25]), 600
    directions = torch.nn.functional.normalize(
        torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=1
    )
    field = SplatField(floor(side=200), 1.0, BACKGROUND)
    through = rays_around(center, directions)
    assert through.camera_index is not None and len(through.camera_index.unique()) == 6
    _, opacity, depth = field.render(through)
    free = field.render(Rays(through.origins, through.directions))
    # away from the floor's horizon, where its flat splats are seen from their edges
    steep = directions[:, 2].abs() > 0.2
    assert (
        float((opacity - free[1]).abs()[steep].quantile(0.99)) < 0.02
    )  # of a blur of half a pixel of 0.2 degrees
    both = steep & depth.isfinite() & free[2].isfinite()
    assert both.sum() > 150 and bool((directions[both, 2] < 0).all())
    expected = 0.25 / -directions[both, 2]  # to the plane z = 0
    assert float((depth[both] / expected - 1).abs().quantile(0.95)) < 0.02


@pytest.mark.parametrize("backend", ["cpu", "torch"])
def test_a_free_ray_through_one_splat(backend):
    """At a distance b from the center: alpha = opacity exp(-b^2 / 2 s^2), densest where it is nearest."""
    field = SplatField(splats_at([[0.0, 0.0, 2.0]], 0.1, 0.7), 1.0)
    rays = Rays(torch.tensor([[0.05, 0.0, 0.0], [9.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 1.0]] * 2))
    with use_backend(backend):
        found = field.splat_samples(rays)
    assert found.samples.offsets.tolist() == [0, 1, 1]
    alpha = 1 - torch.exp(-found.density * found.samples.lengths)
    assert float(alpha) == pytest.approx(0.7 * math.exp(-0.125), rel=1e-4)
    assert float(found.depth) == pytest.approx(2.0, abs=1e-5)


def test_density_at_points_adds_up_to_the_opacity():
    """Along a ray through the center of one splat: the integral of the density is -ln(1 - opacity)."""
    field = SplatField(splats_at([[0.3, -0.1, 0.2]], 0.1, 0.8, (0.2, 0.6, 0.9)), 1.0)
    direction = torch.nn.functional.normalize(torch.tensor([0.3, 0.5, -0.8]), dim=0)
    t = torch.linspace(-0.5, 0.5, 2001)
    points = torch.tensor([0.3, -0.1, 0.2]) + t[:, None] * direction
    density, rgb = field.query(points, direction.expand(2001, 3))
    # cut off at 3 standard deviations: a share of 0.27 % is missing
    assert float(density.sum()) * 0.0005 == pytest.approx(-math.log(0.2), rel=4e-3)
    torch.testing.assert_close(
        rgb[density > 0], torch.tensor([0.2, 0.6, 0.9]).expand(int((density > 0).sum()), 3)
    )
    assert not field.is_empty(points).any()


def test_density_and_color_are_those_of_the_twin():
    points = torch.randn(200, 3, generator=torch.Generator().manual_seed(5)) * 0.4
    directions = torch.nn.functional.normalize(points - torch.tensor([2.0, 0.0, 1.0]), dim=1)
    density, rgb = CLOUD.query(points, directions)
    with use_backend("torch"):
        expected, color = CLOUD.query(points, directions)
    torch.testing.assert_close(density, expected, rtol=1e-4, atol=1e-4)
    met = density > 1e-3
    assert met.sum() > 50
    torch.testing.assert_close(rgb[met], color[met], rtol=0, atol=1e-4)


def test_density_is_the_sum_over_all_splats():
    """Against all splats one by one, over nine orders of their size."""
    rng = torch.Generator().manual_seed(3)
    base = cloud(200, 4)
    sizes = torch.rand(200, 1, generator=rng) * 9 - 7
    splats = Splats(base.means, sizes.expand(200, 3).contiguous(), *base.tensors()[2:])
    points = torch.randn(300, 3, generator=rng) * 0.5
    density, _ = SplatField(splats, 1.0).query(points, torch.tensor([[0.0, 0.0, 1.0]]).expand(300, 3))
    square = torch.cdist(points, splats.means) / splats.scales[:, 0]
    peak = -torch.log1p(-splats.opacities) / (math.sqrt(2 * math.pi) * splats.scales[:, 0])
    expected = torch.where(square < 3, peak * torch.exp(-(square**2) / 2), 0).sum(1)
    torch.testing.assert_close(density, expected, rtol=1e-3, atol=1e-5)


# --- layers


def test_rays_that_miss_the_layer_keep_their_bits():
    layer = FormulaLayer(Ball((0.1, 0.0, 0.2), 0.25), 40.0, (0.1, 0.9, 0.1))
    base, stack = LayerStack(CLOUD), LayerStack(CLOUD, [layer])
    before, after = base.render_image(CAMERA), stack.render_image(CAMERA)
    meets = hits(layer.region, CAMERA.rays()).view(48, 64)
    assert meets.any() and not meets.all()
    assert torch.equal(after.rgb[~meets], before.rgb[~meets])
    assert torch.equal(after.depth[~meets], before.depth[~meets])
    assert (after.rgb - before.rgb)[meets].abs().max() > 0.3
    grown = base.with_layer(layer).render_image(CAMERA)
    assert torch.equal(grown.rgb, after.rgb)


def test_an_empty_layer_takes_its_splats_away_and_no_others():
    near, far = [0.5, 0.0, 0.2], [-0.5, 0.0, 0.2]
    camera = look_at((2.0, 0.0, 0.2), size=(33, 33))
    both = SplatField(splats_at([near, far]), 1.0, BACKGROUND)
    alone = SplatField(splats_at([far]), 1.0, BACKGROUND)
    hole = FormulaLayer(BoxRegion(tuple(near), (0.6, 0.8, 0.8)), 0.0, (0, 0, 0))
    found, expected = LayerStack(both, [hole]).render_image(camera), LayerStack(alone).render_image(camera)
    torch.testing.assert_close(found.rgb, expected.rgb, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.depth, expected.depth, atol=1e-4, rtol=0)
    carved = LayerStack(both).render_image(camera, exclude=hole.region)
    assert torch.equal(carved.rgb, found.rgb)


def test_what_is_opaque_before_a_region_does_not_hide_what_is_taken_away():
    """Two opaque walls of splats; the first lies in the region, so the second has to be listed."""
    grid = [[0.0, y / 10, z / 10] for y in range(-8, 9) for z in range(-8, 9)]
    walls = [[x, y, z] for x in (0.5, -0.5) for _, y, z in grid]
    field = SplatField(splats_at(walls, 0.08, 0.99), 1.0, BACKGROUND)
    camera = look_at((3.0, 0.0, 0.2), size=(17, 17), focal=80.0)
    whole = LayerStack(field).render_image(camera)
    assert (whole.depth - 2.5).abs().max() < 0.1
    cut = LayerStack(field).render_image(camera, exclude=BoxRegion((0.5, 0.0, 0.2), (0.4, 4.0, 4.0)))
    assert (cut.depth - 3.5).abs().max() < 0.1 and cut.accumulation.min() > 0.99


def test_an_opaque_layer_hides_what_is_behind_it():
    field = SplatField(splats_at([[0.5, 0.0, 0.2], [-0.5, 0.0, 0.2]]), 1.0, BACKGROUND)
    camera = look_at((2.0, 0.0, 0.2), size=(9, 9), focal=200.0)
    layer = FormulaLayer(BoxRegion((0.0, 0.0, 0.2), (0.2, 1.0, 1.0)), 200.0, (0.1, 0.9, 0.1))
    image = LayerStack(field, [layer]).render_image(camera)
    alone = SplatField(splats_at([[0.5, 0.0, 0.2]]), 1.0, torch.tensor([0.1, 0.9, 0.1]))
    expected = LayerStack(alone).render_image(camera).rgb
    torch.testing.assert_close(image.rgb, expected, atol=1e-4, rtol=0)


# --- lenses and files


def test_a_distorted_lens_sees_each_ray_as_a_lens_without_distortion_would():
    bent = replace(CAMERA, distortion=(0.3, 0.05, 0.0, 0.0, 0.002, -0.001))
    rays = bent.rays()
    # the same rays as pixels of an undistorted camera: where they pierce its image
    turned = rays.directions @ CAMERA.c2w[:, :3]
    x = CAMERA.fx * turned[:, 0] / -turned[:, 2] + CAMERA.cx
    y = CAMERA.fy * turned[:, 1] / turned[:, 2] + CAMERA.cy
    inside = (x > 0) & (x < 64) & (y > 0) & (y < 48)
    straight = CAMERA.rays_through(torch.stack([x, y], 1)[inside])
    found, expected = (LayerStack(CLOUD).render(r).rgb for r in (rays[inside], straight))
    # the margin beyond which the projection's derivative is held lies elsewhere for a larger image
    assert (found - expected).abs().mean() < 1e-3 and (found - expected).abs().max() < 0.05


def test_wide_lenses_are_answered_ray_by_ray():
    fisheye = replace(CAMERA, model="FISHEYE", fx=30.0, fy=30.0)
    rays = fisheye.rays()
    found = LayerStack(CLOUD).render(rays).rgb
    assert torch.equal(found, LayerStack(CLOUD).render(Rays(rays.origins, rays.directions)).rgb)


def test_saved_and_loaded(tmp_path):
    field = SplatField(cloud(20), 0.25, BACKGROUND, antialiased=True)
    field.save(tmp_path / "base.safetensors")
    loaded = load_base(tmp_path / "base.safetensors")
    assert isinstance(loaded, SplatField) and (loaded.scale, loaded.antialiased) == (0.25, True)
    assert all(map(torch.equal, loaded.splats.tensors(), field.splats.tensors()))
    assert torch.equal(loaded.background, BACKGROUND)


def test_a_file_with_less_in_it_is_refused(tmp_path):
    from nerf_insert.io.files import write_tensors

    write_tensors(tmp_path / "base.safetensors", {"means": torch.zeros(3, 3)}, metadata={"kind": "splats"})
    with pytest.raises(InputError, match="does not hold splats"):
        load_base(tmp_path / "base.safetensors")


def test_bounds_are_those_of_what_can_be_seen():
    splats = splats_at([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [50.0, 0.0, 0.0]], 0.1)
    splats.opacity_logits[2] = -9
    low, high = SplatField(splats, 1.0).content_bounds()
    torch.testing.assert_close(low, torch.tensor([-0.2, -0.2, -0.2]))
    torch.testing.assert_close(high, torch.tensor([1.2, 2.2, 3.2]))


def floor(side=60, width=3.0) -> Splats:
    """Flat splats that overlap on the plane z = 0, as training leaves them on a table."""
    rng = torch.Generator().manual_seed(0)
    step = width / side
    x, y = torch.meshgrid(*(2 * [torch.linspace(-width / 2, width / 2, side)]), indexing="ij")
    means = torch.stack([x, y, torch.zeros_like(x)], -1).view(-1, 3)
    means[:, :2] += 0.3 * step * torch.randn(len(means), 2, generator=rng)
    scales = torch.tensor([step, step, 0.02 * step]).log().expand(len(means), 3)
    quaternions = torch.tensor([1.0, 0, 0, 0]).expand(len(means), 4).contiguous()
    logits = torch.full((len(means),), 0.8).logit()
    return Splats(means, scales.contiguous(), quaternions, logits, torch.zeros(len(means), 1, 3))


def test_a_small_image_shows_surfaces_where_they_are():
    """The height of a floor in images of 1/16 the size; its splats are thinner than one of their pixels.

    Blurred in the small image, they stood 0.03 above it in the mean, one in twenty 0.086. What is left, less
    than a tenth of the distance between splats (0.05), is their thickness.
    """
    camera = look_at((0.0, -1.2, 0.5), size=(512, 384), focal=480.0).scaled(1 / 16)
    rays = camera.rays()
    seen = LayerStack(SplatField(floor(), 1.0)).render(rays)
    height = rays.at(seen.depth)[:, 2][seen.depth.isfinite() & (seen.accumulation > 0.9)]
    assert len(height) > 400
    assert float(height.abs().quantile(0.95)) < 0.005


def test_the_part_within_a_ball_is_what_rays_see_of_it():
    field = SplatField(floor(), 1.0)
    part = field.within(torch.tensor([0.5, 0.0, 0.0]), 0.3)
    assert 0 < part.splats.count < 0.1 * field.splats.count
    rays = look_at((0.5, -0.8, 0.6), target=(0.5, 0.0, 0.0)).rays()
    whole, some = field.render(rays), part.render(rays)
    inside = (rays.at(whole[2]) - torch.tensor([0.5, 0.0, 0.0])).norm(dim=1) < 0.2
    assert inside.sum() > 100
    torch.testing.assert_close(some[2][inside], whole[2][inside])
    torch.testing.assert_close(some[0][inside], whole[0][inside], atol=1e-3, rtol=0)
