"""/admin/models: the models of this board are shown, loaded, ended, removed, and pulled while the gateway runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine
from harness import Gateway, serving
from living import processes_with
from model_hub import REPOSITORY, Hub, hub, model_of
from raw_caller import Answer, request

from moltbot_edge.config.schema import Config, Engines, Key, Model

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
SMALL = model_of(300_000)
ANSWERS = """
import json
def reply():
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            caller, _ = listener.accept()
            said = caller.recv(65536)
            if b"slow" in said:
                time.sleep(1)
            answer = [] if b"/slots" in said else {"object": "list", "data": [], "model": model}
            body = json.dumps(answer).encode()
            head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n"
            caller.sendall(head + b"Content-Length: %d\\r\\n\\r\\n" % len(body) + body)
            caller.close()
reply()
"""


class Board:
    """A gateway whose model store is *folder*, with engines that answer something."""

    def __init__(self, gateway: Gateway, folder: Path, program: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self.program = program

    async def models(self) -> dict[str, dict[str, Any]]:
        answer = await self.gateway.get("/admin/models")
        assert answer.status == 200, answer.body
        return {one["name"]: one for one in answer.json["models"]}

    async def post(self, path: str, body: Any = None, *headers: str) -> Answer:
        return await self.gateway.ask(body if body is not None else b"", *headers, path=f"/admin/models/{path}")

    async def delete(self, name: str) -> Answer:
        return await self.gateway.ask(None, path=f"/admin/models/{name}", method="DELETE")

    async def embed(self, model: str, text: str = "x") -> Answer:
        return await self.gateway.ask({"model": model, "input": text}, path="/v1/embeddings")

    async def pulled(self, source: str = REPOSITORY, **more: Any) -> list[dict[str, Any]]:
        answer = await self.post("pull", {"source": source, **more})
        assert (answer.status, answer.header("content-type")) == (200, "application/x-ndjson")
        return [json.loads(line) for line in answer.body.splitlines()]


@asynccontextmanager
async def board(tmp_path: Path, *models: Model, there: Hub | None = None, **engines: Any) -> AsyncIterator[Board]:
    folder = tmp_path / "store"
    folder.mkdir(exist_ok=True)
    program = fake_engine(tmp_path, ANSWERS)
    settings = Config(
        model_registry=list(models),
        engines=Engines(command=str(program), stop_s=2.0, **{"memory_mb": 1000, "min_warm_s": 0.0, **engines}),
    )
    environment = {"PATH": os.defpath, **({"HF_ENDPOINT": there.url} if there is not None else {})}
    async with serving(settings, environment=environment, stores=[folder]) as gateway:
        yield Board(gateway, folder, program)


def stored(tmp_path: Path, *names: str) -> None:
    (tmp_path / "store").mkdir(exist_ok=True)
    for name in names:
        (tmp_path / "store" / f"{name}.gguf").write_bytes(SMALL)


async def test_models_are_shown_with_what_they_take_and_whether_they_fit(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    files: dict[str, Any] = {"memory_mb": 600}
    huge = Model(name="b", file="b.gguf", memory_mb=2000)
    async with board(tmp_path, Model(name="a", file="a.gguf", **files), huge, Model(name="c", file="c.gguf")) as here:
        shown = await here.models()
        assert [(name, one["fit"], one["state"]) for name, one in shown.items()] == [
            ("a", "fits", "stopped"),
            ("b", "does not fit", "stopped"),
            ("c", "unknown", "stopped"),
        ]
        assert (shown["a"]["needs_bytes"], shown["a"]["size_bytes"]) == (600 * MIB, len(SMALL))
        assert shown["a"]["context_tokens"] == 2048
        assert "c.gguf is not in" in shown["c"]["problem"]


async def test_a_model_is_loaded_without_a_request_and_ended(tmp_path: Path) -> None:
    stored(tmp_path, "a")
    async with board(tmp_path) as here:
        answer = await here.post("a/load")
        assert (answer.status, answer.json) == (200, {"model": "a", "state": "ready"})
        assert len(processes_with(str(here.program))) == 1
        assert (await here.models())["a"]["state"] == "ready"
        assert (await here.post("a/unload")).json == {"model": "a", "state": "stopped"}
        assert processes_with(str(here.program)) == []


async def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(SMALL)
    models = [
        Model(name="a", file="a.gguf", pin=True),
        Model(name="b", file="b.gguf", memory_mb=5000),
        Model(name="c", file=str(outside)),
    ]
    async with board(tmp_path, *models) as here:
        for answer, status, said in [
            (await here.post("a/unload"), 409, "'a' is pinned"),
            (await here.delete("a"), 409, "'a' is pinned"),
            (await here.post("b/load"), 507, "needs 5000 MiB"),
            (await here.delete("c"), 400, "outside.gguf is not in the model store"),
            (await here.post("d/load"), 404, "no model of this board is named 'd'; there is: a, b, c"),
            (await here.post("pull", {"sauce": "x"}), 400, "expected"),
            (await here.post("a/load", None, "Origin: http://elsewhere"), 400, "a page of http://elsewhere asks"),
        ]:
            assert (answer.status, said in answer.error["message"]) == (status, True), answer.body
        assert outside.exists()


async def test_a_model_is_removed_once_nobody_uses_it(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    async with board(tmp_path) as here:
        slow = asyncio.create_task(here.embed("a", "slow"))
        while (await here.models())["a"]["serving"] == 0:  # noqa: ASYNC110  (the gateway tells nobody)
            await asyncio.sleep(0.02)
        refused = await here.delete("a")
        assert (refused.status, refused.error["code"]) == (409, "model_in_use")
        assert (await slow).status == 200
        removed = await here.delete("a")
        assert (removed.status, removed.json["files"]) == (200, [str(here.folder / "a.gguf")])
        assert (list(await here.models()), os.listdir(here.folder)) == (["b"], ["b.gguf"])
        assert processes_with(str(here.program)) == []
        assert (await here.embed("a")).status == 404
        assert (await here.embed("b")).status == 200


async def test_what_the_configuration_names_is_known_after_its_file_was_removed(tmp_path: Path) -> None:
    stored(tmp_path, "a")
    async with board(tmp_path, Model(name="chat", file="a.gguf")) as here:
        assert (await here.delete("chat")).json["configured"]
        assert (await here.embed("chat")).status == 503
        stored(tmp_path, "a")
        here.gateway.errors.clear()


@pytest.mark.parametrize("others", [[], ["b"]])
async def test_a_pulled_model_is_served_without_a_restart(tmp_path: Path, others: list[str]) -> None:
    stored(tmp_path, *others)
    with hub(files={"New-Q8_0.gguf": SMALL}) as there:
        async with board(tmp_path, there=there) as here:
            first, *_, last = await here.pulled()
            assert (first["event"], first["bytes"]) == ("files", len(SMALL))
            assert (last["event"], last["model"]) == ("pulled", "new-q8_0")
            assert last["sha256"] == [hashlib.sha256(SMALL).hexdigest()]
            answer = await here.embed("new-q8_0")
            assert (answer.status, answer.json["model"]) == (200, str(here.folder / "New-Q8_0.gguf"))
            assert list(await here.models()) == [*others, "new-q8_0"]
            listed = await here.gateway.get("/v1/models")
            assert "new-q8_0" in [one["id"] for one in listed.json["data"]]
            assert (await here.delete("new-q8_0")).status == 200
            assert (await here.pulled())[-1]["model"] == "new-q8_0"
            assert (await here.embed("new-q8_0")).status == 200
        assert processes_with(str(here.program)) == []


async def test_a_pull_that_fails_says_why_in_its_last_line(tmp_path: Path) -> None:
    with hub(files={"New-Q8_0.gguf": SMALL}) as there:
        async with board(tmp_path, there=there) as here:
            (said,) = await here.pulled(f"{REPOSITORY}:Q2_K")
            assert said == {"event": "failed", "message": f"{REPOSITORY} has no Q2_K; there is: Q8_0"}
            assert await here.models() == {}


async def test_who_leaves_ends_the_pull_and_the_next_one_goes_on(tmp_path: Path) -> None:
    large = model_of(24 * MIB)
    with hub(files={"m.gguf": large}, pause_s=0.02) as there:
        async with board(tmp_path, there=there) as here:
            async with here.gateway.caller() as caller:
                await caller.send(request({"source": REPOSITORY}, path="/admin/models/pull"))
                head = await caller.head()
                async for piece in caller.pieces(head):
                    if b'"progress"' in piece:
                        break
                caller.leave()
            part = here.folder / "m.gguf.part"
            async with asyncio.timeout(10):
                while there.busy:  # noqa: ASYNC110  (a thread's counter)
                    await asyncio.sleep(0.02)
            assert 0 < part.stat().st_size < len(large)
            there.pause_s = 0.0
            assert (await here.pulled())[-1]["event"] == "pulled"
            assert [one.get("range") is not None for one in there.gets()] == [False, True]


async def test_only_an_administrator_may(tmp_path: Path) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    key = Key(name="guest", hash=f"sha256:{hashlib.sha256(b'guest').hexdigest()}")
    async with serving(Config(keys=[key]), secret="guest") as gateway:
        for path, method in (("", "GET"), ("/a/load", "POST"), ("/a", "DELETE"), ("/pull", "POST")):
            answer = await gateway.ask(None, "x-api-key: guest", path=f"/admin/models{path}", method=method)
            assert (answer.status, answer.error["code"]) == (403, "not_an_administrator")
