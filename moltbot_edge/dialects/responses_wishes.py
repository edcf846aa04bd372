"""What a request to OpenAI's Responses wants beside its conversation: tools, a form of the answer, thoughts. Read.

Source: OpenAI's API reference. Tools that are their maker's are passed over here: `responses_request` keeps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.chat import Format, Thinking, Tool, ToolChoice, ToolMode
from moltbot_edge.core.errors import InvalidRequest

ABSENT: Final = msgspec.Raw(b"")


class ToolWire(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = ABSENT
    strict: bool | None = None


class ChoiceWire(msgspec.Struct):
    type: str
    name: str | None = None
    mode: str | None = None
    tools: list[ToolWire] | None = None


class FormatWire(msgspec.Struct):
    type: str
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = ABSENT
    strict: bool | None = None


class WordsWire(msgspec.Struct):
    format: FormatWire | None = None
    verbosity: str | None = None


class ReasoningWire(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


def tools(declared: Sequence[ToolWire]) -> tuple[Tool, ...]:
    found = []
    for place, tool in enumerate(declared):
        if tool.type != "function":
            continue  # it is `vital`
        if not tool.name:
            raise InvalidRequest("a function has a `name`", param=f"tools[{place}].name")
        parameters = bytes(tool.parameters) if holds(tool.parameters) else None
        if parameters is not None and not parameters.startswith(b"{"):
            raise InvalidRequest("a function's `parameters` is a JSON Schema", param=f"tools[{place}].parameters")
        found.append(Tool(tool.name, tool.description, parameters, tool.strict))
    return tuple(found)


def choice(wanted: str | ChoiceWire | None, declared: Sequence[ToolWire]) -> ToolChoice | None:
    match wanted:
        case None:
            return None
        case str():
            mode = _mode(wanted, "tool_choice")
            if mode is ToolMode.REQUIRED and not declared:
                raise InvalidRequest("`tool_choice` demands a tool, and there are no `tools`", param="tool_choice")
            return ToolChoice(mode)
        case ChoiceWire(type="function", name=str(name)) if name:
            if all(tool.name != name for tool in declared):
                raise InvalidRequest(f"there is no tool named {name[:64]!r} in `tools`", param="tool_choice.name")
            return ToolChoice(name=name)
        case ChoiceWire(type="function"):
            raise InvalidRequest("a function to be called has a `name`", param="tool_choice.name")
        case ChoiceWire(type="allowed_tools", mode=mode):
            return ToolChoice(_mode(mode or "", "tool_choice.mode"))
        case _:
            return None  # it is `vital`


def _mode(mode: str, at: str) -> ToolMode:
    try:
        return ToolMode(mode)
    except ValueError:
        raise InvalidRequest(f"`{at}` is one of {', '.join(ToolMode)}", param=at) from None


def allowed(tools: tuple[Tool, ...], named: Sequence[ToolWire]) -> tuple[Tool, ...]:
    """Of all tools those that may be called now: no other dialect tells the two apart."""
    known = {tool.name: tool for tool in tools}
    for place, tool in enumerate(named):
        if tool.type == "function" and tool.name not in known:
            raise InvalidRequest("an allowed tool is one of `tools`", param=f"tool_choice.tools[{place}]")
    names = {tool.name for tool in named}
    return tuple(tool for tool in tools if tool.name in names)


def form(text: WordsWire | None) -> Format | None:
    if text is None or text.format is None:
        return None
    said = text.format
    match said.type:
        case "text":
            return None
        case "json_object":
            return Format()
        case "json_schema":
            if not bytes(said.schema).startswith(b"{"):
                raise InvalidRequest("the format json_schema has a `schema`", param="text.format.schema")
            return Format(bytes(said.schema), said.name, said.description, said.strict)
        case _:
            raise InvalidRequest("a format is one of text, json_object, json_schema", param="text.format.type")


def thinking(reasoning: ReasoningWire | None) -> Thinking | None:
    if reasoning is None:
        return None
    shown = True if reasoning.summary or reasoning.generate_summary else None
    if reasoning.effort == "none":
        return Thinking(on=False, effort="none")
    if reasoning.effort is None and shown is None:
        return None
    return Thinking(effort=reasoning.effort, shown=shown)


def holds(value: msgspec.Raw) -> bool:
    return bytes(memoryview(value)[:5]) not in (b"", b"null")
