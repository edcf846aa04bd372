"""Two questions to an engine: is it ready, and is it idle. One connection each; not a client for anything else.

Source: ``GET /health`` and ``GET /slots`` in llama.cpp's ``tools/server/README.md``: 503 while the model loads.
"""

from __future__ import annotations

import asyncio

import msgspec

ASK_S = 5.0  # a board that loads a model from an SD card is slow at everything
REPLY_BYTES = 1024 * 1024  # /slots repeats the prompt of each slot


class _Slot(msgspec.Struct):
    is_processing: bool = False


_decode_slots = msgspec.json.Decoder(list[_Slot]).decode


async def is_ready(host: str, port: int) -> bool:
    """No, too, where nobody listens or the answer makes no sense."""
    return (await _get(host, port, "/health"))[0] == 200


async def is_idle(host: str, port: int) -> bool:
    """No where it does not answer; yes where its slots are not to be seen.

    Do not ask more often than every other second: each answer sets back the second after which llama-server looks
    whether the caller of a request is still there (``recv_with_timeout`` in ``server-queue.cpp``).
    """
    status, body = await _get(host, port, "/slots")
    if status == 0:
        return False
    try:
        return not any(slot.is_processing for slot in _decode_slots(body))
    except msgspec.DecodeError:
        return True


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
