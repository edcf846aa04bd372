"""Both machines beside the board, with the gateway itself between them."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qemu.machine.caller import Caller, configuration, streamed, whole
from qemu.machine.upstream import upstream
from qemu.machine.verdict import Failed, Log


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log", io.StringIO(), "test", io.StringIO())


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[tuple[Caller, int]]:
    """Who may call it, and its port."""
    me = Caller()
    with upstream() as upstream_port:
        file = tmp_path / "moltbot.yaml"
        file.write_text(configuration(me.secret, upstream_port, "127.0.0.1"))
        here = ["--config", str(file), "--host", "127.0.0.1", "--port", "0"]
        serve = [sys.executable, "-m", "moltbot_edge", "serve", *here]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                greeting = "".join(process.stdout.readline() for _ in range(3))
                found = re.search(r"http://127\.0\.0\.1:(\d+)", greeting)
                assert found is not None, greeting
                yield me, int(found[1])
            finally:
                process.terminate()


def test_a_gateway_as_the_board_has_it_passes(gateway: tuple[Caller, int], log: Log) -> None:
    me, port = gateway
    me.asks(port, log, 30)


def test_a_gateway_that_takes_another_key_fails(gateway: tuple[Caller, int]) -> None:
    _, port = gateway
    with pytest.raises(Failed, match="a chat request was answered 401"):
        Caller().asks_for_the_sentence(port, stream=False)


def test_an_upstream_without_a_gateway_before_it_fails(log: Log) -> None:
    with upstream() as port, pytest.raises(Failed, match="without a key was answered 200"):
        Caller().asks(port, log, 30)


def test_nobody_is_waited_for_so_long() -> None:
    with pytest.raises(Failed, match="no 200 within 0 s: GET /health had no answer"):
        Caller().asks_for_health(1, 0.1)


@pytest.mark.parametrize("body", [b"", b"data: {}\n\n", b'data: {"choices": []}\n\ndata: [DONE]\n\n'])
def test_a_stream_that_is_none_or_breaks_off_fails(body: bytes) -> None:
    with pytest.raises(Failed, match="stream"):
        streamed(body)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"choices": []}'])
def test_a_reply_that_is_no_completion_fails(body: bytes) -> None:
    with pytest.raises(Failed, match="no chat completion"):
        whole(body)
