"""A conversation in a window: what stays, what leaves, and that a prompt's beginning moves seldom."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moltbot_edge.core import fitting, record, session, tokens
from moltbot_edge.core.chat import Image, Message, Reasoning, Role, Text, Tool, ToolCall, ToolResult
from moltbot_edge.core.cuts import Place, said
from moltbot_edge.core.errors import PromptTooLong
from moltbot_edge.core.events import Usage
from moltbot_edge.core.fitting import Fitted, Talk, Window, fitted
from moltbot_edge.core.session import Cut, Turn

WINDOW = Window(2048, "box")
SYSTEM = (Message(Role.SYSTEM, (Text(text="You are brief."),)),)
TOOL = Tool(name="weather", description="The weather of a city", parameters=b'{"type": "object"}')


def user(text: str) -> Message:
    return Message(Role.USER, (Text(text=text),))


def assistant(text: str) -> Message:
    return Message(Role.ASSISTANT, (Text(text=text),))


def call(id: str, arguments: str = "{}") -> Message:
    return Message(Role.ASSISTANT, (ToolCall(id=id, name="weather", arguments=arguments),))


def result(id: str, text: str = "sunny") -> Message:
    return Message(Role.TOOL, (ToolResult(id=id, parts=(Text(text=text),)),))


def words(some_tokens: int) -> str:
    return "abc" * some_tokens


class Chat:
    """A session that goes on by what `fitted` says of each request, as the gateway keeps it."""

    def __init__(self, window: Window = WINDOW) -> None:
        self.turns: tuple[Turn, ...] = ()
        self.window = window

    def talk(self, *new: Message, tools: tuple[Tool, ...] = ()) -> Talk:
        return Talk(SYSTEM, tools, self.turns, new)

    def asks(self, *new: Message, reply: Message | None = None, counted: float | None = None) -> Fitted:
        """*counted* is how many tokens the model says to one of the estimate."""
        fit = fitted(self.talk(*new), self.window)
        said_id = session.made_id(1.0, bytes(10), self.turns[-1].id if self.turns else None)
        turn = Turn(
            id=said_id,
            at=1.0,
            messages=new,
            reply=assistant("Yes.") if reply is None else reply,
            parent=self.turns[-1].id if self.turns else None,
            system=None if self.turns else SYSTEM,
            deployment=self.window.deployment,
            usage=None if counted is None else Usage(round(fit.estimated * counted), 3),
            cut=fit.cut,
        )
        self.turns = (*self.turns, record.read(record.written(turn)))  # as a restart, or another gateway, has it
        return fit

    def sent(self, fit: Fitted, *new: Message) -> tuple[Message, ...]:
        return fitting.messages(self.talk(*new), fit.place)


def test_a_conversation_that_fits_goes_whole() -> None:
    chat = Chat()
    for question in range(5):
        fit = chat.asks(user(f"question {question}"))
        assert fit.cut is None
        assert fit.place == Place()
    talk = chat.talk(user("and now?"))
    sent = fitting.messages(talk, fitted(talk, WINDOW).place)
    assert sent == (*SYSTEM, *session.messages(chat.turns), user("and now?"))


def test_above_85_percent_it_is_cut_to_half_and_stays_so_until_85_are_reached_again() -> None:
    chat = Chat()
    sizes, cuts = [], []
    for question in range(60):
        fit = chat.asks(user(words(100) + str(question)))
        sizes.append(fit.prompt_tokens)
        cuts.append(fit.place.begins)
    assert max(sizes) <= 0.85 * 2048
    moves = [later for earlier, later in pairwise(cuts) if later != earlier]
    assert cuts == sorted(cuts)
    assert 5 <= len(moves) <= 12, "a cut lasts for some turns"
    after_moves = [sizes[at + 1] for at in range(59) if cuts[at + 1] != cuts[at]]
    assert all(0.40 * 2048 <= one <= 0.5 * 2048 for one in after_moves)


def test_what_is_left_out_is_counted() -> None:
    chat = Chat()
    for _ in range(20):
        fit = chat.asks(user(words(200)))
    assert fit.left_out_turns == fit.place.begins // 2
    assert fit.left_out_tokens == pytest.approx(fit.left_out_turns * 220, rel=0.1)


def test_the_last_turn_stays_whole_although_more_than_half_is_taken() -> None:
    chat = Chat()
    chat.asks(user(words(400)))
    chat.asks(user(words(900)))
    fit = chat.asks(user(words(500)))
    assert fit.place == Place(2)
    assert 0.5 * 2048 < fit.prompt_tokens <= 0.85 * 2048


def test_a_message_that_fits_alone_goes_alone() -> None:
    chat = Chat()
    chat.asks(user(words(1500)))
    fit = chat.asks(user(words(1700)))
    assert fit.place == Place(2)
    assert chat.sent(fit) == (*SYSTEM, *session.messages(chat.turns[1:]))


def test_a_call_and_its_result_go_together_or_not_at_all() -> None:
    chat = Chat()
    chat.asks(user(words(300)), reply=call("1"))
    chat.asks(result("1", words(600)))
    chat.asks(user(words(200)), reply=call("2"))
    fit = chat.asks(result("2", words(700)))
    assert fit.place == Place(4), "from the question to which the answered call belongs"


def test_inside_a_long_run_of_calls_the_question_stays() -> None:
    chat = Chat()
    chat.asks(user("What is the weather everywhere?"), reply=call("0"))
    for place in range(30):
        fit = chat.asks(result(str(place), words(150)), reply=call(str(place + 1)))
    assert fit.place.question == 0
    assert fit.place.begins % 2 == 1, "it goes on with a call"
    sent = chat.sent(fit, result("30"))
    assert sent[1] == user("What is the weather everywhere?")
    assert sent[2].parts[0] == said(chat.turns[fit.place.begins // 2])[-1].parts[0]


def test_a_run_of_calls_that_is_over_leaves_with_its_question() -> None:
    chat = Chat()
    chat.asks(user("What is the weather everywhere?"), reply=call("0"))
    for place in range(30):
        chat.asks(result(str(place), words(150)), reply=call(str(place + 1)))
    chat.asks(result("30"), reply=assistant("It is sunny."))
    for _ in range(8):
        fit = chat.asks(user(words(150)))
    assert fit.place.question is None
    assert chat.sent(fit)[1].role is Role.USER


def test_a_smaller_window_goes_on_from_the_cut_of_a_larger_one_and_not_the_other_way_round() -> None:
    chat = Chat()
    for _ in range(20):
        chat.asks(user(words(200)))
    wide, talk = Window(8192, "wide"), chat.talk(user("now with mathematics"))
    assert fitted(talk, wide).cut is None
    narrow = fitted(talk, Window(1024, "narrow"))
    assert narrow.place.begins > fitted(talk, WINDOW).place.begins


def test_what_the_model_counts_corrects_the_estimate() -> None:
    chat = Chat(Window(4096, "box"))
    for _ in range(5):
        chat.asks(user(words(100)), counted=0.6)
    fit = chat.asks(user("?"))
    assert fit.prompt_tokens == pytest.approx(0.6 * 1.05 * fit.estimated, rel=0.05)
    other = fitted(chat.talk(user("?")), Window(4096, "another"))
    assert other.prompt_tokens == pytest.approx(other.estimated, rel=0.05)


def test_a_count_that_nobody_believes_corrects_nothing() -> None:
    chat = Chat()
    for _ in range(5):
        chat.asks(user(words(100)), counted=0.1)  # an engine that counted only what was not cached
    fit = chat.asks(user("?"))
    assert fit.prompt_tokens >= fit.estimated


def test_what_was_counted_is_set_against_what_was_sent_then() -> None:
    """Some clients put the time of day into the system text, and others have new tools each time."""
    chat = Chat()
    for _ in range(4):
        chat.asks(user(words(100)), counted=0.7)
    tools = tuple(msgspec.structs.replace(TOOL, name=f"{words(50)}{place}") for place in range(10))
    fit = fitted(Talk(SYSTEM, tools, chat.turns, (user("?"),), steady=False), WINDOW)
    assert fit.prompt_tokens == pytest.approx(0.7 * 1.05 * fit.estimated, rel=0.03)


def test_what_was_counted_with_pictures_says_nothing() -> None:
    chat = Chat(Window(8192, "box"))
    chat.asks(Message(Role.USER, (Image(url="x"),)), counted=0.6)
    fit = chat.asks(user(words(100)))
    assert fit.prompt_tokens == fit.estimated + 1


def test_thoughts_count_where_they_are_sent_again() -> None:
    chat = Chat()
    chat.asks(user("?"), reply=Message(Role.ASSISTANT, (Reasoning(text=words(300)), Text(text="Yes."))))
    talk = chat.talk(user("!"))
    silent = fitted(talk, WINDOW)
    thinking = fitted(talk, msgspec.structs.replace(WINDOW, thoughts=True))
    assert thinking.prompt_tokens - silent.prompt_tokens == 301


def test_room_for_a_long_reply_is_kept_free() -> None:
    chat = Chat(msgspec.structs.replace(WINDOW, reply_tokens=800))
    assert max(chat.asks(user(words(100))).prompt_tokens for _ in range(30)) <= 2048 - 800


def test_a_reply_as_long_as_the_window_takes_no_more_than_half_of_it() -> None:
    chat = Chat(msgspec.structs.replace(WINDOW, reply_tokens=100_000))
    sizes = [chat.asks(user(words(100))).prompt_tokens for _ in range(30)]
    assert 700 <= max(sizes) <= 1024


def test_who_counts_the_reply_as_taken_has_all_of_it_free() -> None:
    chat = Chat(msgspec.structs.replace(WINDOW, reply_tokens=1500, reserves=True))
    assert max(chat.asks(user(words(50))).prompt_tokens for _ in range(30)) <= 2048 - 1500


def test_a_summary_has_its_room() -> None:
    window = msgspec.structs.replace(WINDOW, summary_tokens=256)
    chat, without = Chat(window), Chat()
    for _ in range(30):
        with_it, plain = chat.asks(user(words(100))), without.asks(user(words(100)))
        assert with_it.prompt_tokens <= 0.85 * 2048
    assert with_it.place.begins > plain.place.begins - 2


@pytest.mark.parametrize("tells", [True, False])
def test_what_cannot_fit_is_refused_with_the_numbers(tells: bool) -> None:
    window = msgspec.structs.replace(WINDOW, tells=tells)
    with pytest.raises(PromptTooLong) as raised:
        fitted(Talk(SYSTEM, (TOOL,), (), (user(words(9000)),)), window)
    said = raised.value.message
    assert "prompt is too long" in said
    assert "the message 9009" in said
    assert "the system text" in said
    assert "the tools" in said
    assert "box takes 2048" in said
    assert raised.value.retryable, "another deployment may have a larger window"


def test_what_may_fit_is_left_to_a_model_that_says_so_itself() -> None:
    message = user(words(2100))  # two thirds of it, were it English
    assert fitted(Talk((), (), (), (message,)), WINDOW).cut is None
    with pytest.raises(PromptTooLong):
        fitted(Talk((), (), (), (message,)), msgspec.structs.replace(WINDOW, tells=False))


def test_a_picture_is_refused_by_nobody_but_who_sees_it() -> None:
    talk = Talk((), (), (), (Message(Role.USER, (Image(url="x"),)),))
    window = msgspec.structs.replace(WINDOW, tokens=512)
    assert fitted(talk, window).cut is None
    with pytest.raises(PromptTooLong):
        fitted(talk, msgspec.structs.replace(window, tells=False))


def test_what_the_model_just_counted_is_believed() -> None:
    message = user(words(1500))
    with pytest.raises(PromptTooLong):
        fitted(Talk((), (), (), (message,)), msgspec.structs.replace(WINDOW, rate=2.0))


def test_the_calls_that_a_message_answers_are_named_among_what_cannot_fit() -> None:
    chat = Chat(Window(100_000, "wide"))
    chat.asks(user("?"), reply=call("1", words(5000)))
    with pytest.raises(PromptTooLong, match="the calls that it answers 5"):
        fitted(chat.talk(result("1")), WINDOW)


def test_a_cut_of_a_turn_that_was_lost_is_no_cut() -> None:
    chat = Chat()
    chat.asks(user("?"))
    chat.turns = (msgspec.structs.replace(chat.turns[0], cut=Cut(2048, "0" * 26, 1)),)
    assert fitted(chat.talk(user("!")), WINDOW).cut is None


@pytest.mark.parametrize("messages", [-7, 0, 10**30])
@pytest.mark.parametrize("question", [True, False])
def test_a_cut_that_somebody_made_up_is_borne(messages: int, question: bool) -> None:
    chat = Chat()
    for _ in range(4):
        chat.asks(user(words(100)), counted=1.0)
    made_up = Cut(2048, chat.turns[1].id, messages, question, "")
    chat.turns = tuple(msgspec.structs.replace(turn, cut=made_up) for turn in chat.turns)
    fit = chat.asks(user("!"))
    assert 0 <= fit.place.begins <= 8
    assert 0 < fit.prompt_tokens <= 0.85 * 2048


# Properties, of conversations that nobody would think of.

text = st.integers(1, 900).map(words)
exchange = st.one_of(
    st.tuples(st.just("says"), text, text),
    st.tuples(st.just("calls"), text, st.lists(text, min_size=1, max_size=6)),
)


def requests_of(exchanges: list[tuple[str, str, str | list[str]]]) -> list[tuple[tuple[Message, ...], Message]]:
    """What is asked and what is replied, request by request."""
    found: list[tuple[tuple[Message, ...], Message]] = []
    for number, (_, asked, then) in enumerate(exchanges):
        if isinstance(then, str):
            found.append(((user(asked),), assistant(then)))
            continue
        new = (user(asked),)
        for step, outcome in enumerate(then):
            found.append((new, call(f"{number}-{step}", asked)))
            new = (result(f"{number}-{step}", outcome),)
        found.append((new, assistant("Done.")))
    return found


@given(
    st.lists(exchange, min_size=1, max_size=12),
    st.sampled_from([512, 1024, 2048, 4096]),
    st.sampled_from([None, 50, 100_000]),
    st.sampled_from([0, 64]),
    st.sampled_from([None, 0.7, 1.4]),
)
def test_in_every_conversation(
    exchanges: list[tuple[str, str, str | list[str]]],
    window_tokens: int,
    reply_tokens: int | None,
    summary_tokens: int,
    counted: float | None,
) -> None:
    window = Window(window_tokens, "box", reply_tokens, summary_tokens, tells=False)
    chat, last = Chat(window), Place()
    before: tuple[Message, ...] = ()
    for new, reply in requests_of(exchanges):
        talk = chat.talk(*new)
        every = list(session.messages(chat.turns))
        try:
            fit = fitted(talk, window)
        except PromptTooLong:
            return  # a caller would have to say less, or ask another model
        assert fit == fitted(talk, window)
        sent = fitting.messages(talk, fit.place)
        place = fit.place

        assert fit.prompt_tokens <= window_tokens, "never more than the window"
        assert sent[:1] == SYSTEM
        assert sent[len(sent) - len(new) :] == new
        assert place.begins >= last.begins, "a cut only moves forward"
        back = place.question is not None and place.question < last.begins and place.question != last.question
        assert not back, "what was left out does not come back"
        assert fit.estimated == sum(map(tokens.of_message, sent)), "the sizes are those of what is sent"
        if place == last:
            assert sent[: len(before)] == before, "the same beginning, so that it is cached"
        if not last.begins and fit.cut is None:
            assert sent == (*SYSTEM, *every, *new)
        calls = {part.id for message in sent for part in message.parts if isinstance(part, ToolCall)}
        results = {part.id for message in sent for part in message.parts if isinstance(part, ToolResult)}
        assert results <= calls, "no result without its call"
        assert calls <= results, "no call without its result"
        gone = fitting.left_out(talk, place)
        assert len(gone) + len(sent) == len(SYSTEM) + len(every) + len(new)

        chat.asks(*new, reply=reply, counted=counted)
        before, last = sent, place


@given(st.text(max_size=200))
def test_no_text_is_more_tokens_than_bytes(some: str) -> None:
    assert tokens.of_text(some) <= len(some.encode("utf-8", "replace")) + 1


def test_digits_and_foreign_letters_are_tokens_of_their_own() -> None:
    assert tokens.of_text("1234567890" * 10) >= 100
    assert tokens.of_text("量子力学描述了原子") >= 14
    assert tokens.of_text("It is a plain sentence of English words.") == 14
