"""The check of the poses: what was measured, what it means, and how the capture is to be read."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nerf_insert.capture import dataparsers
from nerf_insert.capture.axes import reorient
from nerf_insert.capture.capture import Capture
from nerf_insert.capture.masks_beside import share_note
from nerf_insert.capture.pose_check import hypotheses
from nerf_insert.capture.pose_check.epipolar import Fit, Posed, Rays
from nerf_insert.capture.pose_check.exposures import exposure_range
from nerf_insert.capture.pose_check.matching import SIDE, Match, match_all
from nerf_insert.capture.reading import Reading
from nerf_insert.capture.view import View
from nerf_insert.errors import InputError, first_few
from nerf_insert.runtime.progress import SILENT, Progress

PHOTOGRAPHS = (16, 32)  # that are looked at; the larger number where the smaller shows too little
MIN_PAIRS, MANY_PAIRS = 4, 8  # with matches: to say anything, to look at no more
FITS, ROUGH = 4.0, 12.0  # pixels of SIDE: poses that fit, poses that are usable
GOOD, BETTER = 3.0, 0.25  # pixels of another reading that is certain, and of the first one's error
SAME = 1.3  # factor between errors that are taken to be equal
UNRELATED = -0.25  # rank correlation of matches and distances above which names are mixed up

Verdict = Literal["fits", "mended", "rough", "wrong", "unknown"]


@dataclass(frozen=True)
class PoseCheck:
    """The result of a check.

    Attributes:
        verdict: "fits"; "mended": another way to read the capture fits, `reading`; "rough": usable, but not
            exact; "wrong"; "unknown": too little in common to tell.
        summary: The result in words.
        reading: How the capture is to be read.
        photographs: How many were looked at.
        pairs: How many pairs of them have something in common.
        error: Median distance of matches from where the capture as found says, in pixels of a photograph of
            SIDE pixels; None: unknown.
        mended_error: The same for `reading`, where that is another.
        misfits: Names of photographs that fit worse than all others do.
        exposure: The range of the photographs' exposures, in stops; None: unknown.
        seconds: How long it took.
    """

    verdict: Verdict
    summary: str
    reading: Reading
    photographs: int
    pairs: int
    error: float | None = None
    mended_error: float | None = None
    misfits: tuple[str, ...] = ()
    exposure: float | None = None
    seconds: float = 0.0


def check_poses(capture: Capture, dataparser: str | None = None) -> PoseCheck:
    """Check whether the poses of a capture fit its photographs, and if not, which usual mistake explains it.

    Args:
        capture: As it was found.
        dataparser: What it was loaded with.
    """
    start = time.monotonic()
    chosen, matches = [], []
    for most in PHOTOGRAPHS:
        if len(matches) < MANY_PAIRS and len(chosen) < len(capture.views):
            chosen = choose(len(capture.views), most)
            matches = match_all([capture.views[k].path for k in chosen])
    names = [capture.views[k].name for k in chosen]
    exposure = exposure_range(matches, len(chosen))
    result = decide(capture, names, matches, dataparser)
    return replace(result, exposure=exposure, seconds=round(time.monotonic() - start, 1))


def load_checked(
    path: str | Path,
    *,
    dataparser: str | None = None,
    downscale: float | None = None,
    axes: str | None = None,
    progress: Progress = SILENT,
) -> tuple[Capture, PoseCheck]:
    """Load a capture, check its poses, and mend what a usual mistake explains.

    Args:
        path: The capture.
        dataparser: See `Capture.load`.
        downscale: See `Capture.load`.
        axes: The axes of its cameras, see `axes_code`; what is given is used even if it does not fit.
        progress: Gets warnings: the capture's own, and what was mended.

    Returns:
        The capture as it is to be used, and the check of it as it was found.

    Raises:
        InputError: The capture cannot be used, or its poses do not fit.
    """
    capture = Capture.load(path, dataparser=dataparser, downscale=downscale, reading=Reading(axes=axes))
    for warning in (*capture.warnings, share_note(capture.views)):
        if warning:
            progress.warn(warning)
    with progress.task("Checking the poses", total=1) as task:
        check = check_poses(capture, dataparser)
        task.advance(1)
    if check.verdict == "wrong" and axes is None:
        raise InputError(
            f"{check.summary}. `nerf-insert check {path}` says more; --axes opengl trains all the same"
        )
    if check.verdict == "mended":
        capture = Capture.load(path, dataparser=dataparser, downscale=downscale, reading=check.reading)
    if check.verdict in ("mended", "rough", "wrong") or check.misfits:
        progress.warn(check.summary)
    return capture, check


def choose(count: int, most: int) -> list[int]:
    """Return the numbers of the photographs to look at: evenly spread couples of neighbors."""
    if count <= most:
        return list(range(count))
    starts = np.linspace(0, count - 2, most // 2).round().astype(int)
    return sorted({int(k) for start in starts for k in (start, start + 1)})


def decide(
    capture: Capture, names: Sequence[str], matches: Sequence[Match], dataparser: str | None
) -> PoseCheck:
    """Compare the ways to read the capture."""
    given = capture.reading
    counts: dict[str, Any] = {"photographs": len(names), "pairs": len(matches)}
    if len(matches) < MIN_PAIRS:
        summary = (
            f"too little in common to tell whether the poses fit: of {len(names)} photographs "
            f"{len(matches)} pairs match"
        )
        return PoseCheck("unknown", summary, given, **counts)
    found = Rays(matches, posed(capture, names)).errors(poses_of(capture, names))
    misfits = misfits_of(names, matches, found)
    measured = f"{found.error:.1f} pixels (median of {len(matches)} pairs, photographs of {SIDE} pixels)"
    if found.score > found.error:
        measured += f", and {1 - found.in_front:.0%} of it would lie behind the cameras"
    counts |= {"error": round(found.error, 2)}
    if found.score <= FITS:
        summary = f"the poses fit the photographs: {measured}"
        if misfits:
            summary += f"; {len(misfits)} do not: {first_few(list(misfits))}"
        return PoseCheck("fits", summary, given, **counts, misfits=misfits)
    tried = try_others(capture, names, matches, dataparser)
    best = min((fit.score for fit in tried.values()), default=float("inf"))
    if best <= GOOD and best <= BETTER * found.score:
        equal = [reading for reading, fit in tried.items() if fit.score <= max(SAME * best, best + 0.3)]
        reading = min(equal, key=lambda reading: hypotheses.simplicity(reading, given))
        error = tried[reading].error
        why = hypotheses.in_words(reading, given)
        summary = f"{why}: read so, the error is {error:.1f} pixels, as found it is {measured}"
        return PoseCheck("mended", summary, reading, **counts, mended_error=round(error, 2))
    if found.score <= ROUGH:
        summary = f"the poses fit the photographs roughly: {measured}; renders will be soft"
        return PoseCheck("rough", summary, given, **counts, misfits=misfits)
    summary = f"the poses do not fit the photographs: {measured}; {FITS:.0f} and less are usual"
    if mixed_up(capture, names, matches):
        summary += (
            "; photographs that show the same are not near each other by their poses: names and poses are "
            "mixed up, as when files were renamed or sorted in another order"
        )
    elif best < found.score / 2:
        reading = min(tried, key=lambda reading: tried[reading].score)
        summary += f"; nearest comes: {hypotheses.in_words(reading, given)} ({best:.1f} pixels)"
    return PoseCheck("wrong", summary, given, **counts)


def poses_of(capture: Capture, names: Sequence[str]) -> np.ndarray:
    """Return camera-to-world poses [N, 4, 4] in the capture's own coordinates, float64."""
    by_name = {view.name: view.camera for view in capture.views}
    poses = np.tile(np.eye(4), (len(names), 1, 1))
    for pose, name in zip(poses, names, strict=True):
        pose[:3] = by_name[name].c2w.double().numpy()
        pose[:3, 3] += capture.origin
    return poses


def posed(capture: Capture, names: Sequence[str]) -> list[Posed]:
    """Return the cameras of photographs in their full size."""
    by_name: dict[str, View] = {view.name: view for view in capture.views}
    views = [by_name[name] for name in names]
    return [Posed(view.camera.resized(*view.full_size), view.orientation) for view in views]


def try_others(
    capture: Capture, names: Sequence[str], matches: Sequence[Match], dataparser: str | None
) -> dict[Reading, Fit]:
    """Measure every other way to read the capture."""
    if not dataparsers.is_ours(capture.path, dataparser):
        return {}
    given, tried = capture.reading, {}
    for version in (capture, *hypotheses.reloads(capture, dataparser)):
        rays, poses = Rays(matches, posed(version, names)), poses_of(version, names)
        for axes in hypotheses.axes_to_try(given):
            reading = replace(version.reading, axes=axes)
            if reading != given:
                turned = poses if axes == given.axes else reorient(poses, axes)
                tried[reading] = rays.errors(turned)
    if min((fit.score for fit in tried.values()), default=np.inf) <= GOOD or given.lens_scale:
        return tried
    poses = poses_of(capture, names)
    for scale in hypotheses.LENS_SCALES:
        cameras = [replace(p, camera=p.camera.refocused(scale)) for p in posed(capture, names)]
        rays = Rays(matches, cameras)
        for axes in [given.axes] if given.axes else hypotheses.LENS_AXES:
            turned = poses if axes == given.axes else reorient(poses, axes)
            tried[replace(given, axes=axes, lens_scale=scale)] = rays.errors(turned)
    return tried


def misfits_of(names: Sequence[str], matches: Sequence[Match], fit: Fit) -> tuple[str, ...]:
    """Return the photographs most of whose pairs do not fit, of those with three or more."""
    found = []
    for number, name in enumerate(names):
        own = [e for m, e in zip(matches, fit.pairs, strict=True) if number in (m.first, m.second)]
        if len(own) >= 3 and np.quantile(own, 0.25) > ROUGH:
            found.append(name)
    return tuple(found)


def mixed_up(capture: Capture, names: Sequence[str], matches: Sequence[Match]) -> bool:
    """Whether photographs have no more in common the nearer their poses are."""
    from scipy.stats import spearmanr

    poses = poses_of(capture, names)
    shared = np.zeros((len(names), len(names)))
    for m in matches:
        shared[m.first, m.second] = len(m.pixels)
    first, second = np.triu_indices(len(names), 1)
    cosine = (poses[first, :3, 2] * poses[second, :3, 2]).sum(1).clip(-1, 1)
    moved = np.linalg.norm(poses[first, :3, 3] - poses[second, :3, 3], axis=1)
    far = np.arccos(cosine) + moved / max(float(moved.mean()), 1e-12)
    correlation, _ = spearmanr(shared[first, second], far)
    return float(correlation) > UNRELATED  # type: ignore[arg-type]
