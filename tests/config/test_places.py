"""Where sessions lie when nobody says where: as a service, as root, as somebody with a home, as nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moltbot_edge.config.load import read
from moltbot_edge.config.places import can_be_kept, sessions_folder, sessions_where
from moltbot_edge.config.schema import Sessions


def test_a_services_folder_is_the_one_that_systemd_made() -> None:
    state = "/var/lib/moltbot:/var/lib/moltbot/models"
    assert sessions_folder({"STATE_DIRECTORY": state, "HOME": "/home/pi"}) == Path("/var/lib/moltbot/sessions")


def test_a_folder_that_could_be_made_is_taken_and_not_made(tmp_path: Path) -> None:
    system = tmp_path / "moltbot" / "sessions"
    assert sessions_folder({"HOME": "/home/pi"}, system) == system
    assert list(tmp_path.iterdir()) == []


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere; whoever runs this is somebody else meanwhile."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.mark.parametrize("below", ["moltbot/sessions", "moltbot"])
def test_an_ordinary_user_keeps_them_in_the_home(below: str) -> None:
    system = Path("/etc") / below  # which belongs to root on every machine
    with as_nobody():
        assert sessions_folder({"HOME": "/home/pi"}, system) == Path("/home/pi/.local/state/moltbot-edge/sessions")
        said = {"HOME": "/home/pi", "XDG_STATE_HOME": "/s"}
        assert sessions_folder(said, system) == Path("/s/moltbot-edge/sessions")
        assert sessions_folder({}, system) == system


def test_a_folder_of_ours_stays_the_one_when_its_disk_can_only_be_read(tmp_path: Path) -> None:
    system = tmp_path / "sessions"
    system.mkdir()
    system.chmod(0o500)
    assert sessions_folder({"HOME": "/home/pi"}, system) == system


def test_what_the_configuration_says_counts_more(tmp_path: Path) -> None:
    file = tmp_path / "moltbot.yaml"
    file.write_text("sessions: {path: talks}\n")
    environment = {"STATE_DIRECTORY": "/var/lib/other", "XDG_STATE_HOME": "/s"}
    assert read(file, environment).config.sessions.path == str(tmp_path / "talks")
    file.write_text("sessions: {timeout_s: 60}\n")
    assert read(file, environment).config.sessions.path == "/var/lib/other/sessions"
    assert read(None, {}).config.sessions.path.endswith("/sessions")
    said = {**environment, "MOLTBOT_EDGE_SESSIONS_PATH": "/data/talks"}
    assert read(file, said).config.sessions.path == "/data/talks"


def test_where_they_are_is_said_without_a_password() -> None:
    assert sessions_where(Sessions(path="/talks")) == "in /talks"
    assert sessions_where(Sessions(store="memory")) == "in memory, until this ends"
    assert sessions_where(Sessions(store="mine")) == "by the plug-in 'mine'"
    for url, shown in (
        ("redis://box:6379/0", "box:6379/0"),
        ("rediss://user:secret@box/0?password=secret", "box/0"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ):
        assert sessions_where(Sessions(store="redis", url=url)) == f"at the Redis server {shown}"


def test_whether_they_can_be_kept_is_seen_without_making_anything(tmp_path: Path) -> None:
    assert can_be_kept(Sessions(path=str(tmp_path / "not" / "there")))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    for path in (str(tmp_path / "file"), str(tmp_path / "file" / "sessions")):
        assert not can_be_kept(Sessions(path=path))
        assert can_be_kept(Sessions(store="memory", path=path))
    with as_nobody():
        assert not can_be_kept(Sessions(path="/etc/moltbot/sessions"))
