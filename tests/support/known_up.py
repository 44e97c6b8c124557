"""Cameras and points of scenes whose up is known: a table, rooms, walls, phones held in several ways."""

import numpy as np
import walks
from scipy.spatial.transform import Rotation

from nerf_insert.reconstruction.solution import Solution

TURN = Rotation.from_euler("xyz", [130, -40, 75], degrees=True).as_matrix()
UP = TURN[:, 2]
LENS = {"w": 256, "h": 192, "fl_x": 200.0, "fl_y": 200.0, "cx": 128.0, "cy": 96.0}


def degrees(a, b):
    return float(np.degrees(np.arccos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1))))


def solve(poses, points, noise=0.004):
    """What structure from motion would find, in a turned world of another size."""
    points = points + np.random.default_rng(1).normal(0, noise, points.shape)
    rows = []
    for k, pose in enumerate(poses):
        local = (points - pose[:, 3]) @ pose[:, :3]
        at = np.abs(local[:, :2]) / np.maximum(-local[:, 2:], 1e-9)
        seen = np.flatnonzero((local[:, 2] < -0.05) & (at[:, 0] < 0.64) & (at[:, 1] < 0.48))
        rows += [(k, p, 0.0, 0.0) for p in seen]
    names = tuple(f"{k:03d}" for k in range(len(poses)))
    seen = np.array(rows).reshape(-1, 4)
    solution = Solution(names, np.array(poses), (LENS,), np.zeros(len(poses), int), points,
                        np.zeros(points.shape, np.uint8), np.full(len(points), 0.4), seen)  # fmt: skip
    return solution.moved(TURN, 1.7, np.array([3.0, -1.0, 5.0]))


def rectangle(corner, along, across, count, seed):
    a, b = np.random.default_rng(seed).uniform(0, 1, (2, count, 1))
    return np.array(corner) + a * np.array(along) + b * np.array(across)


def blob(center, size, count=700, seed=9):
    """A thing without planes."""
    directions = np.random.default_rng(seed).normal(size=(count, 3))
    return np.array(center) + size * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def table(radius=0.7, count=900):
    return rectangle((-radius, -radius, 0), (2 * radius, 0, 0), (0, 2 * radius, 0), count, 2)


def ring(degrees_around=330.0, count=40, height=0.8, distance=1.5, roll=4.0, bias=0.0):
    poses = []
    for k, t in enumerate(np.radians(np.linspace(0, degrees_around, count))):
        eye = (distance * np.cos(t), distance * np.sin(t), height + 0.1 * np.sin(3 * t))
        poses.append(walks.look_at(eye, (0, 0, 0.15), roll=bias + roll * np.sin(2.1 * k)))
    return poses


def on_a_table():
    return ring(), np.concatenate([table(), blob((0, 0, 0.2), 0.2)])


def leaning_phones_on_one_side():
    """All held 12 degrees off, within a quarter of a turn."""
    return ring(80, bias=12.0), np.concatenate([table(), blob((0, 0, 0.2), 0.2)])


def room_from_inside():
    """Walls and a floor, seen from a walk along one side."""
    poses = [walks.look_at((x, -1.2, 1.5), (x + 0.3 * np.sin(k), 2, 1.2), roll=5 * np.sin(1.7 * k) + 3)
             for k, x in enumerate(np.linspace(-1.5, 1.5, 30))]  # fmt: skip
    walls = [
        rectangle((-2, 2, 0), (4, 0, 0), (0, 0, 2.5), 900, 3),
        rectangle((-2, -2, 0), (0, 4, 0), (0, 0, 2.5), 600, 4),
    ]
    return poses, np.concatenate(
        [*walls, rectangle((-2, -2, 0), (4, 0, 0), (0, 4, 0), 700, 5), blob((0.5, 1, 0.5), 0.5)]
    )


def facing_a_wall():
    """A picture on a wall, photographed level: the one plane is no floor."""
    poses = [walks.look_at((0.5 * np.cos(k), -2, 1.5 + 0.3 * np.sin(2 * k)), (0.1 * np.sin(k), 0, 1.5),
                           roll=2 * np.sin(k)) for k in range(24)]  # fmt: skip
    return poses, rectangle((-1.5, 0, 0.4), (3, 0, 0), (0, 0, 2.2), 1200, 6)


def walk_through_a_corridor():
    poses = [walks.look_at((0.1 * np.sin(k), 0.2 * k, 1.5), (0.2 * np.sin(2 * k), 0.2 * k + 2, 1.35),
                           roll=4 * np.sin(k)) for k in range(30)]  # fmt: skip
    sides = [rectangle((x, -1, 0), (0, 10, 0), (0, 0, 2.4), 900, 7) for x in (-1, 1)]
    return poses, np.concatenate([*sides, rectangle((-1, -1, 0), (2, 0, 0), (0, 10, 0), 900, 8)])


def a_board_that_leans():
    """A board at 30 degrees is as large as the floor that it stands on."""
    board = rectangle((-0.5, 0, 0), (1, 0, 0), (0, 0.6 * np.cos(np.pi / 6), 0.3), 500, 10)
    return ring(), np.concatenate([table(), board])


def turned_phones():
    """Held upright, with nothing in the files that says so: the photographs lie on their sides."""
    poses, points = on_a_table()
    return [np.column_stack([-pose[:, 1], pose[:, 0], pose[:, 2:]]) for pose in poses], points


def steeply_down():
    return ring(360, height=3.5, distance=1.0), np.concatenate([table(1.5), blob((0.3, 0, 0.2), 0.2)])
