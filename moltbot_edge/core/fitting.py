"""What of a kept conversation goes into a model's window, and what is left out. Pure: nothing is asked or written.

The system text, the tools and what the caller says now always go. Of what was said before, the oldest is left out
(`cuts` says where). Not a message with each turn, which would move the prompt's beginning every time, so that nothing
of it were cached, but much at once: above 85 % of the window it is cut down to 50 %, and that very cut holds until
85 % are reached again. It stands in the turn (`session.Cut`): after a restart, and at another gateway, the prompt
begins as before.

Sizes are estimates (`tokens`), corrected by what this deployment has counted of this very conversation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from moltbot_edge.core import session, tokens
from moltbot_edge.core.chat import Message, Tool
from moltbot_edge.core.cuts import Path, Place, Size, said, size_of
from moltbot_edge.core.errors import PromptTooLong
from moltbot_edge.core.session import Cut, Turn

FULL: Final = 0.85  # of a window: above it, something is left out
AFTERWARDS: Final = 0.50  # of a window is left then: a prompt is read anew once in 35 % of it, and not at each turn
REPLY_SHARE: Final = 1.0 - FULL  # where nobody said how long the reply may be
MOST_REPLY_SHARE: Final = 0.50  # who wants more wants "as long as it goes"
LEAST_REPLY_SHARE: Final = 1 / 16  # a prompt that leaves less room gets no answer worth the name

LEARNED_FROM: Final = 3  # of the latest counts, the highest: what is said changes its kind
LEAST_LEARNED: Final = 100  # estimated tokens; of fewer, a template's own words are too large a part
BELIEVED: Final = (0.55, 2.5)  # counted to estimated; an old Ollama counts what it read anew, which is far less
MARGIN: Final = 1.05
# What is surely too long: English of an estimate that was never corrected, and what was counted and has grown since.
SURELY: Final = 0.6
SURELY_LEARNED: Final = 0.9

NO_END: Final = 2**40  # of a window, for who only wants to know a size


class Window(msgspec.Struct, frozen=True):
    """*tokens* of context, as *deployment* has them; of these *reply_tokens* are for the reply, None: nobody said.

    *summary_tokens* is room for a summary of what is left out, 0 for none. *thoughts*: the model is sent them again.
    *tells*: it refuses what is too long, so that only what is so beyond doubt need be refused before. *reserves*: it
    counts all of *reply_tokens* as taken. *rate*: it has just said that so many tokens are one of the estimate.
    """

    tokens: int
    deployment: str
    reply_tokens: int | None = None
    summary_tokens: int = 0
    thoughts: bool = False
    tells: bool = True
    reserves: bool = False
    rate: float = 0.0


class Talk(msgspec.Struct, frozen=True):
    """*turns* is a `session.path`, *new* what its caller adds. *steady*: *system* and *tools* are the path's own."""

    system: Sequence[Message]
    tools: Sequence[Tool]
    turns: Sequence[Turn]
    new: Sequence[Message]
    steady: bool = True


class Fitted(msgspec.Struct, frozen=True):
    """*prompt_tokens* and *left_out_tokens* are estimates, *estimated* the former's before it was corrected.

    Without a *cut* all of it goes. Of *left_out_turns* the last may be there in part.
    """

    prompt_tokens: int
    estimated: int
    place: Place = Place()
    cut: Cut | None = None
    left_out_turns: int = 0
    left_out_tokens: int = 0


def fitted(talk: Talk, window: Window, size: Callable[[Turn], Size] | None = None) -> Fitted:
    """*size* is `size_of`, or remembers what that said. Raises `PromptTooLong` where what has to go does not."""
    thoughts = window.thoughts
    sizes = [size_of(turn, thoughts=thoughts) if size is None else size(turn) for turn in talk.turns]
    of_system = sum(tokens.of_message(message, thoughts=thoughts) for message in talk.system)
    of_tools = tokens.of_tools(talk.tools)
    of_new = sum(tokens.of_message(message, thoughts=thoughts) for message in talk.new)
    pinned = of_system + of_tools
    path: Path | None = None
    if any(turn.cut is not None for turn in talk.turns):
        path = Path(talk.turns, sizes, talk.new)
    rate, learned = _rate(talk, window, sizes, pinned, path)

    def prompt(before: int, whole: bool) -> int:
        likely = rate * (pinned + before) + max(rate, 1.0) * of_new  # what is new, nobody has counted
        return int(likely) + 1 + (0 if whole else window.summary_tokens)

    room = window.tokens * REPLY_SHARE if window.reply_tokens is None else window.reply_tokens
    room = min(room, window.tokens * (1.0 - LEAST_REPLY_SHARE if window.reserves else MOST_REPLY_SHARE))
    full = int(min(window.tokens * FULL, window.tokens - room))
    total = sum(one.total for one in sizes)
    if path is None and (tokens_of_all := prompt(total, True)) <= full:
        return Fitted(tokens_of_all, pinned + total + of_new)

    path = path or Path(talk.turns, sizes, talk.new)
    place = path.held(window.tokens)
    if prompt(path.kept(place), not place.begins) > full:
        afterwards = int(min(window.tokens * AFTERWARDS, full * AFTERWARDS / FULL))
        place = path.shortened(place, prompt, full, afterwards)
    kept = path.kept(place)
    needed = prompt(kept, not place.begins)
    most = window.tokens - int(min(room, window.tokens * LEAST_REPLY_SHARE))
    surely = 1.0 if not window.tells else SURELY_LEARNED if learned else SURELY
    opaque = window.tells and not all(map(tokens.is_plain, talk.new))  # of pictures nothing is sure
    if needed * surely > most and not opaque:
        parts = {
            "the message": max(rate, 1.0) * of_new,
            "the system text": rate * of_system,
            "the tools": rate * of_tools,
            "the calls that it answers": rate * kept,
        }
        raise _too_long(window, needed, most, {name: int(some) for name, some in parts.items()})
    if not place.begins:
        return Fitted(needed, pinned + total + of_new)
    return Fitted(
        needed,
        pinned + kept + of_new,
        place,
        path.cut(place, window.tokens),
        path.left_out_turns(place),
        int(rate * path.left_out(place)),
    )


def messages(talk: Talk, place: Place, told: Sequence[Message] = ()) -> tuple[Message, ...]:
    """What goes, in its order. *told* stands for what was left out."""
    before = [message for turn in talk.turns for message in said(turn)]
    question = () if place.question is None else (before[place.question],)
    return (*talk.system, *told, *question, *before[place.begins :], *talk.new)


def left_out(talk: Talk, place: Place, after: int = 0) -> list[Message]:
    """What does not go, of the messages from *after* on."""
    before = [message for turn in talk.turns for message in said(turn)]
    return [before[at] for at in range(after, place.begins) if at != place.question]


def _rate(talk: Talk, window: Window, sizes: Sequence[Size], pinned: int, path: Path | None) -> tuple[float, bool]:
    """How many tokens one of the estimate has been of late, and whether anybody has counted."""
    found = [window.rate * MARGIN] if window.rate else []
    if not all(one.plain for one in sizes):
        return (found[0], True) if found else (1.0, False)
    before = sum(one.total for one in sizes)
    then = pinned if talk.steady else None  # what was pinned at a turn; None: it has to be looked up
    for at in range(len(sizes) - 1, -1, -1):
        turn, one = talk.turns[at], sizes[at]
        before -= one.total
        if turn.deployment == window.deployment and turn.usage is not None:
            if then is None:
                then = _pinned(talk.turns[: at + 1], window)
            estimated = then + before + one.asked
            if turn.cut is not None and path is not None:
                estimated -= path.left_out_by(turn.cut)
            counted = turn.usage.input_tokens / estimated if estimated >= LEAST_LEARNED else 0.0
            summarised = turn.cut is not None and window.summary_tokens  # how long that was, nobody wrote down
            if BELIEVED[0] <= counted <= BELIEVED[1] and not summarised:
                found.append(counted * MARGIN)
                if len(found) >= LEARNED_FROM:
                    break
        if turn.system is not None or turn.tools is not None:
            then = None  # before it, others held
    return (max(found), True) if found else (1.0, False)


def _pinned(turns: Sequence[Turn], window: Window) -> int:
    system = sum(tokens.of_message(message, thoughts=window.thoughts) for message in session.system(turns))
    return system + tokens.of_tools(session.tools(turns))


def _too_long(window: Window, needed: int, most: int, parts: dict[str, int]) -> PromptTooLong:
    each = ", ".join(f"{name} {some}" for name, some in parts.items() if some)
    error = PromptTooLong(
        f"prompt is too long: about {needed} tokens > {most} maximum, without anything that was said before: {each}; "
        f"{window.deployment} takes {window.tokens} of context, the reply among them"
    )
    error.retryable = True  # another one may have more room
    return error
