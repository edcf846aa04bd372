"""Any turn of a session that can be written down: for properties, and for what somebody may import."""

from __future__ import annotations

import msgspec
from hypothesis import strategies as st

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
from moltbot_edge.core.session import Cut, Turn, made_id

words = st.text(max_size=30)
some = st.none() | words
anything = st.none() | words | st.dictionaries(words | st.just("type"), words | st.integers(0, 9), max_size=2)
origin = words | st.sampled_from(["openai-chat", "openai-responses", "anthropic-messages", "ollama"])
part: st.SearchStrategy[Part] = st.one_of(
    st.builds(Text, text=words, cached=st.booleans()),
    st.builds(Refusal, text=words),
    st.builds(Image, media_type=some, data=some, url=some, detail=some, id=some),
    st.builds(File, media_type=some, data=some, text=some, url=some, name=some, id=some),
    st.builds(Reasoning, text=words, seal=some, origin=st.none() | origin, redacted=st.booleans(), id=some),
    st.builds(ToolCall, id=words, name=words, arguments=words),
    st.builds(ToolResult, id=words, parts=st.just((Text(text="12"), Image(url="x"))), failed=st.booleans(), name=some),
    st.builds(Own, origin=origin, kind=words | st.just("item_reference"), raw=anything.map(msgspec.json.encode)),
)
message = st.builds(Message, st.sampled_from(Role), st.lists(part, max_size=3).map(tuple), some)
messages = st.lists(message, max_size=3).map(tuple)
tool = st.builds(
    Tool,
    name=words,
    description=some,
    parameters=st.none() | st.dictionaries(words, words, max_size=2).map(msgspec.json.encode),
)
turn = st.builds(
    Turn,
    id=st.just(made_id(1.0, bytes(10))),
    at=st.floats(0, 1e10),
    parent=st.none(),
    messages=messages,
    reply=message,
    system=st.none() | messages,
    tools=st.none() | st.lists(tool, max_size=2).map(tuple),
    model=words,
    usage=st.none() | st.builds(Usage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    dropped=st.lists(words, max_size=2).map(tuple),
    cut=st.none() | st.builds(Cut, st.integers(1, 9), words, st.integers(0, 9), st.booleans(), some),
)
