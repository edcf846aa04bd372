"""What a reply of OpenAI's Responses says again of its request: the official clients' types demand most of it."""

from __future__ import annotations

from typing import Any

import msgspec

from moltbot_edge.core import response_id
from moltbot_edge.core.chat import ChatRequest, Format, Role, Text, Thinking, ToolChoice, ToolMode
from moltbot_edge.core.dialect import Place, ReplyHead
from moltbot_edge.core.session import is_made_name


def echo(request: ChatRequest, head: ReplyHead) -> dict[str, Any]:
    instructions = None
    match request.messages:
        case (first, *_) if first.role is Role.SYSTEM and request.opening != 0:
            instructions = "\n".join(part.text for part in first.parts if isinstance(part, Text)) or None
    text: dict[str, Any] = {"format": _format(request.format)}
    if (verbosity := request.extras.get("text.verbosity")) is not None:
        text["verbosity"] = msgspec.Raw(verbosity)
    said: dict[str, Any] = {
        "created_at": head.created,
        "model": head.model,
        "instructions": instructions,
        "max_output_tokens": request.max_tokens,
        "metadata": {},
        "parallel_tool_calls": request.parallel_tools is not False,
        "previous_response_id": None if head.place is None else _previous(head.place),
        "reasoning": _reasoning(request.thinking),
        "store": head.place is not None and head.place.turn is not None,
        "temperature": request.temperature,
        "text": text,
        "tool_choice": _choice(request.tool_choice),
        "tools": [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": None if tool.parameters is None else msgspec.Raw(tool.parameters),
                "strict": tool.strict,
            }
            for tool in request.tools
        ],
        "top_p": request.top_p,
        "truncation": "disabled",
        "background": False,
    }
    if head.place is not None and head.place.after is None and not is_made_name(head.place.session):
        said["conversation"] = {"id": head.place.session}
    if request.user is not None:
        said["user"] = request.user
    for name in ("metadata", "safety_identifier", "prompt_cache_key"):
        if (raw := request.extras.get(name)) is not None:
            said[name] = msgspec.Raw(raw)
    return said


def _previous(place: Place) -> str | None:
    return None if place.after is None else response_id.written(place.session, place.after)


def _format(wanted: Format | None) -> dict[str, Any]:
    if wanted is None:
        return {"type": "text"}
    if wanted.schema is None:
        return {"type": "json_object"}
    said: dict[str, Any] = {
        "type": "json_schema",
        "name": wanted.name or "answer",
        "schema": msgspec.Raw(wanted.schema),
        "strict": bool(wanted.strict),
    }
    if wanted.description is not None:
        said["description"] = wanted.description
    return said


def _reasoning(thinking: Thinking | None) -> dict[str, Any]:
    if thinking is None:
        return {"effort": None, "summary": None}
    effort = thinking.effort if thinking.on else "none"
    return {"effort": effort, "summary": "auto" if thinking.shown else None}


def _choice(choice: ToolChoice | None) -> str | dict[str, str]:
    if choice is None:
        return ToolMode.AUTO.value
    return choice.mode.value if choice.name is None else {"type": "function", "name": choice.name}
