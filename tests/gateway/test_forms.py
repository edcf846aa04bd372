"""Sounds and pictures pass: a form with its model replaced, and replies that are no JSON."""

from __future__ import annotations

import hashlib
from typing import Any

import httpx
import pytest
from harness import Gateway, serving
from openai import AsyncOpenAI
from raw_caller import Answer
from scripted_upstream import Upstream, answers, streams, upstream

from moltbot_edge.config.schema import Config, Key, Model

pytestmark = pytest.mark.anyio

SOUND = bytes(range(256)) * 40
TRANSCRIPTIONS = "/v1/audio/transcriptions"


def config(box: Upstream, *keys: Key) -> Config:
    model = Model(name="whisper", model="their-whisper", endpoint=box.url, type="openai-chat")
    return Config(model_registry=[model], keys=list(keys))


def key(name: str, **fields: Any) -> Key:
    return Key(name=name, hash=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", **fields)


async def post(gateway: Gateway, secret: str = "", **fields: str) -> Answer:
    form = httpx.Request("POST", "http://gateway", data={"model": "whisper"} | fields, files={"file": ("a.wav", SOUND)})
    async with gateway.caller() as client:
        head = [f"POST {TRANSCRIPTIONS} HTTP/1.1", "Host: x", f"x-api-key: {secret}"]
        head += [f"{name}: {form.headers[name]}" for name in ("content-type", "content-length")]
        await client.send("\r\n".join([*head, "", ""]).encode() + form.read())
        return await client.reply()


async def test_a_sound_goes_up_as_it_is_under_its_upstreams_name() -> None:
    async with upstream(answers(200, '{"text":"hello"}')) as box, serving(config(box)) as gateway:
        answer = await post(gateway, language="en")
    assert answer.json == {"text": "hello"}
    [asked] = box.asked
    assert asked.path == "/v1/audio/transcriptions"
    assert str(asked.header("content-type")).startswith("multipart/form-data; boundary=")
    assert SOUND in asked.body
    assert b"\r\n\r\ntheir-whisper\r\n" in asked.body
    assert b"\r\n\r\nwhisper\r\n" not in asked.body


async def test_the_official_client_is_answered() -> None:
    async with (
        upstream(answers(200, '{"text":"hello"}')) as box,
        serving(config(box)) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client,
    ):
        said = await client.audio.transcriptions.create(model="whisper", file=("a.wav", SOUND))
        assert said.text == "hello"
        box.play(answers(200, SOUND, kind="audio/mpeg"))
        speech = await client.audio.speech.create(model="whisper", voice="alloy", input="hello")
        assert speech.read() == SOUND
        assert box.asked[-1].header("content-type") == "application/json"
        box.play(answers(200, '{"created":1,"data":[{"b64_json":"AAAA"}]}'))
        picture = await client.images.edit(model="whisper", image=("a.png", SOUND), prompt="red")
        assert picture.data
        assert picture.data[0].b64_json == "AAAA"
        drawn = await client.images.generate(model="whisper", prompt="red")
        assert drawn.data
        assert drawn.data[0].b64_json == "AAAA"
        assert box.asked[-1].path == "/v1/images/generations"


@pytest.mark.parametrize(("kind", "text"), [("text/plain; charset=utf-8", "hello\n"), ("text/vtt", "WEBVTT\n\n00:00")])
async def test_a_transcript_may_be_text(kind: str, text: str) -> None:
    async with upstream(answers(200, text, kind=kind)) as box, serving(config(box)) as gateway:
        answer = await post(gateway, response_format="text")
    assert answer.body.decode() == text
    assert answer.header("content-type") == kind


async def test_a_captive_portals_page_is_no_transcript() -> None:
    async with upstream(answers(200, "<html>", kind="text/html")) as box, serving(config(box)) as gateway:
        assert (await post(gateway)).status == 502


async def test_a_transcript_is_streamed() -> None:
    pieces = [b'data: {"type":"transcript.text.delta","delta":"hel"}\n\n', b"data: [DONE]\n\n"]
    async with upstream(streams(pieces)) as box, serving(config(box)) as gateway:
        answer = await post(gateway, stream="true")
    assert answer.body == b"".join(pieces)


async def test_a_key_that_may_not_use_a_model_may_not_in_a_form_either() -> None:
    keys = [key("boss", admin=True), key("kitchen", models=["other"])]
    async with upstream(answers(200, "{}")) as box, serving(config(box, *keys), secret="boss") as gateway:
        assert (await post(gateway)).status == 401
        assert (await post(gateway, secret="kitchen")).status == 403
        assert not box.asked
        assert (await post(gateway, secret="boss")).status == 200


async def test_what_is_no_form_is_refused() -> None:
    async with upstream(answers(200, "{}")) as box, serving(config(box)) as gateway:
        answer = await post(gateway, model="unknown")
        assert answer.status == 404
        assert answer.error["code"] == "model_not_found"
        no_form = await gateway.ask(b"--nonsense", path=TRANSCRIPTIONS)
        assert no_form.status == 400
        assert no_form.error["type"] == "invalid_request_error"
        assert not box.asked
