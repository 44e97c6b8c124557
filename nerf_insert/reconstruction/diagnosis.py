"""What structure from motion made of each photograph, and why it left some out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nerf_insert.errors import InputError, first_few
from nerf_insert.reconstruction.colmap import Mapping
from nerf_insert.reconstruction.photographs import Photograph
from nerf_insert.reconstruction.solution import Solution
from nerf_insert.reconstruction.sources import FEWEST

FEW_FEATURES = 100
LEAST_SHARE = 0.2  # of the photographs that must have a camera
LARGE_ERROR = 2.0  # pixels, mean of a photograph or of all
LEAST_BASELINE = 0.02  # spread of the cameras, of the median distance of the points
MOST_STRETCHES = 4  # that are named in a message


@dataclass(frozen=True)
class Finding:
    """One photograph.

    Attributes:
        name: Its path in the capture.
        source: What it was made from.
        placed: Whether it has a camera in the capture.
        features: How many features were found.
        points: How many triangulated points it sees.
        error: Mean reprojection error, pixels.
        sharpness: Variance of the Laplacian.
        blurred: Whether it is much less sharp than its neighbors.
        why: Why it has no camera.
    """

    name: str
    source: str
    placed: bool
    features: int
    points: int = 0
    error: float = 0.0
    sharpness: float = 0.0
    blurred: bool = False
    why: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All photographs, and the whole.

    Attributes:
        findings: The photographs in order.
        mapper: "incremental" or "global".
        lens: COLMAP's name of the lens model.
        error: Mean reprojection error, pixels.
        warnings: What the user should know.
    """

    findings: tuple[Finding, ...]
    mapper: str
    lens: str
    error: float
    warnings: tuple[str, ...]

    @property
    def placed(self) -> int:
        """How many photographs have a camera."""
        return sum(finding.placed for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the diagnosis as plain data."""
        return asdict(self)


def diagnose(photographs: Sequence[Photograph], mapping: Mapping) -> Diagnosis:
    """Say what became of each photograph."""
    placed = set(mapping.solution.names) if mapping.solution is not None else set()
    other = {name for model in mapping.models[1:] for name in model} - placed
    points, errors = _per_photograph(mapping.solution)
    findings = []
    for photograph in photographs:
        name = photograph.name
        features = mapping.features.get(name, 0)
        findings.append(
            Finding(
                name=name,
                source=photograph.source,
                placed=name in placed,
                features=features,
                points=points.get(name, 0),
                error=errors.get(name, 0.0),
                sharpness=photograph.sharpness,
                blurred=photograph.blurred,
                why="" if name in placed else _why(photograph, features, name in other),
            )
        )
    return Diagnosis(
        tuple(findings), mapping.mapper, mapping.lens, mapping.error, tuple(_warnings(findings, mapping))
    )


def check_registered(mapping: Mapping, diagnosis: Diagnosis, source: Path) -> Solution:
    """Return the solution.

    Raises:
        InputError: There is none, or it holds too few photographs to be of use.
    """
    total, solution = len(diagnosis.findings), mapping.solution
    features = np.array([finding.features for finding in diagnosis.findings])
    if solution is None and np.median(features) < FEW_FEATURES:
        raise InputError(
            f"{source} shows almost no texture (half of its photographs have fewer than {FEW_FEATURES} "
            "features): blank "
            "walls, glass and darkness give no camera positions. Photograph textured things, in more light"
        )
    if solution is None:
        raise InputError(
            f"no camera positions were found for the {total} photographs of {source}: neighbors do not "
            "overlap enough, "
            "the camera only turned on the spot, or there is too little texture. Walk around the scene, and "
            "let each "
            "photograph show most of what the one before shows"
        )
    placed = diagnosis.placed
    if placed < max(FEWEST, LEAST_SHARE * total):
        raise InputError(
            f"only {placed} of the {total} photographs of {source} could be connected with each other, too "
            "few for a "
            f"scene ({_stretches(diagnosis.findings)}). Photograph again, with neighbors that overlap by "
            "three quarters"
        )
    depth = np.linalg.norm(solution.points - solution.centers.mean(0), axis=1)
    spread = float(np.linalg.norm(solution.centers - solution.centers.mean(0), axis=1).max())
    if spread < LEAST_BASELINE * float(np.median(depth)):
        raise InputError(
            f"the camera of {source} only turned on the spot, so nothing is seen from two sides: walk "
            "around the scene"
        )
    return solution


def _warnings(findings: Sequence[Finding], mapping: Mapping) -> list[str]:
    missing = [finding for finding in findings if not finding.placed]
    said = []
    if missing and len(missing) < len(findings):
        said.append(
            f"{len(missing)} of {len(findings)} photographs have no camera position and are left out: "
            f"{_stretches(findings)}"
        )
    if mapping.error > LARGE_ERROR:
        said.append(
            f"the reprojection error is large ({mapping.error:.1f} px): things moved, or the lens needs "
            "another model "
            "(--lens fisheye for action cameras)"
        )
    blurred = [finding.source for finding in findings if finding.blurred and finding.placed]
    if len(blurred) > len(findings) / 10:
        said.append(
            f"{len(blurred)} photographs are blurred: move slower, in more light ({first_few(blurred)})"
        )
    return said


def _stretches(findings: Sequence[Finding]) -> str:
    """The photographs without a camera, those in a row together, and why."""
    runs: list[list[Finding]] = []
    before = True
    for finding in findings:
        if not finding.placed:
            if before or runs[-1][-1].why != finding.why:
                runs.append([])
            runs[-1].append(finding)
        before = finding.placed
    runs.sort(key=len, reverse=True)
    words = [
        f"{run[0].source}"
        + (f" to {run[-1].source} ({len(run)})" if len(run) > 1 else "")
        + f": {run[0].why}"
        for run in runs[:MOST_STRETCHES]
    ]
    rest = sum(len(run) for run in runs[MOST_STRETCHES:])
    return "; ".join(words) + (f"; and {rest} more" if rest else "")


def _why(photograph: Photograph, features: int, elsewhere: bool) -> str:
    if features < FEW_FEATURES:
        return "almost no texture"
    if elsewhere:
        return "they fit together but not with the rest: another place, or the way between is missing"
    if photograph.blurred:
        return "blurred"
    return "too little in common with the others: photograph the way between, in smaller steps"


def _per_photograph(solution: Solution | None) -> tuple[dict[str, int], dict[str, float]]:
    """How many points each photograph sees, and their mean reprojection error."""
    if solution is None:
        return {}, {}
    index, point = solution.seen[:, 0].astype(int), solution.seen[:, 1].astype(int)
    counts = np.bincount(index, minlength=len(solution.names))
    sums = np.bincount(index, solution.errors[point], minlength=len(solution.names))
    means = sums / np.maximum(counts, 1)
    return (
        dict(zip(solution.names, map(int, counts), strict=True)),
        dict(zip(solution.names, (round(float(mean), 3) for mean in means), strict=True)),
    )
