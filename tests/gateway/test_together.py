"""Callers and upstreams of every kind at once: each reply is whole or ends as an error, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from harness import Gateway, config, serving
from raw_caller import CHAT, QUESTION, Answer, Cut, request
from scripted_upstream import (
    DONE,
    STREAM_HEAD,
    Ending,
    Framing,
    Script,
    Visit,
    answers,
    chunk,
    delta,
    raw,
    streams,
    upstream,
)

pytestmark = pytest.mark.anyio

EVENT = delta("a word")
CALLERS, ROUNDS = 12, 6
LIMITS: dict[str, Any] = {
    "connections": 3,
    "idle_connections": 2,
    "idle_connection_s": 0.5,
    "queue": 4,
    "queue_s": 0.3,
    "first_byte_s": 0.5,
    "between_bytes_s": 0.5,
    "total_s": 2.0,
    "ping_after_s": 0.25,
    "head_s": 0.5,
    "body_bytes": 200_000,
    "bodies_bytes": 400_000,
    "body_wait_s": 0.5,
    "client_stall_s": 0.5,
}


def behaviour(chance: random.Random) -> Script:
    """Another one each time; five in eight of them are good."""
    framing: Framing = chance.choice(["chunked", "close"])
    how: Ending = chance.choice(["close", "reset", "hang"])
    good: list[Script] = [
        streams([EVENT] * 5 + [DONE], gap_s=chance.choice([0, 0.01]), framing=framing),
        streams([EVENT] * 50 + [DONE], framing=framing),
        answers(200, b"x" * chance.choice([0, 5_000, 70_000, 300_000]), framing=framing),
        answers(chance.choice([200, 400, 429, 500, 503]), "{}", *chance.choice([(), ("Connection: close",)])),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 408 Timeout\r\n\r\n", then="keep"),
    ]
    bad: list[Script] = [
        raw(then=how),
        raw(STREAM_HEAD + chunk(EVENT), chunk(b"data: ha"), then=how),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + b"x" * chance.choice([3, 80_000]), then=how),
    ]
    return chance.choice(good + bad)


async def call(gateway: Gateway, chance: random.Random) -> None:
    """One caller and its few requests."""
    async with gateway.caller(receive_buffer_bytes=chance.choice([None, 4096])) as client:
        for _ in range(chance.randrange(1, 4)):
            stream = chance.random() < 0.6
            padding = "x" * chance.choice([0, 0, 30_000, 150_000])
            sent = request(QUESTION | {"stream": stream, "padding": padding})
            try:
                match chance.randrange(8):
                    case 0:
                        await client.send(sent[: chance.randrange(len(sent))])
                        return
                    case 1:
                        await client.send(sent)
                        await asyncio.sleep(chance.random() * 0.1)
                        return
                    case 2:
                        await client.send(f"POST {CHAT} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n".encode())
                        await client.send(b"wrong size\r\n")
                    case 3:
                        await client.send(sent * 2)
                        check(await client.reply())
                    case _:
                        await client.send(sent)
                check(await client.reply())
            except (Cut, ConnectionError):
                return


def check(answer: Answer) -> None:
    kind = answer.header("content-type") or ""
    if kind.startswith("text/event-stream"):
        events = [event for event in answer.body.split(b"\n\n") if not event.startswith(b":")]
        assert events.pop() == b""
        assert set(events[:-2]) <= {EVENT.strip()}
        assert events[-1] == b"data: [DONE]" or answer.body.count(b"data: ") == 1  # a whole reply after a ping
    elif answer.status == 200:
        assert answer.body.strip(b"x") in (b"", b"{}")
    else:
        assert answer.body == b"{}" or answer.error["message"]


@pytest.mark.parametrize("seed", [1, 2])
async def test_whatever_happens_at_once_nothing_is_left(seed: int) -> None:
    chance = random.Random(seed)

    async def unpredictable(visit: Visit) -> None:
        await behaviour(chance)(visit)

    async with (
        upstream(unpredictable) as one,
        upstream(unpredictable) as two,
        serving(config(one, two, **LIMITS)) as gateway,
    ):

        async def many() -> None:
            for _ in range(ROUNDS):
                await call(gateway, chance)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CALLERS):
                tasks.create_task(many())
