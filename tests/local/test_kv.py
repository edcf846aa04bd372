"""Which caches are saved, loaded, believed and let go."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.core.prefixes import trail
from moltbot_edge.local.kv import (
    HOUR_S,
    KEPT_IDENTITIES,
    MIB,
    Doubt,
    Entry,
    Index,
    Rates,
    Verdict,
    Written,
    best,
    chance_of_return,
    file_name,
    is_worth_saving,
    leaving,
    left_behind,
    superseded,
    verdict,
)

PI = Rates(bytes_per_token=34_000, prefill=12.0, write=20e6, read=40e6)  # a 1B model on a Pi 4 with a card
NOW = 1_795_000_000.0


def said(*messages: str) -> tuple[int, ...]:
    return trail([message.encode() for message in messages])


def entry(*messages: str, size_bytes: int = 64 * MIB, tokens: int = 2000, age_s: float = 0.0, of: str = "me") -> Entry:
    file = file_name(of, said(*messages))
    return Entry(file, of, said(*messages), tokens - 100, tokens, size_bytes, 0, 0, NOW - age_s)


def test_a_long_prompt_on_a_slow_board_is_worth_a_file() -> None:
    assert is_worth_saving(2000, 0, PI, 0.5, 0.0)


def test_what_is_read_again_in_no_time_is_not() -> None:
    jetson = Rates(bytes_per_token=147_456, prefill=480.0, write=200e6, read=400e6)
    assert not is_worth_saving(500, 0, jetson, 0.5, 0.0)
    assert not is_worth_saving(50, 0, PI, 0.5, 0.0)


def test_a_conversation_that_hardly_comes_back_is_not() -> None:
    assert not is_worth_saving(2000, 0, PI, 0.01, 0.0)


def test_what_a_file_holds_already_is_not_worth_another() -> None:
    assert not is_worth_saving(2000, 1950, PI, 0.9, 0.0)
    assert not is_worth_saving(2100, 2000, PI, 0.3, 0.0)
    assert is_worth_saving(4000, 2000, PI, 0.5, 0.0)


def test_the_less_may_still_be_written_the_dearer_it_is() -> None:
    assert is_worth_saving(2000, 1500, PI, 0.5, 0.9)
    assert not is_worth_saving(2000, 1500, PI, 0.5, 0.99)
    assert not is_worth_saving(2000, 0, PI, 1.0, 1.0)


def test_an_engine_that_never_saved_does_it_once_to_know_what_it_takes() -> None:
    assert is_worth_saving(300, 0, Rates(prefill=5000.0), 0.5, 0.0)
    assert not is_worth_saving(100, 0, Rates(prefill=5000.0), 0.5, 0.0)


def test_a_chance_is_counted_and_fades() -> None:
    assert chance_of_return(0, 0) == 0.5
    assert chance_of_return(8, 0) == 0.9
    assert chance_of_return(0, 8) == pytest.approx(0.1)
    assert chance_of_return(0, 0, idle_s=3600.0) == 0.25


def test_the_file_that_spares_most_is_loaded() -> None:
    start, more, other = entry("s", "q"), entry("s", "q", "a", "r", tokens=3000), entry("s", "x", tokens=4000)
    wanted = said("s", "q", "a", "r", "b", "t")
    assert best([start, more, other], "me", wanted, 0, PI) == more
    assert best([start, other], "me", wanted, 0, PI) == start


def test_nothing_is_loaded_where_the_slot_has_it_or_reading_is_quicker() -> None:
    one = entry("s", "q")
    wanted = said("s", "q", "a", "r")
    assert best([one], "me", wanted, 1980, PI) is None
    assert best([one], "me", wanted, 0, Rates(prefill=5000.0, read=20e6)) is None
    assert best([one], "me", said("else"), 0, PI) is None


def test_another_engines_file_is_never_loaded() -> None:
    assert best([entry("s", "q", of="another build")], "me", said("s", "q", "a"), 0, PI) is None


def test_a_file_is_named_after_all_that_decides_what_is_in_it() -> None:
    names = {file_name(of, said(*messages)) for of in ("me", "you") for messages in (("s",), ("s", "q"), ("t", "q"))}
    assert len(names) == 6
    assert file_name("me", said("s", "q")) == file_name("me", said("s", "q"))


def test_a_later_state_of_a_conversation_stands_for_the_earlier_ones() -> None:
    start, fork, other = entry("s", "q"), entry("s", "q", "a", "x"), entry("s", "q", of="you")
    later = entry("s", "q", "a", "r")
    assert superseded([start, fork, other, later], later) == [start]


def test_room_is_made_by_what_is_worth_least() -> None:
    old, young, short = entry("a", age_s=48 * HOUR_S), entry("b"), entry("c", tokens=200)
    index = Index((young, old, short), rates={"me": PI})
    assert leaving(index, 64 * MIB, 256 * MIB, NOW) == []
    assert leaving(index, 64 * MIB, 192 * MIB, NOW) == [short]
    assert leaving(index, 64 * MIB, 128 * MIB, NOW) == [short, old]
    assert leaving(index, 64 * MIB, 32 * MIB, NOW) is None


@given(st.lists(st.integers(1, 100 * MIB), max_size=20), st.integers(1, 100 * MIB), st.integers(1, 200 * MIB))
def test_the_folder_never_holds_more_than_its_limit(sizes: list[int], need: int, limit: int) -> None:
    entries = tuple(entry(str(number), size_bytes=size) for number, size in enumerate(sizes))
    while sum(one.size_bytes for one in entries) > limit:
        entries = entries[1:]
    index = Index(entries)
    gone = leaving(index, need, limit, NOW)
    if gone is None:
        assert need > limit
    else:
        assert index.without(gone).size_bytes + need <= limit


def test_a_load_is_believed_when_a_reply_proves_it() -> None:
    one = entry("s", "q", tokens=2000)
    wanted = said("s", "q", "a", "r")
    assert verdict(one, wanted, 1990) is Verdict.PROVED
    assert verdict(one, wanted, 0) is Verdict.DISPROVED
    assert verdict(one, wanted, 3) is Verdict.DISPROVED
    assert verdict(one, wanted, 600) is Verdict.OPEN


def test_two_loads_in_a_row_that_spared_nothing_leave_an_engine_out() -> None:
    index = Index().with_doubt("me", Doubt(1))
    assert not index.leaves_out("me")
    index = index.with_doubt("me", Doubt(2))
    assert index.leaves_out("me")
    assert not index.leaves_out("you")


def test_what_was_written_counts_for_a_day() -> None:
    written = Written().plus(100, NOW).plus(50, NOW + 60).plus(7, NOW + 5 * HOUR_S)
    assert written.within_a_day(NOW + 5 * HOUR_S) == 157
    assert written.within_a_day(NOW + 25 * HOUR_S) == 7
    assert written.within_a_day(NOW + 40 * HOUR_S) == 0


def test_a_board_without_a_clock_forgets_nothing_that_it_wrote_today() -> None:
    """It starts in 1970, or a little in the past, and learns the time later."""
    written = Written().plus(100, 60.0)
    assert written.within_a_day(120.0) == 100
    assert written.plus(5, NOW).within_a_day(NOW) == 5
    assert Written().plus(100, NOW).within_a_day(NOW - 2 * HOUR_S) == 100


@given(st.lists(st.tuples(st.floats(0, 4e9), st.integers(0, 2**40)), max_size=60))
def test_the_account_of_a_day_stays_small(writes: list[tuple[float, int]]) -> None:
    written = Written()
    for now, size in writes:
        written = written.plus(size, now)
    assert len(written.hours) <= 49


def test_what_is_known_of_engines_that_are_long_gone_is_forgotten() -> None:
    index = Index()
    for number in range(KEPT_IDENTITIES + 10):
        index = index.with_rates(str(number), PI)
    assert len(index.rates) == KEPT_IDENTITIES
    assert index.rates_of("0") == Rates()


def test_rates_follow_what_is_measured() -> None:
    rates = Rates().measured(1000, 40.0).measured(10, 999.0).measured(1000, 0.0)
    assert rates.prefill == 40.0
    assert rates.measured(1000, 50.0).prefill == pytest.approx(43.0)
    assert rates.wrote(1000, 34_000_000, 1.0).size_bytes(2000) == 68_000_000
    assert rates.has_read(40_000_000, 1.0).read_s(80_000_000) == 2.0


def test_the_index_is_the_same_when_it_was_written_and_read() -> None:
    index = Index((entry("s"),), Written().plus(5, NOW), {"me": PI}, {"me": Doubt(1)})
    assert msgspec.json.decode(msgspec.json.encode(index), type=Index) == index


def test_what_an_engine_of_a_name_left_behind_is_found_without_knowing_which_it_is() -> None:
    short, long = (
        replace(entry(*said, tokens=tokens), engine="small") for said, tokens in ((("a",), 500), (("a", "b"), 900))
    )
    other = replace(entry("a", "b", "c", tokens=2000), engine="big")
    assert left_behind((short, long, other), "small", said("a", "b", "c")) == long
    assert left_behind((short, long, other), "small", said("x")) is None
    assert left_behind((short, long, other), "gone", said("a", "b")) is None
