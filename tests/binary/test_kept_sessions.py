"""A conversation that is kept: on the disk of the place, over a kill, by whatever SQLite the target has."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from binary.place import Gateway, Place
from scripted_upstream import says, upstream

pytestmark = pytest.mark.anyio

SESSION = "x-moltbot-session: talk"


async def said(gateway: Gateway, words: str) -> int:
    body = {"model": "chat", "messages": [{"role": "user", "content": words}]}
    return (await gateway.ask(body, SESSION)).status


def configured(place: Place, url: str, **sessions: Any) -> str:
    model = {"name": "chat", "endpoint": url, "type": "openai-chat"}
    settings = {"server": {"port": 0}, "model_registry": [model], "sessions": sessions}
    return place.put("/etc/moltbot/moltbot.yaml", json.dumps(settings))


async def test_a_conversation_goes_on_after_a_kill(place: Place) -> None:
    async with upstream(says("a house")) as box:
        file = configured(place, box.url, path=place.inside("/talks/sessions"))
        for words in ("what is a casa?", "and a perro?"):
            with place.serving("--config", file) as gateway:
                assert await said(gateway, words) == 200
                gateway.kill()
                await gateway.ended()
        with place.serving("--config", file) as gateway:
            listed = (await gateway.get("/v1/sessions")).json["sessions"]
            assert [(one["session"], one["turns"]) for one in listed] == [("talk", 2)]
        assert re.findall(r'"content": ?"(.*?)"', bytes(box.asked[-1].body).decode()) == [
            *("what is a casa?", "a house", "and a perro?")
        ]


@pytest.mark.only("alone")
async def test_where_nothing_can_be_written_the_log_says_what_to_do_and_replies_come(place: Place) -> None:
    async with upstream(says("a house")) as box:
        file = configured(place, box.url)
        with place.serving("--config", file, read_only=True) as gateway:
            for words in ("what is a casa?", "and a perro?"):
                assert await said(gateway, words) == 200
            assert (await gateway.get("/ready")).json["sessions"] == "session_store_read_only"
            body = {"model": "chat", "messages": [{"role": "user", "content": "hello"}]}
            assert (await gateway.ask(body)).status == 200
        asked = bytes(box.asked[1].body)
        assert b"what is a casa?" in asked and b"a house" in asked  # noqa: PT018
        assert gateway.said().count("/var/lib/moltbot/sessions") >= 1
