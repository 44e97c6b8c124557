"""Sweep: the same edit with several seeds, compared, and the best one kept.

Each candidate is a recipe, so a sweep over options or schedules looks the same. About one minute for each
seed on two CPU cores with the default settings.

    python examples/06_sweep_over_seeds.py --seeds 0 1 2
"""

import json
from pathlib import Path

import tyro

from nerf_insert import (
    Masks,
    Progress,
    Scene,
    Truth,
    edit,
    evaluate,
    make_recipe,
    sample_path,
    train_scene,
)

SAMPLE = sample_path()


def main(
    capture: Path = SAMPLE,
    folder: Path = Path("example-scene"),
    out: Path = Path("example-out/06"),
    masks: Path = SAMPLE / "masks",
    truth: Path = SAMPLE / "truth" / "remove",
    object_mask: Path = SAMPLE / "removed_mask",
    seeds: tuple[int, ...] = (0, 1),
    steps: int | None = None,
    train_steps: int | None = None,
) -> None:
    """Make the same edit with several seeds, compare them, and keep the best one.

    Args:
        capture: Photographs with a transforms.json.
        folder: Scene folder to make or open. Layers that it has are taken off; their folders stay.
        out: Folder for the scores.
        masks: Folder of masks, white where the object is, named as the photographs.
        truth: True images of the edit, named as the photographs.
        object_mask: White where the edit is visible in them.
        seeds: Random seeds to try.
        steps: Steps of each layer's fit.
        train_steps: Steps of the training, where there is no scene yet.
    """
    progress = Progress.of()
    new = not (folder / "scene.json").exists()
    scene = train_scene(capture, folder, steps=train_steps, progress=progress) if new else Scene.open(folder)
    while scene.layers:
        scene.remove(len(scene.layers))

    region = Masks({file.stem: str(file) for file in sorted(masks.glob("*.png"))})
    recipe = make_recipe(region=region, steps=steps)
    scores: dict[int, float] = {}
    for seed in seeds:
        edit(scene, recipe, seed=seed, name=f"seed {seed}", progress=progress)
        result = evaluate(scene, truth=Truth(truth, object_mask), progress=progress)
        scores[seed] = result.mean["edited"]["in_object"]
        print(f"seed {seed}: {scores[seed]:.2f} dB")
        scene.remove(len(scene.layers))  # the next seed begins with the bare base, too

    best = max(scores, key=scores.__getitem__)
    edit(scene, recipe, seed=best, name="removed", progress=progress)
    out.mkdir(parents=True, exist_ok=True)
    (out / "scores.json").write_text(json.dumps(scores))
    print(f"kept seed {best}; all scores are in {out / 'scores.json'}")


if __name__ == "__main__":
    tyro.cli(main)
