"""Regions of the first version, as it kept them in layers' folders (tests/data/first_version/regions)."""

import json
from pathlib import Path

import pytest
import torch

from nerf_insert.regions import load_region

FOLDER = Path(__file__).parents[1] / "data/first_version/regions"
KEPT = json.loads((FOLDER / "inside.json").read_text())["regions"]


@pytest.mark.parametrize("name", KEPT)
def test_a_region_of_the_first_version_has_the_same_points(name):
    region = load_region(json.loads((FOLDER / name / "region.json").read_text()), FOLDER / name)
    points = torch.rand(1000, 3, generator=torch.Generator().manual_seed(0))
    points = points * torch.tensor([1.6, 1.6, 0.9]) - torch.tensor([0.6, 0.9, 0.1])
    assert region.contains(points).nonzero()[:, 0].tolist() == KEPT[name]["inside"]
    assert torch.allclose(region.bounds, torch.tensor(KEPT[name]["bounds"]), atol=1e-6)
