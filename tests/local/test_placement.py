"""Which engines run: decisions told as tables, and what holds of all of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.local.placement import (
    FEW,
    Budget,
    Decision,
    Running,
    Stage,
    Wanted,
    cheapest,
    order,
    place,
)

NOW = 1000.0


def runs(name: str, size: int, **more: Any) -> Running:
    """Idle for an hour, and warm for as long."""
    return Running(name, size, **{"since": NOW - 3600, "idle_since": NOW - 3600, **more})


def asks(name: str, size: int, waiting: int = 1, ago_s: float = 0.0) -> Wanted:
    return Wanted(name, size, waiting, NOW - ago_s)


def decided(
    wanted: Sequence[Wanted], running: Sequence[Running] = (), limit: int = 100, **budget: Any
) -> tuple[tuple[str, ...], ...]:
    """What is started, stopped, closed, refused."""
    said = place(wanted, running, Budget(limit, **{"min_warm_s": 5.0, "max_wait_s": 30.0, **budget}), NOW)
    return said.start, said.stop, said.close, said.refuse


NOTHING: tuple[tuple[str, ...], ...] = ((), (), (), ())


def test_what_fits_beside_the_others_is_started() -> None:
    assert decided([asks("b", 40)], [runs("a", 60)]) == (("b",), (), (), ())
    assert decided([asks("b", 40), asks("c", 40)], [runs("a", 20)]) == (("b", "c"), (), (), ())


def test_an_idle_engine_goes_for_one_that_does_not_fit_beside_it() -> None:
    assert decided([asks("b", 50)], [runs("a", 60)]) == ((), ("a",), (), ())


def test_the_next_start_waits_until_the_memory_is_back() -> None:
    assert decided([asks("b", 50)], [runs("a", 60, stage=Stage.GOING)]) == NOTHING
    assert decided([asks("b", 50)]) == (("b",), (), (), ())


def test_memory_on_its_way_is_not_counted_twice() -> None:
    """For `b` the engine that goes is enough; for `c` another must."""
    going, idle = runs("a", 60, stage=Stage.GOING), runs("d", 40)
    assert decided([asks("b", 60, 2)], [going, idle]) == NOTHING
    assert decided([asks("b", 60, 2), asks("c", 30)], [going, idle]) == ((), ("d",), (), ())


@pytest.mark.parametrize(
    "resident",
    [runs("a", 60, leases=1), runs("a", 60, stage=Stage.COMING), runs("a", 60, since=NOW - 1)],
    ids=["serving", "loading", "just loaded"],
)
def test_an_engine_that_serves_or_loads_or_has_just_loaded_stays(resident: Running) -> None:
    assert decided([asks("b", 50)], [resident]) == NOTHING


def test_what_is_pinned_stays_and_what_fits_only_in_its_place_is_refused() -> None:
    assert decided([asks("b", 50)], [runs("a", 60, pinned=True)]) == ((), (), (), ("b",))
    assert decided([asks("b", 40)], [runs("a", 60, pinned=True), runs("c", 40)]) == ((), ("c",), (), ())


def test_what_is_larger_than_the_budget_is_refused_and_moves_nobody() -> None:
    assert decided([asks("b", 101)], [runs("a", 60)]) == ((), (), (), ("b",))


def test_who_goes_is_whose_coming_back_costs_least() -> None:
    running = [runs("a", 50, return_cost_s=3.0), runs("b", 50, return_cost_s=2.0)]
    assert decided([asks("c", 50)], running) == ((), ("b",), (), ())


def test_two_that_cost_less_than_one_go_together() -> None:
    running = [runs("a", 50, return_cost_s=9.0), runs("b", 25, return_cost_s=2.0), runs("c", 25, return_cost_s=2.0)]
    assert decided([asks("d", 50)], running) == ((), ("b", "c"), (), ())
    assert decided([asks("d", 20)], running) == ((), ("b",), (), ())


def test_the_model_with_the_most_requests_is_next() -> None:
    assert decided([asks("a", 60, 1, ago_s=9), asks("b", 60, 3, ago_s=1)]) == (("b",), (), (), ())


def test_who_has_waited_too_long_is_next_however_few() -> None:
    assert decided([asks("a", 60, 1, ago_s=31), asks("b", 60, 9, ago_s=29)]) == (("a",), (), (), ())


def test_for_who_has_waited_too_long_a_warm_engine_goes_and_a_serving_one_is_closed() -> None:
    assert decided([asks("b", 50, ago_s=30)], [runs("a", 60, since=NOW - 1)]) == ((), ("a",), (), ())
    assert decided([asks("b", 50, ago_s=30)], [runs("a", 60, leases=2)]) == ((), (), ("a",), ())
    assert decided([asks("b", 50, ago_s=30)], [runs("a", 60, leases=2), runs("c", 40, since=NOW)], limit=100) == (
        *((), (), ("a",), ()),
    )


def test_free_memory_is_kept_for_who_has_waited_too_long() -> None:
    serving = runs("a", 60, leases=1)
    assert decided([asks("b", 90, ago_s=30), asks("c", 40)], [serving]) == ((), (), ("a",), ())
    assert decided([asks("b", 90, ago_s=3), asks("c", 40)], [serving]) == (("c",), (), (), ())


def test_what_nobody_waits_for_starts_where_there_is_room_and_moves_nobody() -> None:
    assert decided([asks("b", 40, 0, ago_s=99)], [runs("a", 60)]) == (("b",), (), (), ())
    assert decided([asks("b", 50, 0, ago_s=99)], [runs("a", 60)]) == NOTHING


def test_a_model_that_goes_is_not_started_before_it_has_gone() -> None:
    assert decided([asks("a", 10)], [runs("a", 10, stage=Stage.GOING)]) == NOTHING


def test_what_the_machine_has_not_got_is_not_given_out() -> None:
    assert decided([asks("b", 40)], free_bytes=30) == NOTHING
    assert decided([asks("b", 40)], [runs("a", 20)], free_bytes=30) == ((), ("a",), (), ())


def test_when_one_has_grown_past_the_budget_idle_ones_go() -> None:
    running = [runs("a", 90, leases=1), runs("b", 20, return_cost_s=9.0, since=NOW), runs("c", 20, return_cost_s=1.0)]
    assert decided([], running) == ((), ("b", "c"), (), ())
    assert decided([], [*running[1:], runs("a", 70, leases=1)]) == ((), ("c",), (), ())
    assert decided([], [runs("a", 130, leases=1), runs("b", 10)]) == ((), ("b",), (), ())


def test_what_the_machine_needs_back_idle_ones_give() -> None:
    running = [runs("a", 30, leases=1), runs("b", 20, return_cost_s=9.0, since=NOW), runs("c", 20, return_cost_s=1.0)]
    assert decided([], running, lacking_bytes=15) == ((), ("c",), (), ())
    assert decided([], running, lacking_bytes=60) == ((), ("b", "c"), (), ())
    assert decided([], [*running, runs("d", 20, stage=Stage.GOING)], lacking_bytes=15) == NOTHING


def test_an_engine_that_is_idle_for_its_time_goes() -> None:
    idle = runs("a", 10, ttl_s=60.0, idle_since=NOW - 60)
    assert place([], [idle], Budget(100), NOW) == Decision(stop=("a",), expired=("a",))
    for change in ({"leases": 1}, {"pinned": True}, {"ttl_s": None}, {"stage": Stage.COMING}):
        assert place([], [msgspec.structs.replace(idle, **change)], Budget(100), NOW).stop == ()
    assert place([], [msgspec.structs.replace(idle, idle_since=NOW - 59)], Budget(100), NOW).again_at == NOW + 1


def test_it_says_when_time_will_change_the_decision() -> None:
    budget = Budget(100, min_warm_s=5.0, max_wait_s=30.0)
    assert place([asks("b", 50, ago_s=1)], [runs("a", 60, since=NOW - 2)], budget, NOW).again_at == NOW + 3
    assert place([asks("b", 50, ago_s=1)], [runs("a", 60, leases=1)], budget, NOW).again_at == NOW + 29
    assert place([asks("b", 50, ago_s=30)], [runs("a", 60, leases=1)], budget, NOW).again_at is None


sizes = st.integers(0, 60)
engines = st.builds(
    Running,
    st.sampled_from("abcdefgh"),
    sizes,
    st.sampled_from(Stage),
    st.integers(0, 2),
    st.booleans(),
    st.floats(NOW - 60, NOW),
    st.floats(NOW - 60, NOW),
    st.none() | st.floats(1, 60),
    st.floats(0, 100),
)
models = st.builds(Wanted, st.sampled_from("ijklmnop"), st.integers(1, 60), st.integers(0, 3), st.floats(NOW - 60, NOW))


One = TypeVar("One", Running, Wanted)


def named_once(several: list[One]) -> list[One]:
    return list({one.name: one for one in several}.values())


@given(
    st.lists(models).map(named_once), st.lists(engines).map(named_once), st.integers(0, 200), st.none() | st.integers(0)
)
def test_no_decision_exceeds_the_budget_or_takes_what_must_stay(
    wanted: list[Wanted], running: list[Running], limit: int, free: int | None
) -> None:
    said = place(wanted, running, Budget(limit, 5.0, 30.0, free), NOW)
    by_name = {one.name: one for one in running}
    sized = {one.name: one.bytes for one in wanted}
    held = sum(one.bytes for one in running)
    if said.start:
        assert held + sum(sized[name] for name in said.start) <= limit
        assert free is None or sum(sized[name] for name in said.start) <= free
    for name in (*said.stop, *said.close):
        assert by_name[name].stage is Stage.HERE
        assert not by_name[name].pinned
    assert not any(by_name[name].leases for name in said.stop)
    assert set(said.expired) <= set(said.stop)
    assert len({*said.start, *said.refuse}) == len(said.start) + len(said.refuse)
    assert len({*said.stop, *said.close}) == len(said.stop) + len(said.close)
    assert said.again_at is None or said.again_at > NOW


@given(st.lists(engines, max_size=FEW + 4).map(named_once), st.integers(0, 300))
def test_the_cheapest_choice_is_enough_and_has_none_too_many(candidates: list[Running], need: int) -> None:
    chosen = cheapest(candidates, need)
    if chosen is None:
        assert sum(one.bytes for one in candidates) < need
        return
    freed = sum(one.bytes for one in chosen)
    assert freed >= need
    assert all(freed - one.bytes < need for one in chosen if one.return_cost_s)


@given(st.lists(models))
def test_nobody_overdue_comes_after_who_is_not(wanted: list[Wanted]) -> None:
    overdue = [bool(one.waiting) and NOW - one.since >= 30 for one in order(wanted, 30.0, NOW)]
    assert overdue == sorted(overdue, reverse=True)


class Board:
    """Engines that load, serve and end as they are told, in a time of its own. Requests come from outside."""

    def __init__(self, sizes: dict[str, int], limit: int) -> None:
        self.sizes, self.limit = sizes, limit
        self.budget = Budget(limit, min_warm_s=5.0, max_wait_s=30.0)
        self.now = NOW
        self.running: dict[str, Running] = {}
        self.waiting: dict[str, list[float]] = {}
        self.done_at: dict[str, list[float]] = {}
        self.served = self.refused = self.swaps = 0

    def ask(self, name: str) -> None:
        self.waiting.setdefault(name, []).append(self.now)

    def step(self, seconds: float) -> None:
        self.now += seconds
        for name, one in list(self.running.items()):
            match one.stage:
                case Stage.COMING:
                    self.running[name] = msgspec.structs.replace(one, stage=Stage.HERE, since=self.now)
                case Stage.GOING if not one.leases:
                    del self.running[name]
                case _:
                    left = [at for at in self.done_at.get(name, []) if at > self.now]
                    if one.leases and not left:
                        self.running[name] = msgspec.structs.replace(one, leases=0, idle_since=self.now)
                    self.done_at[name] = left
        self.grant()
        self.decide()

    def grant(self) -> None:
        for name, one in self.running.items():
            if one.stage is Stage.HERE and (several := self.waiting.pop(name, [])):
                self.served += len(several)
                self.done_at.setdefault(name, []).extend(self.now + 7.0 for _ in several)
                self.running[name] = msgspec.structs.replace(one, leases=one.leases + len(several))

    def decide(self) -> None:
        wanted = [
            Wanted(name, self.sizes[name], len(several), several[0])
            for name, several in self.waiting.items()
            if several and self.running.get(name, Running("", 0)).stage is not Stage.COMING
        ]
        said = place(wanted, list(self.running.values()), self.budget, self.now)
        for name in said.stop:
            assert not self.running[name].leases
        for name in (*said.stop, *said.close):
            self.swaps += 1
            self.running[name] = msgspec.structs.replace(self.running[name], stage=Stage.GOING)
        for name in said.start:
            self.running[name] = Running(name, self.sizes[name], Stage.COMING)
        for name in said.refuse:
            self.refused += len(self.waiting.pop(name))
        assert sum(one.bytes for one in self.running.values()) <= self.limit


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 110), min_size=1),
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 3)), max_size=40),
)
def test_every_request_is_served_or_refused_while_others_keep_coming(
    sizes: dict[str, int], arrivals: list[tuple[float, int]]
) -> None:
    """One model is asked for at every step for ever; whoever else asks is served all the same."""
    board, names = Board(sizes, 100), sorted(sizes)
    for pause_s, choice in arrivals:
        board.ask(names[choice % len(names)])
        board.step(pause_s)
    for _ in range(300):
        board.ask(names[0])
        board.step(2.0)
    assert all(board.now - several[0] < 200 for several in board.waiting.values() if several)


def test_interleaved_requests_are_answered_in_groups() -> None:
    """Four callers, each with one request for one of three models at a time; one model fits."""
    chance, board = random.Random(7), Board({"a": 60, "b": 60, "c": 60}, 100)
    last, by_recency = "", 0
    while board.served < 200:
        under_way = sum(map(len, [*board.waiting.values(), *board.done_at.values()]))
        for _ in range(4 - under_way):
            name = chance.choice("abc")
            by_recency += name != last
            last = name
            board.ask(name)
        board.step(1.0)
    assert board.swaps <= by_recency * 2 / 3
