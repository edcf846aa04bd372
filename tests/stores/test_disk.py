"""The disk store, and what happens to disks: full, read-only, damaged, in use by another, without power."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import pickle
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from crashing.gateway import powered
from kept_sessions import Clock, options, turn, words

from moltbot_edge.api import StoreLocked
from moltbot_edge.core.session import Turn
from moltbot_edge.core.store import Store
from moltbot_edge.stores import salvage
from moltbot_edge.stores.disk import opened
from moltbot_edge.stores.table import FILE, Table, prefix

ROOT = Path(__file__).parents[2]
PROSE = " ".join((ROOT / "README.md").read_text().split() + (ROOT / "docs" / "routing.md").read_text().split())


def noise(size: int, seed: int = 0) -> str:
    """Text that no compression makes smaller than half."""
    return random.Random(seed).randbytes(size // 2).hex()


async def goes_on(store: Store, session: str, *asked: str) -> list[Turn]:
    kept = await store.load("", session)
    leaf = kept.leaf if kept else None
    turns = []
    for one in asked:
        turns.append(turn(one, after=leaf))
        await store.append("", session, turns[-1], leaf)
        leaf = turns[-1].id
    return turns


async def asked_in(store: Store, session: str) -> list[str]:
    kept = await store.load("", session)
    return [] if kept is None else list(map(words, kept.turns))


def test_sessions_outlive_the_process_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "sessions"

    async def scenario() -> None:
        async with opened(options(folder)) as store:
            await goes_on(store, "talk", "one")
        async with opened(options(folder)) as store:
            await goes_on(store, "talk", "two")
            assert await asked_in(store, "talk") == ["one", "two"]
            rights = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
            assert set(rights.values()) == {0o600}, rights

    asyncio.run(scenario())
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_planted_pickle_never_runs(tmp_path: Path) -> None:
    witness = tmp_path / "it ran"

    class Planted:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch '{witness}'",)

    async def scenario() -> None:
        async with opened(options(tmp_path / "s")) as store:
            await goes_on(store, "talk", "one", "two", "three")
        planted = pickle.dumps(Planted())
        key = prefix("", "talk")
        with closing(sqlite3.connect(tmp_path / "s" / FILE)) as con, con:
            rows = con.execute("SELECT rowid, tag FROM Cache ORDER BY rowid").fetchall()
            con.execute("UPDATE Cache SET mode = 4, value = ? WHERE rowid = ?", (planted, rows[1][0]))
            add = "INSERT INTO Cache (key, raw, tag, mode, filename, value) VALUES (?, ?, ?, ?, ?, ?)"
            con.execute(add, (key + b"\0\0\0\1", 0, rows[0][1], 1, None, planted))
            con.execute(add, (key + b"\0\0\0\7", 0, planted, 4, None, planted))
            con.execute(add, (planted, 0, planted, 4, None, planted))
            (tmp_path / "s" / "planted.val").write_bytes(planted)
            con.execute(add, (key + b"\0\0\0\2\0", 1, rows[0][1], 4, "planted.val", None))
            con.execute("UPDATE Settings SET value = 4 WHERE key LIKE 'disk%'")
            con.execute("INSERT INTO Settings VALUES ('_sql', 'x'), ('disk_planted', 1), ('sqlite_foo; --', 1)")
        async with opened(options(tmp_path / "s")) as store:
            assert await asked_in(store, "talk") == ["one", "three"]
            await store.list(None, 10)
            await store.stats()
            await store.compact()
            await goes_on(store, "other", "one")
            await store.delete("", "talk")

    asyncio.run(scenario())
    assert not witness.exists()


def test_a_table_takes_and_gives_bytes_only(tmp_path: Path) -> None:
    table = Table(tmp_path)
    try:
        wrongs: list[object] = [True, None, 1, "text", ("a",), {}]
        for wrong in wrongs:
            with pytest.raises(TypeError, match="is bytes, not"):
                table._cache.set(b"key", wrong)
            with pytest.raises(TypeError, match="is bytes, not"):
                table._cache.set(wrong, b"value")
    finally:
        table.close()


def test_what_is_no_database_is_set_aside_with_its_time_and_sessions_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / FILE).write_bytes(b"This is no database at all. " * 400)
    clock = Clock()

    async def scenario() -> None:
        async with opened(options(folder, clock=clock)) as store:
            await goes_on(store, "talk", "one")
            assert await asked_in(store, "talk") == ["one"]
            assert store.trouble is None

    with caplog.at_level(logging.ERROR):
        asyncio.run(scenario())
    aside = folder / f"{FILE}.damaged-20261118T110640Z"
    assert aside.read_bytes().startswith(b"This is no database")
    assert "set aside as cache.db.damaged-20261118T110640Z; 0 turns could be read" in caplog.text


@pytest.mark.parametrize("seed", range(6))
def test_of_a_damaged_file_what_can_be_read_is_served(tmp_path: Path, seed: int) -> None:
    folder = tmp_path / "s"
    chance = random.Random(seed)

    async def scenario() -> None:
        async with opened(options(folder)) as store:
            for number in range(150):
                await goes_on(store, f"talk-{number}", noise(900, number), "two")
        file = folder / FILE
        pages = file.stat().st_size // 512
        with file.open("r+b") as damaged:
            for _ in range(3):
                page = b"\x05"
                while page[0] in (2, 5):  # with what leads to the rows, a hundred of them are lost
                    at = 512 * chance.randrange(30, pages)
                    damaged.seek(at)
                    page = damaged.read(1)
                damaged.seek(at)
                damaged.write(chance.choice([b"\0", b"\xff"]) * 512)
        async with opened(options(folder)) as store:
            there = 0
            for number in range(150):
                asked = await asked_in(store, f"talk-{number}")
                assert set(asked) <= {noise(900, number), "two"}
                there += len(asked)
            assert there >= 250
            await goes_on(store, "new", "one")
            assert await asked_in(store, "new") == ["one"]
        async with opened(options(folder)) as store:
            assert await asked_in(store, "new") == ["one"]

    asyncio.run(scenario())


@pytest.mark.thorough
@pytest.mark.parametrize("at", ["before it was renamed", "before its log was", "when some was carried over"])
def test_who_is_killed_while_a_damaged_file_is_carried_over_begins_anew(tmp_path: Path, at: str) -> None:
    folder = tmp_path / "s"
    writing = """
        async with opened(options(folder)) as store:
            for number in range(40):
                await goes_on(store, f"talk-{number}", "one", "two")
            print("kept", flush=True)
            await asyncio.to_thread(sys.stdin.read)
    """
    with child(writing, folder) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "kept\n"
        writer.kill()  # all of it is in the log
    if at == "before it was renamed":
        (folder / salvage.BEGUN).write_text(f"{FILE}.damaged-20261118T110640Z")
    else:
        aside = salvage.set_aside(folder, Clock().now)
        if at == "before its log was":
            (folder / f"{aside.name}-wal").rename(folder / f"{FILE}-wal")
        else:
            table = Table(folder)
            with table.writing():
                table.put(prefix("", "talk-0"), ("", "talk-0"), None, turn("").id, 0.0, b"half", 4, None)

    async def scenario() -> None:
        async with opened(options(folder)) as store:
            for number in range(40):
                assert await asked_in(store, f"talk-{number}") == ["one", "two"]
            await goes_on(store, "talk-1", "three")
        async with opened(options(folder)) as store:
            assert await asked_in(store, "talk-1") == ["one", "two", "three"]

    asyncio.run(scenario())
    assert not (folder / salvage.BEGUN).exists()


def test_a_store_that_another_process_has_says_who_and_is_opened_once_it_is_free(tmp_path: Path) -> None:
    clock = Clock()
    holding = """
        async with opened(options(folder)) as store:
            await store.stats()
            print("open", flush=True)
            await asyncio.to_thread(sys.stdin.read)
    """

    async def scenario() -> None:
        with child(holding, tmp_path / "s") as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            async with opened(options(tmp_path / "s", clock=clock)) as store:
                with pytest.raises(StoreLocked, match=rf"in use by another process \({other.pid}\)"):
                    await store.load("", "talk")
                with pytest.raises(StoreLocked):
                    await store.append("", "talk", turn("one"), None)
                assert isinstance(store.trouble, StoreLocked)
                other.communicate("")
                clock.now += 2
                await goes_on(store, "talk", "one")
                assert store.trouble is None

    asyncio.run(scenario())


def test_a_full_disk_is_said_and_when_there_is_room_sessions_go_on(tmp_path: Path) -> None:
    said = on_a_disk(
        tmp_path,
        """
        (mounted / "ballast").write_bytes(bytes(600_000))
        asked = [noise(4000, number) for number in range(200)]
        async with opened(options(folder)) as store:
            kept = 0
            try:
                for one in asked:
                    await goes_on(store, "talk", one)
                    kept += 1
            except StoreFull as full:
                say(full=str(full), trouble=type(store.trouble).__name__)
            say(kept=kept, read=await asked_in(store, "talk") == asked[:kept])
            (mounted / "ballast").unlink()
            await goes_on(store, "talk", asked[kept])
            say(again=await asked_in(store, "talk") == asked[: kept + 1], trouble_after=str(store.trouble))
        async with opened(options(folder)) as store:
            say(reopened=await asked_in(store, "talk") == asked[: kept + 1])
        """,
    )
    assert "no space is left" in str(said["full"])
    assert said["trouble"] == "StoreFull"
    assert isinstance(said["kept"], int)
    assert said["kept"] > 5
    assert [said[name] for name in ("read", "again", "reopened", "trouble_after")] == [True, True, True, "None"]


def test_a_read_only_disk_is_said_and_when_it_can_be_written_sessions_go_on(tmp_path: Path) -> None:
    said = on_a_disk(
        tmp_path,
        """
        async with opened(options(folder)) as store:
            await goes_on(store, "talk", "one")
        mount("remount,ro")
        clock = Clock()
        async with opened(options(folder, clock=clock)) as store:
            for call in (store.load("", "talk"), store.append("", "other", turn("one"), None)):
                try:
                    await call
                except StoreReadOnly as error:
                    say(**{call.__name__: str(error)})
            mount("remount,rw")
            clock.now += 2
            clock.now = time.time()
            await goes_on(store, "talk", "two")
            say(asked=await asked_in(store, "talk"))
        """,
    )
    assert "is read-only" in str(said["load"])
    assert "is read-only" in str(said["append"])
    assert said["asked"] == ["one", "two"]


def test_a_killed_writer_loses_no_turn_that_it_was_told_is_kept(tmp_path: Path) -> None:
    """The short form of what scripts/ does a thousand times."""
    writing = """
        async with opened(options(folder)) as store:
            async def writer(number):
                while True:
                    for one in await goes_on(store, f"talk-{number}", noise(random.randrange(3000), number)):
                        print(number, one.id, flush=True)
            await asyncio.gather(*map(writer, range(4)))
    """
    told: dict[str, list[str]] = {str(number): [] for number in range(4)}
    chance = random.Random(7)
    for _ in range(8):
        with child(writing, tmp_path / "s") as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 60)):
                number, one = writer.stdout.readline().split()
                told[number].append(one)
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:
                if line.endswith("\n"):
                    number, one = line.split()
                    told[number].append(one)

        async def scenario() -> None:
            async with opened(options(tmp_path / "s")) as store:
                for number, ids in told.items():
                    kept = await store.load("", f"talk-{number}")
                    there = [one.id for one in kept.turns] if kept else []
                    assert len(set(there)) == len(there)
                    assert set(ids) <= set(there)
                    assert len(there) <= len(ids) + 8  # what was written and not told any more
                    assert [one.parent for one in kept.turns] == [None, *there[:-1]] if kept else not ids
                assert store.trouble is None

        asyncio.run(scenario())
    assert not list((tmp_path / "s").glob("*.damaged*"))


@pytest.mark.thorough
def test_a_power_cut_loses_no_turn_that_is_kept_whatever_is_on_its_way_to_the_disk(tmp_path: Path) -> None:
    """At every place, one after the other, where something is made durable; only that is left, and half of the last."""
    assert shutil.which("cc"), "no C compiler: apt install gcc, as .ci/run does"
    folder, durable = tmp_path / "s", tmp_path / "durable"
    power = powered(tmp_path, folder, durable)
    writing = """
        for _ in range(2):
            async with opened(options(folder)) as store:
                for number in range(3):
                    for one in await goes_on(store, f"talk-{number}", noise(random.randrange(9000), number)):
                        print(number, one.id, flush=True)
                await store.compact()
    """
    told: dict[str, list[str]] = {str(number): [] for number in range(3)}
    for cut in itertools.count(1):
        with child(writing, folder, **power, POWER_LOST=str(cut)) as writer:
            for number, one in map(str.split, writer.communicate()[0].splitlines()):
                told[number].append(one)
        if writer.returncode == 0:  # it came to its end
            break
        assert writer.returncode == -signal.SIGKILL
        shutil.rmtree(folder)
        shutil.copytree(durable, folder)

        async def scenario() -> None:
            async with opened(options(folder)) as store:
                for number, ids in told.items():
                    kept = await store.load("", f"talk-{number}")
                    there = [one.id for one in kept.turns] if kept else []
                    assert [one for one in there if one in ids] == ids
                    assert [one.parent for one in kept.turns] == [None, *there[:-1]] if kept else not ids

        asyncio.run(scenario())
        shutil.rmtree(durable)
        shutil.copytree(folder, durable)
    assert cut > 10
    assert not list(folder.glob("*.damaged*"))


def test_a_turn_writes_eight_kib_at_most_and_a_read_nothing(tmp_path: Path) -> None:
    chance = random.Random(1)

    def text(size: int) -> str:
        at = chance.randrange(len(PROSE) - size)
        return PROSE[at : at + size]

    async def scenario() -> None:
        async with opened(options(tmp_path / "s")) as store:
            await store.stats()
            leaves: dict[str, str | None] = {f"talk-{number}": None for number in range(10)}
            before = written()
            for _ in range(1000):
                session = chance.choice(list(leaves))
                one = turn(text(512), text(512), after=leaves[session])
                await store.append("", session, one, leaves[session])
                leaves[session] = one.id
            await store._worker.ask(checkpoint)  # type: ignore[attr-defined]
            assert (written()[0] - before[0]) / 1000 <= 8 * 1024
            before = written()
            for session in leaves:
                assert await asked_in(store, session)
            assert await store.load("", "nobody's") is None
            assert (await store.list(None, 5)).sessions
            assert written() == before

    asyncio.run(scenario())


def checkpoint(table: Table) -> None:
    table._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def written() -> tuple[int, int]:
    """Bytes handed to write(), and bytes that a disk was to write: of this process."""
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(said["wchar"]), int(said["write_bytes"])


def test_a_turn_takes_as_many_steps_among_many_sessions_as_among_few(tmp_path: Path) -> None:
    table = Table(tmp_path)

    def put(session: str) -> None:
        start = prefix("", session)
        leaf = table.leaf(start)
        table.put(start, ("", session), leaf, turn("").id, 0.0, b"x" * 700, 1500, table.last(start))

    def steps(session: str) -> int:
        counted = [0]

        def count() -> None:
            counted[0] += 1

        table._cache.sql.set_progress_handler(count, 1)
        with table.writing():
            put(session)
        assert len(list(table.turns(prefix("", session)))) == 11
        table.used_bytes()
        table._cache.sql.set_progress_handler(None, 1)
        return counted[0]

    try:
        with table.writing():
            for number in range(10):
                for _ in range(10):
                    put(f"few-{number}")
        among_few = steps("few-3")
        with table.writing():
            for number in range(5000):
                put(f"many-{number}")
        assert steps("few-4") <= among_few * 1.2
    finally:
        table.close()


def test_who_has_little_among_much_is_listed_in_pages_that_may_be_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moltbot_edge.stores.disk.LOOKED_AT", 4)
    monkeypatch.setattr("moltbot_edge.stores.disk.LOOKS", 2)

    async def scenario() -> None:
        async with opened(options(tmp_path / "s")) as store:
            for number in range(39):
                await store.append("rare" if number in (3, 21) else "many", f"talk-{number}", turn("one"), None)
            found, after = [], None
            for page in range(5):
                shown = await store.list("rare", 100, after)
                found.append([one.session for one in shown.sessions])
                after = shown.after
                assert (after is None) == (page == 4)
            assert [names for names in found if names] == [["talk-21"], ["talk-3"]]

    asyncio.run(scenario())


def test_a_caller_that_leaves_keeps_the_store_usable(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(options(tmp_path / "s")) as store:
            tasks = [asyncio.create_task(store.append("", f"talk-{number}", turn("one"), None)) for number in range(50)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for number in range(50):
                assert await asked_in(store, f"talk-{number}") in (["one"], *([[]] if number % 2 == 0 else []))

    asyncio.run(scenario())


# Children, which have a disk of their own, or are killed.

BEGIN = """
import asyncio, json, random, subprocess, sys, time
from pathlib import Path
from kept_sessions import Clock, options, turn
from moltbot_edge.api import StoreFull, StoreReadOnly
from moltbot_edge.stores import salvage
from moltbot_edge.stores.disk import opened
from test_disk import asked_in, goes_on, noise
folder = Path(sys.argv[1])
mounted = folder.parent
def mount(options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(mounted)], check=True)
def say(**said):
    print(json.dumps(said), flush=True)
async def main():
"""


def script(body: str) -> str:
    return BEGIN + textwrap.indent(textwrap.dedent(body), "    ") + "\nasyncio.run(main())\n"


PLACES = ("scripts", "tests", "tests/stores")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, *(ROOT / one for one in PLACES))))}


@contextmanager
def child(body: str, folder: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """*more* is added to its environment."""
    command = [sys.executable, "-c", script(body), str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment() | more
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def on_a_disk(folder: Path, body: str) -> dict[str, object]:
    """What *body* says, run where a disk of 1 MB is mounted, which nobody else sees."""
    place = folder / "disk"
    place.mkdir()
    alone = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    run = subprocess.run(
        [*alone, sys.executable, "-c", script('mount("size=1m")\n' + textwrap.dedent(body)), str(place / "sessions")],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return {name: value for line in run.stdout.splitlines() for name, value in json.loads(line).items()}
