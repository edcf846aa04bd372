"""A dialect in a file of one's own, as docs/extend.md shows it: for callers, for upstreams, and beside the others."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from harness import serving
from raw_caller import QUESTION
from scripted_upstream import answers, says, upstream

from moltbot_edge.config.schema import Config, Model
from moltbot_edge.kernel.discover import in_folder
from moltbot_edge.kernel.registry import Plugin

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "extend.md"
ASKED = {"model": "oracle", "ask": "why?"}


@pytest.fixture
def plugins(tmp_path: Path) -> tuple[Plugin, ...]:
    tmp_path.chmod(0o755)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "plain.py").write_text(next(block for block in blocks if '@dialect("plain")' in block))
    found = in_folder(tmp_path)
    assert found.problems == ()
    return found.plugins


def config(url: str, kind: str) -> Config:
    return Config(model_registry=[Model(name="oracle", model="theirs", endpoint=url, type=kind)])


async def test_its_callers_are_answered_by_any_upstream(plugins: tuple[Plugin, ...]) -> None:
    async with upstream(says("because")) as box, serving(config(box.url, "openai-chat"), plugins=plugins) as gateway:
        assert (await gateway.ask(ASKED, path="/plain")).json == {"answer": "because"}
        wrong = await gateway.ask({"model": "oracle", "ask": 3}, path="/plain")
    assert (wrong.status, wrong.json) == (400, {"wrong": "`ask` has to be a text"})
    assert json.loads(box.asked[0].body)["messages"] == [{"role": "user", "content": "why?"}]


async def test_its_upstreams_answer_callers_of_every_dialect(plugins: tuple[Plugin, ...]) -> None:
    async with (
        upstream(answers(200, '{"answer":"because"}')) as box,
        serving(config(f"{box.url}/v1", "plain"), plugins=plugins) as gateway,
    ):
        relayed = await gateway.ask(ASKED, path="/plain")
        chat = await gateway.ask(QUESTION | {"model": "oracle", "stream": True})
        message = {"model": "oracle", "max_tokens": 9, "messages": [{"role": "user", "content": "why?"}]}
        anthropic = await gateway.ask(message, path="/v1/messages")
        ollama = await gateway.ask({"model": "oracle", "prompt": "why?", "stream": False}, path="/api/generate")
        tools = [{"type": "function", "function": {"name": "f"}}]
        unable = await gateway.ask(QUESTION | {"model": "oracle", "tools": tools})
        box.play(answers(418, '{"wrong":"no tea"}'))
        refused = await gateway.ask(QUESTION | {"model": "oracle"})
    assert [asked.path for asked in box.asked] == ["/v1/plain"] * 5
    assert json.loads(box.asked[0].body) == {"model": "theirs", "ask": "why?"}
    assert relayed.json == {"answer": "because"}
    assert b'"because"' in chat.body
    assert anthropic.json["content"][0]["text"] == "because"
    assert ollama.json["response"] == "because"
    assert (unable.status, unable.error["param"]) == (400, "tools")
    assert (refused.status, refused.error["message"]) == (418, "no tea")
