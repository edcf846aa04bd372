"""Models that are pulled from a hub, over real sockets: resumed, checked, or refused with words that help."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trustme
from model_hub import REPOSITORY, Hub, hub, model_of

from moltbot_edge.local.hub import AtUrl, InRepository, PullError, source
from moltbot_edge.local.pull import Asked, Event, Failed, Files, Note, Progress, Pulled, pull

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
SMALL = model_of(300_000)
LARGE = model_of(6 * MIB + 17)
AT_ONCE = (0.01,)


async def pulled(folder: Path, model_hub: Hub, what: str = REPOSITORY, **said: Any) -> list[Event]:
    environment = {"HF_ENDPOINT": model_hub.url, **said.pop("environment", {})}
    return [event async for event in pull(Asked(what, **said), folder, environment, pauses_s=AT_ONCE)]


def outcome(events: Iterable[Event]) -> Pulled:
    *_, last = events
    assert isinstance(last, Pulled), last
    return last


def content(events: Iterable[Event]) -> bytes:
    return Path(outcome(events).file).read_bytes()


def failure(events: Iterable[Event]) -> str:
    *_, last = events
    assert isinstance(last, Failed), last
    return last.message


def notes(events: Iterable[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Note))


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def test_a_repositorys_only_model_is_pulled_and_named_as_callers_will(tmp_path: Path) -> None:
    with hub(files={"A-Model-Q8_0.gguf": SMALL, "README.md": b"read me"}) as there:
        events = await pulled(tmp_path / "store", there)
    assert events[0] == Files(("A-Model-Q8_0.gguf",), len(SMALL))
    done = outcome(events)
    assert (done.model, done.sha256) == ("a-model-q8_0", (hashlib.sha256(SMALL).hexdigest(),))
    assert content(events) == SMALL
    assert names(tmp_path / "store") == ["A-Model-Q8_0.gguf"]


async def test_progress_is_told_with_what_has_come_and_how_much_there_is(tmp_path: Path) -> None:
    with hub(files={"m.gguf": LARGE}) as there:
        events = await pulled(tmp_path, there)
    told = [event for event in events if isinstance(event, Progress)]
    assert (told[-1].bytes, told[-1].total_bytes) == (len(LARGE), len(LARGE))


async def test_after_a_cut_it_goes_on_where_it_was(tmp_path: Path) -> None:
    with hub(files={"m.gguf": LARGE}, cut_after=[3 * MIB, MIB]) as there:
        events = await pulled(tmp_path, there)
        ranges = [headers.get("range") for headers in there.gets()]
        conditions = [headers.get("if-range") for headers in there.gets()]
    assert content(events) == LARGE
    assert ranges[0] is None
    assert [int((one or "").removeprefix("bytes=")[:-1]) >= MIB for one in ranges[1:]] == [True, True]
    assert all(conditions[1:])
    assert "goes on in" in notes(events)


async def test_another_pull_goes_on_with_what_the_last_one_left(tmp_path: Path) -> None:
    with hub(files={"m.gguf": LARGE}, cut_after=[3 * MIB, 0, 0, 0, 0, 0]) as there:
        assert "The next pull goes on from here" in failure(await pulled(tmp_path, there))
        assert names(tmp_path) == ["m.gguf.part", "m.gguf.part.json"]
        events = await pulled(tmp_path, there)
    assert content(events) == LARGE
    assert "goes on after 3 MiB" in notes(events)
    assert names(tmp_path) == ["m.gguf"]


async def test_leaving_is_cancelling_and_what_has_come_stays(tmp_path: Path) -> None:
    with hub(files={"m.gguf": model_of(24 * MIB)}) as there:
        events = pull(Asked(REPOSITORY), tmp_path, {"HF_ENDPOINT": there.url}, now=iter(range(99)).__next__)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Progress):
                    break
    assert names(tmp_path) == ["m.gguf.part", "m.gguf.part.json"]
    assert (tmp_path / "m.gguf.part").stat().st_size >= MIB


async def test_a_file_that_has_changed_is_fetched_from_its_beginning(tmp_path: Path) -> None:
    changed = model_of(len(LARGE), seed=9)
    with hub(files={"m.gguf": LARGE}, plain={"m.gguf"}, cut_after=[3 * MIB, 0, 0, 0, 0, 0]) as there:
        failure(await pulled(tmp_path, there))
        there.files["m.gguf"] = changed
        events = await pulled(tmp_path, there)
    assert "from the beginning" in notes(events)
    assert content(events) == changed


async def test_a_server_that_cannot_resume_is_asked_for_all_of_it(tmp_path: Path) -> None:
    with hub(files={"m.gguf": LARGE}, ranges=False, cut_after=[3 * MIB]) as there:
        events = await pulled(tmp_path, there)
    assert content(events) == LARGE
    assert "cannot be resumed" in notes(events)


async def test_without_a_validator_or_a_checksum_nothing_is_believed_of_a_part(tmp_path: Path) -> None:
    with hub(files={"m.gguf": LARGE}, plain={"m.gguf"}, etags=False, cut_after=[3 * MIB]) as there:
        events = await pulled(tmp_path, there)
        assert [headers.get("range") for headers in there.gets("hub")] == [None, None]
    assert content(events) == LARGE


async def test_a_part_that_was_whole_already_is_not_fetched_again(tmp_path: Path) -> None:
    """416: the connection was cut after the last byte of a file whose length nobody had said."""
    with hub(files={"m.gguf": LARGE}) as there:
        url = f"{there.cdn}/files/m.gguf"
        etag = hashlib.md5(LARGE).hexdigest()
        (tmp_path / "m.gguf.part").write_bytes(LARGE)
        (tmp_path / "m.gguf.part.json").write_text(f'{{"url": "{url}", "validator": "\\"{etag}\\""}}')
        events = await pulled(tmp_path, there, url)
        assert [headers.get("range") for headers in there.gets()] == [f"bytes={len(LARGE)}-"]
    assert content(events) == LARGE


async def test_a_part_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    with hub(files={"m.gguf": SMALL}) as there:
        url = f"{there.cdn}/files/m.gguf"
        etag = hashlib.md5(SMALL).hexdigest()
        (tmp_path / "m.gguf.part").write_bytes(LARGE)
        (tmp_path / "m.gguf.part.json").write_text(f'{{"url": "{url}", "validator": "\\"{etag}\\""}}')
        events = await pulled(tmp_path, there, url)
    assert content(events) == SMALL


async def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    with hub(files={"m.gguf": SMALL}, statuses=[503, 429]) as there:
        events = await pulled(tmp_path, there)
    assert "answered 503" in notes(events)
    assert content(events) == SMALL


async def test_a_token_goes_to_the_hub_and_not_where_it_leads(tmp_path: Path) -> None:
    with hub(files={"m.gguf": SMALL}, token="hf_secret") as there:
        assert "HF_TOKEN" in failure(await pulled(tmp_path, there))
        there.asked.clear()
        outcome(await pulled(tmp_path, there, environment={"HF_TOKEN": "hf_secret"}))
        assert [headers["authorization"] for headers in there.gets("hub")] == ["Bearer hf_secret"]
        assert ["authorization" in headers for headers in there.gets("cdn")] == [False]


async def test_another_hub_does_not_get_the_environments_token(tmp_path: Path) -> None:
    with hub(files={"m.gguf": SMALL}) as there:
        outcome(await pulled(tmp_path, there, hub=there.url, environment={"HF_TOKEN": "hf_secret"}))
        assert not any("authorization" in headers for _, _, headers in there.asked)


@pytest.mark.parametrize("said", [{"sha256": "0" * 64}, {}])
async def test_what_has_another_checksum_is_removed(tmp_path: Path, said: dict[str, str]) -> None:
    plain = frozenset({"m.gguf"}) if said else frozenset[str]()
    with hub(files={"m.gguf": SMALL}, plain=plain, wrong_checksum=not said) as there:
        message = failure(await pulled(tmp_path, there, **said))
    assert hashlib.sha256(SMALL).hexdigest() in message
    assert names(tmp_path) == []


async def test_a_checksum_against_the_hubs_own_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    with hub(files={"m.gguf": SMALL}) as there:
        assert "the hub says" in failure(await pulled(tmp_path, there, sha256="0" * 64))
        assert there.gets() == []


async def test_a_web_page_is_no_model(tmp_path: Path) -> None:
    page = b"<!doctype html><title>Log in</title>" * 100
    with hub(files={"m.gguf": page}) as there:
        assert "is no GGUF file: it begins with" in failure(await pulled(tmp_path, there))
    assert names(tmp_path) == []


async def test_all_parts_of_a_split_model_are_pulled(tmp_path: Path) -> None:
    parts = {f"Q4_0/big-Q4_0-{number:05}-of-00003.gguf": model_of(200_000, number) for number in (1, 2, 3)}
    with hub(files={**parts, "big-Q8_0.gguf": SMALL}) as there:
        by_quant = outcome(await pulled(tmp_path / "a", there, f"hf.co/{REPOSITORY}:q4_0"))
        by_url = outcome(await pulled(tmp_path / "b", there, f"{there.cdn}/files/Q4_0/big-Q4_0-00001-of-00003.gguf"))
    assert (by_quant.model, by_url.model) == ("big-q4_0", "big-q4_0")
    for folder in ("a", "b"):
        assert [file.read_bytes() for file in sorted((tmp_path / folder).iterdir())] == list(parts.values())


async def test_the_usual_quantisation_is_taken_where_nobody_says_which(tmp_path: Path) -> None:
    files = {f"A-Model-{quant}.gguf": SMALL for quant in ("Q8_0", "Q4_K_M", "BF16")}
    with hub(files={**files, "mmproj-F16.gguf": SMALL}, page=2) as there:
        assert outcome(await pulled(tmp_path, there)).model == "a-model-q4_k_m"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (f"{REPOSITORY}:Q5_K_M", "has no Q5_K_M; there is: BF16, Q8_0"),
        (REPOSITORY, "say which, someone/A-Model-GGUF:QUANT, of BF16, Q8_0"),
        (f"{REPOSITORY}/other.gguf", "has no file 'other.gguf'; there is: A-Model-BF16.gguf, A-Model-Q8_0.gguf"),
        ("someone/else", "shows no 'someone/else' (404)"),
        ("someone", "expected a URL, or of the hub OWNER/NAME"),
        ("../etc/passwd.gguf", "expected a URL, or of the hub OWNER/NAME"),
        ("http://127.0.0.1:1/model.bin", "does not end in .gguf"),
        ("ftp://box/model.gguf", "expected http:// or https://"),
    ],
)
async def test_what_cannot_be_pulled_is_said_with_what_there_is(tmp_path: Path, wanted: str, said: str) -> None:
    with hub(files={f"A-Model-{quant}.gguf": SMALL for quant in ("Q8_0", "BF16")}) as there:
        assert said in failure(await pulled(tmp_path, there, wanted))
    assert names(tmp_path) == []


async def test_a_repository_without_models_is_said(tmp_path: Path) -> None:
    with hub(files={"model.safetensors": b"x"}) as there:
        assert "has no GGUF files" in failure(await pulled(tmp_path, there))


async def test_what_is_there_already_is_not_fetched_and_another_file_is_not_overwritten(tmp_path: Path) -> None:
    with hub(files={"m.gguf": SMALL}) as there:
        outcome(await pulled(tmp_path, there))
        there.asked.clear()
        again = await pulled(tmp_path, there)
        assert ("is there already" in notes(again), there.gets()) == (True, [])
        (tmp_path / "m.gguf").write_bytes(LARGE)
        assert "is another file" in failure(await pulled(tmp_path, there))
    assert (tmp_path / "m.gguf").read_bytes() == LARGE


async def test_a_file_that_is_being_pulled_is_not_pulled_twice_at_once(tmp_path: Path) -> None:
    with hub(files={"m.gguf": model_of(24 * MIB)}) as there:
        first = pull(Asked(REPOSITORY), tmp_path, {"HF_ENDPOINT": there.url}, now=iter(range(99)).__next__)
        async with aclosing(first):
            async for event in first:
                if isinstance(event, Progress):
                    break
            assert "is being pulled already" in failure(await pulled(tmp_path, there))


async def test_a_redirect_that_leads_nowhere_new_ends(tmp_path: Path) -> None:
    with hub(files={"m.gguf": SMALL}, leads_on=True) as there:
        assert "5 redirects" in failure(await pulled(tmp_path, there))


async def test_a_redirect_from_https_to_http_is_not_followed(tmp_path: Path) -> None:
    authority = trustme.CA()
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with hub(files={"m.gguf": SMALL}) as there:

        async def leads_to_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                f"HTTP/1.1 302 Found\r\nLocation: {there.cdn}/files/m.gguf\r\nContent-Length: 0\r\n\r\n".encode()
            )
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(leads_to_http, "127.0.0.1", 0, ssl=context) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"https://127.0.0.1:{port}/m.gguf"
            events = await pulled(tmp_path / "store", there, url, environment={"SSL_CERT_FILE": str(trusted)})
        assert failure(events) == "127.0.0.1 leads from https to http, which is not followed"
        assert there.gets() == []


def test_a_model_is_named_as_people_copy_it() -> None:
    expected = InRepository("a/b", quant="Q4_0")
    assert source("a/b:Q4_0") == source("hf.co/a/b:Q4_0") == source("https://huggingface.co/a/b:Q4_0") == expected
    blob = "https://huggingface.co/a/b/blob/main/x/c.gguf"
    assert source("a/b/x/c.gguf") == source(blob) == InRepository("a/b", path="x/c.gguf")
    assert source("https://hf.co/a/b/resolve/v1/c.gguf?download=true") == InRepository("a/b", "v1", "c.gguf")
    assert source("http://box/x/c.gguf") == AtUrl("http://box/x/c.gguf")
    assert source("http://mirror/hub/a/b", "http://mirror/hub") == InRepository("a/b")
    for wrong in ("http://user:pw@box/c.gguf", "a/..", "a/b/../c.gguf", "a b/c"):
        with pytest.raises(PullError):
            source(wrong)


async def test_the_event_loop_has_its_turn_while_much_is_written(tmp_path: Path) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    with hub(files={"m.gguf": LARGE}) as there:
        outcome(await pulled(tmp_path, there))
    counting.cancel()
    assert turns > 6
