"""A response that is kept can be asked for again: whole, with what it was asked, until it is deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway
from kept_responses import CALLS, PATH, TOOL, ask, events, keeping, keys_of
from raw_caller import Answer
from scripted_upstream import DONE, answers, completion, delta, says, streams

from moltbot_edge.core import response_id

pytestmark = pytest.mark.anyio

CUT_OFF = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n'
SAMPLED = ("completed_at", "temperature", "top_p", "max_output_tokens", "text", "reasoning", "tool_choice")


async def delete(gateway: Gateway, id: str, *headers: str) -> Answer:
    return await gateway.ask(None, *headers, path=f"{PATH}/{id}", method="DELETE")


def of(said: dict[str, Any]) -> dict[str, Any]:
    """Without what is not kept."""
    return {name: value for name, value in said.items() if name not in SAMPLED}


async def test_a_response_is_shown_as_it_was_replied(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("a house"), says("a big one"), says("?")) as (_, gateway):
        first = await ask(gateway, "casa?", instructions="Be brief.", metadata={"who": "me"}, tools=[TOOL])
        second = await ask(gateway, "casona?", previous_response_id=first.json["id"])
        named = await ask(gateway, "casita?", "x-moltbot-session: the-table/1")
        for replied in (first, second, named):
            shown = await gateway.get(f"{PATH}/{replied.json['id']}")
            assert shown.status == 200
            assert of(shown.json) == of(replied.json)


async def test_so_is_one_that_was_streamed_and_cut_off(tmp_path: Path) -> None:
    async with keeping(tmp_path, streams([delta("a ho"), CUT_OFF, DONE])) as (_, gateway):
        told = events(await ask(gateway, "casa?", stream=True))[-1]["response"]
        shown = (await gateway.get(f"{PATH}/{told['id']}")).json
    assert told["status"] == "incomplete"
    assert {**of(shown), "usage": None} == {**of(told), "usage": None}  # which nobody counted


async def test_so_is_a_call(tmp_path: Path) -> None:
    async with keeping(tmp_path, answers(200, json.dumps(CALLS).encode())) as (_, gateway):
        told = (await ask(gateway, "rain?", tools=[TOOL])).json
        shown = (await gateway.get(f"{PATH}/{told['id']}")).json
    assert shown["output"] == told["output"]
    assert shown["output"][0]["type"] == "function_call"


async def test_what_it_was_asked_is_listed(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("a house"), says("a big one")) as (_, gateway):
        first = (await ask(gateway, "casa?")).json
        said = [{"role": "user", "content": [{"type": "input_text", "text": "casona?"}]}]
        second = (await ask(gateway, said, previous_response_id=first["id"])).json
        at = f"{PATH}/{second['id']}/input_items"
        listed = (await gateway.get(at)).json
        page = (await gateway.get(f"{at}?order=asc&limit=2")).json
        rest = (await gateway.get(f"{at}?order=asc&after={page['last_id']}")).json
        wrong = [await gateway.get(f"{at}?{query}") for query in ("limit=0", "order=up", "after=msg_1")]
    texts = [item["content"][0]["text"] for item in listed["data"]]
    assert texts == ["casona?", "a house", "casa?"]
    assert listed["data"][1]["id"] == first["output"][0]["id"]
    assert [item["role"] for item in page["data"] + rest["data"]] == ["user", "assistant", "user"]
    assert (page["has_more"], rest["has_more"]) == (True, False)
    assert (page["first_id"], rest["last_id"]) == (page["data"][0]["id"], rest["data"][-1]["id"])
    assert [(answer.status, answer.error["param"]) for answer in wrong] == [
        (400, "limit"),
        (400, "order"),
        (400, "after"),
    ]


async def test_a_response_that_was_deleted_is_not_said_again(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three")) as (box, gateway):
        first = (await ask(gateway, "a")).json["id"]
        second = (await ask(gateway, "b", previous_response_id=first)).json["id"]
        gone = await delete(gateway, first)
        assert gone.json == {"id": first, "object": "response.deleted", "deleted": True}
        again = [
            await gateway.get(f"{PATH}/{first}"),
            await gateway.get(f"{PATH}/{first}/input_items"),
            await delete(gateway, first),
        ]
        after = await ask(gateway, "c", previous_response_id=first)
        await ask(gateway, "c", previous_response_id=second)
    assert [answer.status for answer in again] == [404, 404, 404]
    assert after.error["code"] == "previous_response_not_found"
    said = [one["content"] for one in json.loads(box.asked[-1].body)["messages"]]
    assert said == ["b", "two", "c"]


async def test_with_its_last_response_a_session_is_gone(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two")) as (_, gateway):
        first = await ask(gateway, "a")
        second = (await ask(gateway, "b", previous_response_id=first.json["id"])).json["id"]
        name = first.header("x-moltbot-session")
        await delete(gateway, first.json["id"])
        assert (await gateway.get(f"/v1/sessions/{name}")).status == 200
        await delete(gateway, second)
        assert (await gateway.get(f"/v1/sessions/{name}")).status == 404


async def test_another_key_s_is_not_there(tmp_path: Path) -> None:
    mine, theirs = "authorization: Bearer me", "authorization: Bearer you"
    async with keeping(tmp_path, says("one"), keys=keys_of("me", "you"), secret="me") as (_, gateway):
        id = (await ask(gateway, "a", mine)).json["id"]
        found = [
            await gateway.get(f"{PATH}/{id}", theirs),
            await gateway.get(f"{PATH}/{id}/input_items", theirs),
            await delete(gateway, id, theirs),
        ]
        never = await gateway.get(f"{PATH}/{response_id.written('s-1', id[5:31])}", theirs)
        assert (await gateway.get(f"{PATH}/{id}", mine)).status == 200
        assert (await gateway.get(f"{PATH}/{id}")).status == 401
    assert [answer.status for answer in [*found, never]] == [404] * 4
    assert found[0].error["message"].replace(id, "") == never.error["message"].replace(
        response_id.written("s-1", id[5:31]), ""
    )


async def test_what_is_no_response_is_said_clearly(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one")) as (_, gateway):
        id = (await ask(gateway, "a")).json["id"]
        unknown = await gateway.get(f"{PATH}/resp_67ccd3a9")
        streamed = await gateway.get(f"{PATH}/{id}?stream=true")
        cancelled = await gateway.ask(None, path=f"{PATH}/{id}/cancel")
        changed = await gateway.ask({}, path=f"{PATH}/{id}")
        deeper = await gateway.get(f"{PATH}/{id}/input_items/1")
    assert (unknown.status, unknown.error["code"]) == (404, "response_not_found")
    assert "resp_67ccd3a9" in unknown.error["message"]
    assert [streamed.status, cancelled.status, changed.status, deeper.status] == [400, 400, 405, 404]
    assert changed.header("allow") == "GET, HEAD, DELETE"


async def test_it_is_there_after_a_restart(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one")) as (_, gateway):
        told = (await ask(gateway, "a")).json
    async with keeping(tmp_path, answers(200, completion("two"))) as (box, gateway):
        assert of((await gateway.get(f"{PATH}/{told['id']}")).json) == of(told)
        await ask(gateway, "b", previous_response_id=told["id"])
        assert len(json.loads(box.asked[0].body)["messages"]) == 3
