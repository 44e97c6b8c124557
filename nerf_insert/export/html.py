"""A scene as one web page that draws its splats by itself, with no request to anywhere."""

from __future__ import annotations

import base64
import html
import json
from pathlib import Path
from typing import Any

import torch

from nerf_insert.capture.view import View
from nerf_insert.errors import InputError
from nerf_insert.export.splats import EditedSplats, edited_splats
from nerf_insert.export.web_splats import PackedSplats, pack_splats
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.io.files import replacing
from nerf_insert.rendering.outputs import check_folder
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.renders import Layers
from nerf_insert.scene.scene import Scene
from nerf_insert.splats.splats import Splats

VIEWER = Path(__file__).parent / "viewer"
SCRIPTS = ("orbit_camera.js", "splat_view.js", "orbit_controls.js", "page.js")
DATA = b'<script type="text/plain" class="splats">%s</script>\n'
SUFFIXES = (".html", ".htm")


def export_html(
    scene: Scene,
    file: str | Path,
    *,
    layers: Layers = True,
    layer: int | None = None,
    view: str | None = None,
    count: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Write a scene, or a layer alone, as a web page in which it can be looked at from all sides.

    The page is one file that needs nothing else and asks for nothing from elsewhere. It shows the splats that
    `export_splats` writes, by WebGL 2, as many as `MAX_SPLATS` of `nerf_insert.export.web_splats`; of more,
    the least visible ones are left out with a warning.

    Args:
        scene: The scene.
        file: The page, .html or .htm.
        layers: Which layers to include, see `layer_stack`.
        layer: Show only what this layer shows in its region, counted from 1 at the bottom.
        view: The name of the photograph from whose camera the scene is seen first; None: the first one.
        count: The largest number of splats of each layer, or of a base that has none.
        steps: Steps of their fit.
        seed: Random seed of the fit.
        progress: Reports the work.

    Returns:
        `{"file": path, "bytes": its size, "shown": splats in the page}` and the numbers that `export_splats`
        returns.

    Raises:
        InputError: The suffix is another one, there is no such layer or photograph, or nothing can be seen.
        RunError: The views show nothing solid, or the file cannot be written.
    """
    file = Path(file)
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{file}: a web page is written as {' or '.join(SUFFIXES)}; choose one of these suffixes"
        )
    check_folder(file.parent)
    first = scene.capture.view(view) if view else scene.capture.views[0]
    edited = edited_splats(
        scene, layers=layers, layer=layer, count=count, steps=steps, seed=seed, progress=progress
    )
    packed = packed_scene(scene, edited)
    pieces = {  # the title last: it may hold anything
        "@description@": json.dumps({"splats": packed.about, "start": start_of(scene, first)}),
        "@scripts@": "".join((VIEWER / name).read_text(encoding="utf-8") for name in SCRIPTS),
        "@title@": html.escape(scene.folder.resolve().name),
    }
    before, after = (VIEWER / "page.html").read_text(encoding="utf-8").split("@data@")
    for mark, text in pieces.items():
        before, after = before.replace(mark, text), after.replace(mark, text)
    with replacing(file) as new, new.open("wb") as page, progress.task("Writing the page", total=1) as task:
        page.write(before.encode())
        for chunk in packed.deflated():
            page.write(DATA % base64.b64encode(chunk))
        task.advance(1)
        page.write(after.encode())
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "shown": packed.about["count"],
        **edited.counts(),
    }


def packed_scene(scene: Scene, edited: EditedSplats) -> PackedSplats:
    """Pack a scene's splats for the viewer, in world coordinates (inside of the program).

    Raises:
        InputError: None of them can be seen.
    """
    base, added = edited.parts()
    field = scene.base
    trained_so = isinstance(field, SplatField) and field.antialiased
    antialiased = [torch.full((part.count,), trained_so) for part in base]
    antialiased += [torch.zeros(part.count, dtype=torch.bool) for part in added]
    background = field.background if isinstance(field, SplatField) else torch.zeros(3)
    return pack_splats(Splats.joined([*base, *added]), background.cpu(), torch.cat(antialiased))


def start_of(scene: Scene, view: View) -> dict[str, Any]:
    """Return where the viewer's controls start: at a photograph's camera.

    They turn about a point on its axis that is as far away as the point that the photographs look at.
    """
    camera = view.camera
    forward, middle = -camera.c2w[:, 2], scene.capture.center_of_attention
    away = float((middle - camera.center).norm())
    ahead = float((middle - camera.center) @ forward)
    target = camera.center + forward * (ahead if ahead > 0.1 * away else max(away, 1e-6))
    return {
        "eye": camera.center.tolist(),
        "target": target.tolist(),
        "up": scene.capture.up.tolist(),
        "focal": [camera.fx, camera.fy],
        "width": camera.width,
        "height": camera.height,
    }
