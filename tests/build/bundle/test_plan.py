"""What one Python writes for another to read, and the list of both machines."""

from __future__ import annotations

from pathlib import Path

from build.binary.bundle.ffi import PORTS
from build.binary.bundle.plan import PLATFORMS, Native, Plan
from build.binary.toolchain import ARCHITECTURES


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan(
        arch="aarch64",
        library="/library",
        packages="/packages",
        product="/product",
        python="/lib/libpython.so",
        natives=(Native("uvloop/loop.so", "/stripped/uvloop/loop.so", "EXTENSION"),),
        compiled=True,
        out=str(tmp_path),
    )
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan


def test_each_machine_has_a_bootloader_and_a_port_of_libffi() -> None:
    assert set(PLATFORMS) == set(PORTS) == set(ARCHITECTURES)
