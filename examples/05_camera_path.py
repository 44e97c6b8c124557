"""Render camera paths to video: an orbit around the edit, and a flight between photographs.

Works on any scene folder, with or without layers; about one second for each frame on two CPU cores at the
size of the sample.

    python examples/05_camera_path.py --frames 24
"""

from pathlib import Path

import tyro

from nerf_insert import (
    Progress,
    Scene,
    interpolate_cameras,
    orbit_cameras,
    render_path,
    sample_path,
    train_scene,
)


def main(
    capture: Path = sample_path(),
    folder: Path = Path("example-scene"),
    out: Path = Path("example-out/05"),
    frames: int = 48,
    fps: float = 12.0,
    train_steps: int | None = None,
) -> None:
    """Render camera paths to video.

    Args:
        capture: Photographs with a transforms.json.
        folder: Scene folder to make or open.
        out: Folder for the videos.
        frames: Frames of each video.
        fps: Frames per second.
        train_steps: Steps of the training, where there is no scene yet.
    """
    progress = Progress.of()
    new = not (folder / "scene.json").exists()
    scene = train_scene(capture, folder, steps=train_steps, progress=progress) if new else Scene.open(folder)
    # Circle the topmost layer's region, or what the photographs look at, as far away as they were taken.
    orbit = orbit_cameras(scene, frames)
    render_path(scene, orbit, out / "orbit.mp4", fps=fps, progress=progress)
    render_path(scene, orbit, out / "before.mp4", fps=fps, layers=False, progress=progress)

    # Fly through the cameras of a few photographs.
    views = scene.capture.views
    stops = [view.camera for view in views[:: max(1, len(views) // 5)]]
    render_path(scene, interpolate_cameras(stops, frames), out / "flight.mp4", fps=fps, progress=progress)
    print(f"look at orbit.mp4, before.mp4 and flight.mp4 in {out}")


if __name__ == "__main__":
    tyro.cli(main)
