"""What the writers write passes what the vendors publish of their own dialects."""

from __future__ import annotations

import pytest
from dialects.conversations import CHAT_PATHS, DIALECTS, HEAD, REPLIES, REQUESTS, asked, codec, event_lists, requests
from dialects.vendors import check_reply, check_request
from hypothesis import given, settings
from hypothesis import strategies as st

some = settings(max_examples=settings().max_examples // 5)


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_a_reply_is_as_the_vendor_has_it(name: str, streamed: bool, data: st.DataObject) -> None:
    everything = frozenset().union(*REPLIES.values())
    events = data.draw(event_lists(everything))
    writer = codec(name).event_writer(asked(name, streamed), HEAD, CHAT_PATHS[name])
    check_reply(name, writer.write(events) + writer.end(), streamed=streamed)


@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_a_request_is_as_the_vendor_has_it(name: str, data: st.DataObject) -> None:
    check_request(name, codec(name).write_request(data.draw(requests(REQUESTS[name], name))).body)


@pytest.mark.parametrize("name", DIALECTS)
@some
@given(data=st.data())
def test_a_reply_says_its_request_again_as_the_vendor_has_it(name: str, data: st.DataObject) -> None:
    request = data.draw(requests(REQUESTS[name], name))
    heard = codec(name).read_request(CHAT_PATHS[name], codec(name).write_request(request).body)
    writer = codec(name).event_writer(heard, HEAD, CHAT_PATHS[name])
    body = writer.write(data.draw(event_lists(REPLIES[name]))) + writer.end()
    check_reply(name, body, streamed=heard.stream)
