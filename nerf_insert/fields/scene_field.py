"""The base: a hash-grid radiance field of the whole, unbounded scene.

M points or samples, N rays, R cells of the occupancy grid a side. Everything public takes and returns world
coordinates. Inside, *field* coordinates are used: world coordinates rotated, moved and scaled so that the
cameras lie in the cube [-1, 1]^3 (nerfstudio's choice of orientation, center and scale), then contracted so
that all of space lies in [-2, 2]^3 (mip-NeRF 360, arXiv 2111.12077, equation 10, with the maximum norm).
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
from nerf_insert.kernels import Samples, march, query_along, render_rays, renders_in_one_pass

RESOLUTION = 128  # cells of the occupancy grid along each side of [-2, 2]^3
STEP = 1 / 128  # length of a sample inside [-1, 1]^3, field units
NEAR, FAR = 0.02, 1000.0  # field units
DENSITY_BIAS = -1.0  # added to the logarithm of the density
OCC_THRESHOLD = 0.01  # weight in a training pixel above which a cell counts as occupied (nerfacc: occ_thre)
EMA_DECAY = 0.8  # of that weight, from one update of the grid to the next
LEARNING = 0.25  # how settled the field must be before any cell is skipped
RESAMPLE_FRACTION = 0.1  # fraction of the empty cells next to occupied ones that are sampled all the same


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
        """Return an untrained field whose field coordinates suit these cameras."""
        poses = torch.eye(4).repeat(len(cameras), 1, 1)
        poses[:, :3] = torch.stack([camera.c2w for camera in cameras])
        placed, to_field = auto_orient_and_center_poses(poses, method="up", center_method="poses")
        scale = 1 / float(placed[:, :3, 3].abs().max().clamp_min(1e-9))
        return SceneField(config or FieldConfig(), to_field[:3] * scale, seed)

    def sample(self, rays: Rays, offsets: Float[Tensor, " N"] | None = None, stretch: float = 1.0) -> Samples:
        """Sample rays in occupied cells.

        Args:
            rays: N rays, world coordinates.
            offsets: Fraction in 0..1 of a sample's length by which each ray's samples are shifted.
            stretch: Length of the samples, in units of the usual one.
        """
        samples = march(
            *self._in_field(rays),
            self.occupancy,
            bounds=torch.tensor([[-2.0] * 3, [2.0] * 3]),
            step=STEP * stretch,
            offsets=offsets,
            near=NEAR,
            far=FAR,
            contract=True,
        )
        return samples._replace(starts=samples.starts / self.scale, ends=samples.ends / self.scale)

    @property
    def renders_itself(self) -> bool:
        """Whether `render` and `query_along` are quicker than `query`."""
        return renders_in_one_pass(self.field.table)

    def render(
        self, rays: Rays, stop: float = 0.0
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, " N"], Float[Tensor, " N"]]:
        """Return colors over the background, opacities, and depths along the rays (infinity: nothing there).

        Args:
            rays: N rays, world coordinates.
            stop: Fraction of a pixel's light below which a sample is left out.
        """
        out = render_rays(
            *self._in_field(rays),
            self.field.view_features(rays.directions),
            self.field.weights(DENSITY_BIAS),
            self.occupancy,
            step=STEP,
            near=NEAR,
            far=FAR,
            stop=stop,
        )
        rgb = out.rgb + (1 - out.accumulation)[:, None] * self.background
        return rgb.clamp(0, 1), out.accumulation, out.depth / self.scale

    def query_along(
        self, points: Float[Tensor, "M 3"], samples: Samples, rays: Rays, stop: float
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return density and color of samples at their points, as far as light reaches.

        Args:
            points: The samples' midpoints, world coordinates.
            samples: M samples of the rays.
            rays: N rays, world coordinates.
            stop: Samples that less of the light reaches, or that add less to their pixel, get density 0.
        """
        density, rgb = query_along(
            self._unit(points),
            samples.lengths * self.scale,
            samples.offsets,
            self.field.view_features(rays.directions),
            self.field.weights(DENSITY_BIAS),
            stop,
        )
        return density * self.scale, rgb

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the density per world unit and the sRGB color in 0..1."""
        raw, rgb = self.field(self._unit(points), directions)
        return truncated_exp(raw + DENSITY_BIAS) * self.scale, rgb

    def is_empty(self, points: Float[Tensor, "M 3"]) -> Bool[Tensor, " M"]:
        """Tell which points are in empty cells of the occupancy grid."""
        return ~self.occupancy.view(-1)[self._cell(points)]

    def content_bounds(self) -> Float[Tensor, "2 3"]:
        """Return the box around all occupied cells and the cameras' center (lowest and highest corner)."""
        occupied, to_field = self.occupancy.cpu(), self.to_field.cpu()
        corners = torch.zeros([side + 1 for side in occupied.shape], dtype=torch.bool)
        for x, y, z in product((slice(None, -1), slice(1, None)), repeat=3):
            corners[x, y, z] |= occupied
        contracted = corners.nonzero() * (4 / RESOLUTION) - 2
        centered = torch.cat([uncontract(contracted), torch.zeros(1, 3)]) - to_field[:, 3]
        points = centered @ torch.linalg.inv(to_field[:, :3]).T
        return torch.stack([points.amin(0), points.amax(0)])

    def spacing(self, distances: Float[Tensor, " M"]) -> Float[Tensor, " M"]:
        """Return distances along rays, in world units, contracted like space to 0..1."""
        distance = distances * self.scale
        return torch.where(distance > 1, 2 - 1 / distance.clamp_min(1), distance) / 2

    def density(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """Return the density alone, per world unit, at half the cost of `query`."""
        return truncated_exp(self.field.raw_density(self._unit(points)) + DENSITY_BIAS) * self.scale

    def _in_field(self, rays: Rays) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
        """Return origins and directions in field coordinates; distances along them are in field units."""
        rotation, shift = self.to_field[:, :3], self.to_field[:, 3]
        return rays.origins @ rotation.T + shift, rays.directions @ (rotation.T / self.scale)

    def _unit(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        placed = points @ self.to_field[:, :3].T + self.to_field[:, 3]
        return (contract(placed) + 2) / 4

    def _cell(self, points: Float[Tensor, "M 3"]) -> Int64[Tensor, " M"]:
        """Return the flat index of the occupancy cell that holds each point."""
        cell = (self._unit(points) * RESOLUTION).long().clamp(0, RESOLUTION - 1)
        return (cell[:, 0] * RESOLUTION + cell[:, 1]) * RESOLUTION + cell[:, 2]

    @torch.no_grad()
    def update_ema(self, points: Float[Tensor, "M 3"], weights: Float[Tensor, " M"]) -> None:
        """Record the weights of training samples in their pixels, for `update_occupancy`."""
        self.weight_ema.view(-1).scatter_reduce_(0, self._cell(points), weights, "amax")

    @torch.no_grad()
    def update_occupancy(self, generator: torch.Generator, settled: float) -> None:
        """Keep the cells that training rays saw lately, so that the inside of solids costs nothing.

        Args:
            generator: Picks the random fraction, on the CPU.
            settled: How far the field can be trusted, 0..1. At first all cells are kept, then all neighbors
                of visible ones, later a random fraction of these, so that surfaces can move.
        """
        self.weight_ema *= EMA_DECAY
        if settled < LEARNING:
            return
        visible = self.weight_ema > OCC_THRESHOLD * settled
        near = torch.nn.functional.max_pool3d(visible[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
        fraction = max(RESAMPLE_FRACTION, 1 - settled)
        resampled = torch.rand(visible.shape, generator=generator).to(near.device) < fraction
        self.occupancy.copy_(visible | (near & resampled))

    def save(self, path: Path) -> None:
        """Write the field to a safetensors file.

        Raises:
            RunError: The file cannot be written.
        """
        state = {name: tensor for name, tensor in self.state_dict().items() if name != "weight_ema"}
        state["occupancy"] = self.occupancy.to(torch.uint8)
        write_tensors(path, state, metadata=self.field.config.to_text())

    @staticmethod
    def load(path: Path) -> SceneField:
        """Read a file that `save` wrote, of this version or the first (see `old_names`).

        Raises:
            InputError: The file is no such file.
        """
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
    """Contract all of space to [-2, 2]^3; the identity within [-1, 1]^3."""
    norm = x.abs().amax(-1, keepdim=True).clamp_min(1)
    return (2 - 1 / norm) * x / norm


def uncontract(x: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """Invert `contract`; the border of [-2, 2]^3 goes to the distance FAR."""
    norm = x.abs().amax(-1, keepdim=True).clamp_min(1)
    return x / norm / (2 - norm).clamp_min(1 / FAR)
