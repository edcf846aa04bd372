"""One target in one place, as a user meets it: commands that end, and gateways that serve.

Nothing here knows the gateway's code. What a gateway says goes to files, so that nothing waits for a reader.
"""

from __future__ import annotations

import asyncio
import re
import signal
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from binary.target import Target
from raw_caller import QUESTION, Answer, Caller, caller

from qemu.usermode.process import Process
from qemu.usermode.root import Root

WAIT_S = 30  # fails instead of hanging; times the target's patience


class Done(NamedTuple):
    """A command that has ended. *status* is below zero for a signal."""

    status: int
    output: str
    errors: str


class Gateway:
    """A gateway that serves at *port*; *tls* is for its callers."""

    def __init__(self, process: Process, port: int, said: Path, wait_s: float, tls: ssl.SSLContext | None) -> None:
        self.process = process
        self.port = port
        self._said = said
        self.wait_s = wait_s
        self._tls = tls

    def caller(self) -> AbstractAsyncContextManager[Caller]:
        return caller(self.port, tls=self._tls)

    async def ask(self, body: Any = QUESTION, *headers: str, **request: Any) -> Answer:
        """One request on a connection of its own."""
        async with asyncio.timeout(self.wait_s), self.caller() as client:
            return await client.ask(body, *headers, **request)

    async def get(self, path: str) -> Answer:
        return await self.ask(None, path=path, method="GET")

    def said(self) -> str:
        """All that it has printed so far."""
        return self._said.read_text(errors="replace")

    async def ended(self) -> int:
        """Wait for its end; the exit status, below zero for a signal."""
        status = await asyncio.to_thread(self.process.status, self.wait_s)
        assert status is not None, f"it did not end; it said: {self.said()}"
        return status

    async def until_said(self, words: str) -> None:
        async with asyncio.timeout(self.wait_s):
            while words not in self.said():  # noqa: ASYNC110  (another process writes it)
                await asyncio.sleep(0.02)

    async def until_healthy(self) -> None:
        """For one that could not greet."""
        async with asyncio.timeout(self.wait_s):
            while not await self._accepts():  # noqa: ASYNC110  (another process decides)
                await asyncio.sleep(0.02)
        assert (await self.get("/health")).status == 200

    async def until_refusing(self) -> None:
        """Once nobody new is let in."""
        async with asyncio.timeout(self.wait_s):
            while await self._accepts():  # noqa: ASYNC110  (another process decides)
                await asyncio.sleep(0.02)

    async def _accepts(self) -> bool:
        try:
            async with self.caller():
                return True
        except OSError:
            return False

    def terminate(self) -> None:
        self.process.signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.signal(signal.SIGKILL)


class Place:
    """*target* in *folder*, which is its whole world or a part of this one."""

    def __init__(self, target: Target, folder: Path) -> None:
        folder.mkdir()
        self.target = target
        self.ground = target.settle(folder)
        self.outputs = folder.with_name(f"{folder.name}-said")
        self.outputs.mkdir()
        self.wait_s = WAIT_S * target.patience

    def put(self, inside: str, content: str | bytes, mode: int = 0o644) -> str:
        return self.ground.put(inside, content, mode)

    def inside(self, path: str) -> str:
        """What a command has to be told for a *path* that `put` was given."""
        return path if isinstance(self.ground, Root) else str(self.ground.outside(path))

    def run(self, *arguments: str, environment: Mapping[str, str] | None = None, read_only: bool = False) -> Done:
        """A command to its end. Without *environment* it has none."""
        with (
            self._output() as output,
            self._output() as errors,
            Process(
                self.ground.command(*arguments, read_only=read_only),
                environment=self._around(environment),
                folder=self.ground.folder,
                stdout=output,
                stderr=errors,
            ) as process,
        ):
            status = process.status(self.wait_s)
            said, complained = (Path(file.name).read_text(errors="surrogateescape") for file in (output, errors))
        assert status is not None, f"{arguments} did not end; it said: {said}{complained}"
        return Done(status, said, complained)

    @contextmanager
    def serving(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        port: int | None = None,
        before: Sequence[str] = (),
        proc: bool = False,
        read_only: bool = False,
    ) -> Iterator[Gateway]:
        """A gateway from its greeting on. *before* are words of a command that becomes the gateway.

        *port* is for one that cannot greet; then nothing is waited for.
        """
        command = [*before, *self.ground.command("serve", *arguments, proc=proc, read_only=read_only)]
        around = self._around(environment)
        with (
            self._output() as output,
            Process(command, environment=around, folder=self.ground.folder, stdout=output) as process,
        ):
            said = Path(output.name)
            yield Gateway(process, port or self._greeted(process, said), said, self.wait_s, tls)

    def _greeted(self, process: Process, said: Path) -> int:
        until = time.monotonic() + self.wait_s
        while True:
            status = process.status(0.01)
            text = said.read_text(errors="replace")
            if found := re.search(r"https?://(?:127\.0\.0\.1|\[::1\]):(\d+)", text):
                return int(found[1])
            assert status is None, f"it ended with status {status} before it served; it said: {text}"
            assert time.monotonic() < until, f"it does not say where it listens; it said: {text}"

    def _around(self, environment: Mapping[str, str] | None) -> Mapping[str, str]:
        # A one-file bundle that is killed leaves what it unpacked: where the test's other leavings go.
        unpacks = self.target.built is not None and not self.target.rooted
        scratch = {"TMPDIR": str(self.outputs)} if unpacks else {}
        return {**scratch, **self.target.environment, **(environment or {})}

    def _output(self) -> IO[bytes]:
        return (self.outputs / str(len(list(self.outputs.iterdir())))).open("wb")
