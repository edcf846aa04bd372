"""``moltbot-edge check``"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

PAGE = Path(__file__).parents[2] / "docs" / "configure.md"

FINE = """
model_registry:
  - {name: chat, endpoint: http://box:11434}
  - {name: chat, endpoint: http://box2:11434}
  - {name: big, endpoint: https://cloud.example/v1}
aliases:
  gpt-4o-mini: chat
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "moltbot.yaml"


def test_a_file_without_problems_is_summed_up(run: Run, file: Path) -> None:
    file.write_text(FINE)
    done = run("check", "moltbot.yaml")
    assert done.returncode == 0
    assert done.stdout == "moltbot.yaml: no problems. 2 models, 1 alias, listening on 127.0.0.1:8080\n"
    assert done.stderr == ""


def test_every_problem_is_a_line_and_then_comes_the_count(run: Run, file: Path) -> None:
    file.write_text(FINE.replace("http://box:", "box:").replace("gpt-4o-mini: chat", "gpt-4o-mini: caht"))
    done = run("check", "moltbot.yaml")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "moltbot.yaml:3: model_registry[0].endpoint: expected a URL such as http://box:11434, found 'box:11434'",
        "moltbot.yaml:7: aliases.gpt-4o-mini: no model is named 'caht'; did you mean `chat`?",
        "moltbot.yaml: 2 problems.",
    ]


def test_the_page_shows_what_check_prints(run: Run, file: Path) -> None:
    (file.parent / "models").mkdir()
    (file.parent / "models" / "smollm2-135m.gguf").write_bytes(b"GGUF")
    page = PAGE.read_text()
    example = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    printed = re.search(r"\$ moltbot-edge check moltbot.yaml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert printed is not None
    text = example[1].replace("http://192.168.1.20", "box").replace("gpt-4o-mini: chat", "gpt-4o-mini: chta")
    file.write_text(re.sub(r" *#.*", "", text))
    assert run("check", "moltbot.yaml").stdout == printed[1]


def test_warnings_are_told_and_do_not_count(run: Run, file: Path) -> None:
    file.write_text("tool_integration: {search: {type: milvus}}\n")
    done = run("check")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "moltbot.yaml:1: warning: tool_integration: read, but without effect: this version runs no tools yet",
        "moltbot.yaml: no problems, 1 warning. 0 models, 0 aliases, listening on 127.0.0.1:8080",
    ]


def test_models_of_the_store_count_and_can_be_named(run: Run, file: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "small.gguf").write_bytes(b"GGUF")
    file.write_text("aliases: {a: small}\n")
    assert run("check").stdout.endswith("no problems. 1 model, 1 alias, listening on 127.0.0.1:8080\n")


def test_the_environment_counts_as_for_serve(run: Run, file: Path) -> None:
    file.write_text("model_registry:\n- name: a\n  endpoint: http://b\n  api_key: ${KEY}\n")
    assert "moltbot.yaml:4: model_registry[0].api_key: the environment variable KEY is not set" in run("check").stdout
    done = run("check", KEY="k", MOLTBOT_EDGE_SERVER_PORT="9090")
    assert done.returncode == 0
    assert done.stdout.endswith("listening on 127.0.0.1:9090\n")


def test_the_file_may_come_from_the_environment_or_not_at_all(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("server: {port: 1}")
    assert run("check", MOLTBOT_EDGE_CONFIG="other.yaml").stdout.startswith("other.yaml: no problems.")
    assert run("check").stdout.startswith("no configuration file: no problems. 0 models")


def test_a_file_that_is_not_there_is_a_problem(run: Run) -> None:
    done = run("check", "none.yaml")
    assert (done.returncode, done.stdout) == (
        1,
        "none.yaml: cannot be read: No such file or directory\nnone.yaml: 1 problem.\n",
    )


def test_programs_get_one_json_object(run: Run, file: Path) -> None:
    file.write_text("server: {port: x}\ntool_integration: {search: {type: milvus}}\n")
    done = run("check", "--json")
    assert done.returncode == 1
    found = json.loads(done.stdout)
    assert found["file"] == "moltbot.yaml"
    assert [(one["level"], one["line"], one["path"], one["source"]) for one in found["problems"]] == [
        ("error", 1, "server.port", "moltbot.yaml"),
        ("warning", 2, "tool_integration", "moltbot.yaml"),
    ]


def test_the_schema_is_printed_whole_and_valid(run: Run) -> None:
    done = run("check", "--schema")
    assert done.returncode == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(done.stdout))


def test_wrong_usage_has_a_code_of_its_own(run: Run) -> None:
    assert run("check", "--nonsense").returncode == 2
    assert run("check", "a.yaml", "b.yaml").returncode == 2


def test_a_secret_is_never_printed(run: Run, file: Path) -> None:
    file.write_text(
        "model_registry:\n- {name: a, endpoint: http://b, api_key: 31415926}\n- {name: b, file: '${KEY}x'}\n"
    )
    for arguments in (("check",), ("check", "--json")):
        done = run(*arguments, KEY="hush")
        assert "31415926" not in done.stdout + done.stderr
