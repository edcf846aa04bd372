"""Record what a real engine sends: `python record.py http://127.0.0.1:PORT`, run by hand when an engine changes.

Bodies are kept byte for byte, without the chunks they came in.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "openai_chat"

QUESTION = {
    "messages": [{"role": "user", "content": "Write two short lines about Zürich, with one emoji."}],
    "temperature": 0,
    "max_tokens": 24,
}
RECORDINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "chat.sse": ("/v1/chat/completions", QUESTION | {"stream": True, "stream_options": {"include_usage": True}}),
    "chat_without_usage.sse": ("/v1/chat/completions", QUESTION | {"stream": True}),
    "chat.json": ("/v1/chat/completions", QUESTION),
    "completion.sse": (
        "/v1/completions",
        {"prompt": "One, two,", "temperature": 0, "max_tokens": 8, "stream": True},
    ),
}


def main(base: str) -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, (path, body) in RECORDINGS.items():
        asked = urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked) as reply:
            (FOLDER / name).write_bytes(reply.read())


if __name__ == "__main__":
    main(sys.argv[1])
