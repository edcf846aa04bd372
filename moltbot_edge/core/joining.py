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
MOST_COMPARED: Final = 100_000  # pieces: a tenth of a second, where everything is alike and nothing fits
MOST_ALIKE: Final = 64  # of replies that end alike, the latest: a session may be a thousand times "ok"
SPACES: Final = b" \t\n\r\v\f"

Said = tuple[Role, bytes | tuple[object, ...]]  # who, and a text or another thing


class Joined(msgspec.Struct, frozen=True):
    """*request* is the whole conversation; of the caller's messages the first *recognised* were in the session.

    The others are *messages*, to be kept as a turn after *parent*, with *system* and *tools* as a `Turn` has them.
    *before* is the `session.path` to *parent*.
    """

    request: ChatRequest
    messages: tuple[Message, ...]
    parent: str | None = None
    recognised: int = 0
    system: tuple[Message, ...] | None = None
    tools: tuple[Tool, ...] | None = None
    before: tuple[Turn, ...] = ()


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
        before,
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
    known = {turn.id: turn for turn in turns}
    theirs, lengths = list[Said](), list[int]()
    for message in sent:
        theirs += _said([message])
        lengths.append(len(theirs))
    path = _Path(ours, known, theirs)
    by_ending: dict[Said, list[_Place]] = {}
    for place in (one for turn in turns for one in _places(turn)):
        if only in (None, place.turn.id) and (ending := _ending(path.backwards(place))) is not None:
            by_ending.setdefault(ending, []).append(place)
    seen, beside = False, None
    for end in reversed(ends):
        said = range(lengths[end])
        if (ending := _ending(theirs[at] for at in reversed(said))) is None:
            continue
        for place in by_ending.get(ending, ())[: -MOST_ALIKE - 1 : -1]:
            if path.ends_with(said, place) and not (from_beginning and path.goes_further_back):
                if place.asked is None:
                    before = session.path(turns, place.turn.id)
                    return place.turn.id, end + 1, _ids(list(session.messages(before)), sent[: end + 1])
                seen, beside = True, beside or place.turn
            elif place.asked is None and not seen and ending[0] is Role.ASSISTANT:
                reply = sum(1 for _ in takewhile(lambda at: theirs[at][0] is Role.ASSISTANT, reversed(said)))
                seen = path.ends_with(said[-reply:], place)
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


class _Path:
    """What was said up to a place, and whether that ends as *theirs* does. *ours* is what each turn said.

    *goes_further_back*: more was said before what was found last.
    """

    def __init__(self, ours: Mapping[str, Sequence[Said]], known: Mapping[str, Turn], theirs: Sequence[Said]) -> None:
        self.goes_further_back = False
        self._ours = ours
        self._known = known
        self._theirs = theirs
        self._failed: set[tuple[str, int, int, int]] = set()
        self._left = MOST_COMPARED

    def backwards(self, place: _Place) -> Iterator[Said]:
        """The last first."""
        for _, said in self._turns(place):
            yield from reversed(said)

    def ends_with(self, wanted: range, place: _Place) -> bool:
        """*wanted* are pieces of *theirs*. What failed once fails again, wherever it was come from."""
        begin, end = wanted.start, wanted.stop
        left = more = 0  # of the last of ours and of theirs, where some of it was found; 0: all of it is left
        passed: list[tuple[str, int, int, int]] = []
        turns = self._turns(place)
        for turn_id, said in turns:
            self._left -= len(said)
            if self._left < 0:
                break
            if turn_id is not None:
                if (key := (turn_id, begin, end, more)) in self._failed:
                    break
                passed.append(key)
            rest = len(said)
            while rest and end > begin:
                (who, what), (whom, that) = said[rest - 1], self._theirs[end - 1]
                if who is not whom:
                    break
                if isinstance(what, bytes) and isinstance(that, bytes):
                    left, more = left or len(what), more or len(that)
                    share = min(left, more)
                    if what[left - share : left] != that[more - share : more]:
                        break
                    left, more = left - share, more - share
                elif what != that:
                    break
                rest -= not left
                end -= not more
            if end == begin:
                self.goes_further_back = bool(rest) or any(said for _, said in turns)
                if not left:
                    return True
            if rest:
                break
        self._failed.update(passed)
        return False

    def _turns(self, place: _Place) -> Iterator[tuple[str | None, Sequence[Said]]]:
        """The last first, each with what it said."""
        one: Turn | None = place.turn
        if place.asked is None:
            yield place.turn.id, self._ours[place.turn.id]
        else:
            yield None, tuple(_said(place.turn.messages[: place.asked]))
        for _ in self._known:  # no ring goes round twice
            one = self._known.get(one.parent) if one is not None and one.parent is not None else None
            if one is None:
                return
            yield one.id, self._ours[one.id]


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
