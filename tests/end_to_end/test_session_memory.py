"""Many callers at once, each with a conversation as long as one may be: the process stays within its bounds."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kept_sessions import turn
from msgspec.structs import replace
from raw_caller import caller
from scripted_upstream import says, upstream

from moltbot_edge.core.chat import Message, Role, Text
from moltbot_edge.core.record import lines
from moltbot_edge.gateway.sessions import COPIES
from moltbot_edge.stores.weight import weight_bytes

pytestmark = [pytest.mark.anyio, pytest.mark.thorough]

MIB = 1024 * 1024
SESSION_MB = 8
BODIES_MB = 8
AT_WORK_MB = 8
CALLERS = 12
CACHED_MB = 8  # stores.recent
SLACK_MB = 16  # what the allocator keeps of what was given back


@contextmanager
def gateway(folder: Path, url: str) -> Iterator[tuple[int, int]]:
    """Its port and its process."""
    file = folder / "moltbot.yaml"
    file.write_text(
        json.dumps(
            {
                "server": {"port": 0},
                "model_registry": [{"name": "chat", "endpoint": url, "type": "openai-chat"}],
                "sessions": {"path": "talks", "session_mb": SESSION_MB, "at_work_mb": AT_WORK_MB},
                "limits": {"bodies_bytes": BODIES_MB * MIB, "body_bytes": BODIES_MB * MIB},
            }
        )
    )
    command = [sys.executable, "-m", "moltbot_edge", "serve", "--config", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        try:
            said = process.stdout.readline()
            while (found := re.search(r"http://127.0.0.1:(\d+)", said)) is None:
                said = process.stdout.readline()
                assert said, "the gateway ended"
            yield int(found[1]), process.pid
        finally:
            process.terminate()


def resident_mb(pid: int, field: str) -> int:
    said = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"^{field}:\s+(\d+) kB", said, re.MULTILINE)[0]) // 1024


def prose(size: int) -> Message:
    return Message(Role.USER, (Text(text=secrets.token_hex(size // 2)),))


def pictures(size: int) -> Message:
    return Message(Role.USER, (Text(text="\N{ROBOT FACE}" * (size // 4)),))


def crumbs(size: int) -> Message:
    return Message(Role.USER, tuple(Text(text=str(number)) for number in range(size // 115)))


@pytest.mark.parametrize("said", [prose, pictures, crumbs], ids=lambda said: said.__name__)
async def test_conversations_that_do_not_fit_together_take_turns(tmp_path: Path, said: Any) -> None:
    first, second = (turn("") for _ in range(2))
    pieces = int(SESSION_MB * MIB * 0.45)
    first = replace(first, messages=(said(pieces),))
    second = replace(second, messages=(said(pieces),), parent=first.id)
    weight = weight_bytes([first, second])
    assert SESSION_MB * MIB * 0.7 < weight < SESSION_MB * MIB, weight / MIB
    exported = b"".join(lines("talk", [first, second]))
    async with upstream(says("yes")) as box:
        with gateway(tmp_path, box.url) as (port, pid):
            idle_mb = resident_mb(pid, "VmRSS")
            for number in range(CALLERS):
                async with caller(port) as client:
                    made = await client.ask(exported, path=f"/v1/sessions/import?session=talk-{number}")
                    assert made.status == 201, made.body

            async def asks(number: int) -> None:
                async with caller(port) as client:
                    body = {"model": "chat", "messages": [{"role": "user", "content": "and?"}]}
                    answer = await client.ask(body, f"x-moltbot-session: talk-{number}")
                    assert answer.status == 200, answer.body
                    box.asked.clear()

            await asyncio.gather(*(asks(number) for number in range(CALLERS)))
            # Both budgets, the one that is let in over the second, and what is kept from lately.
            most_mb = BODIES_MB + AT_WORK_MB + COPIES * SESSION_MB + CACHED_MB + SLACK_MB
            assert resident_mb(pid, "VmHWM") - idle_mb < most_mb
