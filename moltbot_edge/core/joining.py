"""What a caller sends, joined with the session that it goes on with. Pure; who keeps the session is another's matter.

Some callers send their new message only, some all that was said, some its end, and some ask an old question again. A
history is recognised by what it means: clients trim texts, make up new ids for old calls and leave thoughts out. What
is recognised is not kept twice, and what is not is kept: nothing is doubled and nothing lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, takewhile
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from moltbot_edge.core import session
from moltbot_edge.core.chat import (
    ChatRequest,
    File,
    Image,
    Message,
    Own,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from moltbot_edge.core.session import Turn

ENDING_BYTES: Final = 24
SPACES: Final = b" \t\n\r\v\f"

Said = tuple[Role, bytes | tuple[object, ...]]  # who, and a text or another thing


class Joined(msgspec.Struct, frozen=True):
    """*request* is the whole conversation; of the caller's messages the first *recognised* were in the session.

    The others are *messages*, to be kept as a turn after *parent*, with *system* and *tools* as a `Turn` has them.
    """

    request: ChatRequest
    messages: tuple[Message, ...]
    parent: str | None = None
    recognised: int = 0
    system: tuple[Message, ...] | None = None
    tools: tuple[Tool, ...] | None = None


def joined(
    turns: Sequence[Turn],
    request: ChatRequest,
    *,
    parent: str | None = None,
    inherits: bool = True,
    from_beginning: bool = False,
) -> Joined:
    """*turns* is all of a session, in its order; *parent* is where the caller goes on, if not where it stands.

    *inherits* is False where system text and tools hold for one request only. *from_beginning*: it sends all that was
    said, and where that is not the session's, it begins anew.
    """
    said, new = _opened(request)
    found = _found(turns, new, parent, from_beginning)
    leaf = turns[-1].id if turns else None
    if found is not None:
        parent, recognised, ids = found
    else:
        parent, recognised, ids = leaf if parent is None and not from_beginning else parent, 0, {}
    before = session.path(turns, parent)
    said_before = list(session.messages(before))
    rest = _answering(_with_ids(new[recognised:], ids), said_before)
    held_system, held_tools = session.system(before), session.tools(before)
    system = said or (held_system if inherits else ())
    tools = request.tools or (held_tools if inherits else ())
    opening = None if request.opening is None else len(system)
    messages = (*system, *said_before, *rest)
    held = not request.tools and bool(tools)
    whole = replace(request, messages=messages, opening=opening, tools=tools, held_tools=held)
    return Joined(
        whole,
        rest,
        parent,
        recognised,
        None if system == held_system else system,
        None if tools == held_tools else tools,
    )


def _opened(request: ChatRequest) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    messages = request.messages
    if request.opening is not None:
        return messages[: request.opening], messages[request.opening :]
    opening = 0
    while opening < len(messages) and messages[opening].role is Role.SYSTEM:
        opening += 1
    return messages[:opening], messages[opening:]


def _found(
    turns: Sequence[Turn], sent: tuple[Message, ...], only: str | None, from_beginning: bool
) -> tuple[str | None, int, dict[str, str]] | None:
    """The turn after which *sent* goes on, how many of its messages that turn ends, and its ids as they are here.

    The longest that is recognised counts, and of those the latest turn. Replies that are known, after a beginning that
    is not, are of a history that was changed: it is a beginning of its own. So is one that is known only from what a
    caller sent with its question, as who asks that question otherwise: it stands beside that turn. None: all is new.
    *only* is the one turn that it may be.
    """
    if not turns or (len(sent) == 1 and sent[0].role is not Role.ASSISTANT):
        return None
    replies = {turn.id: tuple(_said([turn.reply])) for turn in turns}
    ends = list(_ends(sent, silent=not all(replies.values())))
    if not ends:
        return None
    ours = {turn.id: (*_said(turn.messages), *replies[turn.id]) for turn in turns}
    theirs = [tuple(_said([message])) for message in sent]
    known = {turn.id: turn for turn in turns}
    by_ending: dict[Said, list[_Place]] = {}
    for place in (one for turn in turns for one in _places(turn)):
        if only in (None, place.turn.id) and (ending := _ending(_before(place, ours, known))) is not None:
            by_ending.setdefault(ending, []).append(place)
    seen, beside = False, None
    for end in reversed(ends):
        if (ending := _ending(_backwards(theirs[: end + 1]))) is None:
            continue
        for place in reversed(by_ending.get(ending, ())):
            ours_before = _before(place, ours, known)
            if _ends_with(ours_before, _backwards(theirs[: end + 1])):
                if from_beginning and next(ours_before, None) is not None:
                    continue
                if place.asked is None:
                    before = session.path(turns, place.turn.id)
                    return place.turn.id, end + 1, _ids(list(session.messages(before)), sent[: end + 1])
                seen, beside = True, beside or place.turn
            elif place.asked is None and not seen and ending[0] is Role.ASSISTANT:
                reply = takewhile(lambda one: one[0] is Role.ASSISTANT, _backwards(theirs[: end + 1]))
                seen = _ends_with(_before(place, ours, known), reply)
    if not seen or only is not None:
        return None
    return None if beside is None else beside.parent, 0, {}


class _Place(NamedTuple):
    """Behind the reply of *turn*, or behind so many of the messages that were *asked* with it."""

    turn: Turn
    asked: int | None = None


def _places(turn: Turn) -> Iterator[_Place]:
    for end in _ends(turn.messages, silent=False):
        yield _Place(turn, end + 1)
    if turn.reply.role is Role.ASSISTANT:
        yield _Place(turn)


def _ends(sent: Sequence[Message], *, silent: bool) -> Iterator[int]:
    """Where a turn may have ended: where the assistant has said all it said in a row.

    *silent*: there were replies that say nothing, and many clients leave those out. Then it may have ended before each
    message of the user's.
    """
    for place, message in enumerate(sent):
        following = sent[place + 1].role if place + 1 < len(sent) else None
        if message.role is Role.ASSISTANT:
            if following is not Role.ASSISTANT:
                yield place
        elif silent and following is Role.USER:
            yield place


# What was said, piece by piece, whatever wrote it down. Texts in a row are one text, wherever it is parted.


def _backwards(said: Sequence[Sequence[Said]]) -> Iterator[Said]:
    for message in reversed(said):
        yield from reversed(message)


def _before(place: _Place, ours: Mapping[str, Sequence[Said]], known: Mapping[str, Turn]) -> Iterator[Said]:
    """What was said up to *place*, the last first."""
    one: Turn | None = place.turn
    if place.asked is not None:
        yield from reversed(list(_said(place.turn.messages[: place.asked])))
        one = known.get(place.turn.parent) if place.turn.parent is not None else None
    for _ in known:  # no ring goes round twice
        if one is None:
            return
        yield from reversed(ours[one.id])
        one = known.get(one.parent) if one.parent is not None else None


def _ending(backwards: Iterable[Said]) -> Said | None:
    """By which what may be the same is found."""
    role: Role | None = None
    words = b""
    for who, what in backwards:
        if role is None and not isinstance(what, bytes):
            return who, what
        if role not in (None, who) or not isinstance(what, bytes):
            break
        role, words = who, what[-ENDING_BYTES:] + words
        if len(words) >= ENDING_BYTES:
            break
    return None if role is None else (role, words[-ENDING_BYTES:])


def _ends_with(backwards: Iterator[Said], wanted: Iterator[Said]) -> bool:
    """Whether the one ends with the other. Both come the last first."""
    one: Said | None = None
    other: Said | None = None
    left = more = 0
    while True:
        if other is None:
            other = next(wanted, None)
            if other is None:
                return one is None
            more = len(other[1]) if isinstance(other[1], bytes) else 0
        if one is None:
            one = next(backwards, None)
            if one is None:
                return False
            left = len(one[1]) if isinstance(one[1], bytes) else 0
        if one[0] is not other[0]:
            return False
        if isinstance(one[1], bytes) and isinstance(other[1], bytes):
            share = min(left, more)
            if one[1][left - share : left] != other[1][more - share : more]:
                return False
            left -= share
            more -= share
        elif one[1] != other[1]:
            return False
        if not left:
            one = None
        if not more:
            other = None


def _said(messages: Iterable[Message]) -> Iterator[Said]:
    """Without spaces, which one client trims and another puts between parts."""
    for message in messages:
        for what in _meant(message.parts):
            yield message.role, what


def _meant(parts: Iterable[Part]) -> Iterator[bytes | tuple[object, ...]]:
    for part in parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                if words := text.strip().encode("utf-8", "surrogatepass").translate(None, SPACES):
                    yield words
            case ToolCall(name=name, arguments=arguments):
                yield "call", name, _arguments(arguments)
            case ToolResult(parts=inner):
                yield "result", *_together(_meant(inner))
            case Image(data=data, url=url, id=id):
                yield "image", data, url, id
            case File(data=data, text=words, url=url, id=id):
                yield "file", data, words, url, id
            case Own(kind=kind, raw=raw):
                yield "own", kind, raw
            case Reasoning():
                pass


def _together(said: Iterable[bytes | tuple[object, ...]]) -> Iterator[object]:
    """Texts that follow each other are one."""
    for texts, some in groupby(said, lambda one: isinstance(one, bytes)):
        if texts:
            yield b"".join(one for one in some if isinstance(one, bytes))
        else:
            yield from some


def _number(text: str) -> float:
    """JavaScript writes 1.0 as 1."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


_decode = msgspec.json.Decoder(float_hook=_number).decode


def _arguments(text: str) -> bytes:
    try:
        return msgspec.json.encode(_decode(text.strip() or "{}"), order="sorted")
    except (msgspec.DecodeError, RecursionError):
        return text.strip().encode(errors="replace")


# A client's ids for calls that are known here under others.


def _ids(ours: Sequence[Message], theirs: Sequence[Message]) -> dict[str, str]:
    here, there = _calls(ours), _calls(theirs)
    return {
        other: one for one, other in zip(here[len(here) - len(there) :], there, strict=False) if one != other and other
    }


def _calls(messages: Iterable[Message]) -> list[str]:
    return [part.id for message in messages for part in message.parts if isinstance(part, ToolCall)]


def _with_ids(messages: tuple[Message, ...], ids: Mapping[str, str]) -> tuple[Message, ...]:
    if not ids:
        return messages
    own = set(_calls(messages))  # a call that is new keeps its id

    def renamed(part: Part) -> Part:
        if isinstance(part, ToolResult) and part.id in ids and part.id not in own:
            return replace(part, id=ids[part.id])
        return part

    return tuple(replace(message, parts=tuple(map(renamed, message.parts))) for message in messages)


# Results that do not say what they answer: Ollama's have no id, and OpenAI's ``function`` had none.


def _answering(messages: tuple[Message, ...], before: Sequence[Message]) -> tuple[Message, ...]:
    """*messages*, whose results without an id answer the calls that stand last in *before*, of their tool first."""
    if not messages or messages[0].role is not Role.TOOL or all(one.id for one in _results(messages[:1])):
        return messages
    place = len(before)
    while place and before[place - 1].role is Role.TOOL:
        place -= 1
    answered = {one.id for one in _results([*before[place:], *messages])}
    last = before[place - 1].parts if place else ()
    calls = [part for part in last if isinstance(part, ToolCall) and part.id not in answered]

    def named(part: Part) -> Part:
        if not isinstance(part, ToolResult) or part.id or not calls:
            return part
        call = next((one for one in calls if one.name == part.name), calls[0])
        calls.remove(call)
        return replace(part, id=call.id)

    first, *others = messages
    return (replace(first, parts=tuple(map(named, first.parts))), *others)


def _results(messages: Iterable[Message]) -> list[ToolResult]:
    return [part for message in messages for part in message.parts if isinstance(part, ToolResult)]
