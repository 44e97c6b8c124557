"""The base: its coordinates, its occupancy grid, its file, and the loss that contracts haze."""

import json

import pytest
import torch
from analytic import look_at

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError
from nerf_insert.fields.hash_field import FieldConfig, HashField
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.scene_field import SceneField, contract
from nerf_insert.geometry.cameras import Rays
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.shaded_samples import Background, Rendered, ShadedSamples, composite_over
from nerf_insert.rendering.stack import LayerStack, RenderOptions
from nerf_insert.training.losses import mean_distortion_loss

SMALL = FieldConfig(n_levels=4, log2_hashmap_size=10, max_resolution=64, width=16)


def small_base(seed=0):
    eyes = [(1.5, 0.2, 0.8), (-1.2, 0.9, 0.7), (0.1, -1.6, 1.1)]
    return SceneField.for_cameras([look_at(eye) for eye in eyes], SMALL, seed).requires_grad_(False)


# --- rendering


@pytest.mark.parametrize("view_dependent", [True, False])
def test_rendering_by_itself_is_sampling_querying_and_compositing(view_dependent):
    """In one pass against the separate operations, and those against the torch backend in float64."""
    base = small_base()
    base.field = HashField(SMALL.with_view_dependence(view_dependent), torch.Generator().manual_seed(1))
    base.field.requires_grad_(False)
    base.field.table.uniform_(-3, 3, generator=torch.Generator().manual_seed(2))
    base.background.copy_(torch.tensor([0.2, 0.5, 0.9]))
    base.occupancy.copy_(torch.rand(base.occupancy.shape, generator=torch.Generator().manual_seed(3)) < 0.1)
    base.occupancy[:64] = False
    rays = look_at((1.2, -1.0, 0.9)).rays()
    ours = Rendered(*base.render(rays))
    samples = base.sample(rays)
    density, rgb = base.query(
        samples.midpoints(rays.origins, rays.directions), rays.directions[samples.ray_index]
    )
    behind = Background(base.background.expand(rays.count, 3), torch.full((rays.count,), torch.inf))
    theirs = composite_over(ShadedSamples(samples, density, rgb), behind)
    assert 0.1 < float(ours.accumulation.mean()) < 0.99
    for one, two in zip(ours[:2], theirs[:2], strict=True):  # float32 sums of some 60 samples
        assert float((one - two).abs().max()) < 2e-5
    same = ours.depth == theirs.depth
    assert (
        torch.allclose(ours.depth[~same], theirs.depth[~same], rtol=1e-5) and float(same.float().mean()) > 0.1
    )
    along = base.query_along(samples.midpoints(rays.origins, rays.directions), samples, rays, 0.0)
    assert torch.allclose(along[0], density, rtol=1e-4) and torch.allclose(along[1], rgb, atol=1e-5)


def test_a_picture_that_stops_early_is_the_picture():
    """Less than half a step of 8 bits is lost with the stack's threshold."""
    base = small_base()
    base.field.table.uniform_(-6, 6, generator=torch.Generator().manual_seed(2))
    rays = look_at((1.2, -1.0, 0.9)).rays()
    whole, quick = base.render(rays), base.render(rays, RenderOptions().early_stop_eps)
    assert float((whole[0] - quick[0]).abs().max()) < 0.5 / 255 * 8  # every one of 8 samples in turn
    assert float((whole[0] - quick[0]).abs().mean()) < 0.5 / 255


# --- coordinates


def test_contraction_is_that_of_the_paper():
    """Equation 10 of arXiv 2111.12077 with the maximum norm, point by point in float64."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 3, generator=generator) * torch.logspace(-2, 3, 2000)[:, None]
    wanted = []
    for point in x.double():
        norm = max(abs(float(value)) for value in point)
        wanted.append(point if norm <= 1 else (2 - 1 / norm) * point / norm)
    torch.testing.assert_close(contract(x).double(), torch.stack(wanted), rtol=1e-6, atol=1e-6)
    inside = x[(x.abs() <= 1).all(-1)]
    assert len(inside) > 300 and torch.equal(contract(inside), inside)
    assert float(contract(x).abs().max()) < 2


def test_field_coordinates_are_nerfstudios(capture_folder):
    """The transform and the scale that nerfstudio's own dataparser chooses for the same poses."""
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    listing = capture_folder / "transforms.json"
    data = json.loads(listing.read_text())
    for index, frame in enumerate(data["frames"]):  # off the origin, and not upright
        eye = (3 + 0.8 * index, 5.0 - 0.3 * index**1.5, 2.0 + index % 3)
        pose = torch.eye(4)
        pose[:3] = look_at(eye, target=(7.0, 1.0, 0.5)).c2w
        tilt = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.4, 0.1], [0.4, 0.0, 0.3], [-0.1, -0.3, 0.0]]))
        pose[:3] = tilt @ pose[:3]
        frame["transform_matrix"] = pose.tolist()
    listing.write_text(json.dumps(data))
    parsed = NerfstudioDataParserConfig(data=capture_folder).setup().get_dataparser_outputs("train")
    capture = Capture.load(capture_folder)
    base = SceneField.for_cameras([view.camera for view in capture.views], SMALL)
    wanted = parsed.dataparser_transform * parsed.dataparser_scale
    torch.testing.assert_close(base.to_field, wanted, rtol=1e-5, atol=1e-5)
    assert base.scale == pytest.approx(parsed.dataparser_scale, rel=1e-5)


def test_world_and_field_agree_on_samples():
    """Samples are given in world units: their midpoints lie in occupied cells, computed here step by step,
    and cells that are not occupied have none."""
    base = small_base()
    generator = torch.Generator().manual_seed(0)
    base.occupancy.copy_(torch.rand(base.occupancy.shape, generator=generator) < 0.3)
    rays = look_at((1.5, 0.2, 0.8), size=(8, 6), focal=8.0).rays()
    samples = base.sample(rays)
    assert samples.count > 100
    points = rays.origins[samples.ray_index] + samples.distances[:, None] * rays.directions[samples.ray_index]
    field = points.double() @ base.to_field[:, :3].double().T + base.to_field[:, 3].double()
    where = (contract(field) + 2) / 4 * base.occupancy.shape[0]
    off_border = ((where - where.round()).abs() > 1e-3).all(-1)  # where rounding cannot decide
    cells = where[off_border].long()
    assert off_border.float().mean() > 0.9
    assert bool(base.occupancy[cells[:, 0], cells[:, 1], cells[:, 2]].all())
    base.occupancy.zero_()
    assert base.sample(rays).count == 0


def test_density_is_per_world_unit():
    """A scene in millimeters is a thousand times thinner per unit, and renders the same."""
    meters, millimeters = small_base(), small_base()
    millimeters.to_field[:, :3] /= 1000
    millimeters.scale /= 1000
    camera = look_at((1.5, 0.2, 0.8), size=(8, 6), focal=8.0)
    rays = camera.rays()
    far = Rays(rays.origins * 1000, rays.directions)
    one, other = LayerStack(meters).render(rays), LayerStack(millimeters).render(far)
    torch.testing.assert_close(one.rgb, other.rgb, rtol=0, atol=1e-4)
    torch.testing.assert_close(one.depth * 1000, other.depth, rtol=1e-4, atol=0)
    points = rays.at(torch.full((rays.count,), 1.0))
    assert torch.allclose(meters.density(points), meters.query(points, rays.directions)[0])


# --- occupancy


def test_cells_that_are_seen_stay_and_others_go():
    base, seen = small_base(), torch.tensor([[0.1, 0.2, 0.3], [-0.3, 0.1, 0.2]])
    cells = (base._unit(seen) * 128).long()

    def update(settled):
        base.update_ema(seen, torch.tensor([0.9, 0.5]))
        base.update_occupancy(torch.Generator().manual_seed(1), settled)

    update(0.1)
    assert bool(base.occupancy.all())  # nothing is left out before the field can be trusted
    update(1.0)
    assert bool(base.occupancy[cells[:, 0], cells[:, 1], cells[:, 2]].all())
    occupied = base.occupancy.nonzero()
    away = (occupied[:, None] - cells[None]).abs().amax(-1).amin(1)
    assert len(occupied) < 60 and int(away.max()) <= 1  # those two and some of their neighbors
    base.weight_ema *= 0.8**20  # twenty updates in which nobody sees anything there
    base.update_occupancy(torch.Generator().manual_seed(1), 1.0)
    assert not bool(base.occupancy.any())


# --- files


def pictures(field):
    rays = look_at((1.5, 0.2, 0.8), size=(16, 12), focal=14.0).rays()
    return (
        LayerStack(field).render(rays)
        if isinstance(field, SceneField)
        else LayerStack(small_base(), [field]).render(rays)
    )


REGION = BoxRegion((0.0, 0.0, 0.2), (0.6, 0.5, 0.4))
KINDS = {
    "base": (small_base, SceneField.load),
    "layer": (
        lambda: Layer(REGION, SMALL.with_view_dependence(False), 0.037, seed=3).requires_grad_(False),
        lambda path: Layer.load(path, REGION),
    ),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_what_is_loaded_renders_as_what_was_saved(kind, tmp_path):
    make, load = kind
    field = make()
    field.occupancy[:40, :40] = False
    if isinstance(field, SceneField):
        field.background.copy_(torch.tensor([0.2, 0.4, 0.6]))
    field.save(tmp_path / "field.safetensors")
    again = load(tmp_path / "field.safetensors")
    assert not any(parameter.requires_grad for parameter in again.parameters()) and not again.training
    for before, after in zip(pictures(field), pictures(again), strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(pictures(field).rgb, pictures(make()).rgb)


def damaged(path, how):
    tensors, metadata = read_tensors(path)
    if how == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "text":
        path.write_text("a base of another kind")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "gone":
        path.unlink()
    elif how == "no metadata":
        write_tensors(path, tensors)
    elif how == "odd metadata":
        write_tensors(path, tensors, {**metadata, "n_levels": "some"})
    elif how == "other size":
        write_tensors(path, tensors, {**metadata, "width": "32"})
    elif how == "tensor missing":
        write_tensors(path, {k: t for k, t in tensors.items() if k != "field.table"}, metadata)
    elif how == "tensor too many":
        write_tensors(path, {**tensors, "spare": torch.zeros(1)}, metadata)
    else:
        write_tensors(path, {"weights": torch.zeros(3)}, {"made_by": "something else"})


WRONG = ("cut off", "text", "empty", "gone", "no metadata", "odd metadata", "other size", "tensor missing")


def test_the_box_of_what_there_is():
    """Cells around known points: the box holds them, and ends less than a cell behind the outermost."""
    base = small_base()
    middle = torch.linalg.solve(base.to_field[:, :3], -base.to_field[:, 3])
    near = middle + torch.tensor([[0.3, -0.1, 0.2], [-0.5, 0.4, -0.3], [0.1, 0.6, 0.5]]) / base.scale
    cell = (2 * 3**0.5 * 4 / 128) / base.scale  # both ends, turned anyhow
    base.occupancy.zero_()
    assert torch.allclose(base.content_bounds(), middle.expand(2, 3), atol=1e-5)
    base.occupancy.view(-1)[base._cell(near)] = True
    low, high = base.content_bounds()
    all_ = torch.cat([near, middle[None]])
    assert bool((low <= all_.amin(0)).all() and (high >= all_.amax(0)).all())
    assert bool((high - low <= all_.amax(0) - all_.amin(0) + cell).all())
    far = middle + torch.tensor([[30.0, 0, 0]]) / base.scale  # in the contracted part of space
    base.occupancy.view(-1)[base._cell(far)] = True
    assert base.content_bounds()[1, 0] >= far[0, 0] and bool(base.content_bounds().isfinite().all())


def test_what_is_skipped_is_where_marching_finds_nothing():
    base, generator = small_base(), torch.Generator().manual_seed(0)
    base.occupancy.copy_(torch.rand(base.occupancy.shape, generator=generator) < 0.3)
    rays = look_at((1.5, 0.2, 0.8)).rays()
    kept = base.sample(rays)
    base.occupancy.logical_not_()
    left_out = base.sample(rays)
    base.occupancy.logical_not_()
    for samples, is_empty in ((kept, False), (left_out, True)):
        points = samples.midpoints(rays.origins, rays.directions)
        # cells are found in float64 by the march: a point on a border may fall on its other side
        assert samples.count > 10_000 and float((base.is_empty(points) == is_empty).float().mean()) > 0.999
    points = torch.cat(
        [samples.midpoints(rays.origins, rays.directions)[:500] for samples in (kept, left_out)]
    )
    directions, stack = torch.nn.functional.normalize(points, dim=-1), LayerStack(base)
    density, rgb = stack.query(points, directions, rendered=True)
    everywhere, there = stack.query(points, directions), ~base.is_empty(points)
    assert bool((everywhere[0] > 0).all()) and not density[~there].any()
    torch.testing.assert_close(density[there], everywhere[0][there])  # the same points in other batches
    torch.testing.assert_close(rgb[there], everywhere[1][there])


@pytest.mark.parametrize("how", [*WRONG, "tensor too many", "foreign"])
def test_a_file_that_is_something_else_is_named(kind, tmp_path, how):
    make, load = kind
    path = tmp_path / "field.safetensors"
    make().save(path)
    damaged(path, how)
    with pytest.raises(InputError, match=r"field\.safetensors"):
        load(path)


# --- the distortion loss


def double_sum(optical_depth, places, offsets):
    """Mean over rays of the sum over all pairs of w_i w_j |s_i - s_j|, in float64, pair by pair."""
    total = optical_depth.new_zeros(())
    for first, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        through, weights = optical_depth.new_ones(()), []
        for k in range(first, end):
            opacity = 1 - torch.exp(-optical_depth[k])
            weights.append(through * opacity)
            through = through * (1 - opacity)
        for i in range(first, end):
            for j in range(first, end):
                total = total + weights[i - first] * weights[j - first] * (places[i] - places[j]).abs()
    return total / (len(offsets) - 1)


def test_distortion_is_the_double_sum():
    generator = torch.Generator().manual_seed(0)
    counts = torch.tensor([7, 0, 1, 12, 3])  # a ray without samples and one with a single one among them
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    optical_depth = torch.rand(23, generator=generator) ** 3 * 3
    places = torch.cat([torch.rand(int(n), generator=generator).sort().values for n in counts])
    ours, theirs = optical_depth.clone().requires_grad_(), optical_depth.double().requires_grad_()
    loss = mean_distortion_loss(ours, places, offsets)
    wanted = double_sum(theirs, places.double(), offsets)
    loss.backward()
    wanted.backward()
    # float32 against float64
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)
    cosine = torch.nn.functional.cosine_similarity(ours.grad.double(), theirs.grad, dim=0)
    assert cosine > 1 - 1e-8 and float(theirs.grad.abs().max()) > 0.01


def test_distortion_of_nothing_and_of_a_surface():
    none = torch.zeros(0)
    assert float(mean_distortion_loss(none, none, torch.zeros(5, dtype=torch.int64))) == 0
    surface = torch.tensor([0.0, 0.0, 100.0, 0.0])
    assert float(mean_distortion_loss(surface, torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0, 4]))) == 0


def test_spacing_is_the_contraction_along_a_ray():
    base = small_base()
    rays = Rays(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
    samples = base.sample(rays)
    distance = samples.distances.double() * base.scale
    wanted = torch.where(distance <= 1, distance, 2 - 1 / distance) / 2
    torch.testing.assert_close(base.spacing(samples.distances).double(), wanted, rtol=1e-6, atol=1e-6)
    assert bool((wanted.diff() > 0).all()) and float(wanted.max()) < 1
