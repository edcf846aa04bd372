"""Kept steps: made once, whole or not at all, whoever is killed and however many build at once."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TextIO

import pytest

from build.binary.store import BuildFailed, Step, Store, cache_folder

BUILD = """
import sys
from pathlib import Path
from build.binary.store import Store

store = Store(Path(sys.argv[1]))
first = store.recipe("first", 'echo made >> "$LEDGER"; echo 1 > "$OUT/part"', unkeyed={"LEDGER": sys.argv[2]})
second = '''
echo half > "$OUT/half"
echo made >> "$LEDGER.second"
read -r word < "$GATE"
mv "$OUT/half" "$OUT/whole"
'''
step = store.recipe("second", second, uses={"FIRST": first}, unkeyed={"GATE": sys.argv[3], "LEDGER": sys.argv[2]})
print(sorted(path.name for path in step.folder.iterdir()))
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", jobs=1, output=io.StringIO())


def said(store: Store) -> str:
    assert isinstance(store.output, io.StringIO)
    return store.output.getvalue()


def test_a_step_is_made_once_and_says_what_it_does_and_how_long_it_took(store: Store) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "part").write_text("whole")

    first = store.step("part", {"version": "1"}, make, does="compiles a part")
    again = store.step("part", {"version": "1"}, make, does="compiles a part")
    assert first == again
    assert (first.folder / "part").read_text() == "whole"
    assert len(made) == 1
    begun, done = said(store).splitlines()
    assert begun == "part: compiles a part"
    assert done.startswith("part: made in ")


def test_other_inputs_make_another_step_and_the_old_one_stays(store: Store) -> None:
    first = store.recipe("part", 'echo "$VERSION" > "$OUT/part"', settings={"VERSION": "1"})
    second = store.recipe("part", 'echo "$VERSION" > "$OUT/part"', settings={"VERSION": "2"})
    assert first.key != second.key
    assert [(step.folder / "part").read_text() for step in (first, second)] == ["1\n", "2\n"]


def test_a_step_follows_what_it_stands_on(store: Store) -> None:
    def built_on(version: str) -> Step:
        below = store.recipe("below", 'echo "$VERSION" > "$OUT/part"', settings={"VERSION": version})
        return store.recipe("above", 'cat "$BELOW/part" > "$OUT/part"', uses={"BELOW": below})

    assert built_on("1").key != built_on("2").key
    assert built_on("1").key == built_on("1").key


def test_where_a_tool_lies_does_not_matter_to_a_step(store: Store, tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        tool = tmp_path / place / "some-compiler"
        tool.write_text('#!/bin/sh\necho compiled > "$1"\n')
        tool.chmod(0o755)
    keys = {
        store.recipe("part", 'some-compiler "$OUT/part"', path=(tmp_path / place,)).key for place in ("here", "there")
    }
    assert len(keys) == 1


def test_a_recipe_sees_nothing_of_the_callers_environment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFLAGS", "-march=native")
    step = store.recipe("part", 'echo "${CFLAGS-none} $JOBS" > "$OUT/part"')
    assert (step.folder / "part").read_text() == "none 1\n"


def test_a_recipe_that_fails_leaves_no_step_and_the_end_of_its_log_is_told(store: Store) -> None:
    with pytest.raises(BuildFailed, match=r"(?s)part failed \(exit 3\).*no such header") as failure:
        store.recipe("part", 'echo half > "$OUT/part"; echo "fatal: no such header"; exit 3')
    (log,) = (store.root / "logs").iterdir()
    assert str(log) in str(failure.value)
    step = store.recipe("part", 'echo whole > "$OUT/part"')
    assert (step.folder / "part").read_text() == "whole\n"


def test_all_programs_that_are_missing_are_told_at_once_with_what_to_install(store: Store) -> None:
    needs = {"sh": "dash", "no-such-compiler": "gcc", "no-such-linker": "binutils"}
    with pytest.raises(BuildFailed, match=r"no no-such-compiler, no-such-linker.*apt-get install binutils gcc$"):
        store.recipe("part", 'echo > "$OUT/part"', needs=needs)


def test_on_a_terminal_the_time_so_far_is_shown_and_gone_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("build.binary.store.TICK_S", 0.001)
    terminal = Terminal()
    store = Store(tmp_path, jobs=1, output=terminal)
    os.mkfifo(tmp_path / "gate")

    def wait_for_a_tick() -> None:
        with (tmp_path / "gate").open("w"):
            while "\rpart: 0." not in terminal.getvalue():
                pass

    waiting = threading.Thread(target=wait_for_a_tick)
    waiting.start()
    store.recipe("part", 'cat "$GATE"', unkeyed={"GATE": str(tmp_path / "gate")}, does="compiles a part")
    waiting.join()
    last = terminal.getvalue().rpartition("\033[K")[2]
    assert last.startswith("part: made in ")


@pytest.mark.parametrize("damaged", ["part", "step.json"])
@pytest.mark.parametrize("left", [b"", None])
def test_a_step_whose_files_a_power_cut_has_emptied_or_taken_is_made_again(
    store: Store, damaged: str, left: bytes | None
) -> None:
    step = store.recipe("part", 'echo whole > "$OUT/part"')
    if left is None:
        (step.folder / damaged).unlink()
    else:
        (step.folder / damaged).write_bytes(left)
    later = Store(store.root, jobs=1, output=io.StringIO())
    assert later.recipe("part", 'echo whole > "$OUT/part"') == step
    assert (step.folder / "part").read_text() == "whole\n"
    assert "part: what was kept of it is damaged, so it is made again" in said(later)


def test_what_is_added_to_a_step_later_is_no_damage(store: Store) -> None:
    step = store.recipe("part", 'mkdir "$OUT/__pycache__"; echo 1 > "$OUT/__pycache__/a.pyc"; echo 1 > "$OUT/part"')
    (step.folder / "another").touch()
    (step.folder / "__pycache__/a.pyc").write_bytes(b"longer")
    later = Store(store.root, jobs=1, output=io.StringIO())
    later.recipe("part", 'mkdir "$OUT/__pycache__"; echo 1 > "$OUT/__pycache__/a.pyc"; echo 1 > "$OUT/part"')
    assert said(later) == ""


def test_the_first_command_that_fails_ends_a_recipe(store: Store) -> None:
    with pytest.raises(BuildFailed):
        store.recipe("part", 'false\necho whole > "$OUT/part"')


def test_what_went_into_a_step_lies_in_it(store: Store) -> None:
    step = store.recipe("part", 'echo > "$OUT/part"', settings={"VERSION": "1.2.3"})
    assert '"VERSION": "1.2.3"' in (step.folder / "step.json").read_text()


class Build:
    """A build of two steps in a process of its own; the second waits at *gate*. *ledger* counts what was made."""

    def __init__(self, folder: Path, name: str) -> None:
        self.gate, self.ledger = folder / f"{name}.gate", folder / "ledger"
        os.mkfifo(self.gate)
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUILD, str(folder / "cache"), str(self.ledger), str(self.gate)],
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def at_the_gate(self) -> TextIO:
        """Wait until the second step is being made. It goes on when something is written into what comes back."""
        return self.gate.open("w")

    def goes_on(self) -> str:
        with self.at_the_gate() as gate:
            gate.write("go on\n")
        return self.process.communicate()[0].strip()


def test_a_killed_build_goes_on_at_the_step_that_it_was_in(tmp_path: Path) -> None:
    killed = Build(tmp_path, "killed")
    with killed.at_the_gate():
        os.killpg(killed.process.pid, signal.SIGKILL)
        killed.process.communicate()
    again = Build(tmp_path, "again")
    assert again.goes_on() == "['step.json', 'whole']"
    assert again.ledger.read_text() == "made\n"  # the first step, once in the two builds


def test_what_a_killed_build_left_running_is_waited_for(tmp_path: Path) -> None:
    killed = Build(tmp_path, "killed")
    with killed.at_the_gate():
        killed.process.kill()
        killed.process.wait()
        again = Build(tmp_path, "again")
        assert again.process.stderr is not None
        while "waiting" not in again.process.stderr.readline():
            assert again.process.poll() is None
        assert again.ledger.with_suffix(".second").read_text() == "made\n"
    assert again.goes_on() == "['step.json', 'whole']"
    assert again.ledger.with_suffix(".second").read_text() == "made\nmade\n"
    killed.process.communicate()


def test_two_builds_at_once_make_a_step_once(store: Store) -> None:
    made: list[str] = []
    entered, leave = threading.Event(), threading.Event()

    def make(folder: Path) -> None:
        made.append(folder.name)
        entered.set()
        leave.wait(60)

    builders = [threading.Thread(target=store.step, args=("part", {}, make)) for _ in range(2)]
    builders[0].start()
    assert entered.wait(60)
    builders[1].start()
    while "another build is making it" not in said(store):
        pass
    leave.set()
    for builder in builders:
        builder.join(60)
    assert len(made) == 1


def test_steps_that_no_build_has_used_for_long_are_removed_and_used_ones_stay(store: Store) -> None:
    old, used = (store.recipe(name, 'echo > "$OUT/part"') for name in ("old", "used"))
    for step in (old, used):
        os.utime(step.folder, (1_000_000, 1_000_000))
    store.recipe("used", 'echo > "$OUT/part"')  # by a build, just now
    store.prune(now=used.folder.stat().st_mtime + 60)
    assert not old.folder.exists()
    assert used.folder.exists()


def test_of_steps_that_change_with_every_edit_the_last_used_are_kept(store: Store) -> None:
    steps = [store.recipe("edited", f'echo {edit} > "$OUT/part"') for edit in range(4)]
    other = store.recipe("edited-too", 'echo > "$OUT/part"')
    for age, step in enumerate(steps):
        os.utime(step.folder, (1_000_000 - age, 1_000_000 - age))
    store.thin("edited", 2)
    assert [step.folder.exists() for step in steps] == [True, True, False, False]
    assert other.folder.exists()


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"MOLTBOT_EDGE_BUILD_CACHE": "/kept", "XDG_CACHE_HOME": "/xdg"}, "/kept"),
        ({"XDG_CACHE_HOME": "/xdg", "HOME": "/home/me"}, "/xdg/moltbot-edge/build"),
        ({"HOME": "/home/me"}, "/home/me/.cache/moltbot-edge/build"),
    ],
)
def test_the_cache_is_where_the_environment_says_else_where_caches_are(
    environment: dict[str, str], folder: str
) -> None:
    assert cache_folder(environment) == Path(folder)
