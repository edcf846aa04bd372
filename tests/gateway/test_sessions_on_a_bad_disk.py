"""A gateway of its own process whose sessions are on a disk that fills up, or is read-only: what its callers see.

The disk is a small one that is mounted for that process alone, and seen from here through ``/proc``.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest
import yaml
from raw_caller import Answer, caller
from scripted_upstream import DONE, Upstream, delta, says, streams, upstream

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

ROOT = Path(__file__).parents[2]
SESSION = "x-moltbot-session: talk"
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
ALONE = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
JOINED = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--preserve-credentials"]
STARTS_S = 30


def asks(words: str, **more: Any) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": words}], **more}


def heard(box: Upstream) -> list[str]:
    return [one["content"] for one in json.loads(box.asked[-1].body)["messages"]]


class Gateway:
    """*disk* is where its own disk is, as this process sees it."""

    def __init__(self, process: subprocess.Popen[bytes], mounted: Path, log: Path, port: int) -> None:
        self.disk = Path(f"/proc/{process.pid}/root{mounted}")
        self._process, self._mounted, self._log, self._port = process, mounted, log, port

    async def ask(self, body: Any, *headers: str, **request: Any) -> Answer:
        async with caller(self._port) as client:
            return await client.ask(body, *headers, **request)

    async def kept(self) -> list[str]:
        answer = await self.ask(None, path="/v1/sessions/talk/export", method="GET")
        assert answer.status == 200, answer.body
        return [json.loads(line)["messages"][-1]["parts"][0]["text"] for line in answer.body.splitlines()[1:]]

    async def ready(self) -> str:
        answer = await self.ask(None, path="/ready", method="GET")
        return str(answer.json["sessions"])

    def said(self, words: str) -> list[str]:
        """Lines of its log with *words*."""
        return [line for line in self._log.read_text().splitlines() if words in line]

    def fill(self) -> None:
        """Until nothing more goes onto the disk."""
        with (self.disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(512)):
                pass

    def mount(self, options: str) -> None:
        command = ["nsenter", "--target", str(self._process.pid), *JOINED, "mount", "-o", options, str(self._mounted)]
        subprocess.run(command, check=True)


def started(config: Path, mounted: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    begin = 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"'
    gateway = [sys.executable, "-m", "moltbot_edge", "serve", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [*ALONE, "sh", "-c", begin, "sh", str(mounted), *gateway]
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


@asynccontextmanager
async def serving(box: Upstream, folder: Path) -> AsyncIterator[Gateway]:
    mounted, log = folder / "disk", folder / "log"
    mounted.mkdir()
    settings = {
        "server": {"port": 0},
        "model_store": str(folder / "none"),
        "model_registry": [{"name": "chat", "endpoint": box.url, "type": "openai-chat"}],
        "sessions": {"path": str(mounted / "sessions")},
    }
    (folder / "moltbot.yaml").write_text(yaml.safe_dump(settings))
    with log.open("wb") as out, started(folder / "moltbot.yaml", mounted, out) as process:
        try:
            until = time.monotonic() + STARTS_S
            while "base URL" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                await asyncio.sleep(0.02)
            port = int(log.read_text().partition("base URL")[2].split("/v1")[0].rpartition(":")[2])
            yield Gateway(process, mounted, log, port)
        finally:
            process.terminate()
            process.wait(STARTS_S)


async def test_a_disk_that_is_full(tmp_path: Path) -> None:
    two = streams([delta("Two"), delta("."), FINISH, DONE])
    async with (
        upstream(says("One."), two, says("Three."), says("Four.")) as box,
        serving(box, tmp_path) as gateway,
    ):
        assert (await gateway.ask(asks("first"), SESSION)).status == 200
        gateway.fill()
        second = await gateway.ask(asks("second" * 500, stream=True), SESSION)
        assert second.status == 200
        assert second.data[-1] == b"[DONE]"
        third = await gateway.ask(asks("third" * 500), SESSION)
        assert third.json["choices"][0]["message"]["content"] == "Three."
        assert heard(box) == ["first", "One.", "second" * 500, "Two.", "third" * 500]
        assert await gateway.ready() == "session_store_full"
        (said,) = gateway.said("ERROR")
        assert "no space is left" in said
        assert "make room" in said
        (gateway.disk / "ballast").unlink()
        assert (await gateway.ask(asks("fourth"), SESSION)).status == 200
        assert heard(box)[-3:] == ["third" * 500, "Three.", "fourth"]
        assert await gateway.kept() == ["first", "second" * 500, "third" * 500, "fourth"]
        assert await gateway.ready() == "ok"


async def test_a_disk_that_is_read_only(tmp_path: Path) -> None:
    """What is said meanwhile is kept once the disk can be written."""
    async with upstream(says("One.")) as box, serving(box, tmp_path) as gateway:
        gateway.mount("remount,ro")
        for words in ("first", "second"):
            answer = await gateway.ask(asks(words), SESSION)
            assert (answer.status, answer.header("x-moltbot-dropped")) == (200, "session")
        assert heard(box) == ["first", "One.", "second"]
        assert (await gateway.ask(asks("without a session"))).status == 200
        begun = await gateway.ask({"model": "chat", "input": "alone", "store": True}, path="/v1/responses")
        assert begun.status == 200
        (said,) = gateway.said("ERROR")
        assert "is read-only" in said
        gateway.mount("remount,rw")
        await asyncio.sleep(1.1)  # it asks again within a second
        assert (await gateway.ask(asks("third"), SESSION)).header("x-moltbot-dropped") is None
        assert heard(box) == ["first", "One.", "second", "One.", "third"]
        assert await gateway.kept() == ["first", "second", "third"]
        assert await gateway.ready() == "ok"
