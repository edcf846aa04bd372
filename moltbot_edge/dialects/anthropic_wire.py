"""A request of Anthropic's as it is on the wire: what is read of it, and of which type each field has to be.

What is not here is not looked at. Source: Anthropic's API reference, and the types of its official client.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

ABSENT: Final = msgspec.Raw(b"")


def holds(field: msgspec.Raw) -> bool:
    return bytes(memoryview(field)[:5]) not in (b"", b"null", b"[]", b"{}")


class Block(msgspec.Struct, tag_field="type"):
    cache_control: msgspec.Raw = ABSENT

    @property
    def cached(self) -> bool:
        return holds(self.cache_control)


class Text(Block, tag="text", kw_only=True):
    text: str
    citations: msgspec.Raw = ABSENT


class Base64(msgspec.Struct, tag="base64", tag_field="type"):
    media_type: str
    data: str


class Url(msgspec.Struct, tag="url", tag_field="type"):
    url: str


class Uploaded(msgspec.Struct, tag="file", tag_field="type"):
    file_id: str


class Plain(msgspec.Struct, tag="text", tag_field="type"):
    data: str
    media_type: str | None = None


class Image(Block, tag="image", kw_only=True):
    source: Base64 | Url | Uploaded


class Content(msgspec.Struct, tag="content", tag_field="type"):
    content: str | list[Text | Image]


class Document(Block, tag="document", kw_only=True):
    source: Base64 | Url | Uploaded | Plain | Content
    title: str | None = None
    context: str | None = None
    citations: msgspec.Raw = ABSENT


class SearchResult(Block, tag="search_result", kw_only=True):
    content: list[Text]
    source: str
    title: str
    citations: msgspec.Raw = ABSENT


class Thinking(Block, tag="thinking", kw_only=True):
    thinking: str
    signature: str = ""


class Redacted(Block, tag="redacted_thinking", kw_only=True):
    data: str


class ToolUse(Block, tag="tool_use", kw_only=True):
    id: str
    name: str
    input: msgspec.Raw


class ToolReference(Block, tag="tool_reference", kw_only=True):
    tool_name: str


class ToolResult(Block, tag="tool_result", kw_only=True):
    tool_use_id: str
    content: str | list[Text | Image | Document | SearchResult | ToolReference] | None = None
    is_error: bool | None = None


# What Anthropic's own tools did in earlier turns: kept for Anthropic, and nobody else's to read.


class ServerToolUse(Block, tag="server_tool_use"): ...


class WebSearch(Block, tag="web_search_tool_result"): ...


class WebFetch(Block, tag="web_fetch_tool_result"): ...


class Execution(Block, tag="code_execution_tool_result"): ...


class Bash(Block, tag="bash_code_execution_tool_result"): ...


class Editor(Block, tag="text_editor_code_execution_tool_result"): ...


class ToolSearch(Block, tag="tool_search_tool_result"): ...


class McpUse(Block, tag="mcp_tool_use"): ...


class McpResult(Block, tag="mcp_tool_result"): ...


class Message(msgspec.Struct):
    role: Literal["user", "assistant", "system"]
    content: (
        str
        | list[
            Text
            | Image
            | Document
            | SearchResult
            | Thinking
            | Redacted
            | ToolUse
            | ToolResult
            | ServerToolUse
            | WebSearch
            | WebFetch
            | Execution
            | Bash
            | Editor
            | ToolSearch
            | McpUse
            | McpResult
        ]
    )


class Tool(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    strict: bool | None = None
    cache_control: msgspec.Raw = ABSENT


class Choice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Enabled(msgspec.Struct):
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    display: str | None = None


class Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: msgspec.Raw


class Output(msgspec.Struct):
    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    user_id: str | None = None


class Asked(msgspec.Struct):
    model: str
    messages: Annotated[list[Message], msgspec.Meta(min_length=1)]
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    system: str | list[Text] | None = None
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    thinking: Enabled | None = None
    output_config: Output | None = None
    output_format: Format | None = None  # as it was before `output_config` had it
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=0)] | None = None
    metadata: Metadata | None = None


class Contents(msgspec.Struct):
    content: str | list[msgspec.Raw]


class Raws(msgspec.Struct):
    """The same, undecoded."""

    messages: list[Contents] = []
    tools: list[msgspec.Raw] | None = None
    system: str | list[msgspec.Raw] | None = None
