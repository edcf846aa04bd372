"""A request in Anthropic's shape -> the canonical chat. Pure; what is malformed is named by its path.

Source: Anthropic's API reference, the types of its official client, and what Claude Code sends: system messages
between the turns, cache markers, a line for its maker's accounts before the system prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec.structs import replace

from moltbot_edge.core.chat import (
    ChatRequest,
    File,
    Format,
    Image,
    Message,
    Own,
    Part,
    Reasoning,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import OURS
from moltbot_edge.dialects import anthropic_seal
from moltbot_edge.dialects.anthropic_seal import ORIGIN
from moltbot_edge.dialects.misfit import readable

COUNT: Final = "/v1/messages/count_tokens"
ABSENT: Final = msgspec.Raw(b"")

# Each costs some hundred bytes once it is read. No conversation has so many; a body of nothing but `{}` would.
MOST_OBJECTS: Final = 100_000

# What no other dialect has and the answer would be another without.
VITAL: Final = frozenset({"mcp_servers", "container"})

# Claude Code's first block of a system prompt: a version and an entry point, and in some versions a number that is
# another in each request, behind which no engine's cache would reach.
BILLING: Final = "x-anthropic-billing-header:"

MODES: Final = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE}


class _Block(msgspec.Struct, tag_field="type"):
    cache_control: msgspec.Raw = ABSENT

    @property
    def cached(self) -> bool:
        return holds(self.cache_control)


class _Text(_Block, tag="text", kw_only=True):
    text: str
    citations: msgspec.Raw = ABSENT


class _Base64(msgspec.Struct, tag="base64", tag_field="type"):
    media_type: str
    data: str


class _Url(msgspec.Struct, tag="url", tag_field="type"):
    url: str


class _Uploaded(msgspec.Struct, tag="file", tag_field="type"):
    file_id: str


class _Plain(msgspec.Struct, tag="text", tag_field="type"):
    data: str
    media_type: str | None = None


class _Image(_Block, tag="image", kw_only=True):
    source: _Base64 | _Url | _Uploaded


class _Content(msgspec.Struct, tag="content", tag_field="type"):
    content: str | list[_Text | _Image]


class _Document(_Block, tag="document", kw_only=True):
    source: _Base64 | _Url | _Uploaded | _Plain | _Content
    title: str | None = None
    context: str | None = None
    citations: msgspec.Raw = ABSENT


class _SearchResult(_Block, tag="search_result", kw_only=True):
    content: list[_Text]
    source: str
    title: str
    citations: msgspec.Raw = ABSENT


class _Thinking(_Block, tag="thinking", kw_only=True):
    thinking: str
    signature: str = ""


class _Redacted(_Block, tag="redacted_thinking", kw_only=True):
    data: str


class _ToolUse(_Block, tag="tool_use", kw_only=True):
    id: str
    name: str
    input: msgspec.Raw


class _ToolReference(_Block, tag="tool_reference", kw_only=True):
    tool_name: str


class _ToolResult(_Block, tag="tool_result", kw_only=True):
    tool_use_id: str
    content: str | list[_Text | _Image | _Document | _SearchResult | _ToolReference] | None = None
    is_error: bool | None = None


# What Anthropic's own tools did in earlier turns: kept for Anthropic, and nobody else's to read.


class _ServerToolUse(_Block, tag="server_tool_use"): ...


class _WebSearch(_Block, tag="web_search_tool_result"): ...


class _WebFetch(_Block, tag="web_fetch_tool_result"): ...


class _Execution(_Block, tag="code_execution_tool_result"): ...


class _Bash(_Block, tag="bash_code_execution_tool_result"): ...


class _Editor(_Block, tag="text_editor_code_execution_tool_result"): ...


class _ToolSearch(_Block, tag="tool_search_tool_result"): ...


class _McpUse(_Block, tag="mcp_tool_use"): ...


class _McpResult(_Block, tag="mcp_tool_result"): ...


OWN = _ServerToolUse | _WebSearch | _WebFetch | _Execution | _Bash | _Editor | _ToolSearch | _McpUse | _McpResult


class _Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: (
        str
        | list[
            _Text
            | _Image
            | _Document
            | _SearchResult
            | _Thinking
            | _Redacted
            | _ToolUse
            | _ToolResult
            | _ServerToolUse
            | _WebSearch
            | _WebFetch
            | _Execution
            | _Bash
            | _Editor
            | _ToolSearch
            | _McpUse
            | _McpResult
        ]
    )


class _Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    strict: bool | None = None
    cache_control: msgspec.Raw = ABSENT


class _Choice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Enabled(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    display: str | None = None


class _Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: msgspec.Raw


class _Output(msgspec.Struct):
    effort: str | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class _Asked(msgspec.Struct):
    model: str
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    system: str | list[_Text] | None = None
    tools: list[_Tool] | None = None
    tool_choice: _Choice | None = None
    thinking: _Enabled | None = None
    output_config: _Output | None = None
    output_format: _Format | None = None  # as it was before `output_config` had it
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    metadata: _Metadata | None = None


class _Contents(msgspec.Struct):
    content: str | list[msgspec.Raw]


class _Raws(msgspec.Struct):
    """The same, undecoded."""

    messages: list[_Contents] = []
    tools: list[msgspec.Raw] | None = None
    system: str | list[msgspec.Raw] | None = None


_HEARD: Final = frozenset({*_Asked.__struct_fields__, *OURS})

_asked = msgspec.json.Decoder(_Asked).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_raws = msgspec.json.Decoder(_Raws).decode


def read(path: str, body: bytes | bytearray) -> ChatRequest:
    """Raises `InvalidRequest` with the path of the field at fault. At `COUNT` no ``max_tokens`` is asked for."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        raise InvalidRequest(f"the request has more than {MOST_OBJECTS} JSON objects", param="messages")
    with readable():
        asked = _asked(body)
        fields = _fields(body)
    if asked.max_tokens is None and path != COUNT:
        raise InvalidRequest("the field `max_tokens` is missing: how long a reply may be", param="max_tokens")
    extras = {name: bytes(value) for name, value in fields.items() if name not in _HEARD and holds(value)}
    vital = [name for name in extras if name in VITAL]
    reading = _Reading(body, extras)
    tools = tuple(reading.tools(asked.tools or (), vital))
    system = reading.system(asked.system)
    choice = asked.tool_choice
    return ChatRequest(
        model=asked.model,
        messages=(*system, *reading.messages(asked.messages)),
        stream=bool(asked.stream),
        tools=tools,
        tool_choice=None if choice is None else _choice(choice),
        parallel_tools=False if choice is not None and choice.disable_parallel_tool_use else None,
        format=_format(asked),
        thinking=_thinking(asked),
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=tuple(asked.stop_sequences or ()),
        user=None if asked.metadata is None else asked.metadata.user_id,
        extras=extras,
        origin=ORIGIN,
        vital=tuple(vital),
    )


class _Reading:
    """One body, whose pieces are looked up as they came where somebody has to keep them. *extras* is added to."""

    def __init__(self, body: bytes | bytearray, extras: dict[str, bytes]) -> None:
        self._body = body
        self._extras = extras
        self._as_it_came: _Raws | None = None

    def _raw(self) -> _Raws:
        if self._as_it_came is None:
            self._as_it_came = _raws(self._body)
        return self._as_it_came

    def system(self, said: str | list[_Text] | None) -> Iterator[Message]:
        if not said:
            return
        if isinstance(said, str):
            yield Message(Role.SYSTEM, (Text(text=said),))
            return
        if said[0].text.startswith(BILLING) and "\n" not in said[0].text and len(said) > 1:
            blocks = self._raw().system
            if isinstance(blocks, list):
                self._extras["system[0]"] = bytes(blocks[0])
            said = said[1:]
        yield Message(Role.SYSTEM, tuple(Text(text=block.text, cached=block.cached) for block in said))

    def tools(self, tools: Sequence[_Tool], vital: list[str]) -> Iterator[Tool]:
        for place, tool in enumerate(tools):
            at = f"tools[{place}]"
            if tool.type not in (None, "custom"):
                raw = self._raw().tools
                if raw is not None:
                    self._extras[at] = bytes(raw[place])
                vital.append(at)
                continue
            if not tool.name:
                raise InvalidRequest("a tool has a `name`", param=f"{at}.name")
            schema = bytes(tool.input_schema)
            if not schema.startswith(b"{"):
                raise InvalidRequest("a tool's `input_schema` is a JSON Schema, an object", param=f"{at}.input_schema")
            yield Tool(tool.name, tool.description, schema, tool.strict, holds(tool.cache_control))

    def messages(self, messages: Sequence[_Message]) -> Iterator[Message]:
        for place, message in enumerate(messages):
            role, content = Role(message.role), message.content
            if isinstance(content, str):
                yield Message(role, (Text(text=content),))
                continue
            held: list[Part] = []
            held_as = role
            for at, part in self._parts(place, role, content):
                part_role = Role.TOOL if isinstance(part, ToolResult) else role
                if part_role is not held_as and held:
                    yield Message(held_as, tuple(held))
                    held = []
                held_as = part_role
                if isinstance(part, ToolCall | Reasoning) and role is not Role.ASSISTANT:
                    raise InvalidRequest("only an assistant's message holds such a block", param=f"{at}.type")
                if part_role is Role.TOOL and role is not Role.USER:
                    raise InvalidRequest("only a user's message holds a `tool_result`", param=f"{at}.type")
                held.append(part)
            if held:
                yield Message(held_as, tuple(held))

    def _parts(self, place: int, role: Role, content: Sequence[_Block]) -> Iterator[tuple[str, Part]]:
        for number, block in enumerate(content):
            at = f"messages[{place}].content[{number}]"
            match block:
                case _Thinking():
                    yield at, anthropic_seal.read(block.thinking, block.signature)
                case _Redacted():
                    yield at, replace(anthropic_seal.read("", block.data), redacted=True)
                case _ToolUse():
                    arguments = bytes(block.input)
                    if not arguments.startswith(b"{"):
                        raise InvalidRequest("a tool's `input` is an object", param=f"{at}.input")
                    yield (
                        at,
                        ToolCall(id=block.id, name=block.name, arguments=arguments.decode(), cached=block.cached),
                    )
                case _ToolResult():
                    said = block.content or ()
                    parts = (Text(text=said),) if isinstance(said, str) else tuple(self._shown(said))
                    failed = bool(block.is_error)
                    yield at, ToolResult(id=block.tool_use_id, parts=parts, failed=failed, cached=block.cached)
                case _Text() | _Image() | _Document() | _SearchResult():
                    for part in self._shown([block]):
                        yield at, part
                case _:
                    raw = self._raw().messages[place].content[number]
                    kind = str(block.__struct_config__.tag)
                    yield at, Own(origin=ORIGIN, kind=kind, raw=bytes(raw) if isinstance(raw, msgspec.Raw) else b"{}")

    def _shown(self, blocks: Iterable[_Block]) -> Iterator[Text | Image | File]:
        for block in blocks:
            match block:
                case _Text():
                    self._cites(block.citations)
                    yield Text(text=block.text, cached=block.cached)
                case _Image():
                    yield _image(block)
                case _Document():
                    self._cites(block.citations)
                    if block.context:
                        yield Text(text=block.context)
                    yield from self._document(block)
                case _SearchResult():
                    self._cites(block.citations)
                    text = "\n\n".join(one.text for one in block.content)
                    yield File(text=text, name=f"{block.title} ({block.source})", cached=block.cached)
                case _ToolReference():
                    yield Text(text=block.tool_name, cached=block.cached)

    def _document(self, block: _Document) -> Iterator[Text | Image | File]:
        name, cached = block.title, block.cached
        match block.source:
            case _Base64(media_type, data):
                yield File(media_type=media_type, data=data, name=name, cached=cached)
            case _Url(url):
                yield File(media_type="application/pdf", url=url, name=name, cached=cached)
            case _Uploaded(file_id):
                yield File(id=file_id, name=name, cached=cached)
            case _Plain(data, media_type):
                yield File(media_type=media_type or "text/plain", text=data, name=name, cached=cached)
            case _Content(str(text)):
                yield File(media_type="text/plain", text=text, name=name, cached=cached)
            case _Content(content):
                texts = [one.text for one in content if isinstance(one, _Text)]
                if texts:
                    yield File(media_type="text/plain", text="\n\n".join(texts), name=name, cached=cached)
                yield from (_image(one) for one in content if isinstance(one, _Image))

    def _cites(self, citations: msgspec.Raw) -> None:
        if holds(citations) and bytes(citations) != b'{"enabled":false}':
            self._extras.setdefault("messages.citations", bytes(citations))


def holds(field: msgspec.Raw) -> bool:
    return bytes(memoryview(field)[:5]) not in (b"", b"null", b"[]", b"{}")


def _image(block: _Image) -> Image:
    match block.source:
        case _Base64(media_type, data):
            return Image(media_type=media_type, data=data, cached=block.cached)
        case _Url(url):
            return Image(url=url, cached=block.cached)
        case _Uploaded(file_id):
            return Image(id=file_id, cached=block.cached)


def _choice(choice: _Choice) -> ToolChoice:
    if choice.type != "tool":
        return ToolChoice(MODES[choice.type])
    if not choice.name:
        raise InvalidRequest("a tool to be called has a `name`", param="tool_choice.name")
    return ToolChoice(ToolMode.REQUIRED, choice.name)


def _format(asked: _Asked) -> Format | None:
    wanted = asked.output_format if asked.output_config is None else asked.output_config.format or asked.output_format
    if wanted is None:
        return None
    schema = bytes(wanted.schema)
    if not schema.startswith(b"{"):
        at = "output_config.format.schema" if asked.output_format is None else "output_format.schema"
        raise InvalidRequest("a format's `schema` is a JSON Schema, an object", param=at)
    return Format(schema=schema, strict=True)


def _thinking(asked: _Asked) -> Thinking | None:
    effort = None if asked.output_config is None else asked.output_config.effort
    wanted = asked.thinking
    if wanted is None:
        return None if effort is None else Thinking(effort=effort)
    if wanted.type == "disabled":
        return Thinking(on=False, effort=effort)
    if wanted.type == "enabled" and wanted.budget_tokens is None:
        raise InvalidRequest("enabled thinking has `budget_tokens`", param="thinking.budget_tokens")
    shown = None if wanted.display is None else wanted.display != "omitted"
    return Thinking(effort=effort, budget_tokens=wanted.budget_tokens, shown=shown)
