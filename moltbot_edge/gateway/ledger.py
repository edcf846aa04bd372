"""What is noted of an attempt: for the scoreboard, for the metrics, and for the policies that learn."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from moltbot_edge.core.errors import (
    ClosedUnanswered,
    EngineFailed,
    GatewayError,
    InvalidRequest,
    Overloaded,
    Unreachable,
    UpstreamRefused,
    UpstreamTimeout,
)
from moltbot_edge.core.events import Outcome
from moltbot_edge.gateway.asked import Asked, Attempt
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.metrics.instruments import Count, Level, Spread

SILENT = (Unreachable, ClosedUnanswered, UpstreamTimeout, EngineFailed)  # where no byte has come before


class Ledger:
    """*now* is `time.monotonic`. Of each attempt that begins, one ending has to follow."""

    def __init__(
        self, standings: Standings, experience: Experience, metrics: Metrics, now: Callable[[], float]
    ) -> None:
        self._standings = standings
        self._experience = experience
        self._metrics = metrics
        self._now = now
        self._cells: dict[str, _Cells] = {}

    def in_flight(self, name: str) -> Level:
        return (self._cells.get(name) or self._fresh_cells(name)).in_flight

    def answering(self, attempt: Attempt) -> None:
        """The first byte of a stream, or a whole reply, is about to go to the caller."""
        if attempt.streamed:
            attempt.first_byte_s = self._now() - attempt.began
            attempt.silent_since = None
        if attempt.sent.tried:
            self._standings.answering(attempt.deployment, attempt.sent, self._now())

    def answered(self, asked: Asked, attempt: Attempt, status: int) -> None:
        self._record(attempt, status, None)
        if asked.lesson is not None:
            self._experience.answered(asked.lesson, attempt.deployment.shared_name, attempt.reader, self._now())

    def failed(self, asked: Asked, attempt: Attempt, status: int, error: GatewayError) -> None:
        name = attempt.deployment.name
        if isinstance(error, Overloaded | InvalidRequest):  # a limit of ours, a wish of the caller's: not its fault
            self._standings.left(attempt.deployment, attempt.sent, self._now())
            self._metrics.attempts.cell(name, error.code or error.kind).add()
            return
        self._record(attempt, status, error)
        if asked.lesson is not None:
            self._experience.failed(asked.lesson, attempt.deployment.shared_name, error)

    def left(self, attempt: Attempt) -> None:
        """The caller has left, or has its answer from another."""
        now = self._now()
        silent_s = 0.0 if attempt.silent_since is None else now - attempt.silent_since
        self._standings.left(attempt.deployment, attempt.sent, now, silent_s)
        if attempt.contender is None or not attempt.contender.lost:
            phase = "waiting" if attempt.first_byte_s is None else "streaming"
            self._metrics.callers_gone.cell(phase).add()

    def _fresh_cells(self, name: str) -> _Cells:
        metrics = self._metrics
        self._cells[name] = cells = _Cells(
            metrics.in_flight.cell(name),
            metrics.attempts.cell(name, "ok"),
            metrics.first_byte_seconds.cell(name),
            metrics.tokens.cell(name, "input"),
            metrics.tokens.cell(name, "output"),
            metrics.tokens.cell(name, "cached"),
            metrics.first_token_predicted_ratio.cell(name),
        )
        return cells

    def _record(self, attempt: Attempt, status: int, error: GatewayError | None) -> None:
        now = self._now()
        name = attempt.deployment.name
        reader = attempt.reader
        outcome = Outcome(
            deployment=name,
            status=status,
            duration_s=now - attempt.began,
            first_byte_s=attempt.first_byte_s,
            error=None if error is None or not _at_fault(error) else error.code or error.kind,
            retry_after_s=None if error is None else error.retry_after_s,
            usage=None if reader is None else reader.usage,
            timings=None if reader is None else reader.timings,
            streamed=attempt.streamed,
            silent=attempt.first_byte_s is None and isinstance(error, SILENT),
        )
        self._standings.ended(attempt.deployment, attempt.sent, outcome, now)
        cells = self._cells[name]
        if error is None:
            cells.ok.add()
        else:
            self._metrics.attempts.cell(name, error.code or error.kind).add()
        if outcome.first_byte_s is not None:
            cells.first_byte_seconds.observe(outcome.first_byte_s)
            if attempt.streamed and attempt.sent.first_token_s is not None:
                cells.predicted_ratio.observe(attempt.sent.first_token_s / max(outcome.first_byte_s, 1e-6))
        usage = outcome.usage
        if usage is not None:
            cells.input.add(usage.input_tokens)
            cells.output.add(usage.output_tokens)
            cells.cached.add(usage.cached_tokens)


def _at_fault(error: GatewayError) -> bool:
    """The deployment: not where the request is, nor where a model is asked for what it is not for."""
    return error.retryable and not (isinstance(error, UpstreamRefused) and error.unable)


class _Cells(msgspec.Struct, frozen=True):
    """What is counted of one deployment at every request."""

    in_flight: Level
    ok: Count
    first_byte_seconds: Spread
    input: Count
    output: Count
    cached: Count
    predicted_ratio: Spread
