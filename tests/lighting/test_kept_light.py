"""Light that is kept on disk: it comes back to the bit, and damage is said."""

import json
import math

import pytest
import torch

from nerf_insert.errors import InputError
from nerf_insert.lighting.kept_light import KeptLight
from nerf_insert.lighting.light import DiskLight, Light


@pytest.fixture
def kept():
    rng = torch.Generator().manual_seed(0)
    vector = torch.rand(3, 3, generator=rng)
    lamp = DiskLight(vector[0], torch.nn.functional.normalize(vector[1], dim=0), 2.7, 0.1, vector[2])
    return KeptLight(Light(torch.rand(256, 3, generator=rng), (lamp,)), torch.tensor([0.1, 2, 3]), 0.5, True)


def test_it_comes_back_to_the_bit(kept, tmp_path):
    kept.save(tmp_path / "light.json")
    again = KeptLight.load(tmp_path / "light.json")
    assert torch.equal(again.light.environment, kept.light.environment) and torch.equal(again.at, kept.at)
    for one, other in zip(again.light.keys, kept.light.keys, strict=True):
        for name in ("target", "direction", "irradiance"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert (one.distance, one.angle) == (other.distance, other.angle)
    assert (again.size, again.estimated) == (0.5, True)


def test_places_are_near_within_the_larger_diagonal(kept):
    assert kept.distance(torch.tensor([0.1, 2, 3.25]), 0.1) == pytest.approx(0.5)
    assert kept.distance(torch.tensor([0.1, 2, 4.0]), 2.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"environment": []}, "environment"),
        ({"environment": [[1, 2, math.nan]]}, "environment"),
        ({"keys": [{"target": [0, 0, 0]}]}, "direction"),
        ({"size": -1}, "size"),
        ({"estimated": "perhaps"}, "estimated"),
        ({"more": 1}, "more"),
    ],
)
def test_damage_is_said_by_name(kept, tmp_path, change, says):
    file = tmp_path / "light.json"
    kept.save(file)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(InputError, match=rf"(?s)light\.json is damaged.*{says}"):
        KeptLight.load(file)
