"""A router that knows what an engine of this board has to load first, and what it holds then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from moltbot_edge.core import prefixes
from moltbot_edge.core.catalog import Deployment, Route, Upstream
from moltbot_edge.core.chat import ChatRequest, Message, Role, Text
from moltbot_edge.core.events import Outcome, Timings, Usage
from moltbot_edge.core.head import Head
from moltbot_edge.core.joining import joined
from moltbot_edge.core.lease import Foresight
from moltbot_edge.core.routing import Candidate, RouteQuery
from moltbot_edge.core.session import Cut, Kept, Turn
from moltbot_edge.core.stable import trail
from moltbot_edge.core.store import Store
from moltbot_edge.dialects.openai_chat import OpenAIChat
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.conversation import Conversation
from moltbot_edge.gateway.experience import Experience
from moltbot_edge.gateway.foresight import Foresights
from moltbot_edge.gateway.plan import Planner
from moltbot_edge.gateway.standings import Standings
from moltbot_edge.metrics.catalogue import Metrics
from moltbot_edge.policies.fastest import Fastest

BOX = Deployment("box", Upstream("box", "http", "box", 80, "/v1"), "chat")
HERE = Deployment("here", Upstream("here", "http", "127.0.0.1", 0, "/v1", model_file="small.gguf"), "chat")
BODY = json.dumps({"model": "chat", "messages": [{"role": "user", "content": "word " * 400}]}).encode()
ENGINES_TRAIL = (1, 2, 3)
TURN = "0" * 26
NOW = 1000.0


def ask(body: bytes = BODY) -> Request:
    return Request(OpenAIChat(), "/v1/chat/completions", Head("chat"), body)


class Routed:
    """Two deployments, equally fast once they are ready, and what was seen of each candidate."""

    def __init__(self, foresight: Foresight) -> None:
        self.foresight = foresight
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.seen: dict[str, Candidate] = {}
        self.standings = Standings()
        for deployment in (BOX, HERE):
            sent = self.standings.started(deployment, len(BODY), prefixes.marks(BODY), NOW - 3)
            usage, timings = Usage(400, 10), Timings(100.0, 10.0)
            outcome = Outcome(deployment.name, 200, 5.0, 4.0, usage=usage, timings=timings, streamed=True)
            self.standings.ended(deployment, sent, outcome, NOW - 1)
        experience = Experience(1, b"", lambda: 0.0, lambda: "", Metrics().lessons)
        self.planner = Planner(
            {"chat": self.policy},
            self.standings,
            experience,
            Metrics(),
            lambda: NOW,
            lambda: 0.0,
            foresights=Foresights(self.foresee, self.rendered),
        )

    def policy(self, candidates: Sequence[Candidate], query: RouteQuery) -> Sequence[Candidate]:
        self.seen = {candidate.deployment.name: candidate for candidate in candidates}
        return Fastest()(candidates, query).order

    def foresee(self, name: str, wanted: Sequence[int]) -> Foresight:
        self.asked.append((name, tuple(wanted)))
        return self.foresight

    def rendered(self, conversation: Conversation, deployment: Deployment) -> Sequence[int]:
        return ENGINES_TRAIL

    def first(self, request: Request) -> str:
        route = Route("chat", (BOX, HERE), "fastest", 1)
        return self.planner.plan(route, request, prefixes.marks(request.body)).order[0].name


def test_an_engine_that_has_to_load_first_is_passed_over() -> None:
    routed = Routed(Foresight(30.0, 0))
    assert routed.first(ask()) == "box"
    assert routed.asked == [("here", trail(BODY))]
    assert (routed.seen["here"].ready_s, routed.seen["here"].cached_tokens) == (30.0, 0.0)
    assert routed.seen["box"].ready_s == 0.0


def test_an_engine_that_has_the_prompt_saved_is_worth_the_wait() -> None:
    assert Routed(Foresight(1.5, 390)).first(ask()) == "here"


def test_an_engine_of_which_nobody_knows_what_it_holds_is_judged_by_what_was_learned() -> None:
    routed = Routed(Foresight())
    learned = {one.deployment.name: one for one in routed.standings.candidates((HERE,), len(BODY), ())}["here"]
    routed.first(ask(b'{"model": "chat", "input": "text"}'))
    assert routed.asked == [("here", ())]
    assert routed.seen["here"].cached_tokens == learned.cached_tokens


def in_a_session(*turns: Turn) -> Request:
    request = ask()
    chat = ChatRequest(model="chat", messages=(Message(Role.USER, (Text(text="and two?"),)),))
    store = cast(Store, None)  # nothing is kept here
    request.conversation = Conversation(store, request, "talk", Kept(turns), joined(turns, chat), TURN, NOW, Metrics())
    return request


def turn(**of: Any) -> Turn:
    said = Message(Role.ASSISTANT, (Text(text="a house"),))
    return Turn(id=TURN, at=NOW, messages=(), reply=said, deployment="here", usage=Usage(300, 50, 10), **of)


def test_of_a_kept_conversation_it_is_asked_by_what_the_engine_would_be_sent() -> None:
    routed = Routed(Foresight(0.0, 390))
    assert routed.first(in_a_session(turn())) == "here"
    assert routed.asked == [("here", ENGINES_TRAIL)]
    assert routed.seen["here"].cached_tokens == 390


def test_where_the_engine_was_sent_less_than_the_whole_its_turn_says_what_it_holds() -> None:
    cut = turn(cut=Cut(1000, TURN, 1))
    routed = Routed(Foresight(0.0, 20))
    routed.first(in_a_session(cut))
    assert routed.seen["here"].cached_tokens == 350
    loads = Routed(Foresight(9.0, 0))
    loads.first(in_a_session(cut))
    assert loads.seen["here"].cached_tokens == 0


def test_who_waits_for_an_engine_that_loads_asks_nobody_else_before_its_time() -> None:
    routed = Routed(Foresight(30.0, 0))
    here, _ = routed.planner.candidates((HERE, BOX), ask(), ())
    assert here.ready_s == 30.0
