"""Train a scene, open it, and render one view.

A scene folder is made once: about three minutes on two CPU cores with the default settings. Run the script
again and it opens the folder, which takes seconds. The other examples use the same folder.

    python examples/00_open_a_scene.py
"""

from pathlib import Path

import tyro

from nerf_insert import Progress, Scene, render, render_path, sample_path, train_scene


def main(
    capture: Path = sample_path(),
    folder: Path = Path("example-scene"),
    out: Path = Path("example-out/00"),
    train_steps: int | None = None,
) -> None:
    """Train a scene, open it, and render one view.

    Args:
        capture: Photographs with a transforms.json.
        folder: Scene folder to make or open.
        out: Folder for the image.
        train_steps: Steps of the training; fewer are quicker and worse.
    """
    progress = Progress.of()
    new = not (folder / "scene.json").exists()
    scene = train_scene(capture, folder, steps=train_steps, progress=progress) if new else Scene.open(folder)
    train, test = len(scene.capture.train), len(scene.capture.test)
    print(f"{folder}: {train} photographs to train on, {test} to test on, {len(scene.layers)} layers")

    # Render the camera of a photograph that the training has not seen, and compare.
    view = scene.capture.test[0]
    rendered = render(scene, view.camera)
    error = float(((rendered.rgb - view.photograph()) ** 2).mean())
    print(f"{view.name}: mean squared error {error:.5f}, opacity {float(rendered.accumulation.mean()):.2f}")

    # The same as a file, with depth.
    (file,) = render_path(scene, [(view.name, view.camera)], out, depth=True)
    print(f"look at {file} and {out / 'depth'}")


if __name__ == "__main__":
    tyro.cli(main)
