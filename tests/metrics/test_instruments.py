"""Counters, gauges, histograms, and the limit on their series."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.metrics.instruments import OTHER, Count, Counter, Gauge, Histogram

BOUNDS = (0.1, 1.0, 10.0)


def test_a_cell_is_the_same_object_for_the_same_labels() -> None:
    requests = Counter("requests_total", "Requests.", ("model", "status"))
    first = requests.cell("small", "200")
    first.add()
    first.add(2)
    assert requests.cell("small", "200") is first
    assert requests.cell("small", "404").value == 0
    assert first.value == 3


def test_a_gauge_goes_both_ways() -> None:
    busy = Gauge("busy", "Requests.").cell()
    busy.add()
    busy.add(-1)
    busy.set(7.5)
    assert busy.value == 7.5


def test_what_has_no_labels_is_there_from_the_start() -> None:
    assert [values for values, _ in Gauge("busy", "Requests.").series()] == [()]
    assert Gauge("busy", "Requests.", ("model",)).series() == []


def test_a_bucket_holds_what_equals_its_bound() -> None:
    cell = Histogram("wait_seconds", "Seconds.", bounds=BOUNDS).cell()
    for seconds in (0.0, 0.1, 0.11, 1.0, 10.0, 10.1, math.inf):
        cell.observe(seconds)
    assert cell.counts == [2, 2, 1, 2]


@given(st.lists(st.floats(0, 100)))
def test_every_observation_is_in_one_bucket(seconds: list[float]) -> None:
    cell = Histogram("wait_seconds", "Seconds.", bounds=BOUNDS).cell()
    for value in seconds:
        cell.observe(value)
    assert sum(cell.counts) == len(seconds)
    assert cell.sum == sum(seconds)
    assert cell.counts[0] == sum(value <= 0.1 for value in seconds)


def test_the_wrong_number_of_labels_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"requests_total has the labels \('model',\)"):
        Counter("requests_total", "Requests.", ("model",)).cell("small", "200")


def test_past_the_limit_series_share_one_called_other() -> None:
    folded = Count()
    requests = Counter("requests_total", "Requests.", ("model", "status"), limit=3, folded=folded)
    for model in "abcde":
        requests.cell(model, "200").add()
    requests.cell("a", "200").add()
    assert {values: cell.value for values, cell in requests.series()} == {
        ("a", "200"): 2,
        ("b", "200"): 1,
        ("c", "200"): 1,
        (OTHER, OTHER): 2,
    }
    assert folded.value == 2


def test_a_million_names_hold_no_more_than_the_limit() -> None:
    requests = Counter("requests_total", "Requests.", ("model",), limit=10)
    for n in range(1_000_000):
        requests.cell(str(n)).add()
    assert len(requests.series()) == 11
    assert sum(cell.value for _, cell in requests.series()) == 1_000_000
