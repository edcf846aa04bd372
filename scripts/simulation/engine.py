"""No simulation: the gateway's predictions beside a real llama-server, with prompts of mixed length and with talk.

The gateway runs as a user runs it, from source, with the engine as another machine. Each prediction is read from its
metrics: what the request added to the sum of `moltbot_first_token_predicted_ratio`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import parts

ROOT = Path(__file__).parents[2]
SEED = 1
WARM_UP, MEASURED = 20, 30
START_S = 60.0
WORDS = (ROOT / "LICENSE").read_text().split()  # English enough for a tokenizer
ENGINE = ("-t", "1", "--poll", "0", "-c", "8192", "-np", "1", "--cache-ram", "0")

Messages = list[dict[str, str]]


def table() -> str:
    engine, model = parts.engine(), parts.model()
    lines = [
        "| prompts | median error | within a fifth | worst tenth, from |",
        "|---|---|---|---|",
    ]
    for name, conversations in (("of mixed length", _mixed), ("of conversations that go on", _talk)):
        with _running(engine, model) as port:
            errors = sorted(list(_errors(port, conversations(random.Random(SEED))))[WARM_UP:])
        within = sum(error <= 0.2 for error in errors) / len(errors)
        lines.append(
            f"| {name} | {statistics.median(errors):.0%} | {within:.0%} | {errors[int(len(errors) * 0.9)]:.0%} |"
        )
    return "\n".join(lines)


def _mixed(chance: random.Random) -> Iterator[tuple[Messages, int]]:
    """From a handful of words to six hundred."""
    while True:
        count = min(int(chance.lognormvariate(4.5, 1)) + 5, 600)
        yield [{"role": "user", "content": _words(chance, count)}], chance.randint(8, 48)


def _talk(chance: random.Random) -> Iterator[tuple[Messages, int]]:
    """Six turns each. The answers are put in by who reads them."""
    while True:
        said: Messages = [{"role": "system", "content": _words(chance, 200)}]
        for _ in range(6):
            said.append({"role": "user", "content": _words(chance, 40)})
            yield said, chance.randint(8, 48)


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(count))


def _errors(port: int, asked: Iterator[tuple[Messages, int]]) -> Iterator[float]:
    """Of each prediction, as a share of what it took. The first request has none, and is not counted."""
    before = 0.0
    for _ in range(WARM_UP + MEASURED + 1):
        messages, tokens = next(asked)
        text = _answer(port, messages, tokens)
        messages.append({"role": "assistant", "content": text})
        sum_of_ratios = _sum_of_ratios(port)
        if sum_of_ratios:
            yield abs(sum_of_ratios - before - 1.0)
        before = sum_of_ratios


def _answer(port: int, messages: Messages, tokens: int) -> str:
    body = {"model": "chat", "stream": True, "max_tokens": tokens, "messages": messages}
    status, data = _call(port, "POST", "/v1/chat/completions", body)
    if status != 200:
        raise RuntimeError(f"the gateway answered {status}: {data[:500]!r}")
    events = (json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {"))
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event.get("choices"))


def _sum_of_ratios(port: int) -> float:
    _, data = _call(port, "GET", "/metrics")
    found = re.search(rb"^moltbot_first_token_predicted_ratio_sum\S* (\S+)$", data, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _call(port: int, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as connection:
        connection.request(method, path, None if body is None else json.dumps(body))
        reply = connection.getresponse()
        return reply.status, reply.read()


@contextlib.contextmanager
def _running(engine: Path, model: Path) -> Iterator[int]:
    """The engine, and the gateway before it; gives the gateway's port."""
    engine_port, port = _free_port(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "moltbot.yaml"
        config.write_text(
            f'server: {{port: {port}}}\nmodel_registry: [{{name: chat, endpoint: "http://127.0.0.1:{engine_port}"}}]\n'
        )
        program = [str(engine), "-m", str(model), "--host", "127.0.0.1", "--port", str(engine_port), *ENGINE]
        gateway = [sys.executable, "-m", "moltbot_edge", "serve", "--config", str(config)]
        with _process(program, folder, engine_port), _process(gateway, folder, port):
            yield port


@contextlib.contextmanager
def _process(program: Sequence[str], folder: str, port: int) -> Iterator[None]:
    log = Path(folder) / f"{port}.log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        process = subprocess.Popen(program, cwd=folder, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            until = time.monotonic() + START_S
            while not _is_well(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{program[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def _is_well(port: int) -> bool:
    try:
        return _call(port, "GET", "/health")[0] == 200
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
