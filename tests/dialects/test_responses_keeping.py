"""Where a request to the Responses goes on, and whether it is kept: as its head says before anybody is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moltbot_edge.core import response_id
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import Head, with_wishes
from moltbot_edge.core.session import CHANCE_BYTES, made_id
from moltbot_edge.dialects.openai_responses import OpenAIResponses

TURN = made_id(1_795_000_000.0, b"\x07" * CHANCE_BYTES)
OURS = response_id.written("kitchen", TURN)
CONVERSATION = response_id.conversation(TURN)
FOREIGN = "resp_67ccd3a9da748190baa7f1570fe91ac604becb25c45c1d41"
ITEM = {"type": "item_reference", "id": response_id.of_item("msg", "kitchen", TURN, "0")}


def head(path: str = "/v1/responses", **said: Any) -> Head:
    return OpenAIResponses().head(path, b"", json.dumps({"model": "m", "input": "hi", **said}).encode())


def of(found: Head) -> dict[str, Any]:
    """What it says that a plain one does not."""
    plain = Head("m")
    return {name: value for name in Head.__struct_fields__ if (value := getattr(found, name)) != getattr(plain, name)}


PREVIOUS = {"session": "kitchen", "parent": TURN, "inherits": False, "asked_by": "previous_response_id"}
REFERRED = {"session": "kitchen", "inherits": False, "asked_by": "input", "keeps": True}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, {"keeps": True, "unasked": True}),
        ({"store": None}, {"keeps": True, "unasked": True}),
        ({"store": True}, {"keeps": True}),
        ({"store": False}, {}),
        ({"previous_response_id": OURS}, PREVIOUS),
        ({"previous_response_id": OURS, "conversation": None}, PREVIOUS),
        ({"previous_response_id": OURS, "store": False}, PREVIOUS | {"appends": False}),
        ({"previous_response_id": OURS, "session": "kitchen"}, PREVIOUS | {"ours": True}),
        ({"previous_response_id": FOREIGN}, {}),
        ({"conversation": CONVERSATION}, {"session": CONVERSATION, "asked_by": "conversation"}),
        ({"conversation": {"id": CONVERSATION}}, {"session": CONVERSATION, "asked_by": "conversation"}),
        ({"conversation": "kitchen", "store": False}, {"session": "kitchen", "asked_by": "conversation"}),
        ({"conversation": "conv_689667905b048191b4740501625afd940c7533ace33a2dab"}, {}),
        ({"session": "kitchen"}, {"session": "kitchen", "ours": True}),
        ({"session": "kitchen", "store": False}, {"session": "kitchen", "ours": True}),
        ({"input": [ITEM]}, REFERRED | {"unasked": True}),
        ({"input": [{**ITEM, "type": "message", "role": "assistant", "content": "hi"}]}, REFERRED | {"unasked": True}),
        ({"input": [ITEM], "store": True}, REFERRED),
        ({"input": [ITEM], "store": False}, {}),
        ({"input": [{**ITEM, "id": "msg_67ccd3a9"}], "store": False}, {}),
        ({"input": 'say "item_reference"', "store": False}, {}),
    ],
)
def test_it_says_where_it_goes_on(said: dict[str, Any], found: dict[str, Any]) -> None:
    assert of(head(**said)) == found


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"previous_response_id": OURS, "conversation": CONVERSATION}, "previous_response_id"),
        ({"previous_response_id": OURS, "session": "cellar"}, "previous_response_id"),
        ({"conversation": CONVERSATION, "session": "cellar"}, "conversation"),
        ({"conversation": 7}, "conversation"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"store": "yes"}, "store"),
    ],
)
def test_two_answers_are_a_mistake(said: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        head(**said)
    assert refused.value.param == param


def test_a_header_names_no_other_session() -> None:
    found = head(previous_response_id=OURS)
    assert of(with_wishes(found, {b"x-moltbot-session": b"kitchen"})) == PREVIOUS
    with pytest.raises(InvalidRequest) as refused:
        with_wishes(found, {b"x-moltbot-session": b"cellar"})
    assert refused.value.param == "previous_response_id"
    assert with_wishes(head(), {b"x-moltbot-session": b"cellar"}).session == "cellar"


def test_what_is_only_counted_is_not_kept() -> None:
    assert of(head("/v1/responses/input_tokens")) == {}
