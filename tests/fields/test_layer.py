"""A layer's field: where it is, where it is sampled, and how it meets what lies around it."""

import pytest
import torch
from analytic import look_at
from formula import Ball

from nerf_insert.fields.hash_field import FieldConfig
from nerf_insert.fields.layer import LAYER_FIELD, Layer, unfinished_layer
from nerf_insert.io.files import write_json
from nerf_insert.regions import BoxRegion
from nerf_insert.training.checkpoint import Checkpoint
from nerf_insert.training.optimizer import Optimizer

SMALL = FieldConfig(n_levels=4, log2_hashmap_size=10, max_resolution=64, width=16, view_dependent=False)
BOX = BoxRegion((0.3, -0.2, 0.4), (0.8, 0.5, 0.3), (0.0, 0.0, 30.0))


RAYS = look_at((1.2, 0.9, 1.0), (0.3, -0.2, 0.4), size=(24, 18), focal=30.0).rays()


def blob(center, radius=0.08, count=4000):
    """Points all over a ball."""
    generator = torch.Generator().manual_seed(0)
    ways = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return torch.tensor(center) + radius * torch.rand(count, 1, generator=generator) ** (1 / 3) * ways


def test_a_fresh_layer_is_a_thin_haze():
    """Of optical depth near 1 along the region's diagonal, so that a fit can go either way."""
    layer = Layer(BOX)
    points = BOX.bounds[0] + torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * (
        BOX.bounds[1] - BOX.bounds[0]
    )
    density, rgb = layer.query(points, points)
    assert bool(((density * BOX.diagonal - 1).abs() < 0.1).all()) and bool(((rgb - 0.5).abs() < 0.1).all())


def test_samples_are_the_regions_own():
    """The occupancy grid only leaves some out: those that remain are bit for bit the region's."""
    layer = Layer(BOX, SMALL)
    whole = BOX.sample(RAYS)
    assert all(torch.equal(a, b) for a, b in zip(layer.sample(RAYS), whole, strict=True))
    seen = blob((0.3, -0.2, 0.4))
    layer.update_ema(seen, torch.full((len(seen),), 0.5))
    layer.update_occupancy()
    some = layer.sample(RAYS)
    assert 0 < some.count < whole.count / 2
    assert bool(BOX.contains(some.midpoints(RAYS.origins, RAYS.directions)).all())
    known = {(int(r), float(s), float(e)) for s, e, r in zip(*whole[:3], strict=True)}
    assert all((int(r), float(s), float(e)) in known for s, e, r in zip(*some[:3], strict=True))
    layer.forget_occupancy()
    assert all(torch.equal(a, b) for a, b in zip(layer.sample(RAYS), whole, strict=True))


def test_what_rays_see_stays_and_the_rest_goes():
    """All samples near what was seen are still there; none is left two cells away from it."""
    layer, center, radius = Layer(BOX, SMALL), torch.tensor((0.25, -0.2, 0.42)), 0.07
    seen, haze = blob(center.tolist(), radius), blob((0.45, -0.1, 0.4))
    layer.update_ema(
        torch.cat([seen, haze]), torch.cat([torch.full((4000,), 0.3), torch.full((4000,), 0.005)])
    )
    layer.update_occupancy()

    def far(samples):
        return (samples.midpoints(RAYS.origins, RAYS.directions) - center).norm(dim=-1)

    assert int((far(layer.sample(RAYS)) < radius).sum()) == int((far(BOX.sample(RAYS)) < radius).sum()) > 60
    cell = float(((BOX.bounds[1] - BOX.bounds[0]) / 64).norm())
    assert float(far(layer.sample(RAYS)).max()) < radius + 2 * cell


def test_what_rays_see_no_more_is_forgotten():
    layer = Layer(BOX, SMALL)
    layer.update_ema(blob((0.2, -0.2, 0.4), 0.05), torch.ones(4000))
    layer.update_occupancy()
    first = layer.occupancy.clone()
    for _ in range(250):  # 0.98^250 is less than a hundredth
        layer.update_ema(blob((0.45, -0.15, 0.4), 0.05, 50), torch.ones(50))
    layer.update_occupancy()
    assert bool(first.any()) and bool(layer.occupancy.any()) and not bool((first & layer.occupancy).any())
    layer.forget_occupancy()
    layer.update_occupancy()
    assert not bool(layer.occupancy.any())


@pytest.mark.parametrize("blend_width", [0.05, 0.2])
def test_the_shell_is_a_smooth_ramp_of_the_distance_to_the_border(blend_width):
    ball = Ball((0.0, 0.0, 0.0), 0.5)
    layer = Layer(ball, SMALL, blend_width)
    depth = torch.linspace(0, 0.5, 101)
    points = torch.stack([0.5 - depth, 0 * depth, 0 * depth], -1)
    t = (depth.double() / blend_width).clamp(0, 1)
    torch.testing.assert_close(layer.weight(points).double(), 3 * t**2 - 2 * t**3, atol=1e-5, rtol=0)


def test_a_layers_file_is_small(tmp_path):
    """A few megabytes, as promised: parameters in full precision, a byte per cell."""
    Layer(BOX, LAYER_FIELD).save(tmp_path / "field.safetensors")
    assert (tmp_path / "field.safetensors").stat().st_size < 4_000_000


def test_view_dependence_is_off_unless_asked_for():
    points = BOX.bounds.mean(0).expand(8, 3)
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(8, 3, generator=generator), dim=-1)
    assert torch.equal(*(Layer(BOX).query(points, way)[1] for way in (directions, -directions)))
    asked = Layer(BOX, LAYER_FIELD.with_view_dependence(True))
    torch.nn.init.uniform_(asked.field.table, -1, 1)
    assert not torch.equal(*(asked.query(points, way)[1] for way in (directions, -directions)))


@pytest.mark.parametrize("shines", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_a_layer_still_being_fitted_can_be_looked_at(tmp_path, shines, corrected):
    """As its checkpoint has it, alone or with the corrections that are fitted with it; whatever else is
    there, cut short or of another kind, is no layer yet."""
    assert unfinished_layer(tmp_path) is None
    layer = Layer(BOX, LAYER_FIELD.with_view_dependence(shines), blend_width=0.1, seed=3)
    with torch.no_grad():
        layer.field.table.normal_()
    seen = blob((0.3, -0.2, 0.4))
    layer.update_ema(seen, torch.full((len(seen),), 0.5))
    layer.update_occupancy()
    module = torch.nn.ModuleDict({"layer": layer, "agreement": torch.nn.Linear(2, 2)}) if corrected else layer
    saved = Checkpoint(tmp_path / "checkpoint.safetensors", module, {})
    saved.save(Optimizer(module, 1e-2, 10), 5)
    assert unfinished_layer(tmp_path) is None  # without its region
    write_json(tmp_path / "region" / "region.json", BOX.save(tmp_path / "region"))
    found = unfinished_layer(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(found.query(seen, seen), layer.query(seen, seen), strict=True)
    )
    assert torch.equal(found.occupancy, layer.occupancy)
    Checkpoint(saved.path, torch.nn.Linear(2, 2), {}).save(Optimizer(layer, 1e-2, 10), 5)
    assert unfinished_layer(tmp_path) is None
    saved.path.write_bytes(saved.path.read_bytes()[:100])
    assert unfinished_layer(tmp_path) is None


def test_what_was_learned_to_be_empty_comes_back_sooner_from_a_vague_memory():
    """Opacities along rays of ten samples: 0 is learned for all, then 1 for a half of the space."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2000, 10, 3, generator=generator)
    points[..., 0] = points[:, :1, 0]
    solid = points[:, 0, 0] < 0.5

    def learned(layer, wanted, steps):
        optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
        for _ in range(steps):
            density, _ = layer.query(points.view(-1, 3), torch.zeros(20000, 3))
            opacity = -torch.expm1(-density.view(2000, 10).mean(1))
            loss = (opacity - wanted).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    errors = []
    for kept in (1.0, 0.15):
        layer = Layer(BoxRegion((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), seed=1)
        assert learned(layer, torch.zeros(2000), 60) < 1e-4
        layer.blur_memory(kept)
        errors.append(learned(layer, solid.float(), 30))
    assert errors[1] < errors[0] / 2
