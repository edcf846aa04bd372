"""The unit that a user installs, as far as it can be looked at without a systemd that runs it.

``qemu/board --systemd`` installs it, and asks systemd 257 the same question.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from moltbot_edge.assemble import GRACE_S
from moltbot_edge.config.schema import Engines
from moltbot_edge.local.keeping import BEFORE_STOP_S
from moltbot_edge.local.process import KILL_S
from qemu.machine.initramfs import GUEST
from qemu.machine.installed import UNIT, USERS
from qemu.machine.verdict import ROOT

INSTALLED = re.compile(r'install (.*-m \d+.*) "?moltbot\S+ "?(/[\w./-]+)')


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def test_systemd_waits_longer_for_the_gateway_than_the_gateway_for_its_engines() -> None:
    (limit_s,) = settings()["TimeoutStopSec"]
    assert float(limit_s) > GRACE_S + BEFORE_STOP_S + Engines().stop_s + 2 * KILL_S


def test_the_user_that_it_runs_as_is_made_beside_it() -> None:
    (user,) = settings()["User"]
    assert f"\nu {user} " in USERS.read_text()


@pytest.mark.parametrize("setting", ["PrivateDevices", "ProtectClock", "MemoryDenyWriteExecute", "ProcSubset"])
def test_what_an_engine_needs_is_left_out_and_said(setting: str) -> None:
    assert setting not in settings()
    assert setting in UNIT.read_text()


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    if (tool := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd here; qemu/board --systemd asks the guest's")
    file = tmp_path / UNIT.name
    (started,) = settings()["ExecStart"]
    file.write_text(UNIT.read_text().replace(started.split()[0], "/bin/true"))  # it is not installed here
    done = subprocess.run([tool, "verify", file], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode) == ("", 0)


def test_the_documentation_installs_what_the_board_installs() -> None:
    told = set(INSTALLED.findall((ROOT / "docs/boards.md").read_text()))
    done = set(INSTALLED.findall((GUEST / "agent.sh").read_text().replace("$service", UNIT.name)))
    assert told == done
    assert len(told) == 4
