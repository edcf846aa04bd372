"""${NAME}, ${NAME:-default} and file:PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from moltbot_edge.config.references import MAX_SECRET_BYTES, Unresolved, expand, located, secret

ENVIRONMENT = {"BOX": "10.0.0.2", "EMPTY": "", "NESTED": "${BOX}"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://${BOX}:11434", "http://10.0.0.2:11434"),
        ("${BOX}${BOX}", "10.0.0.210.0.0.2"),
        ("${NOT_SET:-8080}", "8080"),
        ("${EMPTY:-8080}", "8080"),
        ("${NOT_SET:-}", ""),
        ("${EMPTY}", ""),
        ("${BOX:-other}", "10.0.0.2"),
        ("${NOT_SET:-a:-b}", "a:-b"),
        ("${NESTED}", "${BOX}"),
        ("$BOX costs $5", "$BOX costs $5"),
        ("$${BOX}", "${BOX}"),
    ],
)
def test_references_are_replaced_once(text: str, found: str) -> None:
    assert expand(text, ENVIRONMENT) == found


def test_every_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(Unresolved, match=r"variable ONE is not set.*; the environment variable TWO is not set"):
        expand("${ONE}-${BOX}-${TWO}", ENVIRONMENT)


@pytest.mark.parametrize("text", ["${", "${}", "${BOX", "${1ST}", "${A-B}", "${BOX:+x}"])
def test_a_reference_that_is_none_says_how_one_is_written(text: str) -> None:
    with pytest.raises(Unresolved, match=r"\$\$\{ for the characters themselves"):
        expand(text, ENVIRONMENT)


def test_relative_paths_begin_at_the_folder_and_tilde_at_home() -> None:
    folder = Path("/etc/moltbot")
    assert located("key.pem", folder, {}) == Path("/etc/moltbot/key.pem")
    assert located("/run/key.pem", folder, {}) == Path("/run/key.pem")
    assert located("~/key.pem", folder, {"HOME": "/home/pi"}) == Path("/home/pi/key.pem")


def test_a_secret_is_its_file_without_the_line_end(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b" sk-1 2\r\n")
    assert secret(tmp_path / "key") == " sk-1 2"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"\n", "is empty"),
        (b"\xff", "is not UTF-8"),
        (b"x" * (MAX_SECRET_BYTES + 1), f"is longer than {MAX_SECRET_BYTES} bytes"),
    ],
)
def test_a_file_that_holds_no_secret_says_why(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(Unresolved, match=message):
        secret(tmp_path / "key")
