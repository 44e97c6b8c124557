"""The base: a hash-grid radiance field of the whole, unbounded scene.

Inside, *field* coordinates are used: world coordinates turned, moved and scaled so that the cameras lie
in the cube [-1, 1]^3 (nerfstudio's own choice of orientation, center and scale), then contracted so that
all of space lies in [-2, 2]^3 (mip-NeRF 360, arXiv 2111.12077, equation 10, with the maximum norm).
Everything public takes and gives world coordinates. M is the number of points, R the grid's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from torch import Tensor, nn

from nerf_insert.errors import InputError
from nerf_insert.fields.hash_field import FieldConfig, HashField, truncated_exp
from nerf_insert.fields.old_names import accept_old_buffers
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.io.files import read_tensors, write_tensors
from nerf_insert.kernels import Samples, march

RESOLUTION = 128  # cells of the occupancy grid along each side of [-2, 2]^3
STEP = 1 / 128  # length of a sample inside [-1, 1]^3, field units
NEAR, FAR = 0.02, 1000.0  # field units
OCC_THRESHOLD = 0.01  # share of a training pixel's light from which a cell counts as occupied
EMA_DECAY = 0.8  # what a cell keeps of that from one update of the grid to the next
LEARNING = 0.25  # how settled the field must be before anything is left out
RESAMPLE_FRACTION = 0.1  # share of the cells beside occupied ones that are sampled all the same


class SceneField(nn.Module):
    """The scene's own radiance field; `RadianceField` for rendering."""

    to_field: Float[Tensor, "3 4"]
    background: Float[Tensor, "3"]
    weight_ema: Float[Tensor, "R R R"]
    occupancy: Bool[Tensor, "R R R"]

    def __init__(self, config: FieldConfig, to_field: Float[Tensor, "3 4"], seed: int = 0):
        super().__init__()
        self.field = HashField(config, torch.Generator().manual_seed(seed))
        self.register_buffer("to_field", to_field.float())
        self.register_buffer("background", torch.zeros(3))
        self.register_buffer("weight_ema", torch.zeros(RESOLUTION, RESOLUTION, RESOLUTION))
        self.register_buffer("occupancy", torch.ones(RESOLUTION, RESOLUTION, RESOLUTION, dtype=torch.bool))
        accept_old_buffers(self)
        self.scale = float(torch.linalg.det(self.to_field[:, :3].double()) ** (1 / 3))

    @staticmethod
    def for_cameras(
        cameras: Sequence[Camera], config: FieldConfig | None = None, seed: int = 0
    ) -> SceneField:
        """An untrained base whose field coordinates suit these cameras."""
        poses = torch.eye(4).repeat(len(cameras), 1, 1)
        poses[:, :3] = torch.stack([camera.c2w for camera in cameras])
        placed, to_field = auto_orient_and_center_poses(poses, method="up", center_method="poses")
        scale = 1 / float(placed[:, :3, 3].abs().max().clamp_min(1e-9))
        return SceneField(config or FieldConfig(), to_field[:3] * scale, seed)

    def sample(self, rays: Rays, offsets: Float[Tensor, " N"] | None = None, stretch: float = 1.0) -> Samples:
        """Samples in occupied cells, `stretch` times as long as usual; `offsets` in 0..1 shifts those of
        each ray by a share of their length."""
        rotation, shift = self.to_field[:, :3], self.to_field[:, 3]
        samples = march(
            rays.origins @ rotation.T + shift,
            rays.directions @ (rotation.T / self.scale),
            self.occupancy,
            bounds=torch.tensor([[-2.0] * 3, [2.0] * 3]),
            step=STEP * stretch,
            offsets=offsets,
            near=NEAR,
            far=FAR,
            contract=True,
        )
        return samples._replace(starts=samples.starts / self.scale, ends=samples.ends / self.scale)

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        raw, rgb = self.field(self._unit(points), directions)
        return truncated_exp(raw - 1) * self.scale, rgb

    def is_empty(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Which points are in cells of the occupancy grid that are empty."""
        return ~self.occupancy.view(-1)[self._cell(points)]

    def content_bounds(self) -> Float[Tensor, "2 3"]:
        """The box of all that may hold something, and of the middle of the cameras: world coordinates."""
        occupied, to_field = self.occupancy.cpu(), self.to_field.cpu()
        corners = torch.zeros([side + 1 for side in occupied.shape], dtype=torch.bool)
        for x, y, z in product((slice(None, -1), slice(1, None)), repeat=3):
            corners[x, y, z] |= occupied
        places = corners.nonzero() * (4 / RESOLUTION) - 2
        placed = torch.cat([uncontract(places), torch.zeros(1, 3)]) - to_field[:, 3]
        points = placed @ torch.linalg.inv(to_field[:, :3]).T
        return torch.stack([points.amin(0), points.amax(0)])

    def spacing(self, samples: Samples) -> Float[Tensor, " M"]:
        """Distances along the rays, contracted like space, in 0..1."""
        distance = samples.distances * self.scale
        return torch.where(distance > 1, 2 - 1 / distance.clamp_min(1), distance) / 2

    def density(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """The density alone, per world unit, at half the cost."""
        return truncated_exp(self.field.raw_density(self._unit(points)) - 1) * self.scale

    def _unit(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        placed = points @ self.to_field[:, :3].T + self.to_field[:, 3]
        return (contract(placed) + 2) / 4

    def _cell(self, points: Float[Tensor, "M 3"]) -> Int64[Tensor, " M"]:
        """The number of the occupancy grid's cell that each point is in."""
        cell = (self._unit(points) * RESOLUTION).long().clamp(0, RESOLUTION - 1)
        return (cell[:, 0] * RESOLUTION + cell[:, 1]) * RESOLUTION + cell[:, 2]

    @torch.no_grad()
    def update_ema(self, points: Float[Tensor, "M 3"], weights: Float[Tensor, " M"]) -> None:
        """Take note of what samples of training rays contributed to their pixels."""
        self.weight_ema.view(-1).scatter_reduce_(0, self._cell(points), weights, "amax")

    @torch.no_grad()
    def update_occupancy(self, generator: torch.Generator, settled: float) -> None:
        """Keep the cells in which training rays saw something lately; what no ray sees, inside solids or
        under the ground, costs nothing that way. `settled` in 0..1 says how far the field can be trusted:
        at first all cells are kept, then all neighbors of those, later a random few of them, so that
        surfaces can move."""
        self.weight_ema *= EMA_DECAY
        if settled < LEARNING:
            return
        visible = self.weight_ema > OCC_THRESHOLD * settled
        near = torch.nn.functional.max_pool3d(visible[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
        fraction = max(RESAMPLE_FRACTION, 1 - settled)
        lucky = torch.rand(visible.shape, generator=generator).to(near.device) < fraction
        self.occupancy.copy_(visible | (near & lucky))

    def save(self, path: Path) -> None:
        state = {name: tensor for name, tensor in self.state_dict().items() if name != "weight_ema"}
        state["occupancy"] = self.occupancy.to(torch.uint8)
        write_tensors(path, state, metadata=self.field.config.to_text())

    @staticmethod
    def load(path: Path) -> SceneField:
        """Raises InputError if the file is not a base of ours."""
        tensors, metadata = read_tensors(path)
        try:
            base = SceneField(FieldConfig.from_text(metadata), tensors["to_field"])
            base.load_state_dict({"weight_ema": base.weight_ema, **tensors})
        except (KeyError, ValueError, TypeError, RuntimeError) as cause:
            raise InputError(
                f"{path} does not hold a base of NeRF-Insert: {cause}. Train it again."
            ) from cause
        return base.eval().requires_grad_(False)


def contract(x: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """All of space into [-2, 2]^3; the identity within [-1, 1]^3."""
    norm = x.abs().amax(-1, keepdim=True).clamp_min(1)
    return (2 - 1 / norm) * x / norm


def uncontract(x: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """What `contract` makes these of; the border of [-2, 2]^3 comes from FAR away."""
    norm = x.abs().amax(-1, keepdim=True).clamp_min(1)
    return x / norm / (2 - norm).clamp_min(1 / FAR)
