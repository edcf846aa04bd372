"""What a caller sends is put where it belongs: nothing is doubled, nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.core import session
from moltbot_edge.core.chat import ChatRequest, Message, Part, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from moltbot_edge.core.joining import Joined, joined
from moltbot_edge.core.session import Turn, made_id

U, A, S, T = Role.USER, Role.ASSISTANT, Role.SYSTEM, Role.TOOL


def says(role: Role, *parts: str | Part) -> Message:
    return Message(role, tuple(Text(text=part) if isinstance(part, str) else part for part in parts))


def turns_of(*exchanges: tuple[str, str]) -> list[Turn]:
    turns: list[Turn] = []
    for number, (asked, replied) in enumerate(exchanges):
        parent = turns[-1].id if turns else None
        made = made_id(number, bytes(10), parent)
        turns.append(Turn(id=made, at=number, parent=parent, messages=(says(U, asked),), reply=says(A, replied)))
    return turns


def asks(*messages: Message, tools: tuple[Tool, ...] = ()) -> ChatRequest:
    return ChatRequest(model="chat", messages=messages, tools=tools)


def kept(turns: Sequence[Turn], result: Joined, reply: Message) -> list[Turn]:
    last = turns[-1].id if turns else None
    new = Turn(
        id=made_id(len(turns), bytes(10), last),
        at=float(len(turns)),
        parent=result.parent,
        messages=result.messages,
        reply=reply,
        system=result.system,
        tools=result.tools,
    )
    return [*turns, new]


HISTORY = turns_of(("What is a qubit?", "A bit that is both."), ("Both?", "Until you look."))
FIRST, SECOND = HISTORY
SAID = list(session.messages(HISTORY))


def test_tools_hold_until_others_are_declared() -> None:
    look, find = Tool(name="look"), Tool(name="find")
    turns = kept([], joined([], asks(says(U, "Look."), tools=(look,))), says(A, "Seen."))
    held = joined(turns, asks(says(U, "Again."))).request
    assert (held.tools, held.held_tools) == ((look,), True)
    again = joined(turns, asks(says(U, "Again."), tools=(find,))).request
    assert (again.tools, again.held_tools) == ((find,), False)


def test_a_new_message_goes_after_the_last_turn() -> None:
    found = joined(HISTORY, asks(says(U, "With mathematics.")))
    assert found.parent == SECOND.id
    assert found.messages == (says(U, "With mathematics."),)
    assert list(found.request.messages) == [*SAID, says(U, "With mathematics.")]


def test_a_whole_history_is_not_kept_again() -> None:
    found = joined(HISTORY, asks(*SAID, says(U, "With mathematics.")))
    assert (found.parent, found.recognised) == (SECOND.id, 4)
    assert found.messages == (says(U, "With mathematics."),)
    assert list(found.request.messages) == [*SAID, says(U, "With mathematics.")]


def test_the_end_of_a_history_is_recognised_wherever_it_begins() -> None:
    for begin in (1, 2, 3):
        found = joined(HISTORY, asks(*SAID[begin:], says(U, "More.")))
        assert (found.parent, found.messages) == (SECOND.id, (says(U, "More."),))


def test_spaces_at_ends_parts_and_thoughts_make_no_difference() -> None:
    sent = [
        says(U, "What is ", "a qubit?\n"),
        says(A, Reasoning(text="hm"), " A bit that is both.\n"),
        says(U, "Both?"),
        says(A, "Until you look."),
    ]
    history = turns_of(("What is", "x"), ("Both?", "Until you look."))
    first = replace(history[0], messages=(says(U, "What is", "a qubit?"),), reply=says(A, "A bit that is both."))
    found = joined([first, history[1]], asks(*sent, says(U, "More.")))
    assert (found.parent, found.recognised) == (history[1].id, 4)


def test_a_question_asked_otherwise_is_a_branch_after_the_turn_before() -> None:
    found = joined(HISTORY, asks(*SAID[:2], says(U, "How can it be both?")))
    assert (found.parent, found.messages) == (FIRST.id, (says(U, "How can it be both?"),))
    assert list(found.request.messages) == [*SAID[:2], says(U, "How can it be both?")]


def test_an_answer_that_is_asked_for_again_is_a_branch() -> None:
    found = joined(HISTORY, asks(*SAID[:3]))
    assert (found.parent, found.messages) == (FIRST.id, (SAID[2],))


def test_another_branch_is_gone_on_with_where_it_stands() -> None:
    branched = kept(HISTORY, joined(HISTORY, asks(*SAID[:2], says(U, "Why?"))), says(A, "Because."))
    back = joined(branched, asks(*SAID, says(U, "More.")))
    assert back.parent == SECOND.id
    on = joined(branched, asks(says(U, "And?")))
    assert on.parent == branched[-1].id


def test_a_history_whose_beginning_was_changed_is_a_beginning_of_its_own() -> None:
    sent = [says(U, "What is a qubit, at 10:31?"), *SAID[1:], says(U, "More.")]
    found = joined(HISTORY, asks(*sent))
    assert found.parent is None
    assert list(found.messages) == list(found.request.messages) == sent


def test_who_came_with_a_history_and_asks_otherwise_stands_beside_it() -> None:
    asked = (*SAID, says(U, "With mathematics."))
    history = kept([], joined([], asks(*asked)), says(A, "In two dimensions."))
    for last in (asked[-1], says(U, "Without mathematics.")):
        found = joined(history, asks(*SAID, last))
        assert (found.parent, found.messages) == (None, (*SAID, last))
    more = asked[-1], says(A, "In two dimensions."), says(U, "And why?")
    assert joined(history, asks(*SAID, *more)).messages == more[2:]
    shown = says(U, "Ping"), says(A, "Pong")
    history = kept(history, joined(history, asks(*shown, says(U, "And why?"))), says(A, "Because."))
    beside = joined(history, asks(*shown, says(U, "And how?")))
    assert (beside.parent, len(beside.messages)) == (history[0].id, 3)


def test_replies_that_nobody_here_gave_are_new() -> None:
    sent = [says(U, "Ping"), says(A, "Pong"), says(U, "Ping")]
    found = joined(HISTORY, asks(*sent))
    assert (found.parent, list(found.messages)) == (SECOND.id, sent)


def test_of_two_answers_that_are_alike_the_later_is_meant() -> None:
    history = turns_of(("a", "Yes."), ("b", "Yes."))
    assert joined(history, asks(says(A, "Yes."), says(U, "c"))).parent == history[1].id


def test_system_and_tools_hold_until_others_are_given() -> None:
    tool, other = Tool(name="clock"), Tool(name="lamp")
    first = joined([], asks(says(S, "Be brief."), says(U, "a"), tools=(tool,)))
    assert (first.system, first.tools) == ((says(S, "Be brief."),), (tool,))
    history = kept([], first, says(A, "b"))
    second = joined(history, asks(says(U, "c")))
    assert second.request.messages[0] == says(S, "Be brief.")
    assert second.request.tools == (tool,)
    assert (second.system, second.tools) == (None, None)
    same = joined(history, asks(says(S, "Be brief."), says(U, "c"), tools=(tool,)))
    assert (same.system, same.tools) == (None, None)
    history = kept(history, second, says(A, "d"))
    third = joined(history, asks(says(S, "Be long."), says(U, "e"), tools=(other,)))
    assert (third.system, third.tools) == ((says(S, "Be long."),), (other,))
    assert third.request.messages[0] == says(S, "Be long.")


def test_instructions_of_one_request_are_not_those_of_the_next() -> None:
    history = kept([], joined([], asks(says(S, "Be brief."), says(U, "a"))), says(A, "b"))
    found = joined(history, asks(says(U, "c")), inherits=False)
    assert [message.role for message in found.request.messages] == [U, A, U]
    history = kept(history, found, says(A, "d"))
    assert joined(history, asks(says(U, "e"))).request.messages[0].role is U


def test_a_call_that_comes_back_under_another_id_is_the_call_that_was_made() -> None:
    call = ToolCall(id="call_ours", name="clock", arguments='{"zone": "utc", "short": true}')
    history = [replace(turns_of(("What time is it?", "x"))[0], reply=says(A, call))]
    theirs = ToolCall(id="toolu_theirs", name="clock", arguments='{"short":true,"zone":"utc"}')
    result = says(T, ToolResult(id="toolu_theirs", parts=(Text(text="12:00"),)))
    found = joined(history, asks(says(U, "What time is it?"), says(A, theirs), result))
    assert (found.parent, found.recognised) == (history[0].id, 2)
    assert found.messages == (says(T, ToolResult(id="call_ours", parts=(Text(text="12:00"),))),)


def test_javascript_writes_numbers_otherwise() -> None:
    call = ToolCall(id="c", name="lamp", arguments='{"share": 1.0, "big": 1e3, "part": 0.50}')
    history = [replace(turns_of(("Light!", "x"))[0], reply=says(A, call))]
    theirs = ToolCall(id="c", name="lamp", arguments='{"share":1,"big":1000,"part":0.5}')
    result = says(T, ToolResult(id="c", parts=(Text(text="on"),)))
    found = joined(history, asks(says(U, "Light!"), says(A, theirs), result))
    assert (found.recognised, found.messages) == (2, (result,))


@pytest.mark.parametrize("nothing", [says(A), says(A, "\n"), says(A, Reasoning(text="hm"))])
@pytest.mark.parametrize("sends_it", [True, False])
def test_a_reply_that_said_nothing_stands_in_no_bodys_way(nothing: Message, sends_it: bool) -> None:
    history = turns_of(("What is a qubit?", "x"))
    history = [replace(history[0], reply=nothing)]
    sent = [says(U, "What is a qubit?"), *([nothing] if sends_it else [])]
    for asked, replied in (("Well?", "A bit that is both."), ("Both?", "Until you look.")):
        found = joined(history, asks(*sent, says(U, asked)))
        assert (found.parent, found.messages) == (history[-1].id, (says(U, asked),))
        history = kept(history, found, says(A, replied))
        sent += [says(U, asked), says(A, replied)]


def test_a_reply_that_was_begun_for_the_model_is_one_with_what_it_went_on_with() -> None:
    begun = joined([], asks(says(U, "What is a qubit?"), says(A, "A bit")))
    history = kept([], begun, says(A, " that is both."))
    found = joined(history, asks(says(U, "What is a qubit?"), says(A, "A bit that is both."), says(U, "Both?")))
    assert (found.parent, found.messages) == (history[0].id, (says(U, "Both?"),))


def test_a_reply_that_was_cut_off_goes_on_and_is_one() -> None:
    history = turns_of(("What is a qubit?", "A bit"))
    on = joined(history, asks(says(U, "What is a qubit?"), says(A, "A bit")))
    assert (on.parent, on.messages) == (history[0].id, ())
    history = kept(history, on, says(A, " that is both."))
    found = joined(history, asks(says(U, "What is a qubit?"), says(A, "A bit that is both."), says(U, "Both?")))
    assert (found.parent, found.messages) == (history[1].id, (says(U, "Both?"),))


def test_a_message_that_is_said_again_is_said_twice() -> None:
    history = turns_of(("Yes.", "And now?"))
    again = joined(history, asks(says(U, "Yes.")))
    assert (again.parent, again.messages) == (history[0].id, (says(U, "Yes."),))


def calls_two() -> list[Turn]:
    calls = ToolCall(id="call_a", name="clock"), ToolCall(id="call_b", name="lamp")
    return [replace(turns_of(("Well?", "x"))[0], reply=says(A, *calls))]


def answers(id: str, text: str, name: str | None = None) -> ToolResult:
    return ToolResult(id=id, parts=(Text(text=text),), name=name)


def test_a_result_without_an_id_answers_the_call_that_stands_open() -> None:
    in_order = joined(calls_two(), asks(says(T, answers("", "12:00"), answers("", "on"))))
    by_name = joined(calls_two(), asks(says(T, answers("", "on", "lamp"), answers("", "12:00", "clock"))))
    the_other = joined(calls_two(), asks(says(T, answers("call_a", "12:00"), answers("", "on"))))
    for found, ids in ((in_order, "ab"), (by_name, "ba"), (the_other, "ab")):
        (message,) = found.messages
        assert [part.id for part in message.parts if isinstance(part, ToolResult)] == [f"call_{one}" for one in ids]


def test_a_result_without_an_id_and_without_a_call_stays_one() -> None:
    result = says(T, answers("", "12:00"))
    assert joined(HISTORY, asks(result)).messages == (result,)


def test_a_turn_that_is_named_is_gone_on_from() -> None:
    found = joined(HISTORY, asks(says(U, "Otherwise?")), parent=FIRST.id)
    assert found.parent == FIRST.id
    assert list(found.request.messages) == [*SAID[:2], says(U, "Otherwise?")]


def test_a_session_in_which_everything_is_alike_is_looked_through_all_the_same() -> None:
    history = turns_of(*[("yes", "ok")] * 3000)
    said = list(session.messages(history))
    assert joined(history, asks(*said, says(U, "next"))).messages == (says(U, "next"),)
    changed = joined(history, asks(says(U, "no"), *said[1:], says(U, "next")))
    assert (changed.parent, len(changed.messages)) == (None, 6001)


text = st.sampled_from(["a", "b", "yes", "no", " a ", "word\n"])
exchange = st.tuples(text, text)


@given(st.lists(exchange, min_size=1, max_size=6), text, st.data())
def test_nothing_is_doubled_and_nothing_lost(exchanges: list[tuple[str, str]], new: str, data: st.DataObject) -> None:
    history = turns_of(*exchanges)
    said = list(session.messages(history))
    begin = data.draw(st.integers(0, len(said)))
    found = joined(history, asks(*said[begin:], says(U, new)))
    # Whether the whole, an end or nothing of the history is sent: the conversation is the same.
    assert list(found.request.messages) == [*said, says(U, new)]
    assert found.parent == history[-1].id


@given(st.lists(exchange, max_size=5), st.lists(st.builds(says, st.sampled_from([U, A]), text), min_size=1, max_size=8))
def test_whatever_is_sent_stands_at_the_end_of_what_is_asked(
    exchanges: list[tuple[str, str]], sent: list[Message]
) -> None:
    history = turns_of(*exchanges)
    found = joined(history, asks(*sent))
    before = list(session.messages(session.path(history, found.parent)))
    assert list(found.request.messages) == before + list(found.messages)
    assert list(found.messages) == sent[found.recognised :]
    if found.recognised:
        assert meaning(before).endswith(meaning(sent[: found.recognised]))


def meaning(messages: Sequence[Message]) -> str:
    return "".join(
        f"{message.role}{part.text.strip()}"
        for message in messages
        for part in message.parts
        if isinstance(part, Text) and part.text.strip()
    )
