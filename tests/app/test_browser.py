"""The web page, driven in headless Chromium as a person would. The bundled sample for what needs no trained
scene, the tiny scene of tests/support for all that does. Each picture of docs/web-page.md is taken here
when NERF_INSERT_SCREENSHOTS names a folder."""

import base64
import io
import json
import os
import shlex
import shutil
import zipfile
from pathlib import Path

import browsing
import numpy as np
import psutil
import pytest
import tiny
import torch
import walks
from PIL import Image

from nerf_insert.app.workspace import SceneLocation
from nerf_insert.capture.bundled_sample import sample_path
from nerf_insert.capture.capture import Capture
from nerf_insert.cli.main import main
from nerf_insert.geometry.mesh_reader import load_mesh
from nerf_insert.geometry.pose import Pose
from nerf_insert.io.images import read_image
from nerf_insert.regions import MeshRegion, VisualHull
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.recipe import Recipe
from nerf_insert.scene.scene import Scene

pytestmark = pytest.mark.skipif(browsing.CHROMIUM is None, reason=browsing.NO_BROWSER)
BRUSH = 0.001 + 0.0016 * 30  # radius of the brush as it is at first, in shares of the picture's width


@pytest.fixture(scope="module")
def workspace(tiny_folder, tmp_path_factory):
    """Copies of the tiny scene, `one`, `two`, and `edited` with a layer; its capture as a zip. For pictures
    that are nicer to look at, NERF_INSERT_SCREENSHOT_SCENE may name a scene of the bundled sample, which is
    then `one`, and NERF_INSERT_SCREENSHOT_EDITED one with a layer."""
    folder = tmp_path_factory.mktemp("page")
    nicer = os.environ.get("NERF_INSERT_SCREENSHOT_SCENE")
    shutil.copytree(nicer or tiny_folder / "scene", folder / "scenes" / "one")
    shutil.copytree(tiny_folder / "scene", folder / "scenes" / "two")
    edited = os.environ.get("NERF_INSERT_SCREENSHOT_EDITED")
    shutil.copytree(edited or tiny_folder / "scene", folder / "scenes" / "edited")
    if not edited:
        tiny.tiny_layer(folder / "scenes" / "edited")
    shutil.make_archive(str(folder / "tiny"), "zip", tiny_folder / "capture")
    return folder


@pytest.fixture(scope="module")
def mesh(tiny_folder):
    """What is inserted into the scene `one`, and a place on a surface there."""
    if os.environ.get("NERF_INSERT_SCREENSHOT_SCENE"):
        return sample_path() / "object.ply", torch.tensor([[0.0, 0.0, 0.0]])
    return tiny_folder / "capture" / "object.ply", torch.tensor([[0.3, 0.45, 0.0]])


@pytest.fixture(scope="module")
def server(workspace):
    running = browsing.Server(workspace, workspace / "scenes" / "one", program=browsing.QUICK)
    yield running
    assert running.end() == 0
    assert not any("Traceback" in line for line in running.said), "".join(running.said)


@pytest.fixture(scope="module")
def chromium():
    with browsing.browser() as running:
        yield running


@pytest.fixture
def come(chromium, server):
    """Open the page in another browser; all of them are closed at the end and must have had no error."""
    people = []

    def arrive(address="", **options):
        people.append(browsing.Person(chromium, server.url + address, **options))
        return people[-1]

    yield arrive
    for person in people:
        assert person.errors == []
        elsewhere = [u for u in person.requests if u.startswith(("http", "ws")) and "//127.0.0.1:" not in u]
        assert elsewhere == []  # nothing leaves the machine
        person.close()


def shot(person, name, once=None):
    """A picture for the documentation, where one is wanted; `once` something is there that need not be."""
    folder = os.environ.get("NERF_INSERT_SCREENSHOTS")
    if folder:
        if once:
            person.page.wait_for_selector(once, timeout=browsing.LATE)
        person.page.evaluate("() => { scrollTo(0, 0); document.querySelector('#steps').scrollTop = 0; }")
        person.page.wait_for_timeout(700)
        person.page.screenshot(path=Path(folder) / f"{name}.jpg", type="jpeg", quality=82)


def decoded(url):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).convert("RGBA"))


def open_sample(person):
    person.page.click("#open-sample")
    person.page.wait_for_function("() => document.querySelectorAll('#stage .film button').length === 56")
    return person.photographs()


# --- open


def test_the_sample_opens_with_all_its_photographs(come):
    person = come()
    film = open_sample(person)
    capture = Capture.load(sample_path())
    assert film.count() == len(capture.views)
    assert "56 photographs" in person.page.inner_text("#about-scene")
    assert person.page.locator("#stage [data-mode=live]").is_disabled()  # there is no 3D scene of it yet
    name = capture.views[7].name
    person.choose(name)
    shown = decoded(person.page.get_attribute("#stage .image", "src"))[..., :3] / 255
    truth = capture.views[7].photograph((shown.shape[1], shown.shape[0])).numpy()
    assert np.abs(shown - truth).mean() < 0.02  # JPEG
    person.page.reload()
    person.page.wait_for_function("() => document.querySelectorAll('#stage .film button').length === 56")
    shot(person, "open")


def test_an_answer_that_gradio_loses_is_found_again(come):
    """Without page.RECOVERY it never comes."""
    person = come(before=browsing.LATE_END)
    assert open_sample(person).count() == 56


def test_a_scene_whose_capture_is_gone_leaves_a_page_that_can_be_used(come, workspace, tiny_folder):
    scene, gone = workspace / "scenes" / "lost", {"path": str(workspace / "moved"), "relative": "../moved"}
    shutil.copytree(tiny_folder / "scene", scene)
    note = json.loads((scene / "scene.json").read_text())
    (scene / "scene.json").write_text(json.dumps({**note, "capture": {**note["capture"], **gone}}))
    try:
        person = come(f"?scene={SceneLocation(scene, scene.name).key}&step=results")
        assert "the capture of" in person.toast().lower()
        person.page.get_by_role("tab", name="1 Open").click()
        assert open_sample(person).count() == 56
    finally:
        shutil.rmtree(scene)


def test_a_trained_scene_can_be_turned(come):
    person = come()
    person.photographs()
    person.page.click("#stage [data-mode=live]")
    person.page.wait_for_selector("#stage .stage[data-sharp]")
    before = decoded(person.page.get_attribute("#stage .image", "src"))
    person.page.mouse.move(*person.at(0.5, 0.5))
    person.page.mouse.down()
    person.page.mouse.move(*person.at(0.8, 0.5), steps=4)
    person.page.mouse.up()

    def at_rest():
        """Sharp again, and turned; a sharp image of before may come while the first small ones do."""
        after = decoded(person.page.get_attribute("#stage .image", "src"))
        if after.shape[1] < 384:
            return False
        small, other = (
            np.asarray(Image.fromarray(image).resize((96, 72)), float) for image in (after, before)
        )
        return np.abs(small - other).mean() > 3

    browsing.until(at_rest, every=0.2)
    assert float(person.page.get_attribute("#stage .stage", "data-fps")) > 0


# --- mark


def test_a_click_selects_the_thing_in_all_photographs(come, workspace):
    person = come()
    person.photographs()
    person.step("2 Mark")
    person.page.wait_for_selector("#stage .frame.clicking")  # the first way of marking, where there is depth
    capture = Scene.open(workspace / "scenes" / "one").capture
    view = capture.train[2]
    person.choose(view.name)
    x, y = (view.camera.project(torch.tensor([tiny.BALL[:3]])).pixels[0] / torch.tensor(view.size)).tolist()
    person.page.mouse.click(*person.at(x, y))
    person.wait_for_words("The region is visible in", timeout=browsing.LATE)
    person.page.wait_for_selector("#stage .stage:not(.asking)", timeout=browsing.LATE)
    assert person.page.locator("#stage .lines .click").count() == 1
    overlaps = []
    for name, url in person.overlays().items():
        rays = capture.view(name).camera.rays()
        toward = torch.tensor(tiny.BALL[:3]) - rays.origins
        off = toward.square().sum(-1) - (toward * rays.directions).sum(-1) ** 2
        ball = (off < tiny.BALL[3] ** 2).view(tiny.SIZE[1], tiny.SIZE[0]).numpy()
        seen = np.zeros_like(ball) if url is None else decoded(url)[..., 0] == 255
        overlaps.append((ball & seen).sum() / (ball | seen).sum())
    # a ball of about twelve pixels across: an outline that is off by a pixel costs a quarter
    assert np.mean(overlaps) > 0.7
    shot(person, "mark-click")
    person.page.click("#stage [data-sign=minus]")
    person.page.mouse.click(*person.at(0.04, 0.96))
    person.page.wait_for_selector("#stage .lines .click.not", timeout=browsing.LATE)
    for left in (1, 0):
        person.page.click("#stage [data-do=undo]")
        person.page.wait_for_function(
            f"() => document.querySelectorAll('#stage .lines .click').length === {left}"
        )


def test_masks_painted_on_two_photographs_show_the_region_in_all(come):
    person = come()
    open_sample(person)
    person.step("2 Mark")
    capture = Capture.load(sample_path())
    point, painted = torch.tensor([[0.0, 0.0, 0.04]]), {}
    for view in (capture.views[4], capture.views[22]):
        pixel = view.camera.project(point).pixels[0]
        x, y = (pixel / torch.tensor(view.size)).tolist()
        person.choose(view.name)
        if painted:
            assert person.page.locator("#stage .guide").count() == 1  # where the first one's thing lies here
        person.dab(x, y)
        person.wait_for_words("One mask" if not painted else "The region is visible in")
        rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in view.size[::-1]), indexing="ij")
        painted[view.name] = (
            view.camera,
            (columns - pixel[0]) ** 2 + (rows - pixel[1]) ** 2 < (BRUSH * view.size[0]) ** 2,
        )
    hull, overlaps = VisualHull(list(painted.values())), []
    for name, url in person.overlays().items():
        camera = capture.view(name).camera
        small = camera.scaled(128 / max(camera.width, camera.height))
        wanted = hull.project(small).numpy()
        seen = (
            np.zeros_like(wanted) if url is None else decoded(url)[..., 0] == 255
        )  # the tint and the border
        if wanted.any() or seen.any():
            overlaps.append((wanted & seen).sum() / (wanted | seen).sum())
    # a disc of thirteen pixels across, off by half a pixel all around: a tenth of its area
    assert len(overlaps) > 40 and np.mean(overlaps) > 0.85 and min(overlaps) > 0.6
    shot(person, "mark-paint")
    first, second = painted
    film = "#stage .film button[data-name='{}']"
    person.page.click("#stage [data-do=undo]")
    person.wait_for_words("One mask")
    person.page.wait_for_function(
        "() => { const all = document.querySelector('#stage .paint');"
        " return all.getContext('2d').getImageData(0, 0, all.width, all.height).data.every((v) => v === 0); }"
    )
    person.page.click("#forget-masks")
    person.page.wait_for_function("() => !document.querySelector('#stage .film .painted')")
    person.page.click("#stage [data-do=undo]")
    person.page.wait_for_selector(film.format(first) + ".painted")
    person.choose(second)
    person.page.click("#stage [data-do=undo]")  # goes where the stroke was
    person.page.wait_for_selector(film.format(first) + "[aria-selected=true]:not(.painted)")
    person.page.click("#stage [data-do=undo]")
    person.wait_for_words("nothing to undo")


def test_masks_that_do_not_meet_are_said_so(come):
    person = come()
    open_sample(person)
    person.step("2 Mark")
    capture = Capture.load(sample_path())
    for view, point in ((capture.views[4], [-0.3, -0.3, 0.0]), (capture.views[22], [0.3, 0.3, 0.0])):
        x, y = (view.camera.project(torch.tensor([point])).pixels[0] / torch.tensor(view.size)).tolist()
        person.choose(view.name)
        person.dab(x, y)
        person.page.wait_for_selector(f"#stage .film button[data-name='{view.name}'].painted")
    person.page.wait_for_selector("#stage .words.problem")
    assert "do not meet in space" in person.words and "pass" in person.words
    shot(person, "mark-problem")


def test_a_stroke_on_one_photograph_is_healed(come, workspace):
    person = come()
    person.photographs()
    person.step("2 Mark")
    person.page.get_by_label("Heal a small place").check()
    person.page.wait_for_selector("#stage .frame.painting")
    person.page.fill("#stage [data-do=size]", "20")
    person.dab(0.5, 0.8)
    person.wait_for_words("The region is visible in", timeout=browsing.LATE)  # one photograph is enough
    assert person.page.locator("#stage .film .painted").count() == 1
    shot(person, "mark-heal")
    person.page.get_by_label("Paint on photographs").check()
    person.page.wait_for_function("() => !document.querySelector('#stage .film .painted')")  # not a mask
    person.step("5 Edit")
    person.wait_for_summary("the region is the surface under your strokes; the inpainter is fill")
    person.page.get_by_text("Command line").click()
    words = shlex.split(person.page.input_value("#command textarea"))
    view, _, stroke = words[words.index("--heal") + 1].rpartition("=")
    capture = Scene.open(workspace / "scenes" / "one").capture
    camera = capture.view(view).camera
    rows, columns = np.meshgrid(*(np.arange(n) + 0.5 for n in (camera.height, camera.width)), indexing="ij")
    wanted = np.hypot(columns - 0.5 * camera.width, rows - 0.8 * camera.height) < 0.033 * camera.width
    drawn = read_image(Path(stroke))[0].mean(-1).numpy() > 0.5
    assert wanted.sum() == 8 and (drawn ^ wanted).sum() <= 4  # three pixels across, drawn smoothly
    person.step("2 Mark")
    person.page.click("#stage [data-do=undo]")
    person.page.wait_for_selector("#stage .film button:not(.painted)")
    person.wait_for_words("")


def test_painting_with_the_keyboard_alone(come):
    person = come()
    open_sample(person)
    person.page.locator("[role=tab]").nth(0).focus()
    for _ in range(8):
        if person.page.evaluate("() => document.activeElement.innerText") == "2 Mark":
            break
        person.page.keyboard.press("Tab")
    person.page.keyboard.press("Enter")
    person.page.wait_for_function("() => location.search.includes('step=mark')")
    person.page.wait_for_selector("#stage .frame.painting")
    person.page.locator("#stage .frame").focus()
    for key in ("ArrowLeft", "ArrowUp", "Space", "Shift+ArrowRight", "Shift+ArrowRight"):
        person.page.keyboard.press(key)
    person.wait_for_words("One mask so far")
    person.page.keyboard.press("PageDown")
    person.page.wait_for_function("() => document.querySelector('#stage .name').textContent.includes('001')")
    assert person.page.locator("#stage .film .painted").count() == 1


# --- place


def test_a_mesh_is_uploaded_and_stood_on_a_surface(come, workspace, mesh):
    file, floor = mesh
    person = come()
    person.photographs()
    person.step("2 Mark")
    person.page.get_by_label("Place a mesh").check()
    person.page.set_input_files("#mesh-file input[type=file]", file)
    person.page.wait_for_selector("#stage .mesh[src]")
    assert "faces" in person.page.inner_text("#about-mesh")
    view = Scene.open(workspace / "scenes" / "one").capture.views[0]
    before = [person.page.input_value(f"#move-{axis} input") for axis in "xyz"]
    x, y = (view.camera.project(floor).pixels[0] / torch.tensor(view.size)).tolist()
    person.page.click("#stage [data-do=drop]")
    person.page.mouse.click(*person.at(x, y))
    person.page.wait_for_function(f"() => document.querySelector('#move-x input').value !== '{before[0]}'")
    moved = [float(person.page.input_value(f"#move-{axis} input")) for axis in "xyz"]
    low, high = load_mesh(file, Pose.parse(f"translate={','.join(map(str, moved))}")).bounds
    # the surface is that of a base which knows the formula to a few hundredths
    assert abs(float(low[2])) < 0.06
    assert torch.allclose(((low + high) / 2)[:2], floor[0, :2], atol=0.08)
    person.wait_for_words("The region is visible in")
    person.page.wait_for_selector("#stage .stage:not(.asking)")
    shown, overlaps = person.overlays(), []
    region = MeshRegion(load_mesh(file, Pose.parse(f"translate={','.join(map(str, moved))}")), dilate=0.0)
    for seen in Scene.open(workspace / "scenes" / "one").capture.views:
        small = seen.camera.scaled(min(1.0, 128 / max(seen.camera.width, seen.camera.height)))
        own = region.project(small).numpy()
        url = shown[seen.name]
        outline = np.zeros_like(own) if url is None else decoded(url)[..., 0] == 255
        overlaps.append((own & outline).sum() / max(own.sum(), 1))
    # the region, which is a little wider, has gone where the mesh is now; in some views something hides it
    assert np.mean(overlaps) > 0.6
    shot(person, "mark-mesh")
    person.page.click("#stage [data-mode=live]")
    person.page.wait_for_selector("#stage .tip[data-axis='2']")
    person.page.wait_for_selector("#stage .stage[data-sharp]")
    tip = person.page.locator("#stage .tip[data-axis='2']").bounding_box()
    person.page.mouse.move(tip["x"] + 7, tip["y"] + 7)
    person.page.mouse.down()
    person.page.mouse.move(tip["x"] + 7, tip["y"] - 40, steps=3)
    person.page.mouse.up()
    person.page.wait_for_function(f"() => +document.querySelector('#move-z input').value > {moved[2]} + 0.01")
    assert [float(person.page.input_value(f"#move-{axis} input")) for axis in "xy"] == moved[:2]
    assert "faces" in person.page.inner_text("#about-mesh")
    shot(person, "mark-gizmo")
    person.page.click("#stage [data-do=undo]")
    person.page.wait_for_function(f"() => +document.querySelector('#move-z input').value === {moved[2]}")


def test_several_files_are_one_mesh_in_its_colors(come, workspace, tmp_path):
    """An OBJ, its materials and its texture together; without the texture the page names what is missing."""
    Image.new("RGB", (4, 4), (200, 60, 20)).save(tmp_path / "red wood.png")
    (tmp_path / "o.mtl").write_text("newmtl m\nmap_Kd C:\\art\\red wood.png\n")
    square = "v 0 0 0\nv .3 0 0\nv .3 .3 .1\nv 0 .3 .1\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl m\n"
    (tmp_path / "o.obj").write_text(f"mtllib o.mtl\n{square}f 1/1 2/2 3/3 4/4\n")
    person = come()
    person.photographs()
    person.step("2 Mark")
    person.page.get_by_label("Place a mesh").check()
    person.page.set_input_files("#mesh-file input[type=file]", [tmp_path / "o.obj", tmp_path / "o.mtl"])
    person.page.wait_for_selector("text=red wood.png")
    person.page.click("#mesh-file button[aria-label='Clear']")
    files = [tmp_path / name for name in ("red wood.png", "o.obj", "o.mtl")]
    person.page.set_input_files("#mesh-file input[type=file]", files)

    def taken():
        drafts = workspace / "scenes" / "one" / "page" / "drafts"
        return [file for file in drafts.rglob("o.obj") if (file.parent / "red wood.png").exists()]

    (file,) = browsing.until(taken)
    mesh = load_mesh(file)
    assert mesh.warnings == () and tuple(mesh.textures[0].image[0, 0].tolist()) == (200, 60, 20)
    person.page.wait_for_selector("#stage .mesh[src]")
    person.page.get_by_role("button", name="Remove the mesh").click()


def test_a_box_is_set_and_dropped_and_a_wrong_one_is_explained(come, workspace, tiny_folder):
    scene = workspace / "scenes" / "two"
    person = come(f"?scene={SceneLocation(scene, scene.name).key}")
    person.photographs()
    person.step("2 Mark")
    person.page.get_by_label("Place a box").check()
    person.page.click("#new-box")
    person.wait_for_words("The region is visible in")
    middle = person.page.input_value("#center-x input")
    person.number("center-x", 50)
    person.page.wait_for_selector("#stage .words.problem")
    assert "none of the" in person.words.lower()
    person.page.click("#stage [data-do=undo]")
    person.wait_for_words("The region is visible in")
    assert person.page.input_value("#center-x input") == middle

    person.page.get_by_label("Place a mesh").check()
    person.page.set_input_files("#mesh-file input[type=file]", tiny_folder / "capture" / "object.ply")
    person.page.wait_for_selector("#stage .mesh[src]")
    stands = [person.page.input_value(f"#move-{axis} input") for axis in "xyz"]
    person.page.get_by_label("Place a box").check()  # and drop that, not the mesh
    view, floor = Scene.open(scene).capture.views[0], torch.tensor([[0.3, 0.45, 0.0]])
    x, y = (view.camera.project(floor).pixels[0] / torch.tensor(view.size)).tolist()
    person.page.click("#stage [data-do=drop]")
    person.page.mouse.click(*person.at(x, y))
    person.page.wait_for_function(f"() => document.querySelector('#center-x input').value !== '{middle}'")
    center = [float(person.page.input_value(f"#center-{axis} input")) for axis in "xyz"]
    height = float(person.page.input_value("#size-z input"))
    assert abs(center[2] - height / 2) < 0.06 and np.allclose(center[:2], floor[0, :2], atol=0.08)
    person.page.get_by_label("Place a mesh").check()
    assert [person.page.input_value(f"#move-{axis} input") for axis in "xyz"] == stands


# --- the whole way


def with_mesh(come, mesh):
    """Somebody who has uploaded the mesh into the scene `one`."""
    person = come()
    person.photographs()
    person.step("2 Mark")
    person.page.get_by_label("Place a mesh").check()
    person.page.set_input_files("#mesh-file input[type=file]", mesh[0])
    person.wait_for_words("The region is visible in")
    person.step("3 Content")
    person.page.get_by_role("button", name="Advanced").last.click()
    person.number("fit-steps", 40)
    person.page.fill("#layer-name textarea, #layer-name input", "my thing")
    person.page.keyboard.press("Tab")
    return person


def test_a_preview_paints_some_views_and_changes_nothing(come, workspace, mesh):
    layers = Scene.open(workspace / "scenes" / "one").layers  # of tests before this one
    person = with_mesh(come, mesh)
    shot(person, "content")
    person.step("4 Preview")
    person.number("seed", 7)
    person.page.click("#start-preview")
    card = person.job("preview-jobs", "done")
    card.locator(".images img").first.wait_for()
    assert card.locator(".images img").count() == 4
    assert Scene.open(workspace / "scenes" / "one").layers == layers
    card.locator("button.keep").nth(1).click()
    card.locator("button.keep").nth(2).click()
    card.locator("button.keep[aria-pressed=true]").nth(1).wait_for()
    kept = [card.locator("button.keep").nth(k).get_attribute("data-view") for k in (1, 2)]
    shot(person, "preview")
    person.page.reload()
    person.job("preview-jobs", "done").locator("button.keep[aria-pressed=true]").nth(1).wait_for()
    assert person.page.input_value("#seed input") == "7"
    person.step("3 Content")
    person.page.fill("#layer-name textarea, #layer-name input", "your thing")
    person.page.keyboard.press("Tab")
    person.step("5 Edit")
    summary = person.wait_for_summary("your thing")
    assert "the 2 preview images that you kept" in summary and "the seed is 7" in summary
    person.page.get_by_role("button", name="Command line").click()
    words = shlex.split(person.page.input_value("#command textarea"))
    recipe = Recipe.load(words[words.index("--recipe") + 1])
    assert sorted(recipe.approved) == sorted(kept)
    painted = next((workspace / "scenes" / "one" / "page" / "jobs").glob("*-*/out/painted"))
    for file in recipe.approved.values():
        assert Path(file).read_bytes() == (painted / Path(file).name.rpartition("-")[2]).read_bytes()
    person.step("4 Preview")
    person.page.click("#forget-kept")
    person.page.wait_for_function("() => !document.querySelector('button.keep[aria-pressed=true]')")
    person.step("5 Edit")
    person.page.wait_for_function("() => !document.querySelector('#edit-summary').innerText.includes('kept')")


def test_an_edit_is_reloaded_stopped_and_goes_on_to_its_end(come, workspace, mesh, capsys):
    scene, person = workspace / "scenes" / "one", with_mesh(come, mesh)
    person.step("5 Edit")
    summary = person.wait_for_summary("my thing")
    assert "the region is the mesh object.ply" in summary and "the inpainter is mesh" in summary
    person.page.click("#start-edit")
    person.page.wait_for_selector("#edit-jobs .stage-line")
    person.page.reload()  # the job does not notice
    newest, other = (f"#edit-jobs .job:nth-child({k})" for k in (1, 2))
    person.page.wait_for_selector(f"{newest} progress", timeout=browsing.LATE)
    shot(person, "edit", once=f"{newest} .images figure:nth-child(8)")
    person.page.click(f"{newest} [data-action=pause]")
    person.job("edit-jobs", "paused")
    jobs = [json.loads(file.read_text()) for file in (scene / "page" / "jobs").glob("*/job.json")]
    (pid,) = [job["pid"] for job in jobs if job["state"] == "paused"]
    assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
    person.page.click("#start-edit")
    assert (
        "until “my thing, by mesh” is resumed or stopped" in person.job("edit-jobs", "waiting").inner_text()
    )
    person.page.click(f"{other} [data-action=stop]")
    person.page.wait_for_selector(f"{other}[data-state=stopped]")
    person.job("edit-jobs", "running")  # its turn
    person.page.click("#start-edit")
    assert "1 ahead" in person.job("edit-jobs", "waiting").inner_text()
    person.page.click(f"{newest} [data-action=stop]")
    person.page.click(f"{other} [data-action=stop]")
    person.page.wait_for_selector(f"{other}[data-state=stopped]")
    person.page.click(f"{newest} [data-action=forget]")
    person.page.wait_for_function("() => document.querySelectorAll('#edit-jobs .job').length == 2")
    assert Scene.open(scene).layers == []  # from here on, `other` is the first job again
    person.page.click(f"{other} [data-action=resume]")
    person.page.wait_for_selector(f"{other}[data-state=done]", timeout=browsing.LATE)
    entry = Scene.open(scene).layers[-1]  # above its shadow
    assert entry.name == "my thing"
    person.step("6 Results")
    person.page.wait_for_selector("#layers .list [data-number='1']")
    command = person.page.input_value("#layer-command textarea")
    assert command.startswith("nerf-insert edit ") and "--mesh" in command and "--seed 0" in command
    assert main([*shlex.split(command)[1:], "--json"]) == 0  # it repeats this very edit
    assert json.loads(capsys.readouterr().out)["made"] is False


def test_the_light_is_estimated_and_changed_by_hand(come, workspace, mesh):
    person = come()
    person.photographs()
    person.step("2 Mark")
    person.page.get_by_label("Place a mesh").check()
    person.page.set_input_files("#mesh-file input[type=file]", mesh[0])
    person.wait_for_words("The region is visible in", timeout=browsing.LATE)
    person.step("5 Edit")
    person.page.locator("#light-part button").first.click()
    person.page.click("#estimate-light")
    person.page.wait_for_selector("#light-picture img", timeout=browsing.LATE)
    assert len(person.page.inner_text("#about-light")) > 20  # how sure it is
    person.page.locator("#light-by-hand input").check()
    person.page.wait_for_function(
        "() => document.querySelector('#about-light').innerText === 'The light is set by hand.'"
    )

    def picture_of():
        source = person.page.get_attribute("#light-picture img", "src")
        return np.asarray(Image.open(io.BytesIO(person.context.request.get(source).body())).convert("L"))

    def ball():
        """The brightness of the ball's left and right half."""
        last = picture_of().astype(float)[-206:-6, -206:-6]  # cell of the sheet
        return last[60:140, 20:70].mean(), last[60:140, 130:180].mean()

    def light():
        """The light that the edit would have."""
        words = shlex.split(person.page.input_value("#command textarea"))
        return json.loads(words[words.index("--inpainter-option") + 1].removeprefix("light="))

    def settled():
        """What is asked twice and is the same: an answer to something before may still be under way."""
        seen = []

        def twice():
            seen.append((light(), ball()))
            return len(seen) > 1 and seen[-1] == seen[-2]

        browsing.until(twice, every=0.5)

    def moved(slider, degrees):
        before, pictured = light()["direction"], ball()
        person.number(f"light-{slider}", degrees)
        browsing.until(lambda: light()["direction"] != before and ball() != pictured)
        settled()
        return ball()

    person.page.get_by_text("Command line").click()
    browsing.until(lambda: "light=" in person.page.input_value("#command textarea"))
    settled()
    moved("height", 0)
    assert light()["direction"][2] == pytest.approx(0, abs=0.02)  # at the horizon, of a level scene
    sides = [moved("turn", degrees) for degrees in (90, -90)]  # half a turn: the other side is lit
    sides += [moved("turn", degrees) for degrees in (0, 180)]
    one, other = max(zip(sides[::2], sides[1::2], strict=True), key=lambda pair: abs(pair[0][0] - pair[0][1]))
    assert (one[0] - one[1]) * (other[0] - other[1]) < 0
    shot(person, "light")
    last = light()["direction"]
    for degrees in (10, 20, 30, 40, 50, 60, 180):  # faster than the page answers: the last one counts
        person.page.locator("#light-turn input[type=number]").fill(str(degrees))
    browsing.until(lambda: light()["direction"] == last and ball() == sides[-1])
    person.page.locator("#light-by-hand input").uncheck()
    person.page.wait_for_selector("#light-turn", state="hidden")


def test_an_edit_with_the_keyboard_alone(come, workspace):
    scene, person = workspace / "scenes" / "one", come()
    layers = Scene.open(scene).layers
    person.photographs()

    def press(key, *, at, by="Tab"):
        """On the thing for which `at` holds, when it has been walked to."""
        for _ in range(150):
            person.page.keyboard.press(by)
            if person.page.evaluate(f"() => (({at}))(document.activeElement)"):
                return person.page.keyboard.press(key)
        raise AssertionError(f"the keyboard does not come to {at}")

    press("Enter", at="e => e.innerText === '2 Mark'")
    person.page.wait_for_function("() => location.search.includes('step=mark')")
    press("Space", at="e => e.value === 'box'")
    person.page.wait_for_selector("#new-box")
    press("Enter", at="e => e.id === 'new-box'")
    person.wait_for_words("The region is visible in")
    press("Enter", at="e => e.innerText === '5 Edit'", by="Shift+Tab")
    person.wait_for_summary("the region is the box")
    press("Enter", at="e => e.id === 'start-edit'")
    person.page.wait_for_selector("#edit-jobs .job:first-child progress", timeout=browsing.LATE)
    press("Enter", at="e => e.dataset.action === 'stop'")
    person.job("edit-jobs", "stopped")
    press("Enter", at="e => e.dataset.action === 'forget'")
    person.page.wait_for_selector("#edit-jobs [data-action=stop]", state="detached")
    assert Scene.open(scene).layers == layers


def test_layers_are_compared_switched_renamed_deleted_and_taken_away(come, workspace, tmp_path):
    scene = workspace / "scenes" / "edited"
    (entry,) = Scene.open(scene).layers
    person = come(f"?scene={SceneLocation(scene, scene.name).key}&step=results")
    person.photographs()
    person.page.wait_for_selector("#layers .list [data-number='1']")
    views = Scene.open(scene).capture.views
    _slider_shows_before_and_after(person, scene, views[0], tmp_path)
    person.choose(views[5].name)
    _slider_shows_before_and_after(person, scene, views[5], tmp_path)
    shot(person, "results")

    person.page.locator("#layers [data-do=enable]").uncheck()
    person.page.wait_for_selector("#layers li.off")
    assert not Scene.open(scene).layers[0].enabled
    person.page.click("#layers [data-do=undo]")
    person.page.wait_for_selector("#layers li:not(.off)")
    assert Scene.open(scene).layers[0].enabled
    person.page.fill("#layers input.name", "your thing")
    person.page.keyboard.press("Tab")
    person.page.wait_for_function(
        "() => document.querySelector('#layers input[type=checkbox]').ariaLabel.includes('your')"
    )
    assert Scene.open(scene).layers[0].name == "your thing"
    _download_and_reopen(person, workspace, scene, tmp_path)
    second = tiny.tiny_layer(scene, name="second").folder
    person.page.goto(
        person.page.url.split("?")[0] + f"?scene={SceneLocation(scene, scene.name).key}&step=results"
    )

    def layers(*folders):
        person.page.wait_for_function(
            f"() => document.querySelectorAll('#layers li[data-number]').length === {len(folders)}"
        )
        return [one.folder for one in Scene.open(scene).layers] == list(folders)

    assert layers(entry.folder, second)
    person.page.click("#layers li[data-number='2'] [data-do=down]")
    person.page.wait_for_function("() => document.querySelector('#layers .name').value === 'your thing'")
    assert layers(second, entry.folder)
    person.page.click("#layers li[data-number='2'] [data-do=remove]")
    assert layers(second)
    person.page.click("#layers [data-do=undo]")
    assert layers(second, entry.folder)
    person.page.click("#make-video")
    person.job("results-jobs", "done")
    person.page.wait_for_selector("#orbit-video video")


def _slider_shows_before_and_after(person, scene, view, tmp_path):
    """The two pictures of the slider become renders without and with the layer, from this view."""
    stack = Scene.open(scene).stack()
    truths = [wanted.render_image(view.camera).rgb for wanted in (LayerStack(stack.base), stack)]
    differences = []
    while len(differences) < 100:
        person.page.wait_for_timeout(100)
        sources = person.page.eval_on_selector_all("#slider img", "all => all.map((image) => image.src)")
        shown = []
        for url in sources[:2]:
            file = tmp_path / "slider.png"
            file.write_bytes(person.context.request.get(url).body())
            shown.append(read_image(file)[0])
        if [picture.shape for picture in shown] == [truth.shape for truth in truths]:
            pairs = zip(shown, truths, strict=True)
            differences.append(max(float((picture - truth).abs().mean()) for picture, truth in pairs))
            if differences[-1] < 0.03:  # WebP or JPEG
                return
    raise AssertionError(f"the slider shows something else: {differences}")


def _download_and_reopen(person, workspace, scene, tmp_path):
    """The scene comes as a zip, and opens again from it without its old capture."""
    person.page.click("#get-scene")
    person.page.wait_for_selector("#download a")
    with person.page.expect_download() as download:
        person.page.locator("#download a").first.click()
    file = tmp_path / "taken.zip"
    download.value.save_as(file)
    assert any(name.endswith("field.safetensors") for name in zipfile.ZipFile(file).namelist())
    person.step("1 Open")
    person.upload(file)
    person.page.wait_for_function(
        "() => document.querySelector('#about-scene').innerText.startsWith('taken')"
    )
    again = Scene.open(workspace / "scenes" / "taken")
    assert [entry.name for entry in again.layers] == ["your thing"]
    assert again.capture.path == (workspace / "scenes" / "taken" / "capture").resolve()
    view = again.capture.train[0]
    assert torch.equal(
        again.stack().render_image(view.camera).rgb, Scene.open(scene).stack().render_image(view.camera).rgb
    )


def test_a_floater_is_found_shown_and_removed(come, workspace, tiny_folder):
    scene = workspace / "scenes" / "floating"
    shutil.copytree(tiny_folder / "scene", scene)
    tiny.tiny_layer(scene, (-0.4, 0.0, 0.7), (0.25, 0.25, 0.25), "floater", density_bias=2.0)
    person = come(f"?scene={SceneLocation(scene, scene.name).key}&step=results")
    person.photographs()
    person.page.get_by_role("button", name="Floaters").click()
    person.page.click("#find-floaters")
    person.page.wait_for_selector("#floaters img", timeout=browsing.LATE)
    assert person.page.inner_text("#about-floaters") == "One floater was found."
    assert len(Scene.open(scene).layers) == 1  # nothing is changed by looking
    shot(person, "floaters")
    person.page.click("#remove-floaters")
    person.page.wait_for_selector("#floaters", state="detached")
    person.step("5 Edit")
    person.job("edit-jobs", "done")
    opened = Scene.open(scene)
    assert [entry.name for entry in opened.layers] == ["floater", "clean"]
    stack, camera = opened.stack(), opened.capture.views[0].camera
    # the layer empties the place of the floater, which nothing else is in
    torch.testing.assert_close(
        stack.render_image(camera).rgb, LayerStack(stack.base).render_image(camera).rgb, atol=0.02, rtol=0
    )
    person.step("6 Results")
    person.page.click("#find-floaters")
    person.page.wait_for_function(
        "() => document.querySelector('#about-floaters').innerText === 'No floaters were found.'"
    )


# --- a capture from a zip


def test_a_capture_is_uploaded_and_its_scene_begun(come, workspace):
    person = come()
    person.upload(workspace / "tiny.zip")
    person.page.wait_for_function("() => document.querySelectorAll('#stage .film button').length === 14")
    person.page.get_by_label("Fine").check()
    person.page.click("#train")
    person.page.wait_for_selector("#train-jobs .job[data-state=running] progress", timeout=browsing.LATE)
    shot(person, "train")
    person.page.click("#train-jobs [data-action=stop]")
    person.job("train-jobs", "stopped")
    assert not (workspace / "scenes" / "tiny" / "scene.json").exists()


# --- a video


def test_a_video_becomes_a_scene(come, workspace, tmp_path):
    """Dropped on the page; cameras are found, leveled on the floor and scaled, and the scene is built."""
    pictures = [walks.picture(pose, (192, 144), 174.0) for pose in walks.arc(14)]
    person = come()
    person.upload(walks.film(tmp_path / "walk.mp4", pictures))
    page = person.page
    page.wait_for_function("() => document.querySelector('#about-scene').innerText.startsWith('walk')")
    page.wait_for_function(
        "() => document.querySelectorAll('#stage .film button').length > 10", timeout=browsing.LATE
    )
    made = workspace / "scenes" / "walk" / "capture"
    before = Capture.load(made)
    page.get_by_role("button", name="Report: what was found").click()
    assert (
        "What to photograph next" in page.frame_locator("#capture-report iframe").locator("body").inner_text()
    )

    page.get_by_role("button", name="Floor and scale").click()
    shown = page.locator("#align-picture img")
    shown.wait_for()
    on_floor = [(0.3, 0.85), (0.7, 0.9), (0.5, 0.8)]

    def click(places):
        known = page.locator("#align-clicked").inner_text().count("=")
        for number, (x, y) in enumerate(places, known + 1):
            box = shown.bounding_box()
            shown.click(position={"x": x * box["width"], "y": y * box["height"]})
            page.wait_for_function(
                "n => document.querySelector('#align-clicked').innerText.split('=').length - 1 === n",
                arg=number,
            )

    click(on_floor)
    page.get_by_label("The two ends of a known length").check()
    click(on_floor[:2])
    frames = [round(int(Path(view.name).stem) / 100 * walks.FPS) for view in before.views]
    poses = np.array(walks.arc(14))[frames]
    ends = [walks.floor_at(poses[0], x * 192, y * 144, (192, 144), 174.0) for x, y in on_floor[:2]]
    page.locator("#align-length input").fill(f"{np.linalg.norm(ends[0] - ends[1]):.4f}")
    shot(person, "floor")
    page.click("#align-apply")
    browsing.until(
        lambda: json.loads((made / "reconstruction" / "capture.json").read_text())["up"] == "--floor"
    )
    after = Capture.load(made)
    assert len(after.views) == len(before.views)
    heights = [float(view.camera.c2w[2, 3]) for view in after.views]
    assert min(heights) > 0  # above the floor, which is z = 0
    found = np.array([view.camera.c2w[:, 3].tolist() for view in after.views])
    ways = [np.linalg.norm(np.diff(centers, axis=0), axis=1).sum() for centers in (poses[:, :, 3], found)]
    assert ways[1] == pytest.approx(ways[0], rel=0.05)  # in meters now
    person.job("train-jobs", "done")

    page.get_by_label("Quick").check()
    page.click("#train")
    browsing.until((workspace / "scenes" / "walk" / "scene.json").exists, 900)
    page.wait_for_function(
        "() => document.querySelector('#about-scene').innerText.includes('3D scene built')",
        timeout=browsing.LATE,
    )


# --- two people


def test_two_browsers_do_not_touch_each_others_work(come, workspace):
    one, two = come(), come()
    for person in (one, two):
        person.photographs()
    two.page.click("#scenes input")
    two.page.get_by_role("option", name="two").click()
    two.page.wait_for_function("() => document.querySelector('#about-scene').innerText.startsWith('two')")
    for person, height in ((one, 0.4), (two, 0.6)):
        person.step("2 Mark")
        person.page.get_by_label("Paint on photographs").check()
        person.choose("images/002.png")
        person.dab(0.5, height)
        person.wait_for_words("One mask")
    masks = {
        name: list((workspace / "scenes" / name / "page" / "drafts").glob("*/masks/*.png"))
        for name in ("one", "two")
    }
    assert len(masks["two"]) == 1
    same = come()  # a third, on the first one's scene: it has a draft of its own
    same.photographs()
    same.step("2 Mark")
    same.choose("images/002.png")
    assert same.page.locator("#stage .film .painted").count() == 0
    assert one.page.locator("#stage .film .painted").count() == 1
    middle = [np.argwhere(np.asarray(Image.open(file)) > 127).mean(0)[0] for file in (masks["two"][0],)]
    assert abs(middle[0] / 36 - 0.6) < 0.05


# --- what goes wrong


def test_wrong_uploads_are_explained_and_leave_nothing(come, workspace, tmp_path):
    person = come()
    person.photographs()
    before = sorted((workspace / "captures").glob("*")) if (workspace / "captures").exists() else []
    wrong = {}
    for name, members in {
        "empty": {},
        "nothing": {"readme.txt": b"hello"},
        "escapes": {"../../evil.json": b"{}"},
        "no-pictures": {"transforms.json": b'{"frames": []}'},
        "bad-picture": {"transforms.json": b'{"frames": []}', "images/a.png": b"no picture"},
    }.items():
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 torn")
    for name in ("empty", "nothing", "escapes", "no-pictures", "bad-picture", "torn"):
        person.upload(tmp_path / f"{name}.zip")
        wrong[name] = person.toast()
    assert "no capture" in wrong["empty"] and "no capture" in wrong["nothing"]
    assert (
        "points out of its own folder" in wrong["escapes"] and not (workspace.parent / "evil.json").exists()
    )
    assert "not an image" in wrong["bad-picture"]
    assert "cannot be unpacked" in wrong["torn"]
    assert (sorted((workspace / "captures").glob("*")) if (workspace / "captures").exists() else []) == before
    shot(person, "wrong-upload")

    person.step("2 Mark")
    person.page.get_by_label("Place a mesh").check()
    (tmp_path / "torn.ply").write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9\n")
    person.page.set_input_files("#mesh-file input[type=file]", tmp_path / "torn.ply")
    assert "torn.ply" in person.toast()
    person.step("3 Content")
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    person.page.set_input_files("#reference input[type=file]", tmp_path / "torn.png")
    assert "torn.png" in person.toast().lower()
    for words in wrong.values():
        assert "Traceback" not in words and "Error:" not in words


def test_an_edit_without_a_region_or_a_model_is_explained(come):
    person = come()
    person.photographs()
    person.step("5 Edit")
    person.wait_for_summary("Mark a region first")
    person.page.click("#start-edit")
    assert "Mark a region first" in person.toast()
    person.step("2 Mark")
    person.page.get_by_label("Place a box").check()
    person.page.click("#new-box")
    person.wait_for_words("The region is visible in")
    person.step("3 Content")
    person.page.get_by_label("diffusion (no model on this machine yet)").check()
    assert "nerf-insert models pull NAME" in person.page.inner_text("#about-model")
    person.page.click("#model input")
    person.page.get_by_role("option", name="flux2-klein (not on this machine").first.click()
    person.page.wait_for_function(
        "() => document.querySelector('#about-model').innerText.includes('models pull flux2-klein')"
    )
    person.step("5 Edit")
    person.wait_for_summary("diffusion")
    person.page.click("#start-edit")
    assert "nerf-insert models pull flux2-klein" in person.toast()


@pytest.mark.parametrize("width, scheme", [(420, "light"), (420, "dark"), (1440, "dark")])
def test_it_fits_narrow_windows_and_the_dark(come, width, scheme):
    person = come(viewport={"width": width, "height": 860}, color_scheme=scheme)
    person.photographs()
    for name in ("2 Mark", "3 Content", "4 Preview", "5 Edit", "6 Results"):
        person.step(name)
        cut = person.page.evaluate(
            "() => [...document.querySelectorAll('button, input, textarea, img, p, label')].filter((e) =>"
            " e.offsetParent && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML)"
        )
        assert cut == [], name
    background, text = (
        person.page.evaluate(f"() => getComputedStyle(document.body).{key}")
        for key in ("backgroundColor", "color")
    )
    bright = [sum(map(int, color[color.index("(") + 1 : -1].split(",")[:3])) for color in (background, text)]
    assert (bright[0] < 200 < bright[1]) if scheme == "dark" else (bright[0] > 600 > bright[1])
    shot(person, f"{'narrow' if width < 900 else 'wide'}-{scheme}")
