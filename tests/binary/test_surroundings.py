"""Where little or nothing is around it: an empty root, no environment, no streams, nothing that can be written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from binary.place import Place
from binary.target import Target

pytestmark = pytest.mark.anyio


def free_port() -> int:
    """For a gateway that cannot say which it was given."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.mark.only("alone")
async def test_it_serves_where_there_is_nothing_but_itself(place: Place) -> None:
    with place.serving("--port", "0") as gateway:
        assert (await gateway.get("/health")).status == 200
        assert (await gateway.get("/v1/models")).json["data"] == []
        counted = await gateway.get("/metrics")
        assert counted.status == 200
        assert b"\nprocess_cpu_seconds_total " in counted.body
        assert b"\nprocess_resident_memory_bytes NaN\n" in counted.body  # nobody can tell
        gateway.terminate()
        assert await gateway.ended() == 0
    assert "Traceback" not in gateway.said()


@pytest.mark.only("alone")
async def test_it_leaves_nothing_behind(place: Place) -> None:
    before = sorted(place.ground.folder.rglob("*"))
    with place.serving("--port", "0") as gateway:
        await gateway.get("/health")
        gateway.terminate()
        await gateway.ended()
    assert sorted(place.ground.folder.rglob("*")) == before


@pytest.mark.only("alone")
async def test_it_serves_where_nothing_can_be_written(place: Place) -> None:
    file = place.put("/etc/moltbot/moltbot.yaml", json.dumps({"server": {"port": 0}}))
    with place.serving("--config", file, read_only=True) as gateway:
        assert (await gateway.get("/health")).status == 200


@pytest.mark.only("alone")
async def test_it_serves_where_there_is_a_proc(place: Place) -> None:
    with place.serving("--port", "0", proc=True) as gateway:
        counted = await gateway.get("/metrics")
        assert b"\nprocess_resident_memory_bytes NaN\n" not in counted.body


async def test_it_serves_without_an_environment(place: Place) -> None:
    with place.serving("--port", "0", environment={}) as gateway:
        assert (await gateway.get("/health")).status == 200


async def test_it_serves_with_its_streams_closed(place: Place) -> None:
    """As a daemon's parent may leave it. Its sockets would then get the numbers of the streams."""
    port = free_port()
    closed = ("/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    with place.serving("--port", str(port), port=port, before=closed) as gateway:
        await gateway.until_healthy()
        gateway.terminate()
        assert await gateway.ended() == 0


async def test_it_serves_though_nobody_can_hear_its_greeting(place: Place) -> None:
    port = free_port()
    deaf = ("/bin/sh", "-c", 'exec "$@" >/dev/full', "sh")
    with place.serving("--port", str(port), port=port, before=deaf) as gateway:
        await gateway.until_healthy()
        assert "Traceback" not in gateway.said()


@pytest.mark.only("native")
def test_a_working_directory_that_was_removed_is_no_mistake(target: Target, tmp_path: Path) -> None:
    script = 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"'
    words = ["/bin/sh", "-c", script, str(tmp_path / "gone"), str(target.program), "check"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"PATH": os.defpath})
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_configuration_is_found_in_its_usual_place(place: Place) -> None:
    place.put(
        "/moltbot.yaml",
        json.dumps({"server": {"port": 0}, "model_registry": [{"name": "a", "endpoint": "http://127.0.0.1:1"}]}),
    )
    with place.serving() as gateway:
        assert [model["id"] for model in (await gateway.get("/v1/models")).json["data"]] == ["a"]


async def test_names_may_be_of_any_alphabet_where_no_locale_is_set(place: Place) -> None:
    names = ["größe", "模型", "мир"]
    config = {
        "server": {"port": 0},
        "model_registry": [{"name": name, "endpoint": "http://127.0.0.1:1"} for name in names],
    }
    file = place.put("/moltbot.yaml", json.dumps(config, ensure_ascii=False))
    with place.serving("--config", file) as gateway:
        assert [model["id"] for model in (await gateway.get("/v1/models")).json["data"]] == [*names, "auto"]
        assert f"serves {', '.join(names)}, auto\n" in gateway.said()


def test_a_path_that_is_no_text_is_told(place: Place) -> None:
    done = place.run("check", os.fsdecode(b"/not-\xff-there.yaml"))
    assert done.status == 1
    assert "there.yaml" in done.output
    assert "Traceback" not in done.errors


async def test_it_listens_on_ipv6(place: Place) -> None:
    with place.serving("--host", "::1", "--port", "0") as gateway, socket.create_connection(("::1", gateway.port)):
        assert f"http://[::1]:{gateway.port}" in gateway.said()
