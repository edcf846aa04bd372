"""Who may call, and what."""

from __future__ import annotations

import hashlib

import pytest
from harness import config, serving
from raw_caller import QUESTION
from scripted_upstream import says, upstream

from moltbot_edge.config.schema import Config, Key
from moltbot_edge.core.errors import Forbidden, Unauthenticated
from moltbot_edge.server.auth import ANYONE, Auth, KeyHolder

pytestmark = pytest.mark.anyio


def key(secret: str, *models: str, name: str = "kitchen") -> Key:
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return Key(name=name, hash=f"sha256:{digest}", models=list(models) or None)


WAYS = [
    "Authorization: Bearer {}",
    "authorization: bearer {}",
    "AUTHORIZATION: BEARER   {}  ",
    "X-Api-Key: {}",
    "x-api-key:   {}",
]


async def test_a_known_key_is_let_in_and_another_is_not() -> None:
    keys = [key("first"), key("second", name="office")]
    async with upstream(says()) as box, serving(config(box, keys=keys), secret="first") as gateway:
        for way in WAYS:
            for secret, status in (("first", 200), ("second", 200), ("third", 401), ("", 401), ("first second", 401)):
                for asked in (
                    await gateway.ask(QUESTION, way.format(secret)),
                    await gateway.get("/v1/models", way.format(secret)),
                    await gateway.get("/v1/models/chat", way.format(secret)),
                    await gateway.get("/metrics", way.format(secret)),
                ):
                    assert asked.status == status, (way, secret)
                    if status == 401:
                        assert asked.error["type"] == "authentication_error"
                        assert asked.error["code"] == "invalid_api_key"
        assert len(box.asked) == 2 * len(WAYS)


NO_KEY: list[tuple[str, ...]] = [
    (),
    ("Authorization: Basic Zmlyc3Q=",),
    ("Authorization: first",),
    ("Cookie: key=first",),
    ("Authorization: Bearer",),
]


async def test_without_a_key_everything_but_health_is_closed() -> None:
    async with upstream(says()) as box, serving(config(box, keys=[key("first")]), secret="first") as gateway:
        for headers in NO_KEY:
            for path in ("/v1/models", "/metrics"):
                assert (await gateway.get(path, *headers)).status == 401
            answer = await gateway.ask(QUESTION, *headers)
            assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")
            for path in ("/health", "/ready"):
                assert (await gateway.get(path, *headers)).status == 200
        assert box.asked == []


async def test_a_body_of_a_stranger_is_not_read() -> None:
    async with (
        serving(config("http://unused", keys=[key("first")]), secret="first") as gateway,
        gateway.caller() as client,
    ):
        await client.send(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n")
        assert (await client.reply()).status == 401


async def test_a_key_with_models_may_use_those_and_see_no_others() -> None:
    async with upstream(says()) as box:
        settings = config(box, keys=[key("all"), key("some", "chat", name="guest")])
        settings = Config(
            model_registry=settings.model_registry,
            aliases={"secret-one": "chat"},
            keys=settings.keys,
        )
        async with serving(settings, secret="all") as gateway:
            guest = "x-api-key: some"
            assert (await gateway.ask(QUESTION, guest)).status == 200
            for name in ("secret-one", "unknown"):
                answer = await gateway.ask(QUESTION | {"model": name}, guest)
                assert (answer.status, answer.error["code"]) == (403, "model_not_allowed")
                assert "'guest'" in answer.error["message"]
                assert "it may use: chat" in answer.error["message"]
                answer = await gateway.get(f"/v1/models/{name}", guest)
                assert (answer.status, answer.error["code"]) == (404, "model_not_found")
                assert "secret-one" not in answer.error["message"].removeprefix("no model named 'secret-one'")
            assert [model["id"] for model in (await gateway.get("/v1/models", guest)).json["data"]] == ["chat"]
            both = await gateway.get("/v1/models", "x-api-key: all")
            assert [model["id"] for model in both.json["data"]] == ["chat", "secret-one"]
            assert (await gateway.ask(QUESTION | {"model": "secret-one"}, "x-api-key: all")).status == 200


async def test_a_model_said_twice_is_checked_as_it_is_asked() -> None:
    async with upstream(says()) as box:
        settings = Config(
            model_registry=config(box).model_registry,
            aliases={"dear": "chat"},
            keys=[key("some", "chat")],
        )
        async with serving(settings, secret="some") as gateway:
            answer = await gateway.ask(b'{"model":"chat","model":"dear"}', "x-api-key: some")
            assert answer.status == 403
            assert (await gateway.ask(b'{"model":"dear","model":"chat"}', "x-api-key: some")).status == 200
            assert [asked.body for asked in box.asked] == [b'{"model":"chat"}']


def test_with_no_keys_everybody_is_anyone() -> None:
    assert Auth([]).holder([(b"authorization", b"Bearer whatever")]) is ANYONE
    ANYONE.check_may_use("anything")


def test_a_key_without_any_model_may_use_none() -> None:
    with pytest.raises(Forbidden):
        KeyHolder("closed", b"", models=()).check_may_use("chat")


def test_a_secret_is_never_in_an_error() -> None:
    with pytest.raises(Unauthenticated) as refused:
        Auth([KeyHolder("a", b"")]).holder([(b"x-api-key", b"sesame")])
    assert "sesame" not in refused.value.message
