"""The canonical chat: what a request of any dialect asks for, as values. N dialects read and write this one.

Not a wire format, and nothing here is sent; sessions are written down so, by `record`. What only one dialect knows
travels in `ChatRequest.extras`, by that dialect's own field names, so that a writer can say what it had to drop.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Part(msgspec.Struct, frozen=True, tag=str.lower, omit_defaults=True):
    """One piece of a message's content. *cached* is a cache marker that stands after it."""

    cached: bool = False


class Text(Part, frozen=True, kw_only=True):
    text: str


class Refusal(Part, frozen=True, kw_only=True):
    """An assistant's words for not answering."""

    text: str


class Image(Part, frozen=True, kw_only=True):
    """Either *data*, in base64, with its *media_type* (``image/png``), or a *url*. *detail* is OpenAI's.

    *id* is a file's, as a provider named it: nobody else has that file.
    """

    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    detail: str | None = None
    id: str | None = None


class File(Part, frozen=True, kw_only=True):
    """A document or a sound, as `Image`; *text* in place of *data* where it is one. *id* is a provider's own."""

    media_type: str | None = None
    data: str | None = None
    text: str | None = None
    url: str | None = None
    name: str | None = None
    id: str | None = None


class Reasoning(Part, frozen=True, kw_only=True):
    """What a model thought. *seal* is a signature or the encrypted whole, and holds only where it came from.

    *origin* names the dialect whose seal it is; without one the text is anybody's. *id* is the item's.
    """

    text: str = ""
    seal: str | None = None
    origin: str | None = None
    redacted: bool = False
    id: str | None = None


class ToolCall(Part, frozen=True, kw_only=True):
    """*arguments* is the JSON text as the model wrote it, which need not be JSON."""

    id: str
    name: str
    arguments: str = "{}"


class ToolResult(Part, frozen=True, kw_only=True):
    """The answer to the call *id*. *name* is the tool's, where the dialect says it."""

    id: str
    parts: tuple[Text | Image | File, ...] = ()
    failed: bool = False
    name: str | None = None


class Own(Part, frozen=True, kw_only=True):
    """What only the dialect *origin* has, as its JSON text; *kind* is its name there. Nobody else is sent it."""

    origin: str
    kind: str
    raw: bytes


class Role(StrEnum):
    SYSTEM = "system"  # and OpenAI's ``developer``
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"  # its parts are `ToolResult`


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    """*parameters* is a JSON Schema, as its JSON text; None where the dialect gave none."""

    name: str
    description: str | None = None
    parameters: bytes | None = None
    strict: bool | None = None
    cached: bool = False


class ToolMode(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"  # any of them, but one


class ToolChoice(msgspec.Struct, frozen=True):
    """*name* set: this tool, whatever the mode says."""

    mode: ToolMode = ToolMode.AUTO
    name: str | None = None


class Format(msgspec.Struct, frozen=True):
    """How the answer's text has to be. *schema* is a JSON Schema's JSON text; None: any JSON object."""

    schema: bytes | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class Thinking(msgspec.Struct, frozen=True):
    """Whether and how long to think first. *effort* is ``minimal``, ``low``, ``medium``, ``high``, or what comes next.

    *shown* False: think, but do not show it.
    """

    on: bool = True
    effort: str | None = None
    budget_tokens: int | None = None
    shown: bool | None = None


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is None was not said, and the upstream's own default holds.

    *held_tools*: the tools were declared before, in the session; a model that takes none is asked without them.
    *keep_alive* is seconds that the model shall stay loaded, negative for ever. *usage_in_stream* is OpenAI's wish.
    *extras* holds the fields that no other dialect knows: name -> JSON text; of a field further in, its whole path.
    *origin* is the dialect that they are of. *vital* are the paths of those without which the answer would be another:
    only that dialect can be asked. *loads_only*: there is no question; the model shall be in memory, or with a
    *keep_alive* of 0 leave it. Of the *messages* the first *opening* are the system text, and what follows is said in
    the conversation, also where it is the system's; None: all of the system's that they begin with. *refers*: some of
    them are only the ids of what is kept (see `references`).
    """

    model: str
    messages: tuple[Message, ...]
    opening: int | None = None
    refers: bool = False
    stream: bool = False
    usage_in_stream: bool = False
    tools: tuple[Tool, ...] = ()
    held_tools: bool = False
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    format: Format | None = None
    thinking: Thinking | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repeat_penalty: float | None = None
    logit_bias: Mapping[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    choices: int | None = None
    user: str | None = None
    keep_alive: float | None = None
    extras: Mapping[str, bytes] = {}
    origin: str | None = None
    vital: tuple[str, ...] = ()
    loads_only: bool = False
