"""What became of choices: what the caller's next request says of the last reply, and that nothing grows without end.

With a clock of the test's own: on a socket a caller would have to wait for the seconds that a person takes to read.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from moltbot_edge.core.catalog import Deployment, Route, Upstream
from moltbot_edge.core.errors import GatewayError, Unreachable, UpstreamRefused
from moltbot_edge.core.experience import ALL
from moltbot_edge.core.head import read_head
from moltbot_edge.dialects.openai_chat import OpenAIChat
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.experience import JUDGED_OF_A_CALLER, MOST_TALLIES, Experience, Kept, Lesson, Watched
from moltbot_edge.metrics.instruments import Counter

BOX = Upstream("box", "http", "192.168.1.20", 11434, "/v1")
DIALECT = OpenAIChat()
REPLY = json.dumps({"id": "chatcmpl-1", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
COHORT = "ask short"


def route(alias: str, *models: str) -> Route:
    return Route(alias, tuple(Deployment(name, BOX, name) for name in models), "complexity", 3)


AUTO, BIG, SAME = route("auto", "weak", "strong"), route("big", "huge"), route("weak", "weak")


class House:
    """An experience, and the seconds that pass."""

    def __init__(self, recent: int = 1000) -> None:
        numbers = itertools.count()
        self.signs = Counter("signs", "Requests.", ("model", "sign"))
        self.experience = Experience(recent, b"secret", lambda: 1e9, lambda: f"ex-{next(numbers)}", self.signs)
        self.now = 100.0

    def ask(self, text: str, to: Route = AUTO, key: str = "", before: tuple[str, ...] = ()) -> Lesson | None:
        """A request that the weak model answers, five seconds after whatever was before."""
        self.now += 5
        messages: list[dict[str, Any]] = []
        for question in before:
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": "hi"}]
        messages.append({"role": "user", "content": text})
        body = json.dumps({"model": to.alias, "messages": messages}).encode()
        request = Request(DIALECT, "/v1/chat/completions", read_head(body), body, key=key)
        self.experience.heard(request, to, self.now)
        if to is not AUTO:
            return None
        lesson = self.experience.opened(request, to, COHORT)
        self.reply(lesson)
        return lesson

    def reply(self, lesson: Lesson, body: bytes = REPLY) -> None:
        observer = DIALECT.observer(streamed=False)
        observer.feed(body)
        watched = Watched(DIALECT.reader(streamed=False), observer)
        self.experience.answered(lesson, "weak", watched, self.now)

    def said(self) -> dict[str, float]:
        return {sign: count.value for (_, sign), count in self.signs.series()}


QUESTION = "where can I buy rye flour in town?"


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({"text": QUESTION}, {"asked-again": 1}),
        ({"text": "where can I buy wheat flour in town?"}, {"rephrased": 1}),
        ({"text": "who was Goethe?"}, {}),
        ({"text": QUESTION, "to": BIG}, {"asked-elsewhere": 1}),
        ({"text": QUESTION, "to": SAME}, {}),
        ({"text": "and oats?", "before": (QUESTION,)}, {"goes-on": 1}),
        ({"text": "and oats?", "before": (QUESTION,), "to": BIG}, {"goes-on": 1}),
        ({"text": QUESTION, "key": "another"}, {}),
    ],
)
def test_the_next_request_tells_of_the_last_reply(later: dict[str, Any], said: dict[str, float]) -> None:
    house = House()
    house.ask(QUESTION)
    house.ask(**later)
    assert house.said() == said


def test_each_reply_is_judged_once() -> None:
    house = House()
    house.ask("one")
    for _ in range(3):
        house.ask("two", before=("one",), to=BIG)
    assert house.said() == {"goes-on": 1}


def test_a_sign_counts_for_the_cohort_and_for_the_model() -> None:
    house = House()
    lesson = house.ask("one")
    assert lesson is not None
    assert house.experience.feedback("", lesson.id, good=False)
    tallies = house.experience.tallies("auto")
    assert [tallies("weak", cohort).bad for cohort in (COHORT, ALL, "chat long")] == [1, 1, 0]
    assert tallies("strong", COHORT).seen == 0
    assert house.experience.tallies("other")("weak", COHORT).seen == 0


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (UpstreamRefused("", answered=400, body=b"", content_type=b""), True),
        (UpstreamRefused("", answered=500, body=b"", content_type=b""), True),
        (UpstreamRefused("", answered=429, body=b"", content_type=b""), False),
        (UpstreamRefused("", answered=401, body=b"", content_type=b""), False),
        (Unreachable(""), False),
    ],
)
def test_only_what_the_model_made_of_the_request_counts(error: GatewayError, counted: bool) -> None:
    house = House()
    lesson = house.ask("one")
    assert lesson is not None
    house.experience.failed(lesson, "strong", error)
    assert house.said() == ({"refused": 1} if counted else {})


def test_an_embedding_teaches_nothing() -> None:
    house = House()
    lesson = house.ask("one")
    assert lesson is not None
    again = Lesson("ex-x", "", "auto", COHORT, lesson.trace, False)
    house.reply(again, b'{"data": [{"embedding": [1, 2]}]}')
    assert again.model is None
    assert not house.experience.feedback("", "ex-x", good=True)


def test_what_is_remembered_of_exchanges_is_bounded() -> None:
    house = House(recent=10)
    lessons = [house.ask(f"question {number}") for number in range(50)]
    assert [house.experience.feedback("", one.id, good=True) for one in lessons if one is not None] == [
        *[False] * 40,
        *[True] * 10,
    ]
    assert house.experience.feedback("", "chatcmpl-1", good=False), "the last of that name"
    assert len(house.experience._by_reply) == 1
    assert len(house.experience._latest[""]) == JUDGED_OF_A_CALLER


def test_of_too_many_counts_those_go_that_say_least() -> None:
    house = House()
    house.experience.remember(
        Kept("auto", "weak", str(number), float(number), 0.0, 1e9) for number in range(MOST_TALLIES + 1)
    )
    kept = {int(one.cohort) for one in house.experience.kept()}
    assert len(kept) == MOST_TALLIES * 9 // 10
    assert min(kept) == MOST_TALLIES + 1 - len(kept)
