"""One-shot multicast DNS, against a responder on the loopback interface."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.network.multicast import AAAA, GROUP, A, addresses, addresses_in, answers_for, query

NUMBER = 4711


def name(host: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"


def record(owner: bytes, kind: int, value: bytes, family: int = 0x8001) -> bytes:
    return owner + struct.pack("!HHIH", kind, family, 10, len(value)) + value


def answer(*records: bytes, number: int = NUMBER, flags: int = 0x8400, question: bytes = b"") -> bytes:
    return struct.pack("!6H", number, flags, bool(question), len(records), 0, 0) + question + b"".join(records)


FOUR = record(name("Box.local"), A, socket.inet_aton("192.168.1.20"))
SIX = record(name("box.local"), AAAA, socket.inet_pton(socket.AF_INET6, "fd00::20"))
LINK = record(name("box.local"), AAAA, socket.inet_pton(socket.AF_INET6, "fe80::20"))
ASKED = name("box.local") + struct.pack("!HH", A, 1)
POINTED = record(b"\xc0\x0c", A, socket.inet_aton("192.168.1.20"))


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (answer(FOUR), ["192.168.1.20"]),
        (answer(SIX, LINK, FOUR), ["192.168.1.20", "fd00::20"]),
        (answer(POINTED, question=ASKED), ["192.168.1.20"]),
        (answer(LINK), []),
        (answer(record(name("other.local"), A, b"\1\2\3\4")), []),
        (answer(record(name("box.local"), 16, b"\4text"), FOUR), ["192.168.1.20"]),
        (answer(FOUR, number=1), []),
        (answer(FOUR, flags=0), []),
        (answer(FOUR, flags=0x8403), []),
    ],
    ids=["a", "both", "pointer", "link-local", "other", "text-too", "other-query", "a-question", "refused"],
)
def test_an_answer_is_read(packet: bytes, found: list[str]) -> None:
    assert list(addresses_in(packet, "box.local.", NUMBER)) == found


@pytest.mark.parametrize(
    "packet",
    [b"", answer(FOUR)[:-1], answer(record(b"\xc0\x0c", A, b"\1\2\3\4")), answer(record(b"\1a\xc0\x0c", A, b""))],
    ids=["empty", "cut", "points-at-itself", "points-in-a-circle"],
)
def test_an_answer_that_makes_no_sense_is_none(packet: bytes) -> None:
    assert list(addresses_in(packet, "box.local", NUMBER)) == []


@given(st.binary(max_size=80))
def test_no_packet_does_harm(rest: bytes) -> None:
    addresses_in(struct.pack("!HHHHHH", NUMBER, 0x8400, 1, 3, 0, 0) + rest, "box.local", NUMBER)


@pytest.mark.parametrize(
    ("host", "whether"),
    [("box.local", True), ("Box.LOCAL.", True), ("a.box.local", False), ("local", False), (".local", False)],
)
def test_it_answers_for_names_of_one_label_below_local(host: str, whether: bool) -> None:
    assert answers_for(host) is whether


@contextmanager
def responder(reply: Callable[[bytes], bytes], *, deaf_to: int = 0) -> Iterator[int]:
    """Answers each query with *reply* of it, after it has not heard the first *deaf_to*. Its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((GROUP, 0))
        lo = socket.if_nametoindex("lo")
        membership = struct.pack("4s4si", socket.inet_aton(GROUP), b"", lo)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        port = sock.getsockname()[1]

        def serve() -> None:
            unheard = deaf_to
            while (asked := sock.recvfrom(9000))[0]:
                if unheard:
                    unheard -= 1
                    continue
                sock.sendto(reply(asked[0]), asked[1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield port
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("4s4si", b"", b"", lo))
                end.sendto(b"", (GROUP, port))
            thread.join()


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests ask is nobody else's business."""
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(socket.if_nametoindex("lo"), "lo")])


def says_it_is_there(asked: bytes) -> bytes:
    assert asked[2:] == query("box.local", 0)[2:]
    return asked[:2] + answer(FOUR, SIX)[2:]


@pytest.mark.parametrize("deaf_to", [0, 1])
def test_a_machine_answers_for_itself(deaf_to: int) -> None:
    with responder(says_it_is_there, deaf_to=deaf_to) as port:
        assert list(addresses("box.local", port=port)) == ["192.168.1.20", "fd00::20"]


def test_an_answer_to_somebody_elses_query_is_passed_over() -> None:
    with (
        responder(lambda asked: bytes(2) + answer(FOUR)[2:]) as port,
        pytest.raises(TimeoutError, match="no machine on this network"),
    ):
        addresses("box.local", port=port)
