"""Between nerfstudio's *model* coordinates, those of its dataparser, and the capture's world coordinates.

N is the number of rays.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.geometry.cameras import Rays
from nerf_insert.plugin.import_run import name_of
from nerf_insert.plugin.similarity import invert, similarity


@dataclass(frozen=True)
class Frame:
    """`to_model` takes world to model coordinates, `scale` is how much longer things are there."""

    to_model: Float[Tensor, "3 4"]

    @staticmethod
    def of(outputs: DataparserOutputs, capture: Capture) -> Frame:
        """The frame of a dataparser that reads the photographs of a capture, whose cameras are as they were
        found. Raises InputError if they are others."""
        names = [name_of(capture, Path(file)) for file in outputs.image_filenames]
        world = torch.stack([capture.view(name).camera.c2w for name in names])
        return Frame(similarity(world, outputs.cameras.camera_to_worlds))

    @property
    def scale(self) -> float:
        return float(torch.linalg.det(self.to_model[:, :3]) ** (1 / 3))

    def rays(self, bundle: RayBundle) -> Rays:
        """A bundle of N rays in world coordinates; directions have length one."""
        back = invert(self.to_model)
        origins = bundle.origins.reshape(-1, 3).double().cpu()
        directions = bundle.directions.reshape(-1, 3).double().cpu() @ back[:, :3].T
        directions = torch.nn.functional.normalize(directions, dim=-1)
        return Rays((origins @ back[:, :3].T + back[:, 3]).float(), directions.float())
