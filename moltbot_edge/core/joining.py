"""What a caller sends, joined with the session that it goes on with. Pure; who keeps the session is another's matter.

Some callers send their new message only, some all that was said, some its end, and some ask an old question again. A
history is recognised by what it means: clients trim texts, make up new ids for old calls and leave thoughts out. What
is recognised is not kept twice, and what is not is kept: nothing is doubled and nothing lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

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

NOTHING: Final = ("", ())

Meaning = tuple[str, tuple[object, ...]]


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


def joined(turns: Sequence[Turn], request: ChatRequest, *, parent: str | None = None, inherits: bool = True) -> Joined:
    """*turns* is all of a session, in its order; *parent* is where the caller goes on, if not where it stands.

    *inherits* is False where system text and tools hold for one request only.
    """
    said, new = _opened(request)
    found = _found(turns, new)
    leaf = turns[-1].id if turns else None
    if found is not None:
        parent, recognised, ids = found
    else:
        parent, recognised, ids = parent if parent is not None else leaf, 0, {}
    before = session.path(turns, parent)
    rest = _with_ids(new[recognised:], ids)
    held_system, held_tools = session.system(before), session.tools(before)
    system = said or (held_system if inherits else ())
    tools = request.tools or (held_tools if inherits else ())
    opening = None if request.opening is None else len(system)
    messages = (*system, *session.messages(before), *rest)
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


def _found(turns: Sequence[Turn], sent: tuple[Message, ...]) -> tuple[str | None, int, dict[str, str]] | None:
    """The turn after which *sent* goes on, how many of its messages that turn ends, and its ids as they are here.

    The longest that is recognised counts, and of those the latest turn. Replies that are known, after a beginning that
    is not, are of a history that was changed: it is a beginning of its own. None: all is new.
    """
    replies = [place for place, message in enumerate(sent) if message.role is Role.ASSISTANT]
    if not replies or not turns:
        return None
    # Where an assistant's words go on in the next message, the reply ends there.
    ends = [place for place in replies if place + 1 == len(sent) or sent[place + 1].role is not Role.ASSISTANT]
    meanings = [_meanings([message]) for message in sent]
    theirs = {end: _merged(meanings[: end + 1]) for end in ends}
    of_reply = {end: theirs[end][-1] for end in ends if theirs[end]}
    turns_by_reply: dict[Meaning, list[Turn]] = {}
    known = {turn.id: turn for turn in turns}
    ours = {turn.id: _meanings([*turn.messages, turn.reply]) for turn in turns}
    for turn in turns:
        for meaning in ours[turn.id][-1:]:
            turns_by_reply.setdefault(meaning, []).append(turn)
    seen = False
    for end in reversed(ends):
        for turn in reversed(turns_by_reply.get(of_reply.get(end, NOTHING), ())):
            if turn.reply.role is not Role.ASSISTANT:
                continue
            seen = True
            if _ends_with(turn, theirs[end], ours, known):
                before = session.path(turns, turn.id)
                return turn.id, end + 1, _ids(list(session.messages(before)), sent[: end + 1])
    return (None, 0, {}) if seen else None


def _ends_with(
    turn: Turn, wanted: Sequence[Meaning], ours: Mapping[str, list[Meaning]], known: Mapping[str, Turn]
) -> bool:
    """Whether what was said up to *turn* ends with *wanted*."""
    left = len(wanted)
    one: Turn | None = turn
    passed = 0
    while left and one is not None and passed <= len(known):
        said = ours[one.id]
        share = min(left, len(said))
        if tuple(said[len(said) - share :]) != tuple(wanted[left - share : left]):
            return False
        left -= share
        passed += 1
        one = known.get(one.parent) if one.parent is not None else None
    return not left


# What a message means, whatever wrote it down.


def _meanings(messages: Iterable[Message]) -> list[Meaning]:
    """One for what each role says in a row; a message that says nothing has none."""
    return _merged([[(message.role.value, said)] for message in messages if (said := _said(message.parts))])


def _merged(runs: Iterable[Sequence[Meaning]]) -> list[Meaning]:
    merged: list[Meaning] = []
    for run in runs:
        for role, said in run:
            if merged and merged[-1][0] == role:
                merged[-1] = role, _together(*merged[-1][1], *said)
            else:
                merged.append((role, said))
    return merged


def _together(*said: object) -> tuple[object, ...]:
    """Texts that follow each other are one."""
    together: list[object] = []
    for one in said:
        if isinstance(one, str) and together and isinstance(together[-1], str):
            together[-1] += one
        else:
            together.append(one)
    return tuple(together)


def _said(parts: Iterable[Part]) -> tuple[object, ...]:
    said: list[object] = []
    for part in parts:
        match part:
            case Text(text=text) | Refusal(text=text):
                if text := text.strip():
                    said.append(text)
            case ToolCall(name=name, arguments=arguments):
                said.append(("call", name, _arguments(arguments)))
            case ToolResult(parts=inner):
                said.append(("result", _together(*_said(inner))))
            case Image(data=data, url=url, id=id):
                said.append(("image", data, url, id))
            case File(data=data, text=words, url=url, id=id):
                said.append(("file", data, words, url, id))
            case Own(kind=kind, raw=raw):
                said.append(("own", kind, raw))
            case Reasoning():
                pass
    return _together(*said)


def _arguments(text: str) -> bytes:
    try:
        return msgspec.json.encode(msgspec.json.decode(text), order="sorted")
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
