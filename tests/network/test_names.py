"""Names that no file has to hold, and names that nobody knows."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from moltbot_edge.network import multicast
from moltbot_edge.network.names import LOOPBACK, Names, NoAddress, is_localhost, loopback

pytestmark = pytest.mark.anyio

SERVED = "# a comment\nnameserver 127.0.0.1\n"


@pytest.fixture
def names(tmp_path: Path) -> Names:
    (tmp_path / "resolv.conf").write_text(SERVED)
    return Names(tmp_path / "resolv.conf")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], str]], list[str]]:
    """The C library's answers are those of a function; the names that it was asked for."""

    def stand_in(answer: Callable[[str], str]) -> list[str]:
        asked: list[str] = []

        def getaddrinfo(host: bytes | str, port: None, **options: Any) -> list[Any]:
            name = host.decode() if isinstance(host, bytes) else host
            asked.append(name)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer(name), 0))]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return stand_in


@contextmanager
def held() -> Iterator[threading.Event]:
    """What a look-up waits for that does not come to its end."""
    event = threading.Event()
    try:
        yield event
    finally:
        event.set()


def unknown(name: str) -> str:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("host", ["localhost", "LocalHost", "localhost.", "box.localhost"])
async def test_localhost_is_this_machine_whatever_the_system_says(host: str, names: Names, system: Any) -> None:
    asked = system(unknown)
    assert await names.addresses(host) == LOOPBACK
    assert asked == []


@pytest.mark.parametrize("host", ["localhost.lan", "mylocalhost", "local", ""])
def test_what_only_looks_like_it_is_no_localhost(host: str) -> None:
    assert not is_localhost(host)


def test_this_machine_has_its_first_address_at_least() -> None:
    assert loopback()[0] == "127.0.0.1"
    assert set(loopback()) <= set(LOOPBACK)


@pytest.mark.parametrize("host", ["192.168.1.20", "::1", "fe80::1%eth0"])
async def test_an_address_is_asked_of_nobody(host: str, names: Names, system: Any) -> None:
    asked = system(unknown)
    assert list(await names.addresses(host)) == [host]
    assert asked == []


async def test_any_other_name_is_the_systems(names: Names, system: Any) -> None:
    system({"box.lan": "192.168.1.20"}.__getitem__)
    assert await names.addresses("box.lan") == ["192.168.1.20"]


async def test_an_unknown_name_is_said_with_the_systems_reason(names: Names, system: Any) -> None:
    system(unknown)
    with pytest.raises(NoAddress, match=r"'box\.lan': Name or service not known$"):
        await names.addresses("box.lan")


async def test_a_name_that_is_none_is_an_error_like_any_other(names: Names) -> None:
    for host in ("a..b", "ä..b", "a\0b"):
        with pytest.raises(NoAddress):
            await names.addresses(host)


async def test_all_who_want_a_name_wait_for_one_look_up_and_hold_up_nobody(names: Names, system: Any) -> None:
    with held() as event:

        def answer(name: str) -> str:
            if name.startswith("dead"):
                event.wait()
            return "192.168.1.20"

        asked = system(answer)
        waiting = [asyncio.ensure_future(names.addresses(f"dead{number % 9}.lan")) for number in range(27)]
        assert await names.addresses("box.lan") == ["192.168.1.20"]
        assert sorted(asked) == ["box.lan", *(f"dead{number}.lan" for number in range(9))]
        waiting[0].cancel()
        event.set()
        assert await asyncio.gather(*waiting[1:]) == [["192.168.1.20"]] * 26
        await names.addresses("dead0.lan")
        assert asked.count("dead0.lan") == 2


@pytest.mark.parametrize("text", [None, "search lan\n"])
async def test_without_a_name_server_nobody_waits_for_one(text: str | None, tmp_path: Path, system: Any) -> None:
    file = tmp_path / "resolv.conf"
    if text is not None:
        file.write_text(text)
    names = Names(file)
    with held() as event:

        def answer(name: str) -> str:
            if name == "box.lan":  # as in a hosts file
                return "192.168.1.20"
            event.wait()
            return unknown(name)

        system(answer)
        assert await names.addresses("box.lan") == ["192.168.1.20"]
        with pytest.raises(NoAddress, match=r"'other.lan': not found in 1\.5 s; no name server is set \(.*hosts"):
            await names.addresses("other.lan")


async def test_a_look_up_that_outlives_the_loop_harms_nobody(names: Names, system: Any) -> None:
    with held() as event:
        begun = threading.Event()

        def answer(name: str) -> str:
            begun.set()
            event.wait()
            return "192.168.1.20"

        system(answer)
        loop = asyncio.new_event_loop()

        async def leave() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(names.addresses("dead.lan"), 0.01)

        await asyncio.to_thread(loop.run_until_complete, leave())
        await asyncio.to_thread(begun.wait)
        loop.close()
        event.set()
        for thread in threading.enumerate():
            if thread.name == "name dead.lan":
                await asyncio.to_thread(thread.join)


async def test_a_machine_that_answers_for_itself_is_found_where_the_system_knows_nothing(
    names: Names, system: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    system(unknown)
    monkeypatch.setattr(multicast, "addresses", lambda host: ["192.168.1.20"])
    assert await names.addresses("box.local") == ["192.168.1.20"]


async def test_a_local_name_of_the_system_does_not_wait_for_the_lan(
    names: Names, system: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    system(lambda name: "192.168.1.20")
    with held() as event:

        def silence(host: str) -> list[str]:
            event.wait()
            raise TimeoutError("nobody answers")

        monkeypatch.setattr(multicast, "addresses", silence)
        assert await names.addresses("box.local") == ["192.168.1.20"]


async def test_a_local_name_that_nobody_has_is_said(names: Names, system: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def silence(host: str) -> list[str]:
        raise TimeoutError("no machine on this network answers to it")

    system(unknown)
    monkeypatch.setattr(multicast, "addresses", silence)
    with pytest.raises(NoAddress, match=r"'box\.local'"):
        await names.addresses("box.local")
