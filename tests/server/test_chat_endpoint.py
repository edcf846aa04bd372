"""What a model endpoint says to a request before any upstream is asked."""

from __future__ import annotations

import pytest
from harness import config, serving
from raw_caller import QUESTION
from scripted_upstream import completion, says, upstream

from moltbot_edge.config.schema import Config, Model

pytestmark = pytest.mark.anyio

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank"]


AT_FAULT: list[tuple[bytes, str | None, str]] = [
    (b"", None, "not JSON"),
    (b"{", None, "not JSON"),
    (b'{"model": "chat"} and more', None, "not JSON"),
    (b'{"model": "chat", "x": [1, 2}', None, "not JSON"),
    (b"\xff\xfe", None, "not JSON"),
    (b'{"model": "chat", "x": ' + b"[" * 100_000, None, "not JSON"),
    (b"[]", None, "object"),
    (b"null", None, "object"),
    (b"{}", "model", "model"),
    (b'{"model": null}', "model", "str"),
    (b'{"model": 3}', "model", "str"),
    (b'{"model": ""}', "model", "empty"),
    (b'{"model": "chat", "stream": "yes"}', "stream", "bool"),
    (b'{"model": "chat", "session": 7}', "session", "str"),
]


async def test_a_body_at_fault_is_refused_with_the_field_that_is() -> None:
    async with serving(config("http://unused")) as gateway, gateway.caller() as client:
        for body, param, said in AT_FAULT:
            for path in PATHS:
                answer = await client.ask(body, path=path)
                assert (answer.status, answer.error["param"]) == (400, param), body[:50]
                assert answer.error["type"] == "invalid_request_error"
                assert said in answer.error["message"]
        refused = [value for name, value in (await gateway.metrics()).items() if name[0] == "moltbot_refused_total"]
        assert sum(refused) == len(PATHS) * len(AT_FAULT)


async def test_no_body_at_all_is_refused() -> None:
    async with serving(config("http://unused")) as gateway:
        answer = await gateway.ask(None)
        assert answer.status == 400
        assert "not JSON" in answer.error["message"]


async def test_an_unknown_model_is_told_with_those_there_are() -> None:
    settings = Config(model_registry=[Model(name=name, endpoint="http://unused") for name in ("one", "two")])
    async with serving(settings) as gateway:
        for path in PATHS:
            answer = await gateway.ask({"model": "three"}, path=path)
            assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
            assert answer.error["message"] == "no model named 'three'; configured: auto, one, two"
        names = {name for name in await gateway.metrics() if name[0].startswith("moltbot_request")}
        assert not any("three" in label for name in names for label in name)  # what a caller makes up is no label


async def test_without_any_model_the_error_says_what_to_do() -> None:
    async with serving(Config()) as gateway:
        answer = await gateway.ask()
        assert answer.status == 404
        assert "model_registry" in answer.error["message"]


async def test_only_post_is_taken() -> None:
    async with serving(config("http://unused")) as gateway, gateway.caller() as client:
        for method in ("GET", "PUT", "DELETE", "OPTIONS"):
            for path in PATHS:
                answer = await client.ask(None, path=path, method=method)
                assert (answer.status, answer.error["code"]) == (405, "method_not_allowed")


async def test_an_unknown_path_is_told() -> None:
    async with serving(Config()) as gateway, gateway.caller() as client:
        for path in ("/v1", "/v1/chat", "/v1/chat/completions/", "/v2/models", "/%zz", "/v1/chat%2"):
            for method in ("GET", "POST"):
                answer = await client.ask(None, path=path, method=method)
                assert (answer.status, answer.error["code"]) == (404, "unknown_url")


async def test_a_path_may_be_said_in_other_ways() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway:
        for path in (
            "/v1/chat/completions?api-version=1",
            "http://gateway/v1/chat/completions",
            "/v1/chat%2Fcompletions",
        ):
            answer = await gateway.ask(path=path)
            assert answer.body == completion()
        assert {asked.path for asked in box.asked} == {"/v1/chat/completions"}


async def test_fields_that_are_null_are_not_asked_for() -> None:
    async with upstream(says()) as box, serving(config(box)) as gateway:
        for stream in (None, False):
            assert (await gateway.ask(QUESTION | {"stream": stream, "session": None})).status == 200
