"""Callers that keep the conversation themselves, in the form that their own client gave it: it is not kept twice.

The official clients, unmodified, and what they send back of a reply; on real sockets, with a real store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

import pytest
from anthropic import AsyncAnthropic
from kept_responses import keeping
from ollama import AsyncClient
from openai import AsyncOpenAI
from scripted_upstream import Script, Visit, answers, completion

pytestmark = pytest.mark.anyio

SESSION = {"x-moltbot-session": "talk"}
PARAMETERS: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION = {"name": "look", "description": "The weather", "parameters": PARAMETERS}

Calls = Sequence[tuple[str, str]]  # each with its id and its tool's name


class Client(Protocol):
    """*whole* is what it would send of all that was said."""

    whole: list[Any]

    async def ask(self, new: Sequence[Any], *, whole: bool) -> Calls: ...

    def words(self, text: str) -> Any: ...

    def results(self, calls: Calls) -> list[Any]: ...

    async def aclose(self) -> None: ...


class Chat:
    def __init__(self, url: str) -> None:
        self.whole: list[Any] = []
        self._client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    async def ask(self, new: Sequence[Any], *, whole: bool) -> Calls:
        self.whole += new
        reply = await self._client.chat.completions.create(
            model="chat",
            messages=self.whole if whole else list(new),
            tools=[{"type": "function", "function": FUNCTION}],  # type: ignore[typeddict-item]
            extra_headers=SESSION,
        )
        said = reply.choices[0].message
        self.whole.append(said.model_dump())  # with all that is null in it
        return [(call.id, "look") for call in said.tool_calls or ()]

    def words(self, text: str) -> Any:
        return {"role": "user", "content": text}

    def results(self, calls: Calls) -> list[Any]:
        return [{"role": "tool", "tool_call_id": id, "content": "rain"} for id, _ in calls]

    async def aclose(self) -> None:
        await self._client.close()


class Responses:
    def __init__(self, url: str) -> None:
        self.whole: list[Any] = []
        self._client = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

    async def ask(self, new: Sequence[Any], *, whole: bool) -> Calls:
        self.whole += new
        reply = await self._client.responses.create(
            model="chat",
            input=self.whole if whole else list(new),
            tools=[{"type": "function", "strict": None, **FUNCTION}],  # type: ignore[list-item]
            extra_headers=SESSION,
        )
        self.whole += [item.model_dump() for item in reply.output]
        return [(item.call_id, item.name) for item in reply.output if item.type == "function_call"]

    def words(self, text: str) -> Any:
        return {"role": "user", "content": [{"type": "input_text", "text": text}]}

    def results(self, calls: Calls) -> list[Any]:
        return [{"type": "function_call_output", "call_id": id, "output": "rain"} for id, _ in calls]

    async def aclose(self) -> None:
        await self._client.close()


class Messages:
    def __init__(self, url: str) -> None:
        self.whole: list[Any] = []
        self._client = AsyncAnthropic(base_url=url, api_key="none", max_retries=0)

    async def ask(self, new: Sequence[Any], *, whole: bool) -> Calls:
        self.whole += new
        reply = await self._client.messages.create(
            model="chat",
            max_tokens=99,
            messages=self.whole if whole else list(new),
            tools=[{"name": "look", "input_schema": PARAMETERS}],
            extra_headers=SESSION,
        )
        self.whole.append({"role": "assistant", "content": [block.model_dump() for block in reply.content]})
        return [(block.id, block.name) for block in reply.content if block.type == "tool_use"]

    def words(self, text: str) -> Any:
        marked = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        return {"role": "user", "content": [marked]}

    def results(self, calls: Calls) -> list[Any]:
        return [
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": id, "content": "rain"} for id, _ in calls],
            }
        ]

    async def aclose(self) -> None:
        await self._client.close()


class Ollama:
    """Whose calls and results have no ids."""

    def __init__(self, url: str) -> None:
        self.whole: list[Any] = []
        self._client = AsyncClient(host=url, headers=SESSION)

    async def ask(self, new: Sequence[Any], *, whole: bool) -> Calls:
        self.whole += new
        reply = await self._client.chat(
            model="chat",
            messages=self.whole if whole else list(new),
            tools=[{"type": "function", "function": FUNCTION}],
        )
        self.whole.append(reply.message.model_dump())
        return [("", call.function.name) for call in reply.message.tool_calls or ()]

    def words(self, text: str) -> Any:
        return {"role": "user", "content": text}

    def results(self, calls: Calls) -> list[Any]:
        return [{"role": "tool", "tool_name": name, "content": "rain"} for _, name in calls]

    async def aclose(self) -> None:
        await self._client._client.aclose()


def message(**said: Any) -> Script:
    reply = json.loads(completion())
    reply["choices"][0]["message"] = {"role": "assistant", "content": None, **said}
    return answers(200, json.dumps(reply))


def call(id: str, city: str) -> dict[str, Any]:
    arguments = json.dumps({"city": city, "days": 1.0})
    return {"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}


REPLIES = {
    "words": message(content=" Let me see.\n"),
    "nothing": message(content=""),
    "a thought": message(content="", reasoning_content="hm"),
    "a refusal": message(refusal="I will not."),
    "a call": message(content="Let me see. ", tool_calls=[call("call_a", "Bern")]),
    "two calls": message(tool_calls=[call("call_a", "Bern"), call("call_b", "Basel")]),
}


def told(visit: Visit) -> list[Any]:
    """What the model reads: who says what, each call by its city, and its result behind it."""
    read: list[Any] = []
    for one in json.loads(visit.asked.body)["messages"]:
        words = one.get("content") or ""
        if not isinstance(words, str):
            words = "".join(part["text"] for part in words)
        calls = [json.loads(call["function"]["arguments"])["city"] for call in one.get("tool_calls") or ()]
        read.append((one["role"], words.strip(), *calls))
    return read


@pytest.mark.parametrize("whole", [True, False], ids=["its whole history", "what is new"])
@pytest.mark.parametrize("reply", REPLIES)
@pytest.mark.parametrize("client", [Chat, Responses, Messages, Ollama])
async def test_what_was_said_is_there_once(
    tmp_path: Path, client: Callable[[str], Client], reply: str, whole: bool
) -> None:
    read: list[Any] = []

    async def last(visit: Visit) -> None:
        read.extend(told(visit))
        await message(content="Good.")(visit)

    async with (
        keeping(tmp_path, REPLIES[reply], message(content="Rain."), last) as (box, gateway),
        aclosing(client(gateway.url)) as caller,
    ):
        asked = 3
        if calls := await caller.ask([caller.words("Where is rain?")], whole=whole):
            await caller.ask(caller.results(calls), whole=whole)
        else:
            await caller.ask([caller.words("Well?")], whole=whole)
        await caller.ask([caller.words("Well?")], whole=whole)
        turns = (await gateway.get("/v1/sessions/talk")).json["turns"]
    assert len(turns) == len(box.asked) == asked
    assert [one.get("parent") for one in turns] == [None, *(one["id"] for one in turns[:-1])]
    assert all(len(one["messages"]) == 1 for one in turns)
    said = [words for _, words, *_ in read]
    expected = {
        "words": ["Where is rain?", "Let me see.", "Well?", "Rain.", "Well?"],
        "nothing": ["Where is rain?Well?", "Rain.", "Well?"],
        "a thought": ["Where is rain?Well?", "Rain.", "Well?"],
        "a refusal": ["Where is rain?", "I will not.", "Well?", "Rain.", "Well?"],
        "a call": ["Where is rain?", "Let me see.", "rain", "Rain.", "Well?"],
        "two calls": ["Where is rain?", "", "rain", "rain", "Rain.", "Well?"],
    }
    assert said == expected[reply]
