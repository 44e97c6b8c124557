"""A model hub on this machine: the few requests of the Hugging Face hub that downloads make."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves FOLDER/OWNER/NAME/... as repositories. `gated` ones are refused, `asked` lists the requests."""

    def __init__(self, folder, gated=()):
        self.folder, self.gated, self.asked = Path(folder), set(gated), []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _handler(hub):
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                self.answer(True)

            def do_HEAD(self):
                self.answer(False)

            def answer(self, with_body):
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(path)
                parts = path.strip("/").split("/")
                if parts[:2] == ["api", "models"]:
                    return self.info("/".join(parts[2:4]), parts[4:5] == ["tree"], with_body)
                if parts[0] == "api":  # what the library asks besides
                    return self.send(404, b"{}", with_body, {})
                repository, rest = "/".join(parts[:2]), parts[4:]  # OWNER/NAME/resolve/REVISION/FILE
                file = hub.folder / repository / "/".join(rest)
                if repository in hub.gated:
                    return self.send(403, b"", with_body, {"X-Error-Code": "GatedRepo"})
                if not file.is_file():
                    return self.send(404, b"", with_body, {"X-Error-Code": "EntryNotFound"})
                data = file.read_bytes()
                tag = hashlib.sha256(data).hexdigest()
                self.send(200, data, with_body, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

            def info(self, repository, tree, with_body):
                folder = hub.folder / repository
                if not folder.is_dir():
                    return self.send(404, b"{}", with_body, {"X-Error-Code": "RepoNotFound"})
                files = {
                    p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()
                }
                listed = [
                    {"type": "file", "path": name, "size": file.stat().st_size, "oid": COMMIT}
                    for name, file in files.items()
                ]
                siblings = [{"rfilename": name} for name in files]
                data = listed if tree else {"id": repository, "sha": COMMIT, "siblings": siblings}
                self.send(200, json.dumps(data).encode(), with_body, {"Content-Type": "application/json"})

            def send(self, code, body, with_body, headers):
                self.send_response(code)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

        return Handler
