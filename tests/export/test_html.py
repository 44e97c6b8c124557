"""Scenes as web pages: what headless Chromium draws of them, by WebGL in software, beside our own renders.

`CLOSE`: both draw the same splats by the same formulas, in floats of 32 bits. What remains is what the page
rounds: the splats (scales to 1/64 of a power of e, opacities to 8 bits, directional colors to 8 bits), the
sums (half floats, 11 bits), the order of splats whose depths agree to 2^-12, and the 8 bits of the screen.
On real splats 58 to 67 dB were seen.
"""

import base64
import io
import json
import math
import re
from dataclasses import replace

import browsing
import numpy as np
import pytest
import torch
from PIL import Image

from nerf_insert.capture.camera_paths import look_at
from nerf_insert.capture.transforms_writer import camera_fields
from nerf_insert.cli.main import main
from nerf_insert.errors import InputError
from nerf_insert.export import web_splats
from nerf_insert.fields.layer import Layer
from nerf_insert.fields.splat_field import SplatField
from nerf_insert.geometry.cameras import Camera
from nerf_insert.io.files import write_json
from nerf_insert.regions import BoxRegion
from nerf_insert.rendering.stack import LayerStack
from nerf_insert.scene.adopt_splats import adopt_splats
from nerf_insert.scene.scene import LayerEntry, Scene
from nerf_insert.splats.files import read_splats, write_splats
from nerf_insert.splats.splats import Splats

needs_browser = pytest.mark.skipif(browsing.CHROMIUM is None, reason=browsing.NO_BROWSER)
CLOSE = 50.0  # dB
WIDTH, HEIGHT = 320, 240
UP = torch.nn.functional.normalize(torch.tensor([0.5, -0.8, 0.33]), dim=0)
TARGET = torch.tensor([0.2, 0.1, -0.1])


def cloud(count=1500, seed=3) -> Splats:
    """Splats of all shapes, sizes and opacities, with strong colors of the third degree; a few far off."""
    rng = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=rng) * 0.4 + TARGET
    means[:20] *= 300
    sh = torch.randn(count, 16, 3, generator=rng) * 0.25
    return Splats(
        means,
        0.9 * torch.randn(count, 3, generator=rng) - 4.7,
        torch.randn(count, 4, generator=rng),
        torch.randn(count, generator=rng) * 2 + 2,
        sh,
    )


def camera_at(eye, target=TARGET) -> Camera:
    pose = look_at(torch.as_tensor(eye), target, UP).float()
    return Camera(pose, 260.0, 250.0, WIDTH / 2, HEIGHT / 2, WIDTH, HEIGHT)


CAMERAS = {
    "images/0000.png": camera_at((1.7, 0.4, 0.8)),
    "images/0001.png": camera_at((-0.2, 1.1, 1.2)),
    "images/0002.png": camera_at((0.3, 0.0, 0.1)),  # among the splats
}
FIRST = CAMERAS["images/0000.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two scenes of the same splats, one as if they were trained antialiased; their up is no axis."""
    folder = tmp_path_factory.mktemp("html")
    write_splats(folder / "cloud.ply", cloud())
    frames = [
        {
            "file_path": name,
            "transform_matrix": [*camera.c2w.tolist(), [0.0, 0, 0, 1]],
            **camera_fields(camera),
        }
        for name, camera in CAMERAS.items()
    ]
    notes = {"camera_model": "OPENCV", "frames": frames}
    (folder / "cameras.json").write_text(json.dumps(notes))
    for name in ("plain", "antialiased"):
        adopted(folder, name, background=(0.1, 0.3, 0.2), antialiased=name != "plain")
    return folder


def adopted(folder, name, **options):
    adopt_splats(folder / "cloud.ply", folder / name, cameras=folder / "cameras.json", **options)
    capture = folder / name / "capture" / "transforms.json"
    write_json(capture, json.loads(capture.read_text()) | {"up": UP.tolist()})
    return Scene.open(folder / name)


@pytest.fixture(scope="module")
def chromium():
    with browsing.browser() as running:
        yield running


@pytest.fixture
def come(chromium):
    """Open a page as a file; nothing but the file may be asked for, and nothing may go wrong."""
    contexts, requests, errors = [], [], []

    def arrive(file, browser=chromium, **options):
        contexts.append(browser.new_context(**{"viewport": {"width": WIDTH, "height": HEIGHT}, **options}))
        page = contexts[-1].new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri())
        page.wait_for_selector("canvas[data-state]")
        return page

    yield arrive
    for context in contexts:
        context.close()
    assert errors == []
    assert all(url.startswith(("file:///", "blob:", "data:")) for url in requests)
    assert sum(url.startswith("file:") for url in requests) == len(contexts)


def written(folder, scene="plain", *flags):
    out = folder / f"{scene}-{'-'.join(flags).replace('.', '').replace('/', '')}.html"
    assert main(["export", str(folder / scene), "html", "--out", str(out), "--quiet", *flags]) == 0
    return out


def seen(page):
    """The canvas once all is sorted for its camera, without what lies above it."""
    page.wait_for_timeout(60)  # the frame in which a move is taken up
    page.wait_for_selector("canvas[data-state=drawn]", timeout=browsing.SOON)
    page.evaluate("() => { document.querySelector('#keys').style.display = 'none'; }")
    page.evaluate("() => new Promise((go) => requestAnimationFrame(() => requestAnimationFrame(go)))")
    png = page.screenshot()
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))).float() / 255


def psnr(a, b):
    return -10 * math.log10(max(float((a - b).square().mean()), 1e-12))


def render(scene, camera):
    return LayerStack(scene.base).render_image(camera).rgb


def turned(eye, axis, degrees, about=TARGET):
    """Rodrigues' formula."""
    v, angle = torch.as_tensor(eye) - about, math.radians(degrees)
    cross, along = torch.linalg.cross(axis, v), axis * (axis @ v)
    return about + along + (v - along) * math.cos(angle) + cross * math.sin(angle)


# --- what is drawn


@needs_browser
@pytest.mark.parametrize("scene", ["plain", "antialiased"])
@pytest.mark.parametrize("view", CAMERAS)
def test_the_page_shows_what_the_scene_shows(folder, come, scene, view):
    page = come(written(folder, scene, "--view", view))
    expected = render(Scene.open(folder / scene), CAMERAS[view])
    assert psnr(seen(page), expected) > CLOSE
    assert expected.std() > 0.1


@needs_browser
def test_the_antialiased_scene_differs(folder):
    """Else the test above could not tell whether the page compensates."""
    images = [render(Scene.open(folder / name), FIRST) for name in ("plain", "antialiased")]
    assert psnr(*images) < CLOSE - 10


@needs_browser
def test_a_screen_with_small_pixels_shows_more_of_them(folder, come):
    page = come(written(folder), device_scale_factor=2)
    assert psnr(seen(page), render(Scene.open(folder / "plain"), FIRST.scaled(2.0))) > CLOSE


@needs_browser
def test_a_wider_window_shows_more_to_the_sides(folder, come):
    page = come(written(folder))
    seen(page)
    page.set_viewport_size({"width": WIDTH + 80, "height": HEIGHT})
    camera = FIRST
    wider = replace(camera, width=WIDTH + 80, cx=camera.cx + 40)
    assert psnr(seen(page), render(Scene.open(folder / "plain"), wider)) > CLOSE


@needs_browser
def test_edits_are_in_it(folder, come):
    """It shows the splats that the export as splats writes."""
    scene = adopted(folder, "edited")
    box = BoxRegion((0.2, 0.1, -0.1), (0.7, 0.7, 0.7))
    home = scene.folder / "layers" / "001-box"
    write_json(home / "region" / "region.json", box.save(home / "region"))
    Layer(box, density_bias=4.0).save(home / "field.safetensors")
    scene.add(LayerEntry("001-box", "box"))
    fit = ["--splats", "500", "--steps", "3"]
    page = come(written(folder, "edited", *fit))
    file = folder / "edited.ply"
    assert main(["export", str(scene.folder), "splat", "--out", str(file), "--quiet", *fit]) == 0
    splats, _ = read_splats(file)
    shown = seen(page)
    assert psnr(shown, render_splats(splats)) > CLOSE
    assert psnr(shown, render_splats(cloud())) < CLOSE - 10
    alone = come(written(folder, "edited", *fit, "--layer", "1"))
    assert (
        main(["export", str(scene.folder), "splat", "--out", str(file), "--quiet", *fit, "--layer", "1"]) == 0
    )
    assert psnr(seen(alone), render_splats(read_splats(file)[0])) > CLOSE


def render_splats(splats):
    return LayerStack(SplatField(splats, 1.0)).render_image(FIRST).rgb


# --- moving


@needs_browser
def test_keys_turn_and_zoom_about_what_is_up(folder, come):
    scene, page = Scene.open(folder / "plain"), come(written(folder))
    seen(page)
    eye = FIRST.center
    middle = scene.capture.center_of_attention
    forward = -FIRST.c2w[:, 2]
    target = eye + forward * ((middle - eye) @ forward)
    for _ in range(5):
        page.keyboard.press("ArrowLeft")  # the camera goes to the right, 6 degrees each
    eye = turned(eye, UP, 30, target)
    assert psnr(seen(page), render(scene, camera_at(eye, target))) > CLOSE
    page.keyboard.press("ArrowUp")
    away = eye - target
    eye = turned(eye, torch.nn.functional.normalize(torch.linalg.cross(away, UP), dim=0), 5, target)
    page.keyboard.press("+")
    eye = target + 0.9 * (eye - target)
    assert psnr(seen(page), render(scene, camera_at(eye, target))) > CLOSE
    page.keyboard.press("Home")
    assert psnr(seen(page), render(scene, FIRST)) > CLOSE


@needs_browser
def test_the_mouse_turns_moves_and_zooms(folder, come):
    scene, page = Scene.open(folder / "plain"), come(written(folder))
    before = seen(page)
    camera = FIRST
    forward = -camera.c2w[:, 2]
    depth = (scene.capture.center_of_attention - camera.center) @ forward
    target = camera.center + forward * depth

    def drag(dx, dy, **how):
        page.mouse.move(100, 100)
        page.mouse.down(**how)
        page.mouse.move(100 + dx, 100 + dy, steps=4)
        page.mouse.up(**how)

    drag(40, 0)  # 0.006 radians a pixel; the scene follows, so the camera goes to the left
    eye = turned(camera.center, UP, -math.degrees(0.24), target)
    assert psnr(seen(page), render(scene, camera_at(eye, target))) > CLOSE
    page.keyboard.press("Home")
    drag(30, -20, button="right")  # what lies at the target's depth follows the pointer
    right, up = camera.c2w[:, 0], camera.c2w[:, 1]
    shift = (-30 / 260 * right - 20 / 250 * up) * depth
    assert psnr(seen(page), render(scene, camera_at(camera.center + shift, target + shift))) > CLOSE
    page.keyboard.press("Home")
    page.mouse.wheel(0, 200)
    eye = target + math.exp(0.24) * (camera.center - target)
    assert psnr(seen(page), render(scene, camera_at(eye, target))) > CLOSE
    page.keyboard.press("Home")
    assert psnr(seen(page), before) > 60  # as at first, to the order of splats that are equally far


@needs_browser
def test_two_fingers_zoom_about_their_middle(folder, come):
    scene, page = Scene.open(folder / "plain"), come(written(folder), has_touch=True)
    seen(page)
    touch = page.context.new_cdp_session(page)

    def fingers(kind, *places):
        points = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", (140, 120), (180, 120))
    for k in range(1, 9):
        fingers("touchMove", (140 - 5 * k, 120), (180 + 5 * k, 120))
    fingers("touchEnd")
    camera = FIRST
    forward = -camera.c2w[:, 2]
    target = camera.center + forward * ((scene.capture.center_of_attention - camera.center) @ forward)
    eye = target + 40 / 120 * (camera.center - target)
    # the fingers move one after the other, each by 5 pixels, and what they pan cancels out only about
    assert psnr(seen(page), render(scene, camera_at(eye, target))) > 25
    assert psnr(render(scene, camera), render(scene, camera_at(eye, target))) < 20


# --- what can go wrong


@needs_browser
def test_the_view_comes_back_with_the_graphics(folder, come):
    page = come(written(folder))
    before = seen(page)
    page.evaluate(
        "() => { const gl = document.querySelector('canvas').getContext('webgl2');"
        " window.taken = gl.getExtension('WEBGL_lose_context'); taken.loseContext(); }"
    )
    page.wait_for_selector("canvas[data-state=lost]")
    assert "taken the graphics away" in page.inner_text("#words")
    page.keyboard.press("ArrowLeft")
    page.evaluate("() => window.taken.restoreContext()")
    page.wait_for_selector("#words:empty", state="attached")
    page.keyboard.press("Home")
    assert psnr(seen(page), before) > 60


@needs_browser
def test_without_webgl_the_page_says_what_to_do(folder, come, chromium):
    flags = [*browsing.FLAGS, browsing.NO_WEBGL]
    without = chromium.browser_type.launch(executable_path=browsing.CHROMIUM, args=flags)
    page = come(written(folder), without)
    page.wait_for_selector("canvas[data-state=failed]")
    assert "hardware acceleration" in page.inner_text("#words")
    without.close()


@needs_browser
def test_a_page_that_was_cut_off_says_so(folder, come):
    whole = written(folder).read_text()
    data = re.search(r'class="splats">([^<]*)<', whole).group(1)
    cut = folder / "cut.html"
    cut.write_text(whole.replace(data, data[: len(data) // 8 * 4]))
    page = come(cut)
    page.wait_for_selector("canvas[data-state=failed]")
    assert page.inner_text("#words").strip()


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--out", "page.png"], "a web page is written as .html or .htm"),
        (["--out", "page.html", "--view", "z.png"], "z.png"),
        (["--out", "page.html", "--layer", "2"], "no layer 2"),
        (["--out", "page.html", "--points", "9"], "--points is for pointcloud"),
        (["--out", "no-such-folder/page.html/x.html"], "no-such-folder"),
    ],
)
def test_what_cannot_be_written_is_said(folder, tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-such-folder").mkdir()
    (tmp_path / "no-such-folder" / "page.html").touch()
    assert main(["export", str(folder / "plain"), "html", *flags]) != 0
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("page.*"))


def test_the_size_is_told_and_a_title_cannot_break_the_page(folder, tmp_path, capsys):
    scene = tmp_path / "<script>@data@"
    (folder / "plain").rename(scene)
    try:
        out = tmp_path / "page.html"
        assert main(["export", str(scene), "html", "--out", str(out), "--json"]) == 0
    finally:
        scene.rename(folder / "plain")
    answer = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert answer["bytes"] == out.stat().st_size and answer["kept"] == answer["splats"] == 1500
    text = out.read_text()
    assert "&lt;script&gt;@data@" in text and "<script>@data@" not in text
    assert len(re.findall("https?://", text)) == 0


# --- packing


def test_the_least_visible_splats_are_left_out_of_too_many(monkeypatch):
    splats = cloud(400)
    monkeypatch.setattr(web_splats, "MAX_SPLATS", 100)
    with pytest.warns(match="at most 100 splats: .* are left out"):
        packed = web_splats.pack_splats(splats, torch.zeros(3), torch.zeros(400, dtype=torch.bool))
    assert packed.about["count"] == len(packed.words) == 100
    area = splats.opacities * splats.scales.prod(1) / splats.scales.amin(1)
    opacities = (packed.words[:, 5] >> 16 & 255) / 255
    logs = packed.words[:, 4:6].copy().view(np.int16).reshape(-1, 4)[:, :3] / 64
    smallest = np.exp(logs.sum(1) - logs.min(1)) * opacities
    assert smallest.min() > float(area.sort().values[-100]) * 0.93  # scales and opacities are rounded


def test_transparent_splats_are_left_out():
    splats = cloud(50)
    splats.opacity_logits[10:] = -9
    packed = web_splats.pack_splats(splats, torch.zeros(3), torch.zeros(50, dtype=torch.bool))
    assert packed.about["count"] <= 10
    splats.opacity_logits[:] = -9
    with pytest.raises(InputError, match="none of the splats can be seen"):
        web_splats.pack_splats(splats, torch.zeros(3), torch.zeros(50, dtype=torch.bool))


def test_data_is_written_in_whole_groups_of_base64(monkeypatch):
    """So that each script element can be decoded by itself."""
    monkeypatch.setattr(web_splats, "CHUNK", 3000)
    packed = web_splats.pack_splats(cloud(), torch.zeros(3), torch.zeros(1500, dtype=torch.bool))
    parts = list(packed.deflated())
    assert len(parts) > 5 and {len(part) for part in parts[:-1]} == {3000}
    assert all(not base64.b64encode(part).endswith(b"=") for part in parts[:-1])
