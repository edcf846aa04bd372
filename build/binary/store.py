"""Where the builds keep what they have made, and what they have not to make again.

A step is a folder named after a hash of everything that goes into it: the recipe's text, its settings, the keys of the
steps that it stands on. It is made beside its place and renamed when whole, so that a step is there entirely or not at
all, and a build that was interrupted goes on at the step that it was in. What went into a step lies in it as
``step.json``, with its files' sizes: after a power cut a disk may hold the names without the content, and then it is
made again. Not here: what the steps are.

The folder is ``$MOLTBOT_EDGE_BUILD_CACHE``, else ``$XDG_CACHE_HOME/moltbot-edge/build``, else the same in ``~/.cache``.
It may be removed at any time; nothing in it is anybody's only copy.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

KEY_DIGITS: Final = 16
RECORD: Final = "step.json"
UNUSED_DAYS: Final = 30
TICK_S: Final = 1.0
TOLD_LINES: Final = 15  # of a log, when a step fails

# Of the caller's environment a recipe sees these: its result must not depend on the rest.
PASSED_ON: Final = ("HOME", "TMPDIR")
SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class BuildFailed(Exception):
    """The build cannot go on. The text says at what, why, and what to do."""


@dataclass(frozen=True)
class Step:
    """A finished step. *folder* holds what it made, *key* stands for all that went into it."""

    name: str
    key: str
    folder: Path


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    if named := environment.get("MOLTBOT_EDGE_BUILD_CACHE"):
        return Path(named).absolute()
    base = environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME") or "~").expanduser() / ".cache"
    return Path(base).absolute() / "moltbot-edge/build"


@dataclass(frozen=True)
class Store:
    root: Path = field(default_factory=cache_folder)
    jobs: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    output: TextIO = field(default_factory=lambda: sys.stderr)
    seen_whole: set[Path] = field(default_factory=set, compare=False)

    def say(self, line: str) -> None:
        print(line, file=self.output, flush=True)

    def step(
        self,
        name: str,
        inputs: Mapping[str, object],
        make: Callable[[Path], None],
        *,
        does: str = "",
        quiet: bool = False,
    ) -> Step:
        """The step of these *inputs*, made by *make* (empty folder) where it is not there yet.

        *inputs* must hold, as what JSON can write, everything that changes the result. *does* is for the one who
        waits; a *quiet* step is one that nobody waits for. Raises what *make* raises, and then nothing has changed.
        """
        key = hashlib.sha256(_canonical(inputs).encode()).hexdigest()[:KEY_DIGITS]
        step = Step(name, key, self.root / "steps" / f"{name}-{key}")
        if self._whole(step):
            os.utime(step.folder)  # what `prune` goes by
            return step
        with self._held(step):
            if self._whole(step):  # the run that was waited for made it
                return step
            if step.folder.exists():
                self.say(f"{name}: what was kept of it is damaged, so it is made again")
                shutil.rmtree(step.folder)
            begun = time.monotonic()
            if not quiet:
                self.say(f"{name}: {does}" if does else name)
            unfinished = step.folder.with_name(f"{step.folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            record = {"name": name, "inputs": inputs, "sizes": dict(_sizes(unfinished))}
            (unfinished / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True))
            unfinished.rename(step.folder)
            self.seen_whole.add(step.folder)
            if not quiet:
                self.say(f"{name}: made in {spoken(time.monotonic() - begun)}")
        return step

    def _whole(self, step: Step) -> bool:
        """Whether all files are there that were made, as long as they were. What was added since is no harm."""
        if step.folder in self.seen_whole and step.folder.is_dir():
            return True
        try:
            sizes = json.loads((step.folder / RECORD).read_text()).get("sizes", {})
            whole = all((step.folder / name).lstat().st_size == size for name, size in sizes.items())
        except (OSError, ValueError):
            return False
        if whole:
            self.seen_whole.add(step.folder)
        return whole

    def thin(self, name: str, keep: int) -> None:
        """Remove all but the *keep* last used steps called *name*: of steps that change with every edit."""
        kept = [path for path in self.root.glob(f"steps/{name}-*") if len(path.name) == len(name) + 1 + KEY_DIGITS]
        for old in sorted(kept, key=_used)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)

    def recipe(
        self,
        name: str,
        script: str,
        *,
        does: str = "",
        uses: Mapping[str, Step] | None = None,
        settings: Mapping[str, str] | None = None,
        unkeyed: Mapping[str, str] | None = None,
        path: Sequence[Path] = (),
        needs: Mapping[str, str] | None = None,
    ) -> Step:
        """A step made by a shell *script* that begins in an empty folder, ``$WORK``, and leaves its result in ``$OUT``.

        It finds each of *uses* as a variable that names the step's folder, each of *settings* as it stands, ``$JOBS``,
        and nothing of the caller's environment. *unkeyed* and *path* are what it must not matter to the result, such
        as where a compiler lies: its version belongs into *settings*. *needs* are programs of this machine that it, or
        what comes after it, calls, each with Debian's package of it.
        """
        uses, settings, unkeyed = uses or {}, settings or {}, unkeyed or {}
        inputs = {
            "script": script,
            "uses": {variable: f"{step.name}-{step.key}" for variable, step in uses.items()},
            "settings": dict(settings),
        }

        def make(out: Path) -> None:
            _look_for(needs or {})
            environment = {
                **{variable: os.environ[variable] for variable in PASSED_ON if variable in os.environ},
                "LC_ALL": "C",
                "PATH": ":".join([*map(str, path), SYSTEM_PATH]),
                "JOBS": str(self.jobs),
                **{variable: str(step.folder) for variable, step in uses.items()},
                **settings,
                **unkeyed,
            }
            self.run_script(name, script, out, environment)

        return self.step(name, inputs, make, does=does)

    def prune(self, now: float, unused_days: float = UNUSED_DAYS) -> None:
        """Remove what no build has used for so long: old versions of steps, and what interrupted builds left.

        *now* is `time.time` seconds.
        """
        for folder in [*self.root.glob("steps/*"), *self.root.glob("work/*")]:
            if now - _used(folder) > unused_days * 24 * 3600:
                shutil.rmtree(folder, ignore_errors=True)

    def run_script(self, name: str, script: str, out: Path, environment: Mapping[str, str]) -> None:
        """Run *script* for `step`'s unfinished folder *out*; its log is kept. Raises `BuildFailed`."""
        stem = out.name.removesuffix(".unfinished")
        work, log = self.root / "work" / stem, self.root / "logs" / f"{stem}.log"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as words, self._ticking(name):
            # The step's lock is among the descriptors that are passed on: what a killed build leaves running holds it.
            done = subprocess.run(
                ["sh", "-euc", script],
                cwd=work,
                env={**environment, "OUT": str(out), "WORK": str(work)},
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                close_fds=False,
            )
        if done.returncode != 0:
            last = log.read_text(errors="replace").splitlines()[-TOLD_LINES:]
            said = "\n".join(f"  {line[:300]}" for line in last)
            raise BuildFailed(f"{name} failed (exit {done.returncode}). The end of its log, {log}:\n{said}")
        shutil.rmtree(work, ignore_errors=True)

    @contextmanager
    def _ticking(self, name: str) -> Iterator[None]:
        """On a terminal, show meanwhile how long it has taken so far."""
        if not self.output.isatty():
            yield
            return
        over, begun = threading.Event(), time.monotonic()

        def tick() -> None:
            while not over.wait(TICK_S):
                print(f"\r{name}: {spoken(time.monotonic() - begun)} ", end="", file=self.output, flush=True)
            print("\r\033[K", end="", file=self.output, flush=True)

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextmanager
    def _held(self, step: Step) -> Iterator[None]:
        """One maker of a step at a time. The lock goes with the processes that hold it, so none is ever left behind."""
        lock = self.root / "locks" / step.folder.name
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            os.set_inheritable(file.fileno(), True)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"{step.name}: another build is making it; waiting")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _look_for(programs: Mapping[str, str]) -> None:
    missing = {
        program: package for program, package in programs.items() if shutil.which(program, path=SYSTEM_PATH) is None
    }
    if missing:
        raise BuildFailed(
            f"this machine has no {', '.join(missing)}, which the build calls: "
            f"apt-get install {' '.join(sorted({*missing.values()}))}"
        )


def _used(folder: Path) -> float:
    """`time.time` seconds; of one that another build has just renamed or removed: now."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    """Of each file below *folder*, but for bytecode, which its Python may write anew."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in names:
            path = Path(place, name)
            yield str(path.relative_to(folder)), path.lstat().st_size


def spoken(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{seconds:.1f} s"


def sha256_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _canonical(inputs: Mapping[str, object]) -> str:
    return json.dumps(inputs, sort_keys=True, separators=(",", ":"))
