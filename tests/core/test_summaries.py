"""A summary of what was left out: which one there is, and what is asked for a new one."""

from __future__ import annotations

from moltbot_edge.core import session, summaries
from moltbot_edge.core.chat import File, Image, Message, Role, Text, ToolCall, ToolResult
from moltbot_edge.core.session import Cut, Turn


def turn(number: int, cut: Cut | None = None) -> Turn:
    said = (Message(Role.USER, (Text(text=f"question {number}"),)),)
    reply = Message(Role.ASSISTANT, (Text(text=f"answer {number}"),))
    return Turn(id=session.made_id(number, bytes(10)), at=number, messages=said, reply=reply, cut=cut)


def path(**summaries_at: str) -> tuple[Turn, ...]:
    """Five turns; ``t3="..."``: at the fourth, the first three were summed up so."""
    ids = [turn(number).id for number in range(5)]
    cuts = {int(name[1:]): Cut(4096, ids[int(name[1:]) - 1], 2, summary=text) for name, text in summaries_at.items()}
    return tuple(turn(number, cuts.get(number)) for number in range(5))


def test_the_summary_of_a_cut_is_known_again_in_a_window_of_about_its_size() -> None:
    turns = path(t2="They met.")
    assert summaries.known(turns, Cut(4096, turns[1].id, 2)) == "They met."
    assert summaries.known(turns, Cut(5000, turns[1].id, 2)) == "They met."
    assert summaries.known(turns, Cut(2048, turns[1].id, 2)) is None
    assert summaries.known(turns, Cut(4096, turns[2].id, 2)) is None
    assert summaries.known(turns, Cut(4096, turns[1].id, 2, question=True)) is None


def test_a_new_one_goes_on_from_the_longest_before_it() -> None:
    turns = path(t1="First.", t3="First, then second.")
    assert summaries.before(turns, 8) == ("First, then second.", 6)
    assert summaries.before(turns, 6) == ("First.", 2)
    assert summaries.before(turns, 2) == (None, 0)


def asked(*messages: Message, earlier: str | None = None, prompt_tokens: int = 1000) -> str:
    wish, transcript = summaries.question(earlier, messages, prompt_tokens=prompt_tokens, summary_tokens=90)
    assert "at most 60 words" in wish.parts[0].text  # type: ignore[attr-defined]
    return str(transcript.parts[0].text)  # type: ignore[attr-defined]


def test_who_said_what_is_told() -> None:
    assert asked(*turn(1).messages, turn(1).reply, earlier="They met.") == (
        "(Before that:) They met.\nUser: question 1\nAssistant: answer 1"
    )


def test_calls_and_pictures_are_told_in_words() -> None:
    said = asked(
        Message(Role.USER, (Text(text="What is it?"), Image(url="x"), File(name="a.pdf", data="eA=="))),
        Message(Role.ASSISTANT, (ToolCall(id="1", name="look", arguments='{"at": 1}'),)),
        Message(Role.TOOL, (ToolResult(id="1", parts=(Text(text="a cat"),), name="look"),)),
    )
    assert "User: What is it? (a picture) (a file: a.pdf)" in said
    assert 'called look: {"at": 1}' in said
    assert "a cat" in said


def test_of_too_much_the_end_is_read_and_of_a_long_message_its_beginning_and_its_end() -> None:
    long = Message(Role.USER, (Text(text="begin " + "x" * 5000 + " end"),))
    said = asked(*[turn(number).messages[0] for number in range(100)], long, prompt_tokens=200)
    assert len(said) <= 600
    assert "question 0" not in said
    assert "question 99" in said
    assert "begin" in said
    assert said.endswith("end")


def test_what_a_model_thinks_first_is_no_summary() -> None:
    assert summaries.cleaned("<think>Let me see.</think>\n\nThey met.", 100) == "They met."
    assert summaries.cleaned("<think>Let me see.</think>", 100) == ""
    assert len(summaries.cleaned("x" * 10_000, 100)) == 600
