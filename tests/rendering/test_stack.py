"""Rendering a stack of layers, against the rule as it is written and against closed forms."""

import itertools
import math

import pytest
import torch
from analytic import DENSITY, AnalyticField, look_at
from formula import Ball, FormulaLayer, Haze, brute_force, in_plain_words, straight_rays

from nerf_insert.fields.layer import Layer
from nerf_insert.geometry.cameras import Rays
from nerf_insert.regions import BoxRegion, IntersectionRegion, UnionRegion
from nerf_insert.rendering.stack import RAYS_PER_BATCH, LayerStack, RenderOptions, hits
from nerf_insert.scene.scene import Scene

RED, GREEN, BLUE = (0.9, 0.1, 0.1), (0.1, 0.9, 0.1), (0.1, 0.1, 0.9)
# Regions that overlap in all ways, one of them in two pieces that a ray may visit with base in between
BALL = Ball((0.1, 0.0, 0.0), 0.4)
BOX = BoxRegion((0.0, 0.1, 0.1), (0.5, 0.4, 0.7), (20.0, 0.0, 35.0))
TWO = UnionRegion([BoxRegion((-0.4, 0.0, 0.0), (0.2, 0.6, 0.6)), BoxRegion((0.4, 0.0, 0.0), (0.2, 0.6, 0.6))])
PIECES = {
    "none": [],
    "thin": [FormulaLayer(BALL, 0.5, RED)],
    "dense": [FormulaLayer(TWO, 6.0, GREEN)],
    "shell": [FormulaLayer(BALL, 4.0, RED, blend_width=0.15)],
    "empty": [FormulaLayer(BOX, 0.0, RED)],
    "overlap": [FormulaLayer(BALL, 4.0, RED), FormulaLayer(BOX, 3.0, BLUE)],
    "reordered": [FormulaLayer(BOX, 3.0, BLUE), FormulaLayer(BALL, 4.0, RED)],
    "three with shells": [
        FormulaLayer(BOX, 3.0, BLUE, blend_width=0.1),
        FormulaLayer(TWO, 5.0, GREEN, blend_width=0.05),
        FormulaLayer(BALL, 2.0, RED, blend_width=0.2),
    ],
    "an empty one over a full one": [FormulaLayer(BALL, 5.0, RED), FormulaLayer(BOX, 0.0, BLUE)],
}
# A border is found to half a sample, 0.0025 here; densities differ by at most 6 across it, colors by 0.7.
BORDER = 0.01


@pytest.mark.parametrize("layers", PIECES.values(), ids=PIECES.keys())
@pytest.mark.parametrize("hole", [None, Ball((0.0, 0.2, -0.1), 0.3)], ids=["whole", "carved"])
def test_the_topmost_layer_that_contains_a_point_is_seen_there(layers, hole):
    base, rays = Haze(step=0.005), straight_rays(48)
    shown = LayerStack(base, layers).render(rays, exclude=hole)
    rgb, accumulation = brute_force(base, layers, rays, hole=hole)
    assert (shown.rgb - rgb).abs().max() < BORDER
    assert (shown.accumulation - accumulation).abs().max() < 2 * BORDER
    assert (shown.rgb - rgb).abs().mean() < BORDER / 10
    if layers:  # or the comparison would prove nothing
        assert (rgb - brute_force(base, [], rays)[0]).abs().max() > 3 * BORDER


def test_the_order_of_layers_decides():
    """The test above can tell an order from another."""
    base, rays = Haze(), straight_rays(48)
    one, two = (brute_force(base, PIECES[name], rays)[0] for name in ("overlap", "reordered"))
    assert (one - two).abs().max() > 3 * BORDER


def test_query_follows_the_same_rule():
    base, layers = Haze(), PIECES["three with shells"]
    points = torch.rand(2048, 3, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    density, rgb = LayerStack(base, layers).query(points, points)
    wanted, color = in_plain_words(base, layers, points.double(), points.double())
    torch.testing.assert_close(density.double(), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rgb.double(), color, rtol=1e-4, atol=1e-4)


def test_an_opaque_wall():
    """A floor seen from straight above: depth is where half of the light is stopped."""
    base = AnalyticField(balls=(), step=0.004)
    origins = torch.tensor([[0.1, 0.1, 1.4], [0.3, -0.2, 1.0]])
    down = torch.tensor([[0.0, 0.0, -1.0], [0.6, 0.0, -0.8]])
    out = LayerStack(base).render(Rays(origins, down))
    wanted = torch.tensor([1.4, 1.0 / 0.8]) + math.log(2) / DENSITY
    assert (out.depth - wanted).abs().max() <= base.step  # the middle of the sample in which that is
    # the floor is 0.1 thick: all but exp(-8) of the light is stopped
    thickness = torch.tensor([0.1, 0.1 / 0.8])
    torch.testing.assert_close(out.accumulation, 1 - torch.exp(-DENSITY * thickness), atol=1e-3, rtol=0)


def test_nothing_is_the_background():
    base = Haze(density=0.0)
    out = LayerStack(base).render(straight_rays(8))
    assert torch.equal(out.rgb, base.background.expand(8, 3))
    assert torch.equal(out.accumulation, torch.zeros(8))
    assert torch.equal(out.depth, torch.full((8,), math.inf))
    none = LayerStack(base).render(straight_rays(0))
    assert none.rgb.shape == (0, 3) and none.depth.shape == (0,)


def test_a_layer_of_constant_density_in_empty_space():
    """1 - exp(-density * length), and its color in that share over the background."""
    base, rays = Haze(density=0.0), straight_rays(64)
    box = BoxRegion((0.1, -0.1, 0.0), (0.6, 0.5, 0.7))
    out = LayerStack(base, [FormulaLayer(box, 3.0, GREEN)]).render(rays)
    length = chord(rays, *box.bounds)
    assert (length > 0.3).sum() >= 20 and (length == 0).sum() > 3
    share = 1 - torch.exp(-3.0 * length)
    torch.testing.assert_close(out.accumulation.double(), share, atol=1e-5, rtol=0)  # float32 distances
    rgb = share[:, None] * torch.tensor(GREEN) + (1 - share)[:, None] * base.background
    torch.testing.assert_close(out.rgb.double(), rgb, atol=1e-5, rtol=0)


def chord(rays, low, high):
    """The length of rays in an axis-aligned box, by its slabs, in float64."""
    origins, directions = rays.origins.double(), rays.directions.double()
    ends = torch.stack([(low - origins) / directions, (high - origins) / directions])
    return (ends.amax(0).amin(-1) - ends.amin(0).amax(-1).clamp_min(0)).clamp_min(0)


def test_replacing_hides_what_was_there():
    """A layer over the ball shows its own color where the ball was, an empty one the floor behind."""
    camera = look_at((1.2, 0.3, 0.9), (0.0, 0.0, 0.3), size=(32, 24), focal=30.0)
    base, bare = AnalyticField(), AnalyticField(balls=())
    region = Ball((0.0, 0.0, 0.3), 0.3)
    empty = LayerStack(base, [FormulaLayer(region, 0.0, RED)]).render_image(camera)
    truth = LayerStack(bare).render_image(camera)
    assert (LayerStack(base).render_image(camera).rgb - truth.rgb).abs().max() > 0.3
    # the ball ends above the floor, so nothing but the lengths of samples at the region's border differ
    assert (empty.rgb - truth.rgb).abs().max() < 0.02
    painted = LayerStack(base, [FormulaLayer(region, 300.0, GREEN)]).render_image(camera)
    middle = painted.rgb[camera.height // 2, camera.width // 2]
    torch.testing.assert_close(middle, torch.tensor(GREEN), atol=1e-4, rtol=0)
    assert abs(float(painted.depth[camera.height // 2, camera.width // 2]) - (1.375 - 0.3)) < 0.02


def test_carving_is_an_empty_layer_on_top():
    base, rays = Haze(), straight_rays(64)
    layers = PIECES["overlap"]
    carved = LayerStack(base, layers).render(rays, exclude=TWO)
    emptied = LayerStack(base, [*layers, FormulaLayer(TWO, 0.0, RED)]).render(rays)
    torch.testing.assert_close(carved.rgb, emptied.rgb, atol=1e-6, rtol=0)
    assert (carved.rgb - LayerStack(base, layers).render(rays).rgb).abs().max() > 0.05


def test_what_a_shell_shows_is_continuous():
    """Crossing the border changes nothing at once; where the shell ends there is nothing but the layer."""
    base, blend_width = Haze(), 0.1
    layer = Layer(BALL, blend_width=blend_width).requires_grad_(False)
    ways = torch.nn.functional.normalize(
        torch.randn(64, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )

    def at(depth):
        points = BALL.center + (BALL.radius - depth) * ways
        return points, LayerStack(base, [layer]).query(points, ways)[0]

    _, outside = at(-1e-4)
    _, inside = at(1e-4)
    jump = (layer.query(BALL.center + ways * 0.399, ways)[0] - outside).abs().min()
    # a hundredth of a percent of a shell's thickness below the border, the ramp is at 3e-6
    assert jump > 0.05 and (inside - outside).abs().max() < 1e-3
    points, deep = at(blend_width * 1.001)
    torch.testing.assert_close(deep, layer.query(points, ways)[0])
    shares = torch.stack([layer.weight(at(blend_width * k / 20)[0]) for k in range(1, 20)])
    assert bool((shares.diff(dim=0) > 0).all()) and bool(((shares > 0) & (shares < 1)).all())
    hard = Layer(BALL, blend_width=0.0)
    assert torch.equal(hard.weight(points), torch.ones(64))


CAMERA = look_at((1.5, 0.6, 1.0), size=(40, 30), focal=40.0)


@pytest.fixture(scope="module", params=["formula", "trained"])
def base(request, tiny_folder):
    return AnalyticField(step=0.05) if request.param == "formula" else Scene.open(tiny_folder / "scene").base


@pytest.fixture(scope="module")
def layers():
    """Two that overlap, a shell, a region in pieces, one in empty space and one around the ball."""
    return [
        Layer(BoxRegion((0.5, -0.4, 0.25), (0.4, 0.4, 0.4)), blend_width=0.05, seed=1).requires_grad_(False),
        Layer(Ball((0.4, -0.3, 0.3), 0.2), seed=2).requires_grad_(False),
        FormulaLayer(IntersectionRegion([Ball((0.0, 0.0, 0.3), 0.3), BOX]), 60.0, GREEN, blend_width=0.03),
        FormulaLayer(UnionRegion([Ball((-0.6, 0.5, 0.9), 0.1), Ball((-0.5, -0.5, 0.1), 0.15)]), 9.0, BLUE),
    ]


def test_a_pixel_whose_ray_misses_every_region_keeps_its_bits(base, layers):
    options = RenderOptions(rays_per_batch=500)  # several batches, the last one shorter
    rays = CAMERA.rays()
    assert rays.count > 2 * options.rays_per_batch
    before = LayerStack(base, options=options).render(rays)
    crossed = torch.stack([near(layer.region, rays) for layer in layers])
    changed = 0
    for number in range(1, len(layers) + 1):
        for chosen in itertools.islice(itertools.permutations(range(len(layers)), number), 4):
            after = LayerStack(base, [layers[index] for index in chosen], options).render(rays)
            missed = ~crossed[list(chosen)].any(0)
            assert 100 < missed.sum() < rays.count - 20
            for old, new in zip(before, after, strict=True):
                assert torch.equal(old[missed], new[missed])
            changed += int((before.rgb != after.rgb).any(-1).sum())
    assert changed > 300


def test_carving_keeps_the_bits_of_the_rest_too(base):
    rays, region = CAMERA.rays(), Ball((0.0, 0.0, 0.3), 0.3)
    before, after = LayerStack(base).render(rays), LayerStack(base).render(rays, exclude=region)
    missed = ~near(region, rays)
    assert torch.equal(before.rgb[missed], after.rgb[missed]) and not torch.equal(before.rgb, after.rgb)


def near(region, rays):
    """Which rays come within 0.012 of a region at one of their points, 0.02 apart: all that meet it."""
    close = torch.zeros(rays.count, dtype=torch.bool)
    for distance in torch.arange(0.5, 3.5, 0.02):
        rest = (~close).nonzero()[:, 0]
        close[rest] = region.distance(rays[rest].at(distance.expand(len(rest)))) < 0.012
    return close


def test_locality_in_a_picture_larger_than_what_is_rendered_at_once(tiny_folder):
    base = Scene.open(tiny_folder / "scene").base
    camera = look_at((1.4, -0.9, 0.9), size=(160, 120), focal=150.0)
    assert camera.width * camera.height > RAYS_PER_BATCH
    region = BoxRegion((0.5, -0.4, 0.25), (0.3, 0.3, 0.4))
    before = LayerStack(base).render_image(camera)
    after = LayerStack(base, [Layer(region).requires_grad_(False)]).render_image(camera)
    missed = (chord(camera.rays(), region.bounds[0] - 1e-3, region.bounds[1] + 1e-3) == 0).view(120, 160)
    assert all(torch.equal(old[missed], new[missed]) for old, new in zip(before, after, strict=True))
    met = hits(region, camera.rays()).view(120, 160)
    assert not met[missed].any() and (before.rgb != after.rgb).any(-1)[met].float().mean() > 0.9


def test_a_kept_picture_is_the_rendered_one():
    stack, camera = LayerStack(AnalyticField(step=0.04)), look_at((1.2, 0.3, 0.9), size=(16, 12), focal=15.0)
    first = stack.render_image(camera, keep=True)
    assert stack.render_image(camera, keep=True) is first
    assert torch.equal(stack.render_image(camera).rgb, first.rgb)
    carved = stack.render_image(camera, exclude=Ball((0.0, 0.0, 0.3), 0.3), keep=True)
    assert not torch.equal(carved.rgb, first.rgb) and stack.render_image(camera, keep=True) is first


def test_a_picture_with_one_more_layer_starts_from_the_one_below(base, layers):
    """Pixels past the new layer have the bits of the picture below, the others are rendered."""
    below, new = LayerStack(base, layers[1:]), layers[0]
    old, seen = below.render_image(CAMERA, keep=True), below.with_layer(new).render_image(CAMERA)
    whole = LayerStack(base, [*layers[1:], new]).render_image(CAMERA)
    missed = ~hits(new.region, CAMERA.rays()).view(30, 40)
    assert 100 < missed.sum() < 1100
    for before, after, wanted in zip(old, seen, whole, strict=True):
        assert after[missed].equal(before[missed])
        # the same rays in other batches: a perceptron's sums may differ in their last bits
        torch.testing.assert_close(after, wanted, rtol=1e-5, atol=1e-5)
    assert not old.rgb.equal(seen.rgb) and below.render_image(CAMERA, keep=True).rgb.equal(old.rgb)


def test_early_ended_rays_lose_nothing_that_shows():
    """What lies behind surfaces is not queried; without that, the image is the same to 1e-4."""
    camera, base = CAMERA, AnalyticField(step=0.02)
    quick = LayerStack(base).render_image(camera)
    whole = LayerStack(base, options=RenderOptions(early_stop_eps=0.0)).render_image(camera)
    assert (quick.rgb - whole.rgb).abs().max() <= 1e-4
    assert torch.equal(quick.depth, whole.depth)


@pytest.mark.parametrize("layers", PIECES.values(), ids=PIECES.keys())
def test_the_light_that_layers_take(layers):
    """All along the ray it is what they stop by themselves; layers that are hidden by others take none."""
    rays = straight_rays(48)
    alone = brute_force(Haze(density=0.0), layers, rays)[1]
    taken = LayerStack(Haze(), layers).light_taken(rays, torch.full((rays.count,), torch.inf))
    assert (taken - alone).abs().max() < 2 * BORDER


def test_the_light_that_is_taken_before_a_distance():
    """A box 0.5 long, of density 3, from 1.5 to 2 along a ray: Beer's law."""
    ray = Rays(torch.tensor([[0.0, 0.0, 2.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    stack = LayerStack(Haze(), [FormulaLayer(BoxRegion((0.0, 0.0, 0.25), (0.5, 0.5, 0.5)), 3.0, RED)])
    for end, length in ((1.0, 0.0), (1.75, 0.25), (3.0, 0.5)):
        taken = float(stack.light_taken(ray, torch.tensor([end])))
        # one sample more or less, which is a 300th of the box's diagonal or shorter
        assert taken == pytest.approx(1 - math.exp(-3 * length), abs=3 * 0.01)
