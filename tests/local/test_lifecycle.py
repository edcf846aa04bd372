"""The life of an engine, told as what happens to it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.local.lifecycle import PORTS, STEADY_S, TABLE, Effect, Engine, Event, State, Step, rest_s, step

WANTED, ADMITTED, UNWANTED, SHUTDOWN = Event.WANTED, Event.ADMITTED, Event.UNWANTED, Event.SHUTDOWN
SPAWNED, HEALTHY, OVERDUE, IDLE = Event.SPAWNED, Event.HEALTHY, Event.OVERDUE, Event.IDLE
CONDEMNED = Event.CONDEMNED
STARTED = (WANTED, ADMITTED)
PORT_TAKEN, EXITED, RESTED = Event.PORT_TAKEN, Event.EXITED, Event.RESTED


def run(*events: Event, now: float = 0.0, engine: Engine = Engine()) -> tuple[Engine, list[Effect]]:  # noqa: B008
    """The engine after all of it, and every effect on the way."""
    effects: list[Effect] = []
    for event in events:
        engine, more = step(engine, event, now)
        effects += more
    return engine, effects


def test_a_request_starts_an_engine_and_is_answered_when_it_is_healthy() -> None:
    engine, effects = run(*STARTED, SPAWNED, HEALTHY)
    assert engine.state is State.READY
    assert effects == [Effect.PLACE, Effect.SPAWN, Effect.WATCH_HEALTH, Effect.ANSWER]


def test_what_is_wanted_waits_until_there_is_room_or_is_refused() -> None:
    engine, effects = run(WANTED, WANTED)
    assert (engine.state, engine.wanted, effects) == (State.STOPPED, True, [Effect.PLACE, Effect.PLACE])
    engine, effects = run(UNWANTED, engine=engine)
    assert (engine.state, engine.wanted, effects) == (State.STOPPED, False, [Effect.REFUSE])


def test_many_requests_join_one_start() -> None:
    _, effects = run(WANTED, *STARTED, SPAWNED, WANTED, HEALTHY, WANTED)
    assert effects.count(Effect.SPAWN) == 1
    assert effects.count(Effect.ANSWER) == 2


def test_a_request_during_shutdown_is_served_after_it() -> None:
    engine, effects = run(*STARTED, SPAWNED, HEALTHY, UNWANTED, IDLE, WANTED)
    assert (engine.state, engine.wanted) == (State.STOPPING, True)
    engine, effects = run(EXITED, ADMITTED, SPAWNED, HEALTHY, engine=engine)
    assert engine.state is State.READY
    assert effects == [Effect.PLACE, Effect.SPAWN, Effect.WATCH_HEALTH, Effect.ANSWER]


def test_a_request_while_it_drains_does_not_keep_it() -> None:
    engine, _ = run(*STARTED, SPAWNED, HEALTHY, UNWANTED, WANTED, IDLE)
    assert engine.state is State.STOPPING
    assert run(EXITED, engine=engine)[1] == [Effect.PLACE]


def test_an_engine_that_nobody_wants_any_more_finishes_its_work_before_it_is_stopped() -> None:
    engine, effects = run(*STARTED, SPAWNED, HEALTHY, UNWANTED)
    assert (engine.state, effects[-1]) == (State.DRAINING, Effect.WATCH_SLOTS)
    engine, effects = run(IDLE, EXITED, engine=engine)
    assert (engine.state, effects) == (State.STOPPED, [Effect.STOP])


def test_the_gateways_end_does_not_wait_for_work() -> None:
    engine, effects = run(*STARTED, SPAWNED, HEALTHY, SHUTDOWN)
    assert (engine.state, effects[-1]) == (State.STOPPING, Effect.STOP)


def test_what_is_no_process_yet_is_stopped_once_it_is_one() -> None:
    engine, effects = run(*STARTED, SHUTDOWN)
    assert effects == [Effect.PLACE, Effect.SPAWN, Effect.REFUSE]
    engine, effects = run(SPAWNED, engine=engine)
    assert (engine.state, effects) == (State.STOPPING, [Effect.STOP])


def test_a_crash_while_ready_brings_it_back_after_a_rest() -> None:
    engine, effects = run(*STARTED, SPAWNED, HEALTHY, EXITED, now=10.0)
    assert (engine.state, engine.retry_at, effects[-1]) == (State.FAILED, 11.0, Effect.REST)
    engine, effects = run(RESTED, engine=engine, now=11.0)
    assert (engine.state, effects) == (State.STOPPED, [Effect.PLACE])
    assert run(ADMITTED, engine=engine)[0].state is State.STARTING


def test_a_failed_start_is_told_and_not_repeated_for_nobody() -> None:
    engine, effects = run(*STARTED, SPAWNED, EXITED)
    assert effects[-2:] == [Effect.REFUSE, Effect.REST]
    assert run(RESTED, engine=engine)[0].state is State.STOPPED


def test_who_asks_during_a_rest_is_refused_and_finds_it_started_later() -> None:
    engine, effects = run(*STARTED, EXITED, WANTED)
    assert effects[-1] is Effect.REFUSE
    assert run(RESTED, ADMITTED, engine=engine)[1] == [Effect.PLACE, Effect.SPAWN]


def test_rests_grow_to_a_minute_and_stay_there() -> None:
    engine, rests = Engine(), []
    for _ in range(9):
        engine, _ = run(*STARTED, EXITED, engine=engine)
        rests.append(engine.retry_at)
        engine, _ = run(RESTED, engine=engine)
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert rest_s(10_000) == 60


def test_a_crash_after_a_steady_time_is_the_first_again() -> None:
    tired = Engine(State.READY, wanted=True, failures=5, ready_at=100.0)
    assert step(tired, EXITED, 100.0 + STEADY_S)[0].failures == 1
    assert step(tired, EXITED, 99.0 + STEADY_S)[0].failures == 6


def test_an_overdue_engine_fails_when_it_is_gone_and_not_before() -> None:
    engine, effects = run(*STARTED, SPAWNED, OVERDUE)
    assert (engine.state, effects[-1]) == (State.LOADING, Effect.STOP)
    assert run(EXITED, engine=engine)[0].state is State.FAILED


def test_a_taken_port_is_changed_at_once_but_not_for_ever() -> None:
    engine, effects = run(*STARTED, SPAWNED, PORT_TAKEN)
    assert (engine.state, effects[-1]) == (State.STARTING, Effect.SPAWN)
    engine, effects = run(*STARTED, *[SPAWNED, PORT_TAKEN] * PORTS)
    assert (engine.state, effects.count(Effect.SPAWN)) == (State.FAILED, PORTS)


def test_what_is_stuck_goes_at_once_and_what_came_meanwhile_is_served_after_it() -> None:
    for before in ((), (UNWANTED,)):
        engine, effects = run(*STARTED, SPAWNED, HEALTHY, *before, CONDEMNED, WANTED)
        assert (engine.state, effects[-1]) == (State.STOPPING, Effect.STOP)
        assert run(EXITED, engine=engine)[1] == [Effect.PLACE]


def test_what_takes_too_much_while_it_loads_has_failed() -> None:
    engine, effects = run(*STARTED, SPAWNED, CONDEMNED)
    assert effects[-1] is Effect.STOP
    assert run(EXITED, engine=engine)[1] == [Effect.REFUSE, Effect.REST]


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_every_state_knows_every_event(state: State, event: Event) -> None:
    assert isinstance(TABLE[state][event], Step)
    for wanted in (False, True):
        engine, _ = step(Engine(state, wanted=wanted), event, 0.0)
        assert isinstance(engine.state, State)


def test_every_state_and_every_effect_can_come_about() -> None:
    steps = [step for row in TABLE.values() for step in row.values()]
    steps += [step.if_wanted for step in steps if step.if_wanted is not None]
    assert {step.to for step in steps} == set(State)
    assert {effect for step in steps for effect in step.effects} == set(Effect)


@given(st.lists(st.sampled_from(Event)))
def test_there_is_never_a_second_process_and_none_is_forgotten(events: Sequence[Event]) -> None:
    """Any order of events in which a process is spawned when that was asked for, and ends once."""
    engine = Engine()
    asked, alive = False, False
    for event in events:
        match event:
            case Event.SPAWNED if not asked or alive:
                continue
            case Event.EXITED if not asked:
                continue
            case Event.PORT_TAKEN | Event.HEALTHY | Event.OVERDUE | Event.CONDEMNED | Event.IDLE if not alive:
                continue
        if event is Event.SPAWNED:
            alive = True
        if event in (Event.EXITED, Event.PORT_TAKEN):
            asked = alive = False
        engine, effects = step(engine, event, 0.0)
        if Effect.SPAWN in effects:
            assert not asked
            asked = True
        assert not (alive and engine.state in (State.STOPPED, State.FAILED, State.STARTING))
        assert asked or engine.state in (State.STOPPED, State.FAILED)


@given(st.lists(st.sampled_from(Event)))
def test_who_waits_is_answered_or_refused_and_never_forgotten(events: Sequence[Event]) -> None:
    engine, waiting = Engine(), False
    for event in events:
        waiting = waiting or event is WANTED
        engine, effects = step(engine, event, 0.0)
        if Effect.ANSWER in effects or Effect.REFUSE in effects:
            waiting = False
        assert not (waiting and engine.state in (State.READY, State.FAILED))
        assert engine.wanted or not waiting


@given(st.lists(st.sampled_from(Event)))
def test_after_a_shutdown_an_engine_needs_only_its_end_to_be_stopped(events: Sequence[Event]) -> None:
    engine, _ = run(*events, SHUTDOWN, EXITED)
    assert engine.state is State.STOPPED
