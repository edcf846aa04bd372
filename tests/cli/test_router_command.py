"""``moltbot-edge router explain``: where a request would go, and why."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from harness import serving
from raw_caller import QUESTION
from scripted_upstream import refusing, says, upstream

from moltbot_edge.config.schema import Config, Key, Model
from moltbot_edge.gateway.experience import Kept
from moltbot_edge.gateway.keeping import write

Run = Callable[..., subprocess.CompletedProcess[str]]

CONFIG = """
model_registry:
  - {name: tiny, endpoint: "http://127.0.0.1:1", tools: false}
  - {name: chat, endpoint: "http://127.0.0.1:2"}
  - {name: chat, endpoint: "http://127.0.0.1:3", context_tokens: 10}
  - {name: cloud, endpoint: "http://127.0.0.1:4"}
aliases:
  auto: {models: [tiny, chat, cloud], policy: complexity}
  learned: {models: [tiny, cloud], policy: complexity, options: {learn: true}}
router: {experience: learned.json}
server: {port: NOBODYS}
"""


@pytest.fixture
def explain(run: Run, tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    def explain(*options: str, text: str = "Explain step by step why 2+2=4", **body: Any) -> Any:
        asked = {"model": "auto", "messages": [{"role": "user", "content": text}], **body}
        (tmp_path / "request.json").write_text(json.dumps(asked))
        return run("router", "explain", *options, "request.json")

    with refusing() as nobody:
        (tmp_path / "moltbot.yaml").write_text(CONFIG.replace("NOBODYS", nobody.rpartition(":")[2]))
        yield explain


def test_it_says_how_hard_it_looks_and_where_it_would_go(explain: Run) -> None:
    done = explain(tools=[{"type": "function"}])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "model    auto, policy complexity",
        "asks     30 characters in question 1, about 31 tokens in all, with tools",
        "score    0.68: reasoning 0.50, maths 0.30, figures 0.07",
        "cohort   explain short maths",
        "reason   score 0.68",
        "order    without speeds, as no gateway runs",
        "   1  chat@127.0.0.1:2  speed unknown; nothing known of its answers",
        "   2  cloud             speed unknown; nothing known of its answers",
        "   -  tiny              takes no tools",
        "   -  chat@127.0.0.1:3  its context is 10 tokens, the prompt has about 32",
    ]


def test_what_was_learned_is_read_from_its_file(explain: Run, tmp_path: Path) -> None:
    kept = [Kept("learned", model, cohort, good, 100 - good, 4e9) for cohort in ("chat short", "") for model, good in
            (("tiny", 95.0), ("cloud", 90.0))]  # fmt: skip
    write(tmp_path / "learned.json", kept)
    said = json.loads(explain("--json", text="hello", model="learned").stdout)
    assert said["reason"].startswith("'chat short': tiny 0.9")
    tiny, cloud = said["deployments"]
    assert (tiny["deployment"], tiny["place"], tiny["answers_known"]) == ("tiny", 1, 100.0)
    assert tiny["expected_good"] == pytest.approx(0.95, abs=0.01)
    assert (cloud["place"], cloud["first_token_s"]) == (2, None)


@pytest.mark.anyio
async def test_a_gateway_that_runs_tells_what_it_has_measured(run: Run, tmp_path: Path) -> None:
    keys = [Key(name="boss", hash=f"sha256:{hashlib.sha256(b'boss').hexdigest()}", admin=True)]
    async with upstream(says()) as one, upstream(says()) as other:
        models = [Model(name="chat", endpoint=box.url) for box in (one, other)]
        async with serving(Config(model_registry=models, keys=keys), secret="boss") as gateway:
            for _ in range(2):
                assert (await gateway.ask(QUESTION, "x-api-key: boss")).status == 200
            (tmp_path / "moltbot.yaml").write_text(f"server: {{port: {gateway.port}}}")
            (tmp_path / "request.json").write_text(json.dumps(QUESTION))
            explain = partial(asyncio.to_thread, run, "router", "explain", "request.json")
            done = await explain(MOLTBOT_EDGE_KEY="boss")
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[:1] == ["model    chat, policy fastest"]
            assert "order    as predicted now" in done.stdout
            assert done.stdout.count("first token in 0.0") == 2
            refused = await explain()
            assert (refused.returncode, "--key KEY" in refused.stderr) == (1, True)
            (tmp_path / "request.json").write_text(json.dumps(QUESTION | {"model": "none"}))
            unknown = await explain(MOLTBOT_EDGE_KEY="boss")
            assert (unknown.returncode, "no model named 'none'" in unknown.stderr) == (1, True)
            assert len(one.asked) + len(other.asked) == 2


def test_a_model_with_one_machine_has_nothing_to_choose(explain: Run) -> None:
    said = json.loads(explain("--json", model="cloud").stdout)
    assert (said["reason"], [one["place"] for one in said["deployments"]]) == ("there is only one", [1])


@pytest.mark.parametrize(
    ("body", "said"),
    [({"model": "nowhere"}, "no model named 'nowhere'; configured: "), ({"model": 1}, "the request body is not right")],
)
def test_what_the_gateway_would_refuse_is_refused_here(explain: Run, body: dict[str, Any], said: str) -> None:
    done = explain(**body)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_a_configuration_with_a_problem_explains_nothing(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("aliases: {auto: nowhere}")
    done = explain("--config", "bad.yaml")
    assert done.returncode == 1
    assert "no model is named 'nowhere'" in done.stderr
