"""Calls of tools and their results, as a model reads them: each call followed by its result, ids as it wants them.

A part of `hygiene`, and as pure. Not the form of an id, which is `tool_ids`'.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from moltbot_edge.core import tool_ids
from moltbot_edge.core.chat import Image, Message, Part, Role, Text, ToolCall, ToolResult
from moltbot_edge.core.target import Target
from moltbot_edge.core.tool_ids import IdRule

ABORTED: Final = "(aborted)"  # the result of a call that nobody answered


def _calls(message: Message) -> list[ToolCall]:
    return [part for part in message.parts if isinstance(part, ToolCall)]


def paired(messages: Sequence[Message], target: Target) -> Iterator[Message]:
    """Each call followed by its result, whatever stood between; one that has none gets `ABORTED`."""
    place, used, names = 0, dict[str, int](), dict[str, str]()
    while place < len(messages):
        message = messages[place]
        place += 1
        if message.role is not Role.ASSISTANT or not _calls(message):
            yield from told([message], names)
            continue
        names.update((call.id, call.name) for call in _calls(message))
        end = place
        while end < len(messages) and messages[end].role is not Role.ASSISTANT:
            end += 1
        following, place = messages[place:end], end
        results: dict[str, deque[ToolResult]] = {}
        missing = Counter(call.id for call in _calls(message))
        rest: list[Message] = []
        for one in following:
            left: list[Part] = []
            for part in one.parts:
                if isinstance(part, ToolResult) and missing[part.id]:
                    missing[part.id] -= 1
                    results.setdefault(part.id, deque()).append(part)
                else:
                    left.append(part)
            if left or not one.parts:
                rest.append(replace(one, parts=tuple(left)) if len(left) < len(one.parts) else one)
        yield from _round(message, results, used, target)
        yield from told(rest, names)


def _round(
    message: Message, results: Mapping[str, deque[ToolResult]], used: dict[str, int], target: Target
) -> Iterator[Message]:
    """One message's calls with their *results*. An id that was *used* before is made another."""
    answered: list[ToolResult] = []
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, ToolCall):
            found = results.get(part.id)
            result = found.popleft() if found else None
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
    in_order = iter(answered)
    for part in parts:
        held.append(part)
        if isinstance(part, ToolCall):
            yield replace(message, parts=tuple(held))
            held = []
            yield from _results([next(in_order)], target)
    if held:
        yield replace(message, parts=tuple(held))


def _unused(tool_id: str, used: dict[str, int]) -> str:
    """*tool_id*, or what it is made where that is taken. *used* counts how often each has been."""
    again = used.get(tool_id, 0) + 1
    if again == 1:
        used[tool_id] = 1
        return tool_id
    while (fresh := f"{tool_id}-{again}") in used:
        again += 1
    used[tool_id] = again
    used[fresh] = 1
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


def told(messages: Iterable[Message], names: dict[str, str] | None = None) -> Iterator[Message]:
    """What was called and what came of it, as text: for a model that has no tools, and for results without a call.

    No model takes those, and they may say what matters. Ids do not: results stand in the order of their calls, and to
    read one takes a small board as long as a sentence. *names* are of the tools of earlier calls, by their ids.
    """
    names = {} if names is None else names
    for message in messages:
        if not any(isinstance(part, ToolResult | ToolCall) for part in message.parts):
            yield message if message.role is not Role.TOOL else replace(message, role=Role.USER)
            continue
        role = Role.ASSISTANT if message.role is Role.ASSISTANT else Role.USER
        yield Message(role, tuple(_told(message.parts, names)), message.name)


def _told(parts: Iterable[Part], names: dict[str, str]) -> Iterator[Part]:
    for part in parts:
        match part:
            case ToolCall():
                names[part.id] = part.name
                yield Text(text=f"(called {part.name}: {part.arguments})", cached=part.cached)
            case ToolResult():
                name = part.name or names.get(part.id, "a tool")
                failed = ", which failed" if part.failed else ""
                yield Text(text=f"(result of {name}{failed}:)", cached=part.cached)
                yield from part.parts
            case _:
                yield part


def with_ids(messages: Sequence[Message], rule: IdRule) -> tuple[Message, ...]:
    renamed = tool_ids.mapped((call.id for message in messages for call in _calls(message)), rule)
    if all(one == other for one, other in renamed.items()):
        return tuple(messages)
    return tuple(
        replace(message, parts=tuple(_renamed(part, renamed) for part in message.parts)) for message in messages
    )


def _renamed(part: Part, ids: Mapping[str, str]) -> Part:
    return replace(part, id=ids.get(part.id, part.id)) if isinstance(part, ToolCall | ToolResult) else part
