"""Structure from motion by pycolmap, in a process of its own (see colmap.py): `python -m ... < request`.

The first line of stdin is the request, JSON. The worker writes one JSON object a line:

    {"task": "Finding features", "done": 3, "total": 70, "note": ""}   and waits for a line, "go", before it
    goes on {"result": {...}}   at its end; the cameras and points are in OUT/solution.npz (see solution.py)

What is finished stays in the database, so that a worker that was killed is followed by one that goes on.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap

from nerf_insert.reconstruction.lens import refine_lens
from nerf_insert.reconstruction.pairs import MOST_DESCRIPTORS, choose_pairs
from nerf_insert.reconstruction.solution import save_solution

MAX_FEATURES = 8192
PAIRS_AT_ONCE = 48
MAPPING_THREADS = 1  # with more, sums are added in another order each time: another result
MIN_MODEL = 3  # photographs of a model
ENOUGH = 0.7  # share of the photographs; with fewer, global mapping is tried
SPARE = 1 << 24  # bytes that a process can still have whose error is another one
CHANNEL = os.dup(1)  # the real stdout: libraries that print must not disturb the protocol


def main() -> None:
    """Run the request."""
    os.dup2(2, 1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    request = json.loads(sys.stdin.readline())
    _limit_memory(request["memory"])
    pycolmap.set_random_seed(request["seed"])
    try:
        result = reconstruct(request)
    except Exception as error:
        _check_memory(error)
        raise
    _write({"result": result})


def reconstruct(request: dict[str, Any]) -> dict[str, Any]:
    """Go through all stages.

    Args:
        request: "folder" of the capture, "work" for the database, "photographs" as `Photograph.to_dict` has
            them, "lens", "seed", "threads".

    Returns:
        "features" of each photograph; "models", the names of the photographs of each; "mapper"; "lens".
    """
    photographs, work, folder = request["photographs"], Path(request["work"]), Path(request["folder"])
    database, names = work / "database.db", [photograph["name"] for photograph in request["photographs"]]
    extract_features(database, folder, photographs, request["camera_model"], request["threads"])
    counts = feature_counts(database, names)
    if np.median(list(counts.values())) >= 20:
        match(database, work, photographs, request["seed"], request["threads"])
        found, mapper = map_cameras(database, folder, work, len(names), request["seed"])
    else:
        found, mapper = [], ""
    models = [sorted(image.name for image in model.images.values() if image.has_pose) for model in found]
    result: dict[str, Any] = {"features": counts, "models": models, "mapper": mapper}
    if found:
        report("Refining the lens", 0, 1)
        best, result["lens"], result["error"] = refine_lens(found[0], request["lens"])
        save_solution(best, work / "solution.npz")
        report("Refining the lens", 1, 1)
    return result


def extract_features(
    database: Path, folder: Path, photographs: Sequence[dict[str, Any]], model: str, threads: int
) -> None:
    """Find SIFT features in the photographs that have none yet."""
    task, names = "Finding features", [photograph["name"] for photograph in photographs]
    done = feature_counts(database, names)
    report(task, sum(count >= 0 for count in done.values()), len(names))
    add_images(database, folder, photographs, model)
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu, options.sift.max_num_features = threads, False, MAX_FEATURES
    waiting = [name for name in names if done[name] < 0]
    while waiting:
        batch, waiting = waiting[: 2 * threads], waiting[2 * threads :]
        pycolmap.extract_features(database, folder, image_names=batch, extraction_options=options)
        report(task, len(names) - len(waiting), len(names))


def add_images(database: Path, folder: Path, photographs: Sequence[dict[str, Any]], model: str) -> None:
    """Enter the photographs in the database in their order, with one camera for each lens."""
    by_lens: dict[str, list[dict[str, Any]]] = {}
    for photograph in photographs:  # without metadata, photographs of the same size share a camera
        width, height = photograph["size"]
        by_lens.setdefault(f"{photograph['lens']} {width}x{height}", []).append(photograph)
    with pycolmap.Database.open(database) as db:  # makes a new one
        known = {image.name for image in db.read_all_images()}
    for group in by_lens.values():
        if group[0]["name"] in known:  # a group is entered whole
            continue
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = model
        if group[0]["focal"]:
            reader.camera_params = _parameters(model, group[0]["focal"], group[0]["size"])
        names = [photograph["name"] for photograph in group]
        pycolmap.import_images(database, folder, pycolmap.CameraMode.SINGLE, names, reader)


def feature_counts(database: Path, names: Sequence[str]) -> dict[str, int]:
    """Return the number of features of each photograph; -1 where none were looked for."""
    counts = dict.fromkeys(names, -1)
    if database.exists():
        with pycolmap.Database.open(database) as db:
            for image in db.read_all_images():
                if image.name in counts and db.exists_keypoints(image.image_id):
                    counts[image.name] = db.num_keypoints_for_image(image.image_id)
    return counts


def match(database: Path, work: Path, photographs: Sequence[dict[str, Any]], seed: int, threads: int) -> None:
    """Match the features of all chosen pairs and verify them geometrically."""
    with pycolmap.Database.open(database) as db:
        ids = {image.name: image.image_id for image in db.read_all_images()}
        known = [photograph for photograph in photographs if photograph["name"] in ids]
        descriptors = [_some_descriptors(db, ids[photograph["name"]]) for photograph in known]
        pairs = choose_pairs([photograph["group"] for photograph in known], descriptors, seed)
        names = [photograph["name"] for photograph in known]
        done = [db.exists_two_view_geometry(ids[names[a]], ids[names[b]]) for a, b in pairs]
    matching, verification = pycolmap.FeatureMatchingOptions(), pycolmap.TwoViewGeometryOptions()
    matching.num_threads, matching.use_gpu = threads, False
    verification.ransac.random_seed = seed
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = work / "pairs.txt"
    left = [pair for pair, was in zip(pairs, done, strict=True) if not was]
    for start in range(0, len(left), PAIRS_AT_ONCE):
        report("Matching photographs", len(pairs) - len(left) + start, len(pairs))
        batch = left[start : start + PAIRS_AT_ONCE]
        lines = [f"{names[a]} {names[b]}\n" for a, b in batch]
        Path(pairing.match_list_path).write_text("".join(lines))
        pycolmap.match_image_pairs(
            database, matching_options=matching, pairing_options=pairing, verification_options=verification
        )
    report("Matching photographs", len(pairs), len(pairs))


def _some_descriptors(db: Any, image_id: int) -> np.ndarray:
    """Evenly chosen descriptors of a photograph, [n, 128] uint8, for any number of photographs in memory."""
    found = np.asarray(db.read_descriptors(image_id).data, np.uint8).reshape(-1, 128)
    return found[:: -(-len(found) // MOST_DESCRIPTORS) or 1].copy()


def map_cameras(database: Path, folder: Path, work: Path, count: int, seed: int) -> tuple[list[Any], str]:
    """Estimate the cameras: incrementally, and globally where that finds too few of them.

    Returns:
        (all models, the one with the most photographs first; "incremental" or "global").
    """
    models = _incremental(database, folder, work, count, seed)
    mapper = "incremental"
    if not models or _size(models[0]) < ENOUGH * count:
        others = _global(database, folder, work, seed)
        if others and (not models or _size(others[0]) > _size(models[0])):
            models, mapper = others, "global"
    return models, mapper


def _incremental(database: Path, folder: Path, work: Path, count: int, seed: int) -> list[Any]:
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = seed
    options.num_threads = options.mapper.num_threads = MAPPING_THREADS
    options.min_model_size = MIN_MODEL
    options.ba_global_function_tolerance = 1e-6
    options.extract_colors = True
    task, placed = "Placing cameras", [0]

    def next_image() -> None:
        placed[0] = min(placed[0] + 1, count)
        report(task, placed[0], count)

    report(task, 0, count)
    out = work / "models"
    out.mkdir(exist_ok=True)
    found = pycolmap.incremental_mapping(
        database,
        folder,
        out,
        options=options,
        initial_image_pair_callback=next_image,
        next_image_callback=next_image,
    )
    report(task, count, count)
    return _ordered(found)


def _global(database: Path, folder: Path, work: Path, seed: int) -> list[Any]:
    report("Placing cameras all at once", 0, 1)
    options = pycolmap.GlobalPipelineOptions()
    options.random_seed = options.mapper.random_seed = seed
    options.num_threads = options.mapper.num_threads = MAPPING_THREADS
    options.mapper.bundle_adjustment.ceres.use_gpu = options.mapper.global_positioning.use_gpu = False
    out = work / "models_global"
    out.mkdir(exist_ok=True)
    try:
        found = pycolmap.global_mapping(database, folder, out, options=options)
    except RuntimeError as error:  # too few connections for it: what the incremental mapper found is kept
        print(f"global mapping failed: {error}", file=sys.stderr)
        found = {}
    report("Placing cameras all at once", 1, 1)
    return _ordered(found)


def _ordered(found: dict[int, Any]) -> list[Any]:
    return sorted(found.values(), key=lambda model: (-_size(model), model.compute_mean_reprojection_error()))


def _size(model: Any) -> int:
    return sum(image.has_pose for image in model.images.values())


def _parameters(model: str, focal: float, size: Sequence[int]) -> str:
    zeros = {"SIMPLE_RADIAL": 1, "OPENCV": 4, "OPENCV_FISHEYE": 4, "SIMPLE_PINHOLE": 0}[model]
    focals = [focal] if model.startswith("SIMPLE") else [focal, focal]
    return ",".join(map(str, [*focals, size[0] / 2, size[1] / 2, *[0] * zeros]))


def report(task: str, done: float, total: float, note: str = "") -> None:
    """Tell how far a stage is, and wait until the other side says to go on; end where it is gone."""
    _write({"task": task, "done": done, "total": total, "note": note})
    if sys.stdin.readline().strip() != "go":
        os._exit(3)


def _end_with(parent: int) -> None:
    """End this process when its parent was killed: the next one would work on the same database."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(3)


def _write(message: dict[str, Any]) -> None:
    os.write(CHANNEL, (json.dumps(message) + "\n").encode())


def _limit_memory(limit: int) -> None:
    """Make a lack of memory an error of this process instead of the system's choice of a process to kill."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    except (ImportError, ValueError, OSError):  # Windows, macOS
        pass


def _check_memory(error: Exception) -> None:
    """Tell a lack of memory, which libraries give all kinds of names, by asking for a little more.

    Raises:
        MemoryError: There is none.
    """
    try:
        bytearray(SPARE)
    except MemoryError:
        raise MemoryError(str(error)) from error


if __name__ == "__main__":
    main()
