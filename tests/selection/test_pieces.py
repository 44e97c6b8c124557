"""Pieces of a surface, against the balls that it consists of: they touch, and all have one color."""

import pytest
import torch
from photographed_balls import make, outline, overlap, pixel

from nerf_insert.regions import Points
from nerf_insert.selection.pieces import Pieces
from nerf_insert.selection.selector import Selector
from nerf_insert.selection.support import Extent

GRAY = (0.6, 0.6, 0.6)
# A row that goes on to where the photographs end, so that nothing in it stands alone.
ROW = [(0.46 * k, 0.0, 0.25, 0.25, GRAY) for k in range(-4, 5)]
BUMP = (0.0, -0.17, 0.43, 0.07, (0.9, 0.1, 0.1))  # on the one in the middle
CLICKED = {"003": ROW[4]}


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    return make(tmp_path_factory.mktemp("row"), [*ROW, BUMP], scale=3)


@pytest.fixture(scope="module")
def pieces(row):
    selector = Selector(row.stack, row.capture)
    ball, _, parts = selector._look(Extent(torch.tensor([ROW[4][:3]])), 0.55)
    return Pieces(parts, ball.center, ball.radius)


def top(ball):
    return torch.tensor(ball[:3]) + torch.tensor([0.0, 0.0, ball[3]])


def away(points, ball):
    return (points - torch.tensor(ball[:3])).norm(dim=-1) - ball[3]


def on_middle(points):
    """The share of points on the ball in the middle, or on what is on it."""
    near = (away(points, ROW[4]).abs() < 0.03) | (away(points, BUMP).abs() < 0.03)
    return float(near.float().mean())


def test_a_piece_is_one_ball_of_a_row(pieces):
    piece = pieces.at(top(ROW[4])[None])
    # cells of 0.012 and depth of as much; the circle in which two balls meet belongs to both
    assert on_middle(piece.points) > 0.97
    own = away(pieces.cells, ROW[4]).abs() < 0.01
    for other in (ROW[3], ROW[5]):
        own &= away(pieces.cells, other) > 0.05
    own &= pieces.cells[:, 2] > 0.1  # above what the balls hide of each other and of the floor
    assert float(piece.own[own].float().mean()) > 0.9


def test_two_points_on_one_ball_are_on_its_piece(pieces):
    back = torch.tensor([[0.0, 0.177, 0.427]])  # on the same ball
    one = pieces.at(torch.cat([top(ROW[4])[None], back]))
    assert on_middle(one.points) > 0.97


def test_what_hangs_on_a_piece_alone_goes_with_it(pieces):
    """A bump of another color, with a crease around it."""
    piece = pieces.at(top(ROW[4])[None])
    bump = (away(pieces.cells, BUMP).abs() < 0.015) & (away(pieces.cells, ROW[4]) > 0.02)
    assert int(bump.sum()) > 20 and float(piece.own[bump].float().mean()) > 0.9


def test_beside_the_surface_there_is_no_piece(pieces):
    nowhere = torch.tensor([[0.0, 0.0, 1.5]])
    assert pieces.at(nowhere) is None
    assert Pieces([], pieces.center, pieces.radius).at(top(ROW[4])[None]) is None


def distance(camera, ball):
    return float((camera.center - torch.tensor(ball[:3])).norm())


def test_one_click_selects_one_ball_of_a_row(row):
    ((name, ball),) = CLICKED.items()
    region = Selector(row.stack, row.capture).select(Points({name: [pixel(row, name, ball)]}))
    scores = []
    for view in row.capture.train:
        camera = view.camera
        hidden = torch.zeros(camera.height, camera.width, dtype=torch.bool)
        for other in ROW:
            if distance(camera, other) < distance(camera, ball):
                hidden |= outline(camera, other)
        true = outline(camera, ball) & ~hidden
        if true.sum() > 500:
            scores.append(overlap(region.project(camera) & ~hidden, true))
    # 60 pixels across: half a pixel costs a thirtieth; where two balls meet none of them is seen to the end
    assert len(scores) >= 6 and sum(scores) / len(scores) > 0.75 and min(scores) > 0.6
