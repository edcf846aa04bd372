"""A model behind OpenAI's chat dialect whose reply follows from the question; it hands on what it was shown."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from crashing.ledger import Pair, reply_to

PIECE_CHARS = (1, 200)
GAP_S = 0.004
WHOLE_S = 0.03


class Upstream:
    """*said* is set at each last byte of a reply."""

    def __init__(self, show: Callable[[Sequence[Pair]], None], chance: random.Random) -> None:
        self.said = asyncio.Event()
        self.url = ""
        self._show, self._chance = show, chance

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = next((int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:")), 0)
                body = await reader.readexactly(length)
                if head.startswith("get"):
                    await self._send(writer, _whole({"object": "list", "data": [{"id": "chat"}]}))
                else:
                    await self._reply(writer, json.loads(body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway was killed
        finally:
            writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, asked: Any) -> None:
        messages = [(one["role"], _text(one["content"])) for one in asked["messages"]]
        self._show(messages)
        text, chance = reply_to(messages[-1][1]), self._chance
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        if not asked.get("stream"):
            await asyncio.sleep(chance.uniform(0, WHOLE_S))
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            await self._send(writer, _whole(_named("chat.completion", choices=[choice], usage=usage)))
        else:
            await self._send(writer, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
            await self._send(writer, b"Transfer-Encoding: chunked\r\n\r\n")
            while text:
                size = chance.randrange(*PIECE_CHARS)
                await self._send(writer, _event({"content": text[:size]}, None))
                text = text[size:]
                await asyncio.sleep(chance.uniform(0, GAP_S))
            last = _chunk(b"data: " + json.dumps(_named("chat.completion.chunk", choices=[], usage=usage)).encode())
            await self._send(writer, _event({}, "stop") + last + _chunk(b"data: [DONE]") + b"0\r\n\r\n")
        self.said.set()

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if writer.is_closing():
            raise ConnectionResetError("the gateway was killed")
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def serving(show: Callable[[Sequence[Pair]], None], chance: random.Random) -> AsyncIterator[Upstream]:
    upstream = Upstream(show, chance)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    upstream.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield upstream


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _named(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": "chat", **more}


def _event(delta: dict[str, str], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _chunk(b"data: " + json.dumps(_named("chat.completion.chunk", choices=[choice])).encode())


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\n\n\r\n" % (len(event) + 2, event)


def _whole(said: Any) -> bytes:
    body = json.dumps(said).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
