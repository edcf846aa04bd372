"""Who is asked for a summary, and when one that was made is taken again. The conversations are in `test_outgrown`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace
from scripted_upstream import completion

from moltbot_edge.core.chat import Message, Role, Text
from moltbot_edge.core.cuts import Place
from moltbot_edge.core.fitting import Talk, messages
from moltbot_edge.core.items import mark, standing
from moltbot_edge.core.session import Cut, Turn, made_id
from moltbot_edge.gateway.caller import Caller, Request
from moltbot_edge.gateway.summaries import Summaries, SummarySettings
from moltbot_edge.kernel.registry import Registry

pytestmark = pytest.mark.anyio


def turn(number: int, **more: Any) -> Turn:
    said = Message(Role.USER, (Text(text=f"secret {number}"),))
    parent = made_id(number - 1, bytes(10)) if number else None
    one = Turn(
        id=made_id(number, bytes(10)), at=0.0, messages=(said,), reply=Message(Role.ASSISTANT, ()), parent=parent
    )
    return replace(one, **more)


async def test_once_something_was_taken_out_no_summary_says_it() -> None:
    async def echoes(request: Request, caller: Caller) -> None:
        caller.start(200, [], None)
        caller.finish(completion(json.loads(request.body)["messages"][-1]["content"]))

    dialect = Registry().build("dialect", "openai-chat")
    made = Summaries(SummarySettings("scribe", 64, 1000, 1.0), echoes, dialect, lambda: 0.0)
    turns = [turn(0), turn(1), turn(2)]

    async def told() -> str | None:
        talk = Talk((), (), standing(turns), ())
        places = [place for place, one in enumerate(messages(talk, Place())) if one == turns[2].messages[0]]
        return await made.of("", "talk", talk, Place(places[0]), Cut(1024, turns[2].id, 0), 64, asks=True)

    assert await told() == "User: secret 0\nUser: secret 1"
    turns.append(turn(3, messages=(), removed=(mark(turns[0].id, "i0"),)))
    assert await told() == "User: secret 1"
