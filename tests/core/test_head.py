"""What a request says before its messages, and its one change on the way."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import MOST_VALUES, Head, check_values, read_head, with_model, with_slot

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT | st.just("model"), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.dictionaries(TEXT.filter(lambda name: name not in ("model", "stream", "session")), VALUES, max_size=5)


def sent(pieces: list[bytes | bytearray | memoryview]) -> bytes:
    return b"".join(pieces)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    fields = [*draw(FIELDS).items(), ("model", draw(NAMES))]
    request = dict(draw(st.permutations(fields)))
    ascii_only = draw(st.booleans())
    spaced = draw(st.booleans())
    text = json.dumps(request, ensure_ascii=ascii_only, separators=None if spaced else (",", ":"))
    return text.encode(), request


def test_the_head_is_read_and_the_rest_left_alone() -> None:
    body = b'{"messages":[{"role":"user","content":"hi"}],"model":"small","stream":true,"session":"s1","seed":1}'
    assert read_head(body) == Head("small", stream=True, session="s1", ours=True)


def test_null_means_not_asked_for() -> None:
    assert read_head(b'{"model":"small","stream":null,"session":null}') == Head("small")


@pytest.mark.parametrize(
    ("body", "param", "word"),
    [
        (b"", None, "not JSON"),
        (b"{", None, "not JSON"),
        (b'{"model":"a"} x', None, "not JSON"),
        (b'{"model":"a","messages":[}', None, "not JSON"),
        (b'{"model":"\xff"}', None, "not JSON"),
        (b"[" * 100_000, None, "not"),
        (b'{"model":"a","x":' + b"[" * 100_000, None, "not JSON"),
        (b"[]", None, "not right"),
        (b"{}", "model", "model"),
        (b'{"model":""}', "model", "empty"),
        (b'{"model":7}', "model", "int"),
        (b'{"model":"a","stream":"yes"}', "stream", "stream"),
        (b'{"model":"a","session":[]}', "session", "session"),
    ],
)
def test_a_body_that_is_not_right_is_refused_by_field(body: bytes, param: str | None, word: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_head(body)
    assert raised.value.param == param
    assert word in raised.value.message


@given(bodies(), NAMES)
def test_only_the_model_changes(body: tuple[bytes, dict[str, Any]], wanted: str) -> None:
    text, request = body
    found = read_head(text).model
    assert found == request["model"]
    assert json.loads(sent(with_model(text, wanted, Head(found)))) == {**request, "model": wanted}


@given(bodies(), NAMES)
def test_a_bytearray_changes_as_bytes_do(body: tuple[bytes, dict[str, Any]], wanted: str) -> None:
    text, request = body
    same = sent(with_model(text, wanted, Head(request["model"])))
    assert sent(with_model(bytearray(text), wanted, Head(request["model"]))) == same


@pytest.mark.parametrize("colon", [":", ": ", " :\n\t"])
def test_where_the_name_stands_once_every_other_byte_stays(colon: str) -> None:
    before = (
        '{ "messages" : [{"content":"a \\"model\\": \\"chat\\" in a string"}],\n\t"temperature":1.0e-1,"model"' + colon
    )
    after = ' , "big":12345678901234567890123, "u":"\\u00e9é" }\r\n'
    body = (before + '"chat"' + after).encode()
    assert sent(with_model(body, "qwen3:4b", Head("chat"))) == (before + '"qwen3:4b"' + after).encode()


def test_a_name_that_is_right_already_costs_no_copy() -> None:
    body = b'{"model":"chat"}'
    assert with_model(body, "chat", Head("chat")) == [body]
    assert with_model(body, "chat", Head("chat"))[0] is body


def test_a_large_body_is_not_copied_to_change_the_name() -> None:
    body = bytearray(b'{"messages":"' + b"x" * 100_000 + b'","model":"chat"}')
    pieces = with_model(body, "qwen3:4b", Head("chat"))
    assert sum(len(piece) for piece in pieces if not isinstance(piece, memoryview)) == len('"qwen3:4b"')


def test_a_tool_with_a_model_field_of_the_same_name_keeps_it() -> None:
    body = b'{"tools":[{"model":"chat", "n":1.10}],"model":"chat","seed":1e3}'
    changed = sent(with_model(body, "qwen3:4b", Head("chat")))
    assert json.loads(changed) == {"tools": [{"model": "chat", "n": 1.1}], "model": "qwen3:4b", "seed": 1000.0}
    assert b'{"model":"chat", "n":1.10}' in changed
    assert b"1e3" in changed


def test_a_name_written_with_escapes_is_changed_too() -> None:
    body = b'{"model":"Qwen\\/Qwen3 caf\\u00e9"}'
    found = read_head(body).model
    assert found == "Qwen/Qwen3 café"
    assert json.loads(sent(with_model(body, "up", Head(found)))) == {"model": "up"}


@pytest.mark.parametrize(
    "text",
    [
        b'{"x":{"model":"chat"},"model":"ch\\u0061t"}',
        b'{"model":"gpt-9","model":"chat"}',
        b'{"mod\\u0065l":"gpt-9","model":"chat"}',
        b'{"model":"gpt-9","mod\\u0065l":"chat"}',
    ],
)
@pytest.mark.parametrize("wanted", ["chat", "qwen3:4b"])
def test_a_model_said_twice_or_in_escapes_goes_out_once(text: bytes, wanted: str) -> None:
    assert read_head(text).model == "chat"
    out = sent(with_model(text, wanted, Head("chat")))
    pairs: list[tuple[str, Any]] = json.loads(out, object_pairs_hook=lambda pairs: pairs)
    assert [value for key, value in pairs if key == "model"] == [wanted]


@pytest.mark.parametrize("body", [b'{"model": "a", "messages": []} \n', b'{"messages": [], "model": "a"}'])
def test_a_slot_is_added_to_what_leaves(body: bytes) -> None:
    pieces = with_slot(with_model(body, "wanted", Head("a")), 3)
    assert json.loads(sent(pieces)) == {"model": "wanted", "messages": [], "id_slot": 3}


def test_what_to_ask_for_when_the_model_fails_is_said_in_two_spellings() -> None:
    assert read_head(b'{"model": "a", "fallbacks": ["b", "c", "b"]}').fallbacks == ("b", "c")
    routed = read_head(b'{"models": ["a", "b"]}')  # the model may stand among them
    assert (routed.model, routed.fallbacks) == ("a", ("b",))
    assert read_head(b'{"model": "a", "models": ["a", "b"]}').fallbacks == ("b",)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "a", "fallbacks": "b"}, "fallbacks"),
        ({"model": "a", "fallbacks": [""]}, "model"),
        ({"model": "a", "models": ["b"] * 3 + [str(number) for number in range(9)]}, "models"),
        ({"fallbacks": []}, "model"),
    ],
)
def test_fallbacks_that_are_none_are_refused(body: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_head(json.dumps(body).encode())
    assert caught.value.param == field


def test_fields_that_are_for_us_do_not_leave() -> None:
    body = b'{"session": "s", "model": "a", "models": ["b"], "fallbacks": ["c"], "n": {"fallbacks": 1}}'
    assert json.loads(sent(with_model(body, "up", read_head(body)))) == {"model": "up", "n": {"fallbacks": 1}}


@pytest.mark.parametrize("value", [b"1", b'"a"', b"[]", b'"\\","', b'",,"', b'{"a":"b,c"}'])
def test_a_body_of_nothing_but_values_is_refused(value: bytes) -> None:
    body = b'{"model":"chat","stop":[' + b",".join([value] * (MOST_VALUES + 1)) + b"]}"
    with pytest.raises(InvalidRequest, match="more than 500000 values"):
        read_head(body)


@pytest.mark.parametrize("text", [b"a,", b'\\",', b"\\\\,", "ä,".encode(), b"\\u002c,"])
def test_commas_in_a_text_are_no_values(text: bytes) -> None:
    body = b'{"model":"chat","text":"' + text * (2 * MOST_VALUES) + b'"}'
    assert read_head(bytearray(body)) == Head("chat")


@pytest.mark.parametrize("body", [b'"a,', b'"\\,', b"\\,", b'","'])
def test_what_is_no_json_is_not_looked_at_for_long(body: bytes) -> None:
    with contextlib.suppress(InvalidRequest):
        check_values(body * (2 * MOST_VALUES))  # looking back at each comma would take an hour
