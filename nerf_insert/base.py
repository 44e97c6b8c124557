"""The base: a hash-grid radiance field of the whole, unbounded scene.

Inside, *field* coordinates are used: world coordinates turned, moved and scaled so that the cameras lie
in the cube [-1, 1]^3 (nerfstudio's own choice of orientation, centre and scale), then contracted so that
all of space lies in [-2, 2]^3 (mip-NeRF 360, arXiv 2111.12077, equation 10, with the maximum norm).
Everything public takes and gives world coordinates. M is the number of points, R the grid's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from nerfstudio.cameras.camera_utils import auto_orient_and_center_poses
from torch import Tensor, nn

from nerf_insert.cameras import Camera, Rays
from nerf_insert.errors import InputError
from nerf_insert.fields import FieldConfig, HashField, truncated_exp
from nerf_insert.files import read_tensors, write_tensors
from nerf_insert.kernels import Samples, march

RESOLUTION = 128  # cells of the occupancy grid along each side of [-2, 2]^3
STEP = 1 / 192  # length of a sample inside [-1, 1]^3, field units
NEAR, FAR = 0.02, 1000.0  # field units
OCCUPIED = 0.01  # optical thickness of one step from which a cell counts as occupied
FORGET = 0.95  # what a cell keeps of its density from one update of the grid to the next


class Base(nn.Module):
    """The scene's own radiance field; `RadianceField` for rendering."""

    def __init__(self, config: FieldConfig, to_field: Float[Tensor, "3 4"], seed: int = 0):
        super().__init__()
        self.field = HashField(config, torch.Generator().manual_seed(seed))
        self.register_buffer("to_field", to_field.float())
        self.register_buffer("background", torch.zeros(3))
        self.register_buffer("density_grid", torch.zeros(RESOLUTION, RESOLUTION, RESOLUTION))
        self.register_buffer("occupancy", torch.ones(RESOLUTION, RESOLUTION, RESOLUTION, dtype=torch.bool))
        self.scale = float(torch.linalg.det(self.to_field[:, :3].double()) ** (1 / 3))

    @staticmethod
    def for_cameras(cameras: Sequence[Camera], config: FieldConfig | None = None, seed: int = 0) -> Base:
        """An untrained base whose field coordinates suit these cameras."""
        poses = torch.eye(4).repeat(len(cameras), 1, 1)
        poses[:, :3] = torch.stack([camera.c2w for camera in cameras])
        placed, to_field = auto_orient_and_center_poses(poses, method="up", center_method="poses")
        scale = 1 / float(placed[:, :3, 3].abs().max().clamp_min(1e-9))
        return Base(config or FieldConfig(), to_field[:3] * scale, seed)

    def sample(self, rays: Rays, offsets: Float[Tensor, "N"] | None = None) -> Samples:
        """Samples in occupied cells; `offsets` in 0..1 shifts those of each ray by a share of the step."""
        rotation, shift = self.to_field[:, :3], self.to_field[:, 3]
        samples = march(
            rays.origins @ rotation.T + shift,
            rays.directions @ (rotation.T / self.scale),
            self.occupancy,
            bounds=torch.tensor([[-2.0] * 3, [2.0] * 3]),
            step=STEP,
            offsets=offsets,
            near=NEAR,
            far=FAR,
            contract=True,
        )
        return samples._replace(starts=samples.starts / self.scale, ends=samples.ends / self.scale)

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, "M"], Float[Tensor, "M 3"]]:
        raw, rgb = self.field(self._unit(points), directions)
        return truncated_exp(raw - 1) * self.scale, rgb

    def _unit(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        placed = points @ self.to_field[:, :3].T + self.to_field[:, 3]
        return (contract(placed) + 2) / 4

    @torch.no_grad()
    def update_occupancy(self, generator: torch.Generator, cells: int, strictness: float = 1.0) -> None:
        """Look again at some cells, half of them drawn from all and half from the occupied ones, and
        mark those as occupied that hold density (Instant NGP, appendix E). `strictness` in 0..1 scales
        the threshold: a field that has learned little yet has to be looked at everywhere."""
        everywhere = torch.randint(RESOLUTION**3, (cells // 2,), generator=generator)
        occupied = self.occupancy.view(-1).nonzero()[:, 0]
        again = occupied[torch.randint(max(len(occupied), 1), (cells // 2,), generator=generator)[: len(occupied)]]
        index = torch.cat([everywhere, again])
        corner = torch.stack([index // RESOLUTION**2, index // RESOLUTION % RESOLUTION, index % RESOLUTION], -1)
        unit = (corner + torch.rand(len(index), 3, generator=generator)) / RESOLUTION
        density = truncated_exp(self.field.raw_density(unit) - 1)
        grid = self.density_grid.view(-1)
        grid *= FORGET ** (cells / RESOLUTION**3)
        grid.scatter_reduce_(0, index, density, "amax")
        self.occupancy.copy_(self.density_grid > OCCUPIED / STEP * strictness)

    def save(self, path: Path) -> None:
        state = {name: tensor for name, tensor in self.state_dict().items() if name != "density_grid"}
        state["occupancy"] = self.occupancy.to(torch.uint8)
        write_tensors(path, state, metadata=self.field.config.to_text())

    @staticmethod
    def load(path: Path) -> Base:
        """Raises InputError if the file is not a base of ours."""
        tensors, metadata = read_tensors(path)
        try:
            base = Base(FieldConfig.from_text(metadata), tensors["to_field"])
            tensors["occupancy"] = tensors["occupancy"].bool()
            base.load_state_dict({"density_grid": base.density_grid, **tensors})
        except (KeyError, ValueError, TypeError, RuntimeError) as cause:
            raise InputError(f"{path} does not hold a base of NeRF-Insert: {cause}. Train it again.") from cause
        return base.eval().requires_grad_(False)


def contract(x: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """All of space into [-2, 2]^3; the identity within [-1, 1]^3."""
    norm = x.abs().amax(-1, keepdim=True).clamp_min(1)
    return (2 - 1 / norm) * x / norm
