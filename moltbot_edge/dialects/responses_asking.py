"""A request in OpenAI's Responses, written: what to ask an upstream that speaks it.

Source: OpenAI's API reference. Nothing is to be kept there: the gateway sends the whole conversation each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from moltbot_edge.core.chat import (
    ChatRequest,
    File,
    Format,
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
    ToolResult,
)
from moltbot_edge.core.dialect import Outgoing
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.dialects import responses_seal
from moltbot_edge.dialects.responses_request import LOGPROBS
from moltbot_edge.dialects.responses_seal import OWN

PATH: Final = "/responses"

# Of what other dialects' callers send, this is said here too, and by the same name.
_ALSO_HERE: Final = frozenset(
    {
        "metadata",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "truncation",
        "context_management",
        "max_tool_calls",
        "moderation",
    }
)
# There are no words for these. Another sampling is another answer too, but one as good.
_DROPPED: Final = (
    "top_k",
    "min_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "logit_bias",
    "keep_alive",
)

# How much thinking a budget is, in the words that there are. Judgement, not measured.
_LOW_TOKENS, _MEDIUM_TOKENS = 2_048, 8_192


def written(request: ChatRequest) -> Outgoing:
    """Raises `InvalidRequest` for what would change the answer and cannot be said."""
    if request.stop:
        raise InvalidRequest("an upstream that speaks openai-responses knows no stop sequences", param="stop")
    if request.choices is not None and request.choices > 1:
        raise InvalidRequest("an upstream that speaks openai-responses gives one answer", param="n")
    dropped = _Dropped()
    instructions, messages = _instructions(request.messages)
    body: dict[str, Any] = {"model": request.model}
    if instructions is not None:
        body["instructions"] = instructions
    body["input"] = [item for place, message in enumerate(messages) for item in _items(message, place, dropped)]
    body["store"] = False
    include = []
    if request.stream:
        body["stream"] = True
    if request.tools:
        body["tools"] = [_tool(tool, dropped) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _choice(request.tool_choice)
    if request.thinking is not None:
        body["reasoning"] = _reasoning(request.thinking)
        if request.thinking.on:
            include.append("reasoning.encrypted_content")
    if request.logprobs:
        include.append(LOGPROBS)
        if request.top_logprobs is not None:
            body["top_logprobs"] = request.top_logprobs
    if include:
        body["include"] = include
    for name, value in (
        ("parallel_tool_calls", request.parallel_tools),
        ("max_output_tokens", request.max_tokens),
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("user", request.user),
    ):
        if value is not None:
            body[name] = value
    text: dict[str, Any] = {} if request.format is None else {"format": _format(request.format)}
    own = request.origin == OWN
    if request.vital and not own:
        raise InvalidRequest(f"only an upstream that speaks {request.origin} has it", param=request.vital[0])
    for name, raw in request.extras.items():
        if name in ("verbosity", "text.verbosity"):
            text["verbosity"] = msgspec.Raw(raw)
        elif own and name in request.vital and name.startswith("tools["):
            body.setdefault("tools", []).append(msgspec.Raw(raw))
        elif own or name in _ALSO_HERE:
            body[name] = msgspec.Raw(raw)
        else:
            dropped.note(name)
    if text:
        body["text"] = text
    for name in _DROPPED:
        if getattr(request, name) is not None:
            dropped.note(name)
    return Outgoing(PATH, msgspec.json.encode(body), tuple(dropped.names))


class _Dropped:
    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def note(self, name: str) -> None:
        self.names[name] = None


def _instructions(messages: tuple[Message, ...]) -> tuple[str | None, tuple[Message, ...]]:
    """What the first message says to the model, if it is the system's; and the messages after it."""
    match messages:
        case (Message(role=Role.SYSTEM, parts=(Text(text=text, cached=False),), name=None), *_):
            return text, messages[1:]
        case _:
            return None, messages


def _items(message: Message, place: int, dropped: _Dropped) -> Iterable[dict[str, Any]]:
    if message.name is not None:
        dropped.note("messages.name")
    match message.role:
        case Role.TOOL:
            for part in message.parts:
                if isinstance(part, ToolResult):
                    yield _output(part, dropped)
        case Role.ASSISTANT:
            yield from _turn(message.parts, place, dropped)
        case role:
            content = [_input(part, dropped) for part in message.parts]
            yield {"type": "message", "role": role.value, "content": content}


def _turn(parts: Iterable[Part], place: int, dropped: _Dropped) -> Iterable[dict[str, Any]]:
    """A turn of the assistant's: words that follow each other are one item, whatever else is one by itself."""
    words: list[dict[str, Any]] = []
    for number, part in enumerate(parts):
        match part:
            case Text(text=text):
                _note_marker(part, dropped)
                words.append({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
                continue
            case Refusal(text=text):
                words.append({"type": "refusal", "refusal": text})
                continue
            case Reasoning():
                item = _thought(part, f"rs_{place}_{number}")
            case ToolCall():
                _note_marker(part, dropped)
                item = {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
            case _:
                raise InvalidRequest(
                    "an upstream that speaks openai-responses takes no images or files from the assistant",
                    param="messages",
                )
        if words:
            yield _words(words, f"msg_{place}_{number}")
            words = []
        yield item
    if words:
        yield _words(words, f"msg_{place}")


def _words(words: list[dict[str, Any]], id: str) -> dict[str, Any]:
    """A text by itself needs no *id*, which nobody has given, and every upstream takes it."""
    match words:
        case [{"text": text}] if text:
            return {"type": "message", "role": "assistant", "content": text}
        case _:
            return {"type": "message", "id": id, "role": "assistant", "status": "completed", "content": words}


def _thought(part: Reasoning, id: str) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "reasoning", "id": part.id or id}
    if part.seal is None:
        item["summary"] = []
        item["content"] = [{"type": "reasoning_text", "text": part.text}]
    else:
        item["summary"] = [{"type": "summary_text", "text": part.text}] if part.text else []
        item["encrypted_content"] = responses_seal.written(part.seal, part.origin, part.redacted)
    return item


def _output(result: ToolResult, dropped: _Dropped) -> dict[str, Any]:
    if result.failed:
        dropped.note("is_error")  # the result's own words say it as well
    _note_marker(result, dropped)
    output: str | list[dict[str, Any]]
    match result.parts:
        case ():
            output = ""
        case (Text(text=text, cached=False),) if text:
            output = text
        case parts:
            output = [_input(part, dropped) for part in parts]
    return {"type": "function_call_output", "call_id": result.id, "output": output}


def _input(part: Part, dropped: _Dropped) -> dict[str, Any]:
    _note_marker(part, dropped)
    match part:
        case Text(text=text) | Refusal(text=text):
            return {"type": "input_text", "text": text}
        case Image():
            if part.id is not None:
                return {"type": "input_image", "file_id": part.id, "detail": part.detail or "auto"}
            url = part.url if part.data is None else f"data:{part.media_type or 'image/png'};base64,{part.data}"
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case File():
            return _file(part)
        case _:
            raise InvalidRequest(
                f"an upstream that speaks openai-responses takes no {type(part).__name__} here", param="messages"
            )


def _file(part: File) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "input_file"}
    if part.media_type is not None and part.media_type.startswith(("audio/", "video/")):
        raise InvalidRequest("an upstream that speaks openai-responses takes no sounds", param="messages")
    if part.text is not None:
        # A document that is text is said as text: nobody reads it better from a file.
        return {"type": "input_text", "text": part.text}
    if part.data is not None:
        item["filename"] = part.name or "document"
        item["file_data"] = f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
        return item
    if part.url is not None:
        item["file_url"] = part.url
    if part.id is not None:
        item["file_id"] = part.id
    if part.name is not None:
        item["filename"] = part.name
    return item


def _note_marker(part: Part, dropped: _Dropped) -> None:
    if part.cached:
        dropped.note("cache_control")  # only the newest models take the marker, and others refuse it


def _tool(tool: Tool, dropped: _Dropped) -> dict[str, Any]:
    if tool.cached:
        dropped.note("cache_control")
    said: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "parameters": None if tool.parameters is None else msgspec.Raw(tool.parameters),
        "strict": bool(tool.strict),  # left out it would be true, as in no other dialect
    }
    if tool.description is not None:
        said["description"] = tool.description
    return said


def _choice(choice: ToolChoice) -> str | Mapping[str, str]:
    return choice.mode.value if choice.name is None else {"type": "function", "name": choice.name}


def _format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    said: dict[str, Any] = {
        "type": "json_schema",
        "name": wanted.name or "answer",
        "schema": msgspec.Raw(wanted.schema),
    }
    if wanted.description is not None:
        said["description"] = wanted.description
    if wanted.strict is not None:
        said["strict"] = wanted.strict
    return said


def _reasoning(thinking: Thinking) -> dict[str, str]:
    if not thinking.on:
        return {"effort": "none"}
    said = {}
    effort = thinking.effort or _effort(thinking.budget_tokens)
    if effort is not None:
        said["effort"] = effort
    if thinking.shown:
        said["summary"] = "auto"
    return said


def _effort(budget_tokens: int | None) -> str | None:
    if budget_tokens is None:
        return None
    if budget_tokens <= _LOW_TOKENS:
        return "low"
    return "medium" if budget_tokens <= _MEDIUM_TOKENS else "high"
