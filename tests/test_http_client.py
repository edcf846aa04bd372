"""Clients for what is not the chat path: whom they trust, how they find names, what goes by a proxy."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from scripted_upstream import answers, hangs, raw, refusing, says, upstream

from moltbot_edge import __version__
from moltbot_edge.http_client import Clients, ConnectError, TimeoutException, proxy_for
from moltbot_edge.network.certificates import Certificates

ROOT = Path(__file__).parents[1]
AUTHORITY = trustme.CA()
REDIRECTS = raw(b"HTTP/1.1 307 Elsewhere\r\nLocation: /there\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


def clients(environment: Mapping[str, str] | None = None) -> Clients:
    return Clients(Certificates(environment or {}), environment or {})


@pytest.fixture
def tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.mark.anyio
async def test_a_request_says_who_asks_and_follows_no_redirect() -> None:
    async with upstream(REDIRECTS, REDIRECTS, says()) as box, clients().asynchronous(base_url=box.url) as client:
        reply = await client.post("/here", headers={"X-Own": "1"})
        assert (reply.status_code, len(box.asked)) == (307, 1)
        asked = await box.was_asked()
        assert (asked.header("user-agent"), asked.header("x-own")) == (f"moltbot-edge/{__version__}", "1")
        assert (await client.post("/here", follow_redirects=True)).status_code == 200
        assert (await box.was_asked(3)).path == "/there"


@pytest.mark.anyio
async def test_a_blocking_one_does_the_same() -> None:
    async with upstream(REDIRECTS) as box:

        def ask() -> int:
            with clients().blocking(base_url=box.url, headers={"X-Own": "1"}) as client:
                return client.post("/here").status_code

        assert await asyncio.to_thread(ask) == 307
        asked = await box.was_asked()
        assert (asked.header("user-agent"), asked.header("x-own")) == (f"moltbot-edge/{__version__}", "1")


@pytest.mark.anyio
async def test_localhost_is_this_machine_whatever_its_files_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> object:
        raise OSError("no hosts file, no name server")

    monkeypatch.setattr("socket.getaddrinfo", nowhere)
    async with upstream(says()) as box, clients().asynchronous() as client:
        assert (await client.post(box.url.replace("127.0.0.1", "localhost"))).status_code == 200


@pytest.mark.anyio
async def test_a_named_authority_counts_for_both_kinds(tls: ssl.SSLContext, ca_file: str) -> None:
    async with upstream(says(), says(), tls=tls) as box:
        async with clients().asynchronous(ca_file=ca_file) as client:
            assert (await client.post(box.url)).status_code == 200

        def ask() -> int:
            with clients().blocking(ca_file=ca_file) as client:
                return client.post(box.url).status_code

        assert await asyncio.to_thread(ask) == 200


@pytest.mark.anyio
async def test_a_certificate_that_nobody_vouches_for_is_refused_with_advice(tls: ssl.SSLContext, ca_file: str) -> None:
    other = {"SSL_CERT_FILE": ca_file}
    trustme.CA().cert_pem.write_to_path(ca_file)
    async with upstream(says(), says(), tls=tls) as box, clients(other).asynchronous() as client:
        with pytest.raises(ConnectError, match=r"certificate verify failed.*looked for in .*ca\.pem"):
            await client.post(box.url)
        with clients(other).blocking() as blocking, pytest.raises(ConnectError, match="looked for in"):
            await asyncio.to_thread(blocking.post, box.url)


@pytest.mark.anyio
async def test_a_store_that_cannot_be_read_stops_what_needs_it_and_nothing_else() -> None:
    async with upstream(says()) as box, clients({"SSL_CERT_FILE": "/nowhere.pem"}).asynchronous() as client:
        assert (await client.post(box.url)).status_code == 200
        with pytest.raises(ConnectError, match=r"/nowhere\.pem \(SSL_CERT_FILE\) cannot be read"):
            await client.post("https://127.0.0.1/")


@pytest.mark.anyio
async def test_who_is_not_there_and_who_is_silent_are_errors() -> None:
    async with upstream(hangs()) as box, clients().asynchronous(silence_s=0.05) as client:
        with pytest.raises(TimeoutException):
            await client.post(box.url)
        with refusing() as url, pytest.raises(ConnectError):
            await client.post(url)
        with pytest.raises(ConnectError, match="no address for the name"):
            await client.post("http://no-such-host.invalid/", timeout=30)


@pytest.mark.anyio
async def test_what_is_far_goes_by_the_proxy_and_what_is_near_does_not() -> None:
    async with upstream(answers(204)) as proxy, upstream(says()) as box:
        async with clients({"http_proxy": proxy.url}).asynchronous() as client:
            assert (await client.post("http://models.example/gguf")).status_code == 204
            assert (await proxy.was_asked()).path == "http://models.example/gguf"
            assert (await client.post(box.url)).status_code == 200
        assert (len(proxy.asked), len(box.asked)) == (1, 1)


@pytest.mark.parametrize(
    ("scheme", "host", "environment", "proxy"),
    [
        ("https", "huggingface.co", {}, None),
        ("https", "huggingface.co", {"https_proxy": "http://gate:3128"}, "http://gate:3128"),
        ("https", "huggingface.co", {"HTTPS_PROXY": "gate:3128"}, "http://gate:3128"),
        ("https", "huggingface.co", {"https_proxy": "http://a", "HTTPS_PROXY": "http://b"}, "http://a"),
        ("https", "huggingface.co", {"http_proxy": "http://gate"}, None),
        ("http", "example.org", {"ALL_PROXY": "http://gate"}, "http://gate"),
        ("https", "hf.example.org", {"all_proxy": "http://gate", "no_proxy": "other.org, .example.org"}, None),
        ("https", "example.org", {"all_proxy": "http://gate", "NO_PROXY": "example.org"}, None),
        ("https", "anexample.org", {"all_proxy": "http://gate", "NO_PROXY": "example.org"}, "http://gate"),
        ("https", "example.org", {"all_proxy": "http://gate", "NO_PROXY": "*"}, None),
        ("https", "8.8.8.8", {"all_proxy": "http://gate", "NO_PROXY": "8.8.0.0/16"}, None),
        ("https", "8.9.8.8", {"all_proxy": "http://gate", "NO_PROXY": "8.8.0.0/16,nonsense/x"}, "http://gate"),
        *(
            ("http", near, {"all_proxy": "http://gate"}, None)
            for near in ("127.0.0.1", "::1", "192.168.1.9", "fe80::1%eth0", "localhost", "box", "box.local", "nas.lan.")
        ),
    ],
)
def test_a_proxy_is_for_what_is_not_near(
    scheme: str, host: str, environment: Mapping[str, str], proxy: str | None
) -> None:
    assert proxy_for(scheme, host, environment) == proxy


TELLS_AT_ITS_END = """
import atexit, json, sys
from moltbot_edge.api import policy

@policy("first")
def first(candidates, query):
    return candidates

atexit.register(lambda: open(sys.argv[-1] + ".json", "w").write(json.dumps(sorted(sys.modules))))
"""


@pytest.mark.anyio
async def test_a_gateway_that_only_serves_has_no_httpx_in_it(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/own.py").write_text(TELLS_AT_ITS_END)
    settings = tmp_path / "moltbot.yaml"
    async with upstream(says("hi")) as box:
        settings.write_text(
            f"model_registry: [{{name: chat, endpoint: {box.url}, type: openai-chat}}]\n"
            f"plugins: {{folder: {tmp_path}/plugins}}\n"
        )
        command = [sys.executable, "-m", "moltbot_edge", "serve", "--port", "0", "--config", str(settings)]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = ""
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said)):
            said += (await process.stdout.readline()).decode()
        async with clients().asynchronous(base_url=found[0]) as client:
            asked = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
            assert (await client.post("/v1/chat/completions", json=asked)).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    with open(f"{settings}.json", "rb") as written:  # noqa: ASYNC230  # nobody else is in this loop
        imported = json.load(written)
    assert "moltbot_edge.server.chat" in imported
    assert not [name for name in imported if name.partition(".")[0] in ("httpx", "httpcore", "h11", "anyio")]
