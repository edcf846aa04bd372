"""``moltbot-edge sessions``: by a gateway that runs, and in the store where none does. Real processes and stores."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
from kept_sessions import RedisServer, turn

import moltbot_edge
from moltbot_edge.core import record

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(moltbot_edge.__file__).parents[1]
COMMAND = [sys.executable, "-m", "moltbot_edge"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}


@pytest.fixture
def port(tmp_path: Path) -> int:
    """A folder with a configuration. The port at which its gateway would be."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    configured(tmp_path, port, "path: kept")
    return port


def configured(folder: Path, port: int, sessions: str, more: str = "", file: str = "moltbot.yaml") -> None:
    (folder / file).write_text(
        f"server: {{port: {port}}}\n"
        "model_registry: [{name: chat, endpoint: 'http://127.0.0.1:9', type: openai-chat}]\n"
        f"sessions: {{{sessions}}}\n{more}"
    )


@contextmanager
def gateway(folder: Path, port: int) -> Iterator[None]:
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*COMMAND, "serve"], cwd=folder, env=ENVIRONMENT, stderr=log) as process,
    ):
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until and process.poll() is None:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
                    break
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


def exported(folder: Path, name: str = "talk", *said: str) -> str:
    """A file with a session of that name."""
    turns = [turn("What is a qubit?", "A two-level system.")]
    for one in said:
        turns.append(turn(one, after=turns[-1]))
    file = folder / "talk.jsonl"
    file.write_bytes(b"".join(record.lines(name, turns)))
    return str(file)


def keyed(run: Run, *names: str) -> tuple[str, dict[str, str]]:
    """A line for a configuration, and the secrets of its keys; the last is an administrator's."""
    keys, secrets = [], {}
    for name in names:
        made = json.loads(run("keys", "new", name, "--json").stdout)
        secrets[name] = made["secret"]
        keys.append({"name": name, "hash": made["hash"], "admin": name == names[-1]})
    return f"keys: {json.dumps(keys)}\n", secrets


def offline(port: int, where: str) -> str:
    return f"no gateway runs at http://127.0.0.1:{port}: opening what is kept {where}\n"


@pytest.mark.parametrize("name", ["list", "show", "export", "import", "delete", "compact"])
def test_the_help_of_each_command_has_an_example(run: Run, name: str) -> None:
    done = run("sessions", name, "--help")
    assert (done.returncode, f"  moltbot-edge sessions {name}" in done.stdout.partition("Example:")[2]) == (0, True)
    assert ("--owner" in done.stdout) == (name != "compact")  # which is of all of them
    assert name in run("--help").stdout.partition("  sessions ")[2].partition("router")[0]


def test_a_running_gateway_is_asked(run: Run, port: int, tmp_path: Path) -> None:
    file = exported(tmp_path, "talk", "And two?")
    with gateway(tmp_path, port):
        empty = run("sessions")
        assert (empty.returncode, empty.stdout) == (0, "")
        assert empty.stderr == (
            "no sessions: a chat begins one by its header x-moltbot-session; "
            "an administrator sees those of all keys with --owner '*'\n"
        )
        assert run("sessions", "import", file).stdout == "talk: 2 turns\n"
        taken = run("sessions", "import", file)
        assert (taken.returncode, taken.stderr) == (1, "there is a session 'talk' already\n")
        assert run("sessions", "import", file, "--session", "again").stdout == "again: 2 turns\n"
        title, again, talk = run("sessions").stdout.splitlines()
        assert title.split() == ["NAME", "TURNS", "SIZE", "LAST"]
        assert (again.split()[:2], talk.split()[:2]) == (["again", "2"], ["talk", "2"])
        one = run("sessions", "list", "--limit", "1")
        assert (len(one.stdout.splitlines()), one.stderr) == (2, "the newest 1: --limit shows more\n")
        assert run("sessions", "export", "talk").stdout == Path(file).read_text()
        shown = run("sessions", "show", "talk")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "user:\n  What is a qubit?\nassistant:\n  A two-level system.\n" in shown.stdout
        assert "chat, by chat@box  openai-chat" in shown.stdout
        said = json.loads(run("sessions", "show", "talk", "--json").stdout)
        assert (said["session"], len(said["turns"]), said["leaf"]) == ("talk", 2, said["turns"][1]["id"])
        assert run("sessions", "delete", "talk", "again").stdout == "deleted talk\ndeleted again\n"
        for words in (["show"], ["export"], ["delete"]):
            gone = run("sessions", *words, "talk")
            assert (gone.returncode, gone.stdout) == (1, "")
            assert (
                gone.stderr == "there is no session 'talk', or no longer; `moltbot-edge sessions` lists what there is\n"
            )
        assert run("sessions", "compact").stdout.startswith("0 turns in ")


def test_what_one_command_prints_as_json_is_one_object(run: Run, port: int, tmp_path: Path) -> None:
    file = exported(tmp_path)
    with gateway(tmp_path, port):
        made = json.loads(run("sessions", "import", file, "--json").stdout)
        assert (made["session"], made["count"]) == ("talk", 1)
        listed = json.loads(run("sessions", "--json").stdout)
        assert [one["leaf"] for one in listed["sessions"]] == [made["leaf"]]
        assert json.loads(run("sessions", "delete", "talk", "--json").stdout) == {"deleted": ["talk"]}
        assert json.loads(run("sessions", "compact", "--json").stdout)["turns"] == 0


@pytest.mark.parametrize("runs", [True, False])
def test_any_name_can_be_said(run: Run, port: int, tmp_path: Path, runs: bool) -> None:
    names = ["a/export", "import", "50%2F", "...", "a+b&c=d?#1"]
    file = exported(tmp_path)
    with gateway(tmp_path, port) if runs else nullcontext():
        for name in names:
            assert run("sessions", "import", file, "--session", name).stdout == f"{name}: 1 turn\n"
        listed = json.loads(run("sessions", "--json").stdout)["sessions"]
        assert [one["session"] for one in reversed(listed)] == names
        deleted = run("sessions", "delete", *names)
        assert deleted.stdout.splitlines() == [f"deleted {name}" for name in names]


def test_each_key_has_its_own_and_an_administrators_sees_all(run: Run, port: int, tmp_path: Path) -> None:
    line, secrets = keyed(run, "kitchen", "hall", "boss")
    configured(tmp_path, port, "path: kept", line)
    file = exported(tmp_path)
    with gateway(tmp_path, port):
        refused = run("sessions")
        assert (refused.returncode, "MOLTBOT_EDGE_KEY" in refused.stderr) == (1, True)
        assert run("sessions", "import", file, MOLTBOT_EDGE_KEY=secrets["kitchen"]).returncode == 0
        assert run("sessions", "show", "talk", "--key", secrets["kitchen"]).returncode == 0
        others = run("sessions", "show", "talk", "--key", secrets["hall"])
        assert (others.returncode, "no session 'talk' of the key 'hall'" in others.stderr) == (1, True)
        forbidden = run("sessions", "--owner", "kitchen", "--key", secrets["hall"])
        assert (forbidden.returncode, "no administrator's" in forbidden.stderr) == (1, True)
        boss = ("--key", secrets["boss"])
        assert "--owner '*'" in run("sessions", *boss).stderr
        title, shown = run("sessions", "--owner", "*", *boss).stdout.splitlines()
        assert (title.split()[1], shown.split()[:2]) == ("KEY", ["talk", "kitchen"])
        assert run("sessions", "import", file, "--owner", "hall", *boss).returncode == 0
        assert run("sessions", "delete", "talk", "--owner", "kitchen", *boss).returncode == 0
        assert run("sessions", "export", "talk", "--key", secrets["hall"]).stdout == Path(file).read_text()


def test_where_no_gateway_runs_the_folder_is_opened_and_that_is_said(run: Run, port: int, tmp_path: Path) -> None:
    said = offline(port, f"in {tmp_path}/kept")
    empty = run("sessions")
    assert (empty.returncode, empty.stdout, empty.stderr.startswith(said)) == (0, "", True)
    missing = run("sessions", "show", "talk")
    assert (missing.returncode, "there is no session 'talk'" in missing.stderr) == (1, True)
    assert not (tmp_path / "kept").exists()
    file = exported(tmp_path, "talk", "And two?")
    made = run("sessions", "import", file)
    assert (made.stdout, made.stderr) == ("talk: 2 turns\n", said)
    assert run("sessions").stdout.splitlines()[1].split()[:2] == ["talk", "2"]
    assert run("sessions", "export", "talk").stdout == Path(file).read_text()
    with gateway(tmp_path, port):
        there = run("sessions", "export", "talk")
        assert (there.stdout, there.stderr) == (Path(file).read_text(), "")
    assert run("sessions", "delete", "talk").stdout == "deleted talk\n"
    assert run("sessions", "compact").stdout.startswith("0 turns in ")


def test_without_a_gateway_whose_it_is_is_found_by_its_name(run: Run, port: int, tmp_path: Path) -> None:
    line, secrets = keyed(run, "kitchen", "hall", "boss")
    configured(tmp_path, port, "path: kept", line)
    file = exported(tmp_path)
    assert run("sessions", "import", file, "--owner", "kitchen").returncode == 0
    assert run("sessions", "show", "talk").returncode == 0
    assert run("sessions", "import", file, "--key", secrets["hall"]).returncode == 0
    assert [line.split()[1] for line in run("sessions").stdout.splitlines()] == ["KEY", "hall", "kitchen"]
    assert len(run("sessions", "--owner", "hall").stdout.splitlines()) == 2
    which = run("sessions", "delete", "talk")
    assert (which.returncode, which.stdout) == (1, "")
    assert "of each of these keys: kitchen, hall; --owner says whose is meant" in which.stderr
    assert run("sessions", "delete", "talk", "--key", secrets["hall"]).returncode == 0
    assert run("sessions", "delete", "talk").returncode == 0
    unknown = run("sessions", "--key", "mb-nobody")
    assert (unknown.returncode, "not known here" in unknown.stderr) == (1, True)


def test_a_folder_that_another_gateway_has_is_not_opened(run: Run, port: int, tmp_path: Path) -> None:
    configured(tmp_path, 9, "path: kept", file="other.yaml")
    with gateway(tmp_path, port):
        assert run("sessions", "import", exported(tmp_path)).returncode == 0
        locked = run("sessions", "--config", "other.yaml")
    assert locked.returncode == 1
    assert f"{tmp_path}/kept" in locked.stderr
    assert "in use by another process" in locked.stderr


def test_another_server_at_its_address_is_not_taken_for_a_gateway(run: Run, port: int, tmp_path: Path) -> None:
    page = tmp_path / "v1" / "sessions"
    page.mkdir(parents=True)
    (page / "index.html").write_text("<p>hello</p>")
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as other:
        try:
            until = time.monotonic() + 30
            while time.monotonic() < until:
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/sessions/"):
                    break
                time.sleep(0.02)
            assert run("sessions", "import", exported(tmp_path)).stdout == "talk: 1 turn\n"
            listed = run("sessions")
        finally:
            other.terminate()
    assert listed.stdout.splitlines()[1].split()[:2] == ["talk", "1"]
    assert listed.stderr == offline(port, f"in {tmp_path}/kept")


def test_what_was_kept_in_memory_is_gone_with_its_gateway(run: Run, port: int, tmp_path: Path) -> None:
    configured(tmp_path, port, "store: memory")
    gone = run("sessions")
    assert (gone.returncode, gone.stdout) == (1, "")
    assert "sessions are kept in its memory" in gone.stderr


def test_a_redis_server_is_asked_where_no_gateway_runs(
    run: Run, port: int, tmp_path: Path, redis_server: RedisServer
) -> None:
    configured(tmp_path, port, f"store: redis, url: '{redis_server.url}'")
    file = exported(tmp_path)
    made = run("sessions", "import", file)
    assert (made.stdout, made.stderr.startswith("no gateway runs")) == ("talk: 1 turn\n", True)
    with gateway(tmp_path, port):
        assert run("sessions", "export", "talk").stdout == Path(file).read_text()
    redis_server.stop()
    gone = run("sessions")
    assert (gone.returncode, "does not serve" in gone.stderr) == (1, True)


def test_a_file_that_is_no_export_is_refused_with_its_line(run: Run, port: int, tmp_path: Path) -> None:
    (tmp_path / "talk.jsonl").write_text("hello\n")
    refused = run("sessions", "import", "talk.jsonl")
    assert (refused.returncode, "line 1 of the import" in refused.stderr) == (1, True)
    assert run("sessions", "import", "none.jsonl").returncode == 2
    assert run("sessions", "delete").returncode == 2


@pytest.mark.parametrize("words", ["export talk", "show talk"])
@pytest.mark.parametrize("runs", [True, False])
def test_who_reads_no_further_is_left_in_peace(port: int, run: Run, tmp_path: Path, words: str, runs: bool) -> None:
    file = exported(tmp_path, "talk", *(str(number) * 10_000 for number in range(100)))
    with gateway(tmp_path, port) if runs else nullcontext():
        assert run("sessions", "import", file).returncode == 0
        command = f"{shutil.which(sys.executable)} -m moltbot_edge sessions {words} | head -c 100"
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
    assert (len(done.stdout), "Traceback" in done.stderr, "rror" in done.stderr) == (100, False, False)


def test_a_terminal_is_written_as_wide_as_it_is(port: int, run: Run, tmp_path: Path) -> None:
    assert run("sessions", "import", exported(tmp_path, "talk", "word " * 20 + "\x1b[2J")).returncode == 0
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    done = subprocess.run(
        [*COMMAND, "sessions", "show", "talk"], cwd=tmp_path, env=ENVIRONMENT, stdout=slave, check=False
    )
    os.close(slave)
    seen = os.read(master, 65536).decode()
    os.close(master)
    assert done.returncode == 0
    assert "\x1b[2J" not in seen
    assert "\\x1b[2J" in seen
    assert "\x1b[36muser:" in seen
    words = [line for line in seen.splitlines() if line.startswith("  word")]
    assert len(words) == 3
    assert max(map(len, words)) <= 40


def test_what_root_writes_belongs_to_the_folders_owner() -> None:
    """Else the gateway, which is another user, could not go on."""
    root = os.geteuid() == 0
    owner = 65534 if root else os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "kept"
        kept.mkdir(0o700)
        Path(folder).chmod(0o755)
        if root:
            os.chown(kept, owner, owner)
        configured(Path(folder), 9, "path: kept")
        file = exported(Path(folder))
        done = subprocess.run(
            [*COMMAND, "sessions", "import", file], cwd=folder, env=ENVIRONMENT, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert {one.stat().st_uid for one in kept.iterdir()} == {owner}
