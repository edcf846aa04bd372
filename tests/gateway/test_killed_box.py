"""Three boxes under load, each a process of its own, and one of them is killed, stops, or fails at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from harness import Gateway, config, serving
from living import UNTIL_S, until
from raw_caller import QUESTION

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

CALLERS = 9
BOX = """
import http.server, json, signal, sys, time

class Box(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if fails:
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        time.sleep(0.03)
        body = json.dumps({"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 5}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said):
        pass

def turn(*signal):
    global fails
    fails = not fails

fails = False
signal.signal(signal.SIGUSR1, turn)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Box)
print(server.server_port, flush=True)
server.serve_forever()
"""


class Box:
    """*port* 0 until it has run once; then it comes back where it was."""

    def __init__(self, program: Path) -> None:
        self.port = 0
        self._program = program
        self._process: asyncio.subprocess.Process

    async def run(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-IS", str(self._program), str(self.port), stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.port = int(await self._process.stdout.readline())

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()


@contextlib.asynccontextmanager
async def boxes(folder: Path, count: int) -> AsyncIterator[list[Box]]:
    program = folder / "box.py"
    program.write_text(BOX)
    running = [Box(program) for _ in range(count)]
    try:
        for box in running:
            await box.run()
        yield running
    finally:
        for box in running:
            await box.kill()


@contextlib.asynccontextmanager
async def load(gateway: Gateway) -> AsyncIterator[Counter[tuple[int, str | None]]]:
    """Callers that ask one thing after another; what they get, by status and deployment."""
    got: Counter[tuple[int, str | None]] = Counter()
    stop = asyncio.Event()

    async def caller() -> None:
        async with gateway.caller() as client:
            while not stop.is_set():
                answer = await client.ask(QUESTION)
                got[answer.status, answer.header("x-moltbot-deployment")] += 1

    async with asyncio.timeout(3 * UNTIL_S), asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(caller())
        try:
            yield got
        finally:
            stop.set()


def more_from(got: Counter[tuple[int, str | None]], *deployments: str, times: int = 5) -> Callable[[], bool]:
    """Whether each has answered so many times more than by now."""
    before = got.copy()
    return lambda: all(got[200, name] >= before[200, name] + times for name in deployments)


@pytest.mark.parametrize("policy", ["fastest", "least-busy", "weighted"])
async def test_no_caller_sees_it_and_the_box_is_used_again_when_it_is_back(policy: str, tmp_path: Path) -> None:
    """With the default times: a probe finds it within `router.probe_s`."""
    async with boxes(tmp_path, 3) as running:
        urls = [f"http://127.0.0.1:{box.port}" for box in running]
        names = [f"chat@127.0.0.1:{box.port}" for box in running]
        async with serving(config(*urls, policy=policy)) as gateway, load(gateway) as got:
            await until(more_from(got, *names))
            await running[1].kill()
            await until(more_from(got, names[0], names[2], times=50))
            await running[1].run()
            await until(more_from(got, names[1]))
        assert {status for status, _ in got} == {200}
        assert {name for _, name in got} == set(names)


@pytest.mark.parametrize("policy", ["fastest", "least-busy"])
async def test_a_box_that_stands_still_and_accepts_is_passed_over_until_it_goes_on(policy: str, tmp_path: Path) -> None:
    async with boxes(tmp_path, 3) as running:
        urls = [f"http://127.0.0.1:{box.port}" for box in running]
        names = [f"chat@127.0.0.1:{box.port}" for box in running]
        settings = config(*urls, policy=policy, first_byte_s=1.0)
        async with serving(settings) as gateway, load(gateway) as got:
            await until(more_from(got, *names))
            running[1].send(signal.SIGSTOP)
            await until(more_from(got, names[0], names[2], times=150))
            running[1].send(signal.SIGCONT)
            await until(more_from(got, names[1]))
        assert {status for status, _ in got} == {200}


@pytest.mark.parametrize("policy", ["fastest", "least-busy", "weighted"])
async def test_a_box_that_fails_at_once_attracts_nobody(policy: str, tmp_path: Path) -> None:
    async with boxes(tmp_path, 3) as running:
        urls = [f"http://127.0.0.1:{box.port}" for box in running]
        names = [f"chat@127.0.0.1:{box.port}" for box in running]
        async with serving(config(*urls, policy=policy)) as gateway, load(gateway) as got:
            await until(more_from(got, *names))
            running[1].send(signal.SIGUSR1)
            await until(more_from(got, names[0], names[2], times=150))
            metrics = await gateway.metrics()
            assert metrics["moltbot_attempts_total", names[1], "upstream_refused"] <= 2 * CALLERS
        assert {status for status, _ in got} == {200}
