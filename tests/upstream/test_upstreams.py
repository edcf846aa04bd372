"""A deployment's request on the wire: which address, whose credentials, which pool."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from harness import config, serving
from msgspec.structs import replace
from raw_caller import QUESTION
from scripted_upstream import answers, hangs, says, upstream
from wire_limits import LIMITS

from moltbot_edge.config.schema import Config, Limits, Model, Router
from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.catalog import Upstream as Where
from moltbot_edge.core.errors import ClosedUnanswered, UpstreamRefused
from moltbot_edge.dialects.anthropic_messages import AnthropicMessages
from moltbot_edge.dialects.openai_chat import OpenAIChat
from moltbot_edge.network.certificates import Certificates
from moltbot_edge.network.names import Names
from moltbot_edge.upstream.chat import JOINED_BYTES, Upstreams, refusal, seconds_until
from moltbot_edge.upstream.ticker import Ticker
from moltbot_edge.upstream.wire import Address

pytestmark = pytest.mark.anyio
SOON = Router(retry_for_s=0.2)  # who refuses is given up sooner than a machine that may just restart would be


@contextmanager
def upstreams() -> Iterator[Upstreams]:
    ticker = Ticker()
    dialects = {"openai-chat": OpenAIChat(), "anthropic-messages": AnthropicMessages()}
    made = Upstreams(dialects.__getitem__, LIMITS, ticker, Names(), Certificates({}))
    try:
        yield made
    finally:
        made.close()
        ticker.stop()


def deployment(
    host: str = "box", port: int = 80, scheme: str = "http", name: str = "chat", api_key: str | None = None
) -> Deployment:
    return Deployment(name, Where(f"{host}:{port}", scheme, host, port, "/v1", api_key=api_key), "theirs")


def head_of(where: Deployment, path: str = "/chat/completions") -> list[str]:
    with upstreams() as made:
        _, pieces = made.request(where, None, path, b"", [b"{}"])
        return b"".join(pieces).decode().split("\r\n")


def anthropics(*headers: tuple[str, str]) -> Deployment:
    where = Where(
        *("cloud", "https", "cloud", 443, "/v1"), dialect="anthropic-messages", api_key="sk-1", headers=headers
    )
    return Deployment("chat", where, "theirs")


def test_an_upstream_of_anthropics_is_told_the_version_of_its_shape() -> None:
    with upstreams() as made:
        for _ in range(2):
            _, pieces = made.request(anthropics(), None, "/messages", b"", [b"{}"])
            assert b"x-api-key: sk-1\r\nanthropic-version: 2023-06-01\r\n" in b"".join(pieces)
        assert b"anthropic-version: 2023-06-01\r\n" in made.probing_head(anthropics().upstream, "/v1/models")


@pytest.mark.parametrize("before", [b"", b"x-request-id: 1\r\n"])
def test_but_a_callers_own_version_stands(before: bytes) -> None:
    with upstreams() as made:
        forwarded = before + b"anthropic-version: 2026-10-21\r\n"
        _, pieces = made.request(anthropics(), None, "/messages", forwarded, [b"{}"])
        assert b"".join(pieces).count(b"anthropic-version") == 1


def test_and_so_does_the_configurations() -> None:
    with upstreams() as made:
        _, pieces = made.request(anthropics(("Anthropic-Version", "2026-10-21")), None, "/messages", b"", [b"{}"])
        assert b"".join(pieces).lower().count(b"anthropic-version") == 1


def test_a_request_names_its_path_and_host() -> None:
    assert head_of(deployment("box", 11434)) == [
        "POST /v1/chat/completions HTTP/1.1",
        "Host: box:11434",
        "Content-Type: application/json",
        "Accept-Encoding: identity",
        "Content-Length: 2",
        "",
        "{}",
    ]


@pytest.mark.parametrize(
    ("host", "port", "scheme", "said"),
    [
        ("box", 80, "http", "box"),
        ("box", 443, "https", "box"),
        ("box", 443, "http", "box:443"),
        ("box", 80, "https", "box:80"),
        ("::1", 80, "http", "[::1]"),
        ("fe80::1", 8080, "http", "[fe80::1]:8080"),
    ],
)
def test_the_host_is_said_as_rfc_9110_has_it(host: str, port: int, scheme: str, said: str) -> None:
    assert f"Host: {said}" in head_of(deployment(host, port, scheme))


def test_a_key_is_sent_in_the_dialects_own_header() -> None:
    assert "Authorization: Bearer sesame" in head_of(deployment(api_key="sesame"))


@pytest.mark.parametrize("size", [2, JOINED_BYTES, JOINED_BYTES + 1])
def test_a_large_body_is_not_copied(size: int) -> None:
    body = bytearray(size)
    with upstreams() as made:
        _, pieces = made.request(deployment(), None, "/embeddings", b"X-A: b\r\n", [memoryview(body)])
        assert b"".join(pieces).endswith(b"X-A: b\r\nContent-Length: %d\r\n\r\n" % size + body)
        assert len(pieces) == (1 if size <= JOINED_BYTES else 2)


async def test_deployments_of_one_upstream_share_its_connections() -> None:
    async with upstream(says()) as box:
        with upstreams() as made:
            for name in ("one", "two"):
                pool, pieces = made.request(deployment("127.0.0.1", box.port, name=name), None, "/x", b"", [b"{}"])
                reply = await pool.send(pieces)
                await reply.read(1000)
                reply.close()
            assert len(box.visits) == 1
            assert len(list(made.pools())) == 1


async def test_an_engine_that_came_back_elsewhere_is_found_there() -> None:
    engine = Deployment("small", Where("small", "http", "127.0.0.1", 0, "/v1", model_file="x.gguf"), "small")
    async with upstream(hangs()) as before, upstream(says()) as after:
        with upstreams() as made:
            pool, pieces = made.request(engine, Address("127.0.0.1", before.port), "/x", b"", [b"{}"])
            waiting = asyncio.ensure_future(pool.send(pieces))
            await before.was_asked()
            pool, pieces = made.request(engine, Address("127.0.0.1", after.port), "/x", b"", [b"{}"])
            with pytest.raises(ClosedUnanswered):
                await waiting
            await before.was_left()
            reply = await pool.send(pieces)
            assert reply.status == 200
            reply.close()
            assert after.asked[0].header("host") == f"127.0.0.1:{after.port}"
            assert len(list(made.pools())) == 1


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (None, None),
        (b"12", 12.0),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        (b"Sun Nov  6 08:49:37 1994", 37.0),
        (b"Sun, 06 Nov 1994 08:48:59 GMT", 0.0),
        (b"99999999999", None),
        (b"tomorrow", None),
        (b"\xff", None),
    ],
)
def test_a_pause_is_asked_for_in_seconds_or_as_a_date(said: bytes | None, seconds: float | None) -> None:
    assert seconds_until(said, now=784_111_740.0) == seconds  # 08:49:00 of that Sunday


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("0", 0.0), ("soon", None), ("-1", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0)]
)
async def test_a_refusal_knows_when_to_come_back(said: str, seconds: float | None) -> None:
    async with upstream(answers(429, "{}", f"Retry-After: {said}")) as box:
        with upstreams() as made:
            where = deployment("127.0.0.1", box.port)
            pool, pieces = made.request(where, None, "/x", b"", [b"{}"])
            reply = await pool.send(pieces)
            error = await refusal(where, reply)
            reply.close()
            assert isinstance(error, UpstreamRefused)
            assert error.retry_after_s == seconds


# TLS, through the whole gateway.


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def test_an_upstream_over_tls_answers_or_is_told_apart(authority: trustme.CA, ca_file: Path) -> None:
    async with upstream(says(), tls=certified(authority)) as box:
        async with serving(config(box), environment={"SSL_CERT_FILE": str(ca_file)}) as gateway:
            for _ in range(2):
                assert (await gateway.ask()).status == 200
            assert len(box.visits) == 1
        trustme.CA().cert_pem.write_to_path(str(ca_file))
        async with serving(config(box), environment={"SSL_CERT_FILE": str(ca_file)}) as gateway:
            answer = await gateway.ask()
            assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
            assert "certificate verify failed" in answer.error["message"]
            assert f"looked for in {ca_file} (SSL_CERT_FILE)" in answer.error["message"]


async def test_a_machine_with_a_certificate_of_its_own_has_a_file_of_its_own(
    authority: trustme.CA, ca_file: Path
) -> None:
    strange = trustme.CA()
    async with (
        upstream(says(), tls=certified(authority)) as box,
        upstream(says(), tls=certified(strange)) as other,
    ):
        models = [
            Model(name="chat", endpoint=box.url, ca_file=str(ca_file)),
            Model(name="other", endpoint=other.url, ca_file=str(ca_file)),
            Model(name="forgetful", endpoint=box.url),
        ]
        strange.cert_pem.write_to_path(str(ca_file.with_name("system.pem")))
        environment = {"SSL_CERT_FILE": str(ca_file.with_name("system.pem"))}
        settings = Config(model_registry=models, router=SOON)
        async with serving(settings, environment=environment) as gateway:
            answers = [(await gateway.ask(QUESTION | {"model": model.name})).status for model in models]
    assert answers == [200, 502, 502]


async def test_what_is_to_be_encrypted_never_takes_a_connection_that_is_not() -> None:
    async with upstream(says()) as box:
        models = [
            Model(name="plain", endpoint=box.url),
            Model(name="encrypted", endpoint=box.url.replace("http:", "https:")),
        ]
        settings = Config(model_registry=models, router=SOON, limits=Limits(connect_s=0.3))
        async with serving(settings) as gateway:
            plain = await gateway.ask(QUESTION | {"model": "plain"})
            encrypted = await gateway.ask(QUESTION | {"model": "encrypted"})
            again = await gateway.ask(QUESTION | {"model": "plain"})
    assert [answer.status for answer in (plain, encrypted, again)] == [200, 502, 200]
    assert encrypted.error["code"] == "upstream_unreachable"


async def test_without_any_certificates_the_error_says_so(tmp_path: Path) -> None:
    async with serving(config("https://127.0.0.1:1"), environment={"SSL_CERT_DIR": str(tmp_path / "none")}) as gateway:
        message = (await gateway.ask()).error["message"]
    assert f"cannot be reached: {tmp_path}/none (SSL_CERT_DIR) cannot be read: No such file" in message


async def test_an_address_that_was_found_out_since_is_asked_at_its_own_path() -> None:
    with upstreams() as asked:
        before = Where("box:80", "http", "box", 80, "/api")
        for where, path in ((before, b"/api/chat"), (replace(before, base_path="/v1"), b"/v1/chat")):
            _, (sent,) = asked.request(Deployment("chat", where, "m"), None, "/chat/completions", b"", [b"{}"])
            assert bytes(sent).startswith(b"POST %b/completions " % path)
