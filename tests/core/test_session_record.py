"""A turn that is written down is the same when it is read, and what is none is refused."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from any_turn import turn
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.api import InvalidRequest
from moltbot_edge.core import record, session
from moltbot_edge.core.chat import (
    Message,
    Own,
    Part,
    Role,
    Text,
    Tool,
)
from moltbot_edge.core.record import Unreadable
from moltbot_edge.core.session import Turn, is_id, made_id, rooted
from moltbot_edge.stores import envelope


@given(turn)
def test_what_is_read_is_what_was_written(turn: Turn) -> None:
    assert record.read(record.written(turn)) == turn
    assert envelope.opened(envelope.sealed(turn)) == turn
    assert record.from_lines(b"".join(record.lines("talk", [turn]))) == ("talk", (turn,))


def test_every_part_of_a_chat_can_be_kept() -> None:
    parts = {kind.__name__ for kind in Part.__subclasses__()}
    assert parts == {"Text", "Refusal", "Image", "File", "Reasoning", "ToolCall", "ToolResult", "Own"}


def long_turn() -> Turn:
    said = Message(Role.USER, (Text(text="words and more words " * 50),))
    return Turn(id=made_id(1.0, bytes(10)), at=1.0, messages=(said,), reply=said)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_bit_that_was_lost_is_noticed(place: int, change: int) -> None:
    kept = bytearray(envelope.sealed(long_turn()))
    kept[place % len(kept)] ^= change
    with pytest.raises(Unreadable):
        envelope.opened(bytes(kept))


def test_the_words_that_records_are_packed_with_never_change() -> None:
    # A store that was written before could not be read any more: another text is another kind, beside this one.
    known = hashlib.sha256(envelope.KNOWN).hexdigest()
    assert known == "742b6e9396897a30478983ec77ee562ba1e21bd0444d09f1a90746c30f87b7b2"


@pytest.mark.parametrize("kept", [b"", b"p", b"\x80\x04K\x01.", b"p\0\0\0\0", b"1\0\0\0\0"])
def test_what_is_no_record_is_refused(kept: bytes) -> None:
    with pytest.raises(Unreadable):
        envelope.opened(kept)


def test_what_a_later_version_added_is_passed_over_and_a_later_version_is_refused() -> None:
    turn = long_turn()
    more = {**msgspec.to_builtins(turn), "mood": "fine"}
    assert record.read(bytes([record.VERSION]) + msgspec.msgpack.encode(more)) == turn
    with pytest.raises(Unreadable, match="of version 2"):
        record.read(bytes([2]) + msgspec.msgpack.encode(more))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b"", "nothing to import"),
        (b'{"moltbot_session": 1, "session": "talk"}\n', "nothing to import"),
        (b"hello\n", "line 1 of the import"),
        (b'{"moltbot_session": 2, "session": "talk"}\n', "line 1 of the import: of version 2"),
        (b'{"moltbot_session": 1, "session": "a b"}\n', "a session's name is"),
    ],
)
def test_an_import_says_which_line_is_wrong(lines: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        record.from_lines(lines)


def test_an_import_whose_turns_do_not_follow_each_other_is_refused() -> None:
    one = long_turn()
    two = msgspec.structs.replace(one, id=made_id(2.0, bytes(10)), parent="nobody")
    with pytest.raises(InvalidRequest, match=r"line 3 of the import: .* which is not there"):
        record.from_lines(b"".join(record.lines("talk", [one, two])))
    with pytest.raises(InvalidRequest, match=r"line 3 of the import: turn \w+ is there twice"):
        record.from_lines(b"".join(record.lines("talk", [one, one])))


def test_what_is_exported_can_be_imported_also_where_a_turn_was_lost_or_came_late() -> None:
    one = long_turn()
    two, three, four = (
        msgspec.structs.replace(one, id=made_id(at, bytes(10)), parent=parent)
        for at, parent in ((3.0, one.id), (2.0, one.id), (4.0, made_id(3.5, bytes(10))))
    )
    exported = b"".join(record.lines("talk", rooted([one, two, three, four])))
    name, turns = record.from_lines(exported.replace(b"\n", b"\r\n\r\n"))
    assert (name, [turn.id for turn in turns]) == ("talk", [one.id, two.id, three.id, four.id])
    assert [turn.parent for turn in turns] == [None, one.id, one.id, None]


@pytest.mark.parametrize("raw", [b"", b"hello", b'{"a": 1}, {"b": 2}', b'{"a": '])
def test_what_an_upstream_would_be_sent_as_it_is_has_to_be_json(raw: bytes) -> None:
    one = long_turn()
    own = Message(Role.USER, (Own(origin="x", kind="y", raw=raw),))
    for changed in ({"tools": (Tool("look", parameters=raw),)}, {"messages": (own,)}, {"reply": own}):
        with pytest.raises(InvalidRequest, match="should be JSON"):
            record.from_lines(b"".join(record.lines("talk", [msgspec.structs.replace(one, **changed)])))
    number = msgspec.structs.replace(one, tools=(Tool("look", parameters=b"5"),))
    with pytest.raises(InvalidRequest, match="should be JSON"):
        record.from_lines(b"".join(record.lines("talk", [number])))


@given(st.floats(0, 1e10), st.floats(-10, 10), st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_ids_sort_by_time_and_after_each_other_whatever_the_clock_says(
    at: float, later: float, one: bytes, other: bytes
) -> None:
    first = made_id(at, one)
    second = made_id(at + later, other, after=first)
    assert first < second
    assert is_id(first)
    assert is_id(second)
    assert made_id(at, one) < made_id(at + 0.01, other)


def test_a_lost_turn_cuts_off_what_came_before_it_and_a_ring_ends() -> None:
    one, two = made_id(1.0, bytes(10)), made_id(2.0, bytes(10))
    last = msgspec.structs.replace(long_turn(), id=two, parent=one)
    assert session.path([last], two) == (last,)
    ring = msgspec.structs.replace(last, parent=two)
    assert session.path([ring], two) == (ring,)
    assert session.path([], None) == ()
