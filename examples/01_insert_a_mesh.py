"""Insert a colored mesh, and measure the result against true images.

First a preview, which checks the region and paints a few views in seconds; then the edit, about one minute on
two CPU cores with the default settings; then the comparison. Run again, it recognizes the finished edit.

    python examples/01_insert_a_mesh.py
    python examples/01_insert_a_mesh.py --pose "scale=0.8 rotate=0,0,45"
"""

from pathlib import Path

import tyro

from nerf_insert import (
    Progress,
    Scene,
    Truth,
    edit,
    evaluate,
    make_recipe,
    preview,
    sample_path,
    train_scene,
)

SAMPLE = sample_path()


def main(
    capture: Path = SAMPLE,
    folder: Path = Path("example-scene"),
    out: Path = Path("example-out/01"),
    mesh: Path = SAMPLE / "object.ply",
    pose: str | None = None,
    truth: Path = SAMPLE / "truth" / "insert",
    object_mask: Path = SAMPLE / "object_mask",
    steps: int | None = None,
    train_steps: int | None = None,
) -> None:
    """Insert a colored mesh, and measure the result against true images.

    Args:
        capture: Photographs with a transforms.json.
        folder: Scene folder to make or open.
        out: Folder for the preview.
        mesh: GLB, glTF, OBJ, PLY or STL.
        pose: From the mesh's coordinates to the world's; by default they are the same.
        truth: True images of the edit, named as the photographs.
        object_mask: White where the object is visible in them.
        steps: Steps of the layer's fit.
        train_steps: Steps of the training, where there is no scene yet.
    """
    progress = Progress.of()
    new = not (folder / "scene.json").exists()
    scene = train_scene(capture, folder, steps=train_steps, progress=progress) if new else Scene.open(folder)
    # Without a region, the region is the mesh and a little around it; the inpainter is `mesh`.
    recipe = make_recipe(mesh=mesh, pose=pose, steps=steps)
    found = preview(scene, recipe, out, progress)
    print(f"{found['seen_by']} training views see the region; look at {out / 'sheet.png'}")

    layer = edit(scene, recipe, progress=progress)
    print(f"made the layer {layer.name!r} in {scene.layer_folder(layer)}")

    # PSNR in dB on views that nothing was fitted to.
    result = evaluate(scene, truth=Truth(truth, object_mask), progress=progress)
    for which in ("base", "edited"):
        print(f"{which}: {result.mean[which]['in_object']:.1f} dB in the object")
    if result.locality is not None:
        print(f"largest change outside the region: {result.locality.largest_change:g}")


if __name__ == "__main__":
    tyro.cli(main)
