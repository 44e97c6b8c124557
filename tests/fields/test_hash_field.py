"""The small field: what it is made of, and its exponential."""

import pytest
import torch

from nerf_insert.fields.hash_field import FieldConfig, HashField, truncated_exp

SMALL = FieldConfig(n_levels=4, log2_hashmap_size=10, base_resolution=4, max_resolution=32, width=16)


def points(count=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(count, 3, generator=generator)
    return unit, torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)


@pytest.mark.parametrize("view_dependent", [False, True])
def test_direction_matters_only_where_it_should(view_dependent):
    field = HashField(SMALL.with_view_dependence(view_dependent), torch.Generator().manual_seed(0))
    torch.nn.init.uniform_(field.table, -1, 1)  # a fresh table is all but zero
    unit, directions = points()
    density, rgb = field(unit, directions)
    assert density.shape == (64,) and rgb.shape == (64, 3) and bool(((rgb >= 0) & (rgb <= 1)).all())
    other_density, other_rgb = field(unit, -directions)
    assert torch.equal(density, other_density)
    assert torch.equal(rgb, other_rgb) is not view_dependent
    torch.testing.assert_close(field.raw_density(unit), density)
    assert density.std() > 1e-3 and rgb.std() > 1e-3


def test_the_generator_decides_the_start():
    one, same, other = (HashField(SMALL, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    pairs = zip(one.parameters(), same.parameters(), other.parameters(), strict=True)
    for first, second, third in pairs:
        assert torch.equal(first, second) and not torch.equal(first, third)


@pytest.mark.parametrize("view_dependent", [False, True])
def test_every_parameter_gets_a_gradient(view_dependent):
    field = HashField(SMALL.with_view_dependence(view_dependent), torch.Generator().manual_seed(0))
    density, rgb = field(*points(4096))
    (density.square().sum() + rgb.square().sum()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name


def test_configuration_as_text_comes_back():
    config = FieldConfig(n_levels=3, log2_hashmap_size=9, max_resolution=77, width=8, view_dependent=False)
    text = config.to_text()
    assert all(isinstance(value, str) for value in text.values())
    assert FieldConfig.from_text({**text, "unknown": "1"}) == config
    for name in text:
        with pytest.raises(KeyError):
            FieldConfig.from_text({key: value for key, value in text.items() if key != name})
    with pytest.raises(ValueError, match="many"):
        FieldConfig.from_text({**text, "width": "many"})


def test_the_exponential_and_where_it_is_cut():
    x = torch.linspace(-14, 14, 57, requires_grad=True)
    y = truncated_exp(x)
    assert torch.equal(y, x.exp())
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, x.exp())
    far = torch.tensor([-1000.0, -16.0, 16.0, 1000.0], requires_grad=True)
    y = truncated_exp(far)
    (gradient,) = torch.autograd.grad(y.sum(), far)
    e = torch.tensor(15.0).exp()
    torch.testing.assert_close(y.detach(), torch.stack([far[0].exp(), far[1].exp(), e, e]).detach())
    torch.testing.assert_close(gradient, torch.stack([1 / e, 1 / e, e, e]))  # finite, and never quite zero
