"""One conversation, one slot."""

from __future__ import annotations

import msgspec

from moltbot_edge.core.prefixes import trail
from moltbot_edge.local.slots import Held, Slot, cached_tokens, chosen, is_of

SYSTEM = b"S" * 4000


def said(*messages: str) -> tuple[int, ...]:
    """The trail of a conversation below one long system prompt."""
    return trail([SYSTEM, *(message.encode() for message in messages)])


def holds(*messages: str, begun: int = 2, used_at: float = 0.0, busy: int = 0) -> Slot:
    return Slot(Held(said(*messages), begun, prompt_tokens=1000, tokens=1100), busy, used_at)


def test_a_conversation_goes_on_in_its_own_slot() -> None:
    slots = [holds("cats"), holds("dogs", used_at=1.0), Slot()]
    assert chosen(slots, said("cats", "meow", "more of cats")) == 0
    assert chosen(slots, said("dogs", "woof", "more of dogs")) == 1


def test_another_conversation_with_the_same_system_prompt_leaves_it_alone() -> None:
    assert chosen([holds("cats"), Slot()], said("fish")) == 1
    assert chosen([holds("cats", used_at=2.0), holds("dogs", used_at=1.0)], said("fish")) == 1


def test_a_question_asked_again_or_in_another_way_is_the_same_conversation() -> None:
    slots = [Slot(), holds("cats", "meow", "more", "purr", "still more")]
    assert chosen(slots, said("cats", "meow", "more")) == 1
    assert chosen(slots, said("cats", "meow", "something else")) == 1


def test_a_session_is_its_own_mark() -> None:
    held = holds("cats")
    assert held.held is not None
    mine = msgspec.structs.replace(held, held=msgspec.structs.replace(held.held, session="s1"))
    assert chosen([Slot(), mine], said("all was summed up"), session="s1") == 1
    assert chosen([Slot(), mine], said("all was summed up"), session="s2") == 0


def test_a_conversation_waits_for_its_own_slot_and_a_new_one_for_none() -> None:
    slots = [holds("cats", busy=1), holds("dogs", used_at=9.0)]
    assert chosen(slots, said("cats", "meow", "more")) == 0
    assert chosen(slots, said("fish")) == 1


def test_where_all_are_busy_the_least_is() -> None:
    assert chosen([holds("cats", busy=2), holds("dogs", busy=1)], said("fish")) == 1


def test_one_slot_is_everybodys() -> None:
    assert chosen([holds("cats", busy=3)], said("fish")) == 0
    assert chosen([Slot()], ()) == 0


def test_a_short_prompt_without_a_trail_is_nobodys() -> None:
    assert not is_of(Held((), 0), ())
    assert not is_of(Held((), 0), said("cats"))


def test_what_is_cached_is_counted_to_the_message() -> None:
    trail = said("cats")
    held = (trail, 1000, 1100)
    assert cached_tokens(*held, said("cats", "meow", "more")) == 1100
    assert cached_tokens(*held, trail) == 1000
    assert cached_tokens(*held, said("dogs")) == 1000 * 4000 // 4004
    assert cached_tokens(*held, ()) == 0
