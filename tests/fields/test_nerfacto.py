"""A nerfacto as a base: what is opaque, what is saved, what is refused; and networks as tiny-cuda-nn keeps
them. That it renders as nerfstudio does is in test_plugin_adopt.py, on trained runs."""

import numpy as np
import pytest
import torch
from analytic import look_at

from nerf_insert.errors import InputError
from nerf_insert.fields import tcnn_compat
from nerf_insert.fields.load import load_base
from nerf_insert.fields.nerfacto import NerfactoBase, NerfactoSpec
from nerf_insert.kernels import GridSpec, use_backend
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack

PROPOSALS = (
    {"hidden_dim": 16, "log2_hashmap_size": 9, "num_levels": 3, "max_res": 32, "use_linear": False},
    {"hidden_dim": 16, "log2_hashmap_size": 9, "num_levels": 3, "max_res": 64, "use_linear": True},
)
SPEC = NerfactoSpec(
    hidden_dim=16,
    hidden_dim_color=16,
    num_levels=4,
    max_res=64,
    log2_hashmap_size=10,
    num_proposal_samples_per_ray=(16, 12),
    num_nerf_samples_per_ray=10,
    proposal_net_args_list=PROPOSALS,
    appearance_embed_dim=4,
)
AABB = torch.tensor([[-1.0] * 3, [1.0] * 3])
TO_MODEL = torch.tensor([[0.0, 0.5, 0.0, 0.1], [-0.5, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, -0.2]])


def weights(spec=SPEC):
    """Random ones, large enough for some fog and color."""
    from nerf_insert.fields.nerfacto import _field, _proposal_networks

    torch.manual_seed(0)
    module = torch.nn.Module()
    module.field, module.proposal_networks = _field(spec, AABB), _proposal_networks(spec, AABB)
    state = module.state_dict()
    return {name: t * 300 if name.endswith("hash_table") else t for name, t in state.items()}


def base(spec=SPEC, **options):
    return NerfactoBase(spec, TO_MODEL, AABB, weights(spec))


CAMERA = look_at((2.0, 1.5, 1.0), (0.0, 0.0, 0.3), (24, 18), focal=22.0)


def test_the_last_sample_is_what_stands_behind():
    """nerfstudio's last_sample, by hand: the sum of weights and colors, and the last color for the rest."""
    field = base()
    rays = CAMERA.rays()
    samples = field.sample(rays)
    directions = rays.directions[samples.ray_index]
    density, rgb = field.query(samples.midpoints(rays.origins, rays.directions), directions)
    count = SPEC.num_nerf_samples_per_ray
    optical_depth = (density * samples.lengths).double().view(-1, count)
    before = torch.cat([torch.zeros(len(optical_depth), 1), optical_depth.cumsum(1)[:, :-1]], 1)
    share = torch.exp(-before) * -torch.expm1(-optical_depth)
    colors = rgb.double().view(-1, count, 3)
    expected = (share[..., None] * colors).sum(1) + (1 - share.sum(1))[:, None] * colors[:, -1]
    assert 0.05 < float((1 - share.sum(1)).mean()) < 0.95  # there is something to show behind
    seen = LayerStack(field).render(rays)
    # float32 sums of ten terms below one
    torch.testing.assert_close(seen.rgb.double(), expected.clamp(0, 1), rtol=0, atol=2e-6)
    torch.testing.assert_close(seen.accumulation.double(), share.sum(1), rtol=0, atol=2e-6)
    thin = base(NerfactoSpec(**{**vars(SPEC), "average_init_density": 1e-3}))
    seen, samples = LayerStack(thin).render(rays), thin.sample(rays)
    assert float(seen.accumulation.max()) < 0.49 and seen.depth.equal(samples.distances[count - 1 :: count])


@pytest.mark.parametrize("color", ["black", "white", "random"])
def test_other_backgrounds_are_colors(color):
    field = base(NerfactoSpec(**{**vars(SPEC), "background_color": color}))
    seen = LayerStack(field).render_image(CAMERA)
    behind = 1.0 if color == "white" else 0.0
    assert field.background.tolist() == [behind] * 3
    assert float(seen.accumulation.min()) < 0.97


def test_distances_are_in_world_units():
    """The same field in a world twice as large: everything twice as far away, the same colors."""
    near = base()
    far = NerfactoBase(SPEC, torch.cat([TO_MODEL[:, :3] / 2, TO_MODEL[:, 3:]], 1), AABB, weights())
    camera = look_at((4.0, 3.0, 2.0), (0.0, 0.0, 0.6), (24, 18), focal=22.0)
    one, two = LayerStack(near).render_image(CAMERA), LayerStack(far).render_image(camera)
    torch.testing.assert_close(one.rgb, two.rgb, rtol=0, atol=1e-4)
    torch.testing.assert_close(2 * one.depth, two.depth, rtol=1e-4, atol=1e-4)
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(near.density(points), 2 * far.density(2 * points), rtol=1e-4, atol=1e-5)


def test_saved_and_loaded_it_is_the_same(tmp_path):
    field = base()
    field.save(tmp_path / "base.safetensors")
    again = load_base(tmp_path / "base.safetensors")
    assert isinstance(again, NerfactoBase) and again.spec == SPEC
    assert LayerStack(again).render_image(CAMERA).rgb.equal(LayerStack(field).render_image(CAMERA).rgb)
    again.save(tmp_path / "twice.safetensors")
    assert (tmp_path / "twice.safetensors").read_bytes() == (tmp_path / "base.safetensors").read_bytes()


def test_no_rays_and_no_points_are_nothing():
    field = base()
    rays = CAMERA.rays()[:0]
    assert field.sample(rays).count == 0 and LayerStack(field).render(rays).rgb.shape == (0, 3)
    assert field.query(rays.origins, rays.directions)[1].shape == (0, 3)


def test_rays_that_miss_a_region_keep_their_bits():
    from nerf_insert.fields.layer import Layer

    field = base()
    layer = Layer(BoxRegion((0.0, 0.0, 0.3), (0.5, 0.5, 0.5))).eval().requires_grad_(False)
    before, after = LayerStack(field).render_image(CAMERA), LayerStack(field, (layer,)).render_image(CAMERA)
    changed = (before.rgb != after.rgb).any(-1)
    hit = layer.region.entry(CAMERA.rays()).isfinite().view(changed.shape)
    assert 10 < int(changed.sum()) and not bool((changed & ~hit).any())


@pytest.mark.parametrize("change", ["lacks", "has no place for", "another size"])
def test_weights_that_do_not_fit_are_refused(change):
    found = weights()
    if change == "lacks":
        del found["field.mlp_head.layers.0.weight"]
    elif change == "has no place for":
        found["field.mlp_transient.layers.0.weight"] = torch.zeros(2, 2)
    else:
        found["field.mlp_head.layers.0.weight"] = torch.zeros(2, 2)
    with pytest.raises((ValueError, RuntimeError), match="mlp_" if change != "another size" else "size"):
        NerfactoBase(SPEC, TO_MODEL, AABB, found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"log2_hashmap_size": 60},
        {"num_levels": True},
        {"hidden_dim": 1 << 20},
        {"num_nerf_samples_per_ray": 1},
        {"num_proposal_samples_per_ray": (4,)},
        {"background_color": "paisley"},
        {"proposal_net_args_list": ()},
        {"proposal_net_args_list": ({"log2_hashmap_size": 50},)},
        {"proposal_net_args_list": ({"implementation": "tcnn"},)},
    ],
)
def test_shapes_without_sense_or_measure_are_refused(wrong):
    with pytest.raises(ValueError):
        NerfactoSpec(**{**vars(SPEC), **wrong})


def test_a_damaged_file_is_named(tmp_path):
    from nerf_insert.io.files import read_tensors, write_tensors

    base().save(tmp_path / "base.safetensors")
    tensors, notes = read_tensors(tmp_path / "base.safetensors")
    del tensors["field.mlp_head.layers.0.weight"]
    write_tensors(tmp_path / "base.safetensors", tensors, metadata=notes)
    with pytest.raises(InputError, match=r"does not hold a nerfacto.*Adopt it again"):
        load_base(tmp_path / "base.safetensors")


# --- tiny-cuda-nn's networks, against the arithmetic written out in NumPy


def test_a_network_is_its_matrices_row_by_row():
    size = 16 * 64 + 64 * 64 + 16 * 64
    network = tcnn_compat.Network(inputs=10, width=64, outputs=3, hidden=2, size=size, sigmoid=True)
    flat = torch.randn(size, generator=torch.Generator().manual_seed(1)) * 0.2
    network.load_state_dict({"params": flat})
    x = torch.rand(20, 10, generator=torch.Generator().manual_seed(0))
    parts = np.split(flat.double().numpy(), [16 * 64, 16 * 64 + 64 * 64])
    value = np.concatenate([x.double().numpy(), np.ones((20, 6))], 1)  # widened with ones
    for index, (part, shape) in enumerate(zip(parts, [(64, 16), (64, 64), (16, 64)], strict=True)):
        value = value @ part.reshape(shape).T
        value = np.maximum(value, 0) if index < 2 else value
    expected = 1 / (1 + np.exp(-value[:, :3]))
    np.testing.assert_allclose(network(x).detach().numpy(), expected, atol=2e-6)


def test_a_wide_network_is_aligned_to_eight():
    size = 24 * 256 + 8 * 256
    assert tcnn_compat.Network(20, 256, 3, 1, size).shapes == [(256, 24), (8, 256)]
    with pytest.raises(ValueError, match="no network of 20 inputs"):
        tcnn_compat.Network(20, 256, 3, 1, size + 1)


def test_a_grid_network_has_its_network_first():
    spec = GridSpec(n_levels=4, log2_hashmap_size=10, base_resolution=4, max_resolution=32)
    network_size, grid_size = 32 * 16 + 16 * 32, spec.n_entries * 2
    flat = torch.randn(network_size + grid_size, generator=torch.Generator().manual_seed(2))
    both = tcnn_compat.GridNetwork(spec, width=32, outputs=5, hidden=1, size=len(flat))
    both.load_state_dict({"params": flat})
    grid, network = tcnn_compat.Grid(spec), tcnn_compat.Network(8, 32, 5, 1, network_size)
    grid.load_state_dict({"params": flat[network_size:]})
    points = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    features = torch.nn.functional.pad(grid(points), (0, 8))  # behind a grid widened with zeros
    torch.testing.assert_close(both(points), network.apply_with(flat[:network_size], features, 0.0))
    with use_backend("torch"):
        torch.testing.assert_close(grid(points), features[:, :8], rtol=1e-5, atol=1e-5)


def test_harmonics_are_tiny_cuda_nns():
    """Its first nine, from its source: by index 1, -y; 2, z; 3, -x; and so on."""
    d = torch.nn.functional.normalize(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    x, y, z = d.double().unbind(-1)
    a, b, c, e = 0.28209479177387814, 0.48860251190291987, 1.0925484305920792, 0.94617469575755997
    wanted = [a + 0 * x, -b * y, b * z, -b * x, c * x * y, -c * y * z, e * z * z - 0.31539156525251999]
    wanted += [-c * x * z, 0.54627421529603959 * (x * x - y * y)]
    found = tcnn_compat.Harmonics()((d + 1) / 2)
    assert found.shape == (10, 16)
    torch.testing.assert_close(found[:, :9].double(), torch.stack(wanted, -1), rtol=0, atol=1e-6)


def test_weights_of_tiny_cuda_nn_make_a_nerfacto_too():
    """Every tcnn tensor in its place, and the picture changes with each of them."""
    spec = NerfactoSpec(**{**vars(SPEC), "proposal_net_args_list": (PROPOSALS[0],)})
    found = {n: t for n, t in weights(spec).items() if not n.endswith(("hash_table", "weight", "bias"))}
    found["field.embedding_appearance.embedding.weight"] = torch.randn(
        1, 4, generator=torch.Generator().manual_seed(0)
    )
    grid = GridSpec(4, 2, 10, 16, 64)
    small = GridSpec(3, 2, 9, 16, 32)
    flat = {
        "field.mlp_base.model.params": 16 * 16 + 16 * 16 + grid.n_entries * 2,
        "field.mlp_head.tcnn_encoding.params": 16 * 48 + 16 * 16 + 16 * 16,
        "field.direction_encoding.tcnn_encoding.params": 0,
    }
    for k in range(2):
        at = f"proposal_networks.{k}"
        flat[f"{at}.encoding.tcnn_encoding.params"] = small.n_entries * 2
        flat[f"{at}.mlp_base.0.tcnn_encoding.params"] = small.n_entries * 2
        flat[f"{at}.mlp_base.1.tcnn_encoding.params"] = 16 * 16 + 16 * 16
    generator = torch.Generator().manual_seed(5)
    found |= {name: 0.5 * torch.randn(size, generator=generator) for name, size in flat.items()}
    for k in range(2):  # one module under two names
        at = f"proposal_networks.{k}"
        found[f"{at}.mlp_base.0.tcnn_encoding.params"] = found[f"{at}.encoding.tcnn_encoding.params"]
    picture = LayerStack(NerfactoBase(spec, TO_MODEL, AABB, found)).render_image(CAMERA).rgb
    assert picture.isfinite().all() and float(picture.std()) > 0.01
    for name, size in flat.items():
        if size and ".encoding." not in name:
            other = {**found, name: found[name] * 0.5}
            if ".mlp_base.0." in name:
                other[name.replace("mlp_base.0", "encoding")] = other[name]
            changed = LayerStack(NerfactoBase(spec, TO_MODEL, AABB, other)).render_image(CAMERA).rgb
            assert not changed.equal(picture), name
