"""Every pair of dialects: what both can say arrives, what does not fit is mended or refused, and nothing is lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from dialects.conversations import (
    CHAT_PATHS,
    DIALECTS,
    HEAD,
    REPLIES,
    REQUESTS,
    asked,
    codec,
    differences,
    event_lists,
    fold,
    messy,
    orphans,
    plain,
    requests,
    words_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.errors import InvalidReply, InvalidRequest, TruncatedReply
from moltbot_edge.core.hygiene import cleaned
from moltbot_edge.core.reply import Event
from moltbot_edge.core.target import target

T = TypeVar("T")
# There are many pairs: each gets a fifth of what a property has that is tried once.
some = settings(max_examples=settings().max_examples // 5)
PAIRS = list(itertools.product(DIALECTS, repeat=2))


def read_back(name: str, request: ChatRequest) -> ChatRequest:
    outgoing = codec(name).write_request(request)
    return codec(name).read_request(CHAT_PATHS[name], outgoing.body)


@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_a_request_is_read_as_it_was_written(name: str, data: st.DataObject) -> None:
    request = data.draw(requests(REQUESTS[name], name))
    outgoing = codec(name).write_request(request)
    assert outgoing.dropped == ()
    assert differences(plain(read_back(name, request)), plain(request)) == {}


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
@some
@given(data=st.data())
def test_what_both_can_say_arrives(caller: str, upstream: str, data: st.DataObject) -> None:
    mended = {"reasoning", "reasoning.sealed"} | ({"refusal"} if not target(upstream, "model").refusals else set())
    request = data.draw(requests(REQUESTS[caller] & REQUESTS[upstream] - mended, caller))
    heard = read_back(caller, request)
    fit = cleaned(heard, target(upstream, "model"))
    assert fit.dropped == ()
    outgoing = codec(upstream).write_request(fit.request)
    assert outgoing.dropped == ()
    arrived = codec(upstream).read_request(CHAT_PATHS[upstream], outgoing.body)
    assert differences(plain(arrived), plain(request)) == {}


@pytest.mark.parametrize("upstream", DIALECTS)
@some
@given(request=messy())
def test_no_call_is_orphaned_and_no_text_lost(upstream: str, request: ChatRequest) -> None:
    fit = cleaned(request, target(upstream, "model")).request
    arrived = read_back(upstream, fit)
    assert orphans(arrived) == []
    said = words_of(arrived)
    lost = [word for word in words_of(request).split() if word.startswith("word") and word not in said]
    assert lost == []


# Replies.


def events_of(name: str, body: bytes, streamed: bool) -> list[Event]:
    reader = codec(name).event_reader(streamed)
    return [*reader.feed(body), *reader.end()]


def reply_of(name: str, events: list[Event], streamed: bool) -> bytes:
    writer = codec(name).event_writer(asked(name, streamed), HEAD, CHAT_PATHS[name])
    return writer.write(events) + writer.end()


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_a_reply_is_read_as_it_was_written(name: str, streamed: bool, data: st.DataObject) -> None:
    events = data.draw(event_lists(REPLIES[name]))
    assert differences(fold(events_of(name, reply_of(name, events, streamed), streamed)), fold(events)) == {}


@pytest.mark.parametrize(("caller", "upstream"), PAIRS)
@some
@given(data=st.data())
def test_a_reply_arrives_from_any_upstream(caller: str, upstream: str, data: st.DataObject) -> None:
    events = data.draw(event_lists(REPLIES[caller] & REPLIES[upstream]))
    streamed = data.draw(st.booleans()), data.draw(st.booleans())
    heard = events_of(upstream, reply_of(upstream, events, streamed[0]), streamed[0])
    arrived = fold(events_of(caller, reply_of(caller, heard, streamed[1]), streamed[1]))
    assert differences(arrived, fold(events)) == {}


@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_it_does_not_matter_how_many_events_are_written_at_once(name: str, data: st.DataObject) -> None:
    events = data.draw(event_lists(REPLIES[name] - {"logprobs"}))
    writer = codec(name).event_writer(asked(name, True), HEAD, CHAT_PATHS[name])
    one_by_one = b"".join([writer.write([event]) for event in events]) + writer.end()
    assert fold(events_of(name, one_by_one, True)) == fold(events)


@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_any_cut_gives_the_same_events(name: str, data: st.DataObject) -> None:
    body = reply_of(name, data.draw(event_lists(REPLIES[name])), True)
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    reader = codec(name).event_reader(True)
    events: list[Event] = []
    for begin, end in itertools.pairwise([0, *places, len(body)]):
        events += reader.feed(body[begin:end])
    assert [*events, *reader.end()] == events_of(name, body, True)


# What is malformed.

# JSON has no infinity.
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False)
)
_anything = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value, its root left out."""
    found: list[tuple[Any, ...]] = []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        found += [(*path, key), *places_in(one, (*path, key))]
    return found


@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_a_malformed_request_is_refused_and_says_where(name: str, data: st.DataObject) -> None:
    request = data.draw(requests(REQUESTS[name], name))
    body = json.loads(codec(name).write_request(request).body)
    *way, last = data.draw(st.sampled_from(places_in(body)))
    inner = body
    for key in way:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[last] = data.draw(_anything)
    elif isinstance(inner, dict):
        del inner[last]
    heard = said_or_refused(codec(name).read_request, CHAT_PATHS[name], json.dumps(body).encode())
    for upstream in DIALECTS if heard is not None else ():
        fit = said_or_refused(cleaned, heard, target(upstream, "model"))
        if fit is not None:
            said_or_refused(codec(upstream).write_request, fit.request)


@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_a_malformed_reply_is_read_or_refused(name: str, data: st.DataObject) -> None:
    streamed = data.draw(st.booleans())
    body = reply_of(name, data.draw(event_lists(REPLIES[name])), streamed)
    separator = b"\n" if name == "ollama" else b"\n\n"
    blocks = body.split(separator) if streamed else [body]
    place = data.draw(st.sampled_from([at for at, block in enumerate(blocks) if b"{" in block]))
    before, brace, said = blocks[place].partition(b"{")
    changed = json.loads(brace + said)
    *way, last = data.draw(st.sampled_from(places_in(changed)))
    inner = changed
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(_anything)
    blocks[place] = before + json.dumps(changed).encode()
    reader = codec(name).event_reader(streamed)
    try:
        heard = [*reader.feed(separator.join(blocks)), *reader.end()]
    except (InvalidReply, TruncatedReply):
        return
    for caller in DIALECTS:
        reply_of(caller, heard, data.draw(st.booleans()))


def said_or_refused(asked: Callable[..., T], *arguments: Any) -> T | None:
    """What comes back; None where it raises what tells a caller where to look."""
    try:
        return asked(*arguments)
    except InvalidRequest as error:
        if error.param is None or not error.message:
            raise AssertionError(f"refused without a place: {error.message}") from error
        return None
