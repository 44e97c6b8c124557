"""Remove an object that is marked by masks on a few photographs.

The region is the visual hull of the masks. Without a mesh and a prompt the inpainter is `fill`, which
completes what the object hid. About one minute on two CPU cores with the default settings.

    python examples/02_remove_with_masks.py
"""

from pathlib import Path

import tyro

from nerf_insert import Masks, Progress, Scene, edit, render_path, sample_path, train_scene

SAMPLE = sample_path()


def main(
    capture: Path = SAMPLE,
    folder: Path = Path("example-scene"),
    out: Path = Path("example-out/02"),
    masks: Path = SAMPLE / "masks",
    steps: int | None = None,
    train_steps: int | None = None,
) -> None:
    """Remove an object that is marked by masks on a few photographs.

    Args:
        capture: Photographs with a transforms.json.
        folder: Scene folder to make or open.
        out: Folder for the images.
        masks: Folder of masks, white where the object is, named as the photographs.
        steps: Steps of the layer's fit.
        train_steps: Steps of the training, where there is no scene yet.
    """
    progress = Progress.of()
    new = not (folder / "scene.json").exists()
    scene = train_scene(capture, folder, steps=train_steps, progress=progress) if new else Scene.open(folder)
    region = Masks({file.stem: str(file) for file in sorted(masks.glob("*.png"))})
    layer = edit(scene, region=region, name="removed", steps=steps, progress=progress)
    print(f"made the layer {layer.name!r} from {len(region.masks)} masks")

    # Three test views, without and with the layers.
    cameras = [(view.name, view.camera) for view in scene.capture.test[:3]]
    render_path(scene, cameras, out / "before", layers=False)
    render_path(scene, cameras, out / "after")
    print(f"look at {out / 'before'} and {out / 'after'}")


if __name__ == "__main__":
    tyro.cli(main)
