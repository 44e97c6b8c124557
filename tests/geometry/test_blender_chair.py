"""A chair made in Blender beside a scene's points comes in where it stood, in its size and its colors."""

import importlib.util
from pathlib import Path

import pytest
import torch
from tiny import tiny_capture

from nerf_insert.capture.capture import Capture
from nerf_insert.editing.api import make_recipe
from nerf_insert.editing.session import load_guide

HOME = Path(__file__).parents[1] / "data/blender_chair"


@pytest.fixture(scope="module")
def boxes():
    spec = importlib.util.spec_from_file_location("make_chair", HOME / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BOXES


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return Capture.load(tiny_capture(tmp_path_factory.mktemp("chair") / "capture"))


def test_the_chair_stands_where_it_was_modeled_in_its_colors(boxes, capture):
    recipe = make_recipe(mesh=HOME / "chair.glb")
    assert recipe.guide.up_axis == "y" and recipe.inpainter == "mesh"
    mesh = load_guide(recipe, capture).mesh
    assert mesh.warnings == () and len(mesh.faces) == 12 * len(boxes)
    corners = mesh.vertices[mesh.faces]
    color = mesh.color_at(torch.arange(len(mesh.faces)), torch.full((len(mesh.faces), 3), 1 / 3))
    names = [mesh.materials[index].name for index in mesh.material_index.tolist()]
    for name, (center, size, expected) in boxes.items():
        center, half = torch.tensor(center), torch.tensor(size) / 2
        own = torch.tensor([other == name for other in names])
        assert own.sum() == 12, name
        assert torch.allclose(corners[own].amin((0, 1)), center - half, atol=1e-6), name  # float32
        assert torch.allclose(corners[own].amax((0, 1)), center + half, atol=1e-6), name
        assert ((color[own] * 255).round() == torch.tensor(expected)).all(), name


def test_its_region_is_around_it(boxes, capture):
    recipe = make_recipe(mesh=HOME / "chair.glb")
    region = recipe.region.build(capture)
    for center, size, _ in boxes.values():
        lattice = torch.cartesian_prod(*[torch.linspace(-0.5, 0.5, 5)] * 3) * torch.tensor(size)
        assert region.contains(torch.tensor(center) + lattice).all()
    lying = torch.tensor([[0.10, -0.22, -0.05]])  # where the seat would be if its y were taken as it is
    assert not region.contains(lying - torch.tensor([0.0, 0.0, 0.1])).any()
