"""What Prometheus reads is what was counted."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.metrics.exposition import PIECE_BYTES, pieces
from moltbot_edge.metrics.instruments import Counter, Family, Gauge, Histogram

VALUES = st.text(st.characters(exclude_categories=["Cs"]))


def text(*families: Family[Any]) -> str:
    return b"".join(pieces(families)).decode()


def samples(*families: Family[Any]) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text(*families))
        for sample in family.samples
    }


def test_a_counter_and_a_gauge_as_they_are_written() -> None:
    requests = Counter("requests_total", "Requests, by model.", ("model", "status"))
    requests.cell("small", "200").add(3)
    busy = Gauge("busy", "Requests.")
    busy.cell().set(0.25)
    assert text(requests, busy) == (
        "# HELP requests_total Requests, by model.\n"
        "# TYPE requests_total counter\n"
        'requests_total{model="small",status="200"} 3\n'
        "# HELP busy Requests.\n"
        "# TYPE busy gauge\n"
        "busy 0.25\n"
    )


def test_a_histogram_is_cumulative_to_infinity() -> None:
    wait = Histogram("wait_seconds", "Seconds.", ("model",), bounds=(0.5, 2))
    for seconds in (0.25, 0.5, 1.0, 100.0):
        wait.cell("small").observe(seconds)
    assert text(wait).splitlines()[2:] == [
        'wait_seconds_bucket{model="small",le="0.5"} 2',
        'wait_seconds_bucket{model="small",le="2.0"} 3',
        'wait_seconds_bucket{model="small",le="+Inf"} 4',
        'wait_seconds_sum{model="small"} 101.75',
        'wait_seconds_count{model="small"} 4',
    ]


def test_a_histogram_without_labels() -> None:
    wait = Histogram("wait_seconds", "Seconds.", bounds=(1,))
    wait.cell().observe(2)
    assert text(wait).splitlines()[2:] == [
        'wait_seconds_bucket{le="1.0"} 0',
        'wait_seconds_bucket{le="+Inf"} 1',
        "wait_seconds_sum 2.0",
        "wait_seconds_count 1",
    ]


@given(st.dictionaries(st.tuples(VALUES, VALUES), st.integers(0, 2**53), max_size=5))
def test_any_label_is_read_as_it_was_written(counted: dict[tuple[str, str], int]) -> None:
    requests = Counter("requests_total", "Requests.", ("model", "path"))
    for labels, n in counted.items():
        requests.cell(*labels).add(n)
    assert samples(requests) == {("requests_total", labels): n for labels, n in counted.items()}


def test_half_a_surrogate_spoils_nothing_but_itself() -> None:
    requests = Counter("requests_total", "Requests.", ("model",))
    requests.cell("a\ud800b").add()
    assert samples(requests) == {("requests_total", ("a?b",)): 1}


def test_help_is_one_line() -> None:
    (family,) = text_string_to_metric_families(text(Gauge("busy", 'Two\nlines, a \\ and a "quote".')))
    assert family.documentation == 'Two\nlines, a \\ and a "quote".'


@given(st.floats())
def test_any_number_is_read_as_it_was_set(value: float) -> None:
    level = Gauge("level", "1.")
    level.cell().set(value)
    (read,) = samples(level).values()
    assert read == value or (math.isnan(read) and math.isnan(value))


def test_the_whole_catalogue_is_read() -> None:
    metrics = Metrics()
    for family in metrics.families():
        family.cell(*family.labels)
    read = {(family.name, family.type): family for family in text_string_to_metric_families(text(*metrics.families()))}
    # The parser names a counter without its _total.
    assert set(read) == {(family.name.removesuffix("_total"), family.kind) for family in metrics.families()}
    assert all(family.samples and family.documentation for family in read.values())


def test_many_series_come_in_small_pieces() -> None:
    wait = Histogram("wait_seconds", "Seconds.", ("model",), bounds=range(16))
    for n in range(1000):
        wait.cell(f"model-{n}").observe(n)
    written = list(pieces([wait]))
    assert len(written) > 10
    assert max(len(piece) for piece in written) < PIECE_BYTES + 2048
    assert len(samples(wait)) == 1000 * (16 + 3)


def test_a_series_that_begins_while_it_is_read_does_no_harm() -> None:
    wait = Histogram("wait_seconds", "Seconds.", ("model",), bounds=range(16))
    for n in range(100):
        wait.cell(f"model-{n}").observe(n)
    written = b""
    for n, piece in enumerate(pieces([wait])):
        wait.cell(f"late-{n}").observe(1)
        written += piece
    for family in text_string_to_metric_families(written.decode()):
        assert len(family.samples) == 100 * (16 + 3)
