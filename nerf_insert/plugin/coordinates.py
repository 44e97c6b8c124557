"""Convert between nerfstudio's *model* coordinates, those of its dataparser, and the capture's world.

A run rotates, moves and scales the capture when it reads it; its viewer and `ns-export` use model
coordinates. N is the number of rays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from nerf_insert.capture.capture import Capture
from nerf_insert.geometry.cameras import Camera, Rays
from nerf_insert.plugin.run_capture import name_of, parse
from nerf_insert.plugin.run_reader import read_run
from nerf_insert.plugin.similarity import into_model, invert, similarity
from nerf_insert.scene.scene import Scene


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


def model_to_world(capture: Capture, config: Path, trust: bool = False) -> Float[Tensor, "3 4"]:
    """Return the similarity from a run's model coordinates, those of its viewer, to the capture's world.

    A run rotates, moves and scales the capture when it reads it.

    Args:
        capture: The capture that the run was trained on, with its cameras as they were found.
        config: The run's config.yml.
        trust: Open the run with nerfstudio's own loader, which runs whatever code it holds.

    Raises:
        InputError: The run is of another capture, or cannot be read.
    """
    parsed = parse(read_run(config, trust), capture.path, trust)
    world = torch.stack([capture.view(name_of(capture, path)).camera.c2w for path in parsed.train])
    return invert(similarity(world, parsed.poses))


def cameras_in_world(
    named: Sequence[tuple[str, Camera]], back: Float[Tensor, "3 4"]
) -> list[tuple[str, Camera]]:
    """Bring (name, camera) pairs from model coordinates into the world, by `model_to_world`."""
    return [
        (name, replace(camera, c2w=into_model(camera.c2w.double(), back).float())) for name, camera in named
    ]


def world_from_nerfstudio(
    scene: Scene | str | Path, config: str | Path, *, trust: bool = False
) -> Float64[Tensor, "4 4"]:
    """Return the similarity from a nerfstudio run's coordinates to a scene's world coordinates.

    A run rotates, moves and scales the capture when it reads it; its viewer and `ns-export` show and write
    things in these coordinates. The matrix is a pose for `edit` and `make_recipe`.

    Args:
        scene: The scene, or its folder.
        config: The `config.yml` of a run of the same capture.
        trust: Load the run with nerfstudio's own loader, which can execute code embedded in the files.

    Raises:
        InputError: The run cannot be read, or is of another capture.
    """
    scene = scene if isinstance(scene, Scene) else Scene.open(scene)
    capture = scene.capture_as_found
    back = model_to_world(capture, Path(config), trust).clone()
    back[:, 3] += torch.tensor(capture.origin, dtype=torch.float64)
    return torch.cat([back, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)])
