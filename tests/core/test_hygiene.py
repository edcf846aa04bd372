"""Transcripts as they come, and as each kind of model can read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from moltbot_edge.core import tool_ids
from moltbot_edge.core.calls import ABORTED
from moltbot_edge.core.chat import (
    ChatRequest,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from moltbot_edge.core.errors import InvalidRequest
from moltbot_edge.core.hygiene import cleaned, in_turn, mended
from moltbot_edge.core.target import ANTHROPIC_MESSAGES, OLLAMA, OPENAI_CHAT, OPENAI_RESPONSES, Target
from moltbot_edge.core.tool_ids import IdRule, mapped

MISTRAL = replace(OPENAI_CHAT, ids=tool_ids.MISTRAL, alternates=True, names=False)
GEMMA = replace(OPENAI_CHAT, system=False, alternates=True, parallel_calls=False)
NO_TOOLS = replace(OPENAI_CHAT, tools=False)
TARGETS = [OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, OLLAMA, MISTRAL, GEMMA, NO_TOOLS]


def said(role: Role, *parts: Part | str, name: str | None = None) -> Message:
    return Message(role, tuple(Text(text=part) if isinstance(part, str) else part for part in parts), name)


def user(*parts: Part | str) -> Message:
    return said(Role.USER, *parts)


def assistant(*parts: Part | str) -> Message:
    return said(Role.ASSISTANT, *parts)


def system(*parts: str) -> Message:
    return said(Role.SYSTEM, *parts)


def call(tool_id: str, name: str = "look") -> ToolCall:
    return ToolCall(id=tool_id, name=name, arguments='{"at":"it"}')


def result(tool_id: str, text: str = "seen") -> ToolResult:
    return ToolResult(id=tool_id, parts=(Text(text=text),))


def tool(*results: ToolResult) -> Message:
    return Message(Role.TOOL, results)


def clean(messages: Sequence[Message], target: Target = OPENAI_CHAT) -> list[Message]:
    return list(cleaned(ChatRequest(model="m", messages=tuple(messages)), target).request.messages)


def test_a_transcript_that_is_right_stays_as_it_is() -> None:
    messages = [
        system("Be short."),
        user("Look."),
        assistant("I look.", call("a1"), call("a2")),
        tool(result("a1"), result("a2")),
        assistant("Seen."),
        user("Thanks."),
    ]
    assert clean(messages) == messages


def test_a_call_that_nobody_answered_gets_a_result_that_says_so() -> None:
    found = clean([user("Look."), assistant(call("a1"), call("a2")), tool(result("a2")), user("Stop.")])
    assert found[2] == tool(
        ToolResult(id="a1", parts=(Text(text=ABORTED),), failed=True, name="look"),
        result("a2"),
    )
    assert found[3] == user("Stop.")


def test_so_does_one_at_the_very_end() -> None:
    assert clean([user("Look."), assistant(call("a1"))])[-1].role is Role.TOOL


def test_a_result_without_a_call_becomes_a_users_words() -> None:
    found = clean([user("Hello."), tool(result("gone", "it rains"))])
    assert found == [user("Hello.", "(result of a tool:)", "it rains")]


def test_a_result_that_comes_too_late_says_of_which_tool_it_is() -> None:
    late = [user("Look."), assistant(call("a1")), user("Well?"), assistant("Wait."), tool(result("a1", "it rains"))]
    assert clean(late)[-1] == user("(result of look:)", "it rains")


def test_results_stand_right_behind_their_calls_whatever_came_between() -> None:
    found = clean([user("Look."), assistant(call("a1")), user("Wait!"), tool(result("a1"))])
    assert found == [user("Look."), assistant(call("a1")), tool(result("a1")), user("Wait!")]


def test_calls_that_came_as_several_messages_are_one_turn() -> None:
    found = clean([user("Look."), assistant(call("a1")), assistant(call("a2")), tool(result("a1")), tool(result("a2"))])
    assert found == [user("Look."), assistant(call("a1"), call("a2")), tool(result("a1"), result("a2"))]


def test_an_id_that_comes_again_in_a_later_turn_is_made_another() -> None:
    found = clean(
        [
            user("Look."),
            assistant(call("call_0")),
            tool(result("call_0", "one")),
            assistant(call("call_0")),
            tool(result("call_0", "two")),
        ]
    )
    ids = [part.id for message in found for part in message.parts if isinstance(part, ToolCall | ToolResult)]
    assert ids == ["call_0", "call_0", "call_0-2", "call_0-2"]


def test_mistrals_templates_get_nine_letters_and_digits() -> None:
    found = clean([user("Look."), assistant(call("toolu_01A")), tool(result("toolu_01A"))], MISTRAL)
    (called,), (answered,) = found[1].parts, found[2].parts
    assert isinstance(called, ToolCall)
    assert isinstance(answered, ToolResult)
    assert called.id == answered.id
    assert called.id.isalnum()
    assert len(called.id) == 9


@given(st.lists(st.text(min_size=1, max_size=50)), st.sampled_from([tool_ids.MISTRAL, tool_ids.GOOGLE, IdRule()]))
def test_the_mapping_of_ids_can_be_turned(ids: list[str], rule: IdRule) -> None:
    found = mapped(ids, rule)
    assert len(set(found.values())) == len(set(ids))
    assert all(rule.allows(one) for one in found.values())
    assert mapped(found.values(), rule) == {one: one for one in found.values()}


def test_a_later_system_message_stays_where_it_is_as_a_reminder() -> None:
    found = clean([system("One."), system("Two."), user("Hello."), system("Three.")])
    assert found == [
        system("One.", "Two."),
        user("Hello.", "<system-reminder>\nThree.\n</system-reminder>"),
    ]


def test_a_template_without_a_system_role_hears_it_from_the_user() -> None:
    assert clean([system("Be short."), user("Hello.")], GEMMA) == [user("Be short.", "Hello.")]


def test_a_template_that_wants_turns_gets_turns() -> None:
    found = clean([user("Look."), assistant(call("a1")), tool(result("a1")), user("And?")], MISTRAL)
    assert [message.role for message in found] == [Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.USER]


def test_a_template_of_single_calls_gets_them_one_by_one() -> None:
    found = clean([user("Look."), assistant("So.", call("a1"), call("a2")), tool(result("a1"), result("a2"))], GEMMA)
    assert found == [
        user("Look."),
        assistant("So.", call("a1")),
        tool(result("a1")),
        assistant(call("a2")),
        tool(result("a2")),
    ]


def test_two_people_stay_two_where_names_are_known_and_are_one_user_elsewhere() -> None:
    messages = [said(Role.USER, "I am Ann.", name="ann"), said(Role.USER, "I am Bob.", name="bob")]
    assert clean(messages) == messages
    found = cleaned(ChatRequest(model="m", messages=tuple(messages)), ANTHROPIC_MESSAGES)
    assert found.request.messages == (user("I am Ann.", "I am Bob."),)
    assert found.dropped == ("messages.name",)


def test_a_seal_goes_back_to_where_it_came_from_and_nowhere_else() -> None:
    thought = Reasoning(text="Hm.", seal="xyz", origin="anthropic-messages")
    messages = (user("Hello."), assistant(thought, "Hi."))
    request = ChatRequest(model="m", messages=messages)
    assert cleaned(request, ANTHROPIC_MESSAGES).request.messages == messages
    elsewhere = cleaned(request, OPENAI_CHAT)
    assert elsewhere.request.messages == (user("Hello."), assistant("Hi."))
    assert elsewhere.dropped == ("messages.reasoning",)
    assert cleaned(request, OLLAMA).request.messages[1].parts[0] == Reasoning(text="Hm.")


def test_a_refusal_is_text_where_not_everybody_knows_its_form() -> None:
    messages = [user("Shall we?"), assistant(Refusal(text="No."))]
    assert clean(messages, OPENAI_CHAT) == [messages[0], assistant("No.")]
    assert clean(messages, OPENAI_RESPONSES) == messages


def test_images_to_a_model_that_reads_text_only_are_refused_by_their_place() -> None:
    image = Image(media_type="image/png", data="AA==")
    with pytest.raises(InvalidRequest) as caught:
        clean([user("Look."), assistant("Where?"), user(image)], replace(OPENAI_CHAT, images=False))
    assert caught.value.param == "messages[2].content"


def test_a_tools_image_comes_as_a_users_where_results_are_text() -> None:
    image = Image(media_type="image/png", data="AA==")
    shot = ToolResult(id="a1", parts=(Text(text="done"), image))
    found = clean([user("Look."), assistant(call("a1")), tool(shot)])
    assert found[2] == tool(ToolResult(id="a1", parts=(Text(text="done"), Text(text="(its images follow)"))))
    assert found[3] == user("(what the tool showed:)", image)


def test_tools_for_a_model_that_takes_none_are_refused_and_those_of_the_past_are_told() -> None:
    with pytest.raises(InvalidRequest) as caught:
        cleaned(ChatRequest(model="m", messages=(user("Hi."),), tools=(Tool(name="look"),)), NO_TOOLS)
    assert caught.value.param == "tools"
    found = clean([user("Look."), assistant(call("a1")), tool(result("a1"))], NO_TOOLS)
    assert found == [
        user("Look."),
        assistant('(called look: {"at":"it"})'),
        user("(result of look:)", "seen"),
    ]


def test_tools_that_were_declared_before_are_left_out_and_named() -> None:
    asked = ChatRequest(model="m", messages=(user("Hi."),), tools=(Tool(name="look"),), held_tools=True)
    assert cleaned(asked, OPENAI_CHAT).request.tools == asked.tools
    found = cleaned(asked, NO_TOOLS)
    assert (found.request.tools, found.dropped) == ((), ("tools",))


def test_calls_that_are_told_have_their_results_behind_them_too() -> None:
    messages = [user("Look."), assistant(call("a1"), call("a2")), user("Wait!"), tool(result("a2")), assistant("Hm.")]
    assert clean(messages, NO_TOOLS) == [
        user("Look."),
        assistant('(called look: {"at":"it"})', '(called look: {"at":"it"})'),
        user("(result of look, which failed:)", ABORTED, "(result of look:)", "seen", "Wait!"),
        assistant("Hm."),
    ]


def test_what_only_its_own_dialect_can_honour_is_refused_elsewhere_by_its_path() -> None:
    request = ChatRequest(model="m", messages=(user("Hi."),), origin="anthropic-messages", vital=("tools[1]",))
    assert cleaned(request, ANTHROPIC_MESSAGES).request == request
    with pytest.raises(InvalidRequest) as caught:
        cleaned(request, OPENAI_CHAT)
    assert caught.value.param == "tools[1]"


TEXTS = st.text(alphabet="ab c", min_size=0, max_size=6)
IDS = st.sampled_from(["a1", "a2", "toolu_01-x", "call 0", "ünd"])
IMAGES = st.just(Image(media_type="image/png", data="AA=="))
PLAIN = st.builds(Text, text=TEXTS)
THOUGHTS = st.builds(
    Reasoning, text=TEXTS, seal=st.sampled_from([None, "x"]), origin=st.sampled_from([None, "anthropic-messages"])
)
CALLS = st.builds(ToolCall, id=IDS, name=st.just("look"), arguments=TEXTS)
RESULTS = st.builds(ToolResult, id=IDS, parts=st.lists(PLAIN | IMAGES, max_size=2).map(tuple))
MESSAGES = st.one_of(
    st.builds(Message, st.just(Role.SYSTEM), st.lists(PLAIN, min_size=1, max_size=2).map(tuple)),
    st.builds(
        Message,
        st.just(Role.USER),
        st.lists(PLAIN | IMAGES | RESULTS, max_size=3).map(tuple),
        st.sampled_from([None, "ann"]),
    ),
    st.builds(Message, st.just(Role.ASSISTANT), st.lists(PLAIN | CALLS | THOUGHTS, max_size=4).map(tuple)),
    st.builds(Message, st.just(Role.TOOL), st.lists(RESULTS, min_size=1, max_size=3).map(tuple)),
)
TRANSCRIPTS = st.lists(MESSAGES, max_size=8)


def words(messages: Sequence[Message]) -> str:
    found: list[str] = []
    for message in messages:
        for part in message.parts:
            match part:
                case Text(text=text) | ToolCall(arguments=text):
                    found.append(text)
                case ToolResult(parts=parts):
                    found.append(words([Message(Role.USER, parts)]))
    return "\0".join(found)


@given(TRANSCRIPTS, st.sampled_from(TARGETS))
def test_every_call_has_its_result_right_behind_it_and_every_result_its_call(
    messages: list[Message], target: Target
) -> None:
    found = clean(messages, target)
    for place, message in enumerate(found):
        called = [part.id for part in message.parts if isinstance(part, ToolCall)]
        answered = [part.id for part in message.parts if isinstance(part, ToolResult)]
        if called:
            assert message.role is Role.ASSISTANT
            assert [part.id for part in found[place + 1].parts if isinstance(part, ToolResult)] == called
        if answered:
            assert message.role is Role.TOOL
            assert [part.id for part in found[place - 1].parts if isinstance(part, ToolCall)] == answered
        assert all(target.ids.allows(one) for one in called)
    ids = Counter(part.id for message in found for part in message.parts if isinstance(part, ToolCall))
    assert not ids or max(ids.values()) == 1


@given(TRANSCRIPTS, st.sampled_from(TARGETS))
def test_no_text_is_lost(messages: list[Message], target: Target) -> None:
    found = words(clean(messages, target))
    for text in words(messages).split("\0"):
        assert not text.strip() or text in found
    count = sum(isinstance(part, Image) for message in messages for part in message.parts)
    assert sum(isinstance(part, Image) for message in clean(messages, target) for part in message.parts) >= count


@given(TRANSCRIPTS, st.sampled_from(TARGETS))
def test_what_is_clean_stays_as_it_is(messages: list[Message], target: Target) -> None:
    once = clean(messages, target)
    assert clean(once, target) == once


@given(TRANSCRIPTS, st.sampled_from(TARGETS))
def test_what_seems_to_need_nothing_would_come_back_as_it_is(messages: list[Message], target: Target) -> None:
    dropped: dict[str, None] = {}
    if in_turn(messages, target):
        assert mended(messages, target, dropped) == tuple(messages)
        assert not dropped


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("messages", "needs_nothing"),
    [
        ([user("Hi"), assistant("Yes?"), user("a", "b")], True),
        ([system("Be brief."), user("Hi"), assistant("Yes?"), user("So")], True),
        ([user(), assistant("Yes?"), user("So")], False),
        ([user("Hi"), user("You"), assistant("Yes?")], False),
        ([said(Role.USER, "Hi", name="Ann"), assistant("Yes?")], False),
        ([user("Hi"), assistant(call("1")), said(Role.TOOL, result("1"))], False),
        ([user("Hi"), assistant(Reasoning(text="Hm"), "Yes?")], False),
        ([system("Be brief."), system("And kind."), user("Hi")], False),
        ([user("Hi"), assistant("Yes?"), system("Be brief."), user("So")], False),
    ],
)
def test_of_words_that_are_said_in_turn_nothing_is_touched(
    messages: list[Message], needs_nothing: bool, target: Target
) -> None:
    needs_nothing = needs_nothing and (target.system or messages[0].role is not Role.SYSTEM)
    assert in_turn(messages, target) is needs_nothing
    if needs_nothing:
        request = ChatRequest(model="m", messages=tuple(messages))
        assert cleaned(request, target).request is request


@given(TRANSCRIPTS, st.sampled_from([MISTRAL, GEMMA, ANTHROPIC_MESSAGES]))
def test_turns_alternate_where_they_have_to(messages: list[Message], target: Target) -> None:
    roles = [message.role for message in clean(messages, target) if message.role is not Role.SYSTEM]
    assert not roles or roles[0] is Role.USER
    calls = [message for message in clean(messages, target) if message.role is not Role.TOOL]
    for one, other in pairwise(calls):
        if one.role is other.role:
            assert any(isinstance(part, ToolCall) for part in one.parts), "but for the steps of one turn"


@pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT, Role.SYSTEM])
def test_a_long_row_of_turns_is_one(role: Role) -> None:
    # Looked at anew with each that joins it, this would take an hour.
    row = [Message(role, (Text(text=str(place)),)) for place in range(50_000)]
    found = clean([Message(Role.USER, (Text(text="x"),)), *row], ANTHROPIC_MESSAGES)
    assert sum(len(message.parts) for message in found) == 50_001
    assert len(found) <= 2


def test_an_id_that_comes_a_thousandfold_is_made_as_many() -> None:
    calls = Message(Role.ASSISTANT, tuple(ToolCall(id="c", name="f") for _ in range(20_000)))
    results = Message(Role.TOOL, tuple(ToolResult(id="c", parts=(Text(text=str(place)),)) for place in range(20_000)))
    called, answered = clean([Message(Role.USER, (Text(text="x"),)), calls, results], OPENAI_CHAT)[1:]
    ids = [part.id for part in called.parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 20_000
    assert [part.id for part in answered.parts if isinstance(part, ToolResult)] == ids
