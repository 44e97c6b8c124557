"""One end result is kept: the demo's two kinds of edits on the tests' tiny scene, as images.

The other tests hold properties; this one notices when an edit changes though nothing should have changed it.
The images in tests/data/golden were written by running this file, and looked at. A fit repeats every rounding
some hundred times, so other CPUs and numbers of threads give slightly other layers: see AGREE. The light is
given: this scene, painted in random colors, has none, and what is found there hangs on the last bit. The
shadow that the removal takes back is searched coarsely, which leaves 42 dB to the images of the fine search.
"""

import sys
from pathlib import Path

import pytest
import torch

from nerf_insert import Box, Scene, Schedule, edit
from nerf_insert.io.images import read_image, write_image

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
AGREE = 36.0  # dB; 59 between one and two threads, where the images' 8 bits are the limit
SHORT = Schedule(steps=300, rays=1024)


def edited_views(capture, scene_folder):
    """Insert the blue ball from its mesh, remove the red one; the test views by name."""
    scene = Scene.open(scene_folder)
    edit(scene, mesh=capture / "object.ply", schedule=SHORT, inpainter_options={"light": "flat"})
    edit(scene, region=Box(center=(0.0, 0.0, 0.3), size=(0.64, 0.64, 0.66)), inpainter="fill", schedule=SHORT)
    stack = Scene.open(scene_folder).stack()
    return {view.path.stem: stack.render_image(view.camera).rgb for view in scene.capture.test}


@pytest.mark.slow
@pytest.mark.usefixtures("coarse_light")
def test_edited_views_are_those_that_were_looked_at(capture_folder, scene_folder):
    for name, now in edited_views(capture_folder, scene_folder).items():
        then = read_image(GOLDEN / f"{name}.png")[0]
        psnr = float(-10 * torch.log10((now - then).square().mean()))
        assert psnr > AGREE, f"{name}: {psnr:.1f} dB"


if __name__ == "__main__":
    import tempfile

    sys.path.append(str(Path(__file__).parents[1] / "support"))
    import tiny

    with tempfile.TemporaryDirectory() as folder:
        capture = tiny.tiny_capture(Path(folder) / "capture")
        scene = tiny.tiny_scene(folder, capture)
        for name, image in edited_views(capture, scene).items():
            write_image(GOLDEN / f"{name}.png", image)
