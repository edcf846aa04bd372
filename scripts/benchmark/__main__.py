"""The command line: what to measure, then one table on standard output; progress goes to standard error."""

from __future__ import annotations

import argparse
import dataclasses
import fcntl
import json
import os
import platform
import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import machine, network, table
from .figures import Absent, Direct, Measured, Row
from .machine import Machine
from .measure import Cores
from .parts import Cache, Part, PartMissing
from .rounds import Bench, Plan
from .targets import GO, OURS, PEERS, ROOT, Target, forms, gateway

EXAMPLES = """\
  scripts/bench --quick                    under two minutes, once its parts are brought
  scripts/bench --only moltbot-edge,go     while working on the relay
  scripts/bench --json today.json          everything, with all samples in a file
  scripts/bench --forms                    source, static, PyInstaller, Nuitka: twenty starts of each
  scripts/bench --engines                  models of this board: a swap, a warm switch, memory as foretold; minutes
  scripts/bench --decisions                what the router's policies cost, with 2 to 1,000 deployments: ten seconds
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.decisions:
        from . import decisions  # all else here runs without the gateway's modules

        print(decisions.table())
        return 0
    if options.engines:
        return _engines(options.quick, options.json)
    here_is = platform.machine()
    everything = forms(options.forms, here_is) if options.forms else (gateway(options.binary), *PEERS)
    chosen = _chosen(everything, options.only)
    progress = Progress()
    cache = Cache(ROOT / ".cache/bench", progress.announce)
    with _alone(cache.folder):
        try:
            loadgen = cache.loadgen()
        except PartMissing as reason:
            print(f"scripts/bench cannot make its load generator: {reason}", file=sys.stderr)
            return 1
        brought, absent = _bring(chosen, cache, quick=options.quick and not options.only)
        rows, direct, here, elsewhere = _measure(options.plan, brought, absent, loadgen, progress.step)
    progress.clear()
    columns = table.FORM_COLUMNS if options.forms else table.COLUMNS
    in_order = [next(row for row in rows if row.name == target.name) for target in chosen]
    _print(in_order, direct, here, elsewhere, columns, judged="static" if options.forms else OURS)
    if options.json:
        _write(options.json, rows, direct, here, elsewhere)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="This gateway beside other proxies, in one run, over the same stub upstream: one table.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, without the slow peers")
    parser.add_argument(
        "--only", metavar="NAME,...", default="", help="of: " + ", ".join((OURS, *(p.name for p in PEERS)))
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--binary", type=Path, metavar="FILE", help="measure this built gateway instead of the source")
    which.add_argument(
        "--forms",
        type=Path,
        nargs="?",
        const=ROOT / "dist",
        metavar="FOLDER",
        help="no peers: this gateway from source and in each form that scripts/build left in FOLDER (dist)",
    )
    which.add_argument("--decisions", action="store_true", help="no targets: what a decision of the router costs")
    which.add_argument("--engines", action="store_true", help="no targets: what swaps of real models cost")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    for name, kind, meaning in (
        ("rounds", int, "turns that each target gets"),
        ("starts", int, "times that each target is started"),
        ("clients", int, "that post at once"),
    ):
        parser.add_argument(f"--{name}", type=kind, metavar="N", help=meaning)
    parser.add_argument("--seconds", type=float, metavar="S", help="of each kind of load, in each turn")
    options = parser.parse_args(arguments)
    plan = Plan.of_forms() if options.forms else Plan.quick() if options.quick else Plan()
    counts = {name: getattr(options, name) for name in ("rounds", "starts", "clients") if getattr(options, name)}
    times = dict.fromkeys(("relay_s", "latency_s", "stream_s"), options.seconds) if options.seconds else {}
    options.plan = dataclasses.replace(plan, **counts, **times)
    return options


def _engines(quick: bool, file: Path | None) -> int:
    import msgspec  # as above: with the gateway's own
    import parts
    from swapping import __main__ as swaps
    from swapping import switches

    here, elsewhere = Machine.here(own_loopback=False), machine.Elsewhere()
    try:
        engine = str(parts.engine(os.environ.get("MOLTBOT_EDGE_ENGINES_COMMAND")))
        with tempfile.TemporaryDirectory(prefix="bench-engines-") as folder:
            found = swaps.switched(engine, Path(folder), 6 if quick else 24)
    except parts.Unobtainable as error:
        print(error, file=sys.stderr)
        return 1
    used = elsewhere.share()
    print(table.heading(here, used, ()), switches.table(found), sep="\n\n")
    if file is not None:
        file.write_bytes(
            msgspec.json.encode({"machine": dataclasses.asdict(here), "used_elsewhere": used, "found": found})
        )
    return 0


def _chosen(everything: Sequence[Target], only: str) -> list[Target]:
    names = [name for name in only.split(",") if name]
    unknown = [name for name in names if name not in {target.name for target in everything}]
    if unknown:
        there_is = ", ".join(target.name for target in everything)
        raise SystemExit(f"scripts/bench: no target named {', '.join(unknown)}; there is: {there_is}")
    return [target for target in everything if not names or target.name in names]


def _bring(chosen: Sequence[Target], cache: Cache, *, quick: bool) -> tuple[list[tuple[Target, Part]], list[Row]]:
    brought: list[tuple[Target, Part]] = []
    absent: list[Row] = []
    for target in chosen:
        if quick and target.slow:
            absent.append(Absent(target.name, "not in --quick"))
            continue
        try:
            brought.append((target, target.bring(cache)))
        except PartMissing as reason:
            absent.append(Absent(target.name, str(reason)))
    return brought, absent


def _measure(
    plan: Plan,
    brought: Sequence[tuple[Target, Part]],
    absent: list[Row],
    loadgen: Part,
    say: Callable[[str], None],
) -> tuple[list[Row], Direct, Machine, float]:
    here = Machine.here(own_loopback=network.enter())  # everything is downloaded by now
    if not here.own_loopback:
        exposed = [target.name for target, _ in brought if target.listens_everywhere]
        absent += [
            Absent(name, "listens on every address, and this machine grants no network of its own") for name in exposed
        ]
        brought = [(target, part) for target, part in brought if target.name not in exposed]
    files = machine.raise_open_files()
    plan = dataclasses.replace(plan, clients=min(plan.clients, files // 3))  # a proxy has two sockets for each
    signal.signal(signal.SIGTERM, _interrupt)
    elsewhere = machine.Elsewhere()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        cores = Cores.choose(os.sched_getaffinity(0))
        bench = Bench(plan, cores, loadgen.program, Path(folder), f"sk-{secrets.token_hex(16)}", say)
        rows, direct = bench.run(brought)
    return rows + absent, direct, here, elsewhere.share()


def _print(
    rows: Sequence[Row],
    direct: Direct,
    here: Machine,
    elsewhere: float,
    columns: Sequence[table.Column],
    judged: str,
) -> None:
    measured = {row.name: row for row in rows if isinstance(row, Measured)}
    print(table.heading(here, elsewhere, rows), table.table(rows, GO, columns), table.notes(rows, direct), sep="\n\n")
    if judged in measured:
        said = table.verdicts(measured[judged], measured.get(GO), here.architecture)
        print(f"\nbudgets of {judged}", said, sep="\n")


def _write(path: Path, rows: Sequence[Row], direct: Direct, here: Machine, elsewhere: float) -> None:
    whole = {
        "machine": {**dataclasses.asdict(here), "used_elsewhere": elsewhere},
        "stub": dataclasses.asdict(direct),
        "targets": [dataclasses.asdict(row) for row in rows],
    }
    path.write_text(json.dumps(whole, indent=2) + "\n")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs at once would measure each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("scripts/bench: another run is under way; two at once would measure each other") from None
        yield


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class Progress:
    """On a terminal one line that changes, elsewhere a line for each step. After *announce* others may write."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, text: str) -> None:
        self._write(text, end="" if self._terminal else "\n")

    def announce(self, text: str) -> None:
        self._write(text, end="\n")

    def clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _write(self, text: str, end: str) -> None:
        self.clear()
        print(f"[{time.monotonic() - self._began:4.0f} s] {text}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
