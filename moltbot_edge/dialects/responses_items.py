"""What is kept of a conversation, as items of OpenAI's Responses: written for whoever asks for them again.

Source: OpenAI's API reference and the types of its official clients. What only another dialect knows is no item here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from moltbot_edge.core import items, response_id
from moltbot_edge.core.chat import File, Image, Own, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from moltbot_edge.core.items import Item
from moltbot_edge.core.session import Turn
from moltbot_edge.dialects import responses_seal

_ROLES: Final[Mapping[Role, str]] = {Role.SYSTEM: "developer", Role.USER: "user"}


def listed(turns: Sequence[Turn], removed: Collection[str]) -> list[tuple[Turn, Item]]:
    """All of *turns*, in the order in which they were said, but for what was taken out: see `Turn.removed`."""
    return [
        (turn, one)
        for turn in turns
        if turn.id not in removed
        for one in items.items(turn)
        if items.mark(turn.id, one.key) not in removed and not any(isinstance(part, Own) for part in one.parts)
    ]


def id_of(item: Item, session: str, turn: str) -> str:
    return response_id.of_item(_kind(item), session, turn, item.key)


def written(item: Item, session: str, turn: str) -> dict[str, Any]:
    id = id_of(item, session, turn)
    said: dict[str, Any]
    match item.parts:
        case (ToolCall(id=call, name=name, arguments=arguments),):
            said = {"type": "function_call", "call_id": call, "name": name, "arguments": arguments}
        case (ToolResult(id=call, parts=parts),):
            said = {"type": "function_call_output", "call_id": call, "output": _output(parts)}
        case (Reasoning() as thought,):
            return {"id": id, "type": "reasoning", **_thought(thought)}
        case parts:
            role = _ROLES.get(item.role, "assistant")
            said = {"type": "message", "role": role, "content": [_content(part, role) for part in parts]}
    return {"id": id, "status": "completed", **said}


def _kind(item: Item) -> str:
    match item.parts:
        case (ToolCall(),):
            return "fc"
        case (ToolResult(),):
            return "fco"
        case (Reasoning(),):
            return "rs"
        case _:
            return "msg"


def _thought(thought: Reasoning) -> dict[str, Any]:
    said: dict[str, Any] = {"summary": []}
    if thought.text:
        said["content"] = [{"type": "reasoning_text", "text": thought.text}]
    if thought.seal is not None:
        said["encrypted_content"] = responses_seal.written(thought.seal, thought.origin, thought.redacted)
    return said


def _output(parts: tuple[Text | Image | File, ...]) -> str | list[dict[str, Any]]:
    match parts:
        case ():
            return ""
        case (Text(text=text),):
            return text
        case _:
            return [_content(part, "user") for part in parts]


def _content(part: Part, role: str) -> dict[str, Any]:
    match part:
        case Text(text=text) if role == "assistant":
            return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        case Text(text=text):
            return {"type": "input_text", "text": text}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case Image(media_type=media_type, data=data, url=url, detail=detail, id=file_id):
            where = url if data is None else f"data:{media_type or 'image/png'};base64,{data}"
            return {"type": "input_image", "image_url": where, "file_id": file_id, "detail": detail or "auto"}
        case File(media_type=media_type, data=data, text=text, url=url, name=name, id=file_id):
            if text is not None:
                return {"type": "input_text", "text": text}
            inside = None if data is None else f"data:{media_type or 'application/pdf'};base64,{data}"
            said = {"filename": name, "file_data": inside, "file_url": url, "file_id": file_id}
            return {"type": "input_file", **{field: value for field, value in said.items() if value is not None}}
        case _:
            return {"type": "input_text", "text": msgspec.json.encode(part).decode(errors="replace")}
