"""What real parts sent, read: cut anywhere it is the same, and every caller gets it in words of its own dialect."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from dialects.conversations import CHAT_PATHS, DIALECTS, HEAD, REPLIES, Whole, asked, codec, differences, fold
from dialects.vendors import check_reply
from hypothesis import given, settings
from hypothesis import strategies as st

from moltbot_edge.core.errors import InvalidReply, TruncatedReply
from moltbot_edge.core.reply import Began, Event

FOLDER = Path(__file__).parents[1] / "recordings"
KINDS = ("plain", "tools", "reasoning", "structured", "error", "cut")
# No Ollama that calls, thinks, fails or keeps to a schema was found recorded: README.md.
NOBODYS = {"ollama": {"tools", "reasoning", "structured", "error"}}
CHATS = re.compile(rf"({'|'.join(KINDS)}|chat|refusal)(?:_|\.)").match


def files() -> list[Path]:
    return sorted(file for name in DIALECTS for file in (FOLDER / name.replace("-", "_")).iterdir())


def dialect_of(file: Path) -> str:
    return file.parent.name.replace("_", "-")


REPLIED = [file for file in files() if CHATS(file.name) and not file.name.startswith(("error", "cut"))]
STREAMED = [file for file in REPLIED if file.suffix != ".json"]
CUT = [file for file in files() if file.name.startswith("cut")]
ERRORS = [file for file in files() if file.name.startswith("error")]


def name_of(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def recorded(file: Path) -> list[Event]:
    reader = codec(dialect_of(file)).event_reader(file.suffix != ".json")
    return [*reader.feed(file.read_bytes()), *reader.end()]


def in_pieces(file: Path, places: list[int]) -> list[Event]:
    body = file.read_bytes()
    reader = codec(dialect_of(file)).event_reader(file.suffix != ".json")
    events: list[Event] = []
    for begin, end in itertools.pairwise([0, *places, len(body)]):
        events += reader.feed(body[begin:end])
    return [*events, *reader.end()]


def test_each_dialect_has_all_kinds_and_each_file_says_where_it_is_from() -> None:
    readme = (FOLDER / "README.md").read_text()
    listed = set(re.findall(r"^\| `([a-z_]+/[^`]+)` \| [^|]+ \| [^|]+ \|$", readme, re.MULTILINE))
    assert listed == {name_of(file) for file in files()}
    for name in DIALECTS:
        there = [file.name for file in files() if dialect_of(file) == name]
        lacking = {kind for kind in KINDS if not any(one.startswith(kind) for one in there)}
        assert lacking == NOBODYS.get(name, set()), name


@pytest.mark.parametrize("file", REPLIED, ids=name_of)
def test_a_recording_is_a_whole_reply(file: Path) -> None:
    whole = fold(recorded(file))
    assert whole.finish is not None
    assert whole.text or whole.calls or whole.refusal
    if file.name.startswith("tools"):
        assert whole.calls
    if file.name.startswith("reasoning") and dialect_of(file) != "openai-responses":
        assert whole.thoughts or whole.seals


@pytest.mark.parametrize("file", STREAMED, ids=name_of)
def test_a_byte_at_a_time_is_the_same(file: Path) -> None:
    assert in_pieces(file, list(range(1, file.stat().st_size))) == recorded(file)


@pytest.mark.parametrize("file", REPLIED, ids=name_of)
@settings(max_examples=settings().max_examples // 5)
@given(data=st.data())
def test_any_cut_is_the_same(file: Path, data: st.DataObject) -> None:
    places = data.draw(st.lists(st.integers(0, file.stat().st_size), max_size=6).map(sorted))
    assert in_pieces(file, places) == recorded(file)


@pytest.mark.parametrize("caller", DIALECTS)
@pytest.mark.parametrize("file", REPLIED, ids=name_of)
def test_every_caller_gets_it_in_its_own_words(file: Path, caller: str) -> None:
    heard = recorded(file)
    for streamed in (True, False):
        writer = codec(caller).event_writer(asked(caller, streamed), HEAD, CHAT_PATHS[caller])
        body = writer.write(heard) + writer.end()
        check_reply(caller, body, streamed=streamed)
        reader = codec(caller).event_reader(streamed)
        got = fold([*reader.feed(body), *reader.end()])
        whole = fold(heard)
        counted = whole.usage is not None
        assert differences(sayable(got, caller, counted), sayable(whole, caller, counted)) == {}


def sayable(whole: Whole, caller: str, counted: bool) -> Whole:
    """What this dialect has words for; a refusal is words to all. Who was not told the usage may have to say none."""
    says = REPLIES[caller]
    return Whole(
        text=whole.text if "refusal" in says else whole.text + whole.refusal,
        refusal=whole.refusal if "refusal" in says else "",
        thoughts=whole.thoughts,
        calls=whole.calls,
        usage=whole.usage if counted and "cached" in says else None,
    )


@pytest.mark.parametrize("file", CUT, ids=name_of)
def test_a_stream_that_was_cut_is_not_whole(file: Path) -> None:
    reader = codec(dialect_of(file)).event_reader(True)
    events = reader.feed(file.read_bytes())
    assert any(type(event) is not Began for event in events)
    with pytest.raises((TruncatedReply, InvalidReply)):
        reader.end()


@pytest.mark.parametrize("file", ERRORS, ids=name_of)
def test_an_error_is_understood(file: Path) -> None:
    assert codec(dialect_of(file)).complaint(file.read_bytes())
