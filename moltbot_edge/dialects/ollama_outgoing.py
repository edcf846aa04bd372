"""A chat, written as Ollama's ``/api/chat`` takes it. What it has no words for is dropped and named, or refused.

Source: Ollama's API documentation. It knows no choice of a tool, no bias of tokens and no second choice; its images
are data, never addresses, and the arguments of a call are JSON, never text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from moltbot_edge.core.chat import (
    ChatRequest,
    File,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from moltbot_edge.core.dialect import Outgoing
from moltbot_edge.core.errors import InvalidRequest

# Efforts that other dialects have, as Ollama's levels.
EFFORTS: Final[Mapping[str, bool | str]] = {"none": False, "minimal": "low", "xhigh": "max"}
OPTIONS: Final = {
    "max_tokens": "num_predict",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_penalty": "repeat_penalty",
}
NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')

Fields = dict[str, object]

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def outgoing(request: ChatRequest) -> Outgoing:
    """Raises `InvalidRequest` for a wish that would change the answer and that Ollama has no words for."""
    dropped: dict[str, None] = {}  # in their order, each once
    _refuse(request)
    body: Fields = {"model": request.model, "messages": _messages(request.messages, dropped), "stream": request.stream}
    choice = request.tool_choice or ToolChoice()
    if request.tools and choice.mode is not ToolMode.NONE:
        body["tools"] = [_tool(tool, dropped) for tool in request.tools]
    if request.format is not None:
        body["format"] = "json" if request.format.schema is None else msgspec.Raw(request.format.schema)
    if request.thinking is not None:
        body["think"] = _think(request.thinking, dropped)
    if request.keep_alive is not None:
        body["keep_alive"] = request.keep_alive
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    if request.top_logprobs is not None:
        body["top_logprobs"] = request.top_logprobs
    options: Fields = {name: value for field, name in OPTIONS.items() if (value := getattr(request, field)) is not None}
    if request.stop:
        options["stop"] = request.stop
    for name, value in request.extras.items():
        if request.origin != "ollama":
            dropped[name] = None
        elif name.startswith("options."):
            options[name.removeprefix("options.")] = msgspec.Raw(value)
        else:
            body[name] = msgspec.Raw(value)
    if options:
        body["options"] = options
    if request.parallel_tools is False:
        dropped["parallel_tool_calls"] = None
    if request.user is not None:
        dropped["user"] = None
    return Outgoing("/api/chat", msgspec.json.encode(body), tuple(dropped))


def _refuse(request: ChatRequest) -> None:
    if request.vital:
        raise InvalidRequest(f"{request.vital[0]} cannot be had of an Ollama", param=request.vital[0])
    if request.choices is not None and request.choices > 1:
        raise InvalidRequest("an Ollama gives one answer, not several", param="n")
    if request.logit_bias:
        raise InvalidRequest("an Ollama takes no bias of tokens", param="logit_bias")
    choice = request.tool_choice
    if choice is not None and (choice.name is not None or choice.mode is ToolMode.REQUIRED):
        raise InvalidRequest("an Ollama cannot be made to call a tool", param="tool_choice")


def _messages(messages: tuple[Message, ...], dropped: dict[str, None]) -> list[Fields]:
    written: list[Fields] = []
    for index, message in enumerate(messages):
        if message.name is not None:
            dropped["messages.name"] = None
        if message.role is Role.TOOL:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    written.append(_result(part, index, dropped))
        else:
            written.append(_said(message, index, dropped))
    return written


def _said(message: Message, index: int, dropped: dict[str, None]) -> Fields:
    texts: list[str] = []
    thoughts: list[str] = []
    images: list[str] = []
    calls: list[Fields] = []
    for part in message.parts:
        if part.cached:
            dropped["cache_control"] = None
        match part:
            case Reasoning(text=text):
                if text:
                    thoughts.append(text)
                if part.seal is not None and part.origin != "ollama":
                    dropped["reasoning.signature"] = None
            case ToolCall():
                calls.append({"id": part.id, "function": {"name": part.name, "arguments": _arguments(part.arguments)}})
            case ToolResult():
                raise InvalidRequest("a tool's result is a message of its own", param=f"messages[{index}]")
            case _:
                _add(part, index, texts, images)
    fields: Fields = {"role": message.role.value, "content": "\n".join(texts)}
    if thoughts:
        fields["thinking"] = "\n".join(thoughts)
    if images:
        fields["images"] = images
    if calls:
        fields["tool_calls"] = calls
    return fields


def _result(result: ToolResult, index: int, dropped: dict[str, None]) -> Fields:
    texts: list[str] = []
    images: list[str] = []
    for part in result.parts:
        _add(part, index, texts, images)
    if result.failed:
        dropped["is_error"] = None
    fields: Fields = {"role": "tool", "content": "\n".join(texts), "tool_call_id": result.id}
    if result.name is not None:
        fields["tool_name"] = result.name
    if images:
        fields["images"] = images
    return fields


def _add(part: Part, index: int, texts: list[str], images: list[str]) -> None:
    place = f"messages[{index}].content"
    match part:
        case Text(text=text) | Refusal(text=text) | File(text=str(text)):
            texts.append(text)
        case Image(data=str(data)):
            images.append(data)
        case Image():
            raise InvalidRequest("an Ollama takes an image as data, not by its address or id", param=place)
        case File():
            raise InvalidRequest("an Ollama takes no files but images", param=place)
        case _:
            raise InvalidRequest(f"an Ollama has no words for a {type(part).__name__}", param=place)


def _arguments(text: str) -> msgspec.Raw | Fields:
    """As the object that Ollama demands; what the model wrote stays in it, also where that is none."""
    try:
        _object(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {"arguments": text} if text.strip() else {}
    return msgspec.Raw(text.encode())


def _tool(tool: Tool, dropped: dict[str, None]) -> Fields:
    if tool.strict:
        dropped["tools.strict"] = None
    if tool.cached:
        dropped["cache_control"] = None
    function: Fields = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = NO_PARAMETERS if tool.parameters is None else msgspec.Raw(tool.parameters)
    return {"type": "function", "function": function}


def _think(thinking: Thinking, dropped: dict[str, None]) -> bool | str:
    if thinking.budget_tokens is not None:
        dropped["thinking.budget_tokens"] = None
    if not thinking.on:
        return False
    if thinking.effort is None:
        return True
    return EFFORTS.get(thinking.effort, thinking.effort)
