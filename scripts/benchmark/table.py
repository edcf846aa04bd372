"""Samples to text: medians, ratios to Go's reverse proxy, the best of each column, our budgets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .figures import Direct, Figure, Measured, Row, middle, ratio
from .machine import Machine

MB = 1_000_000
FULL = 0.9  # a core that is this busy was the limit
CROWDED = 0.15  # others' share of the machine from which the figures are to be doubted

Cell = Callable[[Measured, Measured | None], str]


@dataclass(frozen=True)
class Column:
    """*cell* gets the row and Go's, if there is one. *best* says which figure's best value is marked."""

    heading: tuple[str, str]
    cell: Cell
    best: Figure | None = None
    highest: bool = False


@dataclass(frozen=True)
class Budget:
    """What this gateway may use. *measured* gives None where a run cannot tell."""

    what: str
    limit: float
    unit: str
    measured: Callable[[Measured, Measured | None], float | None]
    of_binary: bool = False  # a run from source is shown, and not judged


def short(value: float) -> str:
    """Three digits, and no more than a person compares: 33,766  104  52.7  0.71."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def _middle(figure: Figure, per: float = 1.0) -> Cell:
    def cell(row: Measured, go: Measured | None) -> str:
        found = middle(row.samples.get(figure, ()))
        return short(found.value / per) if found else "-"

    return cell


def _with_spread(figure: Figure) -> Cell:
    def cell(row: Measured, go: Measured | None) -> str:
        found = middle(row.samples.get(figure, ()))
        if found is None:
            return "-"
        return short(found.value) + (f" ±{found.spread:.0%}" if found.spread is not None else "")

    return cell


def _least(figure: Figure) -> Cell:
    def cell(row: Measured, go: Measured | None) -> str:
        known = [sample for sample in row.samples.get(figure, ()) if sample is not None]
        return short(min(known)) if known else "-"

    return cell


def _ratio(figure: Figure) -> Cell:
    def cell(row: Measured, go: Measured | None) -> str:
        found = _to_go(figure, row, go)
        return "-" if found is None else f"{found:.2f}"

    return cell


def _rate(row: Measured, go: Measured | None) -> str:
    rate, busy = (middle(row.samples.get(figure, ())) for figure in (Figure.RATE, Figure.BUSY))
    if rate is None:
        return "-"
    return f"{'>' if busy and busy.value < FULL else ''}{short(rate.value)}"


def _answers(row: Measured, go: Measured | None) -> str:
    if not row.answers:
        return "-"
    ok, busy = row.answers.get("200", 0), row.answers.get("503", 0)
    return f"{ok}/{busy}/{sum(row.answers.values()) - ok - busy}"


COLUMNS = (
    Column(("CPU us per", "request"), _with_spread(Figure.CPU_PER_REQUEST), Figure.CPU_PER_REQUEST),
    Column(("of", "Go's"), _ratio(Figure.CPU_PER_REQUEST)),
    Column(("requests/s", "on a core"), _rate, Figure.RATE, highest=True),
    Column(("CPU us per", "event"), _with_spread(Figure.CPU_PER_EVENT), Figure.CPU_PER_EVENT),
    Column(("of", "Go's"), _ratio(Figure.CPU_PER_EVENT)),
    Column(("added us", "p50"), _middle(Figure.ADDED_P50), Figure.ADDED_P50),
    Column(("added us", "p99"), _with_spread(Figure.ADDED_P99), Figure.ADDED_P99),
    Column(("first", "event ms"), _middle(Figure.FIRST_EVENT), Figure.FIRST_EVENT),
    Column(("idle", "MB"), _middle(Figure.IDLE_RSS, MB), Figure.IDLE_RSS),
    Column(("anon.", "MB"), _middle(Figure.IDLE_ANONYMOUS, MB), Figure.IDLE_ANONYMOUS),
    Column(("posts:", "peak MB"), _middle(Figure.PEAK_RSS, MB), Figure.PEAK_RSS),
    Column(("200/503/", "other"), _answers),
    Column(("start", "ms"), _with_spread(Figure.START), Figure.START),
)

# One gateway in its forms: what the form changes, and no more.
FORM_COLUMNS = (
    Column(("file", "MB"), _middle(Figure.BINARY, MB), Figure.BINARY),
    Column(("start ms", "least"), _least(Figure.START)),
    Column(("start ms", "median"), _with_spread(Figure.START), Figure.START),
    Column(("idle", "MB"), _middle(Figure.IDLE_RSS, MB), Figure.IDLE_RSS),
    Column(("anon.", "MB"), _middle(Figure.IDLE_ANONYMOUS, MB), Figure.IDLE_ANONYMOUS),
    Column(("CPU us per", "request"), _with_spread(Figure.CPU_PER_REQUEST), Figure.CPU_PER_REQUEST),
    Column(("of", "Go's"), _ratio(Figure.CPU_PER_REQUEST)),
    Column(("CPU us per", "event"), _with_spread(Figure.CPU_PER_EVENT), Figure.CPU_PER_EVENT),
    Column(("of", "Go's"), _ratio(Figure.CPU_PER_EVENT)),
    Column(("posts:", "peak MB"), _middle(Figure.PEAK_RSS, MB), Figure.PEAK_RSS),
)


def _to_go(figure: Figure, row: Measured, go: Measured | None) -> float | None:
    return ratio(row.samples.get(figure, ()), go.samples.get(figure, ())) if go else None


def _value(figure: Figure, per: float = 1.0) -> Callable[[Measured, Measured | None], float | None]:
    def measured(row: Measured, go: Measured | None) -> float | None:
        found = middle(row.samples.get(figure, ()))
        return found.value / per if found else None

    return measured


def budgets(architecture: str) -> tuple[Budget, ...]:
    start_ms = 150 if architecture == "x86_64" else 2_000  # the second is for a Raspberry Pi 4's core
    return (
        Budget(
            "CPU per relayed request",
            0.8,
            "of Go's",
            lambda row, go: _to_go(Figure.CPU_PER_REQUEST, row, go),
        ),
        Budget("CPU per streamed event", 1.0, "of Go's", lambda row, go: _to_go(Figure.CPU_PER_EVENT, row, go)),
        Budget(
            "CPU per translated stream event",
            3.0,
            "relayed",
            lambda row, go: ratio(
                row.samples.get(Figure.CPU_PER_TRANSLATED, ()), row.samples.get(Figure.CPU_PER_EVENT, ())
            ),
        ),
        Budget("added latency p99, one caller", 300, "us", _value(Figure.ADDED_P99)),
        Budget("idle resident memory", 25, "MB", _value(Figure.IDLE_RSS, MB), of_binary=True),
        Budget("  of it anonymous", 18, "MB", _value(Figure.IDLE_ANONYMOUS, MB), of_binary=True),
        Budget("peak resident memory, clients posting at once", 96, "MB", _value(Figure.PEAK_RSS, MB)),
        Budget("CPU of a session's turn over the relay, 1 before", 150, "us", _value(Figure.CPU_PER_TURN_1)),
        Budget("  8 before", 150, "us", _value(Figure.CPU_PER_TURN_8)),
        Budget("  32 before", 150, "us", _value(Figure.CPU_PER_TURN_32)),
        Budget("bytes written per turn of 1 KiB, one caller", 8_192, "B", _value(Figure.BYTES_PER_TURN)),
        Budget("bytes written per read of a session", 0, "B", _value(Figure.BYTES_PER_READ)),
        Budget("start to first 200 on /health", start_ms, "ms", _value(Figure.START)),
        Budget("size of the binary", 16, "MB", _value(Figure.BINARY, MB)),
    )


def table(rows: Sequence[Row], go: str, columns: Sequence[Column] = COLUMNS) -> str:
    """*go* names the row that the others are compared with. The best of a column has a star."""
    measured = [row for row in rows if isinstance(row, Measured)]
    reference = next((row for row in measured if row.name == go), None)
    # Each cell ends with a star or a blank, so that the digits stay in line.
    lines = [("", *(f"{column.heading[line]} " for column in columns)) for line in (0, 1)]
    best = [_best(column, measured) for column in columns]
    for row in measured:
        cells = (
            column.cell(row, reference) + ("*" if row.name == winner else " ")
            for column, winner in zip(columns, best, strict=True)
        )
        lines.append((row.name, *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    widths[0] = max(len(row.name) for row in rows)
    drawn = {line[0]: _line(line, widths) for line in lines[2:]}
    body = [
        drawn[row.name] if isinstance(row, Measured) else _line((row.name,), widths) + f"  {row.why}" for row in rows
    ]
    return "\n".join([_line(lines[0], widths), _line(lines[1], widths), *body])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *others = cells
    padded = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=False))
    return "  ".join((f"{name:<{widths[0]}}", *padded)).rstrip()


def _best(column: Column, rows: Sequence[Measured]) -> str | None:
    if column.best is None:
        return None
    found = [(value.value, row.name) for row in rows if (value := middle(row.samples.get(column.best, ())))]
    if len(found) < 2:
        return None
    return (max if column.highest else min)(found)[1]


def verdicts(row: Measured, go: Measured | None, architecture: str) -> str:
    """Each budget, what this run measured, ok or over."""
    from_source = Figure.BINARY not in row.samples
    lines = []
    for budget in budgets(architecture):
        value = budget.measured(row, go)
        if value is None:
            said = "not measured"
        else:
            verdict = "ok" if value <= budget.limit else "OVER"
            if budget.of_binary and from_source:
                verdict = "from source; the budget is the binary's"
            said = f"{short(value):>7} {budget.unit:<7}  {verdict}"
        lines.append(f"{budget.what:<46} up to {short(budget.limit):>5} {budget.unit:<7}  {said}")
    return "\n".join(lines)


def heading(machine: Machine, elsewhere: float, rows: Sequence[Row]) -> str:
    versions = ", ".join(f"{row.name} {row.version}" for row in rows if isinstance(row, Measured))
    lines = [
        f"{machine.cpu}, {machine.cores} core{'s' * (machine.cores > 1)}, {machine.architecture}, "
        f"Linux {machine.kernel}, Python {machine.python}; "
        f"load average {machine.load_average:.1f} at the start, other programs used {elsewhere:.0%} of the machine",
        versions,
    ]
    if elsewhere > CROWDED:
        lines.append("The machine was not idle: every figure is inflated, a large program's more than a small one's.")
    if machine.cores < 2:
        lines.append("One core for everything: requests/s are of target, stub and load together.")
    return "\n".join(lines)


def notes(rows: Sequence[Row], direct: Direct) -> str:
    lines = [
        f"the stub itself: {short(direct.rate)} requests/s, p50 {short(direct.p50_us)} us, "
        f"p99 {short(direct.p99_us)} us, first event {short(direct.first_event_p50_ms)} ms",
        "* best of the column   ± half the range over the rounds   > the load was the limit, not the target",
    ]
    for row in rows:
        if isinstance(row, Measured):
            if alone := middle(row.samples.get(Figure.CPU_PER_TURN_ALONE, ())):
                disk = middle(row.samples.get(Figure.DISK_BYTES_PER_TURN, ()))
                pages = f", and {short(disk.value)} B in the disk's own pages" if disk else ""
                lines.append(
                    f"{row.name}: of one caller alone each turn of a session is a commit of its own: "
                    f"{short(alone.value)} us over the relay{pages}"
                )
            lines.extend(f"! {row.name}: {trouble}" for trouble in row.troubles)
    return "\n".join(lines)
