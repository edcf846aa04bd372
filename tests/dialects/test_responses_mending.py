"""A llama-server's own Responses as the official client can read them."""

from __future__ import annotations

from pathlib import Path

import pytest
from dialects.conversations import HEAD, fold
from dialects.vendors import check_reply
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

from moltbot_edge.core import sse
from moltbot_edge.dialects.openai_responses import OpenAIResponses
from moltbot_edge.dialects.responses_events import StreamReader

RECORDINGS = Path(__file__).parents[1] / "recordings" / "openai_responses"
STREAMS = sorted(RECORDINGS.glob("*_llama_server.sse"))
WHOLE = sorted(file for file in RECORDINGS.glob("*_llama_server.json") if not file.name.startswith("error"))


def mended(body: bytes, *, streamed: bool) -> bytes:
    """As the gateway relays it: whole events of a stream by themselves."""
    pieces = [one + b"\n\n" for one in body.split(b"\n\n") if one] if streamed else [body]
    mender = OpenAIResponses().mender("/v1/responses", streamed, pieces[0], lambda: HEAD)
    assert mender is not None
    return b"".join(map(mender.mend, pieces)) + mender.end()


def whole_events(file: Path) -> bytes:
    return sse.parted(file.read_bytes())[0]


@pytest.mark.parametrize("file", STREAMS, ids=lambda file: file.stem)
def test_a_stream_is_mended_and_says_the_same(file: Path) -> None:
    body = whole_events(file)
    with pytest.raises(ValidationError):
        TypeAdapter(ResponseStreamEvent).validate_json(next(sse.data_of(body)))
    found = mended(body, streamed=True)
    check_reply("openai-responses", found, streamed=True)
    assert fold(StreamReader().feed(found)) == fold(StreamReader().feed(body))


@pytest.mark.parametrize("file", STREAMS, ids=lambda file: file.stem)
def test_every_event_has_its_number_and_its_items_place(file: Path) -> None:
    events = [
        TypeAdapter(ResponseStreamEvent).validate_json(data)
        for data in sse.data_of(mended(whole_events(file), streamed=True))
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    added = {event.item.id: event.output_index for event in events if event.type == "response.output_item.added"}
    assert list(added.values()) == list(range(len(added)))
    assert {event.item.id: event.output_index for event in events if event.type == "response.output_item.done"} in (
        added,
        {},  # it was cut before
    )


@pytest.mark.parametrize("file", WHOLE, ids=lambda file: file.stem)
def test_a_whole_reply_is_mended(file: Path) -> None:
    body = file.read_bytes()
    with pytest.raises(ValidationError):
        TypeAdapter(Response).validate_json(body)
    check_reply("openai-responses", mended(body, streamed=False), streamed=False)


@pytest.mark.parametrize("name", ["plain.sse", "reasoning.sse", "tools.sse", "plain.json", "tools.json"])
def test_a_reply_that_lacks_nothing_passes_as_it_is(name: str) -> None:
    body = (RECORDINGS / name).read_bytes()
    assert OpenAIResponses().mender("/v1/responses", name.endswith(".sse"), body, lambda: HEAD) is None


def test_what_is_no_reply_is_left_alone() -> None:
    assert mended(b'{"hello": 1}', streamed=False) == b'{"hello": 1}'
    assert mended(b"not JSON", streamed=False) == b"not JSON"
    assert mended(b"data: [DONE]\n\n", streamed=True) == b""


@pytest.mark.parametrize("junk", [b"3", b'"x"', b"null", b"[7]", b'{"a":[]}', b"1.5", b"true"])
def test_what_is_not_of_its_kind_does_not_break_it(junk: bytes) -> None:
    response = b'{"output":[{"type":"message","content":%b}],"usage":{"input_tokens":%b,"input_tokens_details":%b}}'
    event = b'data: {"type":"response.output_text.delta","output_index":%b,"item":{"id":%b}}\n\n'
    for body in (b'{"output":%b}' % junk, response % (junk, junk, junk)):
        assert b'"object":"response"' in mended(body, streamed=False)
    done = b'data: {"type":"response.completed","response":%b}\n\n' % (response % (junk, junk, junk))
    assert mended(event % (junk, junk) + done, streamed=True).count(b"sequence_number") == 2
