"""Fitting a layer: what is cached is what is rendered, the fit converges, and it can be stopped anywhere."""

import math
from types import SimpleNamespace

import pytest
import torch
from analytic import AnalyticField, look_at
from formula import Ball, FormulaLayer, Haze

from nerf_insert.capture.pixel_set import PixelSet
from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.layer import Layer
from nerf_insert.io.images import to_uint8
from nerf_insert.regions import BoxRegion, UnionRegion
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.runtime.progress import SILENT
from nerf_insert.training import checkpoint, ray_cache
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.layer_trainer import FitConfig, fit_layer, shade_entries
from nerf_insert.training.ray_cache import cache_rays, choose_pixels, entries_along

SMALL = FieldConfig(n_levels=4, log2_hashmap_size=12, max_resolution=64, width=16, view_dependent=False)
TWO = UnionRegion([BoxRegion((-0.4, 0.0, 0.1), (0.2, 0.6, 0.6)), BoxRegion((0.4, 0.0, 0.1), (0.2, 0.6, 0.6))])
ON_FLOOR = BoxRegion((0.5, -0.4, 0.2), (0.4, 0.4, 0.5))  # down through the floor
BEHIND = BoxRegion((-0.45, -0.1, 0.3), (0.3, 0.3, 0.4))  # seen past the ball, and through it
CASES = {
    "fog": (lambda: Haze(step=0.03), [], Ball((0.1, 0.0, 0.0), 0.4), 0.0),
    "fog in long samples": (lambda: Haze(step=0.2), [], Ball((0.1, 0.0, 0.0), 0.4), 0.0),
    "fog without a background": (lambda: Haze(step=0.03, background=None), [], TWO, 0.05),
    "two visits": (lambda: Haze(step=0.03), [], TWO, 0.0),
    "shell": (lambda: Haze(step=0.03), [], Ball((0.1, 0.0, 0.0), 0.4), 0.12),
    "two visits with shells": (lambda: Haze(step=0.07), [], TWO, 0.05),
    "through a floor": (lambda: AnalyticField(step=0.05), [], ON_FLOOR, 0.03),
    "behind something": (lambda: AnalyticField(step=0.02), [], BEHIND, 0.0),
    "over other layers": (
        lambda: Haze(step=0.03),
        [FormulaLayer(Ball((-0.2, 0.1, 0.1), 0.4), 3.0, (0.9, 0.1, 0.1), blend_width=0.1)],
        TWO,
        0.05,
    ),
    "over the same place": (
        lambda: AnalyticField(step=0.05),
        [FormulaLayer(ON_FLOOR, 5.0, (0.1, 0.9, 0.1))],
        ON_FLOOR,
        0.04,
    ),
}


def cameras(count=3, size=(32, 24)):
    eyes = [
        (1.6 * math.cos(a), 1.6 * math.sin(a), 0.9) for a in torch.linspace(0, 6.3, count + 1)[:-1].tolist()
    ]
    return [look_at(eye, size=size, focal=28.0) for eye in eyes]


def cache(stack, region, pictures=None):
    """All rays of three views."""
    black = torch.zeros(24, 32, 3, dtype=torch.uint8)
    pixels = PixelSet(cameras(), pictures or [black] * 3)
    return pixels, cache_rays(stack, region, pixels, torch.arange(len(pixels)))


def lively(region, blend_width=0.0, seed=0):
    """A layer in which density and color vary."""
    layer = Layer(region, SMALL, blend_width, seed)
    torch.nn.init.normal_(layer.field.table, std=1.0, generator=torch.Generator().manual_seed(seed))
    return layer.requires_grad_(False)


@pytest.mark.parametrize("case", CASES)
def test_cached_rays_show_what_is_rendered(case, monkeypatch):
    """Compositing the scene in front of, between and behind the visits to the region once, and the layer's
    samples between those, is the same as compositing everything."""
    monkeypatch.setattr(ray_cache, "EARLY_STOP_EPS", -1.0)  # leave nothing out
    monkeypatch.setattr(ray_cache, "RAYS_PER_BATCH", 500)
    make, below, region, blend_width = CASES[case]
    stack, layer = LayerStack(make(), below), lively(region, blend_width)
    _, cached = cache(stack, region)
    entries = entries_along(stack, layer, cached, region.step)
    middle = torch.full((cached.rays.count,), 0.5)
    out, _ = shade_entries(layer, cached.rays, entries, middle)
    shown = out.rgb + (1 - out.accumulation)[:, None] * cached.behind
    whole = LayerStack(stack.base, [*below, layer]).render(cached.rays)
    assert cached.rays.count > 100
    # Sums of the same numbers, in another order, in float32
    torch.testing.assert_close(shown, whole.rgb, atol=2e-5, rtol=0)
    torch.testing.assert_close(out.accumulation, whole.accumulation, atol=2e-5, rtol=0)
    assert (whole.rgb - stack.render(cached.rays).rgb).abs().mean() > 0.005


def test_little_is_kept_of_a_ray():
    """One entry for each stretch of the scene, however many samples there are in it."""
    stack = LayerStack(Haze(step=0.005))
    _, cached = cache(stack, TWO)
    counts = cached.outside.samples.offsets.diff()
    assert int(counts.max()) == 3 and int(counts.min()) >= 1  # before, between and behind
    assert stack.shade_outside(cached.rays, TWO)[0].samples.count > 50 * cached.outside.samples.count


def test_rays_that_do_not_see_the_region_are_left_out():
    stack = LayerStack(AnalyticField(step=0.02))
    pixels, cached = cache(stack, BEHIND)
    rays = pixels.rays(torch.arange(len(pixels)))
    crossing = BEHIND.entry(rays).isfinite()
    hidden = crossing & (stack.render(rays).depth < BEHIND.entry(rays) - 0.3)
    kept = torch.zeros(len(pixels), dtype=torch.bool)
    kept[cached.pixels] = True
    assert int(hidden.sum()) > 20 and not bool((kept & ~crossing).any()) and not bool((kept & hidden).any())
    assert torch.equal(cached.rays.directions, rays.directions[kept])
    in_sight = crossing & (stack.render(rays).depth > BEHIND.entry(rays) + 0.02)
    assert int(in_sight.sum()) > 50 and bool(kept[in_sight].all())


def test_what_is_left_out_does_not_show():
    """Hidden entries are dropped from one thousandth of the light on, and that is all that is lost."""
    make, below, region, blend_width = CASES["through a floor"]
    stack, layer = LayerStack(make(), below), lively(region, blend_width)
    _, cached = cache(stack, region)
    out, _ = shade_entries(
        layer,
        cached.rays,
        entries_along(stack, layer, cached, region.step),
        torch.full((cached.rays.count,), 0.5),
    )
    shown = out.rgb + (1 - out.accumulation)[:, None] * cached.behind
    whole = LayerStack(stack.base, [layer]).render(cached.rays)
    assert (shown - whole.rgb).abs().max() < 1.1e-3


def test_entries_can_be_taken_in_any_order():
    stack, layer = LayerStack(Haze(step=0.03)), lively(TWO)
    _, cached = cache(stack, TWO)
    entries = entries_along(stack, layer, cached, TWO.step)
    order = torch.randperm(cached.rays.count, generator=torch.Generator().manual_seed(0))[:40]
    middle = torch.full((cached.rays.count,), 0.5)
    whole, _ = shade_entries(layer, cached.rays, entries, middle)
    some, _ = shade_entries(layer, cached.rays[order], entries.take(order), middle[order])
    torch.testing.assert_close(some.rgb, whole.rgb[order], atol=1e-6, rtol=0)


def test_chosen_rays_are_the_same_for_the_same_seed():
    candidates = torch.arange(0, 5000, 3)
    first = choose_pixels(candidates, 100, 4)
    assert torch.equal(first, choose_pixels(candidates, 100, 4))
    assert not torch.equal(first, choose_pixels(candidates, 100, 5))
    assert len(first.unique()) == 100 and bool((first.diff() > 0).all()) and bool((first % 3 == 0).all())
    assert torch.equal(choose_pixels(candidates, 5000, 0), candidates)


# --- the fit


class Fit:
    """A ball to be added to the analytic scene, seen by three small cameras."""

    def __init__(self):
        self.stack = LayerStack(AnalyticField(step=0.04))
        after = LayerStack(
            AnalyticField((*AnalyticField().balls, (0.5, -0.4, 0.25, 0.15, (0.1, 0.3, 0.9))), step=0.01)
        )
        pictures = [to_uint8(after.render_image(camera).rgb) for camera in cameras()]
        self.region = BoxRegion((0.5, -0.4, 0.25), (0.34, 0.34, 0.34))
        pixels, self.cached = cache(self.stack, self.region, pictures)
        self.targets = pixels.rgba(self.cached.pixels)[0]

    def run(self, steps=24, layer=None, seed=0, rays=128, **options):
        layer = layer or Layer(self.region, SMALL, blend_width=0.01, seed=seed)
        config = FitConfig(steps=steps, rays=rays, seed=seed)
        fit_layer(layer, self.stack, self.cached, self.targets, config, SILENT, **options)
        return layer

    def error(self, layer):
        shown = LayerStack(self.stack.base, [layer]).render(self.cached.rays).rgb
        return float(((shown - self.targets) ** 2).mean())


@pytest.fixture(scope="module")
def fit():
    return Fit()


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_the_fit_converges(fit):
    before = float(((fit.stack.render(fit.cached.rays).rgb - fit.targets) ** 2).mean())
    after = fit.error(fit.run(steps=150, rays=512))
    assert before > 0.02 and after < before / 10


def test_what_becomes_transparent_at_first_can_appear_later(fit):
    """When the cells without weight are given up, rays that still have to show something keep theirs."""
    layer = Layer(fit.region, SMALL, blend_width=0.01, density_bias=-8.0)  # nothing is seen of it for long
    before = float(((fit.stack.render(fit.cached.rays).rgb - fit.targets) ** 2).mean())
    assert fit.error(fit.run(steps=150, rays=512, layer=layer)) < before / 10


def test_known_distances_show_a_shape_that_color_does_not():
    """A black ball in a black void. Tolerance: the length of the last samples."""
    region, radius = BoxRegion((0.0, 0.0, 0.2), (0.5, 0.5, 0.5)), 0.2
    stack = LayerStack(AnalyticField((), floor=False))
    _, cached = cache(stack, region)
    toward = region.bounds.mean(0) - cached.rays.origins
    along = (toward * cached.rays.directions).sum(-1)
    known = along - (radius**2 - toward.square().sum(-1) + along**2).sqrt()  # NaN beside the ball
    meets = ~known.isnan()
    assert 30 < int(meets.sum()) < len(meets) / 2
    depth = []
    for given in (None, known):
        layer = Layer(region, SMALL)
        config = FitConfig(steps=150, rays=256)
        fit_layer(layer, stack, cached, torch.zeros(len(meets), 3), config, SILENT, known=given)
        depth.append(LayerStack(stack.base, [layer]).render(cached.rays[meets]).depth - known[meets])
    assert float(depth[1].abs().median()) < 2 * region.step
    assert float(depth[0].abs().median()) > 10 * region.step


def test_the_seed_decides(fit):
    first = fit.run()
    assert same(first, fit.run()) and not same(first, fit.run(seed=1))


class Stopped(Exception):
    pass


class Fragile(Checkpoint):
    """Saves every few steps, and fails after a step as if the machine had been switched off."""

    def __init__(self, path, layer, same, every=1, until=math.inf):
        super().__init__(path, layer, same)
        self.every, self.until = every, until

    def maybe_save(self, adam, step, extra=None):
        if step % self.every == 0:
            self.save(adam, step, extra)
        if step >= self.until:
            raise Stopped


SAME = {"identity": "this fit"}
# with 24 steps a fit changes the length of its samples before its step 5
STOPS = [[1], [3, 4], [4], [4, 5, 9], [5], [23], [24], list(range(1, 25))]


@pytest.mark.parametrize("stops", STOPS, ids=str)
@pytest.mark.parametrize("fresh", [True, False], ids=["fresh", "again"])
def test_stopped_and_gone_on_is_never_stopped(fit, tmp_path, stops, fresh):
    def start():
        return (
            Layer(fit.region, SMALL, blend_width=0.01)
            if fresh
            else lively(fit.region, 0.01).requires_grad_(True)
        )

    whole = fit.run(layer=start())
    path = tmp_path / "checkpoint.safetensors"
    for stop in stops:
        layer = start()
        with pytest.raises(Stopped):
            fit.run(layer=layer, checkpoint=Fragile(path, layer, SAME, until=stop))
    layer = start()
    fit.run(layer=layer, checkpoint=Checkpoint(path, layer, SAME))
    assert same(whole, layer)


def test_steps_since_the_last_checkpoint_are_done_again(fit, tmp_path):
    whole = fit.run()
    path = tmp_path / "checkpoint.safetensors"
    for stop in (6, 12, 23):  # the last steps saved before are 5, 10 and 20
        layer = Layer(fit.region, SMALL, blend_width=0.01)
        with pytest.raises(Stopped):
            fit.run(layer=layer, checkpoint=Fragile(path, layer, SAME, every=5, until=stop))
    layer = Layer(fit.region, SMALL, blend_width=0.01)
    fit.run(layer=layer, checkpoint=Checkpoint(path, layer, SAME))
    assert same(whole, layer)


@pytest.mark.parametrize("how", ["cut off", "of another run", "none"])
def test_a_checkpoint_that_is_no_use_is_not_used(fit, tmp_path, how):
    whole = fit.run()
    path = tmp_path / "checkpoint.safetensors"
    layer = Layer(fit.region, SMALL, blend_width=0.01)
    with pytest.raises(Stopped):
        other = {"identity": "another"} if how == "of another run" else SAME
        fit.run(layer=layer, checkpoint=Fragile(path, layer, other, until=10))
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    elif how == "none":
        Checkpoint(path, layer, SAME).remove()
        Checkpoint(path, layer, SAME).remove()  # not there any more, which is fine
    layer = Layer(fit.region, SMALL, blend_width=0.01)
    fit.run(layer=layer, checkpoint=Checkpoint(path, layer, SAME))
    assert same(whole, layer)


def test_checkpoints_are_written_now_and_then(fit, tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.safetensors"
    clock = iter(range(1000))  # a second passes at every look at it
    watch = SimpleNamespace(monotonic=lambda: float(next(clock)))
    monkeypatch.setattr(checkpoint, "time", watch)  # of checkpoints alone: the time left is asked for, too
    layer, written = Layer(fit.region, SMALL, blend_width=0.01), []

    class Noted(Checkpoint):
        def save(self, adam, step, extra=None):
            written.append(step)
            super().save(adam, step, extra)

    fit.run(steps=40, layer=layer, checkpoint=Noted(path, layer, SAME))
    assert len(written) == 2 and path.exists()
