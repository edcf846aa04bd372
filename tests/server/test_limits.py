"""Bodies are bounded, each and all together; nothing that was taken is kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from harness import config, serving
from raw_caller import CHAT, QUESTION, Answer, request
from scripted_upstream import Script, Visit, answers, delta, hangs, raw, refusing, says, streams, upstream

from moltbot_edge.core.errors import Overloaded
from moltbot_edge.server.limits import BodyBudget

pytestmark = pytest.mark.anyio

STREAMED = QUESTION | {"stream": True}


def sized(size: int, body: Any = QUESTION) -> bytes:
    """A question of exactly so many bytes."""
    bare = json.dumps(body | {"padding": ""}).encode()
    return json.dumps(body | {"padding": "x" * (size - len(bare))}).encode()


def chunked(*pieces: bytes) -> bytes:
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def too_large(answer: Answer) -> bool:
    return answer.status == 413 and answer.error["code"] == "body_too_large" and "body_bytes" in answer.error["message"]


# Each.


async def test_a_body_of_the_limit_passes_and_of_one_byte_more_does_not() -> None:
    for limit in (1000, 100_000):
        async with upstream(says()) as box, serving(config(box, body_bytes=limit)) as gateway:
            for size, status in ((limit, 200), (limit + 1, 413)):
                body = sized(size)
                for sent in (request(body), chunked(body), chunked(body[:500], body[500:])):
                    async with gateway.caller() as client:
                        await client.send(sent)
                        answer = await client.reply()
                        assert answer.status == status
                        assert status == 200 or too_large(answer)


async def test_a_body_too_large_is_refused_before_it_is_read() -> None:
    async with serving(config("http://unused", body_bytes=1000)) as gateway, gateway.caller() as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n".encode())
        assert too_large(await client.reply())


@pytest.mark.parametrize("framing", ["Content-Length: 20000000", "Transfer-Encoding: chunked"])
async def test_the_refusal_reaches_a_caller_that_is_still_sending(framing: str) -> None:
    async with serving(config("http://unused", body_bytes=100_000)) as gateway, gateway.caller() as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\n{framing}\r\n\r\n".encode())
        piece = b"x" * 100_000
        if "chunked" in framing:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        await client.send(*[piece] * 200)  # as most clients do: they listen when they have spoken
        answer = await client.reply()
        assert too_large(answer)
        assert answer.header("connection") == "close"
        assert await client.closed() == b""


# All together.


def held(gateway_metrics: dict[tuple[str, ...], float]) -> float:
    return gateway_metrics["moltbot_bodies_bytes",]


@pytest.mark.parametrize("how", ["counted", "chunked"])
async def test_a_body_that_finds_no_room_waits_for_it(how: str) -> None:
    body = sized(100_000)
    async with (
        upstream(hangs(), says()) as box,
        serving(config(box, bodies_bytes=150_000)) as gateway,
        gateway.caller() as first,
        gateway.caller() as second,
    ):
        await first.send(request(body))
        await box.was_asked()
        assert held(await gateway.metrics()) == 100_000
        sent = request(body) if how == "counted" else chunked(*[body[at : at + 1000] for at in range(0, 100_000, 1000)])
        sending = asyncio.ensure_future(second.send(sent))
        await asyncio.sleep(0.05)
        assert len(box.asked) == 1
        assert held(await gateway.metrics()) <= 150_000
        first.leave()
        await sending
        assert (await second.reply()).status == 200


@pytest.mark.parametrize("how", ["counted", "chunked"])
async def test_a_body_that_finds_no_room_in_time_is_told_when_to_come_back(how: str) -> None:
    body = sized(100_000)
    sent = request(body) if how == "counted" else chunked(body[:40_000], body[40_000:])
    async with (
        upstream(hangs()) as box,
        serving(config(box, bodies_bytes=150_000, body_wait_s=0.1)) as gateway,
        gateway.caller() as first,
        gateway.caller() as second,
    ):
        await first.send(request(body))
        await box.was_asked()
        await second.send(sent)
        answer = await second.reply()
        assert (answer.status, answer.error["code"]) == (503, "overloaded")
        assert int(answer.header("retry-after") or "0") >= 1
        assert held(await gateway.metrics()) == 100_000


async def test_no_more_callers_wait_for_room_than_allowed() -> None:
    body = sized(100_000)
    async with (
        upstream(hangs()) as box,
        serving(config(box, bodies_bytes=150_000, body_waiters=1)) as gateway,
        gateway.caller() as first,
        gateway.caller() as second,
        gateway.caller() as third,
    ):
        await first.send(request(body))
        await box.was_asked()
        await second.send(request(body))
        await asyncio.sleep(0.05)
        await third.send(request(body))
        answer = await third.reply()
        assert (answer.status, answer.error["code"]) == (503, "overloaded")
        for client in (second, first):
            client.leave()


async def test_who_leaves_the_wait_for_room_lets_the_next_in() -> None:
    async with (
        upstream(hangs(), says()) as box,
        serving(config(box, bodies_bytes=150_000)) as gateway,
        gateway.caller() as first,
        gateway.caller() as second,
        gateway.caller() as third,
    ):
        await first.send(request(sized(100_000)))
        await box.was_asked()
        # Its body is not read while it waits, so that its leaving is seen when its turn has come.
        await second.send(request(sized(100_000)))
        await asyncio.sleep(0.02)
        await third.send(request(sized(100_000)))
        second.leave()
        first.leave()
        assert (await third.reply()).status == 200


async def test_many_uploads_at_once_stay_within_the_limit_and_are_all_served() -> None:
    seen: list[float] = []

    async def slow(visit: Visit) -> None:
        await asyncio.sleep(0.01)
        await says()(visit)

    async with upstream(slow) as box, serving(config(box, bodies_bytes=300_000, body_bytes=200_000)) as gateway:

        async def watch() -> None:
            while True:
                seen.append(held(await gateway.metrics()))
                await asyncio.sleep(0.005)

        watching = asyncio.ensure_future(watch())
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(gateway.ask(sized(100_000))) for _ in range(30)]
        watching.cancel()
        await asyncio.wait([watching])
        assert [one.result().status for one in asked] == [200] * 30
        assert max(seen) <= 300_000


ENDINGS: dict[str, tuple[Script, Any]] = {
    "answered": (says(), QUESTION),
    "streamed": (streams([delta("hi")]), STREAMED),
    "refused": (answers(400, "{}"), QUESTION),
    "failed": (raw(), QUESTION),
    "failed-streamed": (raw(), STREAMED),
    "cut": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), QUESTION),
    "redirected": (answers(302, ""), QUESTION),
}


async def test_what_a_body_took_is_given_back_however_it_ends() -> None:
    async with upstream() as box, serving(config(box)) as gateway:
        for ending, (script, body) in ENDINGS.items():
            for sent in (request(sized(50_000, body)), chunked(sized(50_000, body))):
                box.play(script)
                async with gateway.caller() as client:
                    await client.send(sent)
                    await client.reply()
                assert held(await gateway.metrics()) == 0, ending


async def test_what_a_body_took_is_given_back_when_it_is_no_request() -> None:
    with refusing() as nowhere:
        async with serving(config(nowhere)) as gateway:
            for body in (sized(50_000)[:-1], sized(50_000, {"model": "unknown"}), sized(50_000, {})):
                assert (await gateway.ask(body)).status in (400, 404)
                assert held(await gateway.metrics()) == 0


@pytest.mark.parametrize("framing", ["Content-Length: 50000", "Transfer-Encoding: chunked"])
async def test_what_a_body_took_is_given_back_when_its_caller_leaves(framing: str) -> None:
    async with serving(config("http://unused")) as gateway, gateway.caller() as client:
        await client.send(f"POST {CHAT} HTTP/1.1\r\n{framing}\r\n\r\n7d0\r\n".encode() + b"x" * 1000)
        await gateway.until(lambda metrics: held(metrics) > 0)
        client.leave()
        await gateway.until(lambda metrics: held(metrics) == 0)
        await gateway.until(lambda metrics: metrics.get(("moltbot_callers_gone_total", "body")) == 1)


async def test_a_body_is_let_go_once_the_answer_has_begun() -> None:
    one = delta("one")
    script = raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + one, then="hang")
    async with upstream(script) as box, serving(config(box)) as gateway, gateway.caller() as client:
        await client.send(request(sized(50_000, STREAMED)))
        await client.head()
        assert held(await gateway.metrics()) == 0


# The budget itself.


async def test_the_budget_serves_in_order_and_a_small_one_does_not_overtake() -> None:
    budget = BodyBudget(10, wait_s=60, waiters=8)
    await budget.take(8)
    served: list[int] = []

    async def take(size: int) -> None:
        await budget.take(size)
        served.append(size)

    large, small = asyncio.ensure_future(take(9)), asyncio.ensure_future(take(1))
    await asyncio.sleep(0)
    assert not budget.took(1)
    assert served == []
    budget.give(8)
    await asyncio.gather(large, small)
    assert served == [9, 1]
    assert budget.held_bytes == 10


async def test_who_is_cancelled_in_the_line_lets_the_next_in() -> None:
    budget = BodyBudget(10, wait_s=60, waiters=8)
    await budget.take(8)
    large, small = asyncio.ensure_future(budget.take(9)), asyncio.ensure_future(budget.take(1))
    await asyncio.sleep(0)
    large.cancel()
    await small
    assert budget.held_bytes == 9


async def test_who_is_cancelled_just_as_it_is_let_in_gives_it_back() -> None:
    budget = BodyBudget(10, wait_s=60, waiters=8)
    await budget.take(8)
    second, third = asyncio.ensure_future(budget.take(9)), asyncio.ensure_future(budget.take(10))
    await asyncio.sleep(0)
    budget.give(8)
    second.cancel()
    await third
    assert second.cancelled()
    assert budget.held_bytes == 10


async def test_the_budget_refuses_after_its_wait() -> None:
    budget = BodyBudget(10, wait_s=0.01, waiters=1)
    await budget.take(8)
    waiting = asyncio.ensure_future(budget.take(9))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="too many"):
        await budget.take(9)
    with pytest.raises(Overloaded, match="limit of 10 bytes"):
        await waiting
    assert budget.held_bytes == 8
    assert budget.took(2)
