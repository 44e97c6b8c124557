"""Captures as they come: turned photographs, foreign paths, places far from zero, masks of other programs."""

import json
import math
import shutil
import unicodedata

import exports
import numpy as np
import pytest
import torch
import walks
from PIL import Image, ImageOps
from scipy.spatial.transform import Rotation

from nerf_insert.capture.axes import parse_axes
from nerf_insert.capture.capture import Capture
from nerf_insert.capture.formats.content import folders_of_photographs
from nerf_insert.capture.masks_beside import share_note
from nerf_insert.capture.placement import choose_origin, level_up
from nerf_insert.capture.reading import AS_BEFORE, Reading, all_axes
from nerf_insert.errors import InputError
from nerf_insert.io.images import orient
from nerf_insert.regions.drawn_masks import drawn_mask
from nerf_insert.regions.spec import Box

LENS = {"fl_x": 20.0, "fl_y": 21.0, "cx": 11.5, "cy": 8.5, "w": 24, "h": 16}


def write(folder, names=None, poses=None, **other):
    names = names or exports.names()
    poses = exports.poses() if poses is None else poses
    frames = [
        {"file_path": n, "transform_matrix": np.asarray(p).tolist()}
        for n, p in zip(names, poses, strict=True)
    ]
    (folder / "transforms.json").write_text(json.dumps({**LENS, "frames": frames} | other))
    return folder


def noise(folder, tag=None, turn=None, names=None, size=(24, 16)):
    """Photographs of noise, PNG so that their pixels come back; `tag` in the EXIF data."""
    upright = []
    for k, name in enumerate(names or exports.names(suffix=".png")):
        pixels = np.random.default_rng(k).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        upright.append(pixels)
        image, exif = Image.fromarray(pixels), Image.Exif()
        if tag:
            exif[0x0112] = tag
        if turn is not None:
            image = image.transpose(turn)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name, exif=exif)
    return upright


@pytest.mark.parametrize("tag", range(1, 9))
def test_exif_orientation_is_that_of_pillow(tmp_path, tag):
    pixels = np.random.default_rng(tag).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")), orient(pixels, tag))


def test_poses_of_upright_photographs_that_are_stored_turned(tmp_path):
    """As RealityCapture, Metashape and ffmpeg leave them: the size of the intrinsics decides."""
    upright = noise(tmp_path, tag=6, turn=Image.Transpose.ROTATE_90)
    capture = Capture.load(write(tmp_path, exports.names(suffix=".png")))
    for view, pixels in zip(capture.views, upright, strict=True):
        assert view.size == view.full_size == (24, 16) and view.orientation == 6
        assert np.array_equal((view.photograph() * 255).round().byte().numpy(), pixels)
    assert torch.allclose(capture.up, torch.tensor([0.0, 0.0, 1.0]), atol=0.05)
    with pytest.raises(InputError, match="is 16x24 pixels but its intrinsics are for 24x16: it was turned"):
        Capture.load(tmp_path, reading=AS_BEFORE)


@pytest.mark.parametrize(("tag", "quarter"), [(6, 1), (8, -1), (None, 1), (None, -1)])
def test_poses_of_stored_pixels_of_a_phone_held_upright(tmp_path, tag, quarter):
    """COLMAP's and ARKit's way: pixels as they are stored, up all the same, with and without EXIF data."""
    turn = Image.Transpose.ROTATE_90 if quarter > 0 else Image.Transpose.ROTATE_270
    noise(tmp_path, tag=tag, turn=turn)
    poses = exports.poses()
    right, up = poses[:, :3, 0].copy(), poses[:, :3, 1].copy()
    poses[:, :3, 0], poses[:, :3, 1] = -quarter * up, quarter * right
    lens = {"w": 16, "h": 24, "cx": 8.0, "cy": 12.0}
    capture = Capture.load(write(tmp_path, exports.names(suffix=".png"), poses, **lens))
    view = capture.views[0]
    assert view.size == (16, 24) and view.orientation == 1 and view.stored_orientation == (tag or 1)
    assert torch.allclose(capture.up, torch.tensor([0.0, 0.0, 1.0]), atol=0.05)
    # a mask may be painted on the photograph as people see it
    if tag:
        stored = np.zeros((24, 16), bool)
        stored[3:7, 2:5] = True
        seen = orient(stored, tag)
        for name, mask in {"stored": stored, "seen": seen}.items():
            Image.fromarray(mask).save(tmp_path / f"{name}.png")
            assert np.array_equal(drawn_mask(view, tmp_path / f"{name}.png")[1].numpy(), stored), name


def test_up_is_what_the_file_says(tmp_path):
    """As in captures that are made here, and in instant-ngp's files; else as the photographs were held."""
    exports.photographs(tmp_path, exports.names())
    write(tmp_path, exports.names())
    data = json.loads((tmp_path / "transforms.json").read_text())
    held = Capture.load(tmp_path)
    for said in ([0, 3, 4], [0.0, 0.6, 0.8]):
        (tmp_path / "transforms.json").write_text(json.dumps(data | {"up": said}))
        capture = Capture.load(tmp_path)
        assert capture.up.tolist() == pytest.approx([0, 0.6, 0.8]) and capture.warnings == held.warnings
        assert capture.scaled(0.5).up.tolist() == pytest.approx([0, 0.6, 0.8])
    for said in ("z", [0, 0, 0], [1, 2], [0, float("nan"), 1], {"a": 1}):
        (tmp_path / "transforms.json").write_text(json.dumps(data | {"up": said}))
        capture = Capture.load(tmp_path)
        assert torch.equal(capture.up, held.up) and '"up" in transforms.json' in " ".join(capture.warnings)


def test_cameras_that_look_down_from_one_side_still_tell_up():
    poses = [
        walks.look_at((1.2 * np.cos(t), 1.2 * np.sin(t), 2.5), (0, 0, 0), roll=3 * np.sin(k))
        for k, t in enumerate(np.radians(np.linspace(0, 90, 14)))
    ]
    poses = torch.tensor(np.array(poses))
    mean, up = poses[:, :, 1].mean(0), level_up(poses[:, :, 1], poses[:, :, 0])
    off = [math.degrees(math.acos(float(v[2] / v.norm()))) for v in (mean, up)]
    assert off[0] > 40 and off[1] < 8


def test_a_drone_that_looks_straight_down_knows_up():
    for tilt in (-1.0, 1.0):  # degrees by which the gimbal is off
        turns = Rotation.from_euler("zx", [(40.0 * k, tilt) for k in range(20)], degrees=True).as_matrix()
        poses = torch.tensor(turns)
        assert float(level_up(poses[:, :, 1], poses[:, :, 0])[2]) > 0.98


def test_sizes_that_fit_both_ways_are_taken_as_stored_unless_told(tmp_path):
    upright = noise(tmp_path, tag=3, turn=Image.Transpose.ROTATE_180)
    write(tmp_path, exports.names(suffix=".png"))
    assert Capture.load(tmp_path).views[0].orientation == 1
    view = Capture.load(tmp_path, reading=Reading(pixels="upright")).views[0]
    assert np.array_equal((view.photograph() * 255).round().byte().numpy(), upright[0])


def test_names_of_other_machines(tmp_path):
    """Absolute ones, Windows' and those of a Mac, in a folder of another name; masks too."""
    home = tmp_path / "fotos"
    files = [unicodedata.normalize("NFD", f"fotos/Küche {k:03d}.JPG") for k in range(12)]
    exports.photographs(tmp_path, files)
    exports.photographs(tmp_path / "masks", [f"{k:03d}.png" for k in range(12)])
    exports.photographs(tmp_path / "depth", [f"Küche {k:03d}.jpg" for k in range(12)])
    for listed in (
        [f"C:\\Users\\me\\scan\\images\\Küche {k:03d}.jpg" for k in range(12)],
        [f"/home/me/scan/images/Küche {k:03d}.jpg" for k in range(12)],
        [f"..\\bilder\\Küche {k:03d}" for k in range(12)],
        [f"fotos\\Küche {k:03d}.png" for k in range(12)],
    ):
        data = json.loads((write(tmp_path, listed) / "transforms.json").read_text())
        for k, frame in enumerate(data["frames"]):
            frame["mask_path"] = f"D:\\masks\\{k:03d}.png"
        data["test_filenames"] = [listed[3].replace("\\", "/")]
        (tmp_path / "transforms.json").write_text(json.dumps(data))
        capture = Capture.load(tmp_path)
        assert {view.path.parent for view in capture.views} == {home}
        assert [view.path.name for view in capture.test] == [files[3].rpartition("/")[2]]
        assert capture.views[5].mask_path == tmp_path / "masks" / "005.png"
        assert ("found by name" in " ".join(capture.warnings)) == (not listed[0].startswith("fotos"))


@pytest.mark.parametrize("name", ["normal room", "unlabeled", "deepmasks"])
def test_a_capture_may_have_any_name(tmp_path, name):
    """Also one that says of a folder in it that it holds no photographs."""
    folder = tmp_path / name
    exports.photographs(folder, exports.names("."))
    write(folder, exports.names("/home/me/scan"))
    assert {view.path.parent for view in Capture.load(folder).views} == {folder}


def test_a_missing_photograph_is_not_taken_from_another_folder(tmp_path):
    """Two cameras whose photographs share their names: what is missing stays missing."""
    names = [f"images/{('front', 'back')[k % 2]}/{k // 2:04d}.jpg" for k in range(12)]
    exports.photographs(tmp_path, names)
    (tmp_path / names[3]).unlink()
    capture = Capture.load(write(tmp_path, names))
    assert len(capture.views) == 11 and names[3] in capture.warnings[0]


@pytest.mark.parametrize("write", [exports.colmap, exports.meshroom, exports.odm])
def test_a_folder_above_several_captures(tmp_path, write):
    """Readers that look below a folder do not pick one of them in silence."""
    for name in ("attic", "kitchen"):
        exports.photographs(tmp_path / name, exports.names())
        write(tmp_path / name)
    with pytest.raises(InputError, match="holds several captures: give one of attic, kitchen"):
        Capture.load(tmp_path)
    shutil.rmtree(tmp_path / "attic")
    assert len(Capture.load(tmp_path).views) == 12


@pytest.mark.parametrize("suffix", [".heic", ".TIF", ".jp2", ".JPEG"])
def test_photographs_of_every_suffix_are_found(tmp_path, suffix):
    """By name without suffix, by LLFF's order, and as those of a capture of its own in another one."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    inner = tmp_path / "phone"
    exports.photographs(inner, exports.names(suffix=suffix))
    write(inner, exports.names(suffix=""))
    write(tmp_path, [f"phone/{name}" for name in exports.names(suffix=suffix)])
    assert all(view.path.suffix == suffix for view in Capture.load(inner).views)
    (inner / "transforms.json").unlink()
    exports.llff(inner)
    assert len(folders_of_photographs(inner)[inner / "images"]) == len(Capture.load(inner).views) == 12


def test_poses_beside_those_of_the_capture_above_are_read(tmp_path):
    """A second transforms.json for the same photographs, in a folder of its own."""
    exports.photographs(tmp_path, exports.names())
    write(tmp_path, exports.names())
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine", [f"../{name}" for name in exports.names()])
    assert Capture.load(tmp_path / "mine").path == tmp_path / "mine"


def test_links_into_a_store_of_blobs(tmp_path):
    """A snapshot of a hub, git-annex: every file is a link to one without a suffix."""
    exports.photographs(tmp_path / "real", exports.names())
    write(tmp_path / "real")
    snapshot = tmp_path / "snapshots" / "abc"
    (tmp_path / "blobs").mkdir()
    for k, file in enumerate(sorted(p for p in (tmp_path / "real").rglob("*") if p.is_file())):
        link = snapshot / file.relative_to(tmp_path / "real")
        link.parent.mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / "blobs" / f"{k:040x}")
        link.symlink_to(tmp_path / "blobs" / f"{k:040x}")
    for path in (snapshot, snapshot / "transforms.json", tmp_path / "snapshots"):
        assert len(Capture.load(path).views) == 12


def test_a_folder_too_high_or_too_low(tmp_path):
    exports.photographs(tmp_path / "a" / "scan", exports.names())
    exports.colmap(tmp_path / "a" / "scan")
    for part in ("scan", "scan/images", "scan/sparse", "scan/sparse/0", "."):
        capture = Capture.load(tmp_path / "a" / part)
        assert len(capture.views) == 12, part
    exports.photographs(tmp_path / "a" / "other", exports.names())
    write(tmp_path / "a" / "other")
    (tmp_path / "a" / "scan" / "sparse").rename(tmp_path / "away")
    write(tmp_path / "a" / "scan")
    with pytest.raises(InputError, match="holds several captures: give one of other, scan"):
        Capture.load(tmp_path / "a")


@pytest.mark.parametrize("shift", [(500000.0, 5400000.0, 300.0), (10000.0, 0.0, 0.0)])
def test_coordinates_far_from_zero(tmp_path, shift):
    """Cameras as exact as those near zero; what people type and read stays in the capture's coordinates."""
    exports.photographs(tmp_path, exports.names())
    poses = exports.poses()
    near = Capture.load(write(tmp_path, poses=poses))
    assert near.origin == (0.0, 0.0, 0.0)
    poses[:, :3, 3] += shift
    capture = Capture.load(write(tmp_path, poses=poses))
    centers = torch.stack([view.camera.center for view in capture.views])
    assert centers.abs().max() < 10
    wanted = exports.poses()[:, :3, 3] + np.array(shift)
    # float32 around the origin: 2^-24 of 10 units
    assert np.abs(capture.outside(centers).numpy() - wanted).max() < 1e-6
    box = Box(tuple(np.array(shift) + np.array([0.1, 0.2, 0.3])), (0.5, 0.5, 0.5)).build(capture)
    assert torch.allclose(
        capture.outside(box.center), torch.tensor(shift).double() + torch.tensor([0.1, 0.2, 0.3])
    )
    again = Capture.load(tmp_path, reading=capture.reading)
    assert again.origin == capture.origin
    assert torch.equal(again.views[3].camera.c2w, capture.views[3].camera.c2w)


@pytest.mark.parametrize("count", [4, 12])
def test_one_camera_at_a_wrong_place_does_not_hide_that_the_others_are_far_from_zero(count):
    shift = np.array([500000.0, 5400000.0, 300.0])
    centers = exports.poses()[:count, :3, 3] + shift
    centers[1] = 0
    assert np.abs(choose_origin(centers) - shift).max() < 10
    at_one_place = np.tile(shift, (count, 1))  # but one
    at_one_place[0] += 1
    assert np.abs(choose_origin(at_one_place) - shift).max() < 10


def test_a_uniform_scale_is_divided_out_and_shear_refused(tmp_path):
    exports.photographs(tmp_path, exports.names())
    poses = exports.poses()
    poses[:, :3, :3] *= 0.25
    capture = Capture.load(write(tmp_path, poses=poses))
    assert "rotations of 12 poses in transforms.json are scaled by 0.25" in capture.warnings[0]
    found = np.stack([view.camera.c2w.numpy() for view in capture.views])
    assert np.abs(found - exports.poses()[:, :3]).max() < 1e-6
    poses[3, :3, 0] *= 1.1
    with pytest.raises(InputError, match=r"frame 3 .* sheared: .* scale by 0\.25 to 0\.275"):
        Capture.load(write(tmp_path, poses=poses))


def test_masks_of_colmap_and_of_instant_ngp(tmp_path):
    exports.photographs(tmp_path, exports.names())
    exports.colmap(tmp_path)
    strip = np.full((16, 24), 255, np.uint8)
    strip[-4:] = 0
    (tmp_path / "masks").mkdir()
    for k in range(12):
        Image.fromarray(strip).save(tmp_path / "masks" / f"{k:03d}.png")
    capture = Capture.load(tmp_path)
    assert capture.views[0].valid() is None and "are not used" in capture.warnings[0]
    for k in range(12):
        Image.fromarray(strip).save(tmp_path / "masks" / f"{k:03d}.jpg.png")
    capture = Capture.load(tmp_path)
    assert (
        capture.views[7].valid().sum(1).tolist() == 12 * [24] + 4 * [0] and "are used" in capture.warnings[0]
    )
    assert share_note(capture.views) is None
    for k in range(12):
        Image.fromarray(255 - strip).save(tmp_path / "masks" / f"{k:03d}.jpg.png")
    note = share_note(Capture.load(tmp_path).views)  # 12 of 16 rows
    assert (
        note and "leave out 75% of the photographs' pixels, those that are black" in note and "invert" in note
    )
    for k in range(3):
        Image.fromarray(255 - strip).save(tmp_path / "images" / f"dynamic_mask_{k:03d}.png")
    capture = Capture.load(tmp_path)
    assert len(capture.views) == 12 and "masks of 3 photographs are used" in capture.warnings[0]
    assert (
        capture.views[2].valid().sum(1).tolist() == 12 * [24] + 4 * [0] and capture.views[3].valid() is None
    )


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("masks/{stem}.jpg", "in masks/"),
        ("mask/{stem}_mask.PNG", "in mask/"),
        ("masks/{stem}.jpg.png", "in masks/"),
        ("masks/images/{stem}.jpg.png", "in masks/"),
        ("images/{stem}_mask.png", "beside the photographs"),
        ("images/{stem}.mask.png", "beside the photographs"),
        ("images/{stem}.jpg.mask.png", "beside the photographs"),
        ("images/mask_{stem}.tif", "beside the photographs"),
    ],
)
def test_masks_under_names_that_are_not_read_are_told(tmp_path, pattern, place):
    exports.photographs(tmp_path, exports.names())
    exports.colmap(tmp_path)
    for k in range(1, 12):  # not of the first, or those of COLMAP's naming would be used
        file = tmp_path / pattern.format(stem=f"{k:03d}")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 24), 255, np.uint8)).save(file)
    capture = Capture.load(tmp_path)
    assert len(capture.views) == 12 and capture.views[5].valid() is None
    (warning,) = capture.warnings
    assert warning.startswith(f"the masks {place}, of 11 of 12 photographs, are not used")


def test_axes_of_every_convention_lead_back(tmp_path):
    """Matrices written in any right-handed convention, or inverted, are those of OpenGL once it is named."""
    exports.photographs(tmp_path, exports.names())
    poses, codes = exports.poses(), all_axes()
    assert len(codes) == 24 and codes[:2] == ["RUB", "RDF"]
    for code in codes[::5]:
        turn, _ = parse_axes(code)
        written = poses.copy()
        written[:, :3, :3] = poses[:, :3, :3] @ turn.T
        for axes, matrices in ((code, written), (f"w2c-{code}", np.linalg.inv(written))):
            capture = Capture.load(write(tmp_path, poses=matrices), reading=Reading(axes=axes))
            found = np.stack([view.camera.c2w.numpy() for view in capture.views])
            assert np.abs(found - poses[:, :3]).max() < 1e-6, axes
    assert np.array_equal(parse_axes("opencv")[0], np.diag([1, -1, -1]))
    for wrong, words in (("up", "no camera axes"), ("RUF", "left-handed"), ("RRB", "no camera axes")):
        with pytest.raises(InputError, match=words):
            Reading(axes=wrong)
