"""Cameras in two coordinate systems: the similarity between them, by laws and against nerfstudio's own."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nerf_insert.errors import InputError
from nerf_insert.plugin.similarity import into_model, invert, similarity


def poses(count, seed=0):
    turns = torch.from_numpy(Rotation.random(count, random_state=seed).as_matrix())
    centers = torch.randn(count, 3, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([turns, centers], -1)


def matrix(seed, scale):
    turn = torch.from_numpy(Rotation.random(random_state=seed).as_matrix())
    shift = torch.randn(3, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([scale * turn, shift], -1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.integers(3, 40))
def test_a_similarity_is_found_again(seed, scale, count):
    wanted = matrix(seed, scale)
    world = poses(count, seed + 1)
    found = similarity(world, into_model(world, wanted))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9 * max(1, scale))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_there_and_back(seed, scale):
    to_model, world = matrix(seed, scale), poses(5, seed)
    back = into_model(into_model(world, to_model), invert(to_model))
    torch.testing.assert_close(back, world, rtol=1e-9, atol=1e-9)
    rotation = into_model(world, to_model)[:, :, :3]
    torch.testing.assert_close(
        rotation @ rotation.transpose(1, 2), torch.eye(3).double().expand(5, 3, 3), rtol=0, atol=1e-12
    )


def test_it_is_what_nerfstudio_does_to_cameras():
    """Its orientation, center and scale, as its dataparser applies them."""
    from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses

    world = poses(12, 3)
    square = torch.cat([world, torch.tensor([0, 0, 0, 1.0]).double().expand(12, 1, 4)], 1).float()
    placed, transform = auto_orient_and_center_poses(square, method="up", center_method="poses")
    placed[:, :3, 3] *= 0.37
    found = similarity(world, placed[:, :3])
    wanted = 0.37 * transform[:3].double()
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-6)  # nerfstudio computes in float32


@pytest.mark.parametrize("wrong", ["another camera", "a mirror", "a stretch", "a turned camera"])
def test_other_cameras_are_refused(wrong):
    world = poses(8)
    model = into_model(world, matrix(1, 2.0))
    if wrong == "another camera":
        model[3, :, 3] += 0.1
    elif wrong == "a mirror":
        model[:, 0] *= -1
    elif wrong == "a stretch":
        model[:, 0, 3] *= 1.1
    else:
        model[2] = torch.cat([poses(1, 9)[0, :, :3], model[2, :, 3:]], -1)
    with pytest.raises(InputError, match="not those that the model was trained with"):
        similarity(world, model)
