"""A conversation as a person reads it, line by line."""

from __future__ import annotations

from typing import Any

import click
import msgspec
import pytest
from kept_sessions import turn

from moltbot_edge.cli.transcript import columns, plain, transcript
from moltbot_edge.core.chat import (
    File,
    Image,
    Message,
    Own,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from moltbot_edge.core.events import Usage
from moltbot_edge.core.reply import FinishReason
from moltbot_edge.core.session import Cut, Turn

replace = msgspec.structs.replace


def lines(*turns: Turn, everything: bool = False, width: int | None = None) -> list[str]:
    return [click.unstyle(line) for line in transcript(turns, everything=everything, width=width)]


def replied(*parts: Part) -> list[str]:
    said = lines(replace(turn("?"), reply=Message(Role.ASSISTANT, parts)))
    return said[said.index("assistant:") + 1 : -1]


def test_a_turn_says_who_said_what_and_by_which_model() -> None:
    one = replace(
        turn("What is a qubit?", "A two-level\n\nsystem."),
        model="auto",
        deployment="small",
        usage=Usage(12, 34),
        system=(Message(Role.SYSTEM, (Text(text="Be brief."),)),),
        tools=(Tool("look"), Tool("add")),
        finish=FinishReason.LENGTH,
        dropped=("min_p",),
    )
    head, *rest = lines(one)
    assert head[:10].count("-") == 2
    assert head[16:] == f"  auto, by small  12 tokens in, 34 out  openai-chat  {one.id}"
    assert rest == [
        "  (tools from here on: look, add)",
        "system:",
        "  Be brief.",
        "user:",
        "  What is a qubit?",
        "assistant:",
        "  A two-level",
        "",
        "  system.",
        "  (ended by: length)",
        "  (not passed on: min_p)",
        "",
    ]


def test_calls_and_whatever_is_no_text_take_one_line_each() -> None:
    assert replied(
        Reasoning(text="First\nI look."),
        Reasoning(seal="x"),
        ToolCall(id="c", name="look", arguments='{"at": "x"}'),
        ToolResult(id="c", parts=(Text(text="a\nb"), Image(url="http://box/x.png"))),
        ToolResult(id="d", failed=True, name="add"),
        Image(media_type="image/png", data="A" * 4000),
        File(name="plan.txt", media_type="text/plain", text="x" * 10),
        File(id="file-1"),
        Own(origin="openai-responses", kind="web_search_call", raw=b"{}"),
        Refusal(text="No."),
    ) == [
        "  thinks: First I look.",
        "  thinks, and does not show it",
        '  calls look {"at": "x"}',
        "  look answers a b [image http://box/x.png]",
        "  add fails",
        "  [image image/png, 3.0 kB]",
        "  [file plan.txt text/plain, 10 B]",
        "  [file file-1]",
        "  [web_search_call of openai-responses]",
        "  refuses: No.",
    ]
    (long,) = replied(ToolCall(id="c", name="look", arguments="x" * 1000))
    assert (len(long), long[-3:]) == (162, "...")


def test_every_part_of_a_chat_is_shown() -> None:
    for kind in Part.__subclasses__():
        needed: dict[str, Any] = {one.name: "x" for one in msgspec.structs.fields(kind) if one.required}
        assert replied(kind(**needed))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"  \x1b[2J\x1b]0;title\x07"),
        ("a\rb\x08c\x7f\x9b31m", r"  a\rb\x08c\x7f\x9b31m"),
        ("\u202egnirts \u2066x\u2069", r"  \u202egnirts \u2066x\u2069"),
        ("a\tb", "  a   b"),
        ("née 👩\u200d💻 नमस्ते", "  née 👩\u200d💻 नमस्ते"),
    ],
)
def test_nothing_that_was_said_is_an_order_to_the_terminal(said: str, shown: str) -> None:
    assert replied(Text(text=said)) == [shown]
    one = replace(turn("?"), model=said, deployment=said, dialect=said, dropped=(said,))
    for line in lines(replace(one, reply=Message(Role.ASSISTANT, (ToolCall(id="c", name=said),), name=said))):
        assert plain(line) == line


def test_only_the_branch_that_leads_to_the_end_is_read_unless_all_are_asked_for() -> None:
    one = turn("one")
    left, right = turn("left", after=one), turn("right", after=one)
    shown = lines(one, left, right)
    assert [line for line in shown if line in ("  one", "  left", "  right")] == ["  one", "  right"]
    assert shown[-1] == "turns of other branches: 1, which --all shows"
    shown = lines(one, left, right, everything=True)
    assert [line for line in shown if line in ("  one", "  left", "  right")] == ["  one", "  left", "  right"]
    assert [line for line in shown if line.startswith("goes on after")] == [f"goes on after {one.id}"]
    assert lines() == []


def test_what_a_model_was_not_sent_is_said() -> None:
    one = turn("one")
    two = replace(turn("two", after=one), cut=Cut(4096, one.id, 2, summary="They\ntalked."))
    shown = lines(one, two)
    assert shown[7:10] == [f"  (not sent: what was said up to {one.id})", "  in its place: They", "  talked."]


def test_a_turn_that_says_nothing_is_not_shown() -> None:
    one = turn("one")
    silent = Turn(id=turn("x", after=one).id, at=0.0, messages=(), reply=Message(Role.ASSISTANT, ()), parent=one.id)
    shown = lines(one, silent, turn("two", after=silent))
    assert [line for line in shown if line.startswith(("  ", "goes on"))] == ["  one", "  Yes.", "  two", "  Yes."]


def test_lines_are_as_long_as_the_terminal_is_wide() -> None:
    said = "\n".join(
        [
            "Some words that are more than fit.",
            "- an entry of a list that is long",
            "  10. one further in, and longer",
            "x" * 50,
            "晴れです。とても気持ちのいい夕方です。",
            "```",
            "code that is as long as it likes to be",
            "```",
        ]
    )
    (one,) = [replace(turn("?"), reply=Message(Role.ASSISTANT, (Text(text=said),)))]
    shown = lines(one, width=30)
    assert shown[shown.index("assistant:") + 1 :] == [
        "  Some words that are more",
        "  than fit.",
        "  - an entry of a list that is",
        "    long",
        "    10. one further in, and",
        "        longer",
        "  " + "x" * 28,
        "  " + "x" * 22,
        "  晴れです。とても気持ちのいい",
        "  夕方です。",
        "  ```",
        "  code that is as long as it likes to be",
        "  ```",
        "",
    ]
    assert columns("晴れ") == 4
    assert lines(one, width=1)[-2] == "  ```"
