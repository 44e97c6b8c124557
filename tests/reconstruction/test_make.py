"""From photographs to a capture, against the cameras that rendered them; killed, resumed, refused."""

import json
import shutil
import signal
import subprocess
import sys
import zipfile

import exports
import numpy as np
import pytest
import walks
from PIL import Image

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError, RunError, Stopped
from nerf_insert.reconstruction import colmap, make
from nerf_insert.reconstruction.colmap import Mapping
from nerf_insert.reconstruction.diagnosis import check_registered, diagnose
from nerf_insert.reconstruction.make import is_source, make_capture
from nerf_insert.reconstruction.options import CaptureOptions
from nerf_insert.reconstruction.pairs import choose_pairs, vlad_similarity
from nerf_insert.reconstruction.photographs import Photograph
from nerf_insert.reconstruction.solution import load_solution
from nerf_insert.runtime.child import environment
from nerf_insert.runtime.progress import Progress

COUNT = 10


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("room")
    for k, pose in enumerate(walks.arc(COUNT)):
        Image.fromarray(walks.picture(pose)).save(folder / f"{k:02d}.png")
    return folder


@pytest.fixture(scope="module")
def made(photographs, tmp_path_factory):
    return make_capture(photographs, tmp_path_factory.mktemp("made") / "capture")


def similarity(source, target):
    """(scale, rotation, offset) that maps source to target [n, 3] best: Umeyama 1991."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation, scale = u @ sign @ vt, (s * np.diag(sign)).sum() / (a**2).sum(1).mean()
    return scale, rotation, target.mean(0) - scale * rotation @ source.mean(0)


def test_cameras_are_where_they_were(made):
    true = np.array(walks.arc(COUNT))
    capture = Capture.load(made.path)
    found = np.array([view.camera.c2w.double().numpy() for view in capture.views])
    scale, rotation, offset = similarity(found[:, :, 3], true[:, :, 3])
    miss = np.linalg.norm(scale * found[:, :, 3] @ rotation.T + offset - true[:, :, 3], axis=1)
    assert miss.max() < 0.01 * 2.4  # a hundredth of the radius; pixels are a quarter of a degree
    turns = rotation @ found[:, :, :3] @ true[:, :, :3].transpose(0, 2, 1)
    assert np.degrees(np.arccos(np.clip((turns.trace(axis1=1, axis2=2) - 1) / 2, -1, 1))).max() < 0.5
    assert np.degrees(np.arccos(rotation[2, 2])) < 1.5  # z is up, from floor and walls
    assert capture.up.tolist() == [0, 0, 1]
    assert capture.views[0].camera.fx == pytest.approx(walks.FOCAL, rel=0.02)
    assert made.diagnosis.placed == COUNT and made.diagnosis.error < 0.5


def test_a_capture_holds_what_it_promises(made):
    names = {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()}
    kept = {"capture.json", "cameras.json", "photographs.json", "solution.npz", "colmap.log"}
    images = {f"images/{k:02d}.jpg" for k in range(COUNT)}
    assert names == {"transforms.json", "sparse_pc.ply", "report.html", ".lock", *images} | {
        f"reconstruction/{name}" for name in kept
    }
    report = made.report.read_text()
    assert f"{COUNT} of {COUNT}" in report and "What to photograph next" in report
    assert "http" not in report.replace("http-equiv", "")  # opens without a network
    data = json.loads(report.split('type="application/json">')[1].split("</script>")[0])
    assert len(data["cameras"]) == COUNT and len(data["points"]) == len(data["colors"]) > 100


class Interrupted(Progress):
    """Stops the work at a task's first report, and remembers what was done when tasks began."""

    def __init__(self, at=""):
        super().__init__()
        self.at, self.began = at, {}

    def opened(self, task):
        self.began[task.description] = task.done

    def changed(self, task):
        if task.description == self.at and task.done > 0:
            self.stop()


KILLED = """
import os, signal, sys
from nerf_insert.reconstruction.make import make_capture
from nerf_insert.runtime.child import environment
from nerf_insert.runtime.progress import Progress

class Killed(Progress):
    def changed(self, task):
        if task.description == "Placing cameras" and task.done >= 4:
            os.kill(os.getpid(), signal.SIGKILL)

make_capture(*sys.argv[1:], progress=Killed())
"""


def test_a_run_that_was_killed_goes_on_and_ends_with_the_same_bytes(photographs, made, tmp_path):
    """Stopped while features are found, then killed with no warning while cameras are placed."""
    with pytest.raises(Stopped):
        make_capture(photographs, tmp_path / "capture", progress=Interrupted("Finding features"))
    words = [sys.executable, "-c", KILLED, str(photographs), str(tmp_path / "capture")]
    assert subprocess.run(words, env=environment()).returncode == -signal.SIGKILL
    again = Interrupted()
    make_capture(photographs, tmp_path / "capture", progress=again)
    assert "Reading the photographs" not in again.began
    assert again.began["Finding features"] == COUNT and again.began["Matching photographs"] == 45  # all pairs
    for name in ("transforms.json", "sparse_pc.ply"):
        assert (tmp_path / "capture" / name).read_bytes() == (made.path / name).read_bytes()


def test_what_is_a_source_is_what_no_reader_of_captures_knows(tmp_path):
    lens = [f"walk/photos/{k}.jpg" for k in range(3)]
    exports.photographs(tmp_path / "a", lens)
    (tmp_path / "a" / "walk" / "metadata.json").write_text("another program's, and no JSON")
    (tmp_path / "a" / "cameras.xml").write_text("<settings/>")
    assert is_source(tmp_path / "a") and is_source(tmp_path / "a" / "walk" / "photos")
    for write in (exports.metashape, exports.reality_capture, exports.meshroom, exports.odm, exports.polycam):
        folder = tmp_path / "b" / "c" / write.__name__
        folder.mkdir(parents=True)
        write(folder)
        deep = next(path for path in folder.rglob("*.jpg")).parent
        assert not is_source(folder) and not is_source(deep), write.__name__
        exports.photographs(folder.parent / "others", lens)  # beside a capture, and no part of it
        assert is_source(folder.parent / "others")
        shutil.rmtree(folder.parent / "others")
        assert not is_source(tmp_path / "b")
        shutil.rmtree(tmp_path / "b")


def test_another_unit_only_moves_the_cameras(photographs, made, tmp_path, monkeypatch):
    """No photograph is read again, and no camera estimated."""
    shutil.copytree(made.path, tmp_path / "capture")
    monkeypatch.setattr(make, "run_colmap", lambda *a, **k: pytest.fail("cameras were estimated again"))
    solution = load_solution(made.path / "reconstruction" / "solution.npz")
    rows = solution.seen[solution.seen[:, 0] == 4]
    start, end = rows[np.argmin(rows[:, 2])], rows[np.argmax(rows[:, 2])]
    scale = (f"04={start[2]},{start[3]}", f"04={end[2]},{end[3]}", 7.5)
    again = make_capture(photographs, tmp_path / "capture", CaptureOptions(scale=scale))
    a, b = (again.solution.points[int(row[1])] for row in (start, end))
    assert np.linalg.norm(a - b) == pytest.approx(
        7.5, rel=0.1
    )  # places are found from the points around them
    assert again.diagnosis == made.diagnosis


def test_a_lack_of_memory_is_a_message(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(colmap, "LEAST_MEMORY", 64 << 20)
    monkeypatch.setattr(colmap, "MEMORY_SHARE", 0.0)
    with pytest.raises(RunError, match="memory was not enough"):
        make_capture(photographs, tmp_path / "capture")


def test_walls_without_texture_are_said(tmp_path):
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        wall = 180 + 20 * np.linspace(0, 1, 120)[:, None, None] + rng.normal(0, 1, (120, 160, 1)).repeat(3, 2)
        Image.fromarray(wall.round().astype(np.uint8)).save(tmp_path / "in" / f"{k}.png")
    with pytest.raises(InputError, match="almost no texture"):
        make_capture(tmp_path / "in", tmp_path / "capture")


def test_folders_that_are_taken_are_left_alone(photographs, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    (tmp_path / "posed").mkdir()
    (tmp_path / "posed" / "transforms.json").write_text("{}")
    for out, said in (
        (tmp_path / "full", "not empty"),
        (tmp_path / "posed", "holds a capture already"),
        (tmp_path / "full" / "letter.txt", "is a file"),
        (photographs, "itself"),
    ):
        with pytest.raises(InputError, match=said):
            make_capture(photographs, out)
    with pytest.raises(InputError, match="no video or folder"):
        make_capture(tmp_path / "nowhere.mp4", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lens": "telescope"}, "no lens model"),
        ({"frames": 1}, "cannot be taken"),
        ({"megapixels": -1.0}, "no size"),
        ({"scale": ("a=1,1", "b=1,1", 0.0)}, "positive"),
        ({"floor": ("a",)}, "VIEW=X,Y"),
    ],
)
def test_options_that_cannot_be_are_said(options, said):
    with pytest.raises(InputError, match=said):
        CaptureOptions(**options)


def test_what_has_poses_is_no_source(made, photographs, tmp_path):
    assert is_source(photographs) and not is_source(made.path) and not is_source(tmp_path)
    assert not is_source(made.path / "images")  # a part of a capture
    assert not is_source(made.path.parent)  # a folder with a capture in it
    assert not is_source(photographs, "nerfstudio")  # the user says that it is a capture
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.jpg", b"1")
    assert is_source(tmp_path / "a.zip")


def frames(count):
    return [
        Photograph(f"images/{k:03d}.jpg", f"walk.mp4 at 0:{k:04.1f}", (64, 48), "video 0", "video 0")
        for k in range(count)
    ]


def mapping_of(solution, models, features=500, count=30):
    names = [photograph.name for photograph in frames(count)]
    return Mapping(solution, dict.fromkeys(names, features), models, "incremental", "OPENCV", 0.5)


def test_another_place_in_the_middle_of_a_film_is_named(made):
    names = [photograph.name for photograph in frames(30)]
    kitchen = tuple(names[12:20])
    solution = made.solution.__class__(**vars(made.solution) | {"names": tuple(names[:COUNT])})
    rest = tuple(name for name in names if name not in kitchen)
    solution = _placed(solution, rest)
    diagnosis = diagnose(frames(30), mapping_of(solution, (rest, kitchen)))
    assert diagnosis.placed == 22
    assert (
        "8 of 30 photographs have no camera position and are left out: walk.mp4 at 0:12.0 to walk.mp4 at "
        "0:19.0 (8): they fit together but not with the rest" in diagnosis.warnings[0]
    )
    assert check_registered(mapping_of(solution, (rest, kitchen)), diagnosis, made.path) is solution


def test_too_few_connected_photographs_are_refused(made):
    few = _placed(made.solution, tuple(photograph.name for photograph in frames(4)))
    mapping = mapping_of(few, (few.names,))
    with pytest.raises(InputError, match="only 4 of the 30"):
        check_registered(mapping, diagnose(frames(30), mapping), made.path)
    nothing = mapping_of(None, ())
    with pytest.raises(InputError, match="no camera positions were found"):
        check_registered(nothing, diagnose(frames(30), nothing), made.path)


def test_a_camera_that_only_turned_is_refused(made):
    c2w = made.solution.c2w.copy()
    c2w[:, :, 3] = c2w[:1, :, 3] + 0.005 * np.arange(len(c2w))[:, None] / len(c2w)
    names = tuple(photograph.name for photograph in frames(COUNT))
    turned = made.solution.__class__(**vars(made.solution) | {"c2w": c2w, "names": names})
    mapping = mapping_of(turned, (names,), count=COUNT)
    with pytest.raises(InputError, match="only turned on the spot"):
        check_registered(mapping, diagnose(frames(COUNT), mapping), made.path)


def _placed(solution, names):
    """The solution with as many cameras as names, those of the room over and over."""
    rows = np.arange(len(names)) % len(solution.c2w)
    arrays = {"names": names, "c2w": solution.c2w[rows], "lens": solution.lens[rows]}
    arrays["seen"] = solution.seen[solution.seen[:, 0] < len(names)]
    return solution.__class__(**vars(solution) | arrays)


def test_partners_are_those_that_show_the_same():
    """Two photographs of each of six places: the descriptors of a place are drawn around its own centers."""
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 200, (6, 30, 128))
    descriptors = [
        (place[rng.integers(0, 30, 150)] + rng.normal(0, 8, (150, 128))).clip(0, 255).astype(np.uint8)
        for place in places
        for _ in range(2)
    ]
    similar = vlad_similarity(descriptors, 0)
    np.fill_diagonal(similar, -1)
    assert [int(k) for k in similar.argmax(1)] == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10]
    assert np.array_equal(vlad_similarity(descriptors, 0), vlad_similarity(descriptors, 0))


def test_pairs_of_a_film_are_neighbors_and_closed_loops():
    rng = np.random.default_rng(0)
    walk = rng.uniform(0, 200, (60, 20, 128))
    walk[50:] = walk[:10]  # the end is where it began
    descriptors = [
        (place[rng.integers(0, 20, 80)] + rng.normal(0, 8, (80, 128))).clip(0, 255).astype(np.uint8)
        for place in walk
    ]
    pairs = choose_pairs(["video"] * 60, descriptors, 0)
    assert {(k, k + d) for k in range(49) for d in range(1, 11)} <= set(pairs)
    assert {(k, k + 50) for k in range(10)} <= set(pairs) and len(pairs) < 60 * 59 / 2 / 1.5
    assert len(choose_pairs([""] * 12, descriptors[:12], 0)) == 66
