"""What became of the gateway's choices: the one copy that changes. Each count is a value of `core.experience`.

Only for policies that ask for it (`Choice.cohort`). In memory: a bounded number of exchanges, each with hashes and no
text, so that what the caller does next, or a thumb, can be counted for it; and the counts, of which some are dropped
where they become too many. What is kept on disk is the counts alone: `gateway.keeping`.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Annotated

import msgspec

from moltbot_edge.core import verdict
from moltbot_edge.core.catalog import Route
from moltbot_edge.core.dialect import ReplyObserver, ReplyReader
from moltbot_edge.core.errors import GatewayError, UpstreamRefused
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.experience import ALL, Tallies, Tally
from moltbot_edge.core.verdict import Trace, Verdict
from moltbot_edge.gateway.caller import Request
from moltbot_edge.metrics.instruments import Counter

MOST_TALLIES = 5_000  # some 1 MB; a dozen models, each in as many cohorts as a household ever asks
OF_THE_REQUEST = frozenset({400, 413, 422, 500})  # too long for it, tools that it has not, a template that fails
JUDGED_OF_A_CALLER = 8  # the latest, of each key: a conversation goes on soon, or in the window beside


Weight = Annotated[float, msgspec.Meta(ge=0)]


class Lesson(msgspec.Struct):
    """One exchange of which something may be learned. *ended_at* is monotonic, None until the reply is whole."""

    id: str
    key: str
    alias: str
    cohort: str
    trace: Trace
    limited: bool
    model: str | None = None
    reply_id: str | None = None
    ended_at: float | None = None
    judged: bool = False
    good: bool | None = None


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """One tally as it is written down."""

    alias: str
    model: str
    cohort: str
    good: Weight
    bad: Weight
    at: float


class Experience:
    """*clock* is seconds since 1970, *new_id* names an exchange as nobody guesses it; *lessons* counts signs."""

    def __init__(
        self, recent: int, secret: bytes, clock: Callable[[], float], new_id: Callable[[], str], lessons: Counter
    ) -> None:
        self.changes = 0
        self._recent = recent
        self._secret = secret
        self._clock = clock
        self._new_id = new_id
        self._lessons = lessons
        self._tallies: dict[tuple[str, str, str], Tally] = {}
        self._by_id: dict[str, Lesson] = {}
        self._by_reply: dict[tuple[str, str], Lesson] = {}
        self._latest: dict[str, deque[Lesson]] = {}
        self._readers: dict[str, Tallies] = {}

    def tallies(self, alias: str) -> Tallies:
        """For a policy to read."""
        reader = self._readers.get(alias)
        if reader is None:
            self._readers[alias] = reader = functools.partial(self._tally, alias)
        return reader

    def _tally(self, alias: str, model: str, cohort: str) -> Tally:
        tally = self._tallies.get((alias, model, cohort))
        return _NOTHING if tally is None else tally.faded(self._clock())

    def heard(self, request: Request, route: Route, now: float) -> None:
        """A request came: what it says of the replies before it.

        Looks at it only where a reply of the same caller waits for a sign.
        """
        latest = self._latest.get(request.key)
        if latest is None:
            return
        waiting = [
            lesson
            for lesson in latest
            if lesson.ended_at is not None
            and not lesson.judged
            and (lesson.alias == route.alias or now - lesson.ended_at <= verdict.LATEST_S)
        ]
        if not waiting or not (prompt := request.prompt()).text:
            return
        later = verdict.trace(prompt, self._secret)
        models = {deployment.shared_name for deployment in route.deployments}
        for lesson in reversed(waiting):
            found = verdict.of_next(
                lesson.trace,
                later,
                after_s=now - (lesson.ended_at or 0.0),
                same_alias=lesson.alias == route.alias,
                same_model=lesson.model in models,
            )
            if found is not None:
                self._judge(lesson, found)
                return

    def opened(self, request: Request, route: Route, cohort: str) -> Lesson:
        prompt = request.prompt()
        trace = verdict.trace(prompt, self._secret)
        lesson = Lesson(self._new_id(), request.key, route.alias, cohort, trace, prompt.limited)
        self._by_id[lesson.id] = lesson
        if len(self._by_id) > self._recent:
            self._forget(self._by_id.pop(next(iter(self._by_id))))
        return lesson

    def answered(self, lesson: Lesson, model: str, reply: ReplyReader | None, now: float) -> None:
        """*reply* is whole. What was not watched, is no chat, or is too large to be looked at, teaches nothing."""
        if not isinstance(reply, Watched) or (impression := reply.observer.impression()) is None:
            return
        reply_id = reply.observer.reply_id
        lesson.model = model
        lesson.ended_at = now
        if lesson.id in self._by_id:  # else so many came meanwhile that it is forgotten
            self._latest.setdefault(lesson.key, deque(maxlen=JUDGED_OF_A_CALLER)).append(lesson)
            if reply_id is not None:
                lesson.reply_id = reply_id
                self._by_reply[lesson.key, reply_id] = lesson
        shown = verdict.of_reply(impression, lesson.limited)
        if shown is not None:
            self._judge(lesson, shown)

    def failed(self, lesson: Lesson, model: str, error: GatewayError) -> None:
        """Counts only what the model made of the request: a machine that is off or busy says nothing of it."""
        if isinstance(error, UpstreamRefused) and error.answered in OF_THE_REQUEST:
            self._count(lesson.alias, model, lesson.cohort, verdict.REFUSED)

    def feedback(self, key: str, name: str, good: bool) -> bool:
        """A thumb for the exchange of this id, ours or the reply's own; the last one counts. False: no such one.

        Only who holds the key that asked can name it.
        """
        lesson = self._by_id.get(name) or self._by_reply.get((key, name))
        if lesson is None or lesson.key != key or lesson.model is None:
            return False
        if lesson.good is not good:
            if lesson.good is not None:
                before = _thumb(lesson.good)
                taken_back = Verdict("thumb-taken-back", -before.good, -before.bad)
                self._count(lesson.alias, lesson.model, lesson.cohort, taken_back)
            lesson.good = good
            self._judge(lesson, _thumb(good))
        return True

    def kept(self) -> list[Kept]:
        return [Kept(*name, tally.good, tally.bad, tally.at) for name, tally in self._tallies.items()]

    def remember(self, kept: Iterable[Kept]) -> None:
        for one in kept:
            self._tallies[one.alias, one.model, one.cohort] = Tally(one.good, one.bad, one.at)
        self._drop_some()

    def _judge(self, lesson: Lesson, found: Verdict) -> None:
        lesson.judged = True
        if lesson.model is not None:
            self._count(lesson.alias, lesson.model, lesson.cohort, found)

    def _count(self, alias: str, model: str, cohort: str, found: Verdict) -> None:
        now = self._clock()
        for name in ((alias, model, cohort), (alias, model, ALL)):
            self._tallies[name] = self._tallies.get(name, _NOTHING).after(found.good, found.bad, now)
        self.changes += 1
        self._lessons.cell(alias, found.sign).add()
        self._drop_some()

    def _drop_some(self) -> None:
        """A tenth, those that say least, so that it does not happen at every request."""
        if len(self._tallies) > MOST_TALLIES:
            by_weight = sorted(self._tallies, key=lambda name: self._tallies[name].seen)
            for name in by_weight[: len(by_weight) - MOST_TALLIES * 9 // 10]:
                del self._tallies[name]

    def _forget(self, lesson: Lesson) -> None:
        if lesson.reply_id is not None and self._by_reply.get((lesson.key, lesson.reply_id)) is lesson:
            del self._by_reply[lesson.key, lesson.reply_id]


class Watched:
    """A reader, and an observer beside it."""

    usage: Usage | None = None
    timings: Timings | None = None

    def __init__(self, reader: ReplyReader, observer: ReplyObserver) -> None:
        self._reader = reader
        self.observer = observer

    def feed(self, data: bytes) -> None:
        self._reader.feed(data)
        self.observer.feed(data)
        self._take()

    def end(self) -> None:
        self._reader.end()
        self._take()

    def _take(self) -> None:
        self.usage = self._reader.usage
        self.timings = self._reader.timings


_NOTHING = Tally()


def _thumb(good: bool) -> Verdict:
    return verdict.THUMB_UP if good else verdict.THUMB_DOWN
