"""What a kept conversation asks, as a policy sees it."""

from __future__ import annotations

from moltbot_edge.core.chat import ChatRequest, Image, Message, Part, Role, Text, Tool, ToolCall, ToolResult
from moltbot_edge.core.prompt import READ_CHARS
from moltbot_edge.core.question import prompt

ASKS = Message(Role.USER, (Text(text="what is a casa?"),))
SAYS = Message(Role.ASSISTANT, (Text(text="a house"),))
CALLS = Message(Role.ASSISTANT, (ToolCall(id="1", name="look"),))


def told(*parts: Part) -> Message:
    return Message(Role.TOOL, (ToolResult(id="1", parts=parts),))  # type: ignore[arg-type]


def of(*messages: Message, **more: object) -> ChatRequest:
    return ChatRequest(model="chat", messages=messages, **more)  # type: ignore[arg-type]


def test_it_is_the_new_message_and_the_one_before_it() -> None:
    found = prompt(of(ASKS, SAYS, Message(Role.USER, (Text(text="and"), Text(text="two?")))))
    assert (found.text, found.before) == ("and\ntwo?", "what is a casa?")
    assert (found.turns, found.messages, found.chars) == (2, 3, 8)


def test_a_tools_result_and_a_bare_picture_are_no_questions() -> None:
    picture = Message(Role.USER, (Image(url="https://example.com/a.png"),))
    found = prompt(of(ASKS, CALLS, told(Text(text="nothing")), picture))
    assert (found.text, found.turns) == ("what is a casa?", 1)


def test_tools_and_pictures_of_the_whole_conversation_count() -> None:
    assert not prompt(of(ASKS)).tools
    assert not prompt(of(ASKS)).images
    assert prompt(of(ASKS, tools=(Tool("look"),))).tools
    picture = Image(media_type="image/png", data="AAAA")
    assert prompt(of(Message(Role.USER, (picture, Text(text="this?"))), SAYS, ASKS)).images
    assert prompt(of(ASKS, CALLS, told(picture), ASKS)).images


def test_what_programs_add_is_left_out_and_of_a_long_one_the_beginning_is_read() -> None:
    long = Message(Role.USER, (Text(text="<system-reminder>x</system-reminder>" + "why? " * 1000),))
    found = prompt(of(long))
    assert found.text.startswith("why?")
    assert len(found.text) <= READ_CHARS
    assert found.chars == 5000


def test_a_limit_that_every_request_of_a_dialect_has_is_none() -> None:
    assert prompt(of(ASKS, max_tokens=9)).limited
    assert not prompt(of(ASKS, max_tokens=9, origin="anthropic-messages")).limited
    assert prompt(of()).text == ""
