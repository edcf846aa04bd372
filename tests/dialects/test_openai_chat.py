"""OpenAI's dialect: what a reply says of itself, and how errors are said."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core import sse
from moltbot_edge.core.dialect import ReplyReader
from moltbot_edge.core.errors import GatewayError, UpstreamRefused, leaves
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.dialects.openai_chat import HELD_TAIL_BYTES, OpenAIChat
from moltbot_edge.dialects.openai_usage import MOST_TOKENS

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai_chat"
DIALECT = OpenAIChat()


def read(pieces: Iterable[bytes], *, streamed: bool) -> ReplyReader:
    reader = DIALECT.reader(streamed)
    for piece in pieces:
        reader.feed(piece)
    reader.end()
    return reader


def events_of(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n") if event]


# Streams.


def test_a_recorded_stream_says_its_usage_and_timings() -> None:
    reader = read(events_of((RECORDINGS / "chat.sse").read_bytes()), streamed=True)
    assert reader.usage == Usage(44, 22, 0)
    assert reader.timings is not None
    assert reader.timings.prefill_rate == pytest.approx(175.3, abs=0.1)
    assert reader.timings.decode_rate == pytest.approx(77.3, abs=0.1)


def test_events_may_come_together_or_one_by_one() -> None:
    for name in ("chat.sse", "chat_without_usage.sse", "completion.sse"):
        for newline in (b"\n", b"\r\n"):
            stream = (RECORDINGS / name).read_bytes()
            one = read(events_of(stream), streamed=True)
            all_at_once = read([stream.replace(b"\n", newline)], streamed=True)
            assert (one.usage, one.timings) == (all_at_once.usage, all_at_once.timings)
            assert one.usage is not None


def event(**said: object) -> bytes:
    return sse.event(json.dumps(said).encode())


def test_the_last_usage_counts() -> None:
    running = [event(choices=[], usage={"prompt_tokens": 5, "completion_tokens": n}) for n in range(1, 4)]
    assert read(running, streamed=True).usage == Usage(5, 3)
    assert read([*running, event(choices=[], usage=None)], streamed=True).usage == Usage(5, 3)


def test_the_last_timings_count_where_no_usage_was_asked_for() -> None:
    """As llama-server has them with ``timings_per_token``."""
    timings = {"cache_n": 2, "prompt_n": 3, "predicted_per_second": 3.0}
    running = [event(timings=timings | {"predicted_n": n}) for n in (1, 2, 3)]
    reader = read(running, streamed=True)
    assert reader.usage == Usage(5, 3, 2)
    assert reader.timings == Timings(0.0, 3.0)


def test_usage_is_believed_before_timings_whichever_comes_first() -> None:
    usage = event(usage={"prompt_tokens": 50, "completion_tokens": 30})
    timings = event(timings={"prompt_n": 5, "predicted_n": 3})
    for order in ([usage, timings], [timings, usage], [timings, usage, timings]):
        assert read(order, streamed=True).usage == Usage(50, 30)


@pytest.mark.parametrize(
    ("prompt", "written", "cached", "believed"),
    [
        (-5, -5, -5, Usage(0, 0, 0)),
        (10, 2, 5_000, Usage(10, 2, 10)),
        (10**400, 10**400, 0, Usage(MOST_TOKENS, MOST_TOKENS, 0)),
    ],
)
def test_what_cannot_be_is_not_counted(prompt: int, written: int, cached: int, believed: Usage) -> None:
    usage = {"prompt_tokens": prompt, "completion_tokens": written, "prompt_tokens_details": {"cached_tokens": cached}}
    assert read([event(usage=usage)], streamed=True).usage == believed
    timings = {"cache_n": min(cached, 10), "prompt_n": prompt, "predicted_n": written}
    assert read([event(timings=timings)], streamed=True).usage is not None


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e-320, 1e308])
def test_a_rate_that_nobody_measured_is_none(rate: float) -> None:
    reader = read([event(timings={"prompt_per_second": rate, "predicted_per_second": rate})], streamed=True)
    assert reader.timings == Timings()


def test_a_single_token_tells_no_rate() -> None:
    timings = {"prompt_n": 20, "prompt_per_second": 400.0, "predicted_n": 1, "predicted_per_second": 1e6}
    assert read([event(timings=timings)], streamed=True).timings == Timings(400.0, 0.0)


def test_words_are_not_taken_for_usage() -> None:
    said = event(choices=[{"delta": {"content": '"usage": {"prompt_tokens": 9}'}}])
    assert read([said], streamed=True).usage is None
    assert read([said.removeprefix(b"data: ")], streamed=False).usage is None


NONSENSE = [
    b'data: {"usage":',
    b'"usage": {',
    b"{}",
    b"}",
    b"\n\n",
    b'"timings": [',
    b'{"usage": {"prompt_tokens": 1e999}}',
]


@pytest.mark.parametrize("streamed", [True, False])
@given(data=st.lists(st.binary() | st.sampled_from(NONSENSE)))
def test_nothing_that_an_upstream_says_is_a_fault(streamed: bool, data: list[bytes]) -> None:
    read(data, streamed=streamed)


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", {}, {"prompt_tokens": "7"}, {"prompt_tokens": None}, {"prompt_tokens_details": None}, {"x": 1}],
)
def test_a_usage_of_another_shape_is_left_alone(usage: object) -> None:
    whole = json.dumps({"usage": usage}).encode()
    assert read([whole], streamed=False).usage in (None, Usage())
    assert read([sse.event(whole)], streamed=True).usage in (None, Usage())


@pytest.mark.parametrize("body", [b'{"usage": %b', b'{"data": %b, "timings": %b'], ids=["usage", "elsewhere"])
def test_depth_without_end_is_no_fault(body: bytes) -> None:
    deep = body.replace(b"%b", b'{"x":' * 20_000)
    assert read([b"data: " + deep + b"\n\n"], streamed=True).usage is None
    assert read([deep], streamed=False).usage is None
    assert read([b"x" * 3 * HELD_TAIL_BYTES, b'"usage": ' + b'{"x":' * 10_000], streamed=False).usage is None


# Whole replies.


@given(places=st.sets(st.integers(0, 700)))
def test_a_recorded_reply_cut_anywhere_says_the_same(places: set[int]) -> None:
    body = (RECORDINGS / "chat.json").read_bytes()
    cuts = sorted(places)
    reader = read([body[start:end] for start, end in zip([0, *cuts], [*cuts, None], strict=True)], streamed=False)
    assert reader.usage == Usage(44, 22, 43)
    assert reader.timings is not None


LONG = b'"data":[' + b",".join([b"0.123456"] * 100_000) + b"]"
USAGE = b'"usage":{"prompt_tokens":8,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":2}}'


@pytest.mark.parametrize("piece_bytes", [1000, 65_536, 10_000_000])
@pytest.mark.parametrize("body", [b"{" + LONG + b"," + USAGE + b"}", b"{" + USAGE + b"," + LONG + b"}"])
def test_a_long_reply_says_its_usage_first_or_last(body: bytes, piece_bytes: int) -> None:
    pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
    assert read(pieces, streamed=False).usage == Usage(8, 1, 2)


def test_a_long_reply_is_not_kept() -> None:
    reader = DIALECT.reader(streamed=False)
    for _ in range(1000):
        reader.feed(b"x" * 10_000)
        kept = vars(reader)
        assert sum(map(len, kept["_pieces"])) <= 2 * HELD_TAIL_BYTES + 10_000


# Errors.


@pytest.mark.parametrize("leaf", leaves(), ids=lambda leaf: leaf.__name__)
def test_every_error_is_written(leaf: type[GatewayError]) -> None:
    if leaf is UpstreamRefused:
        error: GatewayError = UpstreamRefused("x answered 500", answered=500, body=b"", content_type=b"text/html")
    else:
        error = leaf("no", param="model")
    said = json.loads(DIALECT.error(error))
    assert set(said) == {"error"}
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert said["error"]["message"] == error.message
    event, done = sse.data_of(DIALECT.error_event(error))
    assert json.loads(event) == said
    assert done == b"[DONE]"
    assert sse.parted(DIALECT.error_event(error))[1] == b""


def test_an_error_of_several_lines_is_one_event() -> None:
    first, _ = sse.data_of(DIALECT.error_event(GatewayError("one\n\ntwo\r\n")))
    assert json.loads(first)["error"]["message"] == "one\n\ntwo\r\n"


def test_a_ping_is_no_event() -> None:
    assert list(sse.data_of(DIALECT.ping())) == []
    assert sse.parted(DIALECT.ping())[1] == b""


def test_every_path_leads_below_v1() -> None:
    assert {f"/v1{below}" for below in DIALECT.paths.values()} == set(DIALECT.paths)
