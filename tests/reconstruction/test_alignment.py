"""Up, floor and scale against cameras and points whose truth is known."""

import numpy as np
import pytest
import walks
from scipy.spatial.transform import Rotation

from nerf_insert.errors import InputError
from nerf_insert.reconstruction.alignment import Length, World, align, focus_point
from nerf_insert.reconstruction.coverage import cover
from nerf_insert.reconstruction.diagnosis import Finding
from nerf_insert.reconstruction.places import Pixel, floor_plane, locate
from nerf_insert.reconstruction.solution import Solution, load_solution
from nerf_insert.reconstruction.up_direction import find_up

TURN = Rotation.from_euler("xyz", [130, -40, 75], degrees=True).as_matrix()
LENS = {"w": 256, "h": 192, "fl_x": walks.FOCAL, "fl_y": walks.FOCAL, "cx": 128.0, "cy": 96.0}


def degrees(a, b):
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def room(poses, count=1500, noise=0.002, planes=True):
    """A solution of the room of tests/support/walks.py in a turned world, twice as large."""
    rng = np.random.default_rng(4)
    a, b = rng.uniform(-1.8, 1.8, (2, count))
    floor = np.stack([a, b, 0 * a], -1)
    wall = np.stack([a, 0 * a + 2, np.abs(b)], -1)
    points = np.concatenate([floor, wall]) if planes else rng.uniform(-1, 1, (2 * count, 3))
    points += rng.normal(0, noise, points.shape)
    rows = []
    for k, pose in enumerate(poses):
        local = (points - pose[:, 3]) @ pose[:, :3]
        x = LENS["cx"] + walks.FOCAL * local[:, 0] / -local[:, 2]
        y = LENS["cy"] - walks.FOCAL * local[:, 1] / -local[:, 2]
        seen = np.flatnonzero((local[:, 2] < 0) & (x > 0) & (x < 256) & (y > 0) & (y < 192))
        rows += [(k, p, x[p], y[p]) for p in seen]
    poses = np.array(poses)
    solution = Solution(
        tuple(f"images/{k:03d}.jpg" for k in range(len(poses))), poses, (LENS,), np.zeros(len(poses), int),
        points, np.zeros(points.shape, np.uint8), np.full(len(points), 0.3), np.array(rows),
    )  # fmt: skip
    return solution.moved(TURN, 2.0, np.array([3.0, -1.0, 5.0]))


UP = TURN[:, 2]


def look_down(count=14, arc=90):
    """From one side, steeply down: the mean of the cameras' up directions is far off."""
    return [
        walks.look_at((1.2 * np.cos(t), 1.2 * np.sin(t), 2.5), (0, 0, 0), roll=3 * np.sin(k))
        for k, t in enumerate(np.radians(np.linspace(0, arc, count)))
    ]


def test_floors_and_walls_make_it_exact():
    up = find_up(room(look_down()), {})
    assert up.origin == "scene" and degrees(up.direction, UP) < 0.5
    up = find_up(room(look_down(), planes=False), {})
    assert up.origin == "cameras" and degrees(up.direction, UP) < 8


@pytest.mark.parametrize("sign", [1, -1])  # devices disagree about it
def test_measured_gravity_wins(sign):
    solution = room(look_down(), planes=False)
    gravities = {
        name: tuple(sign * pose[:, :3].T @ -UP)
        for name, pose in zip(solution.names, solution.c2w, strict=True)
    }
    up = find_up(solution, gravities)
    assert up.origin == "metadata" and up.sure and degrees(up.direction, UP) < 1e-3
    nonsense = {name: tuple(np.random.default_rng(k).normal(size=3)) for k, name in enumerate(solution.names)}
    assert find_up(solution, nonsense).origin != "metadata"


def test_the_world_is_level_centered_and_of_unit_size():
    solution, up = align(room(look_down()), {}, World())
    assert up.origin == "scene"
    assert np.linalg.norm(focus_point(solution)) < 1e-6
    assert np.linalg.norm(solution.centers, axis=1).mean() == pytest.approx(1)
    rigid = solution.c2w[:, :, :3]
    assert np.allclose(rigid @ rigid.transpose(0, 2, 1), np.eye(3), atol=1e-9)


def pixel_of(solution, k, point):
    pose, lens = solution.c2w[k], solution.lenses[0]
    local = (point - pose[:, 3]) @ pose[:, :3]
    return Pixel(
        f"{k:03d}",
        lens["cx"] + lens["fl_x"] * local[0] / -local[2],
        lens["cy"] - lens["fl_y"] * local[1] / -local[2],
    )


def places_of(solution, *points):
    """Pixels that show places of the room, in meters."""
    return [pixel_of(solution, 3, 2 * TURN @ np.array(point) + [3, -1, 5]) for point in points]


def test_a_pixel_of_the_floor_is_where_it_is():
    solution = room(walks.arc(10))
    (pixel,) = places_of(solution, (0.5, 0.3, 0.0))
    assert np.linalg.norm(locate(solution, pixel) - (2 * TURN @ [0.5, 0.3, 0] + [3, -1, 5])) < 0.02


def test_a_known_length_sets_the_unit():
    solution = room(walks.arc(10))
    start, end = places_of(solution, (-0.4, 0.2, 0.0), (0.5, 0.3, 0.0))
    aligned, _ = align(solution, {}, World(length=Length(start, end, float(np.hypot(0.9, 0.1)))))
    true = np.array(walks.arc(10))[:, :, 3]
    found = np.linalg.norm(aligned.centers - aligned.centers[0], axis=1)
    assert found == pytest.approx(np.linalg.norm(true - true[0], axis=1), rel=0.02)


@pytest.mark.parametrize("count", [1, 3])
def test_the_floor_that_is_shown_becomes_zero(count):
    solution = room(walks.arc(10))
    floor = tuple(places_of(solution, (0.3, 0.2, 0), (-0.6, 0.0, 0), (0.2, 0.9, 0))[:count])
    point, normal = floor_plane(solution, floor)
    assert degrees(normal, UP) < 1.5 and point is not None
    aligned, up = align(solution, {}, World(floor=floor))
    heights = aligned.points[:1500, 2]  # of the floor
    assert up.origin == "--floor" and np.abs(heights).max() < 0.03 and aligned.centers[:, 2].min() > 0.3


def test_up_is_in_the_coordinates_without_it():
    solution = room(walks.arc(10))
    plain, _ = align(solution, {}, World())
    turned, up = align(solution, {}, World(up=(1.0, 0.0, 0.0)))
    assert up.origin == "--up"
    heights = plain.points @ [1, 0, 0]
    assert turned.points[:, 2] - turned.points[0, 2] == pytest.approx(heights - heights[0], abs=1e-9)
    with pytest.raises(InputError, match="no direction"):
        align(solution, {}, World(up=(0.0, 0.0, 0.0)))


def test_places_that_cannot_be_are_said():
    solution = room(walks.arc(10))
    for pixel, said in ((Pixel("999", 1, 1), "no photograph 999"), (Pixel("003", 5000, 1), "outside it")):
        with pytest.raises(InputError, match=said):
            locate(solution, pixel)
    for text in ("003", "003=1", "003=a,b", "=1,2", "003=nan,1"):
        with pytest.raises(InputError, match="VIEW=X,Y"):
            Pixel.parse(text)
    assert Pixel.parse("a=b/003.jpg=1,2.5") == Pixel("a=b/003.jpg", 1, 2.5)
    bare = Solution(*[solution.__dict__[key] for key in list(solution.__dict__)[:-1]], seen=solution.seen[:2])
    with pytest.raises(InputError, match="too few points"):
        locate(bare, Pixel("003", 100, 100))


def test_advice_names_the_gap_and_the_height(tmp_path):
    around = [k for k in range(36) if not 10 < k < 20]
    poses = [
        walks.look_at((2 * np.cos(t), 2 * np.sin(t), 1.0), (0, 0, 0.3))
        for t in np.radians(10) * np.array(around)
    ]
    solution = room(poses).moved(TURN.T, 0.5, np.zeros(3))
    findings = [Finding(name, name, True, 500, 200, 0.4) for name in solution.names]
    coverage = cover(solution, findings)
    assert coverage.gap[1] == pytest.approx(100, abs=1.5)
    assert "images/010.jpg and images/011.jpg: 100 degrees" in coverage.advice[0]
    assert "one height" in coverage.advice[1]
    with pytest.raises(InputError, match="missing or damaged"):
        load_solution(tmp_path / "none.npz")
