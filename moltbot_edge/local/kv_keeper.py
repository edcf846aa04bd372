"""Keeps what the slots of the engines hold: gives each conversation its slot, saves it, loads it again.

Carries out what `slots` and `kv` decide. One lock for each engine, so that two requests do not load into one slot.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence

import msgspec

from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.lease import Foresight, Wish
from moltbot_edge.local import kv, slot_actions, slots
from moltbot_edge.local.kv import Doubt, Entry, Rates, Verdict
from moltbot_edge.local.kv_folder import KvFolder
from moltbot_edge.local.slot_actions import Address, Props, SlotError
from moltbot_edge.local.slots import Held, Slot
from moltbot_edge.metrics.catalogue import Metrics

MOST_SLOTS = 64  # of which one engine says that it has them


class _Engine:
    """What is known of one engine. *taken* counts the requests that each slot was given to, ever."""

    def __init__(self) -> None:
        self.launched: str | None = None  # its identity as the launcher tells it
        self.identity: str | None = None  # with what it says of itself once it runs
        self.pins = False
        self.running = False
        self.props = Props()
        self.slots: list[Slot] = []
        self.taken: list[int] = []
        self.loaded: dict[int, Entry] = {}  # by slot, for the next reply to prove
        self.lock = asyncio.Lock()
        self.went_on = 0
        self.began = 0


class KvKeeper:
    """A `keeping.Keeper`. *now* is monotonic, *clock* gives seconds since 1970."""

    def __init__(
        self,
        folder: KvFolder,
        day_bytes: int,
        metrics: Metrics,
        log: logging.Logger,
        now: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._day_bytes = day_bytes
        self._metrics = metrics
        self._log = log
        self._now = now
        self._clock = clock
        self._engines: dict[str, _Engine] = {}
        metrics.kv_limit_bytes.cell().set(folder.limit_bytes)
        metrics.kv_written_limit_bytes.cell().set(day_bytes)

    def close(self) -> None:
        self._folder.close()

    def props(self, name: str) -> Props | None:
        """What the engine said of itself when it was ready; None while it does not run."""
        engine = self._engines.get(name)
        return engine.props if engine is not None and engine.running else None

    def foresees(self, name: str, trail: Sequence[int]) -> Foresight:
        """Of an engine that has not run since the gateway began, what one of its name has left behind."""
        engine = self._engines.get(name)
        if engine is None:
            return self._left_behind(name, trail)
        if not engine.pins or not trail:
            return Foresight()
        held = 0
        if engine.running and engine.slots:
            held = self._cached(engine, slots.chosen(engine.slots, trail), trail)
        entry, rates = self._best(engine, trail, held)
        if entry is None:
            return Foresight(0.0, held)
        return Foresight(rates.read_s(entry.size_bytes), entry.covers(trail))

    def _left_behind(self, name: str, trail: Sequence[int]) -> Foresight:
        if not trail or not self._folder.limit_bytes or not self._folder.usable():
            return Foresight()
        index = self._folder.index
        entry = kv.left_behind(index.entries, name, trail)
        if entry is None or index.leaves_out(entry.identity):
            return Foresight()
        return Foresight(index.rates_of(entry.identity).read_s(entry.size_bytes), entry.covers(trail))

    # A keeper's part.

    def slot_path(self, name: str) -> str | None:
        if not self._folder.limit_bytes or not self._folder.usable():
            return None
        self._show()
        return str(self._folder.path)

    def starts(self, name: str, identity: str | None, pins: bool) -> None:
        engine = self._engines.setdefault(name, _Engine())
        if identity != engine.launched or not pins:
            engine.launched, engine.identity = identity, None
        engine.pins = pins

    async def ready(self, name: str, address: Address) -> None:
        engine = self._engines.get(name)
        if engine is None:
            return
        engine.props = props = await slot_actions.props(address)
        if engine.launched is not None and engine.pins:
            told = f"{engine.launched} {props.build_info} {props.chat_template}"
            engine.identity = hashlib.sha256(told.encode()).hexdigest()
        count = min(max(props.total_slots, 1), MOST_SLOTS)
        engine.slots, engine.taken = [Slot()] * count, [0] * count
        engine.loaded.clear()
        engine.running = True

    async def before_request(self, name: str, address: Address, wish: Wish) -> int | None:
        engine = self._engines.get(name)
        if engine is None or not engine.pins or not engine.running:
            return None
        async with engine.lock:
            if not engine.slots:  # it ended while others were waited for
                return None
            place = slots.chosen(engine.slots, wish.marks, wish.session)
            slot = engine.slots[place]
            engine.slots[place] = msgspec.structs.replace(slot, busy=slot.busy + 1, used_at=self._now())
            engine.taken[place] += 1
            try:
                await self._prepare(name, engine, address, place, wish)
            except BaseException:
                self.left(name, place)
                raise
        return place

    def after_reply(
        self, name: str, slot: int | None, wish: Wish, usage: Usage | None, timings: Timings | None
    ) -> None:
        engine = self._engines.get(name)
        if engine is None or slot is None or slot >= len(engine.slots):
            return
        before = engine.slots[slot]
        held = before.held
        begun = held.begun if held is not None and slots.is_of(held, wish.marks, wish.session) else len(wish.marks)
        read, written = (usage.input_tokens, usage.output_tokens) if usage is not None else (0, 0)
        engine.slots[slot] = Slot(
            Held(tuple(wish.marks), begun, read, read + written, wish.session),
            max(before.busy - 1, 0),
            self._now(),
        )
        loaded = engine.loaded.pop(slot, None)
        if usage is None or engine.identity is None:
            return
        index = self._folder.index
        if timings is not None:
            rates = index.rates_of(engine.identity).measured(read - usage.cached_tokens, timings.prefill_rate)
            self._folder.learned(index.with_rates(engine.identity, rates))
        if loaded is not None:
            self._judge(name, loaded, wish, usage)

    def left(self, name: str, slot: int | None) -> None:
        engine = self._engines.get(name)
        if engine is None or slot is None or slot >= len(engine.slots):
            return
        engine.loaded.pop(slot, None)
        before = engine.slots[slot]
        held = before.held
        if held is not None:  # the prompt's beginning is still there, the reply perhaps not
            held = msgspec.structs.replace(held, tokens=held.prompt_tokens)
        engine.slots[slot] = Slot(held, max(before.busy - 1, 0), self._now())

    async def when_idle(self, name: str, address: Address) -> None:
        await self._save_all(name, address, kv.LOST_WHILE_IDLE)

    async def before_stop(self, name: str, address: Address) -> None:
        await self._save_all(name, address, 1.0)

    def gone(self, name: str) -> None:
        engine = self._engines.get(name)
        if engine is not None:
            engine.running = False
            engine.slots, engine.taken = [], []
            engine.loaded.clear()

    # What that takes.

    async def _prepare(self, name: str, engine: _Engine, address: Address, place: int, wish: Wish) -> None:
        """Save what will be lost, load what is worth it, and note whose slot it is now."""
        held = engine.slots[place].held
        own = held is not None and slots.is_of(held, wish.marks, wish.session)
        entry, _ = self._best(engine, wish.marks, self._cached(engine, place, wish.marks))
        if own or entry is not None:
            engine.went_on += 1
        else:
            engine.began += 1
        if engine.slots[place].busy > 1 or (own and entry is None):
            return
        if not own and held is not None:
            await self._save(name, engine, address, place)
        self._hold(engine, place, Held(tuple(wish.marks), len(wish.marks), session=wish.session, kept=True))
        if entry is not None:
            await self._load(name, engine, address, place, entry, wish)

    async def _load(self, name: str, engine: _Engine, address: Address, place: int, entry: Entry, wish: Wish) -> None:
        if not await self._folder.is_whole(entry):
            self._count(name, "load", "broken")
            self._folder.remove(entry)
            self._show()
            return
        try:
            moved = await slot_actions.load(address, place, entry.file)
        except SlotError as error:
            self._log.warning("engine %s: a saved cache could not be loaded: %s", name, error)
            self._count(name, "load", "failed")
            self._doubt(name, entry)
            return
        except asyncio.CancelledError:
            self._count(name, "load", "left")
            raise
        self._count(name, "load", "loaded")
        begun = min(len(entry.trail), len(wish.marks))
        self._hold(engine, place, Held(entry.trail, begun, entry.prompt_tokens, entry.tokens, wish.session, kept=True))
        engine.loaded[place] = entry
        index = self._folder.index
        rates = index.rates_of(entry.identity).has_read(entry.size_bytes, moved.seconds)
        self._folder.learned(index.with_rates(entry.identity, rates))

    async def _save_all(self, name: str, address: Address, chance_of_loss: float) -> None:
        """The largest first: who is waited for may run out of time."""
        engine = self._engines.get(name)
        if engine is None or not engine.running:
            return
        by_tokens = sorted(
            range(len(engine.slots)), key=lambda place: -(held.tokens if (held := engine.slots[place].held) else 0)
        )
        for place in by_tokens:
            if engine.running and not engine.slots[place].busy:
                await self._save(name, engine, address, place, chance_of_loss)

    async def _save(
        self, name: str, engine: _Engine, address: Address, place: int, chance_of_loss: float = 1.0
    ) -> None:
        slot = engine.slots[place]
        held, identity = slot.held, engine.identity
        if (
            held is None
            or held.kept
            or identity is None
            or not held.trail
            or not self._is_worth(engine, slot, chance_of_loss)
        ):
            return
        rates = self._folder.index.rates_of(identity)
        if not self._folder.make_room(rates.size_bytes(held.tokens)):
            self._count(name, "save", "no_room")
            return
        file = kv.file_name(identity, held.trail)
        part = self._folder.part(file)
        taken = engine.taken[place]
        try:
            moved = await slot_actions.save(address, place, part)
            # What went there meanwhile may be in the file, and what the file should hold may not.
            if engine.taken[place : place + 1] != [taken] or moved.tokens * 2 < held.prompt_tokens:
                self._count(name, "save", "overtaken")
                return
            self._wrote(moved.size_bytes)
            if not self._folder.make_room(moved.size_bytes):
                self._count(name, "save", "no_room")
                return
            tokens = max(moved.tokens, held.prompt_tokens)
            entry = Entry(
                *(file, identity, held.trail, held.prompt_tokens, tokens, moved.size_bytes),
                checksum=0,
                mtime_ns=0,
                used_at=self._clock(),
                engine=name,
            )
            rates = rates.wrote(moved.tokens, moved.size_bytes, moved.seconds)
            self._folder.learned(self._folder.index.with_rates(identity, rates))
            entry = await self._folder.keep(part, entry)
        except (SlotError, OSError) as error:
            self._count(name, "save", "failed")
            if not (isinstance(error, SlotError) and error.gone):
                self._folder.complain(str(error))
            return
        finally:
            self._folder.discard(part)
        self._count(name, "save", "saved")
        self._folder.remove(*kv.superseded(self._folder.index.entries, entry))
        self._show()
        if place < len(engine.slots) and engine.slots[place].held is held:
            self._hold(engine, place, msgspec.structs.replace(held, kept=True))

    def _is_worth(self, engine: _Engine, slot: Slot, chance_of_loss: float) -> bool:
        held, identity = slot.held, engine.identity
        assert held is not None
        assert identity is not None
        index = self._folder.index
        if index.leaves_out(identity) or not self._day_bytes or not self._folder.usable():
            return False
        kept = max(
            (entry.covers(held.trail) for entry in index.entries if entry.identity == identity),
            default=0,
        )
        rates = index.rates_of(identity)
        spent = index.written.within_a_day(self._clock())
        if spent + rates.size_bytes(held.tokens) > self._day_bytes:
            return False
        chance = kv.chance_of_return(engine.went_on, engine.began, self._now() - slot.used_at)
        return kv.is_worth_saving(held.tokens, kept, rates, chance * chance_of_loss, spent / self._day_bytes)

    def _judge(self, name: str, entry: Entry, wish: Wish, usage: Usage) -> None:
        index = self._folder.index
        match kv.verdict(entry, wish.marks, usage.cached_tokens):
            case Verdict.PROVED:
                self._count(name, "load", "proved")
                used = msgspec.structs.replace(entry, used_at=self._clock())
                entries = tuple(used if one.file == entry.file else one for one in index.entries)
                index = msgspec.structs.replace(index, entries=entries)
                self._folder.learned(index.with_doubt(entry.identity, Doubt()))
            case Verdict.DISPROVED:
                self._count(name, "load", "disproved")
                self._log.info(
                    "engine %s: it loaded a cache of %d tokens and used %d of them",
                    *(name, entry.tokens, usage.cached_tokens),
                )
                self._doubt(name, entry)
            case Verdict.OPEN:
                pass

    def _doubt(self, name: str, entry: Entry) -> None:
        """A load that spared nothing. After a few, this model with this build is left out."""
        index = self._folder.index
        doubt = Doubt(index.doubts.get(entry.identity, Doubt()).failures + 1)
        self._folder.learned(index.with_doubt(entry.identity, doubt))
        gone = [entry]
        if doubt.left_out:
            gone = [one for one in index.entries if one.identity == entry.identity]
            self._log.warning(
                "engine %s: %d loaded caches in a row were not used; of this model and build none are kept any more",
                *(name, doubt.failures),
            )
        self._folder.remove(*gone)
        self._show()

    def _best(self, engine: _Engine, trail: Sequence[int], held_tokens: int) -> tuple[Entry | None, Rates]:
        index, identity = self._folder.index, engine.identity
        if identity is None or index.leaves_out(identity):
            return None, Rates()
        rates = index.rates_of(identity)
        return kv.best(index.entries, identity, trail, held_tokens, rates), rates

    @staticmethod
    def _cached(engine: _Engine, place: int, trail: Sequence[int]) -> int:
        held = engine.slots[place].held
        return slots.cached_tokens(held.trail, held.prompt_tokens, held.tokens, trail) if held is not None else 0

    @staticmethod
    def _hold(engine: _Engine, place: int, held: Held) -> None:
        if place < len(engine.slots):
            engine.slots[place] = msgspec.structs.replace(engine.slots[place], held=held)

    def _wrote(self, size_bytes: int) -> None:
        index = self._folder.index
        self._folder.learned(msgspec.structs.replace(index, written=index.written.plus(size_bytes, self._clock())))
        self._metrics.kv_written_bytes.cell().add(size_bytes)

    def _count(self, name: str, action: str, outcome: str) -> None:
        self._metrics.kv_actions.cell(name, action, outcome).add()

    def _show(self) -> None:
        index = self._folder.index
        self._metrics.kv_bytes.cell().set(index.size_bytes)
        self._metrics.kv_written_day_bytes.cell().set(index.written.within_a_day(self._clock()))
