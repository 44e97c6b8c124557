"""The quick check of a new scene: mean PSNR of a field's renders against photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nerf_insert.capture.view import View
from nerf_insert.evaluation.image_metrics import psnr
from nerf_insert.rendering.stack import LayerStack, RadianceField
from nerf_insert.runtime.progress import Progress


def mean_psnr(
    field: RadianceField,
    views: Sequence[View],
    progress: Progress,
    *,
    longest_side: int | None = None,
    description: str = "Comparing with photographs",
) -> float | None:
    """Render a field from the cameras of photographs and average the PSNR over the views.

    Args:
        field: The field to render, without layers.
        views: Photographs to compare with; masked pixels do not count.
        progress: Gets one step per view.
        longest_side: Compare at most at this size, pixels along the longer side; None: full size.
        description: Name of the task in `progress`.

    Returns:
        The mean in dB; None if there are no views.
    """
    values: list[float] = []
    if not views:
        return None
    with progress.task(description, total=len(views)) as task:
        for view in views:
            if longest_side is not None:
                scale = min(1.0, longest_side / max(view.size))
                view = replace(view, camera=view.camera.scaled(scale))
            render = LayerStack(field).render_image(view.camera).rgb
            values.append(psnr(render, view.photograph(), view.valid()))
            task.advance(1, note=f"{sum(values) / len(values):.1f} dB")
    return sum(values) / len(values)
