"""A Hub on this machine: an HTTP server that keeps what huggingface_hub sends, and gives it back.

It answers the requests that huggingface_hub makes to create a repository, to commit files to it (small ones within the
commit, weights and pictures through Git LFS, as the Hub has it without its own Xet protocol) and to download them.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGE = (".safetensors", ".png")


class Hub(ThreadingHTTPServer):
    """Repositories by name: their files by path; and what was uploaded to LFS by SHA-256."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.lfs: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, name: str) -> str:
        """A number that changes with the content, as a commit's does."""
        files = sorted(self.repositories[name].items())
        return hashlib.sha1(
            repr([(path, hashlib.sha256(data).hexdigest()) for path, data in files]).encode()
        ).hexdigest()


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *values: Any) -> None:
        self.server.asked.append(format % values)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, content: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _say(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(answer).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def do_PUT(self) -> None:  # noqa: N802
        content = self._body()
        self.server.lfs[hashlib.sha256(content).hexdigest()] = content
        self._send(b"")

    def do_POST(self) -> None:  # noqa: N802
        body = self._body()
        parts = self.path.strip("/").split("/")
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = "/".join(part for part in (asked.get("organization", "somebody"), asked["name"]) if part)
            self.server.repositories.setdefault(name, {})
            self._say({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":
            self._say({"errors": [], "warnings": []})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self._say({"objects": [self._upload(each) for each in json.loads(body)["objects"]]})
        elif "preupload" in parts:
            self._say({"files": [self._mode(each["path"]) for each in json.loads(body)["files"]]})
        elif "commit" in parts:
            self._commit("/".join(parts[2:4]), body)
        else:
            self._say({"error": f"not answered here: {self.path}"}, 404)

    def _upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        return asked | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{asked['oid']}", "header": {}}}}

    def _mode(self, path: str) -> dict[str, Any]:
        return {"path": path, "uploadMode": "lfs" if path.endswith(LARGE) else "regular", "shouldIgnore": False}

    def _commit(self, name: str, body: bytes) -> None:
        files = self.server.repositories[name]
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.lfs[value["oid"]]
        commit = self.server.commit(name)
        self._say({"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def _read(self) -> None:
        name, found, path = self.path.strip("/").partition("/resolve/main/")
        content = self.server.repositories.get(name, {}).get(path)
        if not found or name not in self.server.repositories:
            self._say({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif content is None:
            self._say({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            tag = hashlib.sha256(content).hexdigest()
            self._send(content, 200, {"X-Repo-Commit": self.server.commit(name), "ETag": f'"{tag}"'})

    do_GET = do_HEAD = _read  # noqa: N815


@contextmanager
def hub() -> Iterator[Hub]:
    """A Hub that is there while the block runs."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
