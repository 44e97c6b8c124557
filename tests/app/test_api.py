"""The page for programs: the example script of the docs as it stands, and what endpoints refuse."""

import base64
import importlib.util
import io
import json
import shutil
import zipfile
from pathlib import Path

import browsing
import pytest
from PIL import Image

from nerf_insert.app.jobs import previews
from nerf_insert.scene.scene import Scene

EXAMPLE = Path(__file__).parents[2] / "examples" / "07_drive_the_page.py"


@pytest.fixture(scope="module")
def workspace(tiny_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    shutil.copytree(tiny_folder / "scene", folder / "scenes" / "tiny")
    return folder


@pytest.fixture(scope="module")
def server(workspace, tmp_path_factory):
    running = browsing.Server(workspace, here=tmp_path_factory.mktemp("here"), program=browsing.QUICK)
    yield running
    assert running.end() == 0
    assert list((workspace / "temporary").iterdir()) == []


@pytest.fixture(scope="module")
def ask(server):
    from gradio_client import Client

    client = Client(server.url, verbose=False)
    return lambda name, *words: client.predict(*words, api_name=f"/{name}")


def test_the_example_script_makes_a_layer(server, ask, workspace, tiny_folder, tmp_path):
    spec = importlib.util.spec_from_file_location("drive_the_page", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    (scene,) = [location["scene"] for location in ask("scenes") if location["title"] == "tiny"]
    mesh, out = tiny_folder / "capture" / "object.ply", tmp_path / "result.jpg"
    layers = example.main(server.url, scene, str(mesh), str(out), steps=30)
    names = ["from a program: shadow", "from a program"]
    assert [layer["name"] for layer in layers["layers"]] == names
    assert [entry.name for entry in Scene.open(workspace / "scenes" / "tiny").layers] == names
    assert Image.open(out).size == (640, 480)
    download_all(ask, scene, workspace)
    ask("layer_action", scene, "undo", 0, 0, "")  # the layer and its shadow are one change
    assert Scene.open(workspace / "scenes" / "tiny").layers == []


def download_all(ask, scene, workspace):
    """All that the page offers for a scene with one layer, and its files, comes to a program too."""
    (edit,) = ask("jobs", scene)["jobs"]
    painted = ask("job_images", scene, edit["key"])
    assert painted and all(16 < shown(one["url"]).width <= previews.WIDTH for one in painted)
    made = {
        "orbit.mp4": ask("orbit_video", scene, 0.2)["key"],
        "edited-capture.zip": ask("export", scene, "dataset")["key"],
    }
    with pytest.raises(Exception, match="not yet"):
        ask("download", scene, "job", 0, made["edited-capture.zip"])
    browsing.until(lambda: all(job["state"] == "done" for job in ask("jobs", scene)["jobs"]), every=1)
    for name, key in made.items():
        for _ in range(2):  # and again
            file = Path(ask("download", scene, "job", 0, key))
            assert file.name == name and file.stat().st_size > 1000
    assert "edited-capture/transforms.json" in zipfile.ZipFile(file).namelist()
    handed = list((workspace / "temporary").glob("*/downloads/*/*"))
    assert sorted(file.name for file in handed) == sorted(made)  # one of each
    folder = workspace / "scenes" / "tiny" / "page" / "jobs"
    assert not (folder / made["edited-capture.zip"] / "out").exists()  # it is in the zip
    for what, inside in (("layer", "field.safetensors"), ("recipe", "recipe.yaml"), ("scene", "scene.json")):
        names = zipfile.ZipFile(ask("download", scene, what, 2, "")).namelist()
        assert any(Path(name).name == inside for name in names)
    ask("job_action", scene, made["orbit.mp4"], "forget")
    assert not (folder / made["orbit.mp4"]).exists()


def shown(url):
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))


def test_a_thing_is_placed_and_taken_away_again(ask, tiny_folder):
    from gradio_client import handle_file

    (scene,) = [location["scene"] for location in ask("scenes") if location["title"] == "tiny"]
    draft, name = "placing012345678", "images/000.png"
    assert shown(ask("photograph", scene, name, 32)).width == 32
    with pytest.raises(Exception, match="no mesh to move"):
        ask("move", scene, draft, {"scale": 2})
    ask("set_mesh", scene, draft, handle_file(tiny_folder / "capture" / "object.ply"), {})
    moved = ask("move", scene, draft, {"translate": [0.5, 0.25, 0.125], "rotate": [0, 0, 90]})["mesh_pose"]
    assert (moved["translate"], moved["rotate"]) == ([0.5, 0.25, 0.125], [0, 0, 90])
    dropped = ask("drop", scene, draft, "mesh", 0.5, 0.9, name, None)["mesh_pose"]
    assert dropped["rotate"] == [0, 0, 90] and abs(dropped["translate"][2]) < 0.5
    for what in ("mesh", "masks", "box", "reference", "kept"):
        assert ask("forget", scene, draft, what) == what
    with pytest.raises(Exception, match="Mark a region first"):
        ask("recipe", scene, draft)
    found = {one["name"]: one for one in ask("inpainters")}
    assert found["fill"]["available"] and found["mesh"]["available"]
    here = any(model["here"] for model in ask("models") if model["kind"] == "model")
    assert found["diffusion"]["available"] == here
    assert here or "There is no diffusion model on this machine" in found["diffusion"]["about"]
    assert {"flux2-klein", "sd15-inpaint"} <= {model["name"] for model in ask("models")}


def test_what_is_wrong_comes_as_a_sentence(ask):
    (scene,) = [location["scene"] for location in ask("scenes") if location["title"] == "tiny"]
    draft = "abcdefgh12345678"
    for words, part in (
        (("photographs", "no-such-scene"), "no longer exists"),
        (("region", scene, "../../etc"), "lost its session"),
        (("mark", scene, draft, "images/000.png", "data:image/png;base64,AAAA"), "paint again"),
        (("mark", scene, draft, "nowhere.png", ""), "has no photograph"),
        (("set_box", scene, draft, [0, 0, 0], [1, 0, 1], [0, 0, 0]), "above 0"),
        (("content", scene, draft, {"color": "red"}), "a draft has no field 'color'"),
        (("edit", scene, draft), "Mark a region first"),
        (("set_mesh", scene, draft, {"path": "/etc/passwd"}, {}), "upload the file first"),
        (("job_action", scene, "../x", "stop"), "no job"),
        (("job_images", scene, "../x"), "no job"),
        (("download", scene, "job", 0, "../x"), "no job"),
        (("download", scene, "everything", 0, ""), "what can be downloaded"),
        (("download", scene, "layer", 9, ""), "no longer exists"),
        (("export", scene, "film"), "there is no export 'film'"),
        (("forget", scene, draft, "all"), "a draft can forget"),
        (("layer_action", scene, "enable", 9, 0, ""), "has no layer 9"),
    ):
        with pytest.raises(Exception) as caught:
            ask(*words)
        assert part.lower() in str(caught.value).lower(), words
        assert "Traceback" not in str(caught.value)


def test_only_registered_inpainters_and_own_files_are_taken(ask, workspace, tmp_path, server):
    """A module's name would run it: none is imported by the server, nor by a job of it."""
    mark, evil = tmp_path / "mark", server.here / "evil.py"
    evil.write_text(f"open({str(mark)!r}, 'w')\nclass Painter:\n    inpaint = print\n")
    (scene,) = [location["scene"] for location in ask("scenes") if location["title"] == "tiny"]
    draft, outside = "painters12345678", str(tmp_path / "w.safetensors")
    (workspace / "w.safetensors").touch()
    for step in range(2):  # before there is a region, and after
        for words, part in (
            ({"inpainter": "evil:Painter"}, "there is no inpainter 'evil:Painter' here"),
            ({"inpainter": "os.path:join"}, "there is no inpainter"),
            ({"inpainter": ["fill"]}, "inpainter must be text"),
            ({"inpainter": "diffusion", "options": {"weights": outside}}, "outside the page's own folders"),
            ({"inpainter": "diffusion", "options": {"lora": [outside + ":0.5"]}}, "outside the page's"),
            ({"options": {"model": {"deep": "../../etc"}}}, "outside the page's own folders"),
            ({"options": {"model": "evil.py"}}, "outside the page's own folders"),
            ({"options": {"model": f"{workspace}/../../etc/passwd"}}, "outside the page's own folders"),
            ({"options": [1]}, "inpainter_options must be a mapping"),
        ):
            with pytest.raises(Exception) as caught:
                ask("content", scene, draft, words)
            assert part.lower() in str(caught.value).lower(), (step, words)
        inside = {"weights": str(workspace / "w.safetensors"), "model": "owner/name"}
        assert (
            ask("content", scene, draft, {"inpainter": "diffusion", "options": inside})["options"] == inside
        )
        ask("set_box", scene, draft, [0.5, -0.4, 0.25], [0.4, 0.4, 0.4], [0, 0, 0])
    file = workspace / "scenes" / "tiny" / "page" / "drafts" / draft / "draft.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"inpainter": "evil:Painter", "options": {}}))  # whoever wrote it
    for name, more in (("recipe", ()), ("preview", (1,)), ("edit", ())):
        with pytest.raises(Exception, match="There is no inpainter"):
            ask(name, scene, draft, *more)
    assert not mark.exists()


def test_files_of_the_machine_are_not_served(server):
    import urllib.error
    import urllib.request

    for path in ("/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/gradio_api/file=../../etc/passwd"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(server.url.rstrip("/") + path)
        assert caught.value.code in (403, 404)


@pytest.fixture(scope="module")
def guarded(workspace):
    """Another server, with a password; the last test ends it."""
    running = browsing.Server(workspace, "--auth", "me:secret")
    yield running
    assert running.end() == 0


def test_a_password_is_asked_for(guarded):
    import urllib.error
    import urllib.request

    assert guarded.url.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(guarded.url + "gradio_api/info")
    assert caught.value.code == 401
    request = urllib.request.Request(
        guarded.url + "gradio_api/component_server", b"{}", {"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as caught:  # what the widgets ask
        urllib.request.urlopen(request)
    assert caught.value.code == 401


def test_it_ends_cleanly_while_it_renders(guarded):
    from gradio_client import Client

    client = Client(guarded.url, auth=("me", "secret"), verbose=False)
    (scene,) = [p["scene"] for p in client.predict(api_name="/scenes") if p["title"] == "tiny"]
    draft, box = "ending0123456789", ([0.5, -0.4, 0.25], [0.4, 0.4, 0.4], [0, 0, 0])
    client.predict(scene, draft, *box, api_name="/set_box")
    for k in range(6):  # what stands in front is rendered in all views meanwhile
        client.submit(scene, draft, api_name="/region")
        client.submit(scene, f"images/{k:03d}.png", None, 640, "edited", api_name="/render")
    assert guarded.end() == 0
