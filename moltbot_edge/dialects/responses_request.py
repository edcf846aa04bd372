"""A request to OpenAI's Responses, read: its items become messages. Nothing is fetched and nothing looked up.

Source: OpenAI's API reference, and what its official clients send. Items of one assistant turn (reasoning, words,
function calls) are one message, and the outputs of functions that follow each other are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

from moltbot_edge.core import response_id
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
    ToolCall,
    ToolResult,
)
from moltbot_edge.core.decoding import MOST_OBJECTS
from moltbot_edge.core.errors import InvalidRequest, UnknownPrevious, UnknownSession
from moltbot_edge.core.head import OURS
from moltbot_edge.core.references import REFERENCE, is_reference
from moltbot_edge.dialects import responses_keeping, responses_seal
from moltbot_edge.dialects import responses_wishes as wishes
from moltbot_edge.dialects.misfit import readable
from moltbot_edge.dialects.responses_seal import OWN
from moltbot_edge.dialects.responses_wishes import ABSENT, ChoiceWire, ReasoningWire, ToolWire, WordsWire, holds

COUNTED: Final = "/v1/responses/input_tokens"
LOGPROBS: Final = "message.output_text.logprobs"
SOUNDS: Final = {"wav": "audio/wav", "mp3": "audio/mpeg"}

_Positive = Annotated[int, msgspec.Meta(ge=1)]


class _Audio(msgspec.Struct):
    data: str
    format: str


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: _Audio | None = None
    prompt_cache_breakpoint: msgspec.Raw = ABSENT


class _Item(msgspec.Struct):
    """Any item that is understood; each has some of these."""

    type: str | None = None
    role: str | None = None
    content: str | list[_Part] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None


class _Asked(msgspec.Struct):
    model: str
    input: str | list[_Item]
    instructions: str | None = None
    stream: bool | None = None
    tools: list[ToolWire] | None = None
    tool_choice: str | ChoiceWire | None = None
    parallel_tool_calls: bool | None = None
    text: WordsWire | None = None
    reasoning: ReasoningWire | None = None
    max_output_tokens: _Positive | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    include: list[str] | None = None
    user: str | None = None
    background: bool | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = ABSENT
    prompt: msgspec.Raw = ABSENT


class _Kind(msgspec.Struct):
    type: str | None = None


class _Kinds(msgspec.Struct):
    input: list[_Kind] = []
    items: list[_Kind] = []


class _Put(msgspec.Struct):
    items: list[_Item] | None = None


_asked = msgspec.json.Decoder(_Asked).decode
_put = msgspec.json.Decoder(_Put).decode
_kinds = msgspec.json.Decoder(_Kinds).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode

UNDERSTOOD_ITEMS: Final = frozenset({"message", "function_call", "function_call_output", "reasoning"})
# What has a meaning here, or of the gateway's own: no upstream has to hear of it.
_HEARD: Final = OURS.union(_Asked.__struct_fields__, {"stream_options"}) - {"metadata"}


def read(body: bytes | bytearray, *, alone: bool = False) -> ChatRequest:
    """Raises `InvalidRequest` with the path of the field at fault. *alone*: nobody looks up what it goes on with."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        raise InvalidRequest(f"the request has more than {MOST_OBJECTS} JSON objects", param="input")
    try:
        with readable():
            asked = _asked(body)
            fields = _fields(body)
    except InvalidRequest as error:
        raise _of_an_unknown_item(error, body, "input") or error from error.__cause__
    _refuse_what_is_not_kept(asked, alone)
    extras = {name: bytes(value) for name, value in fields.items() if name not in _HEARD and holds(value)}
    if asked.text is not None and asked.text.verbosity is not None:
        extras["text.verbosity"] = msgspec.json.encode(asked.text.verbosity)
    vital = _vital(asked, fields)
    tools, choice = wishes.tools(asked.tools or ()), wishes.choice(asked.tool_choice, asked.tools or ())
    if isinstance(asked.tool_choice, ChoiceWire) and asked.tool_choice.type == "allowed_tools":
        tools = wishes.allowed(tools, asked.tool_choice.tools or ())
    messages = _messages(asked)
    return ChatRequest(
        model=asked.model,
        messages=messages,
        refers=any(map(is_reference, messages)),
        opening=0 if asked.instructions is None else 1,
        stream=bool(asked.stream),
        tools=tools,
        tool_choice=choice,
        parallel_tools=asked.parallel_tool_calls,
        format=wishes.form(asked.text),
        thinking=wishes.thinking(asked.reasoning),
        max_tokens=asked.max_output_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        logprobs=True if LOGPROBS in (asked.include or ()) or asked.top_logprobs else None,
        top_logprobs=asked.top_logprobs,
        user=asked.user,
        extras=extras | vital,
        origin=OWN,
        vital=tuple(vital),
    )


def _vital(asked: _Asked, fields: dict[str, msgspec.Raw]) -> dict[str, bytes]:
    """The tools that are their maker's, and the wish to call one: only who makes them can be asked."""
    found: dict[str, bytes] = {}
    if any(tool.type != "function" for tool in asked.tools or ()):
        own = {place for place, tool in enumerate(asked.tools or ()) if tool.type != "function"}
        found = {f"tools[{at}]": bytes(raw) for at, raw in enumerate(_list(fields["tools"])) if at in own}
    match asked.tool_choice:
        case ChoiceWire(type="function"):
            pass
        case ChoiceWire(type="allowed_tools", tools=tools) if all(tool.type == "function" for tool in tools or ()):
            pass
        case ChoiceWire():
            found["tool_choice"] = bytes(fields["tool_choice"])
    return found


def _refuse_what_is_not_kept(asked: _Asked, alone: bool) -> None:
    """What this gateway gave no id to, another one may have kept; but it is not asked here."""
    if alone and (asked.previous_response_id is not None or holds(asked.conversation)):
        name = "previous_response_id" if asked.previous_response_id is not None else "conversation"
        raise InvalidRequest(f"only what is sent is counted: send the whole `input`, and no `{name}`", param=name)
    previous = asked.previous_response_id
    if previous is not None and response_id.read(previous) is None:
        raise unknown_previous(previous)
    conversation = responses_keeping.conversation(asked.conversation)
    if conversation is not None and not response_id.may_be_a_session(conversation):
        raise UnknownSession(f"Conversation with id {conversation[:128]!r} not found.", param="conversation")
    if asked.background:
        raise InvalidRequest("a response is not made in the background: leave `background` out", param="background")
    if holds(asked.prompt):
        raise InvalidRequest("stored prompts are their maker's: send `instructions` and `input`", param="prompt")


def unknown_previous(id: str) -> UnknownPrevious:
    return UnknownPrevious(f"Previous response with id {id[:256]!r} not found.", param="previous_response_id")


def read_items(body: bytes | bytearray) -> tuple[Message, ...]:
    """The field `items` of *body*, which is put into a conversation. Raises `InvalidRequest`."""
    if len(body) > MOST_OBJECTS and body.count(b"{") > MOST_OBJECTS:
        raise InvalidRequest(f"the request has more than {MOST_OBJECTS} JSON objects", param="items")
    try:
        with readable():
            said = _put(body).items
    except InvalidRequest as error:
        raise _of_an_unknown_item(error, body, "items") or error from error.__cause__
    for place, item in enumerate(said or ()):
        if item.type == "item_reference":
            raise _unknown_item(item.type, f"items[{place}]")
    return _messages_of(said or (), "items")


def _messages(asked: _Asked) -> tuple[Message, ...]:
    opening = [] if asked.instructions is None else [Message(Role.SYSTEM, (Text(text=asked.instructions),))]
    if isinstance(asked.input, str):
        return (*opening, Message(Role.USER, (Text(text=asked.input),)))
    return (*opening, *_messages_of(asked.input, "input"))


def _messages_of(items: Sequence[_Item], field: str) -> tuple[Message, ...]:
    messages: list[Message] = []
    said: list[Part] = []  # of one turn of the assistant
    results: list[Part] = []  # of its tools

    def close() -> None:
        if said:
            messages.append(Message(Role.ASSISTANT, tuple(said)))
        if results:
            messages.append(Message(Role.TOOL, tuple(results)))
        said.clear()
        results.clear()

    for place, item in enumerate(items):
        at = f"{field}[{place}]"
        match item.type or "message":
            case "function_call_output":
                if said:
                    close()
                results.append(_result(item, at))
            case "message" if item.role in ("user", "system", "developer"):
                close()
                role = Role.USER if item.role == "user" else Role.SYSTEM
                messages.append(Message(role, _content(item.content, f"{at}.content")))
            case "item_reference" if item.id and response_id.read_item(item.id) is not None:
                close()
                reference = Own(origin=OWN, kind=REFERENCE, raw=msgspec.json.encode(item.id))
                messages.append(Message(Role.ASSISTANT, (reference,)))
            case kind:
                if results:
                    close()
                said += _turn(kind, item, at)
    close()
    return tuple(messages)


def _turn(kind: str, item: _Item, at: str) -> Sequence[Part]:
    """What this item adds to a turn of the assistant's."""
    match kind:
        case "message" if item.role == "assistant":
            return _content(item.content, f"{at}.content")
        case "message":
            raise InvalidRequest("a message's `role` is one of user, assistant, system, developer", param=f"{at}.role")
        case "function_call":
            for name, value in (("call_id", item.call_id), ("name", item.name)):
                if not value:
                    raise InvalidRequest(f"a function call has a `{name}`", param=f"{at}.{name}")
            return [ToolCall(id=item.call_id or "", name=item.name or "", arguments=item.arguments or "{}")]
        case "reasoning":
            return [_reasoning(item)]
        case _:
            raise _unknown_item(kind, at)


def _reasoning(item: _Item) -> Reasoning:
    thought = item.content if isinstance(item.content, list) and item.content else item.summary or []
    text = "\n\n".join(part.text or "" for part in thought)
    if not item.encrypted_content:
        return Reasoning(text=text, id=item.id or None)
    seal, origin, redacted = responses_seal.read(item.encrypted_content)
    return Reasoning(text=text, seal=seal, origin=origin, redacted=redacted, id=item.id or None)


def _result(item: _Item, at: str) -> ToolResult:
    if not item.call_id:
        raise InvalidRequest("a function's output has the `call_id` of its call", param=f"{at}.call_id")
    if item.output is None:
        raise InvalidRequest("a function's output is a text or a list of parts", param=f"{at}.output")
    parts = [
        part for part in _content(item.output, f"{at}.output") if isinstance(part, Text | Image | File)
    ]  # there are no others
    return ToolResult(id=item.call_id, parts=tuple(parts), name=item.name)


def _content(content: str | list[_Part] | None, at: str) -> tuple[Part, ...]:
    match content:
        case None:
            raise InvalidRequest("a message has a `content`: a text or a list of parts", param=at)
        case str():
            return (Text(text=content),) if content else ()
        case _:
            return tuple(_part(part, f"{at}[{place}]") for place, part in enumerate(content))


def _part(part: _Part, at: str) -> Part:
    cached = holds(part.prompt_cache_breakpoint)
    match part.type:
        case "input_text" | "output_text" | "text" | "summary_text":
            if part.text is None:
                raise InvalidRequest(f"a part of type {part.type} has a `text`", param=f"{at}.text")
            return Text(text=part.text, cached=cached)
        case "refusal":
            if part.refusal is None:
                raise InvalidRequest("a part of type refusal has a `refusal`", param=f"{at}.refusal")
            return Refusal(text=part.refusal)
        case "input_image":
            detail = None if part.detail == "auto" else part.detail
            if part.image_url is None:
                if part.file_id is None:
                    raise InvalidRequest("an image has an `image_url` or a `file_id`", param=f"{at}.image_url")
                return Image(id=part.file_id, detail=detail, cached=cached)
            media_type, data = data_url(part.image_url, f"{at}.image_url")
            url = part.image_url if data is None else None
            return Image(media_type=media_type, data=data, url=url, detail=detail, cached=cached)
        case "input_file":
            return _file(part, at, cached)
        case "input_audio" if part.input_audio is not None:
            sound = part.input_audio
            if sound.format not in SOUNDS:
                raise InvalidRequest(f"a sound is one of {', '.join(SOUNDS)}", param=f"{at}.input_audio.format")
            return File(media_type=SOUNDS[sound.format], data=sound.data)
        case other:
            raise InvalidRequest(
                f"a part of type {other[:64]!r} is not understood; input_text, input_image, input_file, output_text"
                " and refusal are",
                param=f"{at}.type",
            )


def _file(part: _Part, at: str, cached: bool) -> File:
    if part.file_data is None:
        if part.file_url is None and part.file_id is None:
            raise InvalidRequest("a file has `file_data`, `file_url` or `file_id`", param=at)
        return File(url=part.file_url, id=part.file_id, name=part.filename, cached=cached)
    media_type, data = data_url(part.file_data, f"{at}.file_data")
    # Without a media type, it is what nearly all of them are.
    return File(
        media_type=media_type or "application/pdf", data=data or part.file_data, name=part.filename, cached=cached
    )


def data_url(url: str, at: str) -> tuple[str | None, str | None]:
    """The media type and the base64 of a ``data:`` URL; of any other nothing."""
    if not url.startswith("data:"):
        return None, None
    kind, comma, data = url[5:].partition(",")
    media_type, semicolon, encoding = kind.rpartition(";")
    if not comma or not semicolon or encoding != "base64":
        raise InvalidRequest("a data URL is data:MEDIA/TYPE;base64,...", param=at)
    return media_type, data


def _unknown_item(kind: str, at: str) -> InvalidRequest:
    if kind == "item_reference":
        return InvalidRequest("no item is kept under this id: send the item itself", param=f"{at}.type")
    return InvalidRequest(
        f"an item of type {kind[:64]!r} is not understood; {', '.join(sorted(UNDERSTOOD_ITEMS))} are",
        param=f"{at}.type",
    )


def _of_an_unknown_item(error: InvalidRequest, body: bytes | bytearray, field: str) -> InvalidRequest | None:
    """An item that is none of ours is named before its fields are."""
    if not (error.param or "").startswith(f"{field}["):
        return None
    try:
        kinds = _kinds(body)
    except msgspec.DecodeError:
        return None
    for at, item in enumerate(kinds.input if field == "input" else kinds.items):
        if item.type is not None and item.type not in UNDERSTOOD_ITEMS:
            return _unknown_item(item.type, f"{field}[{at}]")
    return None
