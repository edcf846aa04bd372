"""What is behind an address: the questions of `kinds`, asked on a connection of their own. Decides nothing.

Never a completion: a question costs an upstream no more than a list of its models.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from moltbot_edge.core.catalog import Upstream
from moltbot_edge.core.errors import InvalidReply, UpstreamTimeout
from moltbot_edge.upstream import kinds
from moltbot_edge.upstream.chat import Upstreams
from moltbot_edge.upstream.kinds import Answer, Found, Question
from moltbot_edge.upstream.pool import Pool

ANSWER_S: Final = 5.0  # for one answer; a board that loads a model from an SD card is slow at everything
WHOLE_S: Final = 30.0  # for all of them
ANSWER_BYTES: Final = 4 * 1024 * 1024  # OpenRouter's list of models has half a megabyte
NOT_READY: Final = frozenset({502, 503, 504})  # it loads its model, or is a proxy before nothing


class Discovery:
    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    async def find(self, upstream: Upstream, wanted: Sequence[str]) -> Found:
        """What *upstream* is, with all that it says of *wanted*, by its own names for them.

        Raises `UpstreamError` where nobody answers, or nothing that is known. Cancelled, it closes its connection.
        """
        answers: dict[Question, Answer] = {}
        pool = self._upstreams.probing_pool(upstream)
        try:
            async with asyncio.timeout(WHOLE_S):
                while questions := kinds.next_questions(upstream, wanted, answers):
                    for question in questions:
                        answers[question] = await self._answer(pool, upstream, question)
        except TimeoutError as error:
            raise UpstreamTimeout(f"{upstream.name} took longer than {WHOLE_S:g} s to say what it is") from error
        finally:
            pool.close()
        found = kinds.found(upstream, wanted, answers)
        if found is None:
            said = ", ".join(f"{answer.status} at {question.path}" for question, answer in answers.items())
            raise InvalidReply(f"{upstream.name} is nothing known here: it answered {said}")
        return found

    async def _answer(self, pool: Pool, upstream: Upstream, question: Question) -> Answer:
        asked = msgspec.structs.replace(upstream, dialect=question.dialect)
        head = self._upstreams.probing_head(asked, question.path, question.body)
        try:
            async with asyncio.timeout(ANSWER_S):
                reply = await pool.send([head] if question.body is None else [head, question.body])
                try:
                    if reply.status in NOT_READY:
                        raise InvalidReply(f"{upstream.name} is not ready: it answered {reply.status}")
                    body = await reply.read(ANSWER_BYTES)
                finally:
                    reply.close()
        except TimeoutError as error:
            raise UpstreamTimeout(f"{upstream.name} did not answer {question.path} in {ANSWER_S:g} s") from error
        return Answer(reply.status, body)
