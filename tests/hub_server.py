"""A local stand-in for the Hugging Face Hub: an HTTP server that stores files and serves them.

It answers the requests with which huggingface_hub creates a repository, commits files (small ones within the commit,
weights and pictures through Git LFS, as on the Hub without the Xet protocol) and downloads them.
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
    """The server. `repositories` maps names to files by path, `lfs` maps SHA-256 to uploaded files."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.lfs: dict[str, bytes] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, name: str) -> str:
        """Return a hash of the content, which stands for that of a commit."""
        files = sorted(self.repositories[name].items())
        return hashlib.sha1(
            repr([(path, hashlib.sha256(data).hexdigest()) for path, data in files]).encode()
        ).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *values: Any) -> None:
        self.server.requests.append(format % values)

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

    def _send_json(self, answer: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(answer).encode(), status, {"Content-Type": "application/json"} | (headers or {}))

    def do_PUT(self) -> None:  # noqa: N802
        content = self._body()
        self.server.lfs[hashlib.sha256(content).hexdigest()] = content
        self._send(b"")

    def do_POST(self) -> None:  # noqa: N802
        body = self._body()
        parts = self.path.strip("/").split("/")
        if self.path == "/api/repos/create":
            request = json.loads(body)
            name = "/".join(part for part in (request.get("organization", "somebody"), request["name"]) if part)
            self.server.repositories.setdefault(name, {})
            self._send_json({"url": f"{self.server.url}/{name}", "name": name, "id": name})
        elif self.path == "/api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
        elif self.path.endswith(".git/info/lfs/objects/batch"):
            self._send_json({"objects": [self._upload(item) for item in json.loads(body)["objects"]]})
        elif "preupload" in parts:
            self._send_json({"files": [self._upload_mode(file["path"]) for file in json.loads(body)["files"]]})
        elif "commit" in parts:
            self._commit("/".join(parts[2:4]), body)
        else:
            self._send_json({"error": f"not supported: {self.path}"}, 404)

    def _upload(self, item: dict[str, Any]) -> dict[str, Any]:
        return item | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}", "header": {}}}}

    def _upload_mode(self, path: str) -> dict[str, Any]:
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
        self._send_json(
            {"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit, "success": True}
        )

    def _read(self) -> None:
        name, found, path = self.path.strip("/").partition("/resolve/main/")
        content = self.server.repositories.get(name, {}).get(path)
        if not found or name not in self.server.repositories:
            self._send_json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        elif content is None:
            self._send_json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            tag = hashlib.sha256(content).hexdigest()
            self._send(content, 200, {"X-Repo-Commit": self.server.commit(name), "ETag": f'"{tag}"'})

    do_GET = do_HEAD = _read  # noqa: N815


@contextmanager
def hub() -> Iterator[Hub]:
    """Run a Hub within the block."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
