"""docs/sessions.md: what it shows works when it is pasted, in its order, by a shell, against a gateway that runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from harness import serving
from scripted_upstream import says, upstream

from moltbot_edge.config.schema import Config, Model, Sessions
from moltbot_edge.core import errors

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "sessions.md").read_text()


async def test_what_the_page_shows_works_when_pasted(tmp_path: Path) -> None:
    assert shutil.which("curl"), "no curl: apt install curl, as .ci/run does"
    command = tmp_path / "bin" / "moltbot-edge"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m moltbot_edge "$@"\n')
    command.chmod(0o755)
    async with upstream(says("Yes.")) as box:
        settings = Config(
            model_registry=[Model(name="chat", endpoint=box.url)], sessions=Sessions(path=str(tmp_path / "kept"))
        )
        async with serving(settings, within_s=90) as gateway:
            pasted = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
            shell = await asyncio.create_subprocess_exec(
                *("bash", "-euo", "pipefail", "-c", pasted.replace("127.0.0.1:8080", f"127.0.0.1:{gateway.port}")),
                cwd=tmp_path,
                env={
                    "PATH": f"{command.parent}:{os.defpath}",
                    "PYTHONPATH": str(ROOT),
                    "MOLTBOT_EDGE_SERVER_PORT": str(gateway.port),
                },
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, complained = await shell.communicate()
            shown = (await gateway.get("/v1/sessions")).json["sessions"]
        assert (shell.returncode, complained.decode()) == (0, "")
        assert '"error":{' not in said.decode()
        assert "assistant:\n  Yes.\n" in said.decode()
        asked = [[one["content"] for one in json.loads(one.body)["messages"]] for one in box.asked]
        assert asked[4][::2] == [
            *("explain quantum computing simply", "now with mathematics"),
            *("And in one sentence?", "And in one word?", "Who found it out?"),
        ]
        assert asked[6] == asked[8] == ["My name is Ada.", "Yes.", "What is my name?"]
        assert {"physics", "physics-2"} == {one["session"] for one in shown if not one["session"].startswith("s-")}


def test_the_errors_that_it_lists_are_those_that_there_are() -> None:
    told = {
        code if code.partition("_")[0] else f"session_store{code}": int(status)
        for codes, status in re.findall(r"^\| (`[a-z_`, ]+) \| (\d{3}) \|", PAGE, re.MULTILINE)
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    there = {one.code: one.status for one in errors.leaves() if one.code is not None}
    assert told.items() <= there.items()
    assert {code for code in there if code.startswith("session_")} <= told.keys()
