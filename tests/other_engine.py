"""A small real server, as a program of its own: embeddings, ranking, speech to text. Not llama-server, and not a test.

It has no /slots, is ready at /healthz only after a moment, and answers one request at a time.
"""

from __future__ import annotations

import email
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

BEGAN = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        ready = self.path == "/healthz" and time.monotonic() - BEGAN > 0.3
        self._say(204 if ready else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match self.path:
            case "/v1/embeddings":
                asked = json.loads(body)
                time.sleep(1.0 if asked["input"] == "slow" else 0.0)
                vector = {"object": "embedding", "index": 0, "embedding": [float(len(asked["input"])), 0.5]}
                self._say(200, {"object": "list", "model": asked["model"], "data": [vector], "usage": {}})
            case "/v1/rerank":
                asked = json.loads(body)
                ranked = [{"index": place, "relevance_score": 1.0} for place, _ in enumerate(asked["documents"])]
                self._say(200, {"model": asked["model"], "results": ranked})
            case "/v1/audio/transcriptions":
                kind = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
                parts: Any = email.message_from_bytes(kind + body).get_payload()
                fields: dict[Any, Any] = {
                    one.get_param("name", header="Content-Disposition"): one.get_payload(decode=True) for one in parts
                }
                said = f"{len(fields['file'])} bytes of sound, by {fields['model'].decode()}"
                self._say(200, {"text": said})
            case _:
                self._say(404, {"error": {"message": f"no {self.path}"}})

    def _say(self, status: int, said: dict[str, Any]) -> None:
        body = b"" if status == 204 else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


if __name__ == "__main__":
    port, told = int(sys.argv[1]), Path(sys.argv[2])
    told.write_text(json.dumps(sys.argv[1:]))
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
