"""What an upstream is, by what it answered: a table of answers as the real ones send them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ollama_answers import OLLAMA, listing

from moltbot_edge.core.catalog import Upstream
from moltbot_edge.upstream.kinds import Answer, Found, FoundModel, Kind, Question, found, next_questions

BOX = Upstream("box:80", "http", "box", 80, "/v1", auto=True)
CLOUD = Upstream("cloud:443", "https", "cloud", 443, "/v1", api_key="secret", auto=True)
NOT_FOUND = Answer(404, b'{"error":{"message":"File Not Found","type":"not_found_error","code":404}}')

Replies = Mapping[str, Any]


def played(replies: Replies, upstream: Upstream = BOX, wanted: Sequence[str] = ()) -> tuple[Found | None, list[str]]:
    """What it is taken for, and what it was asked. *replies* are by path; with ``path model`` of a model shown."""
    answers: dict[Question, Answer] = {}
    asked: list[str] = []
    while questions := next_questions(upstream, wanted, answers):
        assert len(asked) < 50
        for question in questions:
            shown = "" if question.body is None else f" {json.loads(question.body)['model']}"
            key = f"{question.path}{shown}" + (" as anthropic" if question.dialect == "anthropic-messages" else "")
            asked.append(key)
            reply = replies.get(key, NOT_FOUND)
            answers[question] = reply if isinstance(reply, Answer) else Answer(200, _bytes(reply))
    return found(upstream, wanted, answers), asked


def _bytes(reply: Any) -> bytes:
    return reply if isinstance(reply, bytes) else json.dumps(reply).encode()


LLAMA = {
    "id": "/models/SmolLM2.gguf",
    "object": "model",
    "owned_by": "llamacpp",
    "meta": {"vocab_type": 2, "n_ctx": 4096, "n_ctx_train": 8192, "n_params": 134515008},
}
PROPS = {
    "default_generation_settings": {"n_ctx": 4096},
    "modalities": {"vision": False, "audio": False},
    "chat_template_caps": {"supports_tools": False, "supports_tool_calls": False},
    "build_info": "b11434-abc",
}


def test_a_llama_server() -> None:
    it, asked = played({"/v1/models": listing(LLAMA), "/props": PROPS})
    assert asked == ["/v1/models", "/props"]
    model = FoundModel("/models/SmolLM2.gguf", 4096, None, False)
    said: dict[str, Any] = {"version": "b11434-abc", "any_name": True, "props": json.dumps(PROPS).encode()}
    assert it == Found(Kind.LLAMA_SERVER, "openai-chat", "/v1", (model,), **said)
    assert it is not None
    assert it.model("whatever") == model
    assert it.alias(model) == "SmolLM2"


def test_a_llama_server_that_sees_and_calls_tools() -> None:
    props = PROPS | {"modalities": {"vision": True}, "chat_template_caps": {"supports_tools": True}}
    it, _ = played({"/v1/models": listing(LLAMA), "/props": props})
    assert it is not None
    assert it.models == (FoundModel("/models/SmolLM2.gguf", 4096, True, True),)


def test_an_older_llama_server_says_its_context_in_its_props_only() -> None:
    old = LLAMA | {"meta": {"n_ctx_train": 8192}}
    it, _ = played({"/v1/models": listing(old), "/props": PROPS})
    assert it is not None
    assert it.models[0].context_tokens == 4096


def test_a_llama_server_with_a_key_on_its_props() -> None:
    it, _ = played({"/v1/models": listing(LLAMA), "/props": Answer(401, b"{}")})
    assert it is not None
    assert (it.kind, it.models[0].context_tokens) == (Kind.LLAMA_SERVER, 4096)


def test_a_vllm() -> None:
    model = {
        "id": "Qwen/Qwen3-4B",
        "object": "model",
        "owned_by": "vllm",
        "root": "Qwen/Qwen3-4B",
        "max_model_len": 32768,
    }
    it, asked = played({"/v1/models": listing(model), "/version": {"version": "0.11.0"}})
    assert asked == ["/v1/models", "/version"]
    assert it == Found(Kind.VLLM, "openai-chat", "/v1", (FoundModel("Qwen/Qwen3-4B", 32768),), version="0.11.0")


def test_an_ollama_is_asked_about_the_models_that_are_wanted() -> None:
    it, asked = played(OLLAMA, wanted=["llama3.2", "bakllava:latest", "deepseek-r1:1.5b", "not-there"])
    assert asked == [
        *("/v1/models", "/api/version", "/api/tags", "/api/ps"),
        *("/api/show llama3.2:latest", "/api/show bakllava:latest", "/api/show deepseek-r1:1.5b"),
    ]
    assert it is not None
    assert (it.kind, it.dialect, it.base_path, it.version) == (Kind.OLLAMA, "ollama", "", "0.12.3")
    assert it.also == (("openai-chat", "/v1"),)
    assert it.model("llama3.2") == FoundModel("llama3.2:latest", 4096, True, False)  # as it is loaded now
    assert it.model("bakllava") == FoundModel("bakllava:latest", 8192, False, True)  # as its file says to load it
    assert it.model("deepseek-r1:1.5b") == FoundModel("deepseek-r1:1.5b")
    assert it.model("not-there") is None
    assert it.alias(FoundModel("llama3.2:latest")) == "llama3.2"


def test_an_ollama_without_a_model_is_one_too() -> None:
    it, _ = played(OLLAMA | {"/v1/models": {"object": "list", "data": None}, "/api/tags": {"models": []}})
    assert it is not None
    assert (it.kind, it.models) == (Kind.OLLAMA, ())


def test_an_ollama_written_with_the_beginning_of_its_paths() -> None:
    written = Upstream("box:80", "http", "box", 80, "/api", auto=True)
    it, _ = played(OLLAMA, written)
    assert it is not None
    assert (it.kind, it.base_path, it.also) == (Kind.OLLAMA, "", (("openai-chat", "/v1"),))


def test_an_ollama_below_a_path() -> None:
    below = Upstream("box:80", "http", "box", 80, "/ollama/v1", auto=True)
    it, _ = played({f"/ollama{path}": reply for path, reply in OLLAMA.items()}, below)
    assert it is not None
    assert (it.kind, it.base_path, it.also) == (Kind.OLLAMA, "/ollama", (("openai-chat", "/ollama/v1"),))


def test_an_lm_studio() -> None:
    # As its documentation shows the list, with what it says of one that is loaded.
    models = [
        {"id": "qwen2-vl-7b-instruct", "object": "model", "type": "vlm", "arch": "qwen2_vl", "state": "not-loaded"}
        | {"compatibility_type": "mlx", "quantization": "4bit", "max_context_length": 32768},
        {"id": "meta-llama-3.1-8b-instruct", "object": "model", "type": "llm", "arch": "llama", "state": "loaded"}
        | {"max_context_length": 131072, "loaded_context_length": 4096, "capabilities": ["tool_use"]},
    ]
    names = listing({"id": "qwen2-vl-7b-instruct", "object": "model", "owned_by": "organization_owner"})
    error = {"error": "Unexpected endpoint or method. (GET /api/version)"}  # with status 200
    it, asked = played({"/v1/models": names, "/api/version": error, "/api/v0/models": listing(*models)})
    assert asked == ["/v1/models", "/api/version", "/api/v0/models"]
    assert it is not None
    assert (it.kind, it.dialect) == (Kind.LM_STUDIO, "openai-chat")
    assert it.models == (
        FoundModel("qwen2-vl-7b-instruct", 32768, None, True),
        FoundModel("meta-llama-3.1-8b-instruct", 4096, True, False),
    )


CLAUDE = {"type": "model", "id": "claude-sonnet-4-5", "display_name": "Claude Sonnet 4.5", "created_at": "2025-09-29"}
NO_KEY = {"type": "error", "error": {"type": "authentication_error", "message": "x-api-key header is required"}}


def test_an_anthropic_is_known_by_its_error_and_asked_again_with_its_own_header() -> None:
    replies = {
        "/v1/models": Answer(401, json.dumps(NO_KEY).encode()),
        "/v1/models as anthropic": {"data": [CLAUDE], "has_more": False},
    }
    it, asked = played(replies, CLOUD)
    assert asked == ["/v1/models", "/v1/models as anthropic"]
    assert it == Found(Kind.ANTHROPIC, "anthropic-messages", "/v1", (FoundModel("claude-sonnet-4-5"),))
    it, asked = played(replies, BOX)  # without a key there is nothing more to ask
    assert it == Found(Kind.ANTHROPIC, "anthropic-messages", "/v1")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ({"id": "gpt-4o", "owned_by": "system"}, FoundModel("gpt-4o")),
        ({"id": "llama-3.3", "owned_by": "Meta", "context_window": 131072}, FoundModel("llama-3.3", 131072)),
        (
            {"id": "mistral-small", "max_context_length": 32768}
            | {"capabilities": {"completion_chat": True, "function_calling": True, "vision": False}},
            FoundModel("mistral-small", 32768, True, False),
        ),
        (
            {"id": "qwen/qwen3", "context_length": 40960, "supported_parameters": ["tools", "stop"]}
            | {"architecture": {"input_modalities": ["text", "image"]}},
            FoundModel("qwen/qwen3", 40960, True, True),
        ),
        ({"id": "odd", "context_length": "many", "capabilities": 5}, FoundModel("odd")),
        ({"id": "odd", "context_length": -5, "max_input_tokens": 10**30}, FoundModel("odd")),
    ],
)
def test_a_cloud_is_asked_for_nothing_but_its_models(model: dict[str, Any], known: FoundModel) -> None:
    it, asked = played({"/v1/models": listing(model)}, CLOUD)
    assert asked == ["/v1/models"]
    assert it == Found(Kind.OPENAI, "openai-chat", "/v1", (known,))


def test_a_list_without_an_envelope_and_with_something_odd_in_it() -> None:
    it, _ = played({"/v1/models": [{"id": "a"}, 5, {"name": "b"}, {"id": "c", "owned_by": 7}]}, CLOUD)
    assert it is not None
    assert it.models == (FoundModel("a"), FoundModel("c"))


def test_who_wants_another_key_is_taken_for_an_openai() -> None:
    it, _ = played({"/v1/models": Answer(401, b'{"error":{"message":"bad key"}}')}, CLOUD)
    assert it == Found(Kind.OPENAI, "openai-chat", "/v1")


def test_another_gateway_speaks_all_four_dialects() -> None:
    it, asked = played({"/v1/models": listing({"id": "chat", "object": "model", "owned_by": "moltbot-edge"})})
    assert asked == ["/v1/models"]
    assert it is not None
    assert (it.kind, it.dialect) == (Kind.GATEWAY, "openai-chat")
    assert dict(it.also) == {"openai-responses": "/v1", "anthropic-messages": "/v1", "ollama": ""}


@pytest.mark.parametrize("body", [b"<html>", b"", b"{}", b"[" * 5000, b"\xff", b'{"data":5}', b'{"models":{}}'])
def test_nothing_that_is_known(body: bytes) -> None:
    it, asked = played(dict.fromkeys(("/v1/models", "/api/version", "/api/v0/models"), Answer(404, body)))
    assert it is None
    assert len(asked) == 3


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["/v1/models", "/api/version", "/api/tags", "/api/ps", "/api/show a:latest", "/props"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(["data", "id", "name", "models", "version", "meta", "owned_by", "n_ctx_train"])
                    | st.sampled_from(["model_info", "capabilities", "parameters", "error", "type", "modalities"]),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=8,
        ),
    )
)
def test_no_answer_breaks_the_asking(replies: dict[str, Any]) -> None:
    for upstream in (BOX, CLOUD):
        played(replies, upstream, ["a"])


def test_names_that_are_none_and_more_than_anybody_has_are_passed_over() -> None:
    ids = ["", "a\nb", "\x1b[2J", "x" * 600, *(f"m{place}" for place in range(5_000))]
    it, _ = played({"/v1/models": {"data": [{"id": one} for one in ids]}})
    assert it is not None
    names = [one.name for one in it.models]
    assert names[0] == "m0"
    assert len(names) < 1_001


def test_a_version_is_a_word() -> None:
    it, _ = played({"/v1/models": listing(LLAMA), "/props": PROPS | {"build_info": "b1\nERROR: all is lost"}})
    assert it is not None
    assert it.version is None
