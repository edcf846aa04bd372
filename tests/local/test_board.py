"""What a machine says of itself, as the files of ``/proc`` and ``/sys`` have it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from moltbot_edge.local.board import this_machine
from moltbot_edge.local.profile import Board


def files(root: Path, **contents: str) -> None:
    for name, text in contents.items():
        place = root / name.replace("__", "/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def cores(root: Path, siblings: str | None = None) -> None:
    """Every CPU that this process may use is a core of its own, or all are *siblings* of one."""
    for cpu in os.sched_getaffinity(0):
        topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{siblings or cpu}\n")


@pytest.mark.parametrize(
    ("model", "board"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0\0", Board.RASPBERRY_PI_5),
        ("Raspberry Pi 500 Rev 1.0\0", Board.RASPBERRY_PI_5),
        ("Raspberry Pi Compute Module 5 Rev 1.0\0", Board.RASPBERRY_PI_5),
        ("Raspberry Pi 4 Model B Rev 1.4\0", Board.RASPBERRY_PI_4),
        ("Raspberry Pi 400 Rev 1.0\0", Board.RASPBERRY_PI_4),
        ("Raspberry Pi Compute Module 4 Rev 1.1\0", Board.RASPBERRY_PI_4),
        ("Raspberry Pi 3 Model B Plus Rev 1.3\0", Board.RASPBERRY_PI_4),
        ("Raspberry Pi Zero 2 W Rev 1.0\0", Board.RASPBERRY_PI_4),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0", Board.JETSON),
        ("NVIDIA Orin Nano Developer Kit\0", Board.JETSON),
        ("Radxa ROCK 5B\0", Board.OTHER),
    ],
)
def test_a_board_is_known_by_its_device_tree(tmp_path: Path, model: str, board: Board) -> None:
    files(tmp_path, **{"proc__device-tree__model": model})
    assert this_machine(tmp_path).board is board


def test_a_pc_has_no_device_tree(tmp_path: Path) -> None:
    assert this_machine(tmp_path).board is Board.OTHER


def test_every_core_counts_once(tmp_path: Path) -> None:
    cores(tmp_path)
    assert this_machine(tmp_path).threads == len(os.sched_getaffinity(0))


def test_hyper_threads_of_one_core_count_once(tmp_path: Path) -> None:
    cores(tmp_path, siblings="0-127")
    assert this_machine(tmp_path).threads == 1


def test_a_containers_quota_bounds_the_threads(tmp_path: Path) -> None:
    cores(tmp_path)
    files(tmp_path, **{"sys__fs__cgroup__cpu.max": "50000 100000\n"})
    assert this_machine(tmp_path).threads == 1


def test_a_services_quota_is_in_its_own_group(tmp_path: Path) -> None:
    cores(tmp_path)
    files(
        tmp_path,
        proc__self__cgroup="0::/system.slice/moltbot.service\n",
        **{
            "sys__fs__cgroup__system.slice__moltbot.service__cpu.max": "100000 100000\n",
            "sys__fs__cgroup__system.slice__cpu.max": "max 100000\n",
        },
    )
    assert this_machine(tmp_path).threads == 1


def test_this_very_machine_is_read() -> None:
    assert this_machine().threads >= 1
