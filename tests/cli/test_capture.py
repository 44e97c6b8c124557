"""`capture`, and `train` from a video or photographs: flags and answers.

What they make is tested in tests/reconstruction/.
"""

import json

import numpy as np
import pytest
import walks
from PIL import Image

from nerf_insert.cli.main import main
from nerf_insert.reconstruction import make
from nerf_insert.reconstruction.diagnosis import Diagnosis, Finding
from nerf_insert.reconstruction.solution import Solution


@pytest.fixture
def film(tmp_path):
    return walks.film(tmp_path / "walk.mp4", [np.full((96, 160, 3), 30 * k, np.uint8) for k in range(5)])


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What `make_capture` is asked for; it answers with two photographs of which one was placed."""
    calls = []

    def answer(source, out, options=None, *, seed=0, progress=None):
        calls.append((source, out, options, seed))
        findings = (
            Finding("images/a.jpg", "a.jpg", True, 500, 200, 0.4),
            Finding("images/b.jpg", "b.jpg", False, 20, why="blurred"),
        )
        diagnosis = Diagnosis(findings, "incremental", "OPENCV", 0.4321, ())
        nothing = np.zeros((0, 3))
        solution = Solution(
            ("images/a.jpg",), np.eye(4)[None, :3], ({},), np.zeros(1, int), nothing,
            nothing.astype(np.uint8), np.zeros(0), np.zeros((0, 4)),
        )  # fmt: skip
        return make.MadeCapture(out, solution, diagnosis, out / "report.html")

    monkeypatch.setattr(make, "make_capture", answer)
    return calls


def test_flags_become_options_and_the_answer_names_what_was_left_out(asked, film, tmp_path, capsys):
    words = ["--frames", "80", "--megapixels", "0.5", "--lens", "fisheye", "--seed", "3", "--up", "0,-1,0"]
    words += ["--floor", "a=1,2", "--floor", "b.jpg=3,4.5", "--scale", "a=1,1", "a=9,9", "0.62"]
    assert main(["capture", str(film), "--out", str(tmp_path / "c"), *words, "--json"]) == 0
    (source, out, options, seed) = asked[0]
    assert (source, out, seed) == (film, tmp_path / "c", 3)
    assert (options.frames, options.megapixels, options.lens) == (80, 0.5, "fisheye")
    assert options.up == (0.0, -1.0, 0.0)
    assert options.floor == ("a=1,2", "b.jpg=3,4.5") and options.scale == ("a=1,1", "a=9,9", 0.62)
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] and (answer["photographs"], answer["placed"]) == (2, 1)
    assert answer["reprojection_error"] == 0.432
    assert answer["left_out"] == [{"photograph": "b.jpg", "why": "blurred"}]
    assert main(["capture", str(film), "--out", str(tmp_path / "c")]) == 0
    assert "1 of 2 photographs have a camera position" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scale", "a=1,1", "b=2,2", "long"], "the DISTANCE of --scale: 'long' is not a number"),
        (["--scale", "a=1,1", "b=2,2", "0"], "the DISTANCE of --scale: 0 is not above 0"),
        (["--scale", "a", "b=2,2", "1"], "write VIEW=X,Y"),
        (["--floor", "here"], "write VIEW=X,Y"),
        (["--lens", "telescope"], "--lens"),
        (["--frames", "1"], "--frames"),
        (["--up", "1,2"], "--up"),
        ([], "shows a plain surface"),
    ],
)
def test_bad_flags_and_films_end_in_a_sentence(film, tmp_path, capsys, words, said):
    assert main(["capture", str(film), "--out", str(tmp_path / "c"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "c" / "transforms.json").exists()


def test_training_starts_from_photographs(asked, tmp_path, monkeypatch, capsys):
    """The capture is made in the scene folder, with the options and the seed that were given."""
    (tmp_path / "in").mkdir()
    for k in range(3):
        Image.new("RGB", (64, 48), (k, 0, 0)).save(tmp_path / "in" / f"{k}.jpg")
    words = ["train", str(tmp_path / "in"), "--out", str(tmp_path / "s"), "--seed", "4", "--frames", "9"]
    assert main(words) == 2  # what was answered is no capture
    assert "s/capture" in capsys.readouterr().err
    (source, out, options, seed) = asked[0]
    assert (source, out, options.frames, seed) == (tmp_path / "in", tmp_path / "s" / "capture", 9, 4)


def test_options_of_sources_are_refused_where_poses_exist(asked, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "transforms.json").write_text("{}")
    Image.new("RGB", (64, 48)).save(tmp_path / "in" / "a.jpg")
    assert main(["train", str(tmp_path / "in"), "--out", str(tmp_path / "s"), "--frames", "9"]) == 2
    assert "has camera poses already" in capsys.readouterr().err and not asked
