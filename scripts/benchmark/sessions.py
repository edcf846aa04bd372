"""What a turn of 1 KiB costs the disk store, among few sessions and among many: `python scripts/benchmark/sessions.py`.

Bytes are those of /proc/self/io: handed to write(), and given to the disk in pages of 4 KiB. Each row includes what
the log's end writes to its place, after TURNS turns; 200 reads are measured for themselves, of which the store has in
memory what went on lately. CPU is of all threads. Not a test: a table.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from moltbot_edge.core.chat import Message, Role, Text  # noqa: E402
from moltbot_edge.core.session import CHANCE_BYTES, Turn, made_id  # noqa: E402
from moltbot_edge.core.store import StoreOptions  # noqa: E402
from moltbot_edge.stores import envelope  # noqa: E402
from moltbot_edge.stores.disk import Disk  # noqa: E402
from moltbot_edge.stores.table import LOG_PAGES, Table, prefix  # noqa: E402

TURNS = 2500  # as many as a log takes
ACTIVE = 10  # sessions that go on at one time
COUNTS = (10, 1_000, 10_000, 100_000)
PROSE = " ".join(word for page in ("README.md", "docs/routing.md") for word in (ROOT / page).read_text().split())


def turn(chance: random.Random, after: str | None = None) -> Turn:
    def said(role: Role) -> Message:
        at = chance.randrange(len(PROSE) - 512)
        return Message(role, (Text(text=PROSE[at : at + 512]),))

    now = time.time()
    made = made_id(now, secrets.token_bytes(CHANCE_BYTES), after)
    return Turn(id=made, at=now, parent=after, messages=(said(Role.USER),), reply=said(Role.ASSISTANT), model="chat")


def written() -> tuple[int, int]:
    said = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(said["wchar"]), int(said["write_bytes"])


def to_its_place(table: Table) -> None:
    table._sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


async def measured(folder: str) -> None:
    options = StoreOptions(
        clock=time.time,
        path=folder,
        url="",
        timeout_s=1e9,
        size_bytes=1 << 40,
        session_bytes=1 << 30,
        waiters=1,
    )
    chance = random.Random(1)
    print(f"{TURNS} turns of 1 KiB in {ACTIVE} sessions; the log has {LOG_PAGES} pages")
    print(
        "sessions in the store | bytes to write() | bytes to the disk | append, median us | its CPU us | read, bytes |"
        " load, median us"
    )
    async with Disk(options).open() as store:
        assert isinstance(store, Disk)
        there = 0
        for count in COUNTS:

            def filled(table: Table, begin: int = there, end: int = count) -> None:
                for number in range(begin, end):
                    one = turn(chance)
                    name = "kitchen", f"talk-{number}"
                    table.put(prefix(*name), name, None, one.id, one.at, envelope.sealed(one), 2000, None)

            await store._worker.ask(filled, writes=True)
            await store._worker.ask(to_its_place)
            there = count
            leaves = {f"new-{count}-{number}": "" for number in range(ACTIVE)}
            before, appends, cpu_s = written(), [], 0.0
            for _ in range(TURNS):
                session = chance.choice(list(leaves))
                one = turn(chance, leaves[session] or None)
                began, used_s = time.perf_counter(), time.process_time()
                await store.append("kitchen", session, one, leaves[session] or None)
                appends.append(time.perf_counter() - began)
                cpu_s += time.process_time() - used_s
                leaves[session] = one.id
            await store._worker.ask(to_its_place)
            after, loads = written(), []
            for _ in range(200):
                began = time.perf_counter()
                assert await store.load("kitchen", f"talk-{chance.randrange(count)}")
                loads.append(time.perf_counter() - began)
            read = written()[0] - after[0] + written()[1] - after[1]
            calls, pages = ((late - early) / TURNS for early, late in zip(before, after, strict=True))
            medians = [sorted(times)[len(times) // 2] * 1e6 for times in (appends, loads)]
            print(
                f"{count:>21} | {calls:16.0f} | {pages:17.0f} | {medians[0]:17.0f} | {cpu_s / TURNS * 1e6:10.0f} |"
                f" {read:11} | {medians[1]:15.0f}"
            )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        asyncio.run(measured(folder))
