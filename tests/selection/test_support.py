"""What carries a thing, on clouds of points whose planes are known."""

import torch

from nerf_insert.selection.support import find_extent, find_supports, find_supports_of

EYES = torch.tensor([[2.0, 0.0, 1.5], [-2.0, 0.0, 1.5], [0.0, 2.0, 1.5], [0.0, -2.0, 1.5]])


def scattered(low, high, count, seed=0):
    low, high = torch.tensor(low), torch.tensor(high)
    return low + (high - low) * torch.rand(count, 3, generator=torch.Generator().manual_seed(seed))


FLOOR = scattered([-1.5, -1.5, 0.0], [1.5, 1.5, 0.0], 4000)
POST = scattered([-0.05, -0.05, 0.02], [0.05, 0.05, 1.0], 600, 1)  # it reaches from the floor to 1
TOPS = torch.cat(  # of four things around it, all as high as its middle
    [
        scattered([x - 0.35, y - 0.35, 0.45], [x + 0.35, y + 0.35, 0.45], 500, 2)
        for x, y in ((0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))
    ]
)
HEAD = torch.tensor([0.0, 0.0, 0.8])


def test_the_tops_of_other_things_do_not_carry_what_stands_between_them():
    cloud = torch.cat([FLOOR, POST, TOPS])
    heights = sorted(round(float(plane.origin[2]), 2) for plane in find_supports(cloud, HEAD, EYES, 1.4))
    assert heights == [0.0, 0.45]  # to a click alone they look like a table
    carrying = find_supports_of(POST, HEAD, cloud, EYES, 1.4)
    assert [round(float(plane.origin[2]), 2) for plane in carrying] == [0.0]


def test_a_thing_is_found_although_a_plane_goes_through_it():
    """With the tops taken for a support, no two balls in a row would hold all of the post."""
    cloud = torch.cat([FLOOR, POST, TOPS])
    extent = find_extent(cloud, cloud, HEAD, EYES, 1.9)
    assert extent is not None
    assert float(extent.points[:, 2].min()) < 0.1 and float(extent.points[:, 2].max()) > 0.95
    assert float(extent.points[:, :2].abs().max()) < 0.06
