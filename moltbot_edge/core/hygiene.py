"""A transcript made fit for the model that reads it. Pure: the canonical chat in, and out.

What one model wrote, another may refuse: ids of its own form, a call that was never answered, a role that its template
has not. Every text stays; what cannot go along is named. It is done to the copy that is sent, never to what is kept,
and to the same transcript always the same: on a small board the beginning of a prompt is worth minutes.

In this order: what would change the answer is refused; names and thoughts; calls and their results; system; roles; ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from moltbot_edge.core import tool_ids
from moltbot_edge.core.chat import (
    ChatRequest,
    Image,
    Message,
    Own,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.target import Target

ABORTED: Final = "(aborted)"  # the result of a call that nobody answered
UNANSWERED: Final = "(no answer)"  # between two turns of a user's, where a template wants the model's
CONTINUED: Final = "(the conversation goes on)"  # before a model's first turn, where the user's has to be first

# What programs put around such words in a user's message; `core.prompt` knows it too.
REMINDER: Final = ("<system-reminder>\n", "\n</system-reminder>")


class Cleaned(msgspec.Struct, frozen=True):
    """*dropped* names what did not go along."""

    request: ChatRequest
    dropped: tuple[str, ...] = ()


def cleaned(request: ChatRequest, target: Target) -> Cleaned:
    """Raises `InvalidRequest` for what *target* has not and the answer would be another without."""
    refuse(request, target)
    dropped: dict[str, None] = {}
    messages: Sequence[Message] = list(_known(request.messages, target, dropped))
    toolless = target.tools is False
    messages = list(_without_call(messages) if toolless else _paired(list(_in_one(messages)), target))
    messages = list(_system_first(messages, target))
    messages = list(_merged(messages, target))
    messages = _with_ids(messages, target)
    return Cleaned(replace(request, messages=tuple(messages)), tuple(dropped))


def refuse(request: ChatRequest, target: Target) -> None:
    if request.vital and request.origin != target.dialect:
        raise InvalidRequest(
            f"`{request.vital[0]}` is {request.origin}'s own and no other upstream has it: leave it out, or ask for a "
            "model of such an upstream",
            param=request.vital[0],
        )
    if target.tools is False and request.tools:
        raise InvalidRequest(
            "this model takes no tools: its chat template has no word for them, or its entry says `tools: false`",
            param="tools",
        )
    if target.images is False:
        for place, message in enumerate(request.messages):
            if any(_holds_image(part) for part in message.parts):
                raise InvalidRequest("this model takes no images", param=f"messages[{place}].content")


def _holds_image(part: Part) -> bool:
    return isinstance(part, Image) or (isinstance(part, ToolResult) and any(map(_holds_image, part.parts)))


# Names and thoughts.


def _known(messages: Iterable[Message], target: Target, dropped: dict[str, None]) -> Iterator[Message]:
    for message in messages:
        parts: list[Part] = []
        for part in message.parts:
            match part:
                case Reasoning():
                    thought = _thought(part, target)
                    if thought is not part:
                        dropped["messages.reasoning"] = None
                    if thought is not None:
                        parts.append(thought)
                case Own() if part.origin != target.dialect:
                    dropped[f"messages.{part.kind}"] = None
                case Text() | Refusal() if not target.empty_text and not part.text.strip():
                    pass
                case ToolResult() if not target.empty_text:
                    words = tuple(one for one in part.parts if not isinstance(one, Text) or one.text.strip())
                    parts.append(part if len(words) == len(part.parts) else replace(part, parts=words))
                case _:
                    parts.append(part)
        name = message.name
        if name is not None and not target.names:
            dropped["messages.name"] = None
            name = None
        if parts or (target.empty_text and not message.parts):
            yield Message(message.role, tuple(parts), name)


def _thought(part: Reasoning, target: Target) -> Reasoning | None:
    """What may be sent of it: a seal holds only where it came from."""
    if part.seal is not None and part.origin == target.dialect:
        return part
    if not target.reasoning or not part.text:
        return None
    if part.seal is None and part.origin is None and part.id is None:
        return part
    return Reasoning(text=part.text, cached=part.cached)


# Calls and their results.


def _in_one(messages: Iterable[Message]) -> Iterator[Message]:
    """What an assistant says and calls in a row, as one: some dialects have an item for each call."""
    held: Message | None = None
    for message in messages:
        if (
            held is not None
            and held.role is message.role is Role.ASSISTANT
            and (_calls(message) or not _calls(held))
            and held.name == message.name
        ):
            held = replace(held, parts=held.parts + message.parts)
            continue
        if held is not None:
            yield held
        held = message
    if held is not None:
        yield held


def _calls(message: Message) -> list[ToolCall]:
    return [part for part in message.parts if isinstance(part, ToolCall)]


def _paired(messages: Sequence[Message], target: Target) -> Iterator[Message]:
    """Each call followed by its result, whatever stood between; one that has none gets `ABORTED`."""
    place, used = 0, set[str]()
    while place < len(messages):
        message = messages[place]
        place += 1
        if message.role is not Role.ASSISTANT or not _calls(message):
            yield from _without_call([message])
            continue
        end = place
        while end < len(messages) and messages[end].role is not Role.ASSISTANT:
            end += 1
        following, place = messages[place:end], end
        results: dict[str, list[ToolResult]] = {}
        missing = Counter(call.id for call in _calls(message))
        rest: list[Message] = []
        for one in following:
            left: list[Part] = []
            for part in one.parts:
                if isinstance(part, ToolResult) and missing[part.id]:
                    missing[part.id] -= 1
                    results.setdefault(part.id, []).append(part)
                else:
                    left.append(part)
            if left or not one.parts:
                rest.append(replace(one, parts=tuple(left)) if len(left) < len(one.parts) else one)
        yield from _round(message, results, used, target)
        yield from _without_call(rest)


def _round(message: Message, results: dict[str, list[ToolResult]], used: set[str], target: Target) -> Iterator[Message]:
    """One message's calls with their *results*. An id that was *used* before is made another."""
    answered: list[ToolResult] = []
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            found = results.get(part.id)
            result = found.pop(0) if found else None
            fresh = _unused(part.id, used)
            if fresh != part.id:
                part = replace(part, id=fresh)
            if result is None:
                result = ToolResult(id=fresh, parts=(Text(text=ABORTED),), failed=True, name=part.name)
            elif fresh != result.id:
                result = replace(result, id=fresh)
            answered.append(result)
        parts.append(part)
    if target.parallel_calls or len(answered) == 1:
        yield replace(message, parts=tuple(parts))
        yield from _results(answered, target)
        return
    held: list[Part] = []
    for part in parts:
        held.append(part)
        if isinstance(part, ToolCall):
            yield replace(message, parts=tuple(held))
            held = []
            yield from _results([answered.pop(0)], target)
    if held:
        yield replace(message, parts=tuple(held))


def _unused(tool_id: str, used: set[str]) -> str:
    fresh, again = tool_id, 1
    while fresh in used:
        again += 1
        fresh = f"{tool_id}-{again}"
    used.add(fresh)
    return fresh


def _results(results: Sequence[ToolResult], target: Target) -> Iterator[Message]:
    shown: list[Part] = []
    kept: list[Part] = []
    for result in results:
        images = [part for part in result.parts if isinstance(part, Image)]
        if images and not target.result_images:
            texts = tuple(part for part in result.parts if not isinstance(part, Image))
            kept.append(replace(result, parts=(*texts, Text(text="(its images follow)"))))
            shown += (Text(text=f"(what {result.name or 'the tool'} showed:)"), *images)
        else:
            kept.append(result)
    yield Message(Role.TOOL, tuple(kept))
    if shown:
        yield Message(Role.USER, tuple(shown))


def _without_call(messages: Iterable[Message]) -> Iterator[Message]:
    """What was called and what came of it, as text: for a model that has no tools, and for results without a call.

    No model takes those, and they may say what matters.
    """
    for message in messages:
        if not any(isinstance(part, ToolResult | ToolCall) for part in message.parts):
            yield message if message.role is not Role.TOOL else replace(message, role=Role.USER)
            continue
        role = Role.ASSISTANT if message.role is Role.ASSISTANT else Role.USER
        yield Message(role, tuple(_told(message.parts)), message.name)


def _told(parts: Iterable[Part]) -> Iterator[Part]:
    for part in parts:
        match part:
            case ToolCall():
                yield Text(text=f"(called {part.name}, {part.id}: {part.arguments})", cached=part.cached)
            case ToolResult():
                failed = ", which failed" if part.failed else ""
                yield Text(text=f"(result of {part.name or 'a tool'}, {part.id}{failed}:)", cached=part.cached)
                yield from part.parts
            case _:
                yield part


# System, and whose turn it is.


def _system_first(messages: Sequence[Message], target: Target) -> Iterator[Message]:
    """All that opens the conversation is one system message; a later one becomes a reminder where it stands.

    To move it to the front would begin the prompt anew at every such message, and much of what is cached were lost.
    """
    opening = 0
    while opening < len(messages) and messages[opening].role is Role.SYSTEM:
        opening += 1
    first = tuple(part for message in messages[:opening] for part in message.parts)
    if first:
        yield Message(Role.SYSTEM, first) if target.system else Message(Role.USER, first)
    for message in messages[opening:]:
        if message.role is not Role.SYSTEM:
            yield message
            continue
        before, after = REMINDER
        parts = tuple(
            replace(part, text=f"{before}{part.text}{after}") if isinstance(part, Text) else part
            for part in message.parts
        )
        yield Message(Role.USER, parts)


def _merged(messages: Iterable[Message], target: Target) -> Iterator[Message]:
    """Turns that alternate: what one role says in a row is one message, if nobody's name says otherwise."""
    held: Message | None = None
    began = False
    for message in messages:
        if held is None:
            held = message
            continue
        if _together(held, message, target):
            held = replace(held, parts=held.parts + message.parts)
            continue
        yield from _opened(held, target, began)
        began = began or held.role is not Role.SYSTEM
        if target.alternates and held.role is Role.TOOL and message.role is Role.USER:
            yield Message(Role.ASSISTANT, (Text(text=UNANSWERED),))
        held = message
    if held is not None:
        yield from _opened(held, target, began)


def _together(one: Message, other: Message, target: Target) -> bool:
    if one.role is not other.role or one.role is Role.TOOL or _calls(one):
        return False
    return one.name == other.name or target.alternates


def _opened(message: Message, target: Target, began: bool) -> Iterator[Message]:
    if not began and message.role is Role.ASSISTANT and (target.user_first or target.alternates):
        yield Message(Role.USER, (Text(text=CONTINUED),))
    yield message


def _with_ids(messages: Sequence[Message], target: Target) -> list[Message]:
    renamed = tool_ids.mapped((call.id for message in messages for call in _calls(message)), target.ids)
    if all(one == other for one, other in renamed.items()):
        return list(messages)
    return [replace(message, parts=tuple(_renamed(part, renamed) for part in message.parts)) for message in messages]


def _renamed(part: Part, ids: Mapping[str, str]) -> Part:
    return replace(part, id=ids[part.id]) if isinstance(part, ToolCall | ToolResult) else part
