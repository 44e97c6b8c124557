"""What a click changes in its photograph, on drawn pictures whose pieces are known."""

import numpy as np

from nerf_insert.selection.spread import spread

SIZE = 41
ROWS, COLUMNS = np.indices((SIZE, SIZE))
PLAIN = np.full((SIZE, SIZE, 3), 128, np.uint8)
NO_EDGES = np.zeros((SIZE, SIZE), bool)


def disc(x, y, radius):
    return np.hypot(COLUMNS - x, ROWS - y) <= radius


def test_where_nothing_tells_things_apart_a_click_changes_the_disc_that_touches_the_outline():
    selected = COLUMNS < 30
    changed = spread(PLAIN, NO_EDGES, selected, (20, 20), [])
    # the way along neighbors, straight and diagonal, is up to 8 % longer than the straight one
    assert changed[disc(20, 20, 8)].all() and not changed[~disc(20, 20, 11)].any()


def test_a_click_fills_the_piece_whose_color_it_has():
    piece = (abs(COLUMNS - 20) <= 3) & (ROWS > 8)  # a leg below what is selected
    colors = PLAIN.copy()
    colors[piece] = (200, 30, 30)
    changed = spread(colors, NO_EDGES, ROWS <= 8, (20, 24), [])
    assert (changed & ~piece).sum() <= 0.05 * piece.sum()
    assert changed[piece & disc(20, 24, 12)].all()


def test_a_click_stops_where_depth_jumps():
    selected = np.ones((SIZE, SIZE), bool)
    edges = abs(np.hypot(COLUMNS - 20, ROWS - 20) - 9) < 1  # a hole through which one sees something far away
    changed = spread(PLAIN, edges, selected, (20, 20), [])
    assert changed[disc(20, 20, 7)].all() and not changed[~disc(20, 20, 11)].any()


def test_clicks_that_say_otherwise_share_what_is_between():
    selected = np.ones((SIZE, SIZE), bool)
    selected[:, -1] = False
    changed = spread(PLAIN, NO_EDGES, selected, (20, 20), [(10, 20)])
    assert changed[20, 17] and not changed[20, 13] and not changed[20, 10]


def test_a_click_changes_its_own_pixel_only_on_its_side():
    selected = disc(20, 20, 10)
    assert not (spread(PLAIN, NO_EDGES, selected, (20, 14), []) & ~selected).any()
    assert not (spread(PLAIN, NO_EDGES, selected, (20, 5), []) & selected).any()
