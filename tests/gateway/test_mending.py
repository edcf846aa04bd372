"""What an upstream's reply lacks is in the gateway's, and what is right passes to the byte: on real sockets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import config, serving
from openai import AsyncOpenAI
from raw_caller import QUESTION, Answer
from scripted_upstream import DONE, answers, completion, delta, says, streams, upstream

pytestmark = pytest.mark.anyio

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai_chat"
STREAMED = QUESTION | {"stream": True}
REQUIRED = {"id", "object", "created", "model", "choices"}


def event(said: Any) -> bytes:
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def chunks(answer: Answer) -> list[dict[str, Any]]:
    assert answer.data[-1] == b"[DONE]"
    return [json.loads(one) for one in answer.data[:-1]]


async def test_a_whole_reply_of_next_to_nothing_is_complete() -> None:
    bare = {"choices": [{"message": {"content": "hi"}}], "their_own": 1}
    async with upstream(answers(200, json.dumps(bare))) as box, serving(config(box)) as gateway:
        said = (await gateway.ask()).json
    assert set(said) > REQUIRED
    assert said["object"] == "chat.completion"
    assert said["id"].startswith("chatcmpl-")
    assert said["model"] == "chat"
    assert said["their_own"] == 1
    assert said["usage"]["total_tokens"] > 0
    assert said["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


async def test_an_engines_whole_reply_gets_its_nulls_and_nothing_else_changes() -> None:
    recorded = json.loads((RECORDINGS / "chat.json").read_text())
    async with upstream(answers(200, json.dumps(recorded))) as box, serving(config(box)) as gateway:
        said = (await gateway.ask()).json
    recorded["choices"][0]["message"]["refusal"] = None
    recorded["choices"][0]["logprobs"] = None
    assert said == recorded


async def test_a_stream_of_next_to_nothing_is_complete() -> None:
    pieces = [event({"choices": [{"delta": {"content": text}}]}) for text in ("h", "i")]
    async with upstream(streams([*pieces, DONE]), streams(pieces[:1])) as box, serving(config(box)) as gateway:
        said = chunks(await gateway.ask(STREAMED))
        cut = await gateway.ask(STREAMED)
    assert [one["choices"][0]["delta"].get("content") for one in said] == ["h", "i", None]
    assert [one["choices"][0]["finish_reason"] for one in said] == [None, None, "stop"]
    assert all(set(one) >= REQUIRED for one in said)
    assert len({one["id"] for one in said}) == 1
    assert {one["object"] for one in said} == {"chat.completion.chunk"}
    assert cut.data[-1] != b"[DONE]"  # it is not known to be whole


async def test_a_tool_call_without_a_finish_reason_is_finished_by_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    bare = {"choices": [{"message": {"tool_calls": [call]}}]}
    async with upstream(answers(200, json.dumps(bare))) as box, serving(config(box)) as gateway:
        [choice] = (await gateway.ask()).json["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None


async def test_vectors_get_their_places() -> None:
    bare = {"data": [{"embedding": [1, 2]}, {"embedding": [3, 4]}]}
    async with upstream(answers(200, json.dumps(bare))) as box, serving(config(box)) as gateway:
        said = (await gateway.ask({"model": "chat", "input": ["a", "b"]}, path="/v1/embeddings")).json
    assert [(one["object"], one["index"]) for one in said["data"]] == [("embedding", 0), ("embedding", 1)]
    assert said["object"] == "list"
    assert said["model"] == "chat"
    assert set(said["usage"]) == {"prompt_tokens", "total_tokens"}


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_right_passes_to_the_byte_and_so_does_what_is_no_reply(stream: bool) -> None:
    right = [streams([b": wait\n\n", delta("hi"), DONE])] if stream else [says("hi")]
    strange = b'{"x":  1}'
    async with upstream(*right, answers(200, strange)) as box, serving(config(box)) as gateway:
        first = await gateway.ask(QUESTION | {"stream": stream})
        second = await gateway.ask()
    assert first.body == (b": wait\n\n" + delta("hi") + DONE if stream else completion("hi"))
    assert second.body == strange


async def test_a_comment_before_the_first_event_passes_and_the_event_is_mended() -> None:
    pieces = [b": wait\n\n", event({"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}), DONE]
    async with upstream(streams(pieces)) as box, serving(config(box)) as gateway:
        answer = await gateway.ask(STREAMED)
    assert answer.body.startswith(b": wait\n\n")
    assert set(chunks(answer)[0]) >= REQUIRED


async def test_an_event_before_all_choices_shows_nothing() -> None:
    first = event({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []})
    async with upstream(streams([first, delta("hi"), DONE])) as box, serving(config(box)) as gateway:
        assert (await gateway.ask(STREAMED)).body == first + delta("hi") + DONE


async def test_the_official_client_reads_what_was_mended() -> None:
    async with (
        upstream(
            answers(200, '{"choices":[{"message":{"content":"hi"}}]}'),
            streams([event({"choices": [{"delta": {"content": "hi"}}]}), DONE]),
        ) as box,
        serving(config(box)) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as client,
    ):
        whole = await client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "hello"}])
        assert (whole.choices[0].finish_reason, whole.choices[0].index) == ("stop", 0)
        streamed = await client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hello"}], stream=True
        )
        parts = [part async for part in streamed]
        assert [part.choices[0].finish_reason for part in parts] == [None, "stop"]
        assert parts[0].id == parts[1].id
