"""An inpainter over HTTP paints what it paints at home, and whatever goes wrong ends in a sentence."""

import contextlib
import re
import socket
import threading
import time
from dataclasses import replace

import msgspec
import pytest
import torch
import trustme
from hypothesis import given
from hypothesis import strategies as st

from nerf_insert.cli.main import main
from nerf_insert.errors import InputError, RunError
from nerf_insert.geometry.cameras import Camera
from nerf_insert.geometry.mesh import Mesh
from nerf_insert.inpaint.api import EditContext, Inpainter, InpaintView
from nerf_insert.inpaint.guide import Guide
from nerf_insert.inpaint.registry import load_inpainter
from nerf_insert.inpaint.remote import client as remote_client
from nerf_insert.inpaint.remote import messages
from nerf_insert.inpaint.remote.client import TOKEN
from nerf_insert.inpaint.remote.server import Service, application
from nerf_insert.io.images import read_image
from nerf_insert.regions import BoxRegion, MeshRegion, UnionRegion
from nerf_insert.runtime.progress import SILENT, Progress
from nerf_insert.scene.scene import Scene

SIZE = (6, 8)


class Told(Progress):
    def __init__(self):
        super().__init__()
        self.lines = []

    def say(self, text):
        self.lines.append(text)

    warn = say


class Noise(Inpainter):
    """Noise of the seed, mixed with all that it is given; it has attributes of its own."""

    rounds, batch, consistent, uses_render, blend_width = 2, 3, True, "mask", 0.125

    def __init__(self):
        self.contexts = []

    def check(self, guide):
        if guide.prompt == "impossible":
            raise InputError("this prompt cannot be painted: write another")
        self.settled = {"model": "noise-1"}

    def prepare(self, context):
        context.progress.say("Painting with noise.")
        context.progress.warn("noise is loud")
        self.contexts.append(context)

    def inpaint(self, views, guide, *, strength, seed):
        if guide.prompt == "break":
            raise RuntimeError("the model broke")
        random = torch.Generator().manual_seed(seed)
        mesh = guide.mesh.vertices.mean() if guide.mesh is not None else 0.0
        return [
            (
                strength * torch.rand(view.image.shape, generator=random)
                + view.image * view.mask[..., None]
                + view.original / 3
                + view.depth.isinf()[..., None] * guide.references[0].mean()
                + mesh
                + view.camera.c2w.sum()
            )
            / 9
            for view in views
        ]


def view(name="images/000.png", exact=False):
    random = torch.Generator().manual_seed(len(name))
    image = torch.rand(*SIZE, 3, generator=random)
    photograph = (torch.rand(*SIZE, 3, generator=random) * 255).round() / 255
    depth = torch.where(torch.rand(SIZE, generator=random) < 0.5, torch.inf, 2.5)
    camera = Camera(torch.eye(3, 4), 9.0, 9.0, 4.0, 3.0, SIZE[1], SIZE[0], (0.1, 0.0, 0.0, 0.0, 0.0, 0.0))
    return InpaintView(name, image, photograph, torch.rand(SIZE, generator=random) < 0.4, depth, camera)


def guide(prompt="a hat"):
    triangle = Mesh.plain(torch.rand(3, 3), torch.arange(3)[None])
    return Guide(prompt, "", (torch.rand(5, 4, 3),), triangle)


def context(progress=SILENT, region=None):
    return EditContext(None, region or BoxRegion([0, 0, 0], [1, 1, 1]), guide(), (), 5, progress, 0.75)


@contextlib.contextmanager
def listening(service, token="", port=0, tls=None):
    """Serve in a thread of this process; the URL."""
    import uvicorn

    files = {}
    if tls:
        files = {"ssl_certfile": tls}
    config = uvicorn.Config(application(service, token), log_level="error", **files)
    config.load()
    server = uvicorn.Server(config)
    bound = socket.create_server(("127.0.0.1", port))
    thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        bound.close()


@pytest.fixture
def noise():
    inpainter = Noise()
    with listening(Service(inpainter, "noise", SILENT)) as url:
        yield inpainter, url


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Nothing waits long between two attempts."""
    monkeypatch.setattr(remote_client, "LONGEST_WAIT", 0.05)


def test_it_paints_what_it_paints_at_home(noise):
    served, url = noise
    told, remote = Told(), load_inpainter(url)
    remote.check(guide())
    region = UnionRegion(
        [
            BoxRegion([0, 0, 0], [1, 1, 1]),
            MeshRegion(Mesh.plain(torch.rand(4, 3), torch.tensor([[0, 1, 2], [1, 2, 3]])), 0.1),
        ]
    )
    remote.prepare(context(told, region))
    assert (remote.rounds, remote.batch, remote.consistent) == (2, 3, True)
    assert (remote.uses_render, remote.blend_width) == ("mask", 0.125)
    assert remote.settled == {"serves": "noise model=noise-1"}
    assert told.lines == [f"{url}: Painting with noise.", f"{url}: noise is loud"]
    (seen,) = served.contexts
    points = torch.rand(500, 3) * 2 - 0.5
    assert torch.equal(seen.region.contains(points), region.contains(points))
    assert (seen.seed, seen.strength) == (5, 0.75)
    views, wanted = [view(), view("images/1.png")], guide()
    ours = remote.inpaint(views, wanted, strength=0.5, seed=3)
    theirs = Noise().inpaint(views, wanted, strength=0.5, seed=3)
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["bytes", "floats", "wild", "empty"]))
def test_no_bit_of_a_tensor_is_lost(seed, kind):
    random = torch.Generator().manual_seed(seed)
    values = torch.rand(3, 4, 3, generator=random)
    if kind == "bytes":
        values = torch.randint(0, 256, (3, 4, 3), generator=random).float() / 255
    elif kind == "wild":
        values = torch.tensor([torch.inf, -torch.inf, 0.0, -0.0, 1e-45, 3e38])[None, :, None].expand(2, 6, 3)
    elif kind == "empty":
        values = values[:0]
    again = messages.decode(messages.encode(messages.Painted([values])), messages.Painted).images[0]
    assert again.shape == values.shape and torch.equal(again, values)


def test_an_edit_with_it_makes_the_same_layer_as_one_without(scene_folder, tmp_path):
    """The whole command line; the painted views are the same files."""
    flags = ["--box", "0.5,-0.4,0.25,0.4,0.4,0.4", "--steps", "10", "--rounds", "1"]
    with listening(Service(load_inpainter("painters:Seeded"), "seeded", SILENT)) as url:
        assert main(["edit", str(scene_folder), *flags, "--inpainter", url, "--quiet"]) == 0
    assert main(["edit", str(scene_folder), *flags, "--inpainter", "painters:Seeded", "--quiet"]) == 0
    ours, theirs = (scene_folder / "layers" / entry.folder for entry in Scene.open(scene_folder).layers)
    painted = sorted(path.relative_to(ours) for path in ours.glob("painted/*/*.png"))
    assert painted
    for path in painted:
        assert torch.equal(read_image(ours / path)[0], read_image(theirs / path)[0])
    assert "serves: seeded" in (ours / "recipe.yaml").read_text()


def test_what_is_wrong_with_the_input_is_said(noise):
    _, url = noise
    remote = load_inpainter(url)
    with pytest.raises(InputError, match="this prompt cannot be painted: write another"):
        remote.check(guide("impossible"))
    remote.prepare(context())
    with pytest.raises(RunError, match="RuntimeError: the model broke"):
        remote.inpaint([view()], guide("break"), strength=1.0, seed=0)
    assert len(remote.inpaint([view()], guide(), strength=1.0, seed=0)) == 1  # and the server goes on


def test_an_inpainter_that_looks_at_the_scene_is_refused_before_any_work():
    with listening(Service(load_inpainter("mesh"), "mesh", SILENT)) as url:
        with pytest.raises(InputError, match="looks at the whole scene, which is on another machine"):
            load_inpainter(url).prepare(context())


def test_another_edit_or_a_new_server_is_prepared_again():
    inpainter, told = Noise(), Told()
    with listening(Service(inpainter, "noise", SILENT)) as url:
        first, second = load_inpainter(url), load_inpainter(url)
        first.prepare(context(told))
        second.prepare(replace(context(), seed=6))
        for remote in (first, second, first):
            assert len(remote.inpaint([view()], guide(), strength=1.0, seed=0)) == 1
        assert [seen.seed for seen in inpainter.contexts] == [5, 6, 5, 6, 5]
        assert len(told.lines) == 2  # what has been said is not said again
    port = int(url.rpartition(":")[2])
    with listening(Service(Noise(), "noise", SILENT), port=port):
        assert len(first.inpaint([view()], guide(), strength=1.0, seed=0)) == 1


def test_an_edit_does_not_go_on_with_another_inpainter(noise):
    _, url = noise
    with pytest.raises(InputError, match="serves noise model=noise-1, and the edit was begun with flux"):
        load_inpainter(url, {"serves": "flux"}).check(guide())


def test_a_server_that_comes_back_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = Told()
    remote = load_inpainter(f"http://127.0.0.1:{port}", {"attempts": 200})
    remote.progress = told

    def late():
        time.sleep(0.3)
        with listening(Service(Noise(), "noise", SILENT), port=port):
            answered.wait(20)

    answered = threading.Event()
    thread = threading.Thread(target=late, daemon=True)
    thread.start()
    remote.check(guide())
    answered.set()
    thread.join()
    assert "does not answer" in told.lines[0] and "trying again" in told.lines[0]


def test_a_server_that_stays_away_ends_in_a_sentence():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(RunError, match=r"does not answer .* run the same command again to resume"):
        load_inpainter(f"http://127.0.0.1:{port}", {"attempts": 2}).check(guide())


def answers(reply):
    """A server that answers every connection with these bytes and hangs up; its URL."""
    bound = socket.create_server(("127.0.0.1", 0))

    def talk():
        while True:
            try:
                connection, _ = bound.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                with contextlib.suppress(OSError):
                    while b"\r\n\r\n" not in connection.recv(1 << 16):
                        pass
                    connection.sendall(reply)

    threading.Thread(target=talk, daemon=True).start()
    return bound, f"http://127.0.0.1:{bound.getsockname()[1]}"


OURS = b"HTTP/1.1 200 OK\r\n" + messages.VERSION_HEADER.encode() + b": 1\r\n"


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (b"", "does not answer"),
        (b"nonsense\r\n\r\n", "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "is no inpainter of NeRF-Insert"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "is no inpainter of NeRF-Insert"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "does not answer .HTTP 503"),
        (OURS + b"Content-Length: 5\r\n\r\nhello", "cannot be read: the message is damaged"),
        (OURS + b"Content-Length: 500\r\n\r\nhello", "does not answer"),  # the connection is cut
    ],
)
def test_rubbish_and_cut_connections_end_in_a_sentence(reply, message):
    bound, url = answers(reply)
    with bound, pytest.raises(RunError, match=message):
        load_inpainter(url, {"attempts": 2, "timeout": 5}).check(guide())


def test_an_endless_answer_is_cut(monkeypatch):
    monkeypatch.setattr(remote_client, "MAX_BYTES", 100_000)
    bound, url = answers(OURS + b"Content-Length: 900000\r\n\r\n" + b"x" * 900_000)
    with bound, pytest.raises(RunError, match="answers with more than"):
        load_inpainter(url, {"attempts": 1}).check(guide())


def test_tensors_that_lie_about_their_size_are_refused():
    bomb = messages.Array((1 << 20, 1 << 20), "uint8", False, b"")
    short = messages.Array((4, 4), "float32", False, b"x\x9c\x03\x00\x00\x00\x00\x01")
    for array in (bomb, short, messages.Array((-1,), "bool", False, b"")):
        with pytest.raises(InputError, match="the message is damaged"):
            messages.decode(msgspec.msgpack.encode({"images": [array]}), messages.Painted)


@pytest.mark.parametrize("path", ["lock", "prepare/", "", "__init__"])
def test_only_its_calls_can_be_called(noise, path):
    import httpx

    headers = {messages.VERSION_HEADER: "1"}
    assert httpx.post(f"{noise[1]}/{path}", content=b"", headers=headers).status_code in (307, 404)


def test_the_password_is_asked_for(monkeypatch, tmp_path):
    with listening(Service(Noise(), "noise", SILENT), token="open-sesame") as url:
        for wrong in ("", "open-says-me"):
            monkeypatch.setenv(TOKEN, wrong)
            with pytest.raises(InputError, match="refuses the password"):
                load_inpainter(url).check(guide())
        monkeypatch.setenv(TOKEN, "open-sesame")
        load_inpainter(url).check(guide())
        monkeypatch.delenv(TOKEN)
        (tmp_path / "token").write_text("open-sesame\n")
        load_inpainter(url, {"token_file": str(tmp_path / "token")}).check(guide())


def test_tls_with_a_certificate_of_ones_own(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    with listening(Service(Noise(), "noise", SILENT), tls=tmp_path / "server.pem") as url:
        load_inpainter(url, {"ca_file": str(tmp_path / "ca.pem")}).check(guide())
        with pytest.raises(InputError, match=r"is not trusted .* ca_file=FILE"):
            load_inpainter(url).check(guide())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("http://", {}, "is no address"),
        ("http://host:port", {}, "is no address"),
        ("https://me:secret@host", {}, "is no address"),
        ("http://host", {"timeout": 0}, "inpainter_options.timeout"),
        ("http://host", {"attempts": 1.5}, "inpainter_options.attempts"),
        ("http://host", {"token_file": "/nowhere"}, "token_file /nowhere cannot be read"),
        ("https://host", {"ca_file": "/nowhere"}, "ca_file /nowhere is no PEM file"),
        ("http://host", {"model": "flux"}, "inpainter_options has no"),
    ],
)
def test_wrong_addresses_and_options_are_explained(name, options, message):
    with pytest.raises(InputError, match=message):
        load_inpainter(name, options)


def test_the_page_does_not_take_addresses(monkeypatch):
    monkeypatch.setenv("NERF_INSERT_ONLY_REGISTERED", "1")
    with pytest.raises(InputError, match="there is no inpainter"):
        load_inpainter("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "there is no inpainter"),
        (["fill", "--model", "flux"], "a flag for diffusion models was given, but fill is served"),
        (["fill", "--tls-key", "key.pem"], "give that too, --tls-cert"),
        (["fill", "--token-file", "nowhere"], "cannot be read"),
        (["fill", "--tls-cert", "nowhere.pem"], "the certificate .* cannot be used"),
        (["fill", "--host", "256.0.0.1"], "cannot listen on 256.0.0.1"),
    ],
)
def test_a_server_that_cannot_start_says_why(words, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["serve-inpainter", *words]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_password_that_is_too_short_is_refused(capsys, tmp_path):
    (tmp_path / "token").write_text("short")
    assert main(["serve-inpainter", "fill", "--token-file", str(tmp_path / "token")]) == 2
    assert "at least 8 ASCII characters" in capsys.readouterr().err
