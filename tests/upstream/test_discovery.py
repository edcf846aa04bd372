"""`type: auto` in a running gateway: upstreams on real sockets are asked what they are, and then used as that."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import Gateway, serving
from ollama_answers import OLLAMA, listing
from raw_caller import QUESTION, Answer
from scripted_upstream import Script, Upstream, Visit, answers, completion, hangs, says, upstream

from moltbot_edge.config.catalog import catalog_of, nearby
from moltbot_edge.config.schema import Config, Model
from moltbot_edge.core import catalog
from moltbot_edge.core.errors import Unreachable
from moltbot_edge.gateway.directory import Directory, with_models
from moltbot_edge.local.health import is_ready
from moltbot_edge.upstream.kinds import Found, FoundModel, Kind

pytestmark = pytest.mark.anyio

START_S = 30
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], "stream": False}
SAID = {
    "model": "llama3.2",
    "created_at": "2025-07-07T20:22:19.2Z",
    "message": {"role": "assistant", "content": "hi"},
    "done": True,
    "done_reason": "stop",
    "prompt_eval_count": 5,
    "eval_count": 2,
}


def answering(box: Upstream, replies: Mapping[str, Any]) -> None:
    """*box* answers by path; what is shown of a model, as ``test_kinds`` has it."""

    async def get(visit: Visit) -> None:
        await _reply(replies.get(box.probed[-1].path))(visit)

    async def post(visit: Visit) -> None:
        asked = box.asked[-1]
        path = asked.path
        if path == "/api/show":
            path = f"{path} {json.loads(asked.body)['model']}"
        await _reply(replies.get(path))(visit)

    box.on_probe = get
    box.play(post)


def _reply(said: Any) -> Script:
    if said is None:
        return answers(404, b'{"error":"not found"}')
    return answers(200, said if isinstance(said, bytes) else json.dumps(said).encode())


def chats(box: Upstream) -> list[str]:
    return [asked.path for asked in box.asked if asked.path != "/api/show"]


async def shown(gateway: Gateway, name: str = "chat") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await gateway.ask({"model": name}, path="/api/show")).body)
    return found


def said(answer: Answer) -> str:
    text: str = json.loads(answer.body)["choices"][0]["message"]["content"]
    return text


async def listed(gateway: Gateway) -> list[str]:
    return [one["id"] for one in json.loads((await gateway.get("/v1/models")).body)["data"]]


@asynccontextmanager
async def engine(command: Path, model: Path, context_tokens: int) -> AsyncIterator[str]:
    """A real llama-server that nobody supervises, once it is ready."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    settings = ["--port", str(port), "-t", "1", "--poll", "0", "-c", str(context_tokens), "--parallel", "1"]
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(command, "-m", model, *settings, stderr=nowhere, stdout=nowhere)
    try:
        async with asyncio.timeout(START_S):
            while not await is_ready("127.0.0.1", port):
                assert process.returncode is None, "it ended"
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def test_a_real_llama_server_tells_its_context(llama_server: Path, chat_model: Path) -> None:
    async with engine(llama_server, chat_model, 768) as url:
        settings = Config(model_registry=[Model(name="chat", endpoint=url)])
        async with serving(settings, discover=True) as gateway:
            answer = await gateway.ask(CHAT | {"max_tokens": 3})
            assert answer.status == 200
            told = await shown(gateway)
            assert told["model_info"]["unknown.context_length"] == 768
            assert "vision" not in told["capabilities"]


async def test_an_ollama_is_asked_in_its_own_dialect_and_in_openais() -> None:
    async with upstream(says()) as box:
        answering(box, OLLAMA | {"/api/chat": SAID, "/v1/chat/completions": completion("hi")})
        settings = Config(model_registry=[Model(name="chat", endpoint=box.url, model="llama3.2")])
        async with serving(settings, discover=True) as gateway:
            assert said(await gateway.ask(CHAT)) == "hi"
            assert json.loads((await gateway.ask(CHAT, path="/api/chat")).body) == SAID
            responses = await gateway.ask({"model": "chat", "input": "hello"}, path="/v1/responses")
            assert responses.status == 200, responses.body
            assert b'"hi"' in responses.body
            # The first two as they came, the third translated.
            assert chats(box) == ["/v1/chat/completions", "/api/chat", "/api/chat"]
            told = await shown(gateway)
            assert told["model_info"]["unknown.context_length"] == 4096
            assert told["capabilities"] == ["completion", "tools"]


async def test_what_the_configuration_says_counts_more() -> None:
    async with upstream(says()) as box:
        answering(box, OLLAMA | {"/v1/chat/completions": completion("hi")})
        one = Model(name="chat", endpoint=box.url, model="llama3.2", context_tokens=2048, tools=False, images=True)
        async with serving(Config(model_registry=[one]), discover=True) as gateway:
            await gateway.ask(CHAT)
            told = await shown(gateway)
            assert told["model_info"]["unknown.context_length"] == 2048
            assert told["capabilities"] == ["completion", "vision"]


async def test_a_model_that_is_not_there_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    async with upstream(says()) as box:
        answering(box, OLLAMA | {"/v1/chat/completions": completion("hi")})
        settings = Config(model_registry=[Model(name="chat", endpoint=box.url, model="phi9")])
        with caplog.at_level(logging.INFO):
            async with serving(settings, discover=True) as gateway:
                await gateway.ask(CHAT)
        (warned,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert "has no model 'phi9'; it has: deepseek-r1:8b, deepseek-r1:1.5b, granite3.2:8b" in warned
        assert any("is Ollama 0.12.3" in record.getMessage() for record in caplog.records)


async def test_a_request_that_comes_first_waits_until_it_is_known_where_to() -> None:
    async with upstream(says()) as box:
        answering(box, OLLAMA | {"/api/chat": SAID})
        at_once, came, may_answer = box.on_probe, asyncio.Event(), asyncio.Event()

        async def later(visit: Visit) -> None:
            came.set()
            await may_answer.wait()
            await at_once(visit)

        box.on_probe = later
        settings = Config(model_registry=[Model(name="chat", endpoint=box.url, model="llama3.2")])
        async with serving(settings, discover=True) as gateway:
            asked = asyncio.ensure_future(gateway.ask(CHAT, path="/api/chat"))
            await came.wait()
            await asyncio.sleep(0.05)
            assert chats(box) == []
            may_answer.set()
            assert json.loads((await asked).body) == SAID
            assert chats(box) == ["/api/chat"]


@pytest.mark.parametrize(
    "script", [hangs(), answers(503, b'{"error":{"message":"Loading model"}}')], ids=["silent", "loads"]
)
async def test_an_upstream_that_does_not_say_what_it_is_is_taken_for_an_openai(script: Script) -> None:
    async with upstream(says("hi")) as box:
        box.on_probe = script
        async with serving(Config(model_registry=[Model(name="chat", endpoint=box.url)]), discover=True) as gateway:
            assert said(await gateway.ask(CHAT)) == "hi"
            assert chats(box) == ["/v1/chat/completions"]


async def test_start_does_not_wait_and_an_end_ends_the_asking() -> None:
    async with upstream(hangs()) as box:
        box.on_probe = hangs()
        async with serving(Config(model_registry=[Model(name="chat", endpoint=box.url)]), discover=True) as gateway:
            assert (await gateway.get("/health")).status == 200
        await box.was_left()


async def test_a_template_that_wants_a_user_after_each_answer_gets_one() -> None:
    template = "{% if bad %}{{ raise_exception('roles must alternate user/assistant') }}{% endif %}"
    model = {"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx": 512, "n_ctx_train": 512}}
    async with upstream(says()) as box:
        props = {"chat_template": template, "chat_template_caps": {"supports_system_role": True}}
        answering(box, {"/v1/models": listing(model), "/props": props, "/v1/chat/completions": completion("hi")})
        async with serving(Config(model_registry=[Model(name="chat", endpoint=box.url)]), discover=True) as gateway:
            twice = [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]
            await gateway.ask({"model": "chat", "messages": twice, "stream": False}, path="/api/chat")
            messages = json.loads(box.asked[-1].body)["messages"]
            assert [message["role"] for message in messages] == ["user"]


async def test_a_pattern_is_listed_by_the_names_that_its_upstream_has() -> None:
    async with upstream(says("hi")) as box:
        answering(box, {"/v1/models": listing({"id": "gpt-4o"}, {"id": "o3-mini"}, {"id": "chat"})})
        models = [
            Model(name="openai/*", endpoint=box.url),
            Model(name="mini-*", endpoint=box.url, model="*-mini"),
            Model(name="openai/chat", endpoint=box.url, type="openai-chat"),
        ]
        async with serving(Config(model_registry=models), discover=True) as gateway:
            await gateway.ask(CHAT | {"model": "openai/anything"})  # waits until it is known
            assert await listed(gateway) == ["openai/chat", "openai/gpt-4o", "openai/o3-mini", "mini-o3"]
            assert (await gateway.get("/v1/models/openai/gpt-4o")).status == 200


async def test_an_anthropic_is_asked_with_its_own_headers() -> None:
    no_key = {"type": "error", "error": {"type": "authentication_error", "message": "x-api-key header is required"}}
    claude = {"type": "model", "id": "claude-a", "display_name": "Claude A", "created_at": "2025-09-29T00:00:00Z"}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-a", "stop_reason": "end_turn"}
    words = {"content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 5, "output_tokens": 1}}
    async with upstream(answers(200, json.dumps(message | words))) as box:

        async def get(visit: Visit) -> None:
            known = box.probed[-1].header("x-api-key") == "secret"
            await answers(200 if known else 401, json.dumps({"data": [claude]} if known else no_key))(visit)

        box.on_probe = get
        one = Model(name="chat", endpoint=box.url, model="claude-a", api_key="secret")
        async with serving(Config(model_registry=[one]), discover=True) as gateway:
            answer = await gateway.ask(CHAT | {"max_tokens": 5})
            assert said(answer) == "hi"
        last = box.probed[-1]
        assert [value for name, value in last.headers if name == "anthropic-version"] == ["2023-06-01"]
        assert box.asked[0].path == "/v1/messages"
        assert box.asked[0].header("x-api-key") == "secret"


async def test_an_upstream_whose_dialect_is_said_is_not_asked() -> None:
    async with upstream(says("hi")) as box:
        settings = Config(model_registry=[Model(name="chat", endpoint=box.url, type="openai-chat")])
        async with serving(settings, discover=True) as gateway:
            await gateway.ask(QUESTION)
            assert box.probed == []


# The directory by itself, where time would have to pass.


def a_catalog() -> catalog.Catalog:
    return catalog_of(Config(model_registry=[Model(name="chat", endpoint="http://box:11434")]), {}, [])


def finding(*outcomes: Found | None) -> Callable[[catalog.Upstream, Sequence[str]], Awaitable[Found]]:
    """One after another; None is an upstream that is away."""
    left = list(outcomes)

    async def find(asked: catalog.Upstream, wanted: Sequence[str]) -> Found:
        outcome = left.pop(0)
        if outcome is None:
            raise Unreachable(f"{asked.name} cannot be reached")
        return outcome

    return find


AN_OLLAMA = Found(Kind.OLLAMA, "ollama", "", (FoundModel("chat:latest", 4096, True, False),), (("openai-chat", "/v1"),))


async def test_an_upstream_that_is_away_is_asked_again_until_it_is_back() -> None:
    directory = Directory(a_catalog(), finding(None, None, AN_OLLAMA), soonest_s=0.01)
    async with asyncio.timeout(5), directory:
        first = await directory.route("chat")
        assert first.deployments[0].upstream.dialect == "openai-chat"
        while directory.catalog.route("chat").deployments[0].upstream.dialect != "ollama":  # noqa: ASYNC110  (nobody is told)
            await asyncio.sleep(0.01)
        (one,) = directory.catalog.route("chat").deployments
        assert (one.context_tokens, one.tools, one.images) == (4096, True, False)
        assert not directory.unasked


async def test_engines_nearby_become_models() -> None:
    llama = Found(Kind.LLAMA_SERVER, "openai-chat", "/v1", (FoundModel("/models/tiny.gguf", 2048),), any_name=True)
    gateway = Found(Kind.GATEWAY, "openai-chat", "/v1", (FoundModel("ours"),))
    there = {11434: AN_OLLAMA, 1234: llama, 8080: gateway}

    async def find(asked: catalog.Upstream, wanted: Sequence[str]) -> Found:
        if asked.port not in there:
            raise Unreachable(f"{asked.name} cannot be reached")
        return there[asked.port]

    at = nearby(own_port=9090)
    assert [one.port for one in at] == [11434, 1234, 8080, 8000]
    assert [one.port for one in nearby(own_port=8080)] == [11434, 1234, 8000]
    directory = Directory(a_catalog(), find, at)
    async with asyncio.timeout(5), directory:
        while len(directory.catalog.routes) < 4:  # noqa: ASYNC110  (nobody is told)
            await asyncio.sleep(0.01)
    # What the configuration names stays where it leads, and another gateway's models are not asked through ours.
    assert set(directory.catalog.routes) == {"chat", "auto", "chat@127.0.0.1:11434", "tiny"}
    assert directory.catalog.route("chat").deployments[0].upstream.host == "box"
    (one,) = directory.catalog.route("tiny").deployments
    assert (one.model, one.context_tokens, one.upstream.port) == ("/models/tiny.gguf", 2048, 1234)


def test_a_name_that_no_header_can_carry_is_no_model() -> None:
    found = Found(Kind.OPENAI, "openai-chat", "/v1", (FoundModel("a\nb"), FoundModel("openai/*"), FoundModel("fine")))
    _, added = with_models(a_catalog(), nearby(0)[0], found, "fastest")
    assert added == ["fine"]


async def test_without_a_file_the_engines_of_this_machine_are_served(llama_server: Path, chat_model: Path) -> None:
    async with engine(llama_server, chat_model, 512) as url:
        port = int(url.rsplit(":", 1)[1])
        at = catalog.Upstream(f"127.0.0.1:{port}", "http", "127.0.0.1", port, "/v1", auto=True)
        async with serving(Config(), discover=True, nearby=[at]) as gateway:
            async with asyncio.timeout(5):
                while not (names := await listed(gateway)):  # noqa: ASYNC110  (nobody is told)
                    await asyncio.sleep(0.02)
            assert names == [chat_model.stem]
            assert (await gateway.ask(CHAT | {"model": names[0], "max_tokens": 3})).status == 200
