"""Splats that the page's 3D view draws itself while it is moved: the layers' bits, and in Chromium."""

import io
import json

import browsing
import numpy as np
import pytest
import torch
from PIL import Image
from splat_scenes import BOX, add_box_and_shadow, cameras_around, cloud

from nerf_insert.app import live_splats
from nerf_insert.app.live_splats import LiveSplats, Pool, shown_layers
from nerf_insert.app.orbit_view import Orbit, orbit_camera
from nerf_insert.app.scene_cache import OpenScene
from nerf_insert.app.workspace import SceneLocation
from nerf_insert.export.splats import edited_splats
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.adopt_splats import adopt_splats
from nerf_insert.scene.scene import Scene
from nerf_insert.splats.files import write_splats
from nerf_insert.splats.splats import Splats

needs_browser = pytest.mark.skipif(browsing.CHROMIUM is None, reason=browsing.NO_BROWSER)
CLOSE = 40.0  # dB; less than in test_html.py, since the frame may begin between two pixels of the screen
SHADOW, THING = 1, 2  # bits of the two layers


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    write_splats(folder / "cloud.ply", cloud(degree=2))
    scene = adopt_splats(
        folder / "cloud.ply",
        folder / "scenes" / "cloud",
        cameras=cameras_around(folder / "cameras.json"),
        background=(0.1, 0.2, 0.3),
    )
    add_box_and_shadow(scene)
    return folder


@pytest.fixture
def scene(workspace):
    """The scene, with both layers shown before and after."""
    scene = Scene.open(workspace / "scenes" / "cloud")
    yield scene
    scene = scene.reload()
    for number in (1, 2):
        scene.enable(number)


@pytest.fixture(scope="module")
def opened(workspace):
    folder = workspace / "scenes" / "cloud"
    return OpenScene(SceneLocation(folder, folder.name))


@pytest.fixture(scope="module")
def pool(opened):
    """What is packed, before it is."""
    kept = []

    def keep(splats, background, antialiased, words):
        kept.append(Pool(splats, antialiased, words & 0xFFFF, words >> 16))
        return real(splats, background, antialiased, words)

    real, live_splats.pack_splats = live_splats.pack_splats, keep
    try:
        LiveSplats().of(opened)
    finally:
        live_splats.pack_splats = real
    return kept[0]


def seen(pool, on):
    """The splats that the viewer draws when the layers of these bits are shown."""
    return pool.splats[((pool.needed & on) == pool.needed) & ((pool.hiding & on) == 0)]


def sorted_rows(splats):
    rows = torch.cat([splats.means, splats.log_scales, splats.sh.flatten(1)], 1)
    return rows[rows[:, 0].argsort()]


# --- bits


def test_without_layers_it_is_the_base(pool, scene):
    assert torch.equal(sorted_rows(seen(pool, 0)), sorted_rows(scene.base.splats))


def test_with_its_layers_it_is_what_is_exported(pool, scene):
    base, added = edited_splats(scene, count=100, steps=0).parts()
    exported = Splats.joined(base)
    shown = seen(pool, SHADOW | THING)
    ours = shown[(~torch.isin(shown.means[:, 0], pool.splats.means[own(pool), 0])).nonzero()[:, 0]]
    torch.testing.assert_close(sorted_rows(ours), sorted_rows(exported))
    thing = pool.splats[own(pool)]
    assert added[0].count and thing.count > 100 and (BOX.distance(thing.means) < 0.1).all()


def own(pool):
    """Which splats show the layer THING itself: behind all that is left of the base."""
    last = torch.arange(pool.splats.count) > int((pool.needed & THING == 0).nonzero()[-1])
    return last & (pool.splats.sh[:, 1:] == 0).all((1, 2))


def test_a_shadow_alone_only_changes_colors(pool, scene):
    before, after = sorted_rows(scene.base.splats), sorted_rows(seen(pool, SHADOW))
    assert torch.equal(before[:, :6], after[:, :6])
    changed = (before != after).any(1)
    assert 10 < changed.sum() < len(before) / 2


def test_switching_a_layer_needs_no_new_splats(opened, scene):
    live = LiveSplats()
    first = live.of(opened)
    assert shown_layers(opened.scene) == SHADOW | THING
    scene.enable(2, False)
    assert live.of(opened) is first
    assert shown_layers(opened.scene) == 0  # a shadow goes with its thing
    scene.enable(2)
    scene.fade(1, 0.5)
    try:
        assert live.of(opened).key != first.key
    finally:
        scene.fade(1, 1.0)
    assert live.of(opened).key == first.key


def test_a_nerf_and_too_many_layers_have_none(opened, tiny_folder, monkeypatch):
    folder = tiny_folder / "scene"
    assert LiveSplats().of(OpenScene(SceneLocation(folder, folder.name))) is None
    monkeypatch.setattr(live_splats, "MAX_LAYERS", 1)
    assert LiveSplats().of(opened) is None


# --- the page


@pytest.fixture(scope="module")
def server(workspace):
    running = browsing.Server(workspace, workspace / "scenes" / "cloud", program=browsing.QUICK)
    yield running
    assert running.end() == 0
    assert not any("Traceback" in line for line in running.said), "".join(running.said)


@pytest.fixture
def person(server):
    with browsing.browser() as chromium:
        person = browsing.Person(chromium, server.url)
        yield person
        assert person.errors == []
        elsewhere = [u for u in person.requests if u.startswith(("http", "ws")) and "//127.0.0.1:" not in u]
        assert elsewhere == []


def look(person):
    person.page.click("#stage [data-mode=live]")
    person.page.wait_for_selector("#stage canvas.splats[data-state=drawn]", timeout=browsing.LATE)


def drawn(person):
    """What WebGL shows while the view is held."""
    person.page.wait_for_timeout(60)
    person.page.wait_for_selector("#stage .frame.moving canvas.splats[data-state=drawn]")
    person.page.evaluate("() => { document.querySelector('#stage .badge').style.visibility = 'hidden'; }")
    person.page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    canvas = person.page.locator("#stage canvas.splats")
    # a screenshot has whole pixels, and the frame may begin between two
    box = canvas.bounding_box()
    assert box["width"] > 200 and abs(box["width"] / box["height"] - 4 / 3) < 0.01
    data = canvas.evaluate("(c) => new Promise((go) => requestAnimationFrame(() => go([c.width, c.height])))")
    image = Image.open(io.BytesIO(canvas.screenshot())).convert("RGB").resize(data)
    return torch.from_numpy(np.asarray(image)).float() / 255


def expected(opened, stack, orbit, like):
    height, width = like.shape[:2]
    camera = orbit_camera(opened, orbit, width)
    assert abs(camera.height - height) <= 1
    return stack.render_image(camera).rgb[:height]


def psnr(a, b):
    """Without the borders, where the frame has round corners and an outline."""
    height = min(len(a), len(b)) - 10
    return -10 * np.log10(float((a[10:height, 10:-10] - b[10:height, 10:-10]).square().mean()) + 1e-12)


@needs_browser
def test_while_it_is_moved_the_browser_draws_and_then_the_server(person, opened, scene):
    look(person)
    page = person.page
    page.select_option("#stage [data-do=what]", "before")
    page.mouse.move(*person.at(0.5, 0.5))
    page.mouse.down()  # held, so that it does not rest
    for _ in range(4):
        page.keyboard.press("ArrowRight")  # 6 degrees each
    page.keyboard.press("ArrowUp")  # 5 degrees
    asked = []
    page.on("request", lambda request: asked.append(request.post_data or ""))
    page.keyboard.press("+")
    orbit = Orbit(35 - 4 * 6, 30 + 5, 0.9)
    shown = drawn(person)
    base = LayerStack(scene.base)
    assert psnr(shown, expected(opened, base, orbit, shown)) > CLOSE
    assert psnr(shown, expected(opened, base, Orbit(35, 30, 1.0), shown)) < 22
    assert not any('"render"' in data for data in asked)
    page.mouse.up()
    page.wait_for_selector("#stage .frame:not(.moving)", timeout=browsing.LATE)
    assert any('"render"' in data for data in asked)
    assert page.get_attribute("#stage .image", "src").startswith("data:image/jpeg")
    page.wait_for_selector("#stage .stage[data-sharp='2']")


@needs_browser
def test_layers_are_switched_in_the_moving_view(person, opened, scene):
    look(person)
    page = person.page
    base, stack = LayerStack(scene.base), scene.stack()

    def held():
        page.mouse.move(*person.at(0.5, 0.5))
        page.mouse.down()
        page.keyboard.press("Home")
        image = drawn(person)
        page.mouse.up()
        return image

    with_layers = held()
    orbit = Orbit()
    before, after = (expected(opened, s, orbit, with_layers) for s in (base, stack))
    changed = ((before - after).abs().amax(2) > 0.1)[: len(with_layers)]
    assert changed.sum() > 500

    def wrong(image, truth):
        height = min(len(image), len(truth), len(changed))
        return (image[:height] - truth[:height])[changed[:height]].square().mean()

    assert wrong(with_layers, after) < 0.4 * wrong(with_layers, before)  # not fitted: it is close, not equal
    person.step("6 Results")
    page.click("#layers li[data-number='2'] input[type=checkbox]")
    page.wait_for_function("() => !document.querySelector('#layers li[data-number=\"2\"] input').checked")
    browsing.until(lambda: psnr(held(), before) > CLOSE)  # once the stage has heard of it


@needs_browser
def test_without_webgl_the_server_renders_as_ever(server):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = [*browsing.FLAGS, browsing.NO_WEBGL]
        chromium = playwright.chromium.launch(executable_path=browsing.CHROMIUM, args=flags)
        person = browsing.Person(chromium, server.url)
        person.page.click("#stage [data-mode=live]")
        person.page.wait_for_selector("#stage .stage[data-sharp]", timeout=browsing.LATE)
        assert float(person.page.get_attribute("#stage .stage", "data-fps")) > 0
        assert person.page.get_attribute("#stage canvas.splats", "data-state") is None
        assert person.errors == []
        chromium.close()


@needs_browser
def test_the_scene_is_downloaded_as_a_web_page(person, workspace):
    person.step("6 Results")
    person.page.click("#get-html")
    person.job("results-jobs", "done")
    with person.page.expect_download() as waiting:
        person.page.locator("#download a").first.click()
    text = waiting.value.path().read_text()
    assert text.startswith("<!DOCTYPE html>") and waiting.value.suggested_filename.endswith(".html")
    about = json.loads(text.split('id="description">')[1].split("</script>")[0])
    assert about["splats"]["count"] > 1200
