"""A request in OpenAI's chat shape -> the canonical chat. Pure; what is malformed is named by its path.

Source: OpenAI's API reference, and what llama-server, vLLM, DeepSeek and OpenRouter take beside it. The legacy
``functions`` are read as tools. Fields of no meaning elsewhere are kept as they came, in `ChatRequest.extras`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Final, Literal

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
    ToolMode,
    ToolResult,
)
from moltbot_edge.core.decoding import MOST_OBJECTS
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import OURS
from moltbot_edge.dialects.misfit import readable

ORIGIN: Final = "openai-chat"
ABSENT: Final = msgspec.Raw(b"")


# What no other dialect has and the answer would be another without.
VITAL: Final = frozenset(
    {
        *("audio", "modalities", "web_search_options"),
        *("grammar", "json_schema"),  # llama-server
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),  # vLLM
    }
)
NO_BUDGET: Final = frozenset({"none", "off", "disabled"})


class _Part(msgspec.Struct, tag_field="type"):
    cache_control: msgspec.Raw = ABSENT  # OpenRouter passes Anthropic's marker on

    @property
    def cached(self) -> bool:
        return said(self.cache_control)


class _Text(_Part, tag="text", kw_only=True):
    text: str


class _Url(msgspec.Struct):
    url: str
    detail: str | None = None


class _Image(_Part, tag="image_url", kw_only=True):
    image_url: _Url | str


class _Sound(msgspec.Struct):
    data: str
    format: str


class _Audio(_Part, tag="input_audio", kw_only=True):
    input_audio: _Sound


class _Document(msgspec.Struct):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


class _File(_Part, tag="file", kw_only=True):
    file: _Document


class _Refusal(_Part, tag="refusal", kw_only=True):
    refusal: str


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: str | dict[str, msgspec.Raw] | None = None  # an object, as some clients send it

    @property
    def text(self) -> str:
        if isinstance(self.arguments, str):
            return self.arguments
        return msgspec.json.encode(self.arguments or {}).decode()


class _Call(msgspec.Struct):
    id: str
    function: _Function
    type: Literal["function"] = "function"


class _Turn(msgspec.Struct, tag_field="role"):
    name: str | None = None


class _System(_Turn, tag="system", kw_only=True):
    content: str | list[_Text]


class _Developer(_Turn, tag="developer", kw_only=True):
    content: str | list[_Text]


class _User(_Turn, tag="user", kw_only=True):
    content: str | list[_Text | _Image | _Audio | _File]


class _Assistant(_Turn, tag="assistant", kw_only=True):
    content: str | list[_Text | _Refusal] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None  # DeepSeek, llama-server, vLLM
    reasoning: str | None = None  # OpenRouter, vLLM
    tool_calls: list[_Call] | None = None
    function_call: _Function | None = None
    audio: msgspec.Raw = ABSENT


class _ToolSaid(_Turn, tag="tool", kw_only=True):
    tool_call_id: str
    content: str | list[_Text | _Image]


class _FunctionSaid(_Turn, tag="function", kw_only=True):
    content: str | None = None


class _Declared(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class _Tool(msgspec.Struct):
    function: _Declared
    type: Literal["function"] = "function"
    cache_control: msgspec.Raw = ABSENT


class _Named(msgspec.Struct):
    name: str


class _Chosen(msgspec.Struct, tag_field="type", tag="function"):
    function: _Named


class _AllowedTool(msgspec.Struct):
    function: _Named
    type: Literal["function"] = "function"


class _AllowedTools(msgspec.Struct):
    tools: list[_AllowedTool]
    mode: Literal["auto", "required"] = "auto"


class _Allowed(msgspec.Struct, tag_field="type", tag="allowed_tools"):
    allowed_tools: _AllowedTools


class _Schema(msgspec.Struct):
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class _FreeText(msgspec.Struct, tag_field="type", tag="text"):
    pass


class _JsonObject(msgspec.Struct, tag_field="type", tag="json_object"):
    schema: msgspec.Raw = ABSENT  # llama-server


class _JsonSchema(msgspec.Struct, tag_field="type", tag="json_schema"):
    json_schema: _Schema


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Effort(msgspec.Struct):
    """OpenRouter's."""

    effort: str | None = None
    max_tokens: int | None = None
    exclude: bool | None = None
    enabled: bool | None = None


class _Wire(msgspec.Struct):
    model: str
    messages: Annotated[
        list[_System | _Developer | _User | _Assistant | _ToolSaid | _FunctionSaid], msgspec.Meta(min_length=1)
    ]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: list[_Tool] | None = None
    functions: list[_Declared] | None = None
    tool_choice: Literal["auto", "none", "required"] | _Chosen | _Allowed | None = None
    function_call: Literal["auto", "none"] | _Named | None = None
    parallel_tool_calls: bool | None = None
    response_format: _FreeText | _JsonObject | _JsonSchema | None = None
    reasoning_effort: str | None = None
    reasoning: _Effort | None = None
    thinking_budget_tokens: int | None = None  # llama-server
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None  # llama-server
    repetition_penalty: float | None = None  # vLLM, OpenRouter
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    user: str | None = None


_wire = msgspec.json.Decoder(_Wire).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_switches = msgspec.json.Decoder(dict[str, bool]).decode
_READ: Final = OURS.union(_Wire.__struct_fields__)
_data_url = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE).match


def read(body: bytes | bytearray) -> ChatRequest:
    """Raises `InvalidRequest`, whose *param* is the path of the field at fault."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        raise InvalidRequest(f"the request has more than {MOST_OBJECTS} JSON objects", param="messages")
    with readable():
        wire = _wire(body)
        fields = _fields(body)
    extras = {name: bytes(raw) for name, raw in fields.items() if name not in _READ and said(raw)}
    switched = _switched(extras) if "chat_template_kwargs" in extras else None
    if "modalities" in extras and b"".join(extras["modalities"].split()) == b'["text"]':
        del extras["modalities"]
    for place, turn in enumerate(wire.messages):
        if isinstance(turn, _Assistant) and said(turn.audio):
            extras[f"messages[{place}].audio"] = bytes(turn.audio)
    tools, choice = _tools(wire)
    stop = wire.stop
    return ChatRequest(
        model=wire.model,
        messages=tuple(_messages(wire.messages)),
        stream=bool(wire.stream),
        usage_in_stream=wire.stream_options is not None and bool(wire.stream_options.include_usage),
        tools=tools,
        tool_choice=choice,
        parallel_tools=wire.parallel_tool_calls,
        format=_format(wire.response_format),
        thinking=_thinking(wire, switched),
        max_tokens=_most(wire),
        temperature=wire.temperature,
        top_p=wire.top_p,
        top_k=wire.top_k,
        min_p=wire.min_p,
        seed=wire.seed,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        presence_penalty=wire.presence_penalty,
        frequency_penalty=wire.frequency_penalty,
        repeat_penalty=wire.repetition_penalty if wire.repeat_penalty is None else wire.repeat_penalty,
        logit_bias=wire.logit_bias,
        logprobs=wire.logprobs,
        top_logprobs=wire.top_logprobs,
        choices=wire.n,
        user=wire.user,
        extras=extras,
        origin=ORIGIN,
        vital=tuple(name for name in extras if name in VITAL),
    )


def said(raw: msgspec.Raw) -> bool:
    return bytes(memoryview(raw)[:5]) not in (b"", b"null")


def _messages(turns: Sequence[_Turn]) -> Iterator[Message]:
    """Results that follow each other are one message, as they answer one."""
    results: list[ToolResult] = []
    called = ""  # the id that stands for the last legacy call, which has none
    for place, turn in enumerate(turns):
        if type(turn) is _User and type(turn.content) is str and not results:  # most are so
            yield Message(Role.USER, (Text(text=turn.content),), turn.name)
            continue
        match turn:
            case _ToolSaid():
                results.append(ToolResult(id=turn.tool_call_id, parts=tuple(_shown(turn.content)), name=turn.name))
                continue
            case _FunctionSaid():
                results.append(ToolResult(id=called, parts=tuple(_shown(turn.content or "")), name=turn.name))
                continue
        if results:
            yield Message(Role.TOOL, tuple(results))
            results.clear()
        match turn:
            case _System() | _Developer():
                yield Message(Role.SYSTEM, tuple(_shown(turn.content)), turn.name)
            case _User():
                yield Message(Role.USER, tuple(_asked(turn.content, place)), turn.name)
            case _Assistant():
                called = f"call_function_{place}"
                yield Message(Role.ASSISTANT, tuple(_answered(turn, called)), turn.name)
    if results:
        yield Message(Role.TOOL, tuple(results))


def _shown(content: str | Sequence[_Text | _Image]) -> Iterator[Text | Image]:
    if isinstance(content, str):
        yield Text(text=content)
        return
    for part in content:
        yield _image(part) if isinstance(part, _Image) else Text(text=part.text, cached=part.cached)


def _asked(content: str | Sequence[_Text | _Image | _Audio | _File], message: int) -> Iterator[Part]:
    if isinstance(content, str):
        yield Text(text=content)
        return
    for place, part in enumerate(content):
        match part:
            case _Text(text=text):
                yield Text(text=text, cached=part.cached)
            case _Image():
                yield _image(part)
            case _Audio(input_audio=sound):
                yield File(media_type=f"audio/{sound.format}", data=sound.data, cached=part.cached)
            case _File(file=document):
                if document.file_data is None and document.file_id is None:
                    param = f"messages[{message}].content[{place}].file"
                    raise InvalidRequest(f"`{param}` has neither `file_data` nor `file_id`", param=param)
                media_type, data = _inline(document.file_data or "")
                yield File(
                    media_type=media_type,
                    data=data or document.file_data,
                    name=document.filename,
                    id=document.file_id,
                    cached=part.cached,
                )


def _image(part: _Image) -> Image:
    wire = part.image_url
    url, detail = (wire, None) if isinstance(wire, str) else (wire.url, wire.detail)
    media_type, data = _inline(url)
    if data is not None:
        return Image(media_type=media_type, data=data, detail=detail, cached=part.cached)
    return Image(url=url, detail=detail, cached=part.cached)


def _inline(url: str) -> tuple[str | None, str | None]:
    """The type and the base64 of a ``data:`` URL; nothing of any other."""
    found = _data_url(url)
    return (found[1].lower() or None, url[found.end() :]) if found is not None else (None, None)


def _answered(turn: _Assistant, function_call_id: str) -> Iterator[Part]:
    if thought := turn.reasoning_content or turn.reasoning:
        yield Reasoning(text=thought)
    if isinstance(turn.content, str):
        if turn.content:
            yield Text(text=turn.content)
    else:
        for part in turn.content or ():
            if isinstance(part, _Refusal):
                yield Refusal(text=part.refusal, cached=part.cached)
            else:
                yield Text(text=part.text, cached=part.cached)
    if turn.refusal:
        yield Refusal(text=turn.refusal)
    for call in turn.tool_calls or ():
        yield ToolCall(id=call.id, name=call.function.name, arguments=call.function.text)
    if turn.function_call is not None:
        yield ToolCall(id=function_call_id, name=turn.function_call.name, arguments=turn.function_call.text)


def _tools(wire: _Wire) -> tuple[tuple[Tool, ...], ToolChoice | None]:
    if not wire.tools and not wire.functions and wire.tool_choice is wire.function_call is None:
        return (), None
    tools = [
        _tool(one.function, f"tools[{place}].function", said(one.cache_control))
        for place, one in enumerate(wire.tools or ())
    ]
    tools += [_tool(one, f"functions[{place}]") for place, one in enumerate(wire.functions or ())]
    known = {tool.name for tool in tools}
    choice: ToolChoice | None = None
    match wire.tool_choice if wire.tool_choice is not None else wire.function_call:
        case str() as mode:
            choice = ToolChoice(ToolMode(mode))
        case _Chosen(function=function):
            choice = _choice(function.name, known, "tool_choice.function.name")
        case _Named(name=name):
            choice = _choice(name, known, "function_call.name")
        case _Allowed(allowed_tools=allowed):
            names = [one.function.name for one in allowed.tools]
            for place, name in enumerate(names):
                _choice(name, known, f"tool_choice.allowed_tools.tools[{place}].function.name")
            wanted = set(names)
            tools = [tool for tool in tools if tool.name in wanted]
            choice = ToolChoice(ToolMode(allowed.mode))
    if choice is not None and choice.mode is ToolMode.REQUIRED and not tools:
        raise InvalidRequest("`tool_choice` demands a tool, and there are no `tools`", param="tool_choice")
    return tuple(tools), choice


def _tool(declared: _Declared, path: str, cached: bool = False) -> Tool:
    parameters = declared.parameters
    if said(parameters) and bytes(memoryview(parameters)[:1]) != b"{":
        raise InvalidRequest(f"`{path}.parameters` is no object", param=f"{path}.parameters")
    return Tool(
        declared.name, declared.description, bytes(parameters) if said(parameters) else None, declared.strict, cached
    )


def _choice(name: str, known: Collection[str], param: str) -> ToolChoice:
    if name not in known:
        raise InvalidRequest(f"`{param}` is {name!r}, and no tool of that name is declared", param=param)
    return ToolChoice(name=name)


def _format(wanted: _FreeText | _JsonObject | _JsonSchema | None) -> Format | None:
    match wanted:
        case _JsonObject(schema=schema):
            return Format(_schema(schema, "response_format.schema"))
        case _JsonSchema(json_schema=one):
            return Format(
                _schema(one.schema, "response_format.json_schema.schema") or b"{}",
                one.name,
                one.description,
                one.strict,
            )
    return None


def _most(wire: _Wire) -> int | None:
    """Of tokens. -1 is no limit, as llama-server and LM Studio say it."""
    name = "max_tokens" if wire.max_completion_tokens is None else "max_completion_tokens"
    tokens: int | None = getattr(wire, name)
    if tokens is not None and (tokens == 0 or tokens < -1):
        raise InvalidRequest(f"`{name}` is at least 1", param=name)
    return None if tokens == -1 else tokens


def _schema(raw: msgspec.Raw, path: str) -> bytes | None:
    if not said(raw):
        return None
    if bytes(memoryview(raw)[:1]) != b"{":
        raise InvalidRequest(f"`{path}` is no object", param=path)
    return bytes(raw)


def _switched(extras: dict[str, bytes]) -> bool | None:
    """What ``chat_template_kwargs`` says of thinking: taken out of *extras* where it says nothing else."""
    try:
        switches: Mapping[str, bool] = _switches(extras.get("chat_template_kwargs", b"{}"))
    except msgspec.DecodeError:  # other kinds of arguments are among them: they stay the upstream's alone
        return None
    if switches.keys() == {"enable_thinking"}:
        del extras["chat_template_kwargs"]
    return switches.get("enable_thinking")


def _thinking(wire: _Wire, switched: bool | None) -> Thinking | None:
    effort, budget, shown, on = wire.reasoning_effort, wire.thinking_budget_tokens, None, switched
    if wire.reasoning is not None:
        effort = effort or wire.reasoning.effort
        budget = wire.reasoning.max_tokens if budget is None else budget
        on = wire.reasoning.enabled if on is None else on
        shown = False if wire.reasoning.exclude else None
    if effort is None and budget is None and shown is None and on is None:
        return None
    if on is None:
        on = effort not in NO_BUDGET and budget != 0
    return Thinking(on, effort, budget, shown)
