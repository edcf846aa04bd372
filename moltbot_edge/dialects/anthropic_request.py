"""A request in Anthropic's shape -> the canonical chat. Pure; what is malformed is named by its path.

Source: Anthropic's API reference, the types of its official client, and what Claude Code sends: system messages
between the turns, cache markers, a line for its maker's accounts before the system prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

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
from moltbot_edge.core.decoding import MOST_OBJECTS
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.head import OURS
from moltbot_edge.dialects import anthropic_seal
from moltbot_edge.dialects import anthropic_wire as wire
from moltbot_edge.dialects.anthropic_seal import ORIGIN
from moltbot_edge.dialects.misfit import readable

COUNT: Final = "/v1/messages/count_tokens"


# What no other dialect has and the answer would be another without.
VITAL: Final = frozenset({"mcp_servers", "container"})

# Claude Code's first block of a system prompt: a version and an entry point, and in some versions a number that is
# another in each request, behind which no engine's cache would reach.
BILLING: Final = "x-anthropic-billing-header:"

MODES: Final = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "none": ToolMode.NONE}

_HEARD: Final = frozenset({*wire.Asked.__struct_fields__, *OURS})

_asked = msgspec.json.Decoder(wire.Asked).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_raws = msgspec.json.Decoder(wire.Raws).decode


def read(path: str, body: bytes | bytearray) -> ChatRequest:
    """Raises `InvalidRequest` with the path of the field at fault. At `COUNT` no ``max_tokens`` is asked for."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        raise InvalidRequest(f"the request has more than {MOST_OBJECTS} JSON objects", param="messages")
    with readable():
        asked = _asked(body)
        fields = _fields(body)
    if asked.max_tokens is None and path != COUNT:
        raise InvalidRequest("the field `max_tokens` is missing: how long a reply may be", param="max_tokens")
    extras = {name: bytes(value) for name, value in fields.items() if name not in _HEARD and wire.holds(value)}
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
        self._as_it_came: wire.Raws | None = None

    def _raw(self) -> wire.Raws:
        if self._as_it_came is None:
            self._as_it_came = _raws(self._body)
        return self._as_it_came

    def system(self, said: str | list[wire.Text] | None) -> Iterator[Message]:
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

    def tools(self, tools: Sequence[wire.Tool], vital: list[str]) -> Iterator[Tool]:
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
            yield Tool(tool.name, tool.description, schema, tool.strict, wire.holds(tool.cache_control))

    def messages(self, messages: Sequence[wire.Message]) -> Iterator[Message]:
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

    def _parts(self, place: int, role: Role, content: Sequence[wire.Block]) -> Iterator[tuple[str, Part]]:
        for number, block in enumerate(content):
            at = f"messages[{place}].content[{number}]"
            match block:
                case wire.Thinking():
                    yield at, anthropic_seal.read(block.thinking, block.signature)
                case wire.Redacted():
                    yield at, replace(anthropic_seal.read("", block.data), redacted=True)
                case wire.ToolUse():
                    arguments = bytes(block.input)
                    if not arguments.startswith(b"{"):
                        raise InvalidRequest("a tool's `input` is an object", param=f"{at}.input")
                    yield (
                        at,
                        ToolCall(id=block.id, name=block.name, arguments=arguments.decode(), cached=block.cached),
                    )
                case wire.ToolResult():
                    said = block.content or ()
                    parts = (Text(text=said),) if isinstance(said, str) else tuple(self._shown(said))
                    failed = bool(block.is_error)
                    yield at, ToolResult(id=block.tool_use_id, parts=parts, failed=failed, cached=block.cached)
                case wire.Text() | wire.Image() | wire.Document() | wire.SearchResult():
                    for part in self._shown([block]):
                        yield at, part
                case _:
                    raw = self._raw().messages[place].content[number]
                    kind = str(block.__struct_config__.tag)
                    yield at, Own(origin=ORIGIN, kind=kind, raw=bytes(raw) if isinstance(raw, msgspec.Raw) else b"{}")

    def _shown(self, blocks: Iterable[wire.Block]) -> Iterator[Text | Image | File]:
        for block in blocks:
            match block:
                case wire.Text():
                    self._cites(block.citations)
                    yield Text(text=block.text, cached=block.cached)
                case wire.Image():
                    yield _image(block)
                case wire.Document():
                    self._cites(block.citations)
                    if block.context:
                        yield Text(text=block.context)
                    yield from self._document(block)
                case wire.SearchResult():
                    self._cites(block.citations)
                    text = "\n\n".join(one.text for one in block.content)
                    yield File(text=text, name=f"{block.title} ({block.source})", cached=block.cached)
                case wire.ToolReference():
                    yield Text(text=block.tool_name, cached=block.cached)

    def _document(self, block: wire.Document) -> Iterator[Text | Image | File]:
        name, cached = block.title, block.cached
        match block.source:
            case wire.Base64(media_type, data):
                yield File(media_type=media_type, data=data, name=name, cached=cached)
            case wire.Url(url):
                yield File(media_type="application/pdf", url=url, name=name, cached=cached)
            case wire.Uploaded(file_id):
                yield File(id=file_id, name=name, cached=cached)
            case wire.Plain(data, media_type):
                yield File(media_type=media_type or "text/plain", text=data, name=name, cached=cached)
            case wire.Content(str(text)):
                yield File(media_type="text/plain", text=text, name=name, cached=cached)
            case wire.Content(content):
                texts = [one.text for one in content if isinstance(one, wire.Text)]
                if texts:
                    yield File(media_type="text/plain", text="\n\n".join(texts), name=name, cached=cached)
                yield from (_image(one) for one in content if isinstance(one, wire.Image))

    def _cites(self, citations: msgspec.Raw) -> None:
        if wire.holds(citations) and bytes(citations) != b'{"enabled":false}':
            self._extras.setdefault("messages.citations", bytes(citations))


def _image(block: wire.Image) -> Image:
    match block.source:
        case wire.Base64(media_type, data):
            return Image(media_type=media_type, data=data, cached=block.cached)
        case wire.Url(url):
            return Image(url=url, cached=block.cached)
        case wire.Uploaded(file_id):
            return Image(id=file_id, cached=block.cached)


def _choice(choice: wire.Choice) -> ToolChoice:
    if choice.type != "tool":
        return ToolChoice(MODES[choice.type])
    if not choice.name:
        raise InvalidRequest("a tool to be called has a `name`", param="tool_choice.name")
    return ToolChoice(ToolMode.REQUIRED, choice.name)


def _format(asked: wire.Asked) -> Format | None:
    wanted = asked.output_format if asked.output_config is None else asked.output_config.format or asked.output_format
    if wanted is None:
        return None
    schema = bytes(wanted.schema)
    if not schema.startswith(b"{"):
        at = "output_config.format.schema" if asked.output_format is None else "output_format.schema"
        raise InvalidRequest("a format's `schema` is a JSON Schema, an object", param=at)
    return Format(schema=schema, strict=True)


def _thinking(asked: wire.Asked) -> Thinking | None:
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
