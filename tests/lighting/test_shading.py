"""The light of a mesh's surface against closed forms."""

import pytest
import torch
import trimesh
from lit_ball import NO_SURFACE

from nerf_insert.geometry.color import linear_to_srgb
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.lighting import shading
from nerf_insert.lighting.light import Light


def test_light_in_a_hollow_ball_goes_from_wall_to_wall(monkeypatch):
    """Every part of a ball's wall gets the same light from every other part (an integrating sphere): with a
    hole of a share f of the ball, under an even sky of radiance 1, the irradiance over pi is
    f / (1 - albedo (1 - f)). Tolerance: the fixed directions in which light is gathered, and the little that
    even chalk mirrors."""
    monkeypatch.setattr(shading, "MAX_SAMPLES", 2000)
    albedo, shape = 0.6, trimesh.creation.icosphere(3, 1.0)
    open_at = shape.triangles_center[:, 2] > 0.7
    hole = shape.area_faces[open_at].sum() / shape.area
    wall = Mesh.plain(
        torch.tensor(shape.vertices, dtype=torch.float32),
        torch.tensor(shape.faces[~open_at]),
        (float(linear_to_srgb(torch.tensor(albedo))),) * 3,
    )
    shaded = shading.shade(wall, NO_SURFACE, Light(torch.ones(512, 3)), roughness=1.0)
    expected = hole / (1 - albedo * (1 - hole))
    assert float(shaded.back.mean()) == pytest.approx(expected, rel=0.05)
