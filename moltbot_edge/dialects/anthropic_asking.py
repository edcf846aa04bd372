"""The canonical chat -> a request in Anthropic's shape. Pure.

Source: Anthropic's API reference and the types of its official client. What the models of one generation refuse and
those of another want is told apart by their names; a model that is none of Anthropic's is sent what all of them know.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

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
    ToolChoice,
    ToolMode,
    ToolResult,
)
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import Outgoing
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.dialects.anthropic_seal import ORIGIN

PATH: Final = "/messages"

# A request has to say it; who says nothing elsewhere means: as long as it takes. No model since Claude 4 takes less.
MAX_TOKENS: Final = 32_000

LEAST_BUDGET_TOKENS: Final = 1_024  # Anthropic's own
# What an effort is worth to a model that wants a budget. Judgement, not measured.
BUDGETS: Final = {"minimal": 1_024, "low": 2_048, "medium": 8_192, "high": 16_384}
MOST_BUDGET_TOKENS: Final = 31_999  # for xhigh, max, and what comes next
EFFORTS: Final = {"minimal": "low"}  # the others by their own names

ADAPTIVE: Final = (4, 6)  # think as much as an effort says; those before, up to a budget
UNSAMPLED: Final = (4, 7)  # refuse temperature, top_p and top_k
NEVER: Final = (99, 0)

NO_ARGUMENTS: Final = msgspec.Raw(b"{}")
CACHED: Final = {"cache_control": {"type": "ephemeral"}}
MOST_MARKS: Final = 4  # of those; Anthropic refuses a request with more, and a conversation that is kept gathers them

_version = re.compile(r"claude-[a-z]+-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)").search
_own_tool = re.compile(r"tools\[(\d+)\]").fullmatch
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def written(request: ChatRequest) -> Outgoing:
    """Raises `InvalidRequest` for what would change the answer and cannot be said."""
    _refuse(request)
    own = request.extras if request.origin == ORIGIN else {}
    dropped: dict[str, None] = dict.fromkeys(request.extras if request.origin != ORIGIN else ())
    writing = _Writing(own, dropped)
    body: dict[str, Any] = {"model": request.model, "max_tokens": request.max_tokens or MAX_TOKENS}
    body |= _said(own)
    if system := writing.system(request.messages):
        body["system"] = system
    body["messages"] = writing.messages(_lately_marked(request, own))
    if not body["messages"]:
        raise InvalidRequest("there is no message to be answered but the system's, or an empty one", param="messages")
    if tools := _tools(request.tools, own):
        body["tools"] = tools
        if choice := _choice(request.tool_choice, request.parallel_tools):
            body["tool_choice"] = choice
    if request.format is not None and request.format.schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": msgspec.Raw(request.format.schema)}}
    _think(request, body, dropped)
    _sample(request, body, dropped)
    if request.stop:
        body["stop_sequences"] = request.stop
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.stream:
        body["stream"] = True
    return Outgoing(PATH, msgspec.json.encode(body), tuple(dropped))


def _refuse(request: ChatRequest) -> None:
    wishes = {
        "n": request.choices is not None and request.choices > 1,
        "logprobs": bool(request.logprobs),
        "top_logprobs": bool(request.top_logprobs),
    }
    for name, wished in wishes.items():
        if wished:
            raise _unsayable(f"`{name}`", name)
    if request.format is not None and request.format.schema is None:
        raise InvalidRequest(
            "an upstream that speaks anthropic-messages has no JSON mode without a schema: send a `json_schema`",
            param="response_format",
        )


def _unsayable(what: str, path: str) -> InvalidRequest:
    return InvalidRequest(f"an upstream that speaks anthropic-messages cannot be sent {what}", param=path)


def _said(own: Any) -> dict[str, Any]:
    """Anthropic's own fields of a caller of its own, at the top level."""
    return {name: msgspec.Raw(raw) for name, raw in own.items() if name.isidentifier()}


class _Writing:
    def __init__(self, own: Any, dropped: dict[str, None]) -> None:
        self._own = own
        self._dropped = dropped

    def system(self, messages: Sequence[Message]) -> str | list[Any] | None:
        parts = [part for message in messages if message.role is Role.SYSTEM for part in message.parts]
        first = self._own.get("system[0]")
        if len(parts) == 1 and first is None and not parts[0].cached and isinstance(parts[0], Text):
            return parts[0].text
        blocks: list[Any] = [] if first is None else [msgspec.Raw(first)]
        for part in parts:
            if not isinstance(part, Text):
                raise _unsayable("a system message that is no text", "system")
            blocks.append(_marked({"type": "text", "text": part.text}, part))
        return blocks or None

    def messages(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = []
        for place, message in enumerate(messages):
            if message.role is Role.SYSTEM:
                continue
            role = "assistant" if message.role is Role.ASSISTANT else "user"
            blocks = list(self._blocks(message.parts, f"messages[{place}].content"))
            if said and said[-1]["role"] == role:
                said[-1]["content"] += blocks
            elif blocks:
                said.append({"role": role, "content": blocks})
        for one in said:
            match one["content"]:
                case [{"type": "text", "text": text, **more}] if not more:
                    one["content"] = text
        return said

    def _blocks(self, parts: Iterable[Part], path: str) -> Iterator[Any]:
        for place, part in enumerate(parts):
            at = f"{path}[{place}]"
            match part:
                case Text() | Image() | File():
                    yield self._shown(part, at)
                case Refusal():
                    yield _marked({"type": "text", "text": part.text}, part)
                case ToolCall():
                    block = {"type": "tool_use", "id": part.id, "name": part.name, "input": _input(part.arguments)}
                    yield _marked(block, part)
                case ToolResult():
                    yield self._result(part, at)
                case Reasoning(seal=str(seal), origin="anthropic-messages"):
                    if part.redacted:
                        yield {"type": "redacted_thinking", "data": seal}
                    else:
                        yield {"type": "thinking", "thinking": part.text, "signature": seal}
                case Reasoning():
                    self._dropped["messages.reasoning"] = None
                case Own(origin="anthropic-messages"):
                    yield msgspec.Raw(part.raw)
                case _:
                    raise _unsayable(f"a {type(part).__name__.lower()}", at)

    def _result(self, result: ToolResult, at: str) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": result.id}
        match result.parts:
            case ():
                pass
            case (Text(text=text, cached=False),):
                block["content"] = text
            case parts:
                block["content"] = [self._shown(part, f"{at}.content") for part in parts]
        if result.failed:
            block["is_error"] = True
        return _marked(block, result)

    def _shown(self, part: Text | Image | File, at: str) -> dict[str, Any]:
        match part:
            case Text():
                block: dict[str, Any] = {"type": "text", "text": part.text}
            case Image():
                if part.detail is not None:
                    self._dropped["messages.detail"] = None
                block = {"type": "image", "source": self._image(part, at)}
            case File():
                block = {"type": "document", "source": self._document(part, at)}
                if part.name is not None:
                    block["title"] = part.name
        return _marked(block, part)

    def _image(self, part: Image, at: str) -> dict[str, Any]:
        if part.data is not None:
            return {"type": "base64", "media_type": part.media_type or "image/png", "data": part.data}
        if part.url is not None:
            return {"type": "url", "url": part.url}
        return self._uploaded(part.id, at)

    def _document(self, part: File, at: str) -> dict[str, Any]:
        media_type = part.media_type or "application/pdf"
        if part.text is not None:
            return {"type": "text", "media_type": "text/plain", "data": part.text}
        if part.data is not None and media_type.startswith("text/"):
            try:
                text = base64.b64decode(part.data).decode()
            except ValueError as error:
                raise InvalidRequest(f"the file is no text in base64: {error}", param=at) from error
            return {"type": "text", "media_type": "text/plain", "data": text}
        if part.data is not None:
            if media_type != "application/pdf":
                raise _unsayable(f"a file of type {media_type}", at)
            return {"type": "base64", "media_type": media_type, "data": part.data}
        if part.url is not None:
            return {"type": "url", "url": part.url}
        return self._uploaded(part.id, at)

    def _uploaded(self, file_id: str | None, at: str) -> dict[str, Any]:
        if file_id is None or not file_id.startswith("file_"):  # OpenAI's begin with `file-`
            raise _unsayable("a file by another provider's id", at)
        return {"type": "file", "file_id": file_id}


def _lately_marked(request: ChatRequest, own: Any) -> Sequence[Message]:
    """The messages, with no more marks than may be: the last ones, for they cover what the earlier ones did."""
    spoken = [message for message in request.messages if message.role is not Role.SYSTEM]
    left = MOST_MARKS - sum(tool.cached for tool in request.tools)
    left -= sum(b'"cache_control"' in raw for raw in own.values())
    left -= sum(part.cached for one in request.messages if one.role is Role.SYSTEM for part in one.parts)
    if sum(map(_marks, spoken)) <= left:
        return request.messages
    kept: list[Message] = []
    for message in reversed(request.messages):
        marks = 0 if message.role is Role.SYSTEM else _marks(message)
        if marks > left:
            message = replace(message, parts=tuple(map(_unmarked, message.parts)))
        else:
            left -= marks
        kept.append(message)
    return kept[::-1]


def _marks(message: Message) -> int:
    within = [one for part in message.parts if isinstance(part, ToolResult) for one in part.parts]
    return sum(part.cached for part in (*message.parts, *within))


def _unmarked(part: Part) -> Part:
    if isinstance(part, ToolResult):
        part = replace(part, parts=tuple(replace(one, cached=False) for one in part.parts))
    return replace(part, cached=False) if part.cached else part


def _marked(block: dict[str, Any], part: Part) -> dict[str, Any]:
    return block | CACHED if part.cached else block


def _input(arguments: str) -> Any:
    """An object, whatever a model wrote: what is none is said under a name of its own."""
    text = arguments.strip()
    if not text:
        return NO_ARGUMENTS
    data = text.encode("utf-8", "replace")
    try:
        _object(data)
    except UNREADABLE:
        return {"_unparsed": arguments}
    return msgspec.Raw(data)


def _tools(tools: Sequence[Tool], own: Any) -> list[Any]:
    said: list[Any] = [_tool(tool) for tool in tools]
    for name, raw in own.items():
        if (found := _own_tool(name)) is not None:
            said.insert(int(found[1]), msgspec.Raw(raw))
    return said


def _tool(tool: Tool) -> dict[str, Any]:
    said: dict[str, Any] = {"name": tool.name, "input_schema": _schema(tool.parameters)}
    if tool.description is not None:
        said["description"] = tool.description
    if tool.strict:
        said["strict"] = True
    return said | CACHED if tool.cached else said


def _schema(parameters: bytes | None) -> Any:
    """Its ``type`` has to be said."""
    if parameters is None:
        return {"type": "object", "properties": {}}
    fields = _object(parameters)
    return msgspec.Raw(parameters) if "type" in fields else {"type": "object", **fields}


def _choice(choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any] | None:
    if choice is None and parallel is not False:
        return None
    said: dict[str, Any]
    match choice:
        case None:
            said = {"type": "auto"}
        case ToolChoice(name=str(name)):
            said = {"type": "tool", "name": name}
        case ToolChoice(mode=ToolMode.NONE):
            return {"type": "none"}
        case ToolChoice(mode=mode):
            said = {"type": "any" if mode is ToolMode.REQUIRED else "auto"}
    return said | {"disable_parallel_tool_use": True} if parallel is False else said


def version(model: str) -> tuple[int, int] | None:
    """Of one of Anthropic's, by its name since Claude 4: claude-opus-4-6, claude-haiku-4-5-20251001."""
    found = _version(model)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def _think(request: ChatRequest, body: dict[str, Any], dropped: dict[str, None]) -> None:
    wanted = request.thinking
    if wanted is None:
        return
    if not wanted.on:
        body["thinking"] = {"type": "disabled"}
        return
    choice = request.tool_choice
    forced = bool(request.tools) and choice is not None and (choice.mode is ToolMode.REQUIRED or choice.name)
    if forced or _goes_on_unthought(request.messages):
        dropped["thinking"] = None  # Anthropic refuses both together
        return
    shown = {} if wanted.shown is None else {"display": "summarized" if wanted.shown else "omitted"}
    if (version(request.model) or (0, 0)) >= ADAPTIVE:
        body["thinking"] = {"type": "adaptive", **shown}
        if wanted.effort is not None:
            body.setdefault("output_config", {})["effort"] = EFFORTS.get(wanted.effort, wanted.effort)
        return
    effort = wanted.effort or "medium"
    budget = wanted.budget_tokens or BUDGETS.get(effort, MOST_BUDGET_TOKENS)
    if request.max_tokens is None:
        body["max_tokens"] = max(MAX_TOKENS, budget + MAX_TOKENS // 2)
    elif budget >= request.max_tokens:
        budget = request.max_tokens - 1
    if budget < LEAST_BUDGET_TOKENS:
        dropped["thinking"] = None  # no room for it in so short a reply
        return
    body["thinking"] = {"type": "enabled", "budget_tokens": budget, **shown}


def _goes_on_unthought(messages: Sequence[Message]) -> bool:
    """Is this the middle of a turn, after calls that came from no thought of Anthropic's? It then may not think."""
    for message in reversed(messages):
        if message.role is Role.ASSISTANT:
            first = message.parts[0] if message.parts else None
            called = any(isinstance(part, ToolCall) for part in message.parts)
            return called and not (isinstance(first, Reasoning) and first.origin == ORIGIN)
        if message.role is Role.USER:
            return False
    return False


def _sample(request: ChatRequest, body: dict[str, Any], dropped: dict[str, None]) -> None:
    unknown = ("min_p", "seed", "presence_penalty", "frequency_penalty", "repeat_penalty", "logit_bias", "keep_alive")
    dropped |= dict.fromkeys(name for name in unknown if getattr(request, name) is not None)
    said = {name: value for name in ("temperature", "top_p", "top_k") if (value := getattr(request, name)) is not None}
    refused: Iterable[str] = ()
    made_by = version(request.model)
    if made_by is not None and made_by >= UNSAMPLED:
        refused = said.keys()
    elif "thinking" in body and body["thinking"]["type"] != "disabled":
        refused = ("temperature", "top_k", "top_p")
    elif made_by is not None and "temperature" in said:
        refused = ("top_p",)  # one of both, since Claude 4.1
    dropped |= dict.fromkeys(name for name in refused if name in said)
    for name, value in said.items():
        if name not in refused:
            body[name] = value
    if body.get("temperature", 0) > 1:
        body["temperature"] = 1  # the most there is
        dropped["temperature"] = None
