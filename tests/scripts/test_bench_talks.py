"""How the benchmark talks: what it sends, what it takes for a whole reply, what it counts. Against a real socket."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from benchmark.figures import Figure
from benchmark.talks import LENGTHS, TalkFailed, Talks, whole

REPLY = json.dumps({"choices": [{"message": {"role": "assistant", "content": "Paris.", "refusal": None}}]}).encode()


@contextmanager
def gateway(status: int = 200) -> Iterator[tuple[int, list[tuple[str | None, list[dict[str, str]]]]]]:
    """Its port, and what was asked: the session, and the messages."""
    asked: list[tuple[str | None, list[dict[str, str]]]] = []

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.headers["x-moltbot-session"], body["messages"]))
            self.do_GET()

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(REPLY)))
            self.end_headers()
            self.wfile.write(REPLY)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], asked
        server.shutdown()


def talks(port: int) -> Talks:
    return Talks(port, {"Authorization": "Bearer x"}, "m", [os.getpid()], 2, batches=1, connections=2, alone=3)


def test_each_turn_is_also_asked_with_all_that_was_said_before() -> None:
    with gateway() as (port, asked):
        found = [figure for figure, _ in talks(port).costs()]
    written = Figure.BYTES_PER_TURN, Figure.DISK_BYTES_PER_TURN, Figure.BYTES_PER_READ
    assert list(dict.fromkeys(found)) == [*LENGTHS.values(), Figure.CPU_PER_TURN_ALONE, *written]
    wholes = [messages for session, messages in asked if session is None]
    assert {len(messages) for messages in wholes} == {2 * before + 1 for before in (*LENGTHS, 1, 2)}
    assert all(len(messages) == 1 for session, messages in asked if session is not None)
    last = max(wholes, key=len)
    assert [message["role"] for message in last[:4]] == ["user", "assistant", "user", "assistant"]
    assert last[1]["content"] == "Paris."
    assert 1000 <= len(last[0]["content"]) + len(last[1]["content"]) + 40 <= 1060
    new = [session for session, messages in asked if session is not None and messages[0] == last[-1]]
    assert len(new) == 1
    said = [messages[0] for session, messages in asked if session == new[0]]
    assert said == last[::2], "the same conversation as the relay carries"


def test_what_is_refused_is_told() -> None:
    with gateway(429) as (port, _), pytest.raises(TalkFailed, match="429"):
        list(talks(port).costs())


def test_a_reply_is_whole_with_its_last_byte() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nyes."
    assert [whole(reply[:end]) for end in range(len(reply) + 1)] == [False] * len(reply) + [True]
