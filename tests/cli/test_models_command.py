"""``moltbot-edge models``: by a gateway that runs, and on the files where none does. Real processes and sockets."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fake_engine import fake_engine
from model_hub import REPOSITORY, hub, model_of

import moltbot_edge

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(moltbot_edge.__file__).parents[1]
MIB = 1024 * 1024
SMALL = model_of(300_000)
LARGE = model_of(12 * MIB)


@pytest.fixture
def board(tmp_path: Path) -> int:
    """A folder with a configuration and a model, `small`. The port at which its gateway would be."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "small.gguf").write_bytes(SMALL)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    program = fake_engine(tmp_path, "serve()")
    (tmp_path / "moltbot.yaml").write_text(
        f"server: {{port: {port}}}\nmodel_store: store\n"
        f"engines: {{command: {program}, memory_mb: 500, stop_s: 2, kv_disk_mb: 0}}\n"
    )
    return port


@contextmanager
def gateway(folder: Path, port: int, **environment: str) -> Iterator[None]:
    serve = [sys.executable, "-m", "moltbot_edge", "serve"]
    env = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, **environment}
    with (folder / "log").open("wb") as log, subprocess.Popen(serve, cwd=folder, env=env, stderr=log) as process:
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until and process.poll() is None:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                    break
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


def test_without_a_gateway_the_files_are_shown_with_what_fits(run: Run, board: int) -> None:
    done = run("models")
    assert done.returncode == 0, done.stderr
    title, small, budget = done.stdout.splitlines()
    assert title.split() == ["NAME", "SIZE", "CONTEXT", "NEEDS", "FIT", "LONGEST"]
    assert small.split()[0::4][:1] == ["small"]
    assert "fits" in small
    assert budget == "engines may take 500 MiB together; no gateway was asked"
    (shown,) = json.loads(run("models", "list", "--json").stdout)["models"]
    assert run("models", "--json", "list").stdout == run("models", "--json").stdout
    assert (shown["name"], shown["fit"], shown["state"]) == ("small", "fits", None)


def test_what_needs_a_gateway_says_so(run: Run, board: int) -> None:
    done = run("models", "load", "small")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"no gateway runs at http://127.0.0.1:{board}: start one with `moltbot-edge serve`\n"


def test_a_running_gateway_is_asked(run: Run, board: int, tmp_path: Path) -> None:
    with gateway(tmp_path, board), hub(files={"New-Q8_0.gguf": SMALL}) as there:
        assert run("models", "load", "small").stdout == "small is ready\n"
        assert run("models").stdout.splitlines()[1].split()[-1] == "ready"
        assert run("models", "unload", "small").stdout == "small has ended\n"
        unknown = run("models", "load", "smal")
        assert (unknown.returncode, "there is: small" in unknown.stderr) == (1, True)
        pulled = run("models", "pull", REPOSITORY, HF_ENDPOINT=there.url)
        assert pulled.stdout == f"{tmp_path}/store/New-Q8_0.gguf\nits name is new-q8_0\n", pulled.stderr
        assert run("models", "load", "new-q8_0").stdout == "new-q8_0 is ready\n"
        assert run("models", "remove", "new-q8_0").stdout == f"removed {tmp_path}/store/New-Q8_0.gguf\n"
        assert os.listdir(tmp_path / "store") == ["small.gguf"]


def test_a_gateway_with_keys_wants_an_administrators(run: Run, board: int, tmp_path: Path) -> None:
    made = json.loads(run("keys", "new", "boss", "--json").stdout)
    secret, line = made["secret"], {"name": "boss", "hash": made["hash"], "admin": True}
    with (tmp_path / "moltbot.yaml").open("a") as file:
        file.write(f"keys: [{json.dumps(line)}]\n")
    with gateway(tmp_path, board):
        refused = run("models")
        assert (refused.returncode, "MOLTBOT_EDGE_KEY" in refused.stderr) == (1, True)
        assert run("models", "--key", secret).returncode == 0
        by_environment = run("models", MOLTBOT_EDGE_KEY=secret)
        assert (by_environment.returncode, by_environment.stderr) == (0, "")


def test_without_a_gateway_a_model_is_pulled_and_removed(run: Run, board: int, tmp_path: Path) -> None:
    with hub(files={"New-Q8_0.gguf": SMALL}) as there:
        done = run("models", "pull", f"{REPOSITORY}:q8_0", HF_ENDPOINT=there.url)
        assert done.stdout == f"{tmp_path}/store/New-Q8_0.gguf\nits name is new-q8_0\n"
        assert done.stderr.splitlines()[0] == "New-Q8_0.gguf, 0.3 MB"
        again = run("models", "pull", REPOSITORY, "--json", HF_ENDPOINT=there.url)
        assert (json.loads(again.stdout)["event"], again.stderr) == ("pulled", "")
        missing = run("models", "pull", f"{REPOSITORY}:Q2_K", HF_ENDPOINT=there.url)
        assert (missing.returncode, missing.stderr) == (1, f"{REPOSITORY} has no Q2_K; there is: Q8_0\n")
    assert run("models", "remove", "new-q8_0").stdout == f"removed {tmp_path}/store/New-Q8_0.gguf\n"


def test_a_terminal_sees_a_bar(board: int, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    with hub(files={"New-Q8_0.gguf": LARGE}, pause_s=0.05) as there:
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, "HF_ENDPOINT": there.url}
        command = [sys.executable, "-m", "moltbot_edge", "models", "pull", REPOSITORY]
        done = subprocess.run(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=slave, check=False)
    os.close(slave)
    seen = os.read(master, 65536).decode()
    os.close(master)
    assert done.returncode == 0, seen
    assert "\r\x1b[K[####" in seen
    assert "of 12.6 MB" in seen


def test_ctrl_c_leaves_what_has_come_for_the_next_pull(run: Run, board: int, tmp_path: Path) -> None:
    part = tmp_path / "store" / "New-Q8_0.gguf.part"
    with hub(files={"New-Q8_0.gguf": LARGE}, pause_s=0.1) as there:
        environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath, "HF_ENDPOINT": there.url}
        command = [sys.executable, "-m", "moltbot_edge", "models", "pull", REPOSITORY]
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
            until = time.monotonic() + 30
            while time.monotonic() < until and not (part.exists() and part.stat().st_size):
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
        assert (process.returncode, said.splitlines()[-1]) == (130, "stopped; the next pull goes on from here")
        there.pause_s = 0.0
        assert run("models", "pull", REPOSITORY, HF_ENDPOINT=there.url).returncode == 0
        assert "range" in there.gets()[-1]


def on_a_small_disk(folder: Path, size: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command whose model store is a file system of its own, of *size*."""
    mounted = f'mount -t tmpfs -o size={size} none store && "$@"; status=$?; ls -s store; exit $status'
    return subprocess.run(
        [
            "unshare",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            mounted,
            "sh",
            sys.executable,
            "-m",
            "moltbot_edge",
            *words,
        ],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_disk_that_is_too_small_is_seen_before_anything_is_fetched(board: int, tmp_path: Path) -> None:
    with hub(files={"New-Q8_0.gguf": LARGE}) as there:
        done = on_a_small_disk(tmp_path, "8m", "models", "pull", REPOSITORY, HF_ENDPOINT=there.url)
        assert there.gets() == []
    assert done.returncode == 1
    assert "has 8 MiB free, of which 1 stay free, and 12 MiB are needed" in done.stderr


def test_a_disk_that_fills_up_meanwhile_ends_the_pull(board: int, tmp_path: Path) -> None:
    """Nobody had said how long it would be."""
    with hub(files={"New-Q8_0.gguf": LARGE}, lengths=False) as there:
        url = f"{there.cdn}/files/New-Q8_0.gguf"
        done = on_a_small_disk(tmp_path, "3m", "models", "pull", url, HF_ENDPOINT=there.url)
    assert (done.returncode, f"{tmp_path}/store is full" in done.stderr) == (1, True), done.stderr
