"""A layer: a region and the small field in it.

M points, N rays, R cells of the occupancy grid a side. Coordinates are world coordinates; the field's unit
cube is the region's box, scaled evenly so that its longest side has length one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from nerf_insert.errors import InputError
from nerf_insert.fields.hash_field import FieldConfig, HashField, truncated_exp
from nerf_insert.fields.old_names import accept_old_buffers, rename_metadata
from nerf_insert.geometry.cameras import Rays
from nerf_insert.io.files import read_json, read_tensors, write_tensors
from nerf_insert.kernels import Samples
from nerf_insert.regions import load_region
from nerf_insert.regions.region import Region

LAYER_FIELD = FieldConfig(
    n_levels=8, log2_hashmap_size=15, max_resolution=256, view_dependent=False, head_width=32, head_layers=1
)
RESOLUTION = 64  # cells of the occupancy grid along each side of the region's box
OCC_THRESHOLD = 0.01  # weight in a pixel up to which a cell counts as empty (nerfacc: occ_thre)
NOTHING = -60.0  # logarithm of the optical depth of an empty layer
EMA_DECAY = 0.98  # of that weight, from one step of the fit to the next


class Layer(nn.Module):
    """A region and a trainable field in it, on top of a scene; a `rendering.protocols.LayerField`."""

    occupancy: Bool[Tensor, "R R R"]
    density_bias: Float[Tensor, ""]
    weight_ema: Float[Tensor, "R R R"]
    _whole: Bool[Tensor, "R R R"]

    def __init__(
        self,
        region: Region,
        config: FieldConfig = LAYER_FIELD,
        blend_width: float = 0.0,
        seed: int = 0,
        density_bias: float = 0.0,
    ):
        """Make an untrained layer.

        Args:
            region: Where the layer replaces what lies below it, world coordinates.
            config: Shape of the field.
            blend_width: Width of the blend shell inside the region's border, world units; 0: none.
            seed: Random seed of the weights.
            density_bias: Logarithm of the optical depth along the region's diagonal before any fit.
        """
        super().__init__()
        self.region, self.blend_width = region, blend_width
        self.field = HashField(config, torch.Generator().manual_seed(seed))
        self.register_buffer("_whole", region.occupancy_grid(RESOLUTION), persistent=False)
        self.register_buffer("occupancy", self._whole.clone())
        self.register_buffer("density_bias", torch.tensor(float(density_bias)))
        self.register_buffer("weight_ema", torch.zeros(RESOLUTION, RESOLUTION, RESOLUTION))
        accept_old_buffers(self)
        self._side = float((region.bounds[1] - region.bounds[0]).max())

    @staticmethod
    def empty(region: Region, config: FieldConfig = LAYER_FIELD) -> Layer:
        """Return a layer that holds nothing: what lies behind its region shows."""
        layer = Layer(region, config, density_bias=NOTHING)
        layer.occupancy.zero_()
        return layer.eval().requires_grad_(False)

    def sample(
        self, rays: Rays, step: float | None = None, offsets: Float[Tensor, " N"] | None = None
    ) -> Samples:
        """Sample rays in the region's occupied cells (see `Region.sample`)."""
        return self.region.sample(rays, step=step, offsets=offsets, occupancy=self.occupancy)

    def query(
        self, points: Float[Tensor, "M 3"], directions: Float[Tensor, "M 3"]
    ) -> tuple[Float[Tensor, " M"], Float[Tensor, "M 3"]]:
        """Return the density per world unit and the sRGB color in 0..1."""
        raw, rgb = self.field(self._unit(points), directions)
        return self._density(raw), rgb

    def weight(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, " M"]:
        """Return the blend weight: a smooth ramp from 0 at the region's border to 1 where the shell ends."""
        if self.blend_width <= 0:
            return torch.ones_like(points[:, 0])
        depth = (-self.region.distance(points) / self.blend_width).clamp(0, 1)
        return depth * depth * (3 - 2 * depth)

    def _unit(self, points: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        return (points - self.region.bounds[0].to(points)) / self._side

    def _density(self, raw: Tensor) -> Tensor:
        """Per world unit."""
        return truncated_exp(raw + self.density_bias) / self.region.diagonal

    def forget_occupancy(self) -> None:
        """Mark the whole region as occupied, whatever rays saw before."""
        self.occupancy.copy_(self._whole)
        self.weight_ema.zero_()

    @torch.no_grad()
    def blur_memory(self, kept: float) -> None:
        """Shrink all features: what was learned stays as a vague start, and what was wrong can be unlearned.

        A density that was driven to nothing has no gradient to come back by. Half of Ash and Adams, On
        Warm-Starting Neural Network Training (2020): shrink, without their noise.

        Args:
            kept: The factor on the features, 0..1.
        """
        self.field.table.mul_(kept)

    @torch.no_grad()
    def update_ema(self, points: Float[Tensor, "M 3"], weights: Float[Tensor, " M"]) -> None:
        """Record the weights of one step's samples in their pixels, for `update_occupancy`."""
        self.weight_ema *= EMA_DECAY
        self.weight_ema.view(-1).scatter_reduce_(0, self._cell(points), weights, "amax")

    def update_occupancy(self, wanted: Float[Tensor, "M 3"] | None = None) -> None:
        """Keep the cells that rays saw lately, those of `wanted` points, and the neighbors of both.

        The others, haze and the inside of solids, are never sampled again.
        """
        kept = (self.weight_ema > OCC_THRESHOLD).float()
        if wanted is not None:
            kept.view(-1)[self._cell(wanted)] = 1
        near = torch.nn.functional.max_pool3d(kept[None, None], 3, stride=1, padding=1)[0, 0]
        self.occupancy.copy_(self._whole & (near > 0))

    def _cell(self, points: Float[Tensor, "M 3"]) -> Int64[Tensor, " M"]:
        """Return the flat index of the occupancy cell that holds each point."""
        low, high = self.region.bounds.to(points)
        cell = ((points - low) / (high - low) * RESOLUTION).long().clamp(0, RESOLUTION - 1)
        return (cell[:, 0] * RESOLUTION + cell[:, 1]) * RESOLUTION + cell[:, 2]

    def save(self, path: Path) -> None:
        """Write the layer's field to a safetensors file; the region is not in it.

        Raises:
            RunError: The file cannot be written.
        """
        state = {name: tensor for name, tensor in self.state_dict().items() if name != "weight_ema"}
        state["occupancy"] = self.occupancy.to(torch.uint8)
        metadata = {**self.field.config.to_text(), "blend_width": repr(self.blend_width)}
        write_tensors(path, state, metadata)

    @staticmethod
    def load(path: Path, region: Region) -> Layer:
        """Read a file that `save` wrote, of this version or the first (see `old_names`).

        Raises:
            InputError: The file is no such file.
        """
        tensors, metadata = read_tensors(path)
        try:
            metadata = rename_metadata(metadata)
            layer = Layer(region, FieldConfig.from_text(metadata), float(metadata["blend_width"]))
            layer.load_state_dict({"weight_ema": layer.weight_ema, **tensors})
        except (KeyError, ValueError, TypeError, RuntimeError) as cause:
            raise InputError(f"{path} does not hold a layer of NeRF-Insert: {cause}") from cause
        return layer.eval().requires_grad_(False)


def unfinished_layer(folder: Path) -> Layer | None:
    """Load the last checkpoint of an edit that is still running in this layer folder, for previews.

    Returns:
        The layer, without its blend shell; None before there is a checkpoint of the usual size.
    """
    try:
        tensors, _ = read_tensors(folder / "checkpoint.safetensors")
        region = load_region(read_json(folder / "region" / "region.json"), folder / "region")
    except InputError:  # not there yet, or just being replaced
        return None
    prefix = "module.layer." if any(name.startswith("module.layer.") for name in tensors) else "module."
    saved = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    layer = Layer(region, LAYER_FIELD.with_view_dependence("field.head.0" in saved))
    try:
        layer.load_state_dict(saved)
    except RuntimeError:  # of another size
        return None
    return layer.eval().requires_grad_(False)
