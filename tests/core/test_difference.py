"""Where one prompt left another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.difference import difference

TEXT = "".join(f"Line {number} of the rules says {number * 7919 % 1000}.\\n" for number in range(40)).encode()


def test_the_first_differing_bytes_are_shown_with_what_is_around_them() -> None:
    found = difference(b"Now it is 06:05. " + TEXT, b"Now it is 06:17. " + TEXT + b"more")
    assert found is not None
    assert found.at == 13
    assert str(found) == (
        "at byte 13, 'Now it is 06:05. Line 0 of the rules say' was before what is now "
        "'Now it is 06:17. Line 0 of the rules say'"
    )


def test_what_grew_or_shrank_is_found_as_well() -> None:
    for old, new in (("9:59", "10:00:00"), ("x" * 100, "y"), ("Zürich", "Genève")):
        assert difference(f"it is {old}. ".encode() + TEXT, f"it is {new}. ".encode() + TEXT) is not None


def test_a_log_line_holds_no_byte_that_a_terminal_obeys() -> None:
    found = difference(b"\x1b[2J\xff1" + TEXT, b"\x1b[2J\xff2" + TEXT)
    assert str(found).isascii()
    assert str(found).isprintable()


def test_a_conversation_that_goes_on_has_no_difference() -> None:
    assert difference(TEXT, TEXT + b"and then") is None
    assert difference(TEXT, TEXT) is None
    assert difference(TEXT + b"and then", TEXT) is None  # asked again from an earlier point


def test_another_conversation_is_no_difference() -> None:
    assert difference(TEXT, bytes(reversed(TEXT))) is None
    assert difference(TEXT[:300] + b"what is a cat?" * 30, TEXT[:300] + b"how tall is a house?" * 30) is None


@given(st.binary(), st.binary(), st.binary())
def test_what_is_before_it_is_the_same(same: bytes, one: bytes, other: bytes) -> None:
    found = difference(same + one + TEXT, same + other + TEXT)
    if found is not None:
        before, after = same + one + TEXT, same + other + TEXT
        assert before[: found.at] == after[: found.at]
        assert before[found.at] != after[found.at]
