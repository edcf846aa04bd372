"""What a caller sees while a model of this board loads and reads: if it asked for it. A real engine process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine
from gguf_file import chat_model
from harness import serving
from hypothesis import given
from hypothesis import strategies as st
from raw_caller import QUESTION, request

from moltbot_edge.config.schema import Config, Engines, Limits, Model
from moltbot_edge.core.head import read_head, with_model
from moltbot_edge.core.lease import Phase, Progress
from moltbot_edge.gateway.progress import asking, reading

pytestmark = pytest.mark.anyio

# An engine that says what it was asked, and reads the prompt in two steps before it answers, as llama-server does.
READS = """
import json
EVENTS = [
    {"choices": [], "prompt_progress": {"total": 200, "processed": 100}},
    {"choices": [], "prompt_progress": {"total": 200, "processed": 200}},
]
time.sleep(0.6)
with socket.create_server(("127.0.0.1", port)) as listener:
    while True:
        caller, _ = listener.accept()
        said = caller.recv(65536)
        if not said.startswith(b"POST"):
            body = b"[]"
            caller.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n[]")
        else:
            asked = json.loads(said.partition(b"\\r\\n\\r\\n")[2])
            events = EVENTS if asked.get("return_progress") else []
            events = [*events, {"choices": [{"index": 0, "delta": {"content": "hi"}}], "asked": sorted(asked)}]
            body = b"".join(b"data: %s\\n\\n" % json.dumps(one).encode() for one in events) + b"data: [DONE]\\n\\n"
            head = b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\nConnection: close\\r\\n\\r\\n"
            caller.sendall(head + body)
        caller.close()
"""


def settings(folder: Path) -> Config:
    file = folder / "small.gguf"
    file.write_bytes(chat_model())
    return Config(
        model_registry=[Model(name="chat", file=str(file))],
        engines=Engines(command=str(fake_engine(folder, READS)), stop_s=2.0),
        limits=Limits(ping_after_s=30.0),
    )


async def events(folder: Path, body: dict[str, Any]) -> list[Any]:
    async with serving(settings(folder)) as gateway, gateway.caller() as client:
        await client.send(request(body))
        data = b"".join([piece async for piece in client.pieces(await client.head())])
    *said, done = [one.removeprefix(b"data: ") for one in data.split(b"\n\n") if one]
    assert done == b"[DONE]"
    return [json.loads(one) for one in said]


async def test_who_asks_sees_the_queue_the_load_and_the_reading(tmp_path: Path) -> None:
    options = {"include_usage": True, "include_progress": True}
    said = await events(tmp_path, QUESTION | {"stream": True, "stream_options": options})
    before = [one for one in said if "progress" in one]
    told = [one["progress"] for one in before]
    answer = said[len(before)]
    assert all(one["choices"] == [] and one["object"] == "chat.completion.chunk" for one in before)
    assert list(dict.fromkeys(one["phase"] for one in told)) == ["queued", "loading", "prefill"]
    assert told[0] == {"phase": "queued", "position": 0}
    assert [one["done"] for one in told if one["phase"] == "prefill"] == [0.5, 1.0]
    assert answer["choices"][0]["delta"] == {"content": "hi"}
    assert {"return_progress", "stream_options"} <= set(answer["asked"])


async def test_who_does_not_ask_sees_nothing_of_it(tmp_path: Path) -> None:
    answer = (await events(tmp_path, QUESTION | {"stream": True}))[0]
    assert not {"return_progress", "stream_options"} & set(answer["asked"])


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({"include_progress": True}, None),
        ({"include_usage": True, "include_progress": True}, {"include_usage": True}),
        ({"include_usage": True}, {"include_usage": True}),
        ({"include_progress": "yes"}, {"include_progress": "yes"}),
    ],
)
def test_the_wish_is_ours_and_goes_to_no_upstream(options: dict[str, Any], sent: dict[str, Any] | None) -> None:
    body = json.dumps(QUESTION | {"stream": True, "stream_options": options}).encode()
    head = read_head(body)
    assert head.progress is (options.get("include_progress") is True)
    passed = json.loads(b"".join(with_model(body, "other", head)))
    assert passed.get("stream_options") == sent
    assert passed["model"] == "other"


def test_without_a_stream_nobody_could_be_told() -> None:
    assert not read_head(b'{"model": "m", "stream_options": {"include_progress": true}}').progress


def test_an_engine_is_asked_for_it_in_the_bodys_last_field() -> None:
    assert json.loads(b"".join(asking([b'{"a":1', b"}\n"]))) == {"a": 1, "return_progress": True}


PROGRESS = [b'data: {"prompt_progress":{"total":4,"processed":%d},"choices":[]}\n\n' % done for done in (1, 4)]
ANSWER = [
    b'data: {"choices":[{"delta":{"content":"\\"prompt_progress\\""}}]}\n\n',
    b'data: {"prompt_progress":{"total":4,"processed":4}}\n\n',  # too late: it is the answer's now
    b"data: [DONE]\n\n",
]


class Sent:
    """A reply that comes in these pieces, as the wire's own would give them."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    async def pump(self, sink: Any) -> bool:
        for piece in self.pieces:
            assert sink(piece)
        return True


@given(st.data())
def test_any_cut_of_a_stream_tells_the_same_and_passes_the_same(data: st.DataObject) -> None:
    whole = b"".join([*PROGRESS, *ANSWER])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    heard: list[Progress] = []
    passed: list[bytes] = []

    def sink(piece: bytes) -> bool:
        passed.append(piece)
        return True

    reply: Any = Sent([piece for piece in pieces if piece])
    going = reading(reply, heard.append, 4096).pump(sink)
    with pytest.raises(StopIteration):
        going.send(None)
    assert heard == [Progress(Phase.PREFILL, done=0.25), Progress(Phase.PREFILL, done=1.0)]
    assert b"".join(passed) == b"".join(ANSWER)
