"""What an upstream is, from its answers to a few questions: which to ask next, and what they say. Pure; asks nothing.

Source: what the servers send: ``llama-server`` of llama.cpp (``owned_by``, ``meta``, ``/props``), vLLM and SGLang
(``max_model_len``, ``/version``), Ollama (``/api/version``, ``tags``, ``show``, ``ps``), LM Studio
(``/api/v0/models``), Anthropic's and OpenAI's ``/v1/models``, and the fields that other clouds have added there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, TypeVar

import msgspec

from moltbot_edge.core.catalog import Upstream
from moltbot_edge.core.decoding import UNREADABLE

MOST_SHOWN: Final = 32  # models that an Ollama is asked about one by one
MOST_MODELS: Final = 1_000  # of a list; OpenRouter has some 400
NAME_CHARS: Final = 512  # as `core.head` takes them of callers
VERSION_CHARS: Final = 64
PROPS_BYTES: Final = 1024 * 1024  # kept for as long as the gateway runs; a template is some 20 KiB
MOST_CONTEXT: Final = 2**31
LATEST: Final = ":latest"


class Kind(StrEnum):
    """The value is for people."""

    OPENAI = "OpenAI-like API"
    ANTHROPIC = "Anthropic API"
    OLLAMA = "Ollama"
    LLAMA_SERVER = "llama-server"
    VLLM = "vLLM"
    LM_STUDIO = "LM Studio"
    GATEWAY = "moltbot-edge"


class Question(msgspec.Struct, frozen=True):
    """*path* is from the address's root. With a *body* it is a POST. *dialect*: whose credentials go with it."""

    path: str
    body: bytes | None = None
    dialect: str = "openai-chat"


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes = b""


class FoundModel(msgspec.Struct, frozen=True):
    """What is None was not said. *name* is the upstream's own."""

    name: str
    context_tokens: int | None = None
    tools: bool | None = None
    images: bool | None = None


class Found(msgspec.Struct, frozen=True):
    """*dialect* is what it is asked in, below *base_path*; *also* others that it speaks, each with its base path.

    *any_name*: it has one model, and answers with that whatever name it is asked for. *props* are what it says of it.
    """

    kind: Kind
    dialect: str
    base_path: str
    models: tuple[FoundModel, ...] = ()
    also: tuple[tuple[str, str], ...] = ()
    version: str | None = None
    any_name: bool = False
    props: bytes = b""

    def model(self, name: str) -> FoundModel | None:
        """An Ollama's ``llama3`` is ``llama3:latest``."""
        names = {name, name + LATEST} if self.kind is Kind.OLLAMA else {name}
        found = next((one for one in self.models if one.name in names), None)
        return self.models[0] if found is None and self.any_name and self.models else found

    def alias(self, model: FoundModel) -> str:
        """What callers would call it: a file's name without its folders, and not the tag that goes without saying."""
        if self.kind is Kind.LLAMA_SERVER and model.name.endswith(".gguf"):
            return model.name.rpartition("/")[2].removesuffix(".gguf")
        return model.name.removesuffix(LATEST) if self.kind is Kind.OLLAMA else model.name


Answers = Mapping[Question, Answer]
T = TypeVar("T")


class _Meta(msgspec.Struct):
    n_ctx: int | None = None
    n_ctx_train: int | None = None


class _Architecture(msgspec.Struct):
    input_modalities: list[str] | None = None


class _Listed(msgspec.Struct):
    """A model of ``/v1/models``, with what OpenRouter, Groq, Mistral, vLLM and llama-server add."""

    id: str
    type: str | None = None
    display_name: str | None = None
    owned_by: str | None = None
    max_model_len: int | None = None
    context_length: int | None = None
    context_window: int | None = None
    max_context_length: int | None = None
    loaded_context_length: int | None = None
    max_input_tokens: int | None = None
    meta: _Meta | None = None
    architecture: _Architecture | None = None
    supported_parameters: list[str] | None = None
    capabilities: Any = None

    def context_tokens(self) -> int | None:
        meta = self.meta.n_ctx if self.meta is not None else None
        said = (
            *(self.loaded_context_length, meta, self.max_model_len, self.context_length, self.context_window),
            *(self.max_context_length, self.max_input_tokens),
        )
        return next((tokens for one in said if (tokens := believed(one)) is not None), None)

    def images(self) -> bool | None:
        match self.capabilities:
            case {"vision": bool(sees)}:
                return sees
        if self.architecture is not None and self.architecture.input_modalities:
            return "image" in self.architecture.input_modalities
        if self.type in ("llm", "vlm"):  # LM Studio's
            return self.type == "vlm"
        return None

    def tools(self) -> bool | None:
        match self.capabilities:
            case {"function_calling": bool(calls)}:
                return calls
            case list() if "tool_use" in self.capabilities:
                return True
        return True if "tools" in (self.supported_parameters or ()) else None


class _Bare(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[msgspec.Raw] | None = None


class _Settings(msgspec.Struct):
    n_ctx: int | None = None


class _Props(msgspec.Struct):
    default_generation_settings: _Settings | None = None
    modalities: dict[str, bool] | None = None
    chat_template_caps: dict[str, bool] | None = None
    build_info: str | None = None


class _Version(msgspec.Struct):
    version: str


class _Named(msgspec.Struct):
    name: str
    context_length: int | None = None


class _Tags(msgspec.Struct):
    models: list[_Named] | None = None


class _Shown(msgspec.Struct):
    capabilities: list[str] | None = None
    model_info: dict[str, msgspec.Raw] | None = None
    parameters: str | None = None


class _Error(msgspec.Struct):
    type: str
    error: dict[str, Any]


def believed(tokens: int | None) -> int | None:
    return tokens if tokens is not None and 0 < tokens <= MOST_CONTEXT else None


def next_questions(upstream: Upstream, wanted: Sequence[str], answers: Answers) -> list[Question]:
    """What is to be asked after *answers*; nothing, once it can be said what it is. *wanted* are models of interest."""
    return [question for question in _questions(upstream, wanted, answers) if question not in answers]


def found(upstream: Upstream, wanted: Sequence[str], answers: Answers) -> Found | None:
    """None where the answers are nobody's that is known."""
    listing = answers.get(_models(upstream), NOTHING)
    listed = _listed(listing)
    base, root = upstream.base_path, _root(upstream)
    if _is_anthropic(listing, listed):
        again = answers.get(_models_of_anthropic(upstream), listing)
        return Found(Kind.ANTHROPIC, "anthropic-messages", base, tuple(_plain(_listed(again))))
    if _owned_by(listed, "moltbot-edge"):
        others = ("openai-responses", base), ("anthropic-messages", base), ("ollama", root)
        return Found(Kind.GATEWAY, "openai-chat", base, tuple(_plain(listed)), others)
    if _is_llama_server(listed):
        props = _read(answers, Question(f"{root}/props"), _Props) or _Props()
        models = tuple(_of_llama_server(listed, props))
        said = answers.get(Question(f"{root}/props"), NOTHING)
        alone = len(models) == 1
        return Found(
            Kind.LLAMA_SERVER,
            "openai-chat",
            base,
            models,
            version=_word(props.build_info),
            any_name=alone,
            props=said.body if alone and said.status == 200 and len(said.body) <= PROPS_BYTES else b"",
        )
    if _is_vllm(listed):
        version = _read(answers, Question(f"{root}/version"), _Version)
        return Found(
            Kind.VLLM,
            "openai-chat",
            base,
            tuple(_plain(listed)),
            version=None if version is None else _word(version.version),
        )
    version = _read(answers, Question(f"{root}/api/version"), _Version)
    if version is not None:
        models = tuple(_of_ollama(root, wanted, answers))
        return Found(Kind.OLLAMA, "ollama", root, models, (("openai-chat", f"{root}/v1"),), _word(version.version))
    studio = _listed(answers.get(Question(f"{root}/api/v0/models"), NOTHING))
    if studio:
        return Found(Kind.LM_STUDIO, "openai-chat", base, tuple(_plain(studio)))
    if listed or listing.status in (200, 401, 403):
        return Found(Kind.OPENAI, "openai-chat", base, tuple(_plain(listed)))
    return None


NOTHING: Final = Answer(0)


def _questions(upstream: Upstream, wanted: Sequence[str], answers: Answers) -> list[Question]:
    models, root = _models(upstream), _root(upstream)
    if models not in answers:
        return [models]
    listing = answers[models]
    listed = _listed(listing)
    if _is_anthropic(listing, listed):
        return [_models_of_anthropic(upstream)] if upstream.api_key is not None and not listed else []
    if _owned_by(listed, "moltbot-edge"):
        return []
    if _is_llama_server(listed):
        return [Question(f"{root}/props")]
    if _is_vllm(listed):
        return [Question(f"{root}/version")]
    # A cloud is not asked for what only a machine of one's own has. An Ollama says "library" of its models.
    if upstream.scheme == "https" and listing.status in (200, 401, 403) and not _owned_by(listed, "library"):
        return []
    version = Question(f"{root}/api/version")
    if version not in answers:
        return [version]
    if _read(answers, version, _Version) is None:
        return [Question(f"{root}/api/v0/models")]
    tags = Question(f"{root}/api/tags")
    there = {one.name for one in _tags(answers, tags)}
    shown = [name for name in dict.fromkeys(_tagged(one) for one in wanted) if name in there]
    return [tags, Question(f"{root}/api/ps"), *(_show(root, name) for name in shown[:MOST_SHOWN])]


def _models(upstream: Upstream) -> Question:
    return Question(f"{upstream.base_path}/models")


def _models_of_anthropic(upstream: Upstream) -> Question:
    return Question(f"{upstream.base_path}/models", dialect="anthropic-messages")


def _show(root: str, name: str) -> Question:
    return Question(f"{root}/api/show", msgspec.json.encode({"model": name}))


def _tagged(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else name + LATEST


def _root(upstream: Upstream) -> str:
    """Where an Ollama's own paths begin: below its address, however much of one of them was written with it."""
    base = upstream.base_path
    return base.removesuffix("/v1") if base.endswith("/v1") else base.removesuffix("/api")


def _is_anthropic(listing: Answer, listed: Sequence[_Listed]) -> bool:
    error = _decoded(listing.body, _Error)
    if error is not None and error.type == "error" and "type" in error.error:
        return True
    return bool(listed) and all(one.type == "model" and one.display_name is not None for one in listed)


def _is_llama_server(listed: Sequence[_Listed]) -> bool:
    return any(one.owned_by == "llamacpp" or (one.meta is not None and one.meta.n_ctx_train) for one in listed)


def _is_vllm(listed: Sequence[_Listed]) -> bool:
    return any(one.owned_by == "vllm" for one in listed)


def _owned_by(listed: Sequence[_Listed], owner: str) -> bool:
    return any(one.owned_by == owner for one in listed)


def _plain(listed: Sequence[_Listed]) -> Iterator[FoundModel]:
    for one in listed:
        yield FoundModel(one.id, one.context_tokens(), one.tools(), one.images())


def _of_llama_server(listed: Sequence[_Listed], props: _Props) -> Iterator[FoundModel]:
    """The context is what the server was started with, and may be a part of the model's."""
    settings = props.default_generation_settings
    alone = len(listed) == 1
    sees = (props.modalities or {}).get("vision") if alone else None
    # Without them in its template a model may still call tools, in llama.cpp's own words: so only a yes counts.
    calls = True if alone and (props.chat_template_caps or {}).get("supports_tools") else None
    for one in listed:
        said = one.context_tokens()
        if said is None and alone and settings is not None:
            said = believed(settings.n_ctx)
        yield FoundModel(one.id, said, calls, one.images() if sees is None else sees)


def _of_ollama(root: str, wanted: Sequence[str], answers: Answers) -> Iterator[FoundModel]:
    """The context of a model that is loaded is known; of another, what it is to be loaded with, or at most has."""
    loaded = {one.name: one.context_length for one in _tags(answers, Question(f"{root}/api/ps"))}
    for one in _tags(answers, Question(f"{root}/api/tags")):
        shown = _read(answers, _show(root, one.name), _Shown) or _Shown()
        can = shown.capabilities
        context = believed(loaded.get(one.name)) or _num_ctx(shown.parameters) or _context_length(shown.model_info)
        tools, images = (None, None) if can is None else ("tools" in can, "vision" in can)
        yield FoundModel(one.name, context, tools, images)


def _num_ctx(parameters: str | None) -> int | None:
    for line in (parameters or "").splitlines():
        match line.split():
            case ["num_ctx", number] if number.isdecimal():
                return believed(int(number[:12]))
    return None


def _context_length(model_info: Mapping[str, msgspec.Raw] | None) -> int | None:
    for name, value in (model_info or {}).items():
        if name.endswith(".context_length"):
            return believed(_decoded(bytes(value), int))
    return None


def _tags(answers: Answers, question: Question) -> Sequence[_Named]:
    named = (_read(answers, question, _Tags) or _Tags()).models or ()
    return [one for one in named[:MOST_MODELS] if _is_name(one.name)]


def _listed(answer: Answer) -> list[_Listed]:
    """What is no model among them is passed over: a list has to be of some use however it was made."""
    if answer.status != 200:
        return []
    models = _decoded(answer.body, _Models)
    data = models.data if models is not None else _decoded(answer.body, list[msgspec.Raw])  # Together sends a bare list
    read = ((_decoded(bytes(one), _Listed), _decoded(bytes(one), _Bare)) for one in (data or ())[:MOST_MODELS])
    return [one or _Listed(bare.id) for one, bare in read if bare is not None and _is_name(bare.id)]


def _is_name(said: str) -> bool:
    """It becomes a route, a line of the log, a label."""
    return 0 < len(said) <= NAME_CHARS and said.isprintable()


def _word(version: str | None) -> str | None:
    return version if version is not None and version.isprintable() and len(version) <= VERSION_CHARS else None


def _read(answers: Answers, question: Question, kind: type[T]) -> T | None:
    answer = answers.get(question, NOTHING)
    return _decoded(answer.body, kind) if answer.status == 200 else None


def _decoded(body: bytes, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE:
        return None
