"""A small Debian archive of source packages on loopback: real packages, a real index, real apt. Not a test."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTROL = """\
Source: {name}
Section: libs
Priority: optional
Maintainer: Nobody <nobody@example.invalid>
Standards-Version: 4.7.2

Package: {name}
Architecture: any
Description: nothing
"""
CHANGELOG = """\
{name} ({version}) trixie; urgency=medium

  * Something.

 -- Nobody <nobody@example.invalid>  Mon, 02 Jun 2025 12:00:00 +0000
"""


class Archive:
    """*asked* are the paths that were requested, in order. What is not announced is in no index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "archive"
        self.folder.mkdir()
        self.scratch = folder / "scratch"
        self.asked: list[str] = []
        self.url = ""
        self.announced_at = 1_748_865_600  # 2025-06-02 12:00:00 UTC

    @property
    def line(self) -> str:
        """Of a sources list. Trusted, for it is not signed."""
        return f"deb-src [trusted=yes] {self.url} ./"

    def add(self, name: str, version: str, content: str) -> None:
        """A package with one file, ``part.c``, whose content is *content*."""
        tree = self.scratch / f"{name}-{version}"
        (tree / "debian/source").mkdir(parents=True)
        (tree / "debian/source/format").write_text("3.0 (native)\n")
        (tree / "debian/control").write_text(CONTROL.format(name=name))
        (tree / "debian/changelog").write_text(CHANGELOG.format(name=name, version=version))
        (tree / "part.c").write_text(content)
        subprocess.run(["dpkg-source", "-q", "-b", str(tree)], cwd=self.folder, check=True)
        self.announce()

    def withdraw(self, name: str, version: str) -> None:
        for file in self.folder.glob(f"{name}_{version}.*"):
            file.unlink()
        self.announce()

    def lose_files(self, name: str, version: str) -> None:
        """The index goes on naming them."""
        for file in self.folder.glob(f"{name}_{version}.*"):
            file.unlink()

    def announce(self) -> None:
        scanned = subprocess.run(["dpkg-scansources", "."], cwd=self.folder, check=True, capture_output=True, text=True)
        (self.folder / "Sources").write_text(scanned.stdout)
        content = scanned.stdout.encode()
        (self.folder / "Release").write_text(
            "Date: Mon, 02 Jun 2025 12:00:00 UTC\nSuite: trixie\nSHA256:\n"
            f" {hashlib.sha256(content).hexdigest()} {len(content)} Sources\n"
        )
        # Two in one second would have one Last-Modified, and apt would be told that nothing has changed.
        self.announced_at += 1
        for file in ("Sources", "Release"):
            os.utime(self.folder / file, (self.announced_at, self.announced_at))

    def sha256(self, name: str, version: str) -> dict[str, str]:
        files = sorted(self.folder.glob(f"{name}_{version}.*"))
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@contextmanager
def serve(folder: Path) -> Iterator[Archive]:
    archive = Archive(folder)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **keywords: object) -> None:
            super().__init__(*arguments, directory=str(archive.folder), **keywords)  # type: ignore[arg-type]

        def do_GET(self) -> None:
            archive.asked.append(self.path)
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    archive.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        shutil.rmtree(archive.scratch, ignore_errors=True)
