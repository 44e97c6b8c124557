"""Where a texture is painted, from made-up observations of a plane."""

import pytest
import torch
from analytic import AnalyticField

from nerf_insert.geometry.planes import Plane
from nerf_insert.inpaint.fill.observations import PlaneObservations
from nerf_insert.inpaint.fill.surfaces import TexelGrid, draw_texture, is_hidden_by_object
from nerf_insert.regions.box import BoxRegion
from nerf_insert.rendering.stack import LayerStack

SIDE, TEXEL = 100, 0.02  # a square of 2 by 2 units


class Empty(AnalyticField):
    def query(self, points, directions):
        return torch.zeros(len(points)), torch.zeros(len(points), 3)


PLANE = Plane(torch.zeros(3), torch.eye(3), 0.02)
# Its diagonal is 2.4, its bottom 1.4 wide.
REGION = BoxRegion([0.0, 0.0, 0.6], [1.4, 1.4, 1.4])


def blank():
    axis = (torch.arange(SIDE) + 0.5 - SIDE / 2) * TEXEL
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    points = torch.stack([u, v, torch.zeros_like(u)], -1).view(-1, 3)
    return TexelGrid(PLANE, TEXEL, points, torch.ones(len(points), dtype=torch.bool))


def painted(past):
    """How much is painted, where views see past the plane at the texels `past` and onto it elsewhere."""
    made = blank()
    observed, past = PlaneObservations(PLANE, made.points), past.reshape(-1)
    observed.on[~past] = observed.clear[~past] = 10
    observed.through[past] = 10
    # Openings of up to 0.12 across count as mistakes of the scene's geometry.
    drawn = draw_texture(made, observed, LayerStack(Empty()), REGION, True)
    assert drawn is not None
    surface = drawn.complete(None, seed=0)
    return torch.zeros(SIDE, SIDE) if surface is None else surface.opacity


@pytest.mark.parametrize(("width", "apart", "is_object"), [(4, 14, False), (24, 100, True)])
def test_streaks_of_fog_are_no_object(width, apart, is_object):
    """Streaks hide more of the surface in the region than one block, as wide as high, that stands on it."""
    made = blank()
    observed, hidden = PlaneObservations(PLANE, made.points), torch.zeros(SIDE, SIDE, dtype=torch.bool)
    for start in range(20, 80, apart):
        hidden[start : start + width, 20 : 80 if not is_object else 20 + width] = True
    observed.shown[hidden.reshape(-1)] = 10
    assert is_hidden_by_object(made, observed, REGION) is is_object


def test_a_speck_in_a_surface_is_closed():
    past = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    past[48:52, 48:52] = True
    assert painted(past)[49:51, 49:51].min() > 0.99


def test_a_narrow_end_of_an_opening_stays_open():
    # As narrow as the speck, but views look through all of it, as beside it: the surface has ended.
    past = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    past[:, 60:] = past[48:52, 48:] = True
    assert painted(past)[49:51, 49:55].max() == 0
