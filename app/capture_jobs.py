"""The job that makes what a scene begins with: a capture, of a video or photographs, or a base, of splats."""

from __future__ import annotations

from collections.abc import Sequence

from nerf_insert.app.jobs.job import UNFINISHED, Job
from nerf_insert.app.services import Services
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.errors import InputError


def add_capture(
    services: Services,
    location: SceneLocation,
    floor: Sequence[str] = (),
    scale: tuple[str, str, float] | None = None,
) -> Job:
    """Queue the job. On a capture that is complete it only moves the cameras; of splats it makes the scene.

    Args:
        services: What the server does.
        location: The scene folder.
        floor: Pixels that show the floor, each "VIEW=X,Y".
        scale: Two pixels and the distance between what they show.

    Raises:
        InputError: The scene was not made from a video or photographs, is built already, or is being worked
            on.
    """
    source, capture = location.source, location.capture_path
    if source is None or capture is None:
        raise InputError("the cameras of this capture came with it and stay as they are")
    if location.trained:
        raise InputError("this scene is already built: its cameras stay where they are")
    if any(job.state in UNFINISHED for job in services.jobs.list_jobs(location.page)):
        raise InputError("this scene is being worked on: wait for the job, or stop it")
    if location.from_splats:
        adopt = ["train", "--splat", str(source), "--out", str(location.folder)]
        return services.jobs.add(location.page, "capture", "Read the splats", lambda folder: adopt)
    arguments = ["capture", str(source), "--out", str(capture)]
    for pixel in floor:
        arguments += ["--floor", pixel]
    if scale is not None:
        arguments += ["--scale", scale[0], scale[1], f"{scale[2]:g}"]
    title = "Move the cameras" if floor or scale else "Find the camera positions"
    return services.jobs.add(location.page, "capture", title, lambda folder: arguments)
