"""An engine is asked once what its template takes, and what it cannot take is not sent to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine
from gguf_file import chat_model
from harness import serving
from scripted_upstream import completion

from moltbot_edge.config.schema import Config, Engines, Model

pytestmark = pytest.mark.anyio

MESSAGES = "/v1/messages"
CAPS = {"supports_tools": False, "supports_tool_calls": False, "supports_reasoning_effort": False}
PROPS = json.dumps({"chat_template_caps": CAPS, "modalities": {"vision": False}})
TOOL = {"name": "look", "input_schema": {"type": "object"}}
ASKED: dict[str, Any] = {"model": "chat", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}

# Writes down each request's first line and body, and answers /props and chats.
SERVES = """
import json
with socket.create_server(("127.0.0.1", port)) as listener, open({log!r}, "a") as log:
    while True:
        caller, _ = listener.accept()
        caller.settimeout(5)
        asked = caller.recv(65536)
        head, _, body = asked.partition(b"\\r\\n\\r\\n")
        length = [line for line in head.split(b"\\r\\n") if line.lower().startswith(b"content-length:")]
        while length and len(body) < int(length[0].split(b":")[1]):
            body += caller.recv(65536)
        print(json.dumps([head.split(b"\\r\\n")[0].decode(), body.decode()]), file=log, flush=True)
        said = {props!r} if b" /props " in head else {reply!r} if b"/chat/" in head else b"[]"
        caller.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nConnection: close\\r\\n"
                       b"Content-Length: %d\\r\\n\\r\\n" % len(said) + said)
        caller.close()
"""


class Board:
    """A gateway's configuration with one engine, and what that was asked."""

    def __init__(self, folder: Path, **model: Any) -> None:
        self._log = folder / "asked"
        file = folder / "small.gguf"
        file.write_bytes(chat_model())
        does = SERVES.format(log=str(self._log), props=PROPS.encode(), reply=completion())
        self.config = Config(
            model_registry=[Model(name="chat", file=str(file), **model)],
            engines=Engines(command=str(fake_engine(folder, does)), stop_s=2.0),
        )

    def chats(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [json.loads(body) for first, body in lines if first.startswith("POST /v1/chat/completions ")]


async def test_tools_for_a_template_without_a_word_for_them_are_refused(tmp_path: Path) -> None:
    board = Board(tmp_path)
    async with serving(board.config) as gateway:
        for _ in range(2):
            answer = await gateway.ask(ASKED | {"tools": [TOOL]}, path=MESSAGES)
            assert answer.status == 400
            assert answer.error["message"].startswith("tools: this model takes no tools")
        assert (await gateway.ask(ASKED, path=MESSAGES)).status == 200  # it is not the engine's fault
        metrics = await gateway.metrics()
        assert metrics["moltbot_attempts_total", "chat", "ok"] == 1
    (chat,) = board.chats()
    assert "tools" not in chat


async def test_calls_of_the_past_are_told_it_as_text(tmp_path: Path) -> None:
    board = Board(tmp_path)
    messages = [
        *ASKED["messages"],
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain"}]},
    ]
    async with serving(board.config) as gateway:
        for _ in range(2):
            assert (await gateway.ask(ASKED | {"messages": messages}, path=MESSAGES)).status == 200
    first, second = board.chats()
    assert first["messages"] == second["messages"]
    assert [message["role"] for message in first["messages"]] == ["user", "assistant", "user"]
    assert "rain" in json.dumps(first["messages"][-1])


async def test_the_configurations_word_stands(tmp_path: Path) -> None:
    board = Board(tmp_path, tools=True)
    async with serving(board.config) as gateway:
        assert (await gateway.ask(ASKED | {"tools": [TOOL]}, path=MESSAGES)).status == 200
    (chat,) = board.chats()
    assert [tool["function"]["name"] for tool in chat["tools"]] == ["look"]
