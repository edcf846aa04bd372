"""What /admin shows, and to whom."""

from __future__ import annotations

import hashlib

import pytest
from harness import config, serving
from raw_caller import QUESTION
from scripted_upstream import hangs, raw, says, upstream

from moltbot_edge.config.schema import Config, Key, Model, Router

pytestmark = pytest.mark.anyio


def key(name: str, admin: bool = False) -> Key:
    return Key(name=name, hash=f"sha256:{hashlib.sha256(name.encode()).hexdigest()}", admin=admin)


async def test_the_router_tells_of_every_alias_what_it_knows() -> None:
    async with upstream(says("hi")) as box, upstream(says("hi")) as other:
        settings = Config(
            model_registry=[
                Model(name="chat", endpoint=box.url),
                Model(name="chat", endpoint=other.url, weight=3, private=True),
                Model(name="openai/*", endpoint=other.url),
            ],
            router=Router(fallbacks={"chat": ["openai/x"]}, policy="round-robin"),
        )
        async with serving(settings) as gateway:
            for _ in range(2):
                assert (await gateway.ask(QUESTION)).status == 200
            answer = await gateway.get("/admin/router")
            assert answer.status == 200
            chat, pattern, auto = answer.json["aliases"]
            assert (chat["alias"], chat["policy"], chat["fallbacks"]) == ("chat", "round-robin", ["openai/x"])
            assert [
                (one["answered"], one["in_flight"], one["weight"], one["private"]) for one in chat["deployments"]
            ] == [
                (1, 0, 1.0, False),
                (1, 0, 3.0, True),
            ]
            assert (pattern["alias"], pattern["deployments"][0]["model"]) == ("openai/*", "*")
            assert auto["alias"] == "auto"
            assert [(one["at_once"], one["busy"], one["waiting"]) for one in answer.json["upstreams"]] == [
                (10, 0, 0)
            ] * 2
            assert (answer.json["retries_left"] > 0, answer.json["hedges_left"]) == (True, None)


async def test_only_an_administrators_key_sees_it() -> None:
    settings = Config(
        model_registry=config("http://unused").model_registry, keys=[key("guest"), key("boss", admin=True)]
    )
    async with serving(settings, secret="boss") as gateway:
        assert (await gateway.get("/admin/router", "x-api-key: boss")).status == 200
        refused = await gateway.get("/admin/router", "x-api-key: guest")
        assert (refused.status, refused.error["code"]) == (403, "not_an_administrator")
        assert "admin: true" in refused.error["message"]
        assert (await gateway.get("/admin/router", "x-api-key: nobody")).status == 401


async def test_what_is_not_there_is_said() -> None:
    async with serving(config("http://unused")) as gateway:
        missing = await gateway.get("/admin/none")
        assert (missing.status, missing.error["code"]) == (404, "unknown_url")
        wrong = await gateway.ask({}, path="/admin/router")
        assert (wrong.status, wrong.error["code"]) == (405, "method_not_allowed")


async def test_it_explains_where_a_request_would_go_by_what_it_has_measured() -> None:
    async with upstream(says("hi")) as box, upstream(raw()) as gone, upstream(hangs()) as cloud:
        gone.on_probe = raw()
        settings = Config(
            model_registry=[
                Model(name="chat", endpoint=box.url),
                Model(name="gone", endpoint=gone.url),
                Model(name="narrow", endpoint=cloud.url, context_tokens=5),
            ],
            router=Router(probe_s=600),
        )
        async with serving(settings) as gateway:
            await gateway.ask(QUESTION | {"model": "chat"})
            await gateway.ask(QUESTION | {"model": "gone"})
            for _ in range(2):
                answer = await gateway.ask(QUESTION | {"model": "auto"}, path="/admin/router/explain")
                assert answer.status == 200
                assert (answer.json["alias"], answer.json["policy"]) == ("auto", "fastest")
                assert answer.json["reason"].startswith("predicted ")
                chat, dead, narrow = answer.json["deployments"]
                assert (chat["place"], chat["first_token_s"] > 0, chat["ruled_out"]) == (1, True, [])
                assert (dead["place"], dead["ruled_out"]) == (
                    None,
                    ["does not answer; a probe will find it when it does"],
                )
                assert narrow["ruled_out"][0].startswith("its context is 5 tokens")
            assert cloud.asked == []
            unknown = await gateway.ask(QUESTION | {"model": "none"}, path="/admin/router/explain")
            assert (unknown.status, unknown.error["code"]) == (404, "model_not_found")


async def test_it_explains_who_is_asked_while_all_are_out() -> None:
    async with upstream(raw()) as gone, upstream(says()) as cloud:
        gone.on_probe = raw()
        settings = Config(
            model_registry=[Model(name="chat", endpoint=gone.url), Model(name="cloud", endpoint=cloud.url)],
            router=Router(probe_s=600, fallbacks={"chat": ["cloud"]}),
        )
        async with serving(settings) as gateway:
            told = [(await gateway.ask(path="/admin/router/explain")).json["instead"]]
            await gateway.ask()
            told.append((await gateway.ask(path="/admin/router/explain")).json["instead"])
            assert told == [[], ["cloud"]]


async def test_to_nobody_but_an_administrator() -> None:
    settings = Config(model_registry=config("http://unused").model_registry, keys=[key("guest")])
    async with serving(settings, secret="guest") as gateway:
        refused = await gateway.ask(QUESTION, "x-api-key: guest", path="/admin/router/explain")
        assert (refused.status, refused.error["code"]) == (403, "not_an_administrator")


async def test_what_stays_at_home_is_explained() -> None:
    models = [
        Model(name="home", endpoint="http://127.0.0.1:1", private=True, context_tokens=5),
        Model(name="cloud", endpoint="http://cloud.example"),
    ]
    async with serving(Config(model_registry=models)) as gateway:
        answer = await gateway.ask(QUESTION | {"model": "auto"}, path="/admin/router/explain")
        assert [(one["place"], one["ruled_out"]) for one in answer.json["deployments"]] == [
            (1, []),
            (None, ["not on the LAN, where a private one cannot be asked"]),
        ]
