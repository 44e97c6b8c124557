"""Captures: what comes through nerfstudio's dataparsers, and what every mistake is answered with."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.data.utils.dataparsers_utils import get_train_eval_split_fraction
from PIL import Image

from nerf_insert.capture.camera_paths import look_at
from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError
from nerf_insert.geometry.cameras import Camera

SIZE = (24, 16)
LENS = {"fl_x": 20.0, "fl_y": 21.0, "cx": 11.5, "cy": 8.5, "w": 24, "h": 16}
RAW = {"orientation_method": "none", "center_method": "none", "auto_scale_poses": False}


def pose(index: int, count: int = 12) -> list[list[float]]:
    """On a circle of radius 3 at height 1.5, looking at the origin, z up."""
    angle = 2 * math.pi * index / count
    eye = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 1.5], dtype=torch.float64)
    c2w = look_at(eye, torch.zeros(3, dtype=torch.float64), torch.tensor([0.0, 0.0, 1.0]))
    return [*c2w.tolist(), [0.0, 0.0, 0.0, 1.0]]


def color(index: int) -> tuple[int, int, int]:
    return 10 * index, 200 - 10 * index, 50


@pytest.fixture
def folder(tmp_path):
    """Twelve photographs of one color each."""
    (tmp_path / "images").mkdir()
    for index in range(12):
        Image.new("RGB", SIZE, color(index)).save(tmp_path / "images" / f"{index:03d}.png")
    return tmp_path


def meta(count: int = 12, **other) -> dict:
    frames = [{"file_path": f"images/{i:03d}.png", "transform_matrix": pose(i)} for i in range(count)]
    return {"camera_model": "OPENCV", **LENS, "frames": frames} | other


def write(folder, data, name="transforms.json"):
    (folder / name).write_text(data if isinstance(data, str) else json.dumps(data))
    return folder


def same(camera: Camera, other: Camera) -> None:
    """Equal up to nerfstudio's float32."""
    assert torch.allclose(camera.c2w, other.c2w, atol=1e-6)
    assert (camera.width, camera.height, camera.model) == (other.width, other.height, other.model)
    for key in ("fx", "fy", "cx", "cy"):
        assert getattr(camera, key) == pytest.approx(getattr(other, key), rel=1e-6)
    assert camera.distortion == pytest.approx(other.distortion, rel=1e-6, abs=1e-9)


def test_poses_stay_in_the_coordinates_of_the_file(folder):
    """Also with an applied_transform, which they already contain, and an orientation override."""
    turned = {"applied_transform": [[0, 1, 0, 5], [1, 0, 0, 0], [0, 0, -1, 0]], "orientation_override": "up"}
    for other in ({}, turned, {"applied_scale": 3.0}):
        capture = Capture.load(write(folder, meta(**other)))
        assert [view.name for view in capture.views] == [f"images/{i:03d}.png" for i in range(12)]
        for index, view in enumerate(capture.views):
            assert np.abs(view.camera.c2w.numpy() - np.array(pose(index))[:3]).max() < 1e-6
            expected = torch.tensor(color(index)) / 255
            assert torch.allclose(view.photograph(), expected.expand(16, 24, 3))
            assert view.alpha() is None and view.valid() is None
        assert capture.warnings == ()
        assert torch.allclose(capture.up, torch.tensor([0.0, 0.0, 1.0]), atol=1e-5)
        assert capture.center_of_attention.norm() < 1e-4


def test_the_json_itself_may_be_named(folder):
    capture = Capture.load(write(folder, meta(), "other.json") / "other.json")
    assert len(capture.views) == 12


@pytest.mark.parametrize(
    "own",
    [
        {"k1": 0.05, "k2": -0.08, "p1": -1e-3, "p2": 2e-4},
        {"distortion_params": [0.1, 0.02, 0.003, 0.0004, 1e-3, 2e-3]},
    ],
)
@pytest.mark.parametrize("model", ["OPENCV", "OPENCV_FISHEYE"])
def test_intrinsics_of_each_frame_come_through_as_in_nerfstudio(folder, own, model):
    data = meta(camera_model=model)
    for key in LENS:
        del data[key]
    for index, frame in enumerate(data["frames"]):
        scale = {key: value * (1 + index / 50) for key, value in LENS.items() if key not in "wh"}
        frame |= LENS | scale | own
    capture = Capture.load(write(folder, data))
    config = NerfstudioDataParserConfig(data=folder, eval_mode="all", downscale_factor=1, **RAW)
    reference = config.setup().get_dataparser_outputs("train")
    assert [view.path for view in capture.views] == reference.image_filenames
    for index, view in enumerate(capture.views):
        same(view.camera, Camera.of(reference.cameras, index))
    assert capture.views[5].camera.fx == pytest.approx(22.0)
    assert capture.views[0].camera.model == ("FISHEYE" if "FISHEYE" in model else "PERSPECTIVE")


def test_what_is_shared_wins_as_in_nerfstudio(folder):
    data = meta(k1=0.25)
    data["frames"][0] |= {"fl_x": 99.0, "k1": 0.5}
    camera = Capture.load(write(folder, data)).views[0].camera
    assert camera.fx == 20 and camera.distortion[0] == 0.25


def test_instant_ngp_files_are_understood(folder):
    """A field of view in radians, no suffixes, a leading ./, a fisheye flag, sizes from the pictures."""
    data = meta(camera_angle_x=1.0)
    for key in (*LENS, "camera_model"):
        del data[key]
    for frame in data["frames"]:
        frame["file_path"] = "./" + frame["file_path"][:-4]
    camera = Capture.load(write(folder, data)).view("images/003").camera
    assert camera.fx == camera.fy == pytest.approx(12 / math.tan(0.5)) and (camera.cx, camera.cy) == (12, 8)
    assert Capture.load(write(folder, data | {"is_fisheye": True})).views[0].camera.model == "FISHEYE"


def test_names_written_on_windows(folder):
    data = meta()
    for frame in data["frames"]:
        frame["file_path"] = frame["file_path"].replace("/", "\\")
    view = Capture.load(write(folder, data)).view("images/003.png")
    assert view.path == folder / "images" / "003.png"


def test_missing_photographs_are_left_out_with_one_warning(folder):
    for index in (2, 5, 7, 9):
        (folder / "images" / f"{index:03d}.png").unlink()
    capture = Capture.load(write(folder, meta(test_filenames=["images/002.png", "images/003.png"])))
    assert len(capture.views) == 8 and [view.name for view in capture.test] == ["images/003.png"]
    (warning,) = capture.warnings
    assert "4 of 12" in warning and "images/002.png" in warning and "and 1 more" in warning


def test_transparency_is_composited_and_given(folder):
    pixels = np.zeros((16, 24, 4), np.uint8)
    pixels[..., 0], pixels[:, :12, 3], pixels[:, 12:, 3] = 255, 51, 0
    Image.fromarray(pixels).save(folder / "images" / "000.png")
    view = Capture.load(write(folder, meta())).view("000")
    assert torch.allclose(view.alpha()[:, :12], torch.tensor(0.2)) and (view.alpha()[:, 12:] == 0).all()
    picture = view.photograph()
    assert torch.allclose(picture[0, 0], torch.tensor([1.0, 0.8, 0.8])) and (picture[:, 12:] == 1).all()
    small = view.photograph((12, 8))
    assert small.shape == (8, 12, 3) and torch.allclose(small[0, 0], torch.tensor([1.0, 0.8, 0.8]))


def test_masks_are_nerfstudios_zero_is_ignored(folder):
    mask = np.full((16, 24), 7, np.uint8)
    mask[:5] = 0
    Image.fromarray(mask).save(folder / "mask.png")
    data = meta()
    data["frames"][3]["mask_path"] = "mask.png"
    capture = Capture.load(write(folder, data))
    assert capture.view("003").valid().sum(1).tolist() == [0] * 5 + [24] * 11
    # a small pixel is valid when all that its filter touches is
    small = capture.scaled(0.5).view("003").valid()
    assert small.shape == (8, 12) and not small[:3].any() and small[4:].all()
    assert capture.view("004").valid() is None


def split(capture):
    return [[view.path.stem for view in part] for part in (capture.train, capture.test)]


def test_splits(folder):
    names = [f"images/{i:03d}.png" for i in range(12)]
    stems = [f"{i:03d}" for i in range(12)]
    default_train, default_test = get_train_eval_split_fraction(names, 0.9)
    default = [[stems[i] for i in default_train], [stems[i] for i in default_test]]

    def of(**lists):
        return split(Capture.load(write(folder, meta(**{f"{k}_filenames": v for k, v in lists.items()}))))

    assert of() == default
    assert of(train=names[:8], val=names[8:10], test=names[10:]) == [stems[:8], stems[10:]]
    assert of(train=names[:8], val=names[8:10]) == [stems[:8], stems[8:10]]
    assert of(train=names[:8]) == [stems[:8], stems[8:]]
    assert of(test=names[:2]) == [stems[2:], stems[:2]]
    assert of(train=names, val=names, test=names) == default
    assert of(train=names, test=names[:3]) == [stems[3:], stems[:3]]
    for index in (10, 11):
        (folder / "images" / f"{index:03d}.png").unlink()
    train, test = of(train=names[:10], test=names[10:])  # nothing left to test on
    assert train and test and not set(train) & set(test)


def test_views_are_found_by_path_name_and_stem(folder):
    capture = Capture.load(write(folder, meta()))
    for name in ("images/004.png", "./images/004.png", "004.png", "004", folder / "images" / "004.png"):
        assert capture.view(name).name == "images/004.png"
    with pytest.raises(InputError, match=r"no photograph 04\.png: did you mean images/004\.png"):
        capture.view("04.png")
    (folder / "more").mkdir()
    Image.new("RGB", SIZE).save(folder / "more" / "004.png")
    data = meta()
    data["frames"].append({"file_path": "more/004.png", "transform_matrix": pose(1)})
    with pytest.raises(InputError, match=r"could be any of images/004\.png, more/004\.png"):
        Capture.load(write(folder, data)).view("004")


def test_scaling_scales_cameras_and_photographs(folder):
    capture = Capture.load(write(folder, meta()), downscale=2)
    view = capture.views[0]
    assert view.size == (12, 8) and view.photograph().shape == (8, 12, 3) and view.camera.fx == 10
    assert all(v in capture.views for v in capture.train + capture.test)
    with pytest.raises(InputError, match="scale the capture down by 0"):
        Capture.load(folder, downscale=0)


def test_photographs_of_another_scale_take_their_intrinsics_along(folder):
    for index in range(12):
        Image.new("RGB", (12, 8)).save(folder / "images" / f"{index:03d}.png")
    capture = Capture.load(write(folder, meta()))
    camera = capture.views[0].camera
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == pytest.approx((10, 10.5, 5.75, 4.25))
    assert "12 photographs have another size" in capture.warnings[0]


def test_blender_captures(folder):
    """As nerfstudio's Blender dataparser has them, pictures with and without transparency."""
    data = {"camera_angle_x": 0.7}
    for part, indices in {"train": range(6), "val": (6, 7), "test": range(8, 12)}.items():
        frames = [{"file_path": f"./images/{i:03d}", "transform_matrix": pose(i)} for i in indices]
        write(folder, data | {"frames": frames}, f"transforms_{part}.json")
    capture = Capture.load(folder)
    assert split(capture) == [[f"{i:03d}" for i in range(6)], ["008", "009", "010", "011"]]
    assert len(capture.views) == 12 and capture.views[0].name == "./images/000"
    for part in ("train", "test"):
        reference = BlenderDataParserConfig(data=folder).setup().get_dataparser_outputs(part)
        for index, view in enumerate(getattr(capture, part)):
            assert view.path == reference.image_filenames[index]
            same(view.camera, Camera.of(reference.cameras, index))


def colmap(folder, name="sparse/0"):
    """The twelve views as a COLMAP text model: world-to-camera, OpenCV's axes, quaternions w x y z."""
    from scipy.spatial.transform import Rotation

    model = folder / name
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text("1 OPENCV 24 16 20 21 11.5 8.5 0.05 -0.08 0.001 0.0002\n")
    lines = []
    for index in range(12):
        c2w = np.array(pose(index))
        w2c = np.linalg.inv(c2w @ np.diag([1, -1, -1, 1]))
        x, y, z, w = Rotation.from_matrix(w2c[:3, :3]).as_quat()
        lines += [" ".join(map(str, [index + 1, w, x, y, z, *w2c[:3, 3], 1, f"{index:03d}.png"])), ""]
    (model / "images.txt").write_text("\n".join(lines) + "\n")
    (model / "points3D.txt").write_text("1 0 0 0 255 0 0 0.1\n")
    return folder


@pytest.mark.parametrize("place", ["sparse/0", "colmap/sparse/0", "sparse"])
def test_colmap_captures(folder, place):
    capture = Capture.load(colmap(folder, place))
    config = ColmapDataParserConfig(
        data=folder, colmap_path=place, eval_mode="all", downscale_factor=1, load_3D_points=False, **RAW
    )
    reference = config.setup().get_dataparser_outputs("train")
    assert [view.name for view in capture.views] == [f"images/{i:03d}.png" for i in range(12)]
    for index, view in enumerate(capture.views):
        assert view.path == reference.image_filenames[index]
        same(view.camera, Camera.of(reference.cameras, index))
    assert split(capture)[1] == ["000", "008"]  # nerfstudio's every eighth
    (folder / "test_list.txt").write_text("001.png\n002.png\n")
    assert split(Capture.load(folder))[1] == ["001", "002"]


def test_any_other_dataparser_can_be_named(folder):
    """instant-ngp's is read as ours; a third party's through its own code ("minimal" stands for it here)."""
    write(folder, meta())
    assert len(Capture.load(folder, dataparser="instant-ngp-data").views) == 12
    with pytest.raises(InputError, match=r"no dataparser nonsense; there are .*nerfstudio-data"):
        Capture.load(folder, dataparser="nonsense")
    with pytest.raises(InputError, match="dataparser dycheck-data cannot read"):
        Capture.load(folder, dataparser="dycheck-data")


def test_scannet_through_nerfstudios_own_reader(folder):
    """One of nerfstudio's dataparsers that this package knows nothing about."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir()
    for index in range(12):
        Image.new("RGB", SIZE, color(index)).save(folder / "color" / f"{index}.jpg")
        Image.new("I;16", SIZE).save(folder / "depth" / f"{index}.png")
        np.savetxt(folder / "pose" / f"{index}.txt", np.array(pose(index)) @ np.diag([1, -1, -1, 1]))
    lens = [[20, 0, 12, 0], [0, 21, 8, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.savetxt(folder / "intrinsic" / "intrinsic_color.txt", lens)
    capture = Capture.load(folder, dataparser="scannet-data")
    assert len(capture.views) == 12 and len(capture.train) == 11 and len(capture.test) == 1
    for view in capture.views:
        index = int(view.path.stem)
        assert view.name == f"color/{index}.jpg" and view.camera.fy == 21
        assert np.abs(view.camera.c2w.numpy() - np.array(pose(index))[:3]).max() < 1e-5


def broken(change):
    """A transforms.json after `change(meta)`."""

    def make(folder):
        data = meta()
        change(data)
        write(folder, data)

    return make


def frame(**values):
    """Frame 4 with other values; None takes the key away."""

    def change(data):
        for key, value in values.items():
            if value is None:
                del data["frames"][4][key]
            else:
                data["frames"][4][key] = value

    return broken(change)


def shared(**values):
    def change(data):
        for key, value in values.items():
            data[key] = value
            if value is None:
                del data[key]

    return broken(change)


def picture(make, data=None):
    """Something in the place of photograph 4."""

    def prepare(folder):
        write(folder, data or meta())
        path = folder / "images" / "004.png"
        path.unlink()
        make(path)

    return prepare


def with_mask(size):
    def prepare(folder):
        frame(mask_path="mask.png")(folder)
        Image.new("L", size).save(folder / "mask.png")

    return prepare


def far(scale=1.0, flip=1.0, value=None, row=3):
    matrix = np.array(pose(4))
    matrix[:3, :3] *= scale
    matrix[:3, 0] *= flip
    if value is not None:
        matrix[row, 0] = value
    return matrix.tolist()


WHERE = r"frame 4 \(images/004\.png\) of .*transforms\.json"
BAD = {
    "nothing there": (lambda folder: None, "not a capture that can be read: it needs a transforms.json"),
    "not JSON": (lambda folder: write(folder, '{"frames": [\n oops'), r"not valid JSON: line 2"),
    "empty file": (lambda folder: write(folder, ""), r"transforms\.json is empty"),
    "a list": (lambda folder: write(folder, "[]"), r"transforms\.json is not a list of camera poses"),
    "no frames": (shared(frames=[]), r"transforms\.json has no frames"),
    "frames missing": (shared(frames=None), r"transforms\.json has no frames"),
    "a frame is no object": (broken(lambda data: data["frames"].insert(0, 3)), "frame 0 of"),
    "no file_path": (frame(file_path=None), 'frame 4 of .* has no "file_path"'),
    "no pose": (frame(transform_matrix=None), f'{WHERE} has no "transform_matrix"'),
    "pose of words": (frame(transform_matrix="eye"), f"{WHERE}: transform_matrix"),
    "ragged pose": (frame(transform_matrix=[[1, 0], [0]]), f"{WHERE}: transform_matrix is not a matrix"),
    "3x3 pose": (frame(transform_matrix=np.eye(3).tolist()), f"{WHERE}: .* 4x4 or 3x4, it is 3x3"),
    "NaN pose": (frame(transform_matrix=far(value=math.nan, row=0)), f"{WHERE}: .*not finite"),
    "infinite pose": (frame(transform_matrix=far(value=math.inf, row=0)), f"{WHERE}: .*not finite"),
    "sheared pose": (frame(transform_matrix=far(value=1.2, row=1)), f"{WHERE}: .*sheared.* scale by"),
    "mirrored pose": (frame(transform_matrix=far(flip=-1)), f"{WHERE}: .*mirrored"),
    "transposed pose": (frame(transform_matrix=np.array(pose(4)).T.tolist()), f"{WHERE}: the last row"),
    "no focal length": (shared(fl_x=None), r'frame 0 .* lacks "fl_x"'),
    "zero focal length": (shared(fl_x=0), "frame 0 .* focal length fl_x is 0"),
    "negative focal length": (shared(fl_y=-3), "frame 0 .* focal length fl_y is -3"),
    "focal length of words": (shared(fl_x="wide"), "frame 0 .* fl_x should be a number, it is 'wide'"),
    "NaN focal length": (shared(fl_x=math.nan), "frame 0 .* fl_x is nan"),
    "angle in degrees": (shared(fl_x=None, camera_angle_x=50.0), "is 50, it should be radians"),
    "enormous width": (shared(w=1e300), "frame 0 .* w is 1e.300, which is too large"),
    "a name that no file can have": (frame(mask_path="x" * 3000), "its mask .* does not exist"),
    "no width": (shared(w=0), "frame 0 .* given as 0x16"),
    "panorama": (shared(camera_model="EQUIRECTANGULAR"), "camera_model EQUIRECTANGULAR is not supported"),
    "unknown camera model": (shared(camera_model="LYTRO"), "camera_model LYTRO is not supported"),
    "lens of four": (shared(distortion_params=[0, 0, 0, 0]), "distortion_params should be six numbers"),
    "named twice": (frame(file_path="./images/003.png"), r"same photograph as an earlier frame \(images/003"),
    "cropped picture": (
        picture(lambda path: Image.new("RGB", (24, 12)).save(path)),
        r"images/004\.png is 24x12 pixels but its intrinsics are for 24x16: it was cropped",
    ),
    "turned picture": (
        picture(lambda path: Image.new("RGB", (16, 24)).save(path)),
        r"images/004\.png is 16x24 pixels but its intrinsics are for 24x16: it was turned",
    ),
    "text as picture": (picture(lambda path: path.write_text("hello")), r"images/004\.png is not an image"),
    "empty picture": (picture(lambda path: path.write_bytes(b"")), r"images/004\.png is not an image"),
    "folder as picture": (picture(lambda path: path.mkdir()), r"cannot read the image .*images/004\.png"),
    "mask missing": (frame(mask_path="gone.png"), rf"{WHERE}: its mask .*gone\.png does not exist"),
    "mask of another size": (with_mask((12, 8)), r"mask\.png is 12x8 pixels .* is 24x16"),
    "split names nothing": (
        shared(test_filenames=["images/099.png", "x.png"]),
        r"test_filenames names images/099\.png, which no frame has .*1 more",
    ),
    "split is no list": (shared(train_filenames="images/000.png"), "train_filenames should be a list"),
    "two frames": (broken(lambda data: data["frames"].__delitem__(slice(2, None))), "2 usable photographs"),
    "no pictures at all": (
        lambda folder: (write(folder, meta()), [os.unlink(path) for path in (folder / "images").iterdir()]),
        r"none of the 12 photographs .* exists, such as images/000\.png",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_every_mistake_is_named(folder, mistake):
    prepare, message = BAD[mistake]
    prepare(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(InputError, match=message) as caught:
        Capture.load(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
    assert sorted(folder.rglob("*")) == before  # nothing is written into somebody's capture


def test_paths_that_are_no_capture(tmp_path):
    with pytest.raises(InputError, match="there is no capture"):
        Capture.load(tmp_path / "gone")
    (tmp_path / "scene.glb").write_text("x")
    with pytest.raises(InputError, match=r"scene\.glb is not a capture"):
        Capture.load(tmp_path / "scene.glb")
    with pytest.raises(InputError, match="no COLMAP reconstruction"):
        Capture.load(tmp_path, dataparser="colmap")
    (tmp_path / "sparse").mkdir()
    (tmp_path / "sparse" / "cameras.bin").write_bytes(b"\x01\x02")
    with pytest.raises(InputError, match=r"COLMAP reconstruction .* cannot be read"):
        Capture.load(tmp_path)


def test_a_photograph_cut_off_in_the_middle_is_named_when_it_is_read(folder):
    noise = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    path = folder / "images" / "004.png"
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:-300])
    view = Capture.load(write(folder, meta())).view("004")
    with pytest.raises(InputError, match=r"images/004\.png"):
        view.photograph()


def test_rotations_rounded_to_three_decimals_pass_and_are_made_rigid(folder):
    data = meta()
    for entry in data["frames"]:
        entry["transform_matrix"] = np.round(entry["transform_matrix"], 3).tolist()
    for view in Capture.load(write(folder, data)).views:
        rotation = view.camera.c2w[:, :3].double()
        assert torch.allclose(rotation.T @ rotation, torch.eye(3, dtype=torch.float64), atol=1e-6)


def test_loading_is_quiet_and_light(folder):
    """No word on the console, and none of nerfstudio's models, diffusers or gradio."""
    write(folder, meta(train_filenames=["images/000.png"]))
    code = (
        "import sys; from nerf_insert.capture.capture import Capture; Capture.load(sys.argv[1]);"
        "heavy = [m for m in sys.modules if m.startswith(('nerfstudio.models', 'nerfstudio.engine', 'gradio',"
        " 'diffusers', 'open3d'))]; print(*heavy, end='')"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
