"""The life of one engine, as a table: what happened, and what follows from it. Not how: `supervisor` carries it out.

                   ADMITTED         SPAWNED         HEALTHY
        stopped ------------> starting ------> loading -------> ready
          ^  ^                  |                |  ^             |  UNWANTED
          |  |           EXITED |                |  | PORT_TAKEN  v
          |  `--- RESTED ---- failed <-----------'--'          draining
          |                        EXITED                         |  IDLE
          `------------------------ stopping <--------------------'
                     EXITED

What is wanted does not start at once: `placement` admits it where there is room. A request that comes while an engine
goes away is kept as a wish, and served by the engine that starts after it.
*now* is `time.monotonic` seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

FIRST_REST_S = 1.0
LONGEST_REST_S = 60.0  # as systemd units and kubelets space the restarts of what keeps crashing
STEADY_S = 60.0  # ready for so long, a crash is news and no longer the same failure
PORTS = 4  # tried in a row; a port that is free when we ask may be taken when the engine asks


class State(StrEnum):
    STOPPED = "stopped"
    STARTING = "starting"  # no process yet
    LOADING = "loading"  # a process that reads its model
    READY = "ready"
    DRAINING = "draining"  # finishes what it does
    STOPPING = "stopping"
    FAILED = "failed"  # rests before it may start again


class Event(StrEnum):
    WANTED = "wanted"  # a request needs it
    ADMITTED = "admitted"  # there is room for it
    UNWANTED = "unwanted"  # it shall go once it has finished what it does
    SHUTDOWN = "shutdown"  # it shall go now
    SPAWNED = "spawned"
    HEALTHY = "healthy"
    OVERDUE = "overdue"  # not healthy within its time
    CONDEMNED = "condemned"  # it shall go now, whatever it does: it is stuck, or takes what it was not given
    IDLE = "idle"  # nothing in its slots
    PORT_TAKEN = "port-taken"  # it exited, because somebody else had its port
    EXITED = "exited"  # no process any more, or there never was one
    RESTED = "rested"  # the back-off is over


class Effect(StrEnum):
    PLACE = "place"  # find room for it -> ADMITTED, or UNWANTED where there can be none
    SPAWN = "spawn"  # -> SPAWNED, then EXITED or PORT_TAKEN
    WATCH_HEALTH = "watch-health"  # -> HEALTHY or OVERDUE
    WATCH_SLOTS = "watch-slots"  # -> IDLE
    STOP = "stop"  # SIGTERM, then SIGKILL -> EXITED
    REST = "rest"  # until `Engine.retry_at` -> RESTED
    ANSWER = "answer"  # tell all who wait where it is
    REFUSE = "refuse"  # tell all who wait why not


class Step(msgspec.Struct, frozen=True):
    """What follows. *wanted* None leaves the wish as it is; *if_wanted* is taken instead where there is one."""

    to: State
    effects: tuple[Effect, ...] = ()
    wanted: bool | None = None
    if_wanted: Step | None = None


class Engine(msgspec.Struct, frozen=True):
    """What is known of one engine. *failures* are those in a row, *ports* those tried in this start."""

    state: State = State.STOPPED
    wanted: bool = False
    failures: int = 0
    ports: int = 0
    ready_at: float = 0.0
    retry_at: float = 0.0


def rest_s(failures: int) -> float:
    """1, 2, 4 .. 60 seconds."""
    return float(min(FIRST_REST_S * 2 ** min(failures - 1, 10), LONGEST_REST_S))


_S, _X = State, Effect
_FAIL = Step(_S.FAILED, (_X.REFUSE, _X.REST), wanted=False)
_CRASH = Step(_S.FAILED, (_X.REST,))  # the wish stays: it comes back by itself
_END = Step(_S.STOPPED, if_wanted=Step(_S.STOPPED, (_X.PLACE,)))

# A pair that says only where it stays is late news of a process that has gone, or a wish that is there already.
TABLE: Mapping[State, Mapping[Event, Step]] = {
    State.STOPPED: {
        Event.WANTED: Step(_S.STOPPED, (_X.PLACE,), wanted=True),
        Event.ADMITTED: Step(_S.STARTING, (_X.SPAWN,)),
        Event.UNWANTED: Step(_S.STOPPED, (_X.REFUSE,), wanted=False),
        Event.SHUTDOWN: Step(_S.STOPPED, (_X.REFUSE,), wanted=False),
        Event.SPAWNED: Step(_S.STOPPED),
        Event.HEALTHY: Step(_S.STOPPED),
        Event.OVERDUE: Step(_S.STOPPED),
        Event.CONDEMNED: Step(_S.STOPPED),
        Event.IDLE: Step(_S.STOPPED),
        Event.PORT_TAKEN: Step(_S.STOPPED),
        Event.EXITED: Step(_S.STOPPED),
        Event.RESTED: Step(_S.STOPPED),
    },
    State.STARTING: {
        Event.WANTED: Step(_S.STARTING, wanted=True),
        Event.ADMITTED: Step(_S.STARTING),
        # Nothing to stop yet: SPAWNED or EXITED finds it in `stopping`.
        Event.UNWANTED: Step(_S.STOPPING, (_X.REFUSE,), wanted=False),
        Event.SHUTDOWN: Step(_S.STOPPING, (_X.REFUSE,), wanted=False),
        Event.SPAWNED: Step(_S.LOADING, (_X.WATCH_HEALTH,)),
        Event.HEALTHY: Step(_S.STARTING),
        Event.OVERDUE: Step(_S.STARTING),
        Event.CONDEMNED: Step(_S.STARTING),
        Event.IDLE: Step(_S.STARTING),
        Event.PORT_TAKEN: _FAIL,
        Event.EXITED: _FAIL,
        Event.RESTED: Step(_S.STARTING),
    },
    State.LOADING: {
        Event.WANTED: Step(_S.LOADING, wanted=True),
        Event.ADMITTED: Step(_S.LOADING),
        Event.UNWANTED: Step(_S.STOPPING, (_X.REFUSE, _X.STOP), wanted=False),
        Event.SHUTDOWN: Step(_S.STOPPING, (_X.REFUSE, _X.STOP), wanted=False),
        Event.SPAWNED: Step(_S.LOADING),
        Event.HEALTHY: Step(_S.READY, (_X.ANSWER,)),
        # It fails when it is gone, not before: two of a model would not fit.
        Event.OVERDUE: Step(_S.LOADING, (_X.STOP,)),
        Event.CONDEMNED: Step(_S.LOADING, (_X.STOP,)),
        Event.IDLE: Step(_S.LOADING),
        Event.PORT_TAKEN: Step(_S.STARTING, (_X.SPAWN,)),
        Event.EXITED: _FAIL,
        Event.RESTED: Step(_S.LOADING),
    },
    State.READY: {
        Event.WANTED: Step(_S.READY, (_X.ANSWER,), wanted=True),
        Event.ADMITTED: Step(_S.READY),
        Event.UNWANTED: Step(_S.DRAINING, (_X.WATCH_SLOTS,), wanted=False),
        Event.SHUTDOWN: Step(_S.STOPPING, (_X.STOP,), wanted=False),
        Event.SPAWNED: Step(_S.READY),
        Event.HEALTHY: Step(_S.READY),
        Event.OVERDUE: Step(_S.READY),
        Event.CONDEMNED: Step(_S.STOPPING, (_X.STOP,)),
        Event.IDLE: Step(_S.READY),
        Event.PORT_TAKEN: _CRASH,
        Event.EXITED: _CRASH,
        Event.RESTED: Step(_S.READY),
    },
    State.DRAINING: {
        Event.WANTED: Step(_S.DRAINING, wanted=True),
        Event.ADMITTED: Step(_S.DRAINING),
        Event.UNWANTED: Step(_S.DRAINING, (_X.REFUSE,), wanted=False),
        Event.SHUTDOWN: Step(_S.STOPPING, (_X.REFUSE, _X.STOP), wanted=False),
        Event.SPAWNED: Step(_S.DRAINING),
        Event.HEALTHY: Step(_S.DRAINING),
        Event.OVERDUE: Step(_S.DRAINING),
        Event.CONDEMNED: Step(_S.STOPPING, (_X.STOP,)),
        Event.IDLE: Step(_S.STOPPING, (_X.STOP,)),
        Event.PORT_TAKEN: _END,
        Event.EXITED: _END,
        Event.RESTED: Step(_S.DRAINING),
    },
    State.STOPPING: {
        Event.WANTED: Step(_S.STOPPING, wanted=True),
        Event.ADMITTED: Step(_S.STOPPING),
        Event.UNWANTED: Step(_S.STOPPING, (_X.REFUSE,), wanted=False),
        Event.SHUTDOWN: Step(_S.STOPPING, (_X.REFUSE,), wanted=False),
        Event.SPAWNED: Step(_S.STOPPING, (_X.STOP,)),
        Event.HEALTHY: Step(_S.STOPPING),
        Event.OVERDUE: Step(_S.STOPPING),
        Event.CONDEMNED: Step(_S.STOPPING),
        Event.IDLE: Step(_S.STOPPING),
        Event.PORT_TAKEN: _END,
        Event.EXITED: _END,
        Event.RESTED: Step(_S.STOPPING),
    },
    State.FAILED: {
        # Who asks now is told when to come back, and finds it started then.
        Event.WANTED: Step(_S.FAILED, (_X.REFUSE,), wanted=True),
        Event.ADMITTED: Step(_S.FAILED),
        Event.UNWANTED: Step(_S.FAILED, wanted=False),
        Event.SHUTDOWN: Step(_S.STOPPED, wanted=False),
        Event.SPAWNED: Step(_S.FAILED),
        Event.HEALTHY: Step(_S.FAILED),
        Event.OVERDUE: Step(_S.FAILED),
        Event.CONDEMNED: Step(_S.FAILED),
        Event.IDLE: Step(_S.FAILED),
        Event.PORT_TAKEN: Step(_S.FAILED),
        Event.EXITED: Step(_S.FAILED),
        Event.RESTED: _END,
    },
}


def step(engine: Engine, event: Event, now: float) -> tuple[Engine, tuple[Effect, ...]]:
    """The engine after *event*, and what is to be done, in order."""
    if event is Event.PORT_TAKEN and engine.ports >= PORTS:
        event = Event.EXITED
    found = TABLE[engine.state][event]
    if engine.wanted and found.if_wanted is not None:
        found = found.if_wanted
    after = msgspec.structs.replace(
        engine, state=found.to, wanted=engine.wanted if found.wanted is None else found.wanted
    )
    if found.to is engine.state:
        return after, found.effects
    return _entered(engine, after, now), found.effects


def _entered(before: Engine, after: Engine, now: float) -> Engine:
    match after.state:
        case State.STARTING:
            ports = before.ports + 1 if before.state is State.LOADING else 1
            return msgspec.structs.replace(after, ports=ports)
        case State.READY:
            return msgspec.structs.replace(after, ready_at=now)
        case State.FAILED:
            steady = before.state is State.READY and now - before.ready_at >= STEADY_S
            failures = 1 if steady else before.failures + 1
            return msgspec.structs.replace(after, failures=failures, retry_at=now + rest_s(failures))
        case State.STOPPED if before.state is not State.FAILED:
            return msgspec.structs.replace(after, failures=0)
        case _:
            return after
