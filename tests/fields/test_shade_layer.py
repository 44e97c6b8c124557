"""Shade layers: interpolation against PyTorch's, the ratio against its definition, damaged files."""

import pytest
import torch

from nerf_insert.errors import InputError
from nerf_insert.fields.shade_layer import ShadeLayer
from nerf_insert.fields.sparse_grid import SparseGrid
from nerf_insert.geometry.color import linear_to_srgb, srgb_to_linear
from nerf_insert.io.files import read_tensors, write_tensors

ORIGIN, CELL = torch.tensor([-0.5, -0.4, -0.1]), 0.05


def change(seed=0):
    """A dense grid, 0 except in a box of it that blocks do not line up with, and the same grid in blocks."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.zeros(21, 19, 13, 3)
    dense[4:14, 3:12, 2:9] = torch.rand(10, 9, 7, 3, generator=generator) - 0.5
    index = (dense != 0).any(-1).nonzero()
    return dense, SparseGrid.from_points(ORIGIN, CELL, dense.shape[:3], index, dense[tuple(index.T)])


def points(count=5000):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, generator=generator) * torch.tensor([1.4, 1.4, 1.0]) - torch.tensor(
        [0.7, 0.7, 0.3]
    )


def test_blocks_are_interpolated_as_a_dense_grid_is():
    dense, grid = change()
    at = (points() - ORIGIN) / CELL
    last = torch.tensor(dense.shape[:3]) - 1
    wanted = torch.nn.functional.grid_sample(
        dense.half().float().permute(3, 2, 1, 0)[None],
        (2 * at / last - 1).view(1, -1, 1, 1, 3),
        align_corners=True,
    )[0, :, :, 0, 0].T
    inside = ((at >= 0) & (at <= last)).all(-1)
    assert (grid.interpolate(points()) - wanted)[
        inside
    ].abs().max() < 5e-6  # float32 rounding of eight products
    assert float(inside.float().mean()) > 0.2 and float(wanted.abs().max()) > 0.2


def test_beyond_the_region_nothing_changes_at_all():
    layer = ShadeLayer(change()[1])
    p = points()
    outside = ~layer.region.contains(p)
    rgb = torch.rand(len(p), 3, generator=torch.Generator().manual_seed(2))
    assert torch.equal(layer.ratio(p)[outside], torch.ones(int(outside.sum()), 3))
    assert torch.equal(layer.shade(p, rgb)[outside], rgb[outside])
    assert float(outside.float().mean()) > 0.5 and not torch.equal(layer.shade(p, rgb), rgb)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 2.0])
def test_linear_colors_are_multiplied_by_a_power_of_the_ratio(strength):
    grid, p = change()[1], points()
    rgb = 0.5 * torch.rand(len(p), 3, generator=torch.Generator().manual_seed(2))
    shaded = ShadeLayer(grid, strength).shade(p, rgb)
    wanted = linear_to_srgb((1 + grid.interpolate(p)) ** strength * srgb_to_linear(rgb)).clamp(0, 1)
    assert torch.allclose(shaded, wanted, atol=1e-5)  # sRGB and back rounds


def test_a_saved_layer_is_the_same_to_the_bit(tmp_path):
    layer = ShadeLayer(change()[1])
    layer.save(tmp_path / "a.safetensors")
    loaded = ShadeLayer.load(tmp_path / "a.safetensors")
    loaded.save(tmp_path / "b.safetensors")
    assert torch.equal(loaded.ratio(points()), layer.ratio(points()))
    assert torch.equal(loaded.region.bounds, layer.region.bounds)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("values", lambda t: t[:1]),
        ("values", lambda t: t.index_fill(0, torch.tensor([1]), float("nan"))),
        ("values", lambda t: t.float()),
        ("block_of", lambda t: t - 1),
        ("block_of", lambda t: t[0]),
        ("origin", lambda t: t[:2]),
    ],
    ids=["too few blocks", "nan", "float32", "negative", "flat", "origin"],
)
def test_damaged_files_are_refused(tmp_path, name, spoil):
    ShadeLayer(change()[1]).save(tmp_path / "a.safetensors")
    tensors, metadata = read_tensors(tmp_path / "a.safetensors")
    write_tensors(tmp_path / "b.safetensors", {**tensors, name: spoil(tensors[name])}, metadata)
    with pytest.raises(InputError, match="does not hold a shade layer"):
        ShadeLayer.load(tmp_path / "b.safetensors")
