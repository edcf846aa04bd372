"""A tool called by one model of a session, and its result read by another: ids, forms, and calls that nobody answered.

On real sockets; the models are scripts, each by the name of one whose maker has rules of his own.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from raw_caller import request
from scripted_upstream import STREAM_HEAD, Upstream, answers, chunk, raw, says, upstream

from moltbot_edge.config.schema import Config, Model, Router, Sessions

pytestmark = pytest.mark.anyio

SESSION = "x-moltbot-session: errand"
ID = "call_7f-Weather_Rome"  # as nobody else than the model that made it would have it
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
ASKED = {"role": "user", "content": "What is the weather in Rome?"}
RESULT = {"role": "tool", "tool_call_id": ID, "content": "rain"}
CALL = {"id": ID, "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [{"type": "text", "text": "It rains."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "output_tokens": 3},
}


def calls() -> bytes:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    reply = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "theirs",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
    return json.dumps(reply).encode()


def delta(**said: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": said, "finish_reason": None}]}).encode() + b"\n\n"


class Errand:
    """A session that began with a call of the model `first`; what `other` is sent then."""

    def __init__(self, gateway: Gateway, first: Upstream, other: Upstream) -> None:
        self.gateway = gateway
        self.first = first
        self.other = other

    async def begins(self) -> None:
        answer = await self.gateway.ask({"model": "first", "messages": [ASKED], "tools": [TOOL]}, SESSION)
        assert answer.json["choices"][0]["message"]["tool_calls"][0]["id"] == ID

    async def goes_on(self, *messages: dict[str, Any], model: str = "other") -> dict[str, Any]:
        """What *model* was sent."""
        answer = await self.gateway.ask({"model": model, "messages": messages}, SESSION)
        assert answer.status == 200
        self.dropped = answer.header("x-moltbot-dropped")
        asked: dict[str, Any] = json.loads((self.first if model == "first" else self.other).asked[-1].body)
        return asked


@asynccontextmanager
async def errand(folder: Path, **other: Any) -> AsyncIterator[Errand]:
    """*other* is what the entry of the other model says."""
    async with upstream(answers(200, calls()), says("It rains.")) as first, upstream(says("It rains.")) as second:
        settings = Config(
            model_registry=[
                Model(name="first", endpoint=first.url, type="openai-chat"),
                Model(name="other", endpoint=second.url, **{"type": "openai-chat", **other}),
            ],
            router=Router(policy="priority"),
            sessions=Sessions(path=str(folder)),
        )
        async with serving(settings) as gateway:
            yield Errand(gateway, first, second)


async def test_the_other_model_reads_the_result_and_has_the_tools(tmp_path: Path) -> None:
    async with errand(tmp_path, model="plain") as talk:
        await talk.begins()
        sent = await talk.goes_on(RESULT)
    asked, called, result = sent["messages"]
    assert asked == ASKED
    assert called["tool_calls"] == [CALL]
    assert (result["tool_call_id"], result["content"]) == (ID, "rain")
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["weather"]


@pytest.mark.parametrize(
    ("model", "allowed"), [("mistral-small", r"[a-zA-Z0-9]{9}"), ("gemini-3-flash", r"[a-zA-Z0-9]+")]
)
async def test_ids_are_as_the_other_models_maker_wants_them_and_its_own_again_for_the_first(
    tmp_path: Path, model: str, allowed: str
) -> None:
    async with errand(tmp_path, model=model) as talk:
        await talk.begins()
        _, called, result = (await talk.goes_on(RESULT))["messages"]
        _, own, of_own, reply, thanks = (await talk.goes_on({"role": "user", "content": "Thanks."}, model="first"))[
            "messages"
        ]
    id = called["tool_calls"][0]["id"]
    assert id == result["tool_call_id"] != ID
    assert re.fullmatch(allowed, id)
    assert own["tool_calls"] == [CALL]
    assert of_own["tool_call_id"] == ID
    assert (reply["content"], thanks["content"]) == ("It rains.", "Thanks.")


async def test_in_anthropics_form(tmp_path: Path) -> None:
    async with errand(tmp_path, type="anthropic-messages", model="claude") as talk:
        talk.other.play(answers(200, json.dumps(MESSAGE)))
        await talk.begins()
        sent = await talk.goes_on(RESULT)
    _, called, result = sent["messages"]
    (use,) = called["content"]
    (told,) = result["content"]
    assert (use["type"], use["name"], use["input"]) == ("tool_use", "weather", {"city": "Rome"})
    assert (told["type"], told["tool_use_id"]) == ("tool_result", use["id"])
    assert [tool["name"] for tool in sent["tools"]] == ["weather"]


async def test_a_model_without_tools_is_told_as_text_and_the_caller_that_they_are_left_out(tmp_path: Path) -> None:
    async with errand(tmp_path, tools=False) as talk:
        await talk.begins()
        sent = await talk.goes_on(RESULT)
        assert talk.dropped == "tools"
        again = await talk.goes_on({"role": "user", "content": "Thanks."})
        refused = await talk.gateway.ask({"model": "other", "messages": [ASKED], "tools": [TOOL]}, SESSION)
    assert "tools" not in sent
    assert [one["role"] for one in sent["messages"]] == ["user", "assistant", "user"]
    assert "rain" in json.dumps(sent["messages"][-1])
    assert again["messages"][:3] == sent["messages"]  # nothing that was read has to be read again
    assert refused.status == 400  # who asks for them now is not left without in silence


async def test_a_call_that_nobody_answers_is_aborted(tmp_path: Path) -> None:
    async with errand(tmp_path, model="plain") as talk:
        await talk.begins()
        sent = await talk.goes_on({"role": "user", "content": "Never mind."})
        late = await talk.goes_on({"role": "user", "content": "Well?"})
    assert [one["role"] for one in sent["messages"]] == ["user", "assistant", "tool", "user"]
    assert sent["messages"][2]["content"] == "(aborted)"
    assert late["messages"][:4] == sent["messages"]


async def test_a_caller_that_leaves_in_the_middle_of_a_call_leaves_none_behind(tmp_path: Path) -> None:
    begun = {"index": 0, "id": ID, "type": "function", "function": {"name": "weather", "arguments": '{"ci'}}
    async with errand(tmp_path, model="plain") as talk:
        talk.first.play(raw(STREAM_HEAD, chunk(delta(tool_calls=[begun])), then="hang"))
        async with talk.gateway.caller() as caller:
            asks = {"model": "first", "messages": [ASKED], "tools": [TOOL], "stream": True}
            await caller.send(request(asks, SESSION))
            async for piece in caller.pieces(await caller.head()):
                if b"weather" in piece:
                    break
        await talk.first.was_left()
        sent = await talk.goes_on({"role": "user", "content": "Hello?"})
    assert [one["role"] for one in sent["messages"]] == ["user"]
