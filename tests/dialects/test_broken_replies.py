"""Replies that something went wrong in, as no server should send them: what can be read is read, the rest is said.

They are recordings of real ones, with a piece exchanged. However the bytes were cut, the outcome is the same.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from dialects.conversations import CHAT_PATHS, DIALECTS, HEAD, asked, codec
from dialects.test_recordings import STREAMED, dialect_of, name_of

from moltbot_edge.core.errors import InvalidReply, TruncatedReply, UpstreamBroke
from moltbot_edge.core.reply import Broke, Event

WRONG = (
    b"nonsense",
    b"{}",
    b"[]",
    b"null",
    b'{"type": 3}',
    b'{"choices": [3]}',
    b'{"message": 3}',
    b'{"error": {"message": "no"}}',
    b'{"error": "no"}',
    b'{"usage": {"input_tokens": "many"}}',
    b'{"done": true, "eval_count": 1' + b"0" * 400 + b', "eval_duration": 1' + b"0" * 400 + b"}",
    b"\xff\xfe",
)
SEEDS = range(10)


def read(name: str, pieces: Iterable[bytes]) -> tuple[list[Event], type[Exception] | None]:
    """What came, and what is wrong with the rest."""
    reader = codec(name).event_reader(streamed=True)
    found: list[Event] = []
    try:
        for piece in pieces:
            found += reader.feed(piece)
        found += reader.end()
    except (InvalidReply, TruncatedReply) as error:
        return found, type(error)
    return found, None


def meddled(file: Path, chance: random.Random) -> bytes:
    """Its events, with one of them lost, said twice, or exchanged for another or for what is none."""
    end = b"\n" if file.suffix == ".ndjson" else b"\n\n"
    events = [event for event in file.read_bytes().replace(b"\r\n", b"\n").split(end) if event]
    place, other = chance.randrange(len(events)), chance.randrange(len(events))
    wrong = chance.choice(WRONG)
    match chance.randrange(5):
        case 0:
            del events[place]
        case 1:
            events.insert(other, events[place])
        case 2:
            events[place], events[other] = events[other], events[place]
        case _:
            events[place] = wrong if end == b"\n" else b"data: " + wrong
    return end.join(events) + end


@pytest.mark.parametrize("file", STREAMED, ids=name_of)
def test_any_cut_of_a_broken_stream_is_the_same(file: Path) -> None:
    for seed in SEEDS:
        chance = random.Random(seed)
        body = meddled(file, chance)
        places = sorted(chance.choices(range(len(body)), k=9))
        pieces = [body[begin:end] for begin, end in itertools.pairwise([0, *places, len(body)]) if begin < end]
        whole = read(dialect_of(file), [body])
        assert read(dialect_of(file), pieces) == whole, (seed, body)


@pytest.mark.parametrize("caller", DIALECTS)
@pytest.mark.parametrize("file", STREAMED, ids=name_of)
def test_what_can_be_read_of_it_can_be_written(file: Path, caller: str) -> None:
    for seed in SEEDS:
        found, wrong = read(dialect_of(file), [meddled(file, random.Random(seed))])
        writer = codec(caller).event_writer(asked(caller, stream=True), HEAD, CHAT_PATHS[caller])
        said = b"".join([writer.write([event]) for event in found if not isinstance(event, Broke)])
        if wrong is not None or any(isinstance(event, Broke) for event in found):
            writer.fail(UpstreamBroke("it broke"))
            continue
        again, at_fault = read(caller, [said + writer.end()])
        assert at_fault is None, (seed, again)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"message":"no","code":5}}', "no"),
        (b'{"type":"error","error":{"type":"x","message":"no"}}', "no"),
        (b'{"error":"no"}', "no"),
        (b'{"object":"error","message":"no"}', "no"),
        (b'{"detail":"no"}', "no"),
        (b'{"detail":[{"loc":["body","top_p"],"msg":"too large"},{"msg":"no"}]}', "body.top_p: too large; no"),
        *[(body, None) for body in (b"", b"<html>", b"{}", b"[]", b'{"error":[1]}', b'{"detail":[]}', b"[" * 9999)],
    ],
)
def test_an_error_is_understood_in_whichever_shape(name: str, body: bytes, said: str | None) -> None:
    assert codec(name).complaint(body) == said
