"""The canonical chat -> a request in OpenAI's chat shape, as upstreams of many makes take it. Pure.

Source: OpenAI's API reference; ``top_k`` and the fields beside it as llama-server and vLLM have them. What OpenAI's
own models refuse is not sent to them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
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
from moltbot_edge.dialects.openai_request import ORIGIN

PATH: Final = "/chat/completions"

# Of what the Responses' callers send, this is said here too, by the same name.
RESPONSES: Final = "openai-responses"
ALSO_HERE: Final = frozenset(
    {"metadata", "service_tier", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"}
)

# OpenAI's own refuse what they do not know: gpt-4o, o3, gpt-5-mini; not gpt-oss, which others serve.
_openais = re.compile(r"(?:^|/)(?:gpt-(?!oss)|chatgpt-|o\d)").search
_thinks = re.compile(r"(?:^|/)(?:gpt-(?:oss|[5-9])|o\d)").search

# How much thinking a budget is, in the words that there are. Judgement, not measured.
LOW_TOKENS: Final = 2_048
MEDIUM_TOKENS: Final = 8_192


_TOOL: Final = Role.TOOL  # to ask an enumeration for it takes long


def written(request: ChatRequest) -> Outgoing:
    """Raises `InvalidRequest` for what would change the answer and cannot be said."""
    if request.choices is not None and request.choices > 1:
        raise InvalidRequest("a translated reply holds one answer", param="n")
    openais = _openais(request.model) is not None
    dropped: dict[str, None] = {}
    body: dict[str, Any] = {"model": request.model, "messages": list(_messages(request.messages, dropped))}
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}  # other dialects' callers are always told
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
        if request.tool_choice is not None:
            body["tool_choice"] = _choice(request.tool_choice)
        if request.parallel_tools is not None:
            body["parallel_tool_calls"] = request.parallel_tools
    if request.format is not None:
        body["response_format"] = _format(request.format)
    if request.thinking is not None:
        body |= _thinking(request.thinking, request.model, openais, dropped)
    if request.max_tokens is not None:
        # The newer ones take only the newer word, and many other servers only the older.
        body["max_completion_tokens" if openais else "max_tokens"] = request.max_tokens
    for name, value in (
        ("temperature", request.temperature),
        ("top_p", request.top_p),
        ("seed", request.seed),
        ("presence_penalty", request.presence_penalty),
        ("frequency_penalty", request.frequency_penalty),
        ("logit_bias", request.logit_bias),
        ("logprobs", request.logprobs),
        ("top_logprobs", request.top_logprobs),
        ("n", request.choices),
        ("user", request.user),
    ):
        if value is not None:
            body[name] = value
    if request.stop:
        body["stop"] = list(request.stop)
    for name, value in (("top_k", request.top_k), ("min_p", request.min_p), ("repeat_penalty", request.repeat_penalty)):
        if value is not None and openais:
            dropped[name] = None
        elif value is not None:
            body[name] = value
    if request.keep_alive is not None:
        dropped["keep_alive"] = None
    for name, raw in request.extras.items():
        known = request.origin in (ORIGIN, None) or (request.origin == RESPONSES and name in ALSO_HERE)
        if known and "[" not in name:
            body.setdefault(name, msgspec.Raw(raw))
        else:
            dropped[name] = None
    return Outgoing(PATH, msgspec.json.encode(body), tuple(dropped))


def _messages(messages: Sequence[Message], dropped: dict[str, None]) -> Iterator[dict[str, Any]]:
    for place, message in enumerate(messages):
        parts = message.parts
        if len(parts) == 1 and type(part := parts[0]) is Text and not part.cached and message.role is not _TOOL:
            said: dict[str, Any] = {"role": message.role, "content": part.text}  # most are so
            if message.name is not None:
                said["name"] = message.name
            yield said
            continue
        path = f"messages[{place}].content"
        if any(part.cached for part in message.parts):
            dropped["cache_control"] = None
        match message.role:
            case Role.SYSTEM:
                said = {"role": "system", "content": _content(message.parts, path)}
            case Role.USER:
                said = {"role": "user", "content": _content(message.parts, path)}
            case Role.ASSISTANT:
                said = _assistant(message.parts, path, dropped)
            case Role.TOOL:
                yield from _results(message.parts, path, dropped)
                continue
        if message.name is not None:
            said["name"] = message.name
        yield said


def _assistant(parts: Sequence[Part], path: str, dropped: dict[str, None]) -> dict[str, Any]:
    thoughts: list[str] = []
    words: list[Part] = []
    calls: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case Reasoning():
                if part.text:
                    thoughts.append(part.text)
                if part.seal is not None:
                    dropped["reasoning"] = None
            case ToolCall():
                function = {"name": part.name, "arguments": part.arguments}
                calls.append({"id": part.id, "type": "function", "function": function})
            case _:
                words.append(part)
    # Engines' templates take null beside calls, and some nothing else.
    said: dict[str, Any] = {"role": "assistant", "content": _content(words, path) if words or not calls else None}
    if thoughts:
        said["reasoning_content"] = "\n\n".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    return said


def _results(parts: Sequence[Part], path: str, dropped: dict[str, None]) -> Iterator[dict[str, Any]]:
    for part in parts:
        if not isinstance(part, ToolResult):
            raise InvalidRequest("a tool's message holds results and nothing else", param=path)
        if part.failed:
            dropped["is_error"] = None
        said = {"role": "tool", "tool_call_id": part.id, "content": _content(part.parts, path)}
        if part.name is not None:
            said["name"] = part.name
        yield said


def _content(parts: Sequence[Part], path: str) -> str | list[dict[str, Any]]:
    """One text stands for itself: not every upstream takes parts."""
    match parts:
        case []:
            return ""
        case [Text(text=text)]:
            return text
    return list(_parts(parts, path))


def _parts(parts: Iterable[Part], path: str) -> Iterator[dict[str, Any]]:
    for place, part in enumerate(parts):
        match part:
            case Text(text=text):
                yield {"type": "text", "text": text}
            case Refusal(text=text):
                yield {"type": "refusal", "refusal": text}
            case Image():
                url = part.url if part.data is None else f"data:{part.media_type or 'image/png'};base64,{part.data}"
                if url is None:
                    raise _unsayable("a picture by a provider's own id", f"{path}[{place}]")
                yield {"type": "image_url", "image_url": {"url": url} | _given(detail=part.detail)}
            case File():
                yield _file(part, f"{path}[{place}]")
            case _:
                raise _unsayable(f"a {type(part).__name__.lower()}", f"{path}[{place}]")


def _file(part: File, path: str) -> dict[str, Any]:
    if part.text is not None:
        return {"type": "text", "text": f"{part.name}:\n\n{part.text}" if part.name else part.text}
    media_type = part.media_type or "application/octet-stream"
    if part.data is not None and media_type.startswith("audio/"):
        sound = media_type.removeprefix("audio/").removeprefix("x-").replace("mpeg", "mp3")
        return {"type": "input_audio", "input_audio": {"data": part.data, "format": sound}}
    if part.data is None and part.id is None:
        raise _unsayable("a document by its address", path)
    data = part.data and f"data:{media_type};base64,{part.data}"
    return {"type": "file", "file": _given(file_data=data, file_id=part.id, filename=part.name)}


def _unsayable(what: str, path: str) -> InvalidRequest:
    return InvalidRequest(f"an upstream that speaks openai-chat cannot be sent {what}", param=path)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _raw(text: bytes | None) -> msgspec.Raw | None:
    return None if text is None else msgspec.Raw(text)


def _tool(tool: Tool) -> dict[str, Any]:
    fields = _given(description=tool.description, parameters=_raw(tool.parameters), strict=tool.strict)
    return {"type": "function", "function": {"name": tool.name} | fields}


def _choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.name is not None:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _format(wanted: Format) -> dict[str, Any]:
    if wanted.schema is None:
        return {"type": "json_object"}
    fields = _given(description=wanted.description, schema=msgspec.Raw(wanted.schema), strict=wanted.strict)
    return {"type": "json_schema", "json_schema": {"name": wanted.name or "answer"} | fields}


def _thinking(wanted: Thinking, model: str, openais: bool, dropped: dict[str, None]) -> dict[str, Any]:
    """Effort where the model is one that knows it; else a budget, or the switch of the engines' templates."""
    effort = wanted.effort
    if _thinks(model) is not None:
        if effort is None and wanted.budget_tokens:
            few, some = wanted.budget_tokens <= LOW_TOKENS, wanted.budget_tokens <= MEDIUM_TOKENS
            effort = "low" if few else "medium" if some else "high"
    elif openais:
        dropped["thinking"] = None
        return {}
    said: dict[str, Any] = {}
    if effort is not None:
        said["reasoning_effort"] = effort
    elif wanted.budget_tokens is not None:
        said["thinking_budget_tokens"] = wanted.budget_tokens
    elif not openais:
        said["chat_template_kwargs"] = {"enable_thinking": wanted.on}
    return said
