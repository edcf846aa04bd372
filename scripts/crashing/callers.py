"""Who asks: each goes on with a session, in any dialect, and notes what it saw to its end. No client of anybody's."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from crashing.gateway import Gateway
from crashing.ledger import Conversation, Ledger, Question, reply_to
from crashing.shapes import RESPONSES, SHAPES, Shape

ANSWERS_S = 60.0  # to a caller whose gateway lives: no reply takes a second


@dataclass(frozen=True)
class Answer:
    """*whole*: the connection did not end before the reply."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


class Caller:
    """*on_seen* is called as soon as a reply's last byte came."""

    def __init__(self, ledger: Ledger, chance: random.Random, on_seen: Callable[[], None]) -> None:
        self._ledger, self._chance, self._on_seen = ledger, chance, on_seen

    async def go_on(self, conversation: Conversation, gateway: Gateway) -> bool:
        """One more question; whether its reply came to its end."""
        chance = self._chance
        question = conversation.ask(chance)
        dialect = RESPONSES if conversation.chained else chance.choice(list(SHAPES))
        shape, stream = SHAPES[dialect], chance.random() < 0.6
        history = question.expected if conversation.history else ()
        asked = shape.request(history, question.text, stream)
        headers = {}
        if conversation.chained:
            if seen := [one.response for one in conversation.asked if one.seen]:
                asked["previous_response_id"] = seen[-1]
        elif chance.random() < 0.5:
            headers["x-moltbot-session"] = conversation.name
        else:
            asked["session"] = conversation.name
        before = gateway.kills
        try:
            async with asyncio.timeout(ANSWERS_S):
                answer = await self._asked(gateway.port, shape, asked, headers, stream)
        except TimeoutError:
            self._ledger.faults.append(f"{conversation.name}: no answer within {ANSWERS_S:g} s")
            return False
        if answer.status not in (0, 200):
            self._ledger.faults.append(f"{conversation.name}: {answer.status} {answer.body[:300]!r}")
            return False
        ended = shape.end in answer.body if stream else answer.whole
        if ended:
            self._see(conversation, question, answer, shape, stream)
        elif before == gateway.kills:
            self._ledger.faults.append(f"{conversation.name}: cut without a kill: {answer.body[-200:]!r}")
        return ended

    def _see(self, conversation: Conversation, question: Question, answer: Answer, shape: Shape, stream: bool) -> None:
        question.seen, question.turn = True, answer.headers.get("x-moltbot-turn")
        self._ledger.seen += 1
        self._on_seen()
        name = conversation.name
        if shape.text(answer.body, stream) != reply_to(question.text):
            self._ledger.faults.append(f"{name}: its caller read {shape.text(answer.body, stream)[:200]!r}")
        session = answer.headers.get("x-moltbot-session")
        if conversation.chained:
            question.response = shape.response(answer.body, stream)
            conversation.session = conversation.session or session
        if session is None or session != conversation.session or question.turn is None:
            self._ledger.faults.append(f"{name}: headers without its name and turn: {answer.headers}")

    async def _asked(self, port: int, shape: Shape, asked: object, headers: dict[str, str], stream: bool) -> Answer:
        body = json.dumps(asked).encode()
        lines = [f"POST {shape.path} HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/json"]
        lines += [f"{name}: {value}" for name, value in headers.items()] + [f"Content-Length: {len(body)}", "", ""]
        data, hasty = b"", self._chance.random() < 0.5  # one goes on as soon as it has read the last event
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return Answer(0, {}, b"", False)
        try:
            writer.write("\r\n".join(lines).encode() + body)
            while True:
                more = await reader.read(65536)
                data += more
                if not more or (stream and hasty and shape.end in data[-len(more) - len(shape.end) :]):
                    break
        except OSError:
            pass
        finally:
            writer.transport.abort()
        return _answer(data)


def _answer(data: bytes) -> Answer:
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Answer(0, {}, b"", False)
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines if ": " in line)}
    if headers.get("transfer-encoding") == "chunked":
        body, whole = _unchunked(body)
    else:
        whole = len(body) == int(headers.get("content-length", -1))
    return Answer(int(first.split()[1]), headers, body, whole)


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        if size and not int(size, 16):
            return body, True
        body += data[: int(size or b"0", 16)]
        data = data[int(size or b"0", 16) + 2 :]
    return body, False
