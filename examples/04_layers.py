"""Layers: what an edit adds, and what can be done with it.

Makes two edits, then disables, moves, renames, removes and restores layers, and checks the promise that an
edit keeps: a pixel whose ray misses every region is identical to the bit. About one minute on two CPU cores
for each edit, with the default settings.

    python examples/04_layers.py
"""

from pathlib import Path

import torch
import tyro

from nerf_insert import Box, InputError, Progress, Scene, edit, render, sample_path, train_scene

SAMPLE = sample_path()


def show(scene: Scene, what: str) -> None:
    """Print what was done, and the scene's layers, bottom to top."""
    names = [entry.name + ("" if entry.enabled else " (disabled)") for entry in scene.layers]
    print(f"{what:>10}: {', '.join(names)}")


def main(
    capture: Path = SAMPLE,
    folder: Path = Path("example-scene"),
    mesh: Path = SAMPLE / "object.ply",
    steps: int | None = None,
    train_steps: int | None = None,
) -> None:
    """Make two layers, and try everything that can be done with layers.

    Args:
        capture: Photographs with a transforms.json.
        folder: Scene folder to make or open. Layers that it has are taken off; their folders stay.
        mesh: GLB, glTF, OBJ, PLY or STL.
        steps: Steps of each layer's fit.
        train_steps: Steps of the training, where there is no scene yet.
    """
    progress = Progress.of()
    new = not (folder / "scene.json").exists()
    scene = train_scene(capture, folder, steps=train_steps, progress=progress) if new else Scene.open(folder)
    while scene.layers:
        scene.remove(len(scene.layers))

    how = {"steps": steps, "shadow": "none", "progress": progress}  # a shadow is a layer of its own, below
    edit(scene, mesh=mesh, name="one", **how)
    edit(scene, mesh=mesh, pose="translate=0.15,0.15,0", name="two", **how)
    show(scene, "edited")
    scene.enable(1, False)
    show(scene, "disable 1")
    scene.enable(1)
    scene.move(1, 2)  # where regions overlap, the upper layer shows
    show(scene, "move 1 2")
    scene.rename(2, "the first")
    show(scene, "rename 2")
    scene.remove(1)
    show(scene, "remove 1")
    scene.undo()
    show(scene, "undo")

    camera = scene.capture.test[0].camera
    before, after = render(scene, camera, layers=False).rgb, render(scene, camera).rgb
    inside = torch.zeros(camera.height, camera.width, dtype=torch.bool)
    for entry in scene.layers:
        inside |= scene.load_layer(entry).region.project(camera)
    identical = torch.equal(before[~inside], after[~inside])
    print(f"{int((~inside).sum())} pixels miss both regions, identical: {identical}")
    print(f"{int(inside.sum())} pixels meet one, changed: {int((before != after).any(-1).sum())}")

    try:  # a region that cannot be edited is refused before any work is done
        edit(scene, region=Box((100.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    except InputError as error:
        print(f"refused: {error}")


if __name__ == "__main__":
    tyro.cli(main)
