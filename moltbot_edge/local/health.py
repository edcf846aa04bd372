"""Two questions to an engine: is it ready, and what does it do. One connection each; not a client for anything else.

Source: ``GET /health`` and ``GET /slots`` in llama.cpp's ``tools/server/README.md``: 503 while the model loads.
"""

from __future__ import annotations

import asyncio

import msgspec

ASK_S = 5.0  # a board that loads a model from an SD card is slow at everything
REPLY_BYTES = 1024 * 1024  # /slots repeats the prompt of each slot


class _Token(msgspec.Struct):
    n_decoded: int = 0


class _Slot(msgspec.Struct):
    id: int = 0
    id_task: int = -1
    is_processing: bool = False
    n_prompt_tokens_processed: int = 0
    next_token: list[_Token] | _Token = []


Work = tuple[tuple[int, int, int], ...]  # of each busy slot: its number, its task's, and how far that has come


class Suspicion(msgspec.Struct, frozen=True):
    """An engine that works although nobody waits for it, or that may have stopped working. Times are monotonic.

    *alone_since* it has worked for nobody, None while somebody waits for it; *work* has not changed since *same_since*,
    None of an engine that does not answer.
    """

    work: Work | None
    same_since: float
    alone_since: float | None

    def stuck(self, now: float, stuck_s: float) -> bool:
        alone = self.alone_since is not None and now - self.alone_since >= stuck_s
        return alone or now - self.same_since >= stuck_s


def suspicion(before: Suspicion | None, work: Work | None, leases: int, now: float) -> Suspicion | None:
    """What to think of an engine that does *work* now. None: it is idle, and beyond suspicion."""
    if work == ():
        return None
    same_since = before.same_since if before is not None and before.work == work else now
    alone_since = before.alone_since if before is not None and before.alone_since is not None else now
    return Suspicion(work, same_since, None if leases else alone_since)


_decode_slots = msgspec.json.Decoder(list[_Slot]).decode


async def is_ready(host: str, port: int, path: str = "/health") -> bool:
    """No, too, where nobody listens or the answer makes no sense."""
    return 200 <= (await _get(host, port, path))[0] < 300


async def is_idle(host: str, port: int) -> bool:
    """No where it does not answer; yes where its slots are not to be seen."""
    return await work(host, port) == ()


async def work(host: str, port: int) -> Work | None:
    """What its slots do; None where it does not answer, nothing where they are not to be seen.

    Do not ask more often than every other second: each answer sets back the second after which llama-server looks
    whether the caller of a request is still there (``recv_with_timeout`` in ``server-queue.cpp``).
    """
    status, body = await _get(host, port, "/slots")
    if status == 0:
        return None
    try:
        slots = _decode_slots(body)
    except msgspec.DecodeError:
        return ()
    return tuple((slot.id, slot.id_task, _come(slot)) for slot in slots if slot.is_processing)


def _come(slot: _Slot) -> int:
    tokens = slot.next_token if isinstance(slot.next_token, list) else [slot.next_token]
    return slot.n_prompt_tokens_processed + sum(token.n_decoded for token in tokens)


async def _get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Status and body; status 0 where there is no reply."""
    reply = bytearray()
    try:
        async with asyncio.timeout(ASK_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
                while len(reply) < REPLY_BYTES and (data := await reader.read(65536)):
                    reply += data
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return 0, b""
    head, _, body = bytes(reply).partition(b"\r\n\r\n")
    version, _, rest = head.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not rest[:3].isdigit():
        return 0, b""
    return int(rest[:3]), body
