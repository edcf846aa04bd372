"""The simulation of docs/routing.md: the same every time, and what the page says of it."""

from __future__ import annotations

import random
import re
from pathlib import Path
from statistics import fmean, quantiles

import pytest
from simulation.__main__ import policies
from simulation.course import first_token_times, power_of_two
from simulation.fleets import FLEETS, TALKING
from simulation.machine import Job, Machine

from moltbot_edge.api import Candidate, Deployment, RouteQuery, Standing, Upstream
from moltbot_edge.kernel.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "routing.md"
_BESIDE_OTHERS = PAGE.read_text().partition("## What it comes to")[2].partition("With `--hedged`")[0]
ROWS = {
    cells[1].strip(): [tuple(map(float, cell.replace("*", "").split(" / "))) for cell in cells[2:-1]]
    for cells in (line.split("|") for line in _BESIDE_OTHERS.splitlines())
    if re.match(r"\| (two|three)", "|".join(cells))
}


def test_the_page_has_every_fleet_and_fastest_is_best_of_the_unequal_and_near_it_of_the_equal() -> None:
    assert list(ROWS) == list(FLEETS)
    for name, (fastest, *others) in ROWS.items():
        for place in (0, 1):  # the mean, and the 99th percentile
            best = min(other[place] for other in others)
            assert fastest[place] < best if name != "two equal" else fastest[place] <= 1.02 * best


@pytest.mark.parametrize("name", FLEETS)
def test_one_seed_shows_what_the_ten_of_the_page_do(name: str) -> None:
    by = {called: first_token_times(FLEETS[name], policy, 1) for called, policy in policies().items()}
    fastest = by.pop("fastest")
    assert fmean(fastest) <= 1.02 * min(map(fmean, by.values()))
    assert quantiles(fastest, n=100)[98] <= 1.1 * min(quantiles(times, n=100)[98] for times in by.values())


def test_a_seed_gives_the_same_times_again_and_another_gives_others() -> None:
    fleet, policy = FLEETS["two equal"], policies()["fastest"]
    assert first_token_times(fleet, policy, 1) == first_token_times(fleet, policy, 1)
    assert first_token_times(fleet, policy, 1) != first_token_times(fleet, policy, 2)


def test_hedging_cuts_the_tail_of_a_fleet_in_which_one_stalls_within_its_budget() -> None:
    fleet, policy = FLEETS["three, one of them stalls"], policies()["least-busy"]
    plain, hedged = first_token_times(fleet, policy, 1), first_token_times(fleet, policy, 1, hedged=True)
    assert len(hedged) == len(plain)
    assert sorted(hedged)[-20] < sorted(plain)[-20]


def test_a_loser_is_forgotten_where_nobody_waits_behind_it() -> None:
    quiet = random.Random(1)
    job = Job(0.0, b"", 400, 41)
    machine = Machine("m")
    first, second = machine.answer(job, quiet, 0.0), machine.answer(job, quiet, 0.5)
    machine.cancel(first, 1.0)
    assert machine.free_at == second.end
    machine.cancel(second, 1.0)
    assert machine.free_at == first.end


def answered(machine: Machine, *jobs: Job) -> list[float]:
    quiet = random.Random()
    quiet.lognormvariate = lambda mu, sigma: 1.0  # type: ignore[method-assign]
    return [round(machine.answer(job, quiet, job.at).first_token, 3) for job in jobs]


def test_a_machine_answers_one_after_another() -> None:
    job = Job(0.0, b"", 400, 41)
    assert answered(Machine("m"), job, job) == [1.075, 3.15]


def test_a_machine_that_stalls_goes_on_where_it_was() -> None:
    assert answered(Machine("m", stalls=[(0.5, 30.5)]), Job(0.0, b"", 400, 41)) == [31.075]
    assert answered(Machine("m", stalls=[(0.5, 30.5)]), Job(10.0, b"", 400, 41)) == [31.575]
    assert answered(Machine("m", stalls=[(0.5, 30.5)]), Job(31.0, b"", 400, 41)) == [32.075]


def test_a_machine_that_keeps_a_conversation_reads_what_is_new() -> None:
    first, second = Job(0.0, b"", 400, 41, 7), Job(100.0, b"", 841, 41, 7)
    assert answered(Machine("m", keeps=1), first, second) == [1.075, 101.075]
    other = Job(50.0, b"", 400, 41, 8)
    assert answered(Machine("m", keeps=1), first, other, second)[2] == pytest.approx(102.1775, abs=0.001)


def test_power_of_two_draws_every_pair_alike_and_takes_the_less_busy() -> None:
    fleet = [
        Candidate(Deployment(name, Upstream(name, "http", name, 80, "/v1"), "m"), Standing(in_flight=busy))
        for name, busy in (("a", 0), ("b", 1), ("c", 2))
    ]
    firsts = [power_of_two(fleet, RouteQuery("m", chance=i / 300))[0].deployment.name for i in range(300)]
    assert [firsts.count(name) for name in "abc"] == [200, 100, 0]


@pytest.mark.parametrize("policy", ["round-robin", "least-busy", "weighted"])
@pytest.mark.parametrize("name", TALKING)
def test_who_only_spreads_is_the_sooner_where_conversations_are_kept(policy: str, name: str) -> None:
    of = Registry().build("policy", policy)
    kept, not_kept = (fmean(first_token_times(TALKING[name], of, 1, kept=one)) for one in (True, False))
    assert kept < not_kept * 0.75


def test_the_page_has_what_a_kept_conversation_gains() -> None:
    rows = re.findall(
        r"^\| ([\w ,]+) \| ([\w-]+) \| ([\d.]+) / [\d.]+ \| ([\d.]+) / [\d.]+ \|$", PAGE.read_text(), re.M
    )
    assert {name for name, *_ in rows} == set(TALKING)
    for _, policy, not_kept, kept in rows:
        assert float(kept) <= float(not_kept) * (1.02 if policy == "fastest" else 0.6)
