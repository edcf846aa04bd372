"""A turn is items, and what is taken out of a session is not said again."""

from __future__ import annotations

from msgspec.structs import replace

from moltbot_edge.core import items, session
from moltbot_edge.core.chat import Image, Message, Part, Reasoning, Refusal, Role, Text, ToolCall, ToolResult
from moltbot_edge.core.session import Cut, Turn, made_id

NOTHING = Message(Role.ASSISTANT, ())
WELL = Message(Role.ASSISTANT, (Text(text="Well."),))
WORDS = Text(text="Rain?")
RESULT = ToolResult(id="c0", parts=(Text(text="rain"),))


def turn(number: int, asked: tuple[Message, ...], reply: Message, **more: object) -> Turn:
    parent = made_id(number - 1, bytes(10)) if number else None
    one = Turn(id=made_id(number, bytes(10)), at=float(number), messages=asked, reply=reply, parent=parent)
    return replace(one, **more)


def says(role: Role, *parts: Part) -> Message:
    return Message(role, parts)


ASKED = turn(
    0,
    (says(Role.USER, WORDS, Image(url="http://box/a.png")), says(Role.TOOL, RESULT, replace(RESULT, id="c1"))),
    says(
        Role.ASSISTANT,
        Reasoning(text="hm"),
        Text(text="I "),
        Refusal(text="cannot"),
        ToolCall(id="c2", name="weather"),
        ToolCall(id="c3", name="weather"),
        Text(text="see."),
    ),
)
THEN = turn(1, (says(Role.USER, Text(text="and?")),), says(Role.ASSISTANT, Text(text="no")), deployment="chat@box")


def test_each_thing_said_is_an_item_with_a_key() -> None:
    found = items.items(ASKED)
    assert [(one.key, one.role.value, [type(part).__name__ for part in one.parts]) for one in found] == [
        ("i0", "user", ["Text", "Image"]),
        ("i1", "tool", ["ToolResult"]),
        ("i2", "tool", ["ToolResult"]),
        ("0", "assistant", ["Reasoning"]),
        ("1", "assistant", ["Text", "Refusal"]),
        ("2", "assistant", ["ToolCall"]),
        ("3", "assistant", ["ToolCall"]),
        ("4", "assistant", ["Text"]),
    ]


def taking(*gone: str) -> Turn:
    return turn(2, (), NOTHING, removed=gone)


def test_an_item_that_was_taken_out_is_not_said_again() -> None:
    whole = [ASKED, THEN, taking(items.mark(ASKED.id, "i1"), items.mark(ASKED.id, "3"), items.mark(ASKED.id, "0"))]
    left = items.standing(whole)
    assert [one.id for one in left] == [one.id for one in whole]
    said = list(session.messages(left[:1]))
    assert said[1] == says(Role.TOOL, replace(RESULT, id="c1"))
    assert said[-1].parts == tuple(part for number, part in enumerate(ASKED.reply.parts) if number not in (0, 4))


def test_a_turn_that_was_taken_out_says_nothing_and_cuts_off_nobody() -> None:
    left = items.standing([ASKED, THEN, taking(THEN.id)])
    assert list(session.messages(left)) == list(session.messages([ASKED]))
    assert [one.answered for one in left] == [True, False, False]
    assert [one.id for one in session.path(left, left[-1].id)] == [ASKED.id, THEN.id, left[-1].id]


def test_a_summary_that_may_say_it_is_made_anew() -> None:
    first, second = turn(0, (), WELL), turn(1, (), WELL)
    early = turn(2, (), WELL, cut=Cut(4096, first.id, 0, summary="all of it"))
    late = turn(3, (), WELL, cut=Cut(4096, second.id, 0, summary="all of it"))
    gone = turn(4, (), NOTHING, removed=(items.mark(second.id, "0"),))
    left = items.standing([first, second, early, late, gone])
    assert [one.cut for one in left] == [None, None, early.cut, None, None]


def test_what_was_made_after_it_was_taken_out_stands() -> None:
    first, second = turn(0, (), WELL), turn(1, (), WELL)
    gone = turn(2, (), NOTHING, removed=(items.mark(first.id, "0"),))
    later = turn(3, (), WELL, cut=Cut(4096, second.id, 0, summary="nothing of it"))
    assert items.standing([first, second, gone, later])[-1].cut == later.cut
    again = turn(4, (), NOTHING, removed=(items.mark(second.id, "0"),))
    assert items.standing([first, second, gone, later, again])[3].cut is None


def test_where_nothing_was_taken_out_all_stands() -> None:
    assert items.standing([ASKED, THEN]) == (ASKED, THEN)
