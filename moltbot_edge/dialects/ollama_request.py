"""A request to Ollama's ``/api/chat`` or ``/api/generate``, read: a prompt to be completed is a chat of one message.

What only Ollama's own machinery could honour (its templates, a raw prompt, text to be filled in between, tokens of an
earlier answer) stays in `ChatRequest.extras` and is vital. Source: Ollama's API documentation and its server.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.chat import (
    ChatRequest,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from moltbot_edge.core.decoding import MOST_OBJECTS
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import OURS
from moltbot_edge.dialects import ollama_context
from moltbot_edge.dialects import ollama_values as values
from moltbot_edge.dialects.misfit import readable

LEVELS: Final = ("low", "medium", "high", "max")  # of `think`
ABSENT: Final = msgspec.Raw(b"")
EMPTY: Final = frozenset({b"", b"null", b'""', b"[]", b"{}", b"false", b"0"})

# What is canonical; everything else that a request says goes into its extras.
_KNOWN: Final = frozenset(
    {"model", "messages", "prompt", "system", "images", "stream", "tools", "format", "think", "keep_alive", "options"}
    | {"logprobs", "top_logprobs"}
)
# Without these the answer would be another.
_VITAL: Final = frozenset({"suffix", "raw", "template", "context", "width", "height", "steps"})
_OPTIONS: Final = frozenset(
    {"num_predict", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty"}
    | {"frequency_penalty", "repeat_penalty"}
)


class _Function(msgspec.Struct):
    name: str
    arguments: dict[str, msgspec.Raw] | None = None


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: list[_Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _ToolFunction(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: msgspec.Raw = ABSENT


class _Tool(msgspec.Struct):
    function: _ToolFunction


class _Options(msgspec.Struct):
    """Numbers may come as either kind, as Ollama takes them."""

    num_predict: int | float | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | float | None = None
    min_p: float | None = None
    seed: int | float | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None


class _Asked(msgspec.Struct):
    model: str
    messages: list[_Message] | None = None
    prompt: str | None = None
    system: str | None = None
    images: list[str] | None = None
    stream: bool | None = None
    tools: list[_Tool] | None = None
    format: msgspec.Raw = ABSENT
    think: bool | str | None = None
    keep_alive: float | str | None = None
    options: _Options | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None


class _Rest(msgspec.Struct):
    options: dict[str, msgspec.Raw] | None = None


_asked = msgspec.json.Decoder(_Asked).decode
_rest = msgspec.json.Decoder(_Rest).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_schema = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def chat_request(path: str, body: bytes | bytearray) -> ChatRequest:
    """Raises `InvalidRequest` with the path of the field at fault. No messages: the model is only to be loaded."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        raise InvalidRequest(f"the request has more than {MOST_OBJECTS} objects")
    with readable():
        asked = _asked(body)
        fields = _fields(body)
        options = _rest(body).options or {}
    generates = path == "/api/generate"
    extras = {
        name: bytes(value)
        for name, value in fields.items()
        if name not in _KNOWN and name not in OURS and bytes(memoryview(value)[:8]) not in EMPTY
    }
    if "context" in extras and ollama_context.read(ollama_context.of_field(fields["context"]) or ()) is not None:
        del extras["context"]  # one of ours: `Head` has it
    extras |= {
        f"options.{name}": bytes(value)
        for name, value in options.items()
        if name not in _OPTIONS and bytes(memoryview(value)[:5]) != b"null"
    }
    chosen = asked.options or _Options()
    messages = _completion(asked) if generates else _messages(asked.messages or ())
    return ChatRequest(
        model=asked.model,
        messages=messages,
        loads_only=not messages,
        stream=asked.stream is not False,
        usage_in_stream=True,
        tools=() if generates else tuple(_tool(tool, index) for index, tool in enumerate(asked.tools or ())),
        format=_format(asked.format),
        thinking=_thinking(asked.think),
        max_tokens=values.whole(chosen.num_predict, least=1),
        temperature=chosen.temperature,
        top_p=chosen.top_p,
        top_k=values.whole(chosen.top_k),
        min_p=chosen.min_p,
        seed=values.whole(chosen.seed),
        stop=(chosen.stop,) if isinstance(chosen.stop, str) else tuple(chosen.stop or ()),
        presence_penalty=chosen.presence_penalty,
        frequency_penalty=chosen.frequency_penalty,
        repeat_penalty=chosen.repeat_penalty,
        logprobs=asked.logprobs,
        top_logprobs=asked.top_logprobs,
        keep_alive=values.seconds(asked.keep_alive),
        extras=extras,
        origin="ollama",
        vital=tuple(name for name in extras if name in _VITAL),
    )


def _completion(asked: _Asked) -> tuple[Message, ...]:
    """The prompt as one user's message. Without any the caller wants the model loaded, or gone."""
    if not asked.prompt and not asked.images:
        return ()
    system = [Message(Role.SYSTEM, (Text(text=asked.system),))] if asked.system else []
    parts = (Text(text=asked.prompt or ""), *_images(asked.images, "images"))
    return (*system, Message(Role.USER, parts))


class _Open:
    """The calls of a turn that have no result yet, in the order in which their results are to come."""

    def __init__(self, calls: Sequence[ToolCall] = ()) -> None:
        self._ids = {call.id for call in calls}
        self._in_order = deque(calls)
        self._of_a_tool: dict[str, deque[ToolCall]] = {}
        for call in calls:
            self._of_a_tool.setdefault(call.name, deque()).append(call)

    def first(self, tool: str | None) -> str | None:
        """The id of the next call, of this *tool* where it has one."""
        for calls in (self._of_a_tool.get(tool or "", ()), self._in_order):
            while calls and calls[0].id not in self._ids:
                calls.popleft()
            if calls:
                return calls[0].id
        return None

    def close(self, call_id: str) -> None:
        self._ids.discard(call_id)


def _messages(said: Sequence[_Message]) -> tuple[Message, ...]:
    messages: list[Message] = []
    results: list[ToolResult] = []  # that follow each other
    open_calls = _Open()
    made = 0
    for index, one in enumerate(said):
        place = f"messages[{index}]"
        parts: list[Part] = []
        images = _images(one.images, f"{place}.images")
        if results and one.role != "tool":
            messages.append(Message(Role.TOOL, tuple(results)))
            results = []
        match one.role:
            case "system" | "user":
                if one.content or not images:
                    parts.append(Text(text=one.content or ""))
                parts += images
            case "assistant":
                if one.thinking:
                    parts.append(Reasoning(text=one.thinking, origin="ollama"))
                if one.content:
                    parts.append(Text(text=one.content))
                parts += images
                calls = []
                for call in one.tool_calls or ():
                    arguments = msgspec.json.encode(call.function.arguments or {}).decode()
                    calls.append(ToolCall(id=call.id or f"call_{made}", name=call.function.name, arguments=arguments))
                    made += 1
                parts += calls
                open_calls = _Open(calls)
            case "tool":
                results.append(_result(one, images, open_calls))
                continue
            case other:
                raise InvalidRequest(
                    f"a message's role is one of system, user, assistant, tool; found {other!r}", param=f"{place}.role"
                )
        messages.append(Message(Role(one.role), tuple(parts)))
    if results:
        messages.append(Message(Role.TOOL, tuple(results)))
    return tuple(messages)


def _result(one: _Message, images: list[Image], open_calls: _Open) -> ToolResult:
    """Ollama's results say of which tool they are, or nothing at all: then they come in the order of the calls.

    The id of one whose call is not here is empty: in a session it was made before.
    """
    answered = one.tool_call_id or open_calls.first(one.tool_name) or ""
    open_calls.close(answered)
    text = [Text(text=one.content)] if one.content else []
    return ToolResult(id=answered, parts=(*text, *images), name=one.tool_name)


def _images(said: list[str] | None, place: str) -> list[Image]:
    found = []
    for index, data in enumerate(said or ()):
        if data.startswith("data:"):  # not Ollama's way, but plain enough
            data = data.partition(",")[2]
        data = re.sub(r"\s+", "", data) if re.search(r"\s", data) else data
        media_type = values.image_type(data)
        if media_type is None:
            raise InvalidRequest("expected a PNG, JPEG, GIF, WebP or BMP image in base64", param=f"{place}[{index}]")
        found.append(Image(media_type=media_type, data=data))
    return found


def _tool(said: _Tool, index: int) -> Tool:
    function = said.function
    parameters = bytes(function.parameters)
    if parameters in (b"", b"null"):
        return Tool(function.name, function.description)
    if not parameters.startswith(b"{"):
        raise InvalidRequest("expected a JSON Schema, an object", param=f"tools[{index}].function.parameters")
    return Tool(function.name, function.description, parameters)


def _format(said: msgspec.Raw) -> Format | None:
    text = bytes(said)
    if text in (b"", b"null", b'""'):
        return None
    if text == b'"json"':
        return Format()
    if text.startswith(b"{"):
        return Format(schema=text)
    raise InvalidRequest('expected "json" or a JSON Schema', param="format")


def _thinking(said: bool | str | None) -> Thinking | None:
    match said:
        case None | "":
            return None
        case bool(on):
            return Thinking(on=on)
        case str(level) if level in LEVELS:
            return Thinking(effort=level)
    raise InvalidRequest(f"expected true, false or one of {', '.join(LEVELS)}; found {said!r}", param="think")
