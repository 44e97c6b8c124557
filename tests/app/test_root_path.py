"""The page behind a proxy that serves it under a path and takes the path off."""

import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import browsing
import pytest

from nerf_insert.capture.bundled_sample import sample_path

PREFIX = "/on/nerf"


class Proxy(BaseHTTPRequestHandler):
    upstream = ""
    strayed: ClassVar[list[str]] = []

    def forward(self):
        if not self.path.startswith(PREFIX + "/"):
            self.strayed.append(self.path)
            self.send_error(404)
            return
        length = int(self.headers.get("Content-Length") or 0)
        kept = {
            name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")
        }
        request = urllib.request.Request(
            self.upstream + self.path.removeprefix(PREFIX),
            data=self.rfile.read(length) if length else None,
            headers={**kept, "Host": self.headers["Host"]},
            method=self.command,
        )
        try:
            answer = urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            answer = error
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.end_headers()  # HTTP/1.0: the end of the answer is the end of the connection
        while chunk := answer.read1(1 << 16):
            self.wfile.write(chunk)
            self.wfile.flush()

    do_GET = do_POST = do_HEAD = forward

    def log_message(self, *args):
        pass


@pytest.fixture
def address(tmp_path):
    running = browsing.Server(tmp_path, "--root-path", PREFIX + "/", here=tmp_path)
    Proxy.upstream, Proxy.strayed = running.url.rstrip("/"), []
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{proxy.server_port}{PREFIX}/"
    proxy.shutdown()
    assert running.end() == 0


def test_the_page_calls_its_own_path_only(address):
    from gradio_client import Client, handle_file

    page = urllib.request.urlopen(address).read().decode()
    assert f'"root":"{address.rstrip("/")}"' in page.replace('": "', '":"')
    client = Client(address, verbose=False)
    scene = client.predict(api_name="/open_sample")["scene"]
    mesh = handle_file(sample_path() / "object.ply")  # an upload
    pose = client.predict(scene, "placing012345678", mesh, {}, api_name="/set_mesh")
    assert set(pose) >= {"translate", "rotate", "scale"}
    assert Proxy.strayed == []
