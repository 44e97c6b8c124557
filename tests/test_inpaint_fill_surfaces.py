"""Where a texture is painted, from made-up evidence about a plane."""

import torch
from analytic import AnalyticField

from nerf_insert.inpaint.fill_planes import Plane
from nerf_insert.inpaint.fill_sights import Evidence
from nerf_insert.inpaint.fill_surfaces import Blank, paint
from nerf_insert.regions.box import BoxRegion
from nerf_insert.rendering import Stack

SIDE, TEXEL = 100, 0.02  # a square of 2 by 2 units


class Empty(AnalyticField):
    def query(self, points, directions):
        return torch.zeros(len(points)), torch.zeros(len(points), 3)


def painted(past):
    """How much is painted, where views see past the plane at the texels `past` and onto it elsewhere."""
    plane = Plane(torch.zeros(3), torch.eye(3), 0.02)
    axis = (torch.arange(SIDE) + 0.5 - SIDE / 2) * TEXEL
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([u, v, torch.zeros_like(u)], -1).view(-1, 3)
    evidence, past = Evidence(plane, points), past.reshape(-1)
    evidence.on[~past] = evidence.clear[~past] = 10
    evidence.through[past] = 10
    blank = Blank(plane, TEXEL, points, torch.ones(len(points), dtype=torch.bool))
    # Its diagonal is 2.4: openings of up to 0.3 across count as mistakes of the scene's geometry.
    region = BoxRegion([0.0, 0.0, 0.6], [1.4, 1.4, 1.4])
    surface = paint(blank, evidence, Stack(Empty()), region, True, seed=0)
    return torch.zeros(SIDE, SIDE) if surface is None else surface.share


def test_a_speck_in_a_surface_is_closed():
    past = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    past[48:52, 48:52] = True
    assert painted(past)[49:51, 49:51].min() > 0.99


def test_a_narrow_end_of_an_opening_stays_open():
    # As narrow as the speck, but views look through all of it, as beside it: the surface has ended.
    past = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    past[:, 60:] = past[48:52, 48:] = True
    assert painted(past)[49:51, 49:55].max() == 0
