"""``moltbot-edge check --probe``, as a user runs it: what is at the addresses of a configuration."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from ollama_answers import OLLAMA
from scripted_upstream import Visit, answers, refusing, upstream

pytestmark = pytest.mark.anyio


async def command(file: Path, *options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "moltbot_edge", "check", str(file), "--probe", *options), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_what_is_at_each_address_is_printed(tmp_path: Path) -> None:
    async with upstream(answers(404)) as box:

        async def get(visit: Visit) -> None:
            said = OLLAMA.get(box.probed[-1].path)
            await answers(
                *((404, b"") if said is None else (200, said if isinstance(said, bytes) else json.dumps(said)))
            )(visit)

        async def post(visit: Visit) -> None:
            name = json.loads(box.asked[-1].body)["model"]
            await answers(200, json.dumps(OLLAMA[f"/api/show {name}"]))(visit)

        box.on_probe = get
        box.play(post)
        with refusing() as away:
            models = [
                {"name": "chat", "endpoint": box.url, "model": "llama3.2"},
                {"name": "other", "endpoint": box.url, "model": "phi9"},
                {"name": "gone", "endpoint": away},
            ]
            file = tmp_path / "moltbot.yaml"
            file.write_text(json.dumps({"model_registry": models}))  # JSON is YAML
            code, text = await command(file)
            assert code == 0
            where = box.url.removeprefix("http://")
            _, *lines = text.splitlines()
            assert lines[:3] == [
                f"{where}: Ollama 0.12.3, asked as ollama",
                "  llama3.2: context 4096, tools, no images",
                "  phi9: it is not there",
            ]
            assert lines[3].startswith("  models: deepseek-r1:8b, deepseek-r1:1.5b, ")
            assert "cannot be reached" in lines[4]
            code, text = await command(file, "--json")
            found, gone = json.loads(text)["endpoints"]
            assert (found["kind"], found["dialect"], found["missing"]) == ("Ollama", "ollama", ["phi9"])
            assert {"name": "llama3.2:latest", "context_tokens": 4096, "tools": True, "images": False} in found[
                "models"
            ]
            assert "cannot be reached" in gone["error"]


async def test_a_file_with_mistakes_is_not_probed(tmp_path: Path) -> None:
    file = tmp_path / "moltbot.yaml"
    file.write_text("model_registry: [{name: chat, endpoint: box}]")
    code, text = await command(file)
    assert code == 1
    assert "expected a URL" in text
