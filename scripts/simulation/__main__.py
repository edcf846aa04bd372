"""All runs with the recorded seeds, as one table on standard output."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence

from moltbot_edge.api import Policy
from moltbot_edge.kernel.registry import Registry

from .course import first_token_times, power_of_two
from .fleets import FLEETS, TALKING, Fleet

SEEDS = range(1, 11)


def policies() -> Mapping[str, Policy]:
    registry = Registry()
    built_in = {name: registry.build("policy", name) for name in ("fastest", "round-robin", "least-busy")}
    return {**built_in, "power of two": power_of_two}


def figures(fleet: Fleet, policy: Policy, *, hedged: bool = False, kept: bool = False) -> tuple[float, float]:
    """Mean and 99th percentile of the seconds to the first token, over all seeds' requests."""
    times = [time for seed in SEEDS for time in first_token_times(fleet, policy, seed, hedged=hedged, kept=kept)]
    return statistics.fmean(times), statistics.quantiles(times, n=100)[98]


def _of_sessions() -> None:
    registry = Registry()
    print("| fleet | policy | not kept | kept |")
    print("|---|---|---|---|")
    for fleet in TALKING.values():
        for name in ("fastest", "round-robin", "least-busy", "weighted"):
            policy = registry.build("policy", name)
            cells = [
                f"{mean:.2f} / {high:.1f}" for mean, high in (figures(fleet, policy, kept=k) for k in (False, True))
            ]
            print(f"| {fleet.name} | {name} | {cells[0]} | {cells[1]} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="The router's policies beside each other on simulated fleets, as a table."
    )
    parser.add_argument(
        "--engine", action="store_true", help="instead, its predictions beside a real llama-server: a few minutes"
    )
    parser.add_argument(
        "--hedged", action="store_true", help="instead, with a second machine asked where the first is late"
    )
    parser.add_argument(
        "--sessions", action="store_true", help="instead, conversations that go on: not kept here, and kept"
    )
    options = parser.parse_args(arguments)
    if options.engine:
        from . import engine

        print(engine.table())
        return 0
    if options.sessions:
        _of_sessions()
        return 0
    names = list(policies())
    print("| fleet | " + " | ".join(names) + " |")
    print("|---|" + "---|" * len(names))
    for fleet in FLEETS.values():
        row = []
        for policy in policies().values():
            mean, high = figures(fleet, policy, hedged=options.hedged)
            row.append(f"{mean:.2f} / {high:.1f}")
        print(f"| {fleet.name} | " + " | ".join(row) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
