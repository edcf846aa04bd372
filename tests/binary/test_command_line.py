"""Every command to its end: what it prints, and the status that it leaves."""

from __future__ import annotations

import json
import re
import socket

import pytest
from binary.place import Place

COMMANDS = ("serve", "check", "keys", "keys new", "plugins")
SECRET = "sk-moltbot-"


def test_it_tells_its_version(place: Place) -> None:
    done = place.run("--version")
    assert (done.status, done.errors) == (0, "")
    assert re.fullmatch(r"moltbot-edge \d+\.\d+\.\d+\n", done.output)


def test_its_help_lists_its_commands(place: Place) -> None:
    done = place.run("--help")
    assert (done.status, done.errors) == (0, "")
    assert [name for name in COMMANDS if " " not in name and f"\n  {name} " not in done.output] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(place: Place, command: str) -> None:
    """Commands are imported by name when they are called: one that was left out of the file is seen here."""
    done = place.run(*command.split(), "--help")
    assert (done.status, done.errors) == (0, "")
    assert f"  moltbot-edge {command}" in done.output.partition("Examples:")[2]


def test_an_unknown_command_is_refused_with_those_that_there_are(place: Place) -> None:
    done = place.run("server")
    assert done.status == 2
    assert "there are: serve, check" in done.errors


def test_every_problem_of_a_configuration_is_told_with_its_line(place: Place) -> None:
    file = place.put("/moltbot.yaml", "server:\n  prot: 1\nmodel_registry:\n  - {name: a}\nrouter: {policy: best}\n")
    done = place.run("check", file)
    assert done.status == 1
    assert {int(line) for line in re.findall(rf"^{re.escape(file)}:(\d+):", done.output, re.MULTILINE)} == {2, 4, 5}


def test_a_configuration_with_problems_is_not_served(place: Place) -> None:
    file = place.put("/moltbot.yaml", "server:\n  prot: 1\n")
    done = place.run("serve", "--config", file)
    assert done.status == 1
    assert f"{file}:2" in done.errors
    assert "not started" in done.errors
    assert "Traceback" not in done.errors


def test_a_configuration_that_is_right_is_told_so(place: Place) -> None:
    file = place.put("/moltbot.yaml", "model_registry:\n  - {name: a, endpoint: 'http://127.0.0.1:1'}\n")
    done = place.run("check", file)
    assert (done.status, done.errors) == (0, "")
    assert "no problems" in done.output


def test_a_configuration_that_is_not_there_is_told(place: Place) -> None:
    done = place.run("serve", "--config", "/no/such.yaml")
    assert done.status == 1
    assert "/no/such.yaml" in done.errors
    assert "Traceback" not in done.errors


def test_a_configuration_that_is_no_file_is_told(place: Place) -> None:
    place.put("/moltbot.yaml/inside", "")
    done = place.run("serve", "--config", str(place.inside("/moltbot.yaml")))
    assert done.status == 1
    assert "moltbot.yaml" in done.errors
    assert "Traceback" not in done.errors


def test_a_configuration_that_is_no_text_is_told(place: Place) -> None:
    file = place.put("/moltbot.yaml", b"\xff\xfe\x00server")
    done = place.run("check", file)
    assert done.status == 1
    assert file in done.output
    assert "Traceback" not in done.errors


@pytest.mark.only("unprivileged")
def test_a_configuration_that_may_not_be_read_is_told(place: Place) -> None:
    file = place.put("/moltbot.yaml", "", mode=0)
    done = place.run("serve", "--config", file)
    assert done.status == 1
    assert file in done.errors


def test_the_schema_is_json(place: Place) -> None:
    done = place.run("check", "--schema")
    assert done.status == 0
    schema = json.loads(done.output)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert "model_registry" in json.dumps(schema)


def test_a_new_key_is_another_each_time(place: Place) -> None:
    made = [json.loads(place.run("keys", "new", "kitchen", "--json").output)["secret"] for _ in range(2)]
    assert all(secret.startswith(SECRET) for secret in made)
    assert made[0] != made[1]


def test_a_port_that_is_taken_is_told(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = place.run("serve", "--port", str(port))
    assert done.status not in (None, 0)
    assert str(port) in done.errors
    assert "in use" in done.errors  # each C library has its own words
    assert "Traceback" not in done.errors


def test_off_loopback_without_a_key_it_does_not_start(place: Place) -> None:
    done = place.run("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.status == 1
    assert "moltbot-edge keys new" in done.errors
