"""Exports of other programs: the cameras that were written come back, whatever the layout."""

import json
import os
import unicodedata

import exports
import numpy as np
import pytest
import torch
from PIL import Image

from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError

Z_UP = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])  # nerfstudio's turn of COLMAP's coordinates


def same_cameras(capture, turn=np.eye(3), tolerance=2e-6):
    """All twelve, to float32; `turn` is of the world."""
    assert len(capture.views) == exports.COUNT
    for view in capture.views:
        pose = exports.poses()[int(view.path.stem) % 1000]
        assert np.abs(view.camera.c2w.numpy() - turn @ pose[:3]).max() < tolerance * 4, view.name
        camera = view.camera
        assert (camera.width, camera.height) == (exports.WIDTH, exports.HEIGHT)
        lens = (camera.fx, camera.fy, camera.cx, camera.cy)
        assert lens == pytest.approx((exports.FX, exports.FY, exports.CX, exports.CY), rel=1e-5)


@pytest.mark.parametrize(
    ("write", "turn", "distortion"),
    [
        (exports.polycam, np.eye(3), (0,) * 6),
        (exports.record3d, np.eye(3), (0,) * 6),
        (exports.metashape, np.eye(3), (0.05, 0, 0, 0, 0.002, 0.001)),
        (exports.reality_capture, np.eye(3), (0.05, 0, 0, 0, 0, 0)),
        (exports.meshroom, np.eye(3), (0.05, -0.02, 0, 0, 0, 0)),
        (lambda folder: exports.meshroom(folder, old=True), np.eye(3), (0.05, -0.02, 0, 0, 0, 0)),
        (exports.odm, np.eye(3), (0.05, -0.02, 0, 0, 0.001, 0)),
    ],
)
def test_exports(tmp_path, write, turn, distortion):
    capture = Capture.load(write(tmp_path))
    same_cameras(capture, turn)
    assert capture.views[3].camera.distortion == pytest.approx(distortion, abs=1e-7)


def test_nerfstudios_converters_agree(tmp_path):
    """Those that need no open3d: Polycam's, Record3D's, RealityCapture's."""
    from nerfstudio.process_data import polycam_utils, realitycapture_utils, record3d_utils

    def poses_of(folder):
        return [f["transform_matrix"] for f in json.loads((folder / "transforms.json").read_text())["frames"]]

    def of(name, write):
        folder = tmp_path / name
        folder.mkdir()
        return write(folder), [view.camera.c2w.numpy() for view in Capture.load(folder).views]

    out = tmp_path / "out"
    out.mkdir()
    folder, ours = of("polycam", exports.polycam)
    images = sorted((folder / "keyframes" / "images").iterdir())
    polycam_utils.polycam_to_json(images, [], None, folder / "keyframes" / "cameras", out)
    assert np.abs(np.array(poses_of(out))[:, :3] - np.stack(ours)).max() < 1e-5
    folder, ours = of("record3d", exports.record3d)
    images = [folder / "rgb" / f"{k}.jpg" for k in range(12)]
    record3d_utils.record3d_to_json(images, folder / "metadata.json", out, np.arange(12))
    by_name = {view.path.name: view.camera.c2w.numpy() for view in Capture.load(folder).views}
    theirs = dict(zip([path.name for path in images], poses_of(out), strict=True))
    assert all(np.abs(np.array(theirs[name])[:3] - pose).max() < 1e-5 for name, pose in by_name.items())
    folder, ours = of("reality", exports.reality_capture)
    files = {path.stem: path for path in (folder / "images").iterdir()}
    realitycapture_utils.realitycapture_to_json(files, folder / "cameras.csv", None, out)
    assert np.abs(np.array(poses_of(out))[:, :3] - np.stack(ours)).max() < 1e-5


@pytest.mark.parametrize(("version", "down"), [("4", 100 / 1.25), ("5", 100 * 1.25)])
def test_meshrooms_focal_length_belongs_to_the_width(tmp_path, version, down):
    """Of portraits too, and its pixelRatio to the height: AliceVision's jsonIO.cpp."""
    file = exports.meshroom(tmp_path) / "cameras.sfm"
    data = json.loads(file.read_text())
    data["version"] = ["1", "2", version]
    own = {"width": "16", "height": "24", "focalLength": "225", "pixelRatio": "1.25"}  # sensorWidth 36
    data["intrinsics"][0] |= own
    file.write_text(json.dumps(data))
    exports.photographs(tmp_path, exports.names(), (16, 24))
    camera = Capture.load(tmp_path).views[0].camera
    assert (camera.fx, camera.fy) == pytest.approx((100, down))


def test_metashapes_chunk_transform_places_the_cameras(tmp_path):
    """Into the coordinates of an exported mesh: scaled, turned, moved far away, where float64 is needed."""
    chunk = (
        "<transform><rotation>0 -1 0 1 0 0 0 0 1</rotation><translation>4000000 600000.5 4900000"
        "</translation><scale>2.5</scale></transform>"
    )
    capture = Capture.load(exports.metashape(tmp_path, chunk))
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    wanted = exports.poses()[:, :3, 3] @ turn.T * 2.5 + [4000000, 600000.5, 4900000]
    centers = torch.stack([capture.outside(view.camera.center) for view in capture.views]).numpy()
    assert np.abs(centers - wanted).max() < 1e-5
    assert "not aligned" in capture.warnings[0]


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(
    ("model", "home"),
    [
        ("sparse/0", "images"),
        ("colmap/sparse/0", "images"),
        ("sparse", "input"),
        (".", "."),
        ("dense/0/sparse", "dense/0/images"),
        ("distorted/sparse/0", "photos of may"),
    ],
)
def test_colmap_in_any_place(tmp_path, model, home, binary):
    exports.photographs(tmp_path / home, [f"{k:03d}.jpg" for k in range(12)])
    exports.colmap(tmp_path, model, binary, lenses=3)
    capture = Capture.load(tmp_path)
    same_cameras(capture, Z_UP)
    assert capture.views[5].camera.distortion == pytest.approx((0.05, -0.02, 0, 0, 0.001, 0.0005), rel=1e-6)
    assert capture.views[0].name == ("" if home == "." else f"{home}/") + "000.jpg"


@pytest.mark.parametrize("points", ["", "\n", "3.0 4.0 -1 5.5 6.5 12\n", "3.0\t4.0\t-1\n", "\n\n"])
def test_colmaps_text_with_and_without_lines_of_points(tmp_path, points):
    exports.photographs(tmp_path / "images", [f"{k:03d}.jpg" for k in range(12)])
    file = exports.colmap(tmp_path) / "sparse" / "0" / "images.txt"
    file.write_text("".join(f"{line}\n{points}" for line in file.read_text().splitlines()[1::2]))
    same_cameras(Capture.load(tmp_path), Z_UP)


@pytest.mark.parametrize("kind", ["binary", "text"])
def test_colmaps_rigs_and_frames(tmp_path, kind):
    """Two cameras on a rig, as COLMAP 3.12 and newer write them: each photograph where COLMAP has it."""
    import pycolmap

    options = pycolmap.SyntheticDatasetOptions()
    options.num_rigs, options.num_cameras_per_rig, options.num_frames_per_rig = 1, 2, 5
    options.num_points3D, options.camera_width, options.camera_height = 20, 24, 16
    options.camera_params = [20.0, 12.0, 8.0, 0.01]
    truth = pycolmap.synthesize_dataset(options)
    model = tmp_path / "sparse" / "0"
    model.mkdir(parents=True)
    getattr(truth, f"write_{kind}")(model)
    assert list(model.glob("rigs.*")) and list(model.glob("frames.*"))
    exports.photographs(tmp_path / "images", [image.name for image in truth.images.values()])
    capture = Capture.load(tmp_path)
    assert len(capture.views) == 10
    for image in truth.images.values():
        pose = Z_UP[:3, :3] @ image.cam_from_world().inverse().matrix() @ exports.CV
        found = capture.view(image.name).camera.c2w.numpy()
        assert np.abs(found - pose).max() < 1e-5 * max(1, np.abs(pose).max())


def test_of_several_reconstructions_the_largest_is_read(tmp_path):
    exports.photographs(tmp_path / "images", [f"{k:03d}.jpg" for k in range(12)])
    for number, count in enumerate((4, 12, 7)):
        exports.colmap(tmp_path, f"sparse/{number}", count=count, binary=number == 1)
    capture = Capture.load(tmp_path)
    same_cameras(capture, Z_UP)
    assert "read was sparse/1 with 12 photographs; sparse/0 has 4, sparse/2 has 7" in capture.warnings[0]
    assert len(Capture.load(tmp_path, reading=capture.reading).views) == 12


def test_colmap_names_with_spaces_and_folders(tmp_path):
    """And of a Mac, whose files have decomposed names."""
    listed = [f"Küche {k % 2}/{k:03d}.jpg" for k in range(12)]
    exports.photographs(tmp_path / "images", [unicodedata.normalize("NFD", name) for name in listed])
    exports.colmap(tmp_path, listed=listed)
    capture = Capture.load(tmp_path)
    assert [view.name for view in capture.views] == sorted(f"images/{name}" for name in listed)


@pytest.mark.parametrize(
    ("home", "listed"),
    [
        (".", "images/{}"),  # which are moved out of their folder
        ("pictures", "rig/front/{}"),
        ("images", "/home/somebody/a/b/c/d/e/f/g/h/i/j/k/images/{}"),
        ("images", "C:\\Users\\me\\images\\{}"),
    ],
)
def test_colmap_names_with_folders_that_are_gone(tmp_path, home, listed):
    exports.photographs(tmp_path / home, [f"{k:03d}.jpg" for k in range(12)])
    exports.colmap(tmp_path, listed=[listed.format(f"{k:03d}.jpg") for k in range(12)])
    capture = Capture.load(tmp_path)
    same_cameras(capture, Z_UP)
    assert {view.path.parent for view in capture.views} == {tmp_path / home}


def test_photographs_that_lie_elsewhere(tmp_path):
    """Named with their whole paths, by COLMAP's and RealityCapture's users."""
    elsewhere, model, reality = (tmp_path / name for name in ("elsewhere", "model", "reality"))
    exports.photographs(elsewhere, [f"{k:03d}.jpg" for k in range(12)])
    exports.colmap(model, listed=[f"{elsewhere}/{k:03d}.jpg" for k in range(12)])
    same_cameras(Capture.load(model), Z_UP)
    exports.reality_capture(reality)
    (reality / "images").rename(reality / "gone")
    table = (reality / "cameras.csv").read_text()
    for k in range(12):
        (reality / "gone" / f"{k:03d}.jpg").unlink()
        table = table.replace(f"{k:03d}.jpg", f"{elsewhere}/{k:03d}.jpg")
    (reality / "cameras.csv").write_text(table)
    same_cameras(Capture.load(reality))


@pytest.mark.parametrize("write", [exports.metashape, exports.reality_capture, exports.meshroom])
def test_what_is_no_file_is_passed_over(tmp_path, write):
    """Broken links, as git-annex leaves them, and folders under the names of a format's files."""
    write(tmp_path)
    for suffix in ("xml", "csv", "sfm"):
        (tmp_path / f"a.{suffix}").symlink_to("nowhere")
        (tmp_path / f"b.{suffix}").mkdir()
        os.mkfifo(tmp_path / f"c.{suffix}")
    same_cameras(Capture.load(tmp_path))


@pytest.mark.parametrize("write", [exports.polycam, exports.record3d, exports.metashape, exports.llff])
def test_the_files_that_a_mac_writes_beside_every_other_are_passed_over(tmp_path, write):
    if write is exports.llff:
        exports.photographs(tmp_path / "images", [f"{k:03d}.jpg" for k in range(12)])
    write(tmp_path)
    for path in list(tmp_path.rglob("*.*")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7<document<chunk")
    assert len(Capture.load(tmp_path).views) == 12


@pytest.mark.parametrize("kind", ["COLMAP", "Record3D"])
def test_a_pose_without_rotation_is_named(tmp_path, kind):
    if kind == "COLMAP":
        exports.photographs(tmp_path / "images", [f"{k:03d}.jpg" for k in range(12)])
        file = exports.colmap(tmp_path) / "sparse" / "0" / "images.txt"
        lines = file.read_text().splitlines()
        words = lines[1 + 2 * 5].split()
        lines[1 + 2 * 5] = " ".join([words[0], *"0000", *words[5:]])
        file.write_text("\n".join(lines) + "\n")
        name = "005.jpg"
    else:
        file = exports.record3d(tmp_path) / "metadata.json"
        data = json.loads(file.read_text())
        data["poses"][5][:4] = [0, 0, 0, 0]
        file.write_text(json.dumps(data))
        name = "5.jpg"
    with pytest.raises(InputError, match=f"the pose of {name} in .* is no rotation.* 0 0 0 0"):
        Capture.load(tmp_path)


@pytest.mark.parametrize(
    "model", ["FOV 24 16 20 20 12 8 0.9", "FULL_OPENCV 24 16 20 20 12 8 0 0 0 0 0 .1 0 0"]
)
def test_lenses_of_colmap_without_a_counterpart(tmp_path, model):
    exports.photographs(tmp_path / "images", [f"{k:03d}.jpg" for k in range(12)])
    exports.colmap(tmp_path)
    (tmp_path / "sparse" / "0" / "cameras.txt").write_text(f"1 {model}\n")
    with pytest.raises(InputError, match="undistort the photographs"):
        Capture.load(tmp_path)


def test_llff_with_smaller_photographs(tmp_path):
    """images_4 alone: focal length and size of the rows are those of the photographs that are not there."""
    exports.photographs(tmp_path / "images_4", [f"{k:03d}.png" for k in range(12)])
    exports.llff(tmp_path, scale=4)
    capture = Capture.load(tmp_path)
    assert capture.views[0].camera.fx == pytest.approx(20) and capture.views[0].size == (24, 16)
    poses = np.stack([view.camera.c2w.numpy() for view in capture.views])
    assert np.abs(poses - exports.poses()[:, :3]).max() < 1e-6
    exports.photographs(tmp_path / "images", [f"{k:03d}.png" for k in range(12)], (96, 64))
    assert Capture.load(tmp_path).views[0].size == (96, 64)
    (tmp_path / "images" / "003.png").unlink()
    assert Capture.load(tmp_path).views[0].size == (24, 16)
    (tmp_path / "images_4" / "003.png").unlink()
    with pytest.raises(InputError, match="has 12 poses, but no folder beside it has as many photographs"):
        Capture.load(tmp_path)


def test_blender_splits_with_photographs(tmp_path):
    """Real photographs in Blender's layout: their own lens, opaque, one folder a split."""
    lens = {"fl_x": 20.0, "fl_y": 20.0, "cx": 11.5, "cy": 8.5, "w": 24, "h": 16}
    for part, indices in {"train": range(10), "test": (10, 11)}.items():
        exports.photographs(tmp_path, [f"{part}/{k:03d}.jpg" for k in indices])
        frames = [
            {"file_path": f"{part}/{k:03d}", "transform_matrix": exports.poses()[k].tolist()} for k in indices
        ]
        (tmp_path / f"transforms_{part}.json").write_text(json.dumps(lens | {"frames": frames}))
    capture = Capture.load(tmp_path)
    assert [len(part) for part in (capture.views, capture.train, capture.test)] == [12, 10, 2]
    assert capture.view("011").camera.cx == pytest.approx(11.5) and capture.view("011").alpha() is None


@pytest.mark.parametrize("listed", ["{}", "./{}.jpg", "{part}/{}", "C:\\lego\\{part}\\{}.jpg"])
def test_blender_splits_that_number_their_photographs_alike(tmp_path, listed):
    """Each has those of the folder of its name."""
    for part, indices in {"train": range(6), "val": range(6, 8), "test": range(8, 12)}.items():
        exports.photographs(tmp_path, [f"{part}/r_{k - indices[0]}.jpg" for k in indices])
        frames = [
            {
                "file_path": listed.format(f"r_{k - indices[0]}", part=part),
                "transform_matrix": exports.poses()[k].tolist(),
            }
            for k in indices
        ]
        (tmp_path / f"transforms_{part}.json").write_text(
            json.dumps({"camera_angle_x": 0.7, "frames": frames})
        )
    capture = Capture.load(tmp_path)
    assert [len(part) for part in (capture.views, capture.train, capture.test)] == [12, 6, 4]
    for part, first in (("train", 0), ("val", 6), ("test", 8)):
        for view in (view for view in capture.views if view.path.parent == tmp_path / part):
            pose = exports.poses()[first + int(view.path.stem[2:])]
            assert np.abs(view.camera.c2w.numpy() - pose[:3]).max() < 1e-6


BAD = {
    "entities": ("cameras.xml", '<!DOCTYPE d [<!ENTITY a "b">]><document><chunk/></document>', "entities"),
    "cut XML": ("cameras.xml", "<document><chunk>", "not valid XML"),
    "poses": ("poses_bounds.npy", b"\x93NUMPY", "poses_bounds.npy cannot be read"),
    "an SFM file without poses": ("a.sfm", '{"views": []}', "holds no poses"),
    "no reconstruction": ("reconstruction.json", "{}", "is not a reconstruction"),
    "another CSV": ("a.csv", "#name,x,y,alt,heading,pitch,roll\na.jpg,0,0,0,0,0,0\n", "lacks f, px, py"),
    "Record3D without photographs": ("metadata.json", '{"poses": [], "K": []}', "there are no photographs"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_damaged_exports(tmp_path, what):
    name, content, message = BAD[what]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        Capture.load(tmp_path)


def test_photographs_of_lenses_of_several_kinds(tmp_path):
    """Fisheye and perspective in one transforms.json, each frame its own."""
    exports.photographs(tmp_path, exports.names())
    lens = {"fl_x": 20.0, "fl_y": 20.0, "cx": 12, "cy": 8, "w": 24, "h": 16}
    frames = [
        {"file_path": name, "transform_matrix": pose.tolist(), "camera_model": model} | lens
        for name, pose, model in zip(
            exports.names(), exports.poses(), 6 * ["OPENCV", "OPENCV_FISHEYE"], strict=True
        )
    ]
    (tmp_path / "transforms.json").write_text(json.dumps({"frames": frames}))
    assert [v.camera.model for v in Capture.load(tmp_path).views] == 6 * ["PERSPECTIVE", "FISHEYE"]
    Image.new("RGB", (24, 16)).save(tmp_path / "images" / "000.jpg")
