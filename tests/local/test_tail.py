"""The last lines of an output that may be endless."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.local.tail import LINE_BYTES, Tail


@given(st.lists(st.binary(max_size=40)))
def test_any_cut_gives_the_same_lines(pieces: Sequence[bytes]) -> None:
    cut, whole = Tail(), Tail()
    lines = [line for piece in pieces for line in cut.feed(piece)] + cut.end()
    assert lines == whole.feed(b"".join(pieces)) + whole.end()


def test_only_the_last_lines_are_kept() -> None:
    tail = Tail(limit_bytes=30)
    tail.feed(b"".join(b"line %d\n" % number for number in range(1000)))
    assert tail.lines() == ["line 997", "line 998", "line 999"]
    assert tail.lines(1) == ["line 999"]


def test_a_line_without_end_is_cut() -> None:
    tail = Tail()
    for _ in range(100):
        tail.feed(b"x" * LINE_BYTES)
    assert tail.end() == ["x" * LINE_BYTES]


def test_what_is_no_text_is_kept_as_far_as_it_is() -> None:
    tail = Tail()
    assert tail.feed(b"caf\xe9 \xc3\xa9\n") == ["caf\ufffd \xe9"]
