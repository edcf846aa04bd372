"""Which slot of an engine a request goes to: one conversation, one slot. Pure.

llama-server itself takes the slot whose cache resembles a prompt by a tenth, so that two chats with one system prompt
take each other's. Here a slot is a conversation's from its first request on, whoever else comes; a conversation that
is new takes the slot that was used the longest time ago. Trails are of `core.prefixes`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from moltbot_edge.core.prefixes import end_of, shared


class Held(msgspec.Struct, frozen=True):
    """What is in a slot's cache: a prompt of *prompt_tokens*, and with the reply *tokens*.

    *begun* is how much of the trail there was when the conversation took the slot: whoever shares that is the same
    conversation, asked again or in another way. *kept*: as it is, it has been saved, or is not worth it.
    """

    trail: tuple[int, ...]
    begun: int
    prompt_tokens: int = 0
    tokens: int = 0
    session: str | None = None
    kept: bool = False


class Slot(msgspec.Struct, frozen=True):
    """*held* None: empty, or nobody knows. *busy* counts requests. *used_at* is monotonic."""

    held: Held | None = None
    busy: int = 0
    used_at: float = 0.0


def chosen(slots: Sequence[Slot], trail: Sequence[int], session: str | None = None) -> int:
    """The place of the slot for a request with this *trail*. There is at least one slot.

    Its own conversation's, also where another request is in it: the engine lets it wait. Else one that is free, an
    empty one first. Where none is free, that with the fewest requests.
    """
    own = [place for place, slot in enumerate(slots) if slot.held is not None and is_of(slot.held, trail, session)]
    if own:
        return max(own, key=lambda place: shared_with(slots[place], trail))
    return min(
        range(len(slots)),
        key=lambda place: (slots[place].busy, slots[place].held is not None, slots[place].used_at),
    )


def is_of(held: Held, trail: Sequence[int], session: str | None = None) -> bool:
    """Is this request of the conversation that is held?"""
    if session is not None and held.session == session:
        return True
    return held.begun > 0 and shared(held.trail, trail) >= held.begun


def shared_with(slot: Slot, trail: Sequence[int]) -> int:
    return shared(slot.held.trail, trail) if slot.held is not None else 0


def cached_tokens(trail: Sequence[int], prompt_tokens: int, tokens: int, wanted: Sequence[int]) -> int:
    """How much of the prompt *wanted* is in a cache of *trail*; with the reply, where the conversation goes on."""
    count = shared(trail, wanted)
    if count == 0:
        return 0
    if count < len(trail):
        return prompt_tokens * end_of(trail[count - 1]) // end_of(trail[-1])
    return tokens if len(wanted) > count else prompt_tokens
