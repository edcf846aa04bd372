"""What a model can read, by its dialect, its name, and its engine's own words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from moltbot_edge.core import tool_ids
from moltbot_edge.core.target import Target, abilities, target, with_abilities

SMOLLM2: dict[str, Any] = {
    "supports_object_arguments": False,
    "supports_parallel_tool_calls": False,
    "supports_preserve_reasoning": False,
    "supports_reasoning_effort": False,
    "supports_string_content": True,
    "supports_system_role": True,
    "supports_tool_calls": False,
    "supports_tools": False,
    "supports_typed_content": False,
}


def engine(template: str = "", vision: bool = False, said: Target | None = None, **caps: bool) -> Target:
    props = {"chat_template_caps": SMOLLM2 | caps, "modalities": {"vision": vision}, "chat_template": template}
    found = abilities(json.dumps(props).encode())
    assert found is not None
    return with_abilities(said or target("openai-chat", "model"), found)


@pytest.mark.parametrize(
    ("model", "rule"),
    [
        ("qwen3", tool_ids.OPENAI),
        ("mistral-small", tool_ids.MISTRAL),
        ("Ministral-3-14B", tool_ids.MISTRAL),
        ("Devstral-Small", tool_ids.MISTRAL),
        ("mixtral-8x7b", tool_ids.MISTRAL),
        ("gemini-3-pro", tool_ids.GOOGLE),
        ("gemma-3-270m", tool_ids.GOOGLE),
    ],
)
def test_ids_are_as_the_models_maker_wants_them(model: str, rule: tool_ids.IdRule) -> None:
    assert target("openai-chat", model).ids == rule


def test_a_plug_ins_dialect_is_taken_for_openais() -> None:
    assert target("mine", "model") == Target("mine", names=True)


def test_a_template_without_a_word_for_tools_takes_none() -> None:
    assert engine().tools is False
    assert engine(supports_tools=True).tools is None
    assert engine(supports_tool_calls=True).tools is None
    assert engine(said=target("openai-chat", "model", tools=True)).tools is True  # the configuration's word stands


def test_an_older_build_has_words_of_its_own() -> None:
    caps = {name: value for name, value in SMOLLM2.items() if name != "supports_reasoning_effort"}
    found = abilities(json.dumps({"chat_template_caps": caps}).encode())
    assert found is not None
    assert with_abilities(target("openai-chat", "model"), found).tools is None


def test_roles_turns_calls_thoughts_and_pictures_are_the_templates() -> None:
    found = engine(supports_system_role=False, supports_preserve_reasoning=True, vision=True)
    assert (found.system, found.reasoning, found.images, found.parallel_calls) == (False, True, True, False)
    assert engine("{{- raise_exception('Conversation roles must alternate user/assistant/...') }}").alternates
    assert not engine("{# roles alternate here, and nobody minds #}").alternates
    nine = "{{- raise_exception('Tool call IDs should be alphanumeric strings with length 9!') }}"
    assert engine(nine).ids == tool_ids.MISTRAL


@pytest.mark.parametrize(
    "props", [b"", b"[]", b"{", b'{"modalities": 5}', b'{"chat_template_caps": {"supports_tools": 1}}']
)
def test_what_is_no_word_of_an_engine_is_none(props: bytes) -> None:
    assert abilities(props) is None


def test_an_engine_that_says_nothing_is_as_usual() -> None:
    found = abilities(b"{}")
    assert found is not None
    assert with_abilities(target("openai-chat", "model"), found) == target("openai-chat", "model")
