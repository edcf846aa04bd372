from __future__ import annotations

import pytest

from qemu.machine import command, installed, report
from qemu.machine.console import Said
from qemu.machine.verdict import Failed, Verdict

VALUES = {
    "kernel": "6.12",
    "page-kb": "16",
    "cpu-part": "0xd0b",
    "booted-s": "3.50",
    "begun-s": "3.78",
    "served-s": "4.33",
    "cpu-cs": "31",
    "memory-kb": "483872",
    "available-after-kb": "444544",
    "VmRSS": "7248",
    "RssAnon": "1920",
    "VmHWM": "7300",
}


def test_a_board_is_told_from_what_its_guest_said() -> None:
    assert report.about(VALUES, "cortex-a76")["page size"] == "16 KiB"
    assert report.start(VALUES) == {"first 200 after exec": "0.6 s"}
    assert report.counted_start(VALUES) == {"first 200 after exec": "310 million instructions"}
    assert report.memory(VALUES, "now") == {"memory now": "resident 7.4 MB, anonymous 2.0 MB, most resident 7.5 MB"}
    assert report.available(VALUES, "446064")["available memory"] == "456.8 MB before, 455.2 MB after, of 495.5 MB"


def test_systemd_counts_its_microseconds_on_the_same_clock() -> None:
    assert report.start_s({"begun-us": "39780000", "served-s": "40.33"}) == pytest.approx(0.55)


def test_another_processor_than_the_one_asked_for_fails() -> None:
    with pytest.raises(Failed, match="'0xd0b' and not cortex-a53"):
        report.about(VALUES, "cortex-a53")
    assert report.about(VALUES, "max")["processor"] == "max"


def test_what_a_guest_did_not_say_is_named() -> None:
    with pytest.raises(Failed, match="cpu-cs"):
        report.counted_start(Said({"served-s": "4.33"}))
    with pytest.raises(Failed, match="served-s"):
        report.start(Said({"begun-s": "3.78", "cpu-cs": "31"}))
    with pytest.raises(Failed, match="'no number' for 'cpu-cs'"):
        report.counted_start(Said({"cpu-cs": "no number"}))


def test_memory_of_a_process_that_has_gone_is_not_none() -> None:
    with pytest.raises(Failed, match="nothing of the gateway's memory"):
        report.memory({}, "now")


def test_hardening_that_is_not_in_force_fails() -> None:
    good = {**installed.IN_FORCE, "Uid": "997", "owner": "moltbot:moltbot 750"}
    installed.in_force(good)
    for wrong in ({"Seccomp": "0"}, {"Uid": "0"}, {"CapEff": "000001ffffffffff"}, {"owner": "root:root 755"}):
        with pytest.raises(Failed):
            installed.in_force(good | wrong)


def test_the_table_has_a_row_for_each_board_and_says_why_one_failed() -> None:
    rows = [(Verdict("board 4k", True, "served"), {"kernel": "6.12"}), (Verdict("board 16k", False, "no"), {})]
    lines = command.table(rows).splitlines()
    assert lines[2] == "| board 4k | 6.12 |  |  |  |  | PASS |"
    assert lines[3] == "| board 16k |  |  |  |  |  | FAIL: no |"
