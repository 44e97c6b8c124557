"""The check of poses, on photographs with known cameras: usual mistakes are mended, the rest is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from textured_room import COUNT, FOCAL, room, room_poses

from nerf_insert.capture.capture import Capture
from nerf_insert.capture.pose_check.check import check_poses, load_checked
from nerf_insert.capture.pose_check.epipolar import Posed, Rays, turned_pixels
from nerf_insert.capture.pose_check.matching import Match
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.images import orient
from nerf_insert.runtime.progress import Progress

CV = np.diag([1.0, -1.0, -1.0, 1.0])


@pytest.fixture(scope="module")
def right(tmp_path_factory):
    return room(tmp_path_factory.mktemp("room"))


@pytest.fixture
def changed(right, tmp_path):
    """A copy of the room after `change(data)`."""

    def make(change=lambda data: None):
        folder = tmp_path / "copy"
        shutil.copytree(right, folder)
        data = json.loads((folder / "transforms.json").read_text())
        change(data)
        (folder / "transforms.json").write_text(json.dumps(data))
        return folder

    return make


def each_pose(change):
    def apply(data):
        for frame in data["frames"]:
            frame["transform_matrix"] = change(np.array(frame["transform_matrix"])).tolist()

    return apply


def same_poses(capture):
    for view in capture.views:
        wanted = room_poses()[int(view.path.stem) - 1][:3]
        assert np.abs(view.camera.c2w.numpy() - wanted).max() < 1e-5, view.name


def test_right_poses_fit(right):
    check = check_poses(Capture.load(right))
    # features are found to a fraction of a pixel of these 240, which count as 800
    assert check.verdict == "fits" and check.error < 2 and check.pairs > 20 and check.misfits == ()
    assert check.exposure < 0.2


@pytest.mark.parametrize(
    ("axes", "change"),
    [
        ("RDF", lambda pose: pose @ CV),
        ("w2c-RDF", lambda pose: np.linalg.inv(pose @ CV)),
        ("DRB", lambda pose: pose[:, [1, 0, 2, 3]] @ np.diag([-1, 1, 1, 1.0])),
    ],
)
def test_other_axes_are_found_and_mended(changed, axes, change):
    """OpenCV's, COLMAP's world-to-camera, LLFF's."""
    folder = changed(each_pose(change))
    said = []
    progress = Progress()
    progress.warn = said.append
    capture, check = load_checked(folder, progress=progress)
    assert (check.verdict, check.reading.axes, capture.reading.axes) == ("mended", axes, axes), check
    assert check.mended_error < 2 and (check.error > 10 or "behind" in check.summary)
    same_poses(capture)
    assert said == [check.summary]


def test_axes_that_are_given_are_used_even_if_they_do_not_fit(changed):
    capture, check = load_checked(changed(each_pose(lambda pose: pose @ CV)), axes="opengl")
    assert capture.reading.axes == "opengl" and check.verdict == "wrong"


def test_intrinsics_of_photographs_of_another_size(changed):
    check = check_poses(Capture.load(changed(lambda data: data.update(fl_x=4 * FOCAL, fl_y=4 * FOCAL))))
    assert check.verdict == "mended" and check.reading.lens_scale == 0.25
    assert "4 times as long" in check.summary


def test_photographs_turned_where_sizes_fit_both_ways(changed):
    """Stored upside down with an EXIF tag, poses of what is seen."""
    folder = changed()
    for path in (folder / "images").iterdir():
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path, exif=exif)
    capture, check = load_checked(folder)
    assert check.verdict == "mended" and check.reading.pixels == "upright"
    assert {view.orientation for view in capture.views} == {3}


def test_names_in_another_order(changed):
    """The poses of 1, 2, 3 were given to 1, 10, 11."""

    def sort(data):
        matrices = [frame["transform_matrix"] for frame in data["frames"]]
        data["frames"].sort(key=lambda frame: frame["file_path"])
        for frame, matrix in zip(data["frames"], matrices, strict=True):
            frame["transform_matrix"] = matrix

    folder = changed(sort)
    capture, check = load_checked(folder)
    assert check.verdict == "mended" and check.reading.order == "natural", check
    same_poses(capture)


def test_shuffled_names_are_refused_with_what_was_measured(changed):
    def shuffle(data):
        order = np.random.default_rng(1).permutation(COUNT)
        matrices = [frame["transform_matrix"] for frame in data["frames"]]
        for frame, k in zip(data["frames"], order, strict=True):
            frame["transform_matrix"] = matrices[k]

    folder = changed(shuffle)
    with pytest.raises(InputError, match=r"do not fit the photographs: .* pixels \(median of .*mixed up"):
        load_checked(folder)


@pytest.mark.parametrize("away", [0, 1e6])
def test_some_wrong_photographs_are_named(changed, away):
    """Also one so far away that all others would seem to be at one place."""

    def spoil(data):
        pose = room_poses()[9]
        pose[0, 3] += away
        data["frames"][4]["transform_matrix"] = pose.tolist()

    check = check_poses(Capture.load(changed(spoil)))
    assert check.verdict == "fits" and check.misfits == ("images/5.png",)


def test_photographs_without_anything_in_common(changed):
    folder = changed()
    for k, path in enumerate((folder / "images").iterdir()):
        Image.new("RGB", (240, 180), (20 * k, 100, 50)).save(path)
    check = check_poses(Capture.load(folder))
    assert check.verdict == "unknown" and check.error is None and "too little in common" in check.summary


def test_exposures_are_measured(tmp_path):
    folder = room(tmp_path / "room", exposures=[-1.0 * (k % 2) for k in range(COUNT)])
    check = check_poses(Capture.load(folder))
    assert check.exposure == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("tag", range(1, 9))
def test_pixels_turn_as_images_do(tag):
    image = np.arange(5 * 7).reshape(5, 7)
    rows, columns = np.mgrid[:5, :7]
    at = turned_pixels(np.stack([columns.ravel(), rows.ravel()], 1) + 0.5, (7, 5), tag)
    x, y = (at - 0.5).round().astype(int).T
    assert np.array_equal(orient(image, tag)[y, x], image.ravel())


@pytest.mark.parametrize("model", ["PERSPECTIVE", "FISHEYE"])
def test_errors_are_those_of_opencv(model):
    """Sampson's distance, against OpenCV's of a fundamental matrix where there is one."""
    import cv2

    generator = np.random.default_rng(0)
    poses = room_poses()[[2, 7]]
    lens = dict(fx=210.0, fy=210.0, cx=118.0, cy=92.0, width=240, height=180)
    cameras = [Camera(torch.from_numpy(p[:3]).float(), **lens, model=model) for p in poses]
    points = torch.from_numpy(generator.uniform(0, 1.2, (60, 3))).float()
    seen = [camera.project(points) for camera in cameras]
    keep = (seen[0].inside & seen[1].inside).numpy()
    pixels = np.stack([s.pixels.numpy()[keep] for s in seen], 1).astype(float)
    rays = Rays([Match(0, 1, pixels, np.zeros((len(pixels), 2, 3)))], [Posed(camera) for camera in cameras])
    exact = rays.errors(poses)
    assert exact.error < 1e-2 and exact.in_front == 1.0  # float32 rays
    if model == "PERSPECTIVE":
        pixels[:, 1, 1] += 3.0
        moved = Rays(
            [Match(0, 1, pixels, np.zeros((len(pixels), 2, 3)))], [Posed(camera) for camera in cameras]
        )
        k = np.array([[210, 0, 118], [0, 210, 92], [0, 0, 1.0]])
        w2c = [np.linalg.inv(p @ CV) for p in poses]
        relative = w2c[1] @ np.linalg.inv(w2c[0])
        t = relative[:3, 3]
        cross = np.array([[0, -t[2], t[1]], [t[2], 0, -t[0]], [-t[1], t[0], 0]])
        fundamental = np.linalg.inv(k).T @ cross @ relative[:3, :3] @ np.linalg.inv(k)
        a, b = (np.column_stack([pixels[:, s], np.ones(len(pixels))]) for s in (0, 1))
        sampson = [np.sqrt(cv2.sampsonDistance(p, q, fundamental)) for p, q in zip(a, b, strict=True)]
        # angles against distances in the image, which differ off the axis: by 1 / cos^2 of 25 degrees at most
        assert moved.errors(poses).error == pytest.approx(float(np.median(sampson)) * 800 / 240, rel=0.2)
