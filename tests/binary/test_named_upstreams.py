"""Machines that are reached by name and over TLS: who resolves the name, and which certificates are believed."""

from __future__ import annotations

import json
import ssl

import pytest
import trustme
from binary.names import Names
from binary.place import Gateway, Place
from binary.served import BY_DNS, Served
from raw_caller import QUESTION, Answer
from scripted_upstream import says, upstream

pytestmark = pytest.mark.anyio


async def ask(gateway: Gateway, model: str) -> Answer:
    return await gateway.ask({**QUESTION, "model": model})


def config(**models: str) -> str:
    return json.dumps({"model_registry": [{"name": name, "endpoint": url} for name, url in models.items()]})


async def test_an_upstream_is_found_by_name_and_believed_by_the_file_of_ssl_cert_file(served: Served) -> None:
    served.cloud.play(says("from afar"))
    answer = await ask(served.gateway, "cloud")
    assert answer.status == 200, answer.body
    assert b"from afar" in answer.body


async def test_a_name_that_hosts_has_is_found(served: Served) -> None:
    served.near.play(says("from the next room"))
    assert b"from the next room" in (await ask(served.gateway, "near")).body


async def test_an_upstream_with_a_certificate_of_nobodys_is_refused(place: Place, cloud_tls: ssl.SSLContext) -> None:
    """With what this place has to believe: in an empty root that is what the file brings."""
    async with upstream(says(), tls=cloud_tls) as cloud:
        file = place.put("/moltbot.yaml", config(cloud=f"https://localhost:{cloud.port}"))
        with place.serving("--config", file, "--port", "0") as gateway:
            answer = await ask(gateway, "cloud")
    assert (answer.status, answer.error["code"]) == (502, "upstream_unreachable")
    assert "certificate verify failed" in answer.error["message"]
    if place.target.alone:
        assert "the certificates inside this file" in answer.error["message"]
    assert cloud.asked == []


async def test_an_upstream_is_believed_by_a_file_of_its_own(
    place: Place, cloud_tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    place.put("/authority.pem", authority.cert_pem.bytes())
    async with upstream(says("from a box"), tls=cloud_tls) as box:
        model = {"name": "cloud", "endpoint": f"https://localhost:{box.port}", "ca_file": "authority.pem"}
        file = place.put("/moltbot.yaml", json.dumps({"model_registry": [model]}))
        with place.serving("--config", file, "--port", "0") as gateway:
            answer = await ask(gateway, "cloud")
    assert answer.status == 200, answer.body
    assert b"from a box" in answer.body


@pytest.mark.only("named")
async def test_names_are_found_and_not_found_without_a_hosts_file(
    place: Place, nameserver: tuple[str, Names], cloud_tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    address, names = nameserver
    place.put("/etc/resolv.conf", f"nameserver {address}\n")
    trusted = place.put("/authority.pem", authority.cert_pem.bytes())
    async with upstream(says("found"), tls=cloud_tls) as cloud:
        models = {"cloud": f"https://{BY_DNS}:{cloud.port}", "nobody": "https://nobody.example.test"}
        file = place.put("/moltbot.yaml", config(**models))
        with place.serving("--config", file, "--port", "0", environment={"SSL_CERT_FILE": trusted}) as gateway:
            found = await ask(gateway, "cloud")
            missed = await ask(gateway, "nobody")
    assert (found.status, missed.status) == (200, 502)
    assert missed.error["code"] == "upstream_unreachable"
    assert "nobody.example.test" in missed.error["message"]
    assert {BY_DNS, "nobody.example.test"} <= set(names.asked)


@pytest.mark.only("alone")
async def test_localhost_needs_no_hosts_file(place: Place) -> None:
    """Every machine that a person has seen knows this name, and an empty root has nothing that does."""
    async with upstream(says("at home")) as near:
        file = place.put("/moltbot.yaml", config(near=f"http://localhost:{near.port}"))
        with place.serving("--config", file, "--port", "0") as gateway:
            answer = await ask(gateway, "near")
    assert answer.status == 200, answer.body


async def test_it_serves_tls_itself(place: Place, authority: trustme.CA) -> None:
    issued = authority.issue_cert("127.0.0.1")
    cert = place.put("/cert.pem", b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    key = place.put("/key.pem", issued.private_key_pem.bytes(), mode=0o600)
    file = place.put("/moltbot.yaml", json.dumps({"server": {"tls": {"cert": cert, "key": key}}}))
    callers = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    with place.serving("--config", file, "--port", "0", tls=callers) as gateway:
        assert (await gateway.get("/health")).status == 200
