"""Convert between nerfstudio's *model* coordinates, those of its dataparser, and the capture's world.

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
    """The transform between world and model coordinates.

    Attributes:
        to_model: The similarity [s R | t] from world to model coordinates, float64.
    """

    to_model: Float[Tensor, "3 4"]

    @staticmethod
    def of(outputs: DataparserOutputs, capture: Capture) -> Frame:
        """Find the frame of a dataparser.

        Args:
            outputs: What the dataparser has read.
            capture: The same photographs, with the cameras as they were found.

        Raises:
            InputError: The cameras are not the same.
        """
        names = [name_of(capture, Path(file)) for file in outputs.image_filenames]
        world = torch.stack([capture.view(name).camera.c2w for name in names])
        return Frame(similarity(world, outputs.cameras.camera_to_worlds))

    @property
    def scale(self) -> float:
        """Model units per world unit."""
        return float(torch.linalg.det(self.to_model[:, :3]) ** (1 / 3))

    def rays(self, bundle: RayBundle) -> Rays:
        """Convert a bundle of N rays to world coordinates; directions have length one."""
        back = invert(self.to_model)
        origins = bundle.origins.reshape(-1, 3).double().cpu()
        directions = bundle.directions.reshape(-1, 3).double().cpu() @ back[:, :3].T
        directions = torch.nn.functional.normalize(directions, dim=-1)
        return Rays((origins @ back[:, :3].T + back[:, 3]).float(), directions.float())
