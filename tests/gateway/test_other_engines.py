"""Other programs than llama-server on this board, by a template: the same life, the same budget. Real processes."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import other_engine
import pytest
from harness import serving
from living import processes_with
from raw_caller import request

from moltbot_edge.config.schema import Config, Engines, Model

pytestmark = pytest.mark.anyio
SERVER = Path(other_engine.__file__)
SOUND = b"RIFF" + bytes(1000)


def model(name: str, folder: Path, **wishes: Any) -> Model:
    said = shlex.join([sys.executable, str(SERVER)]) + " {port} " + shlex.quote(str(folder / f"{name}.json"))
    return Model(name=name, command=f"{said} '{{name}} of {{model}}'", health="/healthz", **wishes)


def board(*models: Model, **engines: Any) -> Config:
    return Config(model_registry=list(models), engines=Engines(stop_s=2.0, **engines))


async def metric(gateway: Any, *key: str) -> float:
    return float((await gateway.metrics()).get(key, 0.0))


async def test_a_template_is_started_when_it_is_asked_for_and_ends_with_the_gateway(tmp_path: Path) -> None:
    file = tmp_path / "weights with spaces.bin"
    file.write_bytes(b"x" * 1000)
    async with serving(board(model("e5", tmp_path, file=str(file)))) as gateway:
        assert processes_with(str(SERVER)) == []
        answer = await gateway.ask({"model": "e5", "input": "four"}, path="/v1/embeddings")
        assert (answer.status, answer.json["data"][0]["embedding"]) == (200, [4.0, 0.5])
        port, _, said = json.loads((tmp_path / "e5.json").read_text())
        assert (int(port) > 0, said) == (True, f"e5 of {file}")  # one word, whatever is in it
        ranked = await gateway.ask({"model": "e5", "query": "q", "documents": ["a", "b"]}, path="/v1/rerank")
        assert [one["index"] for one in ranked.json["results"]] == [0, 1]
        assert len(processes_with(str(SERVER))) == 1
    assert processes_with(str(SERVER)) == []


async def test_a_form_with_sound_reaches_it(tmp_path: Path) -> None:
    async with serving(board(model("whisper", tmp_path, model="base.en"))) as gateway:
        lines = [
            b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n',
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + SOUND + b"\r\n--b--\r\n",
        ]
        body = b"".join(lines)
        head = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        async with gateway.caller() as caller:
            await caller.send(f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body)
            answer = await caller.reply()
        assert answer.json == {"text": "1004 bytes of sound, by base.en"}


async def test_two_that_do_not_fit_together_take_turns(tmp_path: Path) -> None:
    wishes: dict[str, Any] = {"memory_mb": 80}
    settings = board(model("a", tmp_path, **wishes), model("b", tmp_path, **wishes), memory_mb=100, min_warm_s=0.0)
    async with serving(settings) as gateway:
        for name in ("a", "b", "a"):
            answer = await gateway.ask({"model": name, "input": "x"}, path="/v1/embeddings")
            assert (answer.status, answer.json["model"]) == (200, name)
            assert len(processes_with(str(SERVER))) == 1
        assert await metric(gateway, "moltbot_engine_evictions_total", "a", "room") == 1


async def test_a_caller_that_leaves_does_not_end_one_whose_slots_nobody_can_see(tmp_path: Path) -> None:
    settings = board(model("a", tmp_path), stuck_s=0.5)
    async with serving(settings) as gateway:
        assert (await gateway.ask({"model": "a", "input": "x"}, path="/v1/embeddings")).status == 200
        before = processes_with(str(SERVER))
        async with gateway.caller() as caller:
            await caller.send(request({"model": "a", "input": "slow"}, path="/v1/embeddings"))
            await asyncio.sleep(0.2)
            caller.leave()
        await asyncio.sleep(1.5)
        assert processes_with(str(SERVER)) == before


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    absent = Model(name="a", command="no-such-program --port {port}")
    async with serving(board(absent)) as gateway:
        answer = await gateway.ask({"model": "a", "input": "x"}, path="/v1/embeddings")
        assert answer.status == 503
        assert "there is no program to run 'a': 'no-such-program' is not on the PATH" in answer.error["message"]
        gateway.errors.clear()


async def test_llama_server_itself_may_be_a_template(tmp_path: Path, llama_server: Path, chat_model: Path) -> None:
    command = f"{shlex.quote(str(llama_server))} --model {{model}} --host {{host}} --port {{port}} -c 512 -t 1 --poll 0"
    own = Model(name="chat", file=str(chat_model), command=f"{command} --alias {{name}}", health="/health")
    async with serving(board(own), within_s=120) as gateway:
        asked = {"model": "chat", "prompt": "One, two,", "max_tokens": 4, "temperature": 0}
        answer = await gateway.ask(asked, path="/v1/completions")
        assert (answer.status, answer.json["model"]) == (200, "chat")
        assert "three" in answer.json["choices"][0]["text"]
