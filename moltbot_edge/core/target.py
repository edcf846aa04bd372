"""What a transcript has to be for the model that reads it: by its dialect, its name, and its template's abilities.

Not the work itself: that is `core.hygiene`. Source: the vendors' API references; ``chat_template_caps`` and
``modalities`` as ``llama-server`` says them in ``/props``; the templates' own `raise_exception`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from moltbot_edge.core import tool_ids
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.tool_ids import IdRule

_mistral = re.compile(r"mi[sx]tral|(?:mini|code|dev|magi|voc?)stral|pixtral", re.IGNORECASE).search
_nine_long = re.compile(r"IDs? .*length (?:exactly )?9\b").search
_google = re.compile(r"gemini|gemma", re.IGNORECASE).search


class Target(msgspec.Struct, frozen=True):
    """*tools*, *images*: None where nobody said. *reasoning*: thoughts that nobody has sealed may be sent back.

    *system*: False where the template has no such role; a later one than the first is never sent. *names*: a message
    may say whose it is. *alternates*: a user's message has to follow an assistant's. *user_first*: and to come first.
    *parallel_calls*: one message may hold several. *result_images*: a tool's result may hold images.
    *empty_text*: a message may say nothing. *refusals*: to say no has a form of its own, which everybody there reads.
    """

    dialect: str
    tools: bool | None = None
    images: bool | None = None
    reasoning: bool = False
    system: bool = True
    names: bool = False
    alternates: bool = False
    user_first: bool = False
    parallel_calls: bool = True
    result_images: bool = False
    empty_text: bool = True
    refusals: bool = False
    ids: IdRule = tool_ids.OPENAI


OPENAI_CHAT: Final = Target("openai-chat", names=True)
OPENAI_RESPONSES: Final = Target("openai-responses", result_images=True, refusals=True, ids=IdRule(at_most=64))
ANTHROPIC_MESSAGES: Final = Target(
    "anthropic-messages", user_first=True, result_images=True, empty_text=False, ids=tool_ids.ANTHROPIC
)
OLLAMA: Final = Target("ollama", reasoning=True, result_images=True)
_BY_DIALECT: Mapping[str, Target] = {
    one.dialect: one for one in (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, OLLAMA)
}


def target(dialect: str, model: str, *, tools: bool | None = None, images: bool | None = None) -> Target:
    """Of a *model* by its own name, as served in *dialect*; a plug-in's dialect is taken for OpenAI's."""
    found = _BY_DIALECT.get(dialect) or msgspec.structs.replace(OPENAI_CHAT, dialect=dialect)
    ids = found.ids
    if _mistral(model):
        ids = tool_ids.MISTRAL
    elif _google(model):
        ids = tool_ids.GOOGLE
    return msgspec.structs.replace(found, tools=tools, images=images, ids=ids)


class _Caps(msgspec.Struct):
    supports_system_role: bool = True
    supports_parallel_tool_calls: bool = True
    supports_tool_calls: bool = True
    supports_tools: bool = True
    supports_preserve_reasoning: bool = False
    supports_reasoning_effort: bool | None = None  # builds that do not say it have a way of their own to tell of tools


class _Modalities(msgspec.Struct):
    vision: bool | None = None


class _Generation(msgspec.Struct):
    n_ctx: int | None = None


class Abilities(msgspec.Struct, frozen=True):
    """What an engine's ``/props`` says of its model. *template* is the chat template's text."""

    default_generation_settings: _Generation = msgspec.field(default_factory=_Generation)
    chat_template_caps: _Caps = msgspec.field(default_factory=_Caps)
    modalities: _Modalities = msgspec.field(default_factory=_Modalities)
    chat_template: str = ""

    @property
    def context_tokens(self) -> int | None:
        """Of one conversation: several slots share what the engine has."""
        said = self.default_generation_settings.n_ctx
        return said if said is not None and said > 0 else None


_abilities = msgspec.json.Decoder(Abilities).decode


def abilities(props: bytes) -> Abilities | None:
    """None for what is no ``/props``, or another build's."""
    try:
        return _abilities(props)
    except UNREADABLE:
        return None


def with_abilities(found: Target, engine: Abilities) -> Target:
    """*found*, as far as its engine's own words go further. What the configuration says of images and tools stands.

    A template without a word for tools loses them in silence, and what was called before with them.
    """
    caps, template = engine.chat_template_caps, engine.chat_template
    refuses = "raise_exception" in template
    ids = found.ids
    if refuses and _nine_long(template):
        ids = tool_ids.MISTRAL
    toolless = not (caps.supports_tools or caps.supports_tool_calls or caps.supports_reasoning_effort is None)
    return msgspec.structs.replace(
        found,
        tools=False if found.tools is None and toolless else found.tools,
        images=engine.modalities.vision if found.images is None else found.images,
        system=caps.supports_system_role,
        parallel_calls=caps.supports_parallel_tool_calls,
        reasoning=found.reasoning or caps.supports_preserve_reasoning,
        alternates=refuses and "alternate" in template,
        ids=ids,
    )
