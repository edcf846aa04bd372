"""What is private stays on the LAN."""

from __future__ import annotations

from typing import Any

import pytest
from harness import serving
from machines import LOCAL, PUBLIC, machines, on
from raw_caller import QUESTION
from scripted_upstream import answers, completion, raw, says, upstream

from moltbot_edge.config.schema import Alias, Config, Model, Router
from moltbot_edge.core.catalog import Deployment, Route
from moltbot_edge.core.catalog import Upstream as Where
from moltbot_edge.gateway.home import after_private, fallback, guarded

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("machines")]
__all__ = ["machines"]


def settings(*models: Model, policy: str = "priority", **alias: Any) -> Config:
    return Config(
        model_registry=list(models),
        aliases={"both": Alias(models=[model.name for model in models], policy=policy, **alias)},
        router=Router(policy="round-robin"),
    )


ASK = QUESTION | {"model": "both"}
FAILURES = pytest.mark.parametrize("failure", [raw(), answers(500, "{}"), answers(503, "{}")])


@FAILURES
async def test_what_was_meant_for_a_private_machine_goes_to_no_cloud_when_it_fails(failure: Any) -> None:
    async with upstream(failure) as home, upstream(says("cloud")) as cloud:
        models = (
            Model(name="home", endpoint=on(LOCAL[0], home), private=True),
            Model(name="cloud", endpoint=on(PUBLIC, cloud)),
        )
        async with serving(settings(*models)) as gateway:
            for _ in range(8):  # when it fails, and when it rests
                assert (await gateway.ask(ASK)).status >= 500
            assert cloud.asked == []
        async with serving(settings(*models, leave_lan=True)) as gateway:
            assert (await gateway.ask(ASK)).body == completion("cloud")


@FAILURES
async def test_it_goes_to_another_machine_of_the_lan(failure: Any) -> None:
    async with upstream(failure) as home, upstream(says("cloud")) as cloud, upstream(says("near")) as near:
        models = (
            Model(name="home", endpoint=on(LOCAL[0], home), private=True),
            Model(name="cloud", endpoint=on(PUBLIC, cloud)),
            Model(name="near", endpoint=on(LOCAL[1], near)),
        )
        async with serving(settings(*models)) as gateway:
            for _ in range(8):
                assert (await gateway.ask(ASK)).body == completion("near")
            assert cloud.asked == []


async def test_where_the_policy_puts_a_cloud_first_that_is_its_choice() -> None:
    async with upstream(says("home")) as home, upstream(says("cloud")) as cloud:
        models = (
            Model(name="cloud", endpoint=on(PUBLIC, cloud)),
            Model(name="home", endpoint=on(LOCAL[0], home), private=True),
        )
        async with serving(settings(*models)) as gateway:
            assert (await gateway.ask(ASK)).body == completion("cloud")
            cloud.play(answers(500, "{}"))
            assert (await gateway.ask(ASK)).body == completion("home")


def at(name: str, host: str, *, private: bool = False) -> Deployment:
    return Deployment(name, Where(host, "https", host, 443, "/v1"), "m", private=private)


HOME, NEAR, CLOUD = at("home", "10.0.0.2", private=True), at("near", "box.local"), at("cloud", "api.example.com")


def route(*deployments: Deployment, leave_lan: bool = False) -> Route:
    return Route("r", deployments, "fastest", 3, leave_lan=leave_lan)


@pytest.mark.parametrize(
    ("order", "kept"),
    [
        ((HOME, CLOUD, NEAR), (HOME, NEAR)),
        ((CLOUD, HOME, NEAR), (CLOUD, HOME, NEAR)),
        ((NEAR, CLOUD, HOME), (NEAR, CLOUD, HOME)),
        ((CLOUD, HOME, CLOUD), (CLOUD, HOME)),
        ((), ()),
    ],
)
def test_nothing_off_the_lan_comes_after_what_is_private(
    order: tuple[Deployment, ...], kept: tuple[Deployment, ...]
) -> None:
    assert tuple(after_private(order)) == kept


def test_only_a_mix_has_to_be_guarded() -> None:
    routes = {
        "mixed": route(HOME, CLOUD),
        "at-home": route(HOME, NEAR),
        "open": route(NEAR, CLOUD),
        "allowed": route(HOME, CLOUD, leave_lan=True),
    }
    assert guarded(routes) == {"mixed": 1}


def test_a_fallback_of_what_is_private_keeps_to_the_lan() -> None:
    to = route(NEAR, CLOUD)
    assert fallback(route(HOME), to).deployments == (NEAR,)
    assert fallback(route(HOME), route(CLOUD)).deployments == ()
    assert fallback(route(HOME, leave_lan=True), to) is to
    assert fallback(route(NEAR), to) is to
