from __future__ import annotations

import pytest

from qemu.machine.console import Mark, cleaned, death_of, mark_of


@pytest.mark.parametrize(
    ("line", "mark"),
    [
        ("BOARD kernel: 6.12.1+deb13-arm64", Mark("kernel", "6.12.1+deb13-arm64")),
        ("BOARD failed-units: ", Mark("failed-units", "")),
        ("BOARD failed-units:", Mark("failed-units", "")),
        ("BOARD ready", Mark("ready", "")),
        ("[    5.9] random: crng init BOARD looks: 7", Mark("looks", "7")),
        ("INFO listening on 0.0.0.0:8080", None),
        ("memory", None),
    ],
)
def test_what_a_guest_names_is_told_from_what_it_prints(line: str, mark: Mark | None) -> None:
    assert mark_of(line) == mark


def test_a_line_is_cleaned_of_what_is_for_terminals() -> None:
    assert cleaned(b"[\x1b[0;32m  OK  \x1b[0m] Reached \x1b[0;1;39mbasic.target\x1b[0m.\r\n") == (
        "[  OK  ] Reached basic.target."
    )
    assert cleaned(b"\x1b]3008;start=abc\x1b\\\x1b[!pBOARD ready\r\r\n") == "BOARD ready"
    assert cleaned(b"half a letter: \xc3\n") == "half a letter: \N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("line", "death"),
    [
        ("[ 1.0] Kernel panic - not syncing: VFS: no root", "VFS: no root"),
        ("[ 1.0] ---[ end Kernel panic - not syncing: VFS: no root ]---", "VFS: no root ]---"),
        ("BOARD ready", None),
    ],
)
def test_a_panic_says_what_of(line: str, death: str | None) -> None:
    assert death_of(line) == death
