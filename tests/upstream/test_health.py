"""What a probe asks, and what it makes of the answer."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from scripted_upstream import Script, answers, hangs, never_accepting, raw, refusing, upstream
from wire_limits import LIMITS

from moltbot_edge.config.catalog import catalog_of
from moltbot_edge.config.schema import Config, Model
from moltbot_edge.core.catalog import Upstream
from moltbot_edge.dialects.openai_chat import OpenAIChat
from moltbot_edge.network.certificates import Certificates
from moltbot_edge.network.names import Names
from moltbot_edge.upstream import health
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.health import Found, Probes, paths
from moltbot_edge.upstream.ticker import Ticker

pytestmark = pytest.mark.anyio


def where(url: str, **fields: str) -> Upstream:
    model = Model(name="chat", endpoint=url, **fields)  # type: ignore[arg-type]
    return catalog_of(Config(model_registry=[model]), {}, []).route("chat").deployments[0].upstream


def probes(connect_s: float = 60.0) -> Probes:
    limits = replace(LIMITS, connect_s=connect_s)
    return Probes(Upstreams(lambda name: OpenAIChat(), limits, Ticker(), Names(), Certificates({})))


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (answers(200, b"{}"), Found.UP),
        (answers(401, b"{}"), Found.UP),
        (answers(404, b"{}"), Found.UP),
        (answers(500, b"{}"), Found.UP),
        (answers(503, b'{"error": "Loading model"}'), Found.NOT_READY),
        (answers(502, b""), Found.NOT_READY),
        (raw(), Found.UP),  # it accepts connections, and does not like what is asked
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Found.UP),
    ],
)
async def test_an_answer_says_whether_it_is_there(script: Script, found: Found) -> None:
    async with upstream() as box:
        box.on_probe = script
        assert await probes().ask(where(box.url)) is found
        assert box.asked == []
        await box.was_left()


async def test_no_answer_is_told_from_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "ASK_S", 0.05)
    async with upstream() as box:
        box.on_probe = hangs()
        assert await probes().ask(where(box.url)) is Found.SILENT
        await box.was_left()
    with refusing() as closed:
        assert await probes().ask(where(closed)) is Found.UNREACHABLE
    with never_accepting() as full:
        assert await probes(0.02).ask(where(full)) is Found.UNREACHABLE


async def test_the_path_that_it_knows_is_asked_from_then_on() -> None:
    async with upstream() as box:
        box.on_probe = answers(404, b"{}")
        asking = probes()
        at = where(f"{box.url}/some/v1", api_key="secret")
        await asking.ask(at)
        assert [one.path for one in box.probed] == ["/some/health", "/some/v1/models", "/api/version"]
        assert {one.method for one in box.probed} == {"GET"}
        assert {one.header("authorization") for one in box.probed} == {"Bearer secret"}
        box.on_probe = answers(200, b"{}")
        await asking.ask(at)
        box.on_probe = answers(503, b"{}")
        assert await asking.ask(at) is Found.NOT_READY
        assert [one.path for one in box.probed[3:]] == ["/some/health"] * 2


def test_each_dialect_has_a_path_that_costs_nothing() -> None:
    assert paths(where("http://box:11434", type="ollama"))[0] == "/api/version"
    assert paths(where("https://box", type="anthropic-messages")) == ("/v1/models",)
    assert paths(where("http://box:8080")) == ("/health", "/v1/models", "/api/version")
