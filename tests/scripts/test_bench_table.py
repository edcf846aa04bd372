"""The benchmark's table: medians, ratios within rounds, what is marked, what is judged."""

from __future__ import annotations

import pytest
from benchmark.figures import Absent, Direct, Figure, Measured, Middle, Row, Samples, middle, ratio
from benchmark.machine import Machine
from benchmark.table import COLUMNS, FORM_COLUMNS, MB, budgets, heading, notes, short, table, verdicts
from benchmark.talks import LENGTHS

IDLE_BOARD = Machine("a board", "x86_64", 4, "6.12", "3.13", 0.1, own_loopback=True)
DIRECT = Direct(rate=50_000, p50_us=30, p99_us=90, first_event_p50_ms=0.2)


def measured(name: str, **samples: Samples) -> Measured:
    return Measured(name, "1.0", {Figure[figure]: values for figure, values in samples.items()})


def cells(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(name)).split()


def test_the_middle_is_the_median_and_the_spread_half_the_range() -> None:
    assert middle((90.0, 100.0, 130.0)) == Middle(100.0, 0.2)


def test_a_single_sample_has_no_spread() -> None:
    found = middle((4.0,))
    assert found is not None
    assert found.spread is None


def test_rounds_that_gave_nothing_are_left_out() -> None:
    found = middle((None, 2.0, None))
    assert found is not None
    assert found.value == 2.0
    assert middle((None, None)) is None


def test_a_ratio_compares_within_each_round() -> None:
    # The machine was three times slower in the second round, for both.
    assert ratio((40.0, 120.0, 44.0), (80.0, 240.0, 88.0)) == 0.5


def test_a_ratio_skips_a_round_that_either_has_lost() -> None:
    assert ratio((40.0, None, 30.0), (80.0, 90.0, None)) == 0.5
    assert ratio((40.0,), (None,)) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(33_766.4, "33,766"), (103.7, "104"), (99.97, "100"), (52.66, "52.7"), (9.996, "10.0"), (0.706, "0.71")],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert short(value) == text


def test_the_lowest_cost_and_the_highest_rate_are_marked() -> None:
    ours = measured("ours", CPU_PER_REQUEST=(40.0,), RATE=(20_000.0,), BUSY=(1.0,))
    go = measured("go", CPU_PER_REQUEST=(70.0,), RATE=(12_000.0,), BUSY=(1.0,))
    text = table([ours, go], "go")
    assert cells(text, "ours")[1:4] == ["40.0*", "0.57", "20,000*"]
    assert cells(text, "go")[1:4] == ["70.0", "1.00", "12,000"]


def test_nothing_is_best_alone() -> None:
    assert "*" not in table([measured("ours", CPU_PER_REQUEST=(40.0,))], "go")


def test_a_rate_that_the_load_limited_is_a_lower_bound() -> None:
    text = table([measured("quick", RATE=(30_000.0,), BUSY=(0.5,))], "go")
    assert ">30,000" in text


def test_without_go_there_are_no_ratios() -> None:
    assert cells(table([measured("ours", CPU_PER_REQUEST=(40.0,))], "go"), "ours")[2] == "-"


def test_a_target_that_is_not_there_says_why_in_its_place() -> None:
    rows: list[Row] = [measured("ours", START=(90.0,)), Absent("nginx", "not installed"), measured("go", START=(5.0,))]
    lines = table(rows, "go").splitlines()[2:]
    assert [line.split()[0] for line in lines] == ["ours", "nginx", "go"]
    assert lines[1].endswith("not installed")


def test_columns_stay_in_line_below_a_long_name_that_is_absent() -> None:
    rows: list[Row] = [Absent("a-very-long-name", "not here"), measured("go", START=(5.0,))]
    heading_line, _, absent, go = table(rows, "go").splitlines()
    assert heading_line.rindex("start") + len("start") == len(go)
    assert absent == "a-very-long-name  not here"


def test_a_table_of_absent_targets_is_still_a_table() -> None:
    assert "not in --quick" in table([Absent("litellm", "not in --quick")], "go")


def test_a_crowds_answers_are_counted_as_served_refused_and_other() -> None:
    row = Measured("ours", "1.0", {}, {"200": 1_400, "503": 90, "502": 7, "failed": 3})
    assert "1400/90/10" in table([row], "go")


def test_every_figure_is_a_column_or_a_budgets_or_belongs_to_the_json_alone() -> None:
    judged = {Figure.CPU_PER_TRANSLATED, Figure.BYTES_PER_TURN, Figure.BYTES_PER_READ, *LENGTHS.values()}
    noted = {Figure.CPU_PER_TURN_ALONE, Figure.DISK_BYTES_PER_TURN}
    shown = {column.best for column in COLUMNS if column.best} | judged | noted
    assert set(Figure) - shown == {Figure.BUSY, Figure.IDLE_PSS, Figure.BINARY}


def test_budgets_are_judged_against_go_in_the_same_run() -> None:
    ours = measured("ours", CPU_PER_REQUEST=(60.0, 90.0), CPU_PER_EVENT=(11.0, 11.0), PEAK_RSS=(90.0 * MB,))
    go = measured("go", CPU_PER_REQUEST=(80.0, 120.0), CPU_PER_EVENT=(10.0, 10.0))
    request, event, _, latency, *_ = verdicts(ours, go, "x86_64").splitlines()
    assert request.endswith("0.75 of Go's  ok")
    assert event.endswith("1.10 of Go's  OVER")
    assert latency.endswith("not measured")


def test_a_translated_event_is_judged_against_a_relayed_one_in_the_same_round() -> None:
    ours = measured("ours", CPU_PER_EVENT=(10.0, 20.0), CPU_PER_TRANSLATED=(25.0, 50.0))
    line = next(line for line in verdicts(ours, None, "x86_64").splitlines() if "translated" in line)
    assert line.endswith("2.50 relayed  ok")


def test_a_sessions_turn_is_judged_by_what_it_costs_over_the_relay_and_by_what_is_written() -> None:
    ours = measured("ours", CPU_PER_TURN_1=(140.0, 150.0, 190.0), BYTES_PER_TURN=(8_200.0,), BYTES_PER_READ=(0.0,))
    said = {line[:44].strip(): line for line in verdicts(ours, None, "x86_64").splitlines()}
    assert said["CPU of a session's turn over the relay, 1 be"].endswith("150 us       ok")
    assert said["bytes written per turn of 1 KiB, one caller"].endswith("8,200 B        OVER")
    assert said["bytes written per read of a session"].endswith("0.00 B        ok")


def test_a_run_from_source_is_not_judged_by_the_binarys_memory() -> None:
    from_source = measured("ours", IDLE_RSS=(40.0 * MB,))
    built = measured("ours", IDLE_RSS=(40.0 * MB,), BINARY=(15.0 * MB,))
    line = next(line for line in verdicts(from_source, None, "x86_64").splitlines() if line.startswith("idle"))
    assert line.endswith("from source; the budget is the binary's")
    line = next(line for line in verdicts(built, None, "x86_64").splitlines() if line.startswith("idle"))
    assert line.endswith("OVER")


def test_a_board_has_longer_to_start() -> None:
    limits = {architecture: budgets(architecture) for architecture in ("x86_64", "aarch64")}
    start = {name: next(b.limit for b in found if b.what.startswith("start")) for name, found in limits.items()}
    assert start == {"x86_64": 150, "aarch64": 2_000}


def test_a_busy_machine_is_said_to_have_been_busy() -> None:
    assert "not idle" not in heading(IDLE_BOARD, 0.02, [])
    assert "not idle" in heading(IDLE_BOARD, 0.4, [])


def test_what_went_wrong_is_told_below_the_table() -> None:
    row = Measured("ferrogw", "1.5", {}, troubles=("posts answered otherwise: 515 with 504",))
    assert "! ferrogw: posts answered otherwise: 515 with 504" in notes([row], DIRECT)


def test_a_form_shows_its_least_start_beside_the_median() -> None:
    ours = measured("static", START=(140.0, 90.0, 100.0), BINARY=(15.5 * MB,))
    text = table([ours, measured("source", START=(210.0, 190.0, 200.0))], "go", FORM_COLUMNS)
    assert cells(text, "static")[1:5] == ["15.5", "90.0", "100", "±25%*"]
    assert cells(text, "source")[1:5] == ["-", "190", "200", "±5%"]
