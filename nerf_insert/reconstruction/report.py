"""report.html: what was found in a video or photographs, in one file that opens without a network."""

from __future__ import annotations

import base64
import html
import io
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image

from nerf_insert.io.files import atomic_write
from nerf_insert.reconstruction.capture_files import reliable
from nerf_insert.reconstruction.coverage import cover
from nerf_insert.reconstruction.diagnosis import Diagnosis, Finding
from nerf_insert.reconstruction.solution import Solution
from nerf_insert.reconstruction.up_direction import Up

THUMBNAIL = 150  # pixels of the longer side
MOST_THUMBNAILS = 300
MOST_POINTS = 6000  # that are drawn
UP_FROM = {
    "metadata": "the accelerometer's value in the photographs",
    "scene": "the floors and walls of the scene",
    "cameras": "how the cameras were held and moved",
    "--up": "what you said (--up)",
    "--floor": "the floor that you showed",
}


def write_report(
    path: Path, folder: Path, solution: Solution, diagnosis: Diagnosis, up: Up, known_length: bool
) -> Path:
    """Write the report of a capture.

    Args:
        path: The HTML file.
        folder: The capture, for its photographs.
        solution: Cameras and points in the capture's world.
        diagnosis: What was found.
        up: Up; its origin is a key of UP_FROM.
        known_length: Whether the unit is that of a length the user gave.

    Returns:
        The file.
    """
    coverage = cover(solution, diagnosis.findings)
    template = Template(
        files("nerf_insert.reconstruction").joinpath("report.html").read_text(encoding="utf-8")
    )
    total = len(diagnosis.findings)
    facts = {
        "Photographs with a camera position": f"{diagnosis.placed} of {total}",
        "Reprojection error": f"{diagnosis.error:.2f} px",
        "Points": f"{int(reliable(solution).sum())}",
        "Lens": f"{diagnosis.lens}, {len(solution.lenses)} in use",
        "Up follows from": UP_FROM[up.origin]
        + ("" if up.sure else "; not sure, show the floor if this leans"),
        "Unit of length": "yours (--scale)"
        if known_length
        else "the mean distance of the cameras from the scene",
    }
    content = template.substitute(
        title=html.escape(folder.resolve().name),
        facts="".join(
            f"<tr><th>{key}</th><td>{html.escape(value)}</td></tr>" for key, value in facts.items()
        ),
        warnings="".join(f"<li class=warning>{html.escape(text)}</li>" for text in diagnosis.warnings),
        advice="".join(f"<li>{html.escape(text)}</li>" for text in coverage.advice),
        sheet="".join(_thumbnail(folder, finding) for finding in _some(diagnosis.findings)),
        data=json.dumps(_drawing(solution, coverage.azimuth, coverage.elevation)).replace("<", "\\u003c"),
    )
    atomic_write(path, content)
    return path


def _some(findings: tuple[Finding, ...]) -> list[Finding]:
    """All findings, or evenly chosen ones where there are very many; those without a camera are kept."""
    step = -(-len(findings) // MOST_THUMBNAILS)
    return [finding for k, finding in enumerate(findings) if k % step == 0 or not finding.placed]


def _thumbnail(folder: Path, finding: Finding) -> str:
    with Image.open(folder / finding.name) as image:
        image.draft("RGB", (THUMBNAIL, THUMBNAIL))
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=70)
    marks = [f"{finding.error:.2f} px, {finding.points} points"] if finding.placed else [finding.why]
    if finding.blurred:
        marks.append("blurred")
    kind = "placed" if finding.placed and not finding.blurred else "blurred" if finding.placed else "missing"
    source, stem = html.escape(finding.source), html.escape(Path(finding.name).stem)
    image = base64.b64encode(data.getvalue()).decode()
    return (
        f'<figure class={kind} title="{source}"><img alt="" src="data:image/jpeg;base64,{image}">'
        f"<figcaption>{stem}<br>{html.escape(', '.join(marks))}</figcaption></figure>"
    )


def _drawing(solution: Solution, azimuth: tuple[float, ...], elevation: tuple[float, ...]) -> dict[str, Any]:
    """What the report's script draws: points, cameras and directions, in rounded numbers."""
    keep = np.flatnonzero(reliable(solution))
    if len(keep) > MOST_POINTS:
        keep = np.random.default_rng(0).choice(keep, MOST_POINTS, replace=False)
    lens = [solution.lenses[k] for k in solution.lens]
    return {
        "points": np.round(solution.points[keep], 4).tolist(),
        "colors": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in solution.colors[keep]],
        "cameras": np.round(solution.c2w, 4).tolist(),
        "half": [[round(o["w"] / o["fl_x"] / 2, 4), round(o["h"] / o["fl_y"] / 2, 4)] for o in lens],
        "names": [Path(name).stem for name in solution.names],
        "azimuth": np.round(azimuth, 1).tolist(),
        "elevation": np.round(elevation, 1).tolist(),
    }
