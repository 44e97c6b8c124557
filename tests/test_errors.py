"""Warnings about input: told where the input is read, heard on every front alike."""

import json
import threading
import warnings

import pytest
import torch

from nerf_insert import InputWarning, Scene, make_recipe
from nerf_insert.app.api import with_warnings
from nerf_insert.app.services.common import Service, answer_errors
from nerf_insert.app.services.jobs import job_warnings
from nerf_insert.app.steps.common import show_errors
from nerf_insert.cli.main import main
from nerf_insert.editing.session import prepare
from nerf_insert.errors import InputError, warn, warnings_to
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.plugin.error_handling import friendly_errors
from nerf_insert.runtime.progress import SILENT, Progress


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    """A tetrahedron on the tiny scene's floor whose material file was not copied with it."""
    file = tmp_path_factory.mktemp("mesh") / "dull.obj"
    corners = 0.2 * torch.tensor([[0, 0, 0.1], [1, 0, 0.1], [0, 1, 0.1], [0, 0, 1.1]])
    lines = ["mtllib nowhere.mtl", *(f"v {x} {y} {z}" for x, y, z in corners.tolist()), "usemtl m"]
    file.write_text("\n".join([*lines, "f 1 3 2", "f 1 2 4", "f 2 3 4", "f 1 4 3", ""]))
    return file


def test_each_text_is_heard_once_by_the_nearest_listener():
    outer, inner = [], []
    with warnings_to(outer.append):
        warn("before")
        with warnings_to(lambda text: (inner.append(text), warn(f"passed on: {text}"))):
            warn("a")
            warn("a")
        warn("before")
    assert inner == ["a"] and outer == ["before", "passed on: a"]


def test_without_a_listener_it_is_a_warning_of_python():
    with pytest.warns(InputWarning, match="nobody listens") as caught:
        warn("nobody listens")
    assert caught[0].filename == __file__


def test_a_listener_is_its_threads_own_and_ends_with_its_block():
    def ignored():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warn("from another thread")

    heard = []
    with pytest.raises(InputError), warnings_to(heard.append):
        other = threading.Thread(target=ignored)
        other.start()
        other.join()
        raise InputError("no")
    with pytest.warns(InputWarning):
        warn("later")
    assert heard == []


FAR = "translate=-90,0,0"  # no photograph shows it: the edit is refused, after all files were read


def test_the_command_line_says_it_also_in_json_and_when_quiet(tiny_folder, mesh, capsys):
    words = ["edit", str(tiny_folder / "scene"), "--mesh", str(mesh), "--pose", FAR]
    assert main([*words, "--json", "--quiet"]) == 2
    said = json.loads(capsys.readouterr().out)["warnings"]
    assert sum("nowhere.mtl" in text and str(mesh) in text for text in said) == 1  # the file is read twice
    assert main([*words, "--quiet"]) == 2
    assert capsys.readouterr().err.count("nowhere.mtl") == 1


def test_python_says_it(tiny_folder, mesh):
    scene, recipe = Scene.open(tiny_folder / "scene"), make_recipe(mesh=mesh, pose=FAR)
    with pytest.warns(InputWarning, match=r"nowhere\.mtl"), pytest.raises(InputError):
        prepare(scene, recipe, SILENT)
    heard = []
    progress = Progress()
    progress.warn = heard.append
    with pytest.raises(InputError):
        prepare(scene, recipe, progress)
    assert sum("nowhere.mtl" in text for text in heard) == 1


def test_the_page_and_its_endpoints_say_it(mesh, monkeypatch):
    class Reader(Service):
        def __init__(self):
            pass

        @answer_errors
        def read(self, data):
            return {"faces": len(load_mesh(data["file"]).faces)}

    answer = Reader().read({"file": str(mesh)})
    assert answer["faces"] == 4 and "nowhere.mtl" in answer["warnings"][0]
    endpoint = with_warnings(lambda: {"faces": len(load_mesh(mesh).faces)})()
    assert endpoint == answer
    toasts = []
    monkeypatch.setattr("gradio.Warning", toasts.append)
    assert show_errors(lambda: len(load_mesh(mesh).faces))() == 4
    assert show_errors(with_warnings(lambda: len(load_mesh(mesh).faces)))() == 4
    assert len(toasts) == 2 and all("nowhere.mtl" in text for text in toasts)


def test_a_jobs_warnings_are_kept_when_it_goes_on_and_ends():
    events = [{"event": "warning", "text": "the mesh is grey"}, {"event": "message", "text": "painting"}]
    assert job_warnings([*events, *events]) == ["The mesh is grey."]


def test_nerfstudio_says_it(mesh, capsys):
    assert friendly_errors(lambda: len(load_mesh(mesh).faces))() == 4
    assert "nowhere.mtl" in capsys.readouterr().out
