"""Every metric is lawful, and said once."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from moltbot_edge.metrics.catalogue import SECONDS, Metrics
from moltbot_edge.metrics.instruments import Family, Histogram

FAMILIES = Metrics().families()
UNITS = re.compile(
    r"\b(seconds|bytes|tokens|requests|connections|callers|comments|processes|deployments|descriptors|series|1)\b",
    re.IGNORECASE,
)


def named(family: Family[Any]) -> str:
    return family.name


def test_there_are_as_many_as_are_promised() -> None:
    assert sum(family.name.startswith("moltbot_") for family in FAMILIES) == 52
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def test_an_attribute_is_its_metrics_name() -> None:
    for attribute, family in vars(Metrics()).items():
        assert attribute == family.name.removeprefix("moltbot_").removesuffix("_total")


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_a_name_follows_the_conventions(family: Family[Any]) -> None:
    assert re.fullmatch(r"(moltbot|process)_[a-z]+(_[a-z]+)*", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert not family.name.endswith(("_count", "_sum", "_bucket", "_milliseconds", "_ms", "_kb", "_mb"))
    if isinstance(family, Histogram):
        assert family.name.endswith(("_seconds", "_ratio"))


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_help_is_a_sentence_with_its_unit(family: Family[Any]) -> None:
    assert family.help.endswith((".", "..."))
    assert UNITS.search(family.help)


@pytest.mark.parametrize("family", FAMILIES, ids=named)
def test_labels_are_lawful_and_not_taken(family: Family[Any]) -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in family.labels)
    assert not {"le", "quantile", "instance", "job"} & set(family.labels)
    assert len(set(family.labels)) == len(family.labels)


def test_bounds_rise_from_a_cached_answer_to_a_board_that_reads_for_minutes() -> None:
    assert all(low < high for low, high in pairwise(SECONDS))
    assert (SECONDS[0], SECONDS[-1]) == (0.005, 600.0)


def test_two_gateways_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.pings.cell().add()
    assert two.pings.cell().value == 0


def test_what_the_limit_folds_is_counted() -> None:
    metrics = Metrics(series_limit=2)
    for status in ("200", "404", "500", "503"):
        metrics.requests.cell("openai-chat", "small", status).add()
    assert metrics.metrics_series_dropped.cell().value == 2
