"""Make a capture from a video or photographs.

CAPTURE/images/              the photographs: upright, sRGB, of a size that can be trained on
CAPTURE/transforms.json      their cameras, OpenGL axes, z up
CAPTURE/sparse_pc.ply        the points that were triangulated
CAPTURE/report.html          what was found, and what to photograph next
CAPTURE/reconstruction/      what is needed to go on after an interruption, and to align the world anew
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nerf_insert.capture.dataparsers import capture_folder, kind_of
from nerf_insert.errors import InputError
from nerf_insert.io.locks import LOCK, only_writer
from nerf_insert.reconstruction.alignment import align
from nerf_insert.reconstruction.capture_files import write_capture
from nerf_insert.reconstruction.colmap import Mapping, run_colmap
from nerf_insert.reconstruction.diagnosis import Diagnosis, check_registered, diagnose
from nerf_insert.reconstruction.motion import Motion
from nerf_insert.reconstruction.options import CaptureOptions
from nerf_insert.reconstruction.photographs import Photograph, import_photographs
from nerf_insert.reconstruction.report import write_report
from nerf_insert.reconstruction.solution import Solution, load_solution
from nerf_insert.reconstruction.sources import Source, find_source, holds_photographs
from nerf_insert.reconstruction.stages import Stages
from nerf_insert.reconstruction.video_frames import import_frames, measure_video
from nerf_insert.reconstruction.video_reader import VideoInfo
from nerf_insert.reconstruction.zipped_capture import holds_poses, is_zip
from nerf_insert.runtime.progress import SILENT, Progress

FORMAT = 1
WORK = "reconstruction"
LARGE_FILES = ("database.db", "models", "models_global", "unpacked", "pairs.txt")  # of no use at the end
NOT_SURE = (
    "which way is up is not sure, for no floor or wall agrees with how the cameras were held: if the scene "
    "leans in the report, show the floor, on the page or with --floor VIEW=X,Y"
)


@dataclass(frozen=True)
class MadeCapture:
    """A capture that was made.

    Attributes:
        path: Its folder.
        solution: Cameras and points in the capture's world.
        diagnosis: What was found, photograph by photograph.
        report: The report, an HTML file.
    """

    path: Path
    solution: Solution
    diagnosis: Diagnosis
    report: Path


def make_capture(
    source: str | Path,
    out: str | Path,
    options: CaptureOptions | None = None,
    *,
    seed: int = 0,
    progress: Progress = SILENT,
) -> MadeCapture:
    """Make a capture from a video, or from a folder or zip of photographs.

    Work that was interrupted, even by a crash, goes on when the same call is made again. On a capture that is
    complete, another `up`, `floor` or `scale` only moves the cameras.

    Args:
        source: A video (H.264, HEVC, AV1, ...), or a folder or zip of photographs (JPEG, PNG, WebP, TIFF,
            HEIC, MPO) or videos.
        out: The folder of the capture. It is made, or was made by an earlier call.
        options: How it is made.
        seed: Random seed; the same source, options and seed give the same capture.
        progress: Where progress and warnings go.

    Raises:
        InputError: No capture can be made from the source; the message says why, and what to do.
        RunError: The work failed.

    Examples:
        >>> made = make_capture("phone.mp4", "my-capture", CaptureOptions(frames=80))
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    options = options or CaptureOptions()
    if not source.exists():
        raise InputError(f"there is no video or folder {source}")
    _check_out(source, out)
    with only_writer(out, (WORK, "images")):
        stages, work = Stages(out / WORK), out / WORK
        key: dict[str, Any] = {"format": FORMAT, "source": _fingerprint(source)}
        key |= {"frames": options.frames, "megapixels": options.megapixels}
        photographs = [Photograph.from_dict(data) for data in stages.known("photographs", key) or ()]
        if not photographs or not all((out / photograph.name).exists() for photograph in photographs):
            photographs = _import(source, out, stages, key, progress)
            stages.keep("photographs", key, [photograph.to_dict() for photograph in photographs])
        key |= {"lens": options.lens, "seed": seed}
        mapping = _map(out, stages, key, photographs, progress)
        diagnosis = diagnose(photographs, mapping)
        solution = check_registered(mapping, diagnosis, source)
        for warning in diagnosis.warnings:
            progress.warn(warning)
        gravities = {p.name: p.gravity for p in photographs if p.gravity is not None}
        axes_known = not any(p.group for p in photographs)  # of a video's sensor they are not
        solution, up = align(solution, gravities, options.world, axes_known)
        if not up.sure:
            progress.warn(NOT_SURE)
        write_capture(out, solution, diagnosis, str(source), up, options.world)
        report = write_report(out / "report.html", out, solution, diagnosis, up, options.scale is not None)
        for name in LARGE_FILES:
            path = work / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return MadeCapture(out, solution, diagnosis, report)


def is_source(path: Path, dataparser: str | None = None) -> bool:
    """Return whether a capture has to be made from what lies at `path`, for it has no camera poses yet.

    Args:
        path: What the user named.
        dataparser: The dataparser that the user named: then it is a capture.
    """
    if dataparser is not None or not holds_photographs(path):
        return False
    if path.is_file():
        return not (is_zip(path) and holds_poses(path))
    folder, _ = capture_folder(path)  # which may be above or below what was named
    return kind_of(folder) is None


def _import(
    source: Path, out: Path, stages: Stages, key: dict[str, Any], progress: Progress
) -> list[Photograph]:
    """The photographs of the source."""
    found = find_source(source, out / WORK / "unpacked")
    for note in found.notes:
        progress.warn(note)
    for old in (out / "images").glob("*.*"):  # of another source or choice
        old.unlink()
    (out / WORK / "database.db").unlink(missing_ok=True)
    if found.kind == "photographs":
        photographs = import_photographs(found, out, key["megapixels"], progress)
    else:
        measured = _measure(found, stages, progress)
        photographs = import_frames(found, measured, out, key["frames"], key["megapixels"], progress)
    return photographs


def _measure(source: Source, stages: Stages, progress: Progress) -> list[tuple[VideoInfo, Motion]]:
    """What is in each video; remembered, for it takes the longest of all before the features."""

    def work() -> list[Any]:
        found = [measure_video(file, progress) for file in source.files]
        return [[asdict(info), motion.to_dict()] for info, motion in found]

    measured = stages.result("motion", source.fingerprint, work)
    return [
        (VideoInfo(**info | {"size": tuple(info["size"])}), Motion(**motion)) for info, motion in measured
    ]


def _map(
    out: Path, stages: Stages, key: dict[str, Any], photographs: Sequence[Photograph], progress: Progress
) -> Mapping:
    work = out / WORK
    known = stages.known("cameras", key)
    if known is None or (known["models"] and not (work / "solution.npz").exists()):
        mapping = run_colmap(out, work, photographs, lens=key["lens"], seed=key["seed"], progress=progress)
        result = {name: value for name, value in vars(mapping).items() if name != "solution"}
        known = stages.keep("cameras", key, result)
    solution = load_solution(work / "solution.npz") if known["models"] else None
    models = tuple(tuple(names) for names in known["models"])
    return Mapping(solution, **{**known, "models": models})


def _fingerprint(source: Path) -> list[Any]:
    """What tells this source from others, without unpacking it: names, sizes and times."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    stats = [(path.relative_to(source).as_posix(), path.stat()) for path in files]
    return [[name, stat.st_size, int(stat.st_mtime)] for name, stat in stats]


def _check_out(source: Path, out: Path) -> None:
    """Check that the folder is free, or holds a capture that was begun from the same source.

    Raises:
        InputError: It holds something else.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: choose a folder for --out")
    if source.is_dir() and out.resolve() == source.resolve():
        raise InputError(
            f"--out is the folder of the photographs itself: choose another one, such as {source}-capture"
        )
    ours = (out / WORK).is_dir()
    if not ours and (out / "transforms.json").exists():
        raise InputError(f"{out} holds a capture already: choose another --out, or remove it first")
    if not ours and any(path.name != LOCK for path in (out.iterdir() if out.exists() else ())):
        raise InputError(f"{out} is not empty: choose another --out")
