"""A transcript made fit for the model that reads it. Pure: the canonical chat in, and out.

What one model wrote, another may refuse: ids of its own form, a call that was never answered, a role that its template
has not. Every text stays; what cannot go along is named. It is done to the copy that is sent, never to what is kept,
and to the same transcript always the same: on a small board the beginning of a prompt is worth minutes.

In this order: what would change the answer is refused; names and thoughts; calls and their results (`calls`); system
and roles (`turns`); ids. Nothing takes longer for a word the more words there are: a caller may send 100,000 messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from moltbot_edge.core import calls, turns
from moltbot_edge.core.chat import ChatRequest, Image, Message, Own, Part, Reasoning, Refusal, Role, Text, ToolResult
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.target import Target

# To ask an enumeration for one of its members costs as much as all else that is done to a message.
_SYSTEM: Final = Role.SYSTEM
_USER: Final = Role.USER
_ASSISTANT: Final = Role.ASSISTANT
_TOOL: Final = Role.TOOL


class Cleaned(msgspec.Struct, frozen=True):
    """*dropped* names what did not go along."""

    request: ChatRequest
    dropped: tuple[str, ...] = ()


def cleaned(request: ChatRequest, target: Target) -> Cleaned:
    """Raises `InvalidRequest` for what *target* has not and the answer would be another without."""
    dropped: dict[str, None] = {}
    if target.tools is False and request.held_tools:
        dropped["tools"] = None
        request = replace(request, tools=(), held_tools=False, tool_choice=None, parallel_tools=None)
    refuse(request, target)
    if not in_turn(request.messages, target):
        request = replace(request, messages=mended(request.messages, target, dropped))
    return Cleaned(request, tuple(dropped))


def mended(messages: Sequence[Message], target: Target, dropped: dict[str, None]) -> tuple[Message, ...]:
    """All that is to be done to them, in its order; what did not go along is in *dropped*."""
    messages = list(_known(messages, target, dropped))
    messages = list(calls.paired(list(turns.in_one(messages)), target))
    if target.tools is False:
        messages = list(calls.told(messages))
    messages = list(turns.system_first(messages, target))
    messages = turns.alternating(messages, target)
    return calls.with_ids(messages, target.ids)


def in_turn(messages: Iterable[Message], target: Target) -> bool:
    """Whether they are words alone, said in turn, as most are: then nothing has to be done to them.

    To do nothing to 32 turns took 200 us, and to see it takes 10.
    """
    system, user_first, empty_text = target.system, target.user_first or target.alternates, target.empty_text
    before: Role | None = None
    for message in messages:
        role, parts = message.role, message.parts
        if role is before or role is _TOOL or message.name is not None or not parts:
            return False
        if role is _ASSISTANT:
            if user_first and before is not _USER:
                return False
        elif role is _SYSTEM and (before is not None or not system):
            return False
        for part in parts:
            if type(part) is not Text or (not empty_text and (not part.text or part.text.isspace())):
                return False
        before = role
    return True


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
            for part in message.parts:
                if type(part) is not Text and _holds_image(part):
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
                case Refusal() if not target.refusals:  # OpenAI's chat has a form for it, llama-server does not know it
                    parts.append(Text(text=part.text, cached=part.cached))
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
