"""What is told of a board from the values that its guest named. Decides, and does nothing.

They come as `console.Said`, which raises `Failed` for a value that is not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .verdict import Failed

# "CPU part" of /proc/cpuinfo; the kernel's arch/arm64/include/asm/cputype.h
PARTS: Final[Mapping[str, str]] = {
    "cortex-a53": "0xd03",
    "cortex-a57": "0xd07",
    "cortex-a72": "0xd08",
    "cortex-a76": "0xd0b",
}


def seconds(values: Mapping[str, str], name: str) -> float:
    try:
        return float(values[name])
    except ValueError as error:
        raise Failed(f"the guest said {values[name]!r} for {name!r}") from error


def start_s(values: Mapping[str, str]) -> float:
    """From exec to the first 200, by the guest's clock. The last look may have come late."""
    begun_s = seconds(values, "begun-us") / 1e6 if "begun-us" in values else seconds(values, "begun-s")
    return seconds(values, "served-s") - begun_s


def megabytes(kibibytes: str) -> str:
    return f"{int(kibibytes) * 1024 / 1e6:.1f} MB"


def about(values: Mapping[str, str], cpu: str) -> dict[str, str]:
    """The board itself. Raises `Failed` if the processor is not the one that was asked for."""
    if (part := PARTS.get(cpu)) is not None and values.get("cpu-part") != part:
        raise Failed(f"the guest's processor is {values.get('cpu-part')!r} and not {cpu} ({part})")
    return {
        "kernel": values["kernel"],
        "processor": cpu,
        "page size": f"{values['page-kb']} KiB",
        "booted after": f"{seconds(values, 'booted-s'):.1f} s",
    }


def start(values: Mapping[str, str]) -> dict[str, str]:
    return {"first 200 after exec": f"{start_s(values):.1f} s"}


def instructions(values: Mapping[str, str]) -> str:
    """What the gateway took to its first 200, of a core that does one in a nanosecond. Linux counts hundredths."""
    return f"{seconds(values, 'cpu-cs') * 10:.0f} million instructions"


def counted_start(values: Mapping[str, str]) -> dict[str, str]:
    return {"first 200 after exec": instructions(values)}


def memory(values: Mapping[str, str], when: str) -> dict[str, str]:
    """The gateway's. What is not there has not been said: a kernel thread's, or a process that has gone."""
    names = {"VmRSS": "resident", "RssAnon": "anonymous", "VmHWM": "most resident"}
    told = [f"{word} {megabytes(values[name])}" for name, word in names.items() if name in values]
    if not told:
        raise Failed("the guest said nothing of the gateway's memory")
    return {f"memory {when}": ", ".join(told)}


def resident(values: Mapping[str, str]) -> str:
    return megabytes(values["VmRSS"])


def available(values: Mapping[str, str], before: str) -> dict[str, str]:
    return {
        "available memory": f"{megabytes(before)} before, {megabytes(values['available-after-kb'])} after, "
        f"of {megabytes(values['memory-kb'])}"
    }
