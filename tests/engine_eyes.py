"""What a real engine was really asked: the text whose tokens it read, as `llama-server` itself tells it.

Not what the gateway believes to have sent: a template, and the engine's own mending of a request, come after that.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import msgspec

from moltbot_edge.local.memory import Memory


class Seen(msgspec.Struct, frozen=True):
    """An engine's last request, and what it wrote."""

    prompt: str
    generated: str


def telling(llama_server: Path, folder: Path) -> Path:
    """A command that is *llama_server*, and tells what it was asked. It is written to *folder*."""
    command = folder / "telling-llama-server"
    command.write_text(f'#!/bin/sh\nLLAMA_SERVER_SLOTS_DEBUG=1 exec "{llama_server}" "$@"\n')
    command.chmod(0o755)
    return command


def last(gateway_pid: int, model: str) -> Seen:
    """Of the engine below the gateway whose file is ``MODEL.gguf``. Raises `LookupError` where none runs."""
    for pid in Memory().family(gateway_pid):
        words = Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
        if "--model" in words and Path(words[words.index("--model") + 1]).stem == model:
            return at(int(words[words.index("--port") + 1]))
    raise LookupError(f"no engine of {model}")


def at(port: int) -> Seen:
    """Of an engine with one slot."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/slots", timeout=30) as answer:
        (slot,) = json.load(answer)
    return Seen(slot["prompt"], slot["generated"])
