"""What files say of cameras that no camera here models: refused, or told."""

import json

import exports
import pytest

from nerf_insert.capture.camera_paths import read_cameras
from nerf_insert.capture.capture import Capture
from nerf_insert.errors import InputError

LENS = {"fl_x": 20.0, "fl_y": 20.0, "cx": 11.5, "cy": 8.5, "w": 24, "h": 16}


def write(folder, shared=None, own=None):
    exports.photographs(folder, exports.names())
    frames = [
        {"file_path": name, "transform_matrix": pose.tolist()} | (own(k) if own else {})
        for k, (name, pose) in enumerate(zip(exports.names(), exports.poses(), strict=True))
    ]
    (folder / "transforms.json").write_text(json.dumps(LENS | (shared or {}) | {"frames": frames}))
    return folder


@pytest.mark.parametrize(
    "term", [{"k6": 0.01}, {"k5": "0.1"}, {"s1": -0.002}, {"ftheta_p0": 1.0}, {"latlong": True}]
)
@pytest.mark.parametrize("everywhere", [True, False])
def test_lens_terms_without_a_counterpart_are_refused(tmp_path, term, everywhere):
    (name,) = term
    write(tmp_path, term) if everywhere else write(tmp_path, own=lambda k: term if k == 5 else {})
    frame = 0 if everywhere else 5
    with pytest.raises(InputError, match=f"frame {frame} .*the lens has {name} .*undistort"):
        Capture.load(tmp_path)
    with pytest.raises(InputError, match=f"the lens has {name}"):
        read_cameras(tmp_path)


def test_lens_terms_that_are_zero_are_no_matter(tmp_path):
    capture = Capture.load(
        write(tmp_path, {"k5": 0, "k6": 0.0, "latlong": False, "rolling_shutter": [0, 0, 0, 0]})
    )
    assert capture.warnings == ()


def test_a_rolling_shutter_and_moving_cameras_are_told(tmp_path):
    def own(k):
        ends = exports.poses()[[k, (k + 1) % 12]].tolist()
        return {
            "transform_matrix_start": ends[0],
            "transform_matrix_end": ends[k % 2],
            "rolling_shutter": [0, 0, 0.1],
        }

    capture = Capture.load(write(tmp_path, own=own))
    assert "a rolling shutter is given for 12 photographs and not modeled" in capture.warnings[0]
    assert "6 photographs have two poses" in capture.warnings[1]


def test_lens_values_that_are_not_used_are_told(tmp_path):
    """Those of instant-ngp's frames win there; here those of the file do, as in nerfstudio."""
    capture = Capture.load(
        write(tmp_path / "other", own=lambda k: {"fl_x": 20.0 + (k % 3), "cx": 11.5 if k else 12})
    )
    (warning,) = capture.warnings
    assert warning.startswith("9 photographs have lens values of their own (fl_x, cx) beside different ones")
    assert {view.camera.fx for view in capture.views} == {20.0}
    same = Capture.load(write(tmp_path / "same", own=lambda k: {"fl_x": 20, "w": 24}))
    assert same.warnings == ()
