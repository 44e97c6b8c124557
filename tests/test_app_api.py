"""The page for programs: the example script of the docs as it stands, and what endpoints refuse."""

import importlib.util
import shutil
from pathlib import Path

import browsing
import pytest
from PIL import Image

from nerf_insert.scene import Scene

EXAMPLE = Path(__file__).parents[1] / "docs" / "examples" / "drive_the_page.py"


@pytest.fixture(scope="module")
def workspace(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    shutil.copytree(tiny_folder / "scene", folder / "scenes" / "tiny")
    return folder


@pytest.fixture(scope="module")
def server(workspace):
    running = browsing.Server(workspace)
    yield running
    assert running.end() == 0


@pytest.fixture(scope="module")
def ask(server):
    from gradio_client import Client

    client = Client(server.url, verbose=False)
    return lambda name, *words: client.predict(*words, api_name=f"/{name}")


def test_the_example_script_makes_a_layer(server, ask, workspace, tiny_folder, tmp_path):
    spec = importlib.util.spec_from_file_location("drive_the_page", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    (scene,) = [place["scene"] for place in ask("scenes") if place["title"] == "tiny"]
    mesh, out = tiny_folder / "capture" / "object.ply", tmp_path / "result.jpg"
    layers = example.main(server.url, scene, str(mesh), str(out), steps=30)
    assert [layer["name"] for layer in layers["layers"]] == ["from a program"]
    assert [entry.name for entry in Scene.open(workspace / "scenes" / "tiny").layers] == ["from a program"]
    assert Image.open(out).size == (640, 480)
    ask("layer_action", scene, "undo", 0, 0, "")
    assert Scene.open(workspace / "scenes" / "tiny").layers == []


def test_what_is_wrong_comes_as_a_sentence(ask):
    (scene,) = [place["scene"] for place in ask("scenes") if place["title"] == "tiny"]
    draft = "abcdefgh12345678"
    for words, part in (
        (("photographs", "no-such-scene"), "not there any more"),
        (("region", scene, "../../etc"), "lost track"),
        (("mark", scene, draft, "images/000.png", "data:image/png;base64,AAAA"), "paint again"),
        (("mark", scene, draft, "nowhere.png", ""), "has no photograph"),
        (("set_box", scene, draft, [0, 0, 0], [1, 0, 1], [0, 0, 0]), "above 0"),
        (("say", scene, draft, {"colour": "red"}), "a draft has no 'colour'"),
        (("edit", scene, draft), "Say where first"),
        (("set_mesh", scene, draft, {"path": "/etc/passwd"}, {}), "upload the file first"),
        (("job_action", scene, "../x", "stop"), "no job"),
        (("layer_action", scene, "enable", 9, 0, ""), "has no layer 9"),
    ):
        with pytest.raises(Exception) as caught:
            ask(*words)
        assert part.lower() in str(caught.value).lower(), words
        assert "Traceback" not in str(caught.value)


def test_files_of_the_machine_are_not_served(server):
    import urllib.error
    import urllib.request

    for path in ("/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/gradio_api/file=../../etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url.rstrip("/") + path)
        assert caught.value.code in (403, 404)


def test_a_password_is_asked_for(tmp_path):
    import urllib.error
    import urllib.request

    running = browsing.Server(tmp_path, "--auth", "me:secret")
    try:
        assert running.url.startswith("http://127.0.0.1:")
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(running.url + "gradio_api/info")
        assert caught.value.code == 401
        request = urllib.request.Request(
            running.url + "gradio_api/component_server", b"{}", {"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as caught:  # what the widgets ask
            urllib.request.urlopen(request)
        assert caught.value.code == 401
    finally:
        assert running.end() == 0


def test_it_ends_cleanly_while_it_renders(workspace):
    from gradio_client import Client

    running = browsing.Server(workspace)
    client = Client(running.url, verbose=False)
    (scene,) = [p["scene"] for p in client.predict(api_name="/scenes") if p["title"] == "tiny"]
    client.predict(scene, api_name="/photographs")  # begins to render what stands in front, in all views
    assert running.end() == 0
