"""Edit with an inpainter of your own: give what is in a box another color.

An inpainter is a class with the method `inpaint`. The edit asks it to paint the masked part of a batch of
views and fits the layer to the result. This one changes the color and keeps light and shadow. About one
minute on two CPU cores with the default settings.

    python examples/03_own_inpainter.py --color teal

Started in this folder, the command line finds the class too:

    nerf-insert edit SCENE --box 0,0,0.1,0.4,0.4,0.2 --inpainter 03_own_inpainter:Recolor --prompt teal
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import tyro
from PIL import ImageColor

from nerf_insert import (
    Box,
    Guide,
    Inpainter,
    InpaintView,
    InputError,
    Progress,
    Scene,
    edit,
    render_path,
    sample_path,
    train_scene,
)


class Recolor(Inpainter):
    """Paints what is in the region in the color that the prompt names."""

    rounds = 1  # painting again would change nothing
    consistent = True  # all views show one and the same object
    uses_render = "none"  # `image` and `depth` of the views are not read, so they need not be rendered

    def __init__(self, amount: float = 0.8):
        self.amount = amount

    def check(self, guide: Guide) -> None:
        """Complain about an unknown color before the work starts."""
        self.color(guide)

    def color(self, guide: Guide) -> torch.Tensor:
        """Return the color that the prompt names, sRGB in 0..1."""
        try:
            return torch.tensor(ImageColor.getrgb(guide.prompt)[:3]) / 255
        except ValueError:
            raise InputError(f"{guide.prompt!r} is no color: try 'teal' or '#ff8800'") from None

    def inpaint(
        self, views: Sequence[InpaintView], guide: Guide, *, strength: float, seed: int
    ) -> list[torch.Tensor]:
        """Give each view the color, as bright or dark as the photograph is at each pixel."""
        color = self.color(guide)
        painted = []
        for view in views:
            brightness = view.original.mean(-1, keepdim=True) / color.mean().clamp_min(0.05)
            painted.append(torch.lerp(view.original, (brightness * color).clamp(0, 1), self.amount))
        return painted


def main(
    capture: Path = sample_path(),
    folder: Path = Path("example-scene"),
    out: Path = Path("example-out/03"),
    color: str = "teal",
    center: tuple[float, float, float] = (0.0, 0.0, 0.1),
    size: tuple[float, float, float] = (0.4, 0.4, 0.2),
    steps: int | None = None,
    train_steps: int | None = None,
) -> None:
    """Edit with an inpainter of your own: give what is in a box another color.

    Args:
        capture: Photographs with a transforms.json.
        folder: Scene folder to make or open.
        out: Folder for the image.
        color: A name, or #rrggbb.
        center: Center of the box, world coordinates.
        size: Side lengths of the box.
        steps: Steps of the layer's fit.
        train_steps: Steps of the training, where there is no scene yet.
    """
    progress = Progress.of()
    new = not (folder / "scene.json").exists()
    scene = train_scene(capture, folder, steps=train_steps, progress=progress) if new else Scene.open(folder)
    layer = edit(
        scene,
        region=Box(center, size),
        prompt=color,
        inpainter=Recolor,
        inpainter_options={"amount": 0.9},
        name=color,
        steps=steps,
        progress=progress,
    )
    print(f"made the layer {layer.name!r}")
    view = scene.capture.test[0]
    (file,) = render_path(scene, [(view.name, view.camera)], out)
    print(f"look at {file}")


if __name__ == "__main__":
    tyro.cli(main)
