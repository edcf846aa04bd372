"""Conversations and replies as hypothesis makes them, and what each dialect can say of them, as data.

A strategy draws only what is among its *says*: with those of two dialects at once, what both can say.
"""

from __future__ import annotations

import base64
import importlib
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

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
from moltbot_edge.core.dialect import ChatCodec, Dialect, ReplyHead
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import (
    Began,
    Event,
    Finished,
    FinishReason,
    LogProbs,
    ReasoningDelta,
    ReasoningSealed,
    RefusalDelta,
    TextDelta,
    TokenLogProb,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.kernel.registry import BUILTINS

DIALECTS: Final = ("openai-chat", "openai-responses", "anthropic-messages", "ollama")
CHAT_PATHS: Final = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic-messages": "/v1/messages",
    "ollama": "/api/chat",
}
HEAD: Final = ReplyHead("0123456789abcdef", 1_700_000_000, "model", lambda: 1.5)

# What a request may say beyond words, tools, calls and their results. Whatever is not listed, a dialect has no words
# for: it is dropped and named, or refused.
REQUESTS: Final[Mapping[str, frozenset[str]]] = {
    "openai-chat": frozenset(
        {
            *("seed", "stop", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty", "user"),
            *("logit_bias", "logprobs", "choices", "parallel_tools", "no_max_tokens"),
            *("tool_choice.auto", "tool_choice.none", "tool_choice.required", "tool_choice.name", "tools.strict"),
            *("tools.bare", "format.object", "format.name", "thinking.effort", "thinking.budget", "thinking.switch"),
            "thinking.sampled",
            *("messages.name", "refusal", "reasoning", "image", "image.url", "image.detail", "file", "sound"),
            *("system.parts", "user.parts", "arguments.broken", "result.name", "result.parts"),
        }
    ),
    "openai-responses": frozenset(
        {
            *("user", "logprobs", "parallel_tools", "no_max_tokens"),
            *("tool_choice.auto", "tool_choice.none", "tool_choice.required", "tool_choice.name", "tools.strict"),
            *("tools.bare", "format.object", "format.name", "thinking.effort", "thinking.shown"),
            "thinking.sampled",
            *("refusal", "reasoning", "reasoning.sealed", "image", "image.url", "image.detail", "file"),
            *("system.parts", "user.parts", "assistant.parts", "arguments.broken", "result.parts"),
            "result.image",
        }
    ),
    "anthropic-messages": frozenset(
        {
            *("stop", "top_k", "user", "parallel_tools", "tool_choice.auto", "tool_choice.none"),
            *("tool_choice.required", "tool_choice.name", "reasoning.sealed", "image", "image.url", "cached"),
            *("thinking.budget", "system.parts", "user.parts", "assistant.parts", "result.failed", "result.parts"),
            "result.image",
        }
    ),
    "ollama": frozenset(
        {
            *("seed", "stop", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repeat_penalty"),
            *("logprobs", "keep_alive", "no_max_tokens", "format.object", "thinking.switch", "thinking.level"),
            "thinking.sampled",
            *("reasoning", "image", "result.name"),
        }
    ),
}
# And a reply beyond words, calls, usage, and that it was done or cut off.
REPLIES: Final[Mapping[str, frozenset[str]]] = {
    "openai-chat": frozenset({"refusal", "filtered", "reasoning", "logprobs", "cached", "reasoning_tokens", "broken"}),
    "openai-responses": frozenset(
        {"refusal", "filtered", "reasoning", "sealed", "logprobs", "cached", "reasoning_tokens", "broken", "order"}
    ),
    "anthropic-messages": frozenset({"filtered", "reasoning", "sealed", "cached", "stop_sequence", "order"}),
    "ollama": frozenset({"reasoning", "logprobs"}),
}


def dialect(name: str) -> Dialect:
    module = importlib.import_module(BUILTINS["dialect"][name])
    made: Dialect = next(
        one()
        for one in vars(module).values()
        if isinstance(one, type) and getattr(one, "name", None) == name and one.__module__ == module.__name__
    )
    return made


def codec(name: str) -> ChatCodec:
    return dialect(name).codec()


# Pieces.

# Not what no JSON text can say, and never blank: to some dialects a blank text is none.
_odd = [
    "Zürich 🌉",
    'say "\\n"',
    "<|im_end|>",
    "data: x\n\nevent: y",
    "a\u2028b",
    "a\r\nb",
    "a\x00b",
    "</think>",
    "{}",
    "[DONE]",
]
texts = st.sampled_from(_odd) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    str.strip
)
names = st.sampled_from(["get_weather", "a", "read_file", "x_1", "Bash"]) | st.text(
    "abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=4
)
rates = st.integers(0, 100).map(lambda percent: percent / 100)
penalties = st.integers(-20, 20).map(lambda tenths: tenths / 10)
_numbers = st.integers(-(2**53) + 1, 2**53 - 1)
_values = st.recursive(
    st.none() | st.booleans() | _numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=3,
)
arguments = st.dictionaries(names, _values, max_size=2).map(lambda value: msgspec.json.encode(value).decode())
broken_arguments = st.sampled_from(['{"city": "Ro', "{'city': 'Rome'}", "not JSON", "[1, 2]"])
schemas = st.dictionaries(names, st.sampled_from(["string", "integer", "boolean"]), max_size=2).map(
    lambda fields: msgspec.json.encode(
        {"type": "object", "properties": {key: {"type": kind} for key, kind in fields.items()}}
    )
)
PNG: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(16)).decode()
PDF: Final = base64.b64encode(b"%PDF-1.4\n" + bytes(16)).decode()


@st.composite
def tools(draw: st.DrawFn, says: frozenset[str]) -> tuple[Tool, ...]:
    found = []
    for name in draw(st.lists(names, unique=True, max_size=3)):
        bare = "tools.bare" in says and draw(st.booleans())
        strict = draw(st.booleans()) if "tools.strict" in says else None
        found.append(Tool(name, draw(st.none() | texts), None if bare else draw(schemas), strict, _marker(draw, says)))
    return tuple(found)


def _marker(draw: st.DrawFn, says: frozenset[str]) -> bool:
    return "cached" in says and draw(st.booleans())


def _image(draw: st.DrawFn, says: frozenset[str]) -> Image:
    detail = draw(st.sampled_from([None, "low", "high"])) if "image.detail" in says else None
    if "image.url" in says and draw(st.booleans()):
        return Image(url="https://pictures.example/cat.png", detail=detail, cached=_marker(draw, says))
    return Image(media_type="image/png", data=PNG, detail=detail, cached=_marker(draw, says))


def _asked(draw: st.DrawFn, says: frozenset[str]) -> tuple[Part, ...]:
    words = Text(text=draw(texts), cached=_marker(draw, says))
    kinds = [kind for kind in ("image", "file", "sound") if kind in says]
    parts: list[Part] = [words]
    several = "user.parts" in says
    for kind in draw(st.lists(st.sampled_from([*kinds, "text"]), max_size=2)) if several else ():
        match kind:
            case "image":
                parts.append(_image(draw, says))
            case "file":
                parts.append(File(media_type="application/pdf", data=PDF, name="paper.pdf"))
            case "sound":
                parts.append(File(media_type="audio/wav", data="UklGRg=="))
            case _:
                parts.append(Text(text=draw(texts), cached=_marker(draw, says)))
    if "user.parts" not in says and "image" in says and draw(st.booleans()):
        parts.append(_image(draw, says))
    return tuple(parts)


def _result(draw: st.DrawFn, says: frozenset[str], call: ToolCall) -> ToolResult:
    most = 2 if "result.parts" in says else 1
    parts: list[Text | Image] = [Text(text=draw(texts)) for _ in range(draw(st.integers(1, most)))]
    if "result.image" in says and draw(st.booleans()):
        parts.append(_image(draw, says - {"cached"}))
    failed = "result.failed" in says and draw(st.booleans())
    return ToolResult(
        id=call.id,
        parts=tuple(parts),
        failed=failed,
        name=call.name if "result.name" in says and draw(st.booleans()) else None,
        cached=_marker(draw, says),
    )


def _answered(
    draw: st.DrawFn, says: frozenset[str], origin: str, ids: Sequence[str], known: Sequence[str]
) -> list[Part]:
    parts: list[Part] = []
    if "reasoning.sealed" in says and draw(st.booleans()):
        parts.append(Reasoning(text=draw(texts), seal="c2VhbA==", origin=origin))
    elif "reasoning" in says and draw(st.booleans()):
        parts.append(Reasoning(text=draw(texts)))
    most = 2 if "assistant.parts" in says else 1
    words = [Text(text=draw(texts), cached=_marker(draw, says)) for _ in range(draw(st.integers(0, most)))]
    if "refusal" in says and not words and draw(st.booleans()):
        parts.append(Refusal(text=draw(texts)))
    parts += words
    for id in ids:
        broken = "arguments.broken" in says and draw(st.booleans())
        text = draw(broken_arguments if broken else arguments)
        name = draw(st.sampled_from(list(known)) if known else names)
        parts.append(ToolCall(id=id, name=name, arguments=text, cached=_marker(draw, says)))
    if not any(isinstance(part, Text | Refusal | ToolCall) for part in parts):
        parts.append(Text(text=draw(texts), cached=_marker(draw, says)))
    return parts


@st.composite
def messages(draw: st.DrawFn, says: frozenset[str], origin: str, known: Sequence[str]) -> tuple[Message, ...]:
    """As all dialects want them: the user begins, turns alternate, each call has its result."""
    found: list[Message] = []
    named = "messages.name" in says

    def name() -> str | None:
        return draw(st.none() | names) if named else None

    if draw(st.booleans()):
        most = 2 if "system.parts" in says else 1
        parts = [Text(text=draw(texts), cached=_marker(draw, says)) for _ in range(draw(st.integers(1, most)))]
        found.append(Message(Role.SYSTEM, tuple(parts)))
    made = 0
    for _ in range(draw(st.integers(1, 3))):
        found.append(Message(Role.USER, _asked(draw, says), name()))
        for _ in range(draw(st.integers(0, 2))):
            ids = [f"call_{made + place}" for place in range(draw(st.integers(1, 3)))]
            made += len(ids)
            parts_of_it = _answered(draw, says, origin, ids, known)
            found.append(Message(Role.ASSISTANT, tuple(parts_of_it), name()))
            calls = [part for part in parts_of_it if isinstance(part, ToolCall)]
            found.append(Message(Role.TOOL, tuple(_result(draw, says, call) for call in calls)))
        found.append(Message(Role.ASSISTANT, tuple(_answered(draw, says, origin, (), known)), name()))
    if draw(st.booleans()) or found[-1].role is not Role.ASSISTANT:
        found.append(Message(Role.USER, _asked(draw, says), name()))
    return tuple(found)


def _maybe(draw: st.DrawFn, says: frozenset[str], name: str, values: st.SearchStrategy[Any]) -> Any:
    return draw(st.none() | values) if name in says else None


def _choice(draw: st.DrawFn, says: frozenset[str], declared: Sequence[Tool]) -> ToolChoice | None:
    kinds = [mode for mode in ToolMode if f"tool_choice.{mode}" in says and declared]
    choices: list[ToolChoice | None] = [None, *(ToolChoice(mode) for mode in kinds)]
    if "tool_choice.name" in says:
        choices += [ToolChoice(name=tool.name) for tool in declared]
    return draw(st.sampled_from(choices))


def _format(draw: st.DrawFn, says: frozenset[str]) -> Format | None:
    choices: list[st.SearchStrategy[Format | None]] = [st.none()]
    if "format.object" in says:
        choices.append(st.just(Format()))
        choices.append(schemas.map(Format))
    if "format.name" in says:
        described = st.none() | texts
        choices.append(st.builds(Format, schemas, names, described, st.none() | st.booleans()))
    return draw(st.one_of(choices))


def _thinking(draw: st.DrawFn, says: frozenset[str]) -> Thinking | None:
    choices: list[Thinking | None] = [None]
    if "thinking.effort" in says or "thinking.level" in says:
        choices += [Thinking(effort=effort) for effort in ("low", "medium", "high")]
    if "thinking.budget" in says:
        choices += [Thinking(budget_tokens=tokens) for tokens in (1024, 4096)]
    if "thinking.switch" in says:
        choices += [Thinking(), Thinking(on=False)]
    if "thinking.shown" in says:
        choices += [Thinking(effort="high", shown=True)]
    return draw(st.sampled_from(choices))


@st.composite
def requests(draw: st.DrawFn, says: frozenset[str], origin: str) -> ChatRequest:
    declared = draw(tools(says))
    limit = st.integers(5_000, 100_000)  # above every budget of thinking
    logprobs = _maybe(draw, says, "logprobs", st.just(True))
    thinking = _thinking(draw, says)
    if thinking is not None and "thinking.sampled" not in says:  # then the model chooses for itself
        says = says - {"top_k", "tool_choice.required", "tool_choice.name"}
    sampled = thinking is None or "thinking.sampled" in says
    spoken = draw(messages(says, origin, [tool.name for tool in declared]))
    return ChatRequest(
        model="model",
        messages=_as_marked_as_may_be(spoken, 4 - sum(tool.cached for tool in declared)),
        stream=draw(st.booleans()),
        tools=declared,
        tool_choice=_choice(draw, says, declared),
        parallel_tools=_maybe(draw, says if declared else frozenset(), "parallel_tools", st.booleans()),
        format=_format(draw, says),
        thinking=thinking,
        max_tokens=draw(st.none() | limit) if "no_max_tokens" in says else draw(limit),
        temperature=draw(st.none() | rates) if sampled else None,
        top_p=draw(st.none() | rates) if sampled else None,
        top_k=_maybe(draw, says, "top_k", st.integers(1, 100)),
        min_p=_maybe(draw, says, "min_p", rates),
        seed=_maybe(draw, says, "seed", st.integers(0, 2**31)),
        stop=tuple(draw(st.lists(texts, max_size=3))) if "stop" in says else (),
        presence_penalty=_maybe(draw, says, "presence_penalty", penalties),
        frequency_penalty=_maybe(draw, says, "frequency_penalty", penalties),
        repeat_penalty=_maybe(draw, says, "repeat_penalty", rates),
        logit_bias=_maybe(
            draw, says, "logit_bias", st.dictionaries(st.integers(0, 9).map(str), st.integers(-9, 9), max_size=2)
        ),
        logprobs=logprobs,
        top_logprobs=draw(st.none() | st.integers(1, 20)) if logprobs else None,
        choices=_maybe(draw, says, "choices", st.just(1)),
        user=_maybe(draw, says, "user", names),
        keep_alive=_maybe(draw, says, "keep_alive", st.integers(0, 1000).map(float)),
    )


def _as_marked_as_may_be(spoken: Sequence[Message], most: int) -> tuple[Message, ...]:
    """Those that come first, up to *most*: Anthropic refuses more."""
    left = itertools.count(most, -1)

    def marked(part: Part) -> Part:
        return msgspec.structs.replace(part, cached=False) if part.cached and next(left) <= 0 else part

    return tuple(msgspec.structs.replace(one, parts=tuple(map(marked, one.parts))) for one in spoken)


def plain(request: ChatRequest) -> ChatRequest:
    """*request* without what is written differently and means the same: what is not said and what it stands for."""
    thinking = request.thinking
    if thinking is not None and not thinking.on:
        thinking = Thinking(on=False)
    choice = request.tool_choice
    if choice is not None:
        choice = (
            None
            if choice == ToolChoice()
            else ToolChoice(choice.mode if choice.name is None else ToolMode.AUTO, choice.name)
        )
    parallel = request.parallel_tools
    if parallel or choice == ToolChoice(ToolMode.NONE):
        parallel = None
    form = request.format
    if form is not None:
        form = Format(form.schema, None if form.name == "answer" else form.name, form.description, form.strict or None)
    return msgspec.structs.replace(
        request,
        messages=tuple(
            msgspec.structs.replace(message, parts=tuple(map(_anybodys, message.parts))) for message in request.messages
        ),
        opening=None,
        usage_in_stream=False,
        tools=tuple(msgspec.structs.replace(tool, strict=tool.strict or None) for tool in request.tools),
        tool_choice=choice,
        parallel_tools=None
        if request.parallel_tools or choice == ToolChoice(ToolMode.NONE)
        else request.parallel_tools,
        format=form,
        thinking=thinking,
        extras={},
        origin=None,
        vital=(),
    )


def differences(one: ChatRequest | Whole, other: ChatRequest | Whole) -> dict[str, tuple[Any, Any]]:
    """By field. Two long values side by side show nobody where they differ."""
    names = one.__struct_fields__
    return {
        name: (getattr(one, name), getattr(other, name)) for name in names if getattr(one, name) != getattr(other, name)
    }


def _anybodys(part: Part) -> Part:
    """Thoughts that nobody sealed are anybody's, and an item's id is made where there is none."""
    if isinstance(part, Reasoning):
        return msgspec.structs.replace(part, origin=None if part.seal is None else part.origin, id=None)
    return part


# Conversations as they should not be: what an abort, a switch of models or a careless client leaves.

_ids = st.sampled_from(["a", "b", "call_c", "toolu_d", "with space", "ü"])


@st.composite
def messy(draw: st.DrawFn) -> ChatRequest:
    """Every text of it holds a word that no other has: ``word7.``"""
    made = 0

    def word() -> str:
        nonlocal made
        made += 1
        return f"word{made}." if draw(st.booleans()) else f"word{made}. {draw(texts)}"

    def marked() -> bool:
        return draw(st.booleans())

    def reasoning() -> Reasoning:
        seal, origin = draw(st.sampled_from([(None, None), *(("c2VhbA==", name) for name in DIALECTS)]))
        return Reasoning(text=draw(st.sampled_from(["", "hm"])), seal=seal, origin=origin)

    def call() -> ToolCall:
        text = draw(st.sampled_from(["[%s]", "%s", '{"a": "%s"}', '{"a": "%s"'])) % f"word{made + 1}."
        word()
        return ToolCall(id=draw(_ids), name=draw(names), arguments=text)

    def part(role: Role) -> Part:
        if role is Role.TOOL:
            words = [Text(text=word()) for _ in range(draw(st.integers(0, 2)))]
            shown = [Image(media_type="image/png", data=PNG)] if draw(st.booleans()) else []
            return ToolResult(id=draw(_ids), parts=(*words, *shown), failed=draw(st.booleans()))
        if role is Role.ASSISTANT:
            match draw(st.integers(0, 4)):
                case 0:
                    return reasoning()
                case 1:
                    return call()
                case 2:
                    return Refusal(text=word())
        elif role is Role.USER and draw(st.integers(0, 3)) == 0:
            return Image(media_type="image/png", data=PNG, cached=marked())
        return Text(text=word(), cached=marked())

    found: list[Message] = []
    for role in draw(st.lists(st.sampled_from(list(Role)), min_size=1, max_size=8)):
        parts = tuple(part(role) for _ in range(draw(st.integers(1, 3))))
        found.append(Message(role, parts, draw(st.none() | names)))
    found.append(Message(Role.USER, (Text(text=word()),)))
    return ChatRequest(model="model", messages=tuple(found), max_tokens=100)


def words_of(request: ChatRequest) -> str:
    """All that a model is told, but for what it thought."""
    said: list[str] = []
    for message in request.messages:
        for part in message.parts:
            match part:
                case Text(text=text) | Refusal(text=text):
                    said.append(text)
                case ToolCall(arguments=text):
                    said.append(text)
                case ToolResult(parts=parts):
                    said += [one.text for one in parts if isinstance(one, Text)]
    return "\n".join(said)


def orphans(request: ChatRequest) -> list[str]:
    """The ids of calls without a result at once after them, and of results without a call at once before."""
    found: list[str] = []
    called: list[str] = []
    for message in request.messages:
        results = [part.id for part in message.parts if isinstance(part, ToolResult)]
        for id in results:
            if id in called:
                called.remove(id)
            else:
                found.append(id)
        if message.role is not Role.TOOL:
            found += called
            called = [part.id for part in message.parts if isinstance(part, ToolCall)]
    return found + called


# Replies.


class Whole(msgspec.Struct, frozen=True):
    """A reply, folded: what a caller has of it, whatever pieces it came in."""

    text: str = ""
    refusal: str = ""
    thoughts: str = ""
    seals: tuple[tuple[str, str], ...] = ()
    calls: tuple[tuple[str, str, str], ...] = ()
    logprobs: tuple[TokenLogProb, ...] = ()
    finish: FinishReason | None = None
    stop_sequence: str | None = None
    usage: Usage | None = None
    reasoning_tokens: int | None = None


def fold(events: Sequence[Event]) -> Whole:
    text, refusal, thoughts, seals = "", "", "", []
    calls: dict[int, list[str]] = {}
    logprobs: list[TokenLogProb] = []
    finish = None
    said: UsageSaid | None = None
    for event in events:
        match event:
            case TextDelta(piece):
                text += piece
            case RefusalDelta(piece):
                refusal += piece
            case ReasoningDelta(piece):
                thoughts += piece
            case ToolCallBegan(index, id, name):
                assert index not in calls
                calls[index] = [id, name, ""]
            case ToolCallDelta(index, piece):
                calls[index][2] += piece
            case LogProbs(tokens):
                logprobs += tokens
            case UsageSaid():
                said = event
            case Finished():
                assert finish is None
                finish = event
            case ReasoningSealed(seal, origin):
                seals.append((seal, origin))
    return Whole(
        text,
        refusal,
        thoughts,
        tuple(seals),
        tuple((id, name, _compact(pieces)) for id, name, pieces in (calls[index] for index in sorted(calls))),
        tuple(logprobs),
        None if finish is None else finish.reason,
        None if finish is None else finish.stop_sequence,
        None if said is None else said.usage,
        None if said is None else said.reasoning_tokens or None,  # none, or nobody counted
    )


def _compact(text: str) -> str:
    """Arguments that are JSON, in one form: they may be written anew."""
    try:
        return msgspec.json.encode(json.loads(text or "{}")).decode()
    except ValueError:
        return text


def cut_up(text: str) -> st.SearchStrategy[list[str]]:
    """*text* in pieces."""
    places = st.lists(st.integers(0, len(text)), max_size=3).map(lambda found: [0, *sorted(found), len(text)])
    return places.map(lambda at: [text[one:other] for one, other in itertools.pairwise(at) if one < other])


@st.composite
def event_lists(draw: st.DrawFn, says: frozenset[str]) -> list[Event]:
    events: list[Event] = [Began("reply-1", "model")]
    if "reasoning" in says and draw(st.booleans()):
        events += map(ReasoningDelta, draw(cut_up(draw(texts))))
    refused = "refusal" in says and draw(st.booleans())
    if refused:
        events += map(RefusalDelta, draw(cut_up(draw(texts))))
    elif draw(st.booleans()):
        for piece in draw(cut_up(draw(texts))):
            events.append(TextDelta(piece))
            if "logprobs" in says and draw(st.booleans()):
                own = tuple(piece.encode())
                events.append(LogProbs((TokenLogProb(piece, -draw(rates), own, (TokenLogProb("x", -2.5, (120,)),)),)))
    count = draw(st.integers(0, 3))
    pending: list[list[Event]] = []
    for index in range(count):
        broken = "broken" in says and draw(st.booleans())
        text = draw(broken_arguments if broken else arguments)
        pending.append([ToolCallDelta(index, piece) for piece in draw(cut_up(text))])
        events.append(ToolCallBegan(index, f"call_{index}", draw(names)))
        if draw(st.booleans()):  # in parallel with those that come, or all at once
            events += pending[index]
            pending[index] = []
    while any(pending):
        index = draw(st.sampled_from([place for place, left in enumerate(pending) if left]))
        events.append(pending[index].pop(0))
    reasons = [FinishReason.TOOL_CALLS] if count else [FinishReason.STOP]
    if not count:
        reasons.append(FinishReason.LENGTH)
        if "filtered" in says and not refused:
            reasons.append(FinishReason.REFUSED)
    reason = draw(st.sampled_from(reasons))
    stopped = "stop_sequence" in says and reason is FinishReason.STOP and draw(st.booleans())
    events.append(Finished(reason, "END" if stopped else None))
    read = draw(st.integers(1, 10**6))
    cached = draw(st.integers(0, read)) if "cached" in says else 0
    thought = draw(st.integers(0, 1000)) if "reasoning_tokens" in says else None
    events.append(UsageSaid(Usage(read, draw(st.integers(1, 10**6)), cached), thought))
    return events


def asked(name: str, stream: bool, **fields: Any) -> ChatRequest:
    """A request such as a caller of this dialect makes, for a writer of its replies."""
    return ChatRequest(
        model="model",
        messages=(Message(Role.USER, (Text(text="hi"),)),),
        stream=stream,
        usage_in_stream=True,
        origin=name,
        **fields,
    )
