"""A machine beside the board that has a model: it says the same sentence to everybody, whole or streamed.

On this machine's loopback, which the guest reaches through QEMU's NAT. Answers are OpenAI's, in as few fields as the
gateway and a client look at.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

MODEL: Final = "parrot"
WORDS: Final = ("Emulated", " boards", " answer", " too", ".")
SENTENCE: Final = "".join(WORDS)


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["stream"]:
            events = [_chunk({"content": word}) for word in WORDS] + [_chunk({}, "stop")]
            body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
            self._answer("text/event-stream", body.encode())
        else:
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": SENTENCE}}
            self._answer("application/json", json.dumps({"object": "chat.completion", "choices": [choice]}).encode())

    def do_GET(self) -> None:
        self._answer("application/json", json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode())

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, object]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


@contextmanager
def upstream() -> Iterator[int]:
    """The port that it listens on."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="upstream")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
