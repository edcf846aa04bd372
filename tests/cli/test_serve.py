"""``serve`` as a process: how it greets, refuses and ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from moltbot_edge.network.names import loopback

SERVE = [sys.executable, "-m", "moltbot_edge", "serve"]
WAIT_S = 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_it_says_where_it_listens_and_ends_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "moltbot.yaml").write_text("{}")  # without one, the engines of this machine would be in its log
    with subprocess.Popen(
        [*SERVE, "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"listens on (http://127\.0\.0\.1:\d+)", process.stdout.readline())
        assert found is not None
        with urllib.request.urlopen(f"{found[1]}/health", timeout=WAIT_S) as reply:
            assert reply.status == 200
        process.send_signal(number)
        _, complaints = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0
    assert complaints == ""


@pytest.mark.parametrize(("second", "waits"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_a_second_ctrl_c_waits_for_no_reply(second: signal.Signals, waits: bool, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as box:
        box.settimeout(WAIT_S)
        (tmp_path / "moltbot.yaml").write_text(
            f"model_registry: [{{name: chat, type: openai-chat, endpoint: 'http://127.0.0.1:{box.getsockname()[1]}'}}]"
        )
        with subprocess.Popen([*SERVE, "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline() + process.stdout.readline())
            assert found is not None
            with socket.create_connection(("127.0.0.1", int(found[1])), WAIT_S) as caller:
                body = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'
                head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
                caller.sendall(head % len(body) + body)
                upstream, _ = box.accept()
                with upstream:
                    upstream.recv(65536)
                    process.send_signal(signal.SIGINT)
                    while _accepts(int(found[1])):
                        pass
                    process.send_signal(second)
                    if waits:
                        upstream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    assert _rest(caller).endswith(b"{}") is waits
            assert process.wait(WAIT_S) == 0


def _rest(sock: socket.socket) -> bytes:
    try:
        return b"".join(iter(lambda: sock.recv(65536), b""))
    except ConnectionResetError:
        return b""


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), WAIT_S).close()
    except OSError:
        return False
    return True


def test_on_localhost_it_listens_at_every_address_of_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*SERVE, "--host", "localhost", "--port", str(port)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert f"listens on http://127.0.0.1:{port}" in process.stdout.readline()
        for address in loopback():
            with socket.create_connection((address, port), WAIT_S):
                pass
        process.terminate()


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*SERVE, "--port", str(port)], cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False
        )
    assert done.returncode != 0
    assert str(port) in done.stderr
    assert "address already in use" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_off_loopback_without_a_key_it_does_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [*SERVE, "--host", "0.0.0.0", "--port", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 1
    assert "moltbot-edge keys new" in done.stderr


def test_models_without_an_engine_are_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models/some.gguf").touch()
    environment = {**os.environ, "MOLTBOT_EDGE_ENGINES_COMMAND": "no-such-engine"}
    with subprocess.Popen(
        [*SERVE, "--port", "0"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "serves some" in process.stdout.readline()
        process.terminate()
        _, complaints = process.communicate(timeout=WAIT_S)
    assert "'no-such-engine' is not on the PATH" in complaints


def test_sessions_lie_where_the_start_says_once_somebody_asks_for_one(tmp_path: Path) -> None:
    (tmp_path / "moltbot.yaml").write_text(
        "model_registry: [{name: chat, type: openai-chat, endpoint: 'http://127.0.0.1:9'}]"
    )
    folder = tmp_path / "state" / "moltbot-edge" / "sessions"
    with subprocess.Popen(
        [*SERVE, "--port", "0"],
        cwd=tmp_path,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        greeting = [process.stdout.readline() for _ in range(5)]
        assert f"  sessions  in {folder}, of who sends the header x-moltbot-session: NAME\n" in greeting
        assert not (tmp_path / "state").exists()
        port = re.search(r"127\.0\.0\.1:(\d+)", "".join(greeting))
        assert port is not None
        body = b'{"model":"chat","session":"talk","messages":[{"role":"user","content":"hi"}]}'
        with pytest.raises(urllib.error.HTTPError, match="502"):
            urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/v1/chat/completions", body, WAIT_S)
        assert folder.stat().st_mode & 0o777 == 0o700
        process.terminate()
        _, log = process.communicate(timeout=WAIT_S)
    assert f"sessions are kept in {folder}" in log


def test_where_no_session_can_be_kept_the_start_says_so_and_serves(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "moltbot.yaml").write_text(
        "sessions: {path: file/sessions}\n"
        "model_registry: [{name: chat, type: openai-chat, endpoint: 'http://127.0.0.1:9'}]"
    )
    with subprocess.Popen(
        [*SERVE, "--port", "0"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        greeting = [process.stdout.readline() for _ in range(4)]
        assert greeting[-1].startswith("  metrics ")
        assert not any(line.startswith("  sessions ") for line in greeting)
        port = re.search(r"127\.0\.0\.1:(\d+)", "".join(greeting))
        assert port is not None
        body = b'{"model":"chat","session":"talk","messages":[{"role":"user","content":"hi"}]}'
        with pytest.raises(urllib.error.HTTPError, match="502"):  # of the upstream: a session does not stand in the way
            urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/v1/chat/completions", body, WAIT_S)
        process.terminate()
        _, said = process.communicate(timeout=WAIT_S)
    assert f"sessions cannot be kept in {tmp_path}/file/sessions: user {os.geteuid()} may not write there" in said
    assert "sessions are kept in" not in said  # nor are they


def test_what_the_start_made_is_no_work_for_the_garbage_collector_and_the_rest_is() -> None:
    script = """
import gc
from moltbot_edge.cli import serve

def started(gateway, url):
    print(gc.isenabled(), gc.get_freeze_count() > 10_000)
    gateway.stop()

serve._started = started
from moltbot_edge.__main__ import main
main()
"""
    command = [sys.executable, "-c", script, "serve", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=True)
    assert done.stdout == "True True\n"
