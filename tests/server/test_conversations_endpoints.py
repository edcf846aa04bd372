"""OpenAI's conversations: begun with items or without, gone on with by requests, and changed only by more of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway
from kept_responses import CALLS, TOOL, ask, heard, keeping, keys_of
from raw_caller import Answer
from scripted_upstream import answers, says

pytestmark = pytest.mark.anyio

PATH = "/v1/conversations"
HELLO = {"type": "message", "role": "user", "content": "hello"}


async def post(gateway: Gateway, path: str, said: Any, *headers: str) -> Answer:
    return await gateway.ask(said, *headers, path=f"{PATH}{path}")


async def delete(gateway: Gateway, path: str, *headers: str) -> Answer:
    return await gateway.ask(None, *headers, path=f"{PATH}{path}", method="DELETE")


async def listed(gateway: Gateway, id: str) -> list[tuple[str, str]]:
    answer = await gateway.get(f"{PATH}/{id}/items?order=asc")
    return [(item["role"], item["content"][0]["text"]) for item in answer.json["data"]]


async def test_one_that_is_empty_is_there_and_goes_on(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (_, gateway):
        made = await post(gateway, "", {"metadata": {"topic": "houses"}})
        bare = await post(gateway, "", {})
    id = made.json["id"]
    assert id.startswith("conv_")
    assert made.json == {
        "id": id,
        "object": "conversation",
        "created_at": made.json["created_at"],
        "metadata": {"topic": "houses"},
    }
    assert bare.json["metadata"] == {}
    async with keeping(tmp_path, says("a house"), says("a big one")) as (box, gateway):  # after a restart
        assert (await gateway.get(f"{PATH}/{id}")).json == made.json
        assert await listed(gateway, id) == []
        first = (await ask(gateway, "casa?", conversation=id)).json
        second = (await ask(gateway, "casona?", conversation={"id": id})).json
        assert first["conversation"] == second["conversation"] == {"id": id}
        assert (first["previous_response_id"], second["previous_response_id"]) == (None, None)
        assert heard(box) == [("user", "casa?"), ("assistant", "a house"), ("user", "casona?")]
        assert await listed(gateway, id) == [
            ("user", "casa?"),
            ("assistant", "a house"),
            ("user", "casona?"),
            ("assistant", "a big one"),
        ]


async def test_items_are_put_into_it(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("three")) as (box, gateway):
        rule = {"role": "developer", "content": "Rhyme."}
        id = (await post(gateway, "", {"items": [rule, HELLO]})).json["id"]
        said = [{"role": "assistant", "content": "one"}, {"role": "user", "content": "two"}]
        added = (await post(gateway, f"/{id}/items", {"items": said})).json
        assert [item["role"] for item in added["data"]] == ["assistant", "user"]
        assert (added["object"], added["has_more"]) == ("list", False)
        assert added["last_id"] == added["data"][1]["id"]
        one = await gateway.get(f"{PATH}/{id}/items/{added['first_id']}")
        assert one.json == added["data"][0]
        await ask(gateway, "and?", conversation=id)
        assert await listed(gateway, id) == [
            ("developer", "Rhyme."),
            ("user", "hello"),
            ("assistant", "one"),
            ("user", "two"),
            ("user", "and?"),
            ("assistant", "three"),
        ]
    assert "Rhyme." in str(heard(box))
    assert ("assistant", "one") in heard(box)


async def test_an_item_that_was_taken_out_is_not_said_again(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two")) as (box, gateway):
        id = (await post(gateway, "", {"items": [HELLO, {**HELLO, "content": "a secret"}]})).json["id"]
        response = (await ask(gateway, "a", conversation=id)).json
        items = (await gateway.get(f"{PATH}/{id}/items?order=asc")).json["data"]
        secret, reply = items[1]["id"], items[3]["id"]
        assert reply == response["output"][0]["id"]
        gone = await delete(gateway, f"/{id}/items/{secret}")
        assert (gone.status, gone.json["id"]) == (200, id)
        await delete(gateway, f"/{id}/items/{reply}")
        assert (await gateway.get(f"{PATH}/{id}/items/{secret}")).error["code"] == "item_not_found"
        assert (await delete(gateway, f"/{id}/items/{secret}")).status == 404
        assert (await gateway.get(f"/v1/responses/{response['id']}")).json["output"] == []
        assert [item["id"] for item in (await gateway.get(f"{PATH}/{id}/items?order=asc")).json["data"]] == [
            items[0]["id"],
            items[2]["id"],
        ]
        await ask(gateway, "b", conversation=id)
    assert "secret" not in str(heard(box))
    assert "one" not in str(heard(box))
    assert "hello" in str(heard(box))


async def test_its_notes_may_change(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two")) as (box, gateway):
        id = (await post(gateway, "", {"metadata": {"a": "1"}})).json["id"]
        await ask(gateway, "a", conversation=id, metadata={"of": "the response"})
        assert (await post(gateway, f"/{id}", {"metadata": {"b": "2"}})).json["metadata"] == {"b": "2"}
        assert (await gateway.get(f"{PATH}/{id}")).json["metadata"] == {"b": "2"}
        await ask(gateway, "b", conversation=id)
        assert heard(box) == [("user", "a"), ("assistant", "one"), ("user", "b")]


async def test_calls_and_their_results_are_items(tmp_path: Path) -> None:
    async with keeping(tmp_path, answers(200, json.dumps(CALLS).encode()), says("rain")) as (_, gateway):
        id = (await post(gateway, "", {})).json["id"]
        (call,) = (await ask(gateway, "rain?", conversation=id, tools=[TOOL])).json["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        await ask(gateway, [result], conversation=id, tools=[TOOL])
        items = (await gateway.get(f"{PATH}/{id}/items?order=asc")).json["data"]
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output", "message"]
    assert items[1] == call
    assert items[2] == {**result, "id": items[2]["id"], "status": "completed"}


async def test_what_is_not_there_is_404(tmp_path: Path) -> None:
    unknown = "conv_01kqd5v1c0000000000000000a"
    async with keeping(tmp_path) as (box, gateway):
        found = [
            await gateway.get(f"{PATH}/{unknown}"),
            await gateway.get(f"{PATH}/{unknown}/items"),
            await post(gateway, f"/{unknown}", {"metadata": {}}),
            await post(gateway, f"/{unknown}/items", {"items": [HELLO]}),
            await delete(gateway, f"/{unknown}"),
            await ask(gateway, "a", conversation=unknown),
            await ask(gateway, "a", conversation="conv_689667905b048191b4740501625afd940c7533ace33a2dab"),
        ]
        assert not box.asked
    assert [(answer.status, answer.error["code"]) for answer in found] == [(404, "session_not_found")] * 7
    assert found[5].error["param"] == found[6].error["param"] == "conversation"
    assert found[5].error["message"] == f"Conversation with id '{unknown}' not found."


async def test_one_that_was_deleted_is_gone(tmp_path: Path) -> None:
    async with keeping(tmp_path) as (_, gateway):
        id = (await post(gateway, "", {"items": [HELLO]})).json["id"]
        assert (await delete(gateway, f"/{id}")).json == {"id": id, "object": "conversation.deleted", "deleted": True}
        assert (await gateway.get(f"{PATH}/{id}")).status == 404


async def test_another_key_s_is_not_there(tmp_path: Path) -> None:
    mine, theirs = "authorization: Bearer me", "authorization: Bearer you"
    async with keeping(tmp_path, says("one"), keys=keys_of("me", "you"), secret="me") as (_, gateway):
        id = (await post(gateway, "", {"items": [HELLO]}, mine)).json["id"]
        found = [
            await gateway.get(f"{PATH}/{id}", theirs),
            await gateway.get(f"{PATH}/{id}/items", theirs),
            await post(gateway, f"/{id}", {"metadata": {}}, theirs),
            await post(gateway, f"/{id}/items", {"items": [HELLO]}, theirs),
            await delete(gateway, f"/{id}", theirs),
            await ask(gateway, "a", theirs, conversation=id),
        ]
        assert await gateway.get(f"{PATH}/{id}", mine)
        assert (await gateway.get(f"{PATH}/{id}", mine)).status == 200
    assert [answer.status for answer in found] == [404] * 6


async def test_any_session_is_one(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one")) as (_, gateway):
        chat = {"model": "chat", "messages": [{"role": "user", "content": "a"}], "session": "the/kitchen?"}
        assert (await gateway.ask(chat)).status == 200
        shown = await gateway.get(f"{PATH}/the%2Fkitchen%3F")
        assert shown.json["id"] == "the/kitchen?"
        items = (await gateway.get(f"{PATH}/the%2Fkitchen%3F/items?order=asc")).json["data"]
        assert [item["content"][0]["text"] for item in items] == ["a", "one"]
        one = await gateway.get(f"{PATH}/the%2Fkitchen%3F/items/{items[0]['id']}")
        assert one.json == items[0]


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"items": [{"type": "web_search_call", "id": "ws_1"}]}, "items[0].type"),
        ({"items": [{"type": "item_reference", "id": "msg_1"}]}, "items[0].type"),
        ({"items": [HELLO, {"role": "user"}]}, "items[1].content"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
    ],
)
async def test_what_is_wrong_is_named_by_its_path(tmp_path: Path, said: Any, param: str) -> None:
    async with keeping(tmp_path) as (_, gateway):
        answer = await post(gateway, "", said)
        id = (await post(gateway, "", {})).json["id"]
        nothing = await post(gateway, f"/{id}/items", {"items": []})
        method = await gateway.get(PATH)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert (nothing.status, nothing.error["param"]) == (400, "items")
    assert method.status == 405
