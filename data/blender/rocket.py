"""The mesh to insert: a toy rocket, 34 cm high, standing on the z = 0 plane on three fins."""

import numpy as np
from scipy.interpolate import PchipInterpolator

from . import shapes

CREAM, RED, TEAL = (250, 236, 205), (214, 56, 44), (24, 128, 138)
YELLOW, NAVY, STEEL = (247, 186, 49), (30, 44, 92), (92, 94, 104)

# Height along the body (m) and radius there (m).
BODY = [
    (0.050, 0.042),
    (0.10, 0.058),
    (0.15, 0.064),
    (0.20, 0.060),
    (0.25, 0.047),
    (0.30, 0.0255),
    (0.33, 0.010),
]
# Where each color of the body begins, bottom to top.
BANDS = [
    (0.050, TEAL),
    (0.088, CREAM),
    (0.104, YELLOW),
    (0.116, CREAM),
    (0.222, NAVY),
    (0.232, CREAM),
    (0.244, RED),
]


def rocket() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3] (m), faces [F, 3], sRGB colors [V, 3] (uint8)."""
    parts = [(_nozzle(), STEEL), *_body()]
    for i in range(3):
        parts.append((shapes.moved(_fin(), matrix=shapes.turn(120 * i)), (RED, YELLOW, TEAL)[i]))
        parts += [
            (shapes.moved(part, matrix=shapes.turn(120 * i + 60)), color) for part, color in _porthole()
        ]
    vertices, faces = shapes.join(*(mesh for mesh, _ in parts))
    colors = [np.broadcast_to(np.asarray(color, np.uint8), (len(mesh[0]), 3)) for mesh, color in parts]
    return vertices, faces, np.concatenate(colors)


def _radius(height):
    return PchipInterpolator(*zip(*[*BODY, (0.34, 0.0)], strict=True))(height)


def _body():
    """One closed surface, its bands colored by pairs of rings half a millimeter apart."""
    heights = [BODY[0][0], *np.linspace(*[BODY[0][0], 0.33], 26)[1:], 0.3345, 0.3375, 0.3392, 0.34]
    edges = [start for start, _ in BANDS[1:]]
    heights = [h for h in heights if all(abs(h - edge) > 0.002 for edge in edges)]
    heights = np.sort(np.concatenate([heights, edges, np.array(edges) - 0.0005]))
    profile = np.stack([_radius(heights), heights], -1)
    profile = np.concatenate([[[0.0, BODY[0][0]]], profile])
    mesh = shapes.lathe(profile, 56)
    starts, palette = np.array([b[0] for b in BANDS]), np.array([b[1] for b in BANDS])
    band = np.searchsorted(starts, profile[:, 1] + 1e-6, side="right") - 1
    return [(mesh, np.repeat(palette[band.clip(0)], 56, 0))]


def _nozzle():
    return shapes.lathe([(0, 0.026), (0.036, 0.026), (0.036, 0.030), (0.028, 0.054), (0, 0.054)], 32)


def _fin():
    """Swept back, its foot on the ground, its root within the body."""
    outline = [(0.035, 0.062), (0.060, 0.040), (0.074, 0.008), (0.082, 0.0), (0.102, 0.0), (0.108, 0.006)]
    outline += [(0.108, 0.040), (0.101, 0.075), (0.086, 0.103), (0.066, 0.126), (0.047, 0.134), (0.036, 0.10)]
    return shapes.slab(outline, 0.020, 0.005)


def _porthole():
    """A ring and its glass, sunk into the body, on the +x side."""
    height = 0.172
    slope = (_radius(height + 0.01) - _radius(height - 0.01)) / 0.02
    tilt = shapes.turn(90 - np.degrees(np.arctan(-slope)), axis=1)
    center = (float(_radius(height)) - 0.001, 0, height)
    angle = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    circle = 0.0235 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    ring = shapes.tube(circle, 0.0065, 10, closed=True)
    glass = shapes.ball(0.022, 0.35, 10, 32)
    return [(shapes.moved(ring, center, tilt), YELLOW), (shapes.moved(glass, center, tilt), NAVY)]
