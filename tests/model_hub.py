"""A hub of models on loopback, as the Hugging Face hub answers, and the other host to which it leads. Not a test.

It can do what networks do: cut a reply, change a file, say nothing of lengths. Every request is kept with its headers.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from gguf_file import chat_model

PIECE = 256 * 1024
REPOSITORY = "someone/A-Model-GGUF"


def model_of(size: int, seed: int = 0) -> bytes:
    """A real header, then bytes that are no tensors; no two stretches of it alike."""
    head = chat_model()
    number = seed.to_bytes(8, "little")
    rest = b"".join(hashlib.sha256(number + at.to_bytes(8, "little")).digest() for at in range(0, size, 32))
    return (head + rest)[:size]


@dataclass
class Hub:
    """*files* are by path in `REPOSITORY`. What is redirected comes from `cdn`, another port and so another host."""

    files: dict[str, bytes] = field(default_factory=dict)
    plain: frozenset[str] = frozenset()  # paths that are served without a redirect, and without a checksum in the list
    cut_after: list[int] = field(default_factory=list)  # the next replies of files end after so many bytes
    ranges: bool = True
    etags: bool = True
    lengths: bool = True
    token: str | None = None  # that the hub wants
    page: int = 1000
    wrong_checksum: bool = False
    leads_on: bool = False  # to itself, in place of the other host
    pause_s: float = 0.0  # after each `PIECE` of a file
    busy: int = 0  # replies with a file, now
    statuses: list[int] = field(default_factory=list)  # the next replies of files are these errors
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # host, path, headers
    url: str = ""
    cdn: str = ""

    def gets(self, host: str = "cdn") -> list[dict[str, str]]:
        """The headers of each request for a file, as *host* got them."""
        return [headers for at, path, headers in self.asked if at == host and "/api/" not in path]


@contextmanager
def hub(**settings: object) -> Iterator[Hub]:
    model_hub = Hub(**settings)  # type: ignore[arg-type]
    with _served(model_hub, "hub") as model_hub.url, _served(model_hub, "cdn") as model_hub.cdn:
        yield model_hub


@contextmanager
def _served(model_hub: Hub, host: str) -> Iterator[str]:
    class Handler(_Handler):
        at = model_hub
        name = host

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    at: Hub
    name = ""

    def do_GET(self) -> None:
        at = self.at
        path, _, query = self.path.partition("?")
        path = unquote(path)
        at.asked.append((self.name, path, {key.lower(): value for key, value in self.headers.items()}))
        if self.name == "hub" and at.token is not None and self.headers.get("Authorization") != f"Bearer {at.token}":
            self._say(401, b"no token")
        elif path == f"/api/models/{REPOSITORY}/tree/main":
            self._list(query)
        elif self.name == "hub" and path.startswith(f"/{REPOSITORY}/resolve/main/"):
            self._resolve(path.removeprefix(f"/{REPOSITORY}/resolve/main/"))
        elif path.startswith("/files/") and path.removeprefix("/files/") in at.files:
            self._file(at.files[path.removeprefix("/files/")])
        else:
            self._say(404, b"<!doctype html>")

    def _list(self, query: str) -> None:
        at = self.at
        start = int(query.partition("cursor=")[2] or 0)
        entries = [{"type": "directory", "path": "folder", "size": 0, "oid": "0"}]
        for path, content in sorted(at.files.items()):
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(content), "oid": "0" * 40}
            if path not in at.plain:
                told = b"another" if at.wrong_checksum else content
                oid = hashlib.sha256(told).hexdigest()
                entry["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 133}
            entries.append(entry)
        page = entries[start : start + at.page]
        more = {}
        if start + at.page < len(entries):
            more = {
                "Link": f'<{at.url}{self.path.partition("?")[0]}?recursive=true&cursor={start + at.page}>; rel="next"'
            }
        self._say(200, json.dumps(page).encode(), more)

    def _resolve(self, path: str) -> None:
        at = self.at
        content = at.files.get(path)
        if content is None:
            self._say(404, b"Entry not found")
        elif path in at.plain:
            self._file(content)
        else:
            told = b"another" if at.wrong_checksum else content
            headers = {
                "Location": self.path if at.leads_on else f"{at.cdn}/files/{path}",
                "X-Linked-ETag": f'"{hashlib.sha256(told).hexdigest()}"',
                "X-Linked-Size": str(len(content)),
            }
            self._say(302, b"", headers)

    def _file(self, content: bytes) -> None:
        at = self.at
        if at.statuses:
            self._say(at.statuses.pop(0), b"later")
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        headers = {"ETag": etag} if at.etags else {}
        asked, condition = self.headers.get("Range", ""), self.headers.get("If-Range")
        start = 0
        if asked and at.ranges and condition in (None, etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self._say(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        self.send_response(206 if "Content-Range" in headers else 200)
        for key, value in headers.items():
            self.send_header(key, value)
        if at.lengths:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if at.cut_after:
            body = body[: at.cut_after.pop(0)]
            self.close_connection = True
        at.busy += 1
        try:
            for start in range(0, len(body), PIECE):
                self.wfile.write(body[start : start + PIECE])
                if at.pause_s:
                    time.sleep(at.pause_s)
        except OSError:
            self.close_connection = True
        finally:
            at.busy -= 1

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...
