"""OpenAI's Responses, kept: a request goes on after a response by its id. On real sockets, with a real store."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from kept_responses import CALLS, FINISH, PATH, RECORDINGS, TOOL, ask, events, heard, keeping, keys_of
from scripted_upstream import DONE, Visit, answers, delta, says, streams

from moltbot_edge.core import response_id

pytestmark = pytest.mark.anyio

BRANCHES = 8


async def test_a_request_goes_on_after_a_response(tmp_path: Path) -> None:
    pieces = [delta("a big"), delta(" house"), FINISH, DONE]
    async with keeping(tmp_path, says("a house"), streams(pieces), says("?")) as (box, gateway):
        first = (await ask(gateway, "what is a casa?", instructions="Be brief.", metadata={"who": "me"})).json
        second = await ask(gateway, "and a casona?", previous_response_id=first["id"], stream=True)
        told = events(second)
        third = (await ask(gateway, "thanks", previous_response_id=told[-1]["response"]["id"])).json
    assert (first["store"], first["previous_response_id"]) == (True, None)
    assert first["metadata"] == {"who": "me"}
    assert "conversation" not in first
    assert {one["response"]["id"] for one in told if "response" in one} == {told[0]["response"]["id"]}
    assert told[-1]["response"]["previous_response_id"] == first["id"]
    assert third["previous_response_id"] == told[-1]["response"]["id"]
    assert heard(box, 0)[0] == ("system", "Be brief.")
    # What it was instructed to do holds for one request.
    assert heard(box) == [
        ("user", "what is a casa?"),
        ("assistant", "a house"),
        ("user", "and a casona?"),
        ("assistant", "a big house"),
        ("user", "thanks"),
    ]


async def test_two_requests_go_on_after_the_same_response(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three"), says("four")) as (box, gateway):
        first = (await ask(gateway, "a")).json["id"]
        second = (await ask(gateway, "b", previous_response_id=first)).json["id"]
        await ask(gateway, "c", previous_response_id=first)
        assert heard(box) == [("user", "a"), ("assistant", "one"), ("user", "c")]
        await ask(gateway, "d", previous_response_id=second)
        assert heard(box) == [
            *[("user", "a"), ("assistant", "one"), ("user", "b"), ("assistant", "two"), ("user", "d")]
        ]


async def test_branches_wait_for_nobody_and_lose_nothing(tmp_path: Path) -> None:
    """Each is answered only when all were asked."""
    asked = asyncio.Event()
    waiting: list[Visit] = []

    async def together(visit: Visit) -> None:
        waiting.append(visit)
        if len(waiting) == BRANCHES:
            asked.set()
        await asked.wait()
        await says("same")(visit)

    async with keeping(tmp_path, says("one"), *[together] * BRANCHES, busy="refuse") as (_, gateway):
        first = (await ask(gateway, "a")).json["id"]
        async with asyncio.TaskGroup() as group:
            branches = [
                group.create_task(ask(gateway, f"b{number}", previous_response_id=first)) for number in range(BRANCHES)
            ]
        ids = [branch.result().json["id"] for branch in branches]
        kept = [await gateway.get(f"{PATH}/{id}/input_items?limit=1") for id in ids]
    assert [one.json["data"][0]["content"][0]["text"] for one in kept] == [f"b{number}" for number in range(BRANCHES)]


async def test_the_result_of_a_call_goes_after_the_call(tmp_path: Path) -> None:
    async with keeping(tmp_path, answers(200, json.dumps(CALLS).encode()), says("rain")) as (box, gateway):
        first = (await ask(gateway, "the weather in Rome?", tools=[TOOL])).json
        (call,) = first["output"]
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}
        second = await ask(gateway, [result], previous_response_id=first["id"], tools=[TOOL])
    assert second.json["output"][0]["content"][0]["text"] == "rain"
    sent = json.loads(box.asked[1].body)["messages"]
    assert [one["role"] for one in sent] == ["user", "assistant", "tool"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]


async def test_a_developer_s_message_stays_and_instructions_do_not(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two")) as (box, gateway):
        said = [{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": "a"}]
        first = (await ask(gateway, said, instructions="Be brief.")).json
        second = (await ask(gateway, "b", previous_response_id=first["id"])).json
    assert (first["instructions"], second["instructions"]) == ("Be brief.", None)
    told = heard(box)
    assert "Rhyme." in str(told)
    assert "Be brief." not in str(told)


async def test_tools_hold_for_one_request(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two")) as (box, gateway):
        first = (await ask(gateway, "a", tools=[TOOL])).json
        await ask(gateway, "b", previous_response_id=first["id"])
    assert "tools" in json.loads(box.asked[0].body)
    assert "tools" not in json.loads(box.asked[1].body)


async def test_what_is_not_to_be_stored_is_not(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three")) as (box, gateway):
        first = (await ask(gateway, "a")).json
        second = await ask(gateway, "b", previous_response_id=first["id"], store=False)
        assert second.header("x-moltbot-turn") is None
        assert (second.json["store"], second.json["previous_response_id"]) == (False, first["id"])
        assert heard(box) == [("user", "a"), ("assistant", "one"), ("user", "b")]
        third = await ask(gateway, "c", previous_response_id=second.json["id"])
        alone = await ask(gateway, "d", store=False)
    assert (third.status, third.error["code"]) == (400, "previous_response_not_found")
    assert alone.json["store"] is False
    assert alone.header("x-moltbot-session") is None
    assert len(box.asked) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_who_does_not_ask_for_it_is_not_kept_where_the_configuration_says_so(
    tmp_path: Path, stream: bool
) -> None:
    async with keeping(tmp_path, says("one"), says("two"), keep_responses=False) as (_, gateway):
        unasked = await ask(gateway, "a", stream=stream)
        asked = await ask(gateway, "b", store=True)
    assert unasked.header("x-moltbot-session") is None
    assert asked.header("x-moltbot-session") is not None


@pytest.mark.parametrize(
    "previous",
    [
        "resp_67ccd3a9da748190baa7f1570fe91ac604becb25c45c1d41",
        response_id.written("s-unknown", "01kqd5v1c0000000000000000a"),
    ],
)
async def test_what_is_not_there_is_said_as_openai_does(tmp_path: Path, previous: str) -> None:
    async with keeping(tmp_path) as (box, gateway):
        answer = await ask(gateway, "a", previous_response_id=previous)
    assert answer.status == 400
    assert answer.error["message"] == f"Previous response with id '{previous}' not found."
    assert (answer.error["code"], answer.error["param"]) == ("previous_response_not_found", "previous_response_id")
    assert answer.error["type"] == "invalid_request_error"
    assert not box.asked


async def test_a_response_of_an_upstream_s_own_is_asked_of_it(tmp_path: Path) -> None:
    whole = (RECORDINGS / "plain.json").read_bytes()
    own = "resp_67ccd3a9da748190baa7f1570fe91ac604becb25c45c1d41"
    async with keeping(tmp_path, answers(200, whole), answers(200, whole), kind="openai-responses") as (box, gateway):
        answer = await ask(gateway, "a", previous_response_id=own)
        hosted = await ask(gateway, "a", tools=[{"type": "web_search"}])
    assert json.loads(box.asked[0].body)["previous_response_id"] == own
    assert answer.json["id"] == hosted.json["id"] == json.loads(whole)["id"]
    assert json.loads(box.asked[1].body)["tools"] == [{"type": "web_search"}]


async def test_another_key_has_no_part_in_it(tmp_path: Path) -> None:
    mine, theirs = "authorization: Bearer me", "authorization: Bearer you"
    async with keeping(tmp_path, says("one"), says("two"), keys=keys_of("me", "you"), secret="me") as (_, gateway):
        first = (await ask(gateway, "a", mine)).json["id"]
        stolen = await ask(gateway, "b", theirs, previous_response_id=first)
        own = await ask(gateway, "b", mine, previous_response_id=first)
    assert (stolen.status, stolen.error["code"]) == (400, "previous_response_not_found")
    assert own.status == 200


async def test_a_session_s_name_serves_too(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three")) as (box, gateway):
        first = await ask(gateway, "a", "x-moltbot-session: casa-grande/1")
        assert first.json["conversation"] == {"id": "casa-grande/1"}
        await ask(gateway, "b", previous_response_id=first.json["id"])
        assert heard(box) == [("user", "a"), ("assistant", "one"), ("user", "b")]
        twice = await ask(gateway, "c", "x-moltbot-session: other", previous_response_id=first.json["id"])
        both = await ask(gateway, "c", previous_response_id=first.json["id"], conversation="casa-grande/1")
        whole = await ask(gateway, "c", conversation={"id": "casa-grande/1"})
    assert (twice.status, twice.error["param"]) == (400, "previous_response_id")
    assert (both.status, both.error["param"]) == (400, "previous_response_id")
    assert whole.json["conversation"] == {"id": "casa-grande/1"}
    assert len(heard(box)) == 5


async def test_items_may_be_referred_to(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three")) as (box, gateway):
        first = (await ask(gateway, "a")).json
        reference = {"type": "item_reference", "id": first["output"][0]["id"]}
        said = [{"role": "user", "content": "a"}, reference, {"role": "user", "content": "b"}]
        second = await ask(gateway, said)
        assert heard(box) == [("user", "a"), ("assistant", "one"), ("user", "b")]
        assert second.json["id"].partition("_")[2].partition("_")[2] == first["id"].partition("_")[2].partition("_")[2]
        gone = await ask(gateway, [{**reference, "id": reference["id"][:-1] + "7"}, said[2]])
        alone = await ask(gateway, [reference, said[2]], store=False)
        foreign = await ask(gateway, [{**reference, "id": "msg_67ccd3a9"}, said[2]])
    assert (gone.status, gone.error["code"], gone.error["param"]) == (404, "item_not_found", "input")
    assert (alone.status, alone.error["param"]) == (400, "input")
    assert (foreign.status, foreign.error["param"]) == (400, "input[0].type")


async def test_who_sends_all_that_was_said_is_not_kept_twice(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three"), says("four")) as (box, gateway):
        first = await ask(gateway, "a", instructions="Be brief.")
        said = [{"role": "user", "content": "a"}, *first.json["output"], {"role": "user", "content": "b"}]
        second = await ask(gateway, said)
        assert heard(box) == [("user", "a"), ("assistant", "one"), ("user", "b")]
        assert second.header("x-moltbot-session") == first.header("x-moltbot-session")
        shown = (await gateway.get(f"/v1/sessions/{first.header('x-moltbot-session')}")).json["turns"]
        assert [len(turn["messages"]) for turn in shown] == [1, 1]
        # What is not all of it was left out on purpose.
        third = await ask(gateway, [*second.json["output"], {"role": "user", "content": "c"}])
        assert heard(box) == [("assistant", "two"), ("user", "c")]
        reference = {"type": "item_reference", "id": second.json["output"][0]["id"]}
        await ask(gateway, [{"role": "user", "content": "other"}, reference, {"role": "user", "content": "d"}])
        assert heard(box) == [("user", "other"), ("assistant", "two"), ("user", "d")]
    assert third.header("x-moltbot-session") != first.header("x-moltbot-session")


async def test_items_of_what_is_gone_are_as_good_as_any(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("one"), says("two"), says("three")) as (box, gateway):
        first = await ask(gateway, "a")
        name = first.header("x-moltbot-session")
        await gateway.ask(None, path=f"/v1/sessions/{name}", method="DELETE")
        second = await ask(gateway, [*first.json["output"], {"role": "user", "content": "b"}])
        assert second.status == 200
        assert second.header("x-moltbot-session") not in (None, name)
        third = await ask(gateway, [*second.json["output"], {"role": "user", "content": "c"}], store=False)
        assert third.header("x-moltbot-session") is None
    assert len(box.asked) == 3


async def test_the_same_words_elsewhere_move_nothing(tmp_path: Path) -> None:
    async with keeping(tmp_path, says("yes"), says("no"), says("hm")) as (box, gateway):
        first = (await ask(gateway, "a")).json["id"]
        second = (await ask(gateway, "b", previous_response_id=first)).json["id"]
        said = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "c"}]
        await ask(gateway, said, previous_response_id=second)
    assert [words for role, words in heard(box) if role == "user"] == ["a", "b", "c"]
