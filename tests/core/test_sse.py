"""Server-sent events, cut anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core import sse

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
LINES = st.sampled_from(
    [b"data: one", b"data:two", b"data:  three", b"data:", b": ping", b"event: x", b"id: 7", b"data", b"", b"", b""]
)
STREAMS = st.lists(st.tuples(LINES, LINE_ENDS)).map(lambda lines: b"".join(line + end for line, end in lines))
EVENTS = st.lists(st.binary().filter(lambda data: b"\n" not in data and b"\r" not in data))


def read_in_pieces(pieces: list[bytes]) -> list[bytes]:
    """As the relay does: whole events at once, the rest held; what is left at the end is the last event."""
    found: list[bytes] = []
    held = b""
    for piece in pieces:
        whole, held = sse.parted(held + piece)
        found += sse.data_of(whole)
    return [*found, *sse.data_of(held)]


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


@given(STREAMS, st.lists(st.integers(min_value=0)))
def test_any_cut_of_a_stream_gives_the_same_data(stream: bytes, places: list[int]) -> None:
    assert read_in_pieces(cut(stream, places)) == list(sse.data_of(stream))


@given(STREAMS)
def test_so_do_single_bytes(stream: bytes) -> None:
    assert read_in_pieces([stream[i : i + 1] for i in range(len(stream))]) == list(sse.data_of(stream))


@given(STREAMS)
def test_what_is_whole_ends_in_a_blank_line_and_stays_whole(stream: bytes) -> None:
    whole, rest = sse.parted(stream)
    assert whole + rest == stream
    assert not whole or whole.endswith((b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n"))
    assert sse.parted(whole) == (whole, b"")


@given(EVENTS)
def test_what_is_written_is_read(events: list[bytes]) -> None:
    stream = b"".join(sse.event(data) + sse.comment("ping") for data in events)
    assert sse.parted(stream) == (stream, b"")
    assert list(sse.data_of(stream)) == events


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_held_until_its_blank_line(end: bytes) -> None:
    event = b"data: one" + end + end
    for size in range(len(event)):
        assert sse.parted(event[:size]) == (b"", event[:size])
    assert sse.parted(event) == (event, b"")
    assert sse.parted(event + b"data: tw") == (event, b"data: tw")


def test_the_lines_of_one_event_are_joined() -> None:
    assert list(sse.data_of(b"event: x\ndata: one\r\ndata:two\n\ndata:  three")) == [b"one\ntwo", b" three"]


def test_a_comment_is_no_event() -> None:
    assert sse.comment("ping") == b": ping\n\n"
    assert list(sse.data_of(sse.comment("ping"))) == []
