"""A session may come from anywhere: whatever was imported, no request for it makes the gateway fail."""

from __future__ import annotations

import random

import pytest
from any_turn import turn
from harness import Gateway, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from raw_caller import Answer
from scripted_upstream import says, upstream

from moltbot_edge.config.schema import Config, Model, Sessions
from moltbot_edge.core import record
from moltbot_edge.core.session import CHANCE_BYTES, Turn, made_id

pytestmark = pytest.mark.anyio


def crafted(turns: list[Turn], chance: random.Random) -> list[Turn]:
    """*turns* that refer to each other, and to what is not there."""
    made: list[Turn] = []
    for one in turns:
        others = [other.id for other in made]
        anyone = [*others, "nobody"]
        cut = one.cut
        if cut is not None:
            messages, window = chance.choice([-5, 0, 1, 99]), chance.choice([-1, 0, 5, 100_000])
            cut = replace(cut, turn=chance.choice(anyone), messages=messages, window_tokens=window)
        marks = ("", "_", "_i0", "_0", "_i")
        made.append(
            replace(
                one,
                id=made_id(10.0, chance.randbytes(CHANCE_BYTES), others[-1] if others else None),
                parent=chance.choice([*others, None]),
                cut=cut,
                removed=tuple(f"{other}{chance.choice(marks)}" for other in anyone if chance.random() < 0.3),
                metadata=chance.choice([None, {"a": "b"}]),
            )
        )
    return made


def sessions() -> list[list[Turn]]:
    found: list[list[Turn]] = []

    @settings(max_examples=40, database=None, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.lists(turn, min_size=1, max_size=4))
    def find(turns: list[Turn]) -> None:
        found.append(crafted(turns, random.Random(len(found))))

    find()
    return found


async def asked_every_way(gateway: Gateway, name: str, turns: list[Turn]) -> list[Answer]:
    hello = {"model": "chat", "session": name, "messages": [{"role": "user", "content": "hello"}]}
    response = f"resp_{turns[-1].id}_{name}"
    return [
        *[
            await gateway.get(path)
            for path in (
                *(f"/v1/sessions/{name}", f"/v1/sessions/{name}/export", f"/v1/conversations/{name}/items"),
                *(f"/v1/responses/{response}", f"/v1/responses/{response}/input_items"),
            )
        ],
        await gateway.ask({}, path=f"/v1/sessions/{name}/fork"),
        *[await gateway.ask(hello, path=path) for path in ("/v1/chat/completions", "/v1/messages", "/api/chat")],
        await gateway.ask({"model": "chat", "session": name, "input": "hello"}, path="/v1/responses"),
        await gateway.ask({"model": "chat", "previous_response_id": response, "input": "hello"}, path="/v1/responses"),
    ]


@pytest.mark.parametrize("kind", ["openai-chat", "anthropic-messages", "ollama", "openai-responses"])
async def test_whatever_was_imported_no_request_fails_at_it(kind: str) -> None:
    async with upstream(says("Yes.")) as box:
        settings = Config(
            model_registry=[Model(name="chat", endpoint=box.url, type=kind, context_tokens=2000)],
            sessions=Sessions(store="memory"),
        )
        async with serving(settings, within_s=120) as gateway:
            for number, turns in enumerate(sessions()):
                body = b"".join(record.lines(f"s{number}", turns))
                imported = await gateway.ask(body, path="/v1/sessions/import")
                assert imported.status == 201, imported.body
                for answer in await asked_every_way(gateway, f"s{number}", turns):
                    assert answer.status < 500 or answer.status == 502, answer.body  # the upstream speaks one dialect
