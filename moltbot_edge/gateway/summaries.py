"""Summaries of what does not fit, made by a model of the user's choice: asked through the gateway itself.

Each is made once, and kept in the turn for which it was made; the latest are here too, for a turn that failed. While
one is made nothing is held but the session, which the question has not: no engine, no upstream's place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from moltbot_edge.core import fitting, summaries
from moltbot_edge.core.chat import Message, Text
from moltbot_edge.core.cuts import Place
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import GatewayError
from moltbot_edge.core.fitting import Talk
from moltbot_edge.core.session import Cut
from moltbot_edge.gateway.caller import Caller, HeaderLines, Request

PATH: Final = "/v1/chat/completions"
KEPT: Final = 64  # made, or failed: some 2 KiB each
FAILED_S: Final = 600.0  # before it is tried again: each try costs a caller up to `sessions.summary_s`
LEAST_TOKENS: Final = 48  # fewer say nothing
WINDOW_SHARE: Final = 8  # of a window it takes at most: what was really said is worth more
REPLY_BYTES: Final = 1024 * 1024  # a model that thinks first may say a lot

log = logging.getLogger(__name__)

# Whose session, its name, where it is cut, in a window of which class, and what is left out: of that, something may
# have been taken out since.
Key = tuple[str, str, Cut, int]


class SummarySettings(msgspec.Struct, frozen=True):
    """Defaults and their reasons are in `config.schema.Sessions`. Without a *model* there are none."""

    model: str | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    longest_s: float = 0.0


class Summaries:
    """*answer* is the exchange's, *dialect* the one in which it is asked; *now* is `time.monotonic`."""

    def __init__(
        self,
        settings: SummarySettings,
        answer: Callable[[Request, Caller], Awaitable[None]],
        dialect: Dialect,
        now: Callable[[], float],
    ) -> None:
        self.settings = settings
        self._answer = answer
        self._dialect = dialect
        self._now = now
        self._made: dict[Key, str | float] = {}  # or when it failed
        self._making: dict[Key, asyncio.Event] = {}

    def room(self, window_tokens: int) -> int:
        """Tokens of a summary in such a window; 0: there is none."""
        some = min(self.settings.tokens, window_tokens // WINDOW_SHARE)
        return some if self.settings.model is not None and some >= LEAST_TOKENS else 0

    async def of(
        self, owner: str, session: str, talk: Talk, place: Place, cut: Cut, summary_tokens: int, *, asks: bool
    ) -> str | None:
        """None where there is none: nobody is to be asked (*asks*), or who was asked failed."""
        known = summaries.known(talk.turns, cut)
        if known is not None:
            return known
        question = self._question(talk, place, summary_tokens)
        where = msgspec.structs.replace(cut, window_tokens=summaries.window_class(cut.window_tokens))
        key = owner, session, where, hash(_text(question[-1]))
        while (making := self._making.get(key)) is not None and asks:
            await making.wait()
        found = self._made.get(key)
        if isinstance(found, str):
            return found
        if not asks or (found is not None and self._now() - found < FAILED_S):
            return None
        self._making[key] = made = asyncio.Event()
        try:
            text = await self._asked(owner, question, summary_tokens)
        finally:
            del self._making[key]
            made.set()
        self._made.pop(key, None)
        self._made[key] = self._now() if text is None else text
        while len(self._made) > KEPT:
            del self._made[next(iter(self._made))]
        return text

    def _question(self, talk: Talk, place: Place, summary_tokens: int) -> tuple[Message, ...]:
        earlier, after = summaries.before(talk.turns, place.begins)
        return summaries.question(
            earlier,
            fitting.left_out(talk, place, after),
            prompt_tokens=self.settings.prompt_tokens,
            summary_tokens=summary_tokens,
        )

    async def _asked(self, owner: str, question: Sequence[Message], summary_tokens: int) -> str | None:
        settings = self.settings
        body = msgspec.json.encode(
            {
                "model": settings.model,
                "messages": [{"role": message.role, "content": _text(message)} for message in question],
                "max_tokens": summary_tokens,
                "temperature": 0,
            }
        )
        heard = _Heard()
        try:
            head = self._dialect.head(PATH, b"application/json", body)
            async with asyncio.timeout(settings.longest_s):
                await self._answer(Request(self._dialect, PATH, head, body, key=owner), heard)
        except TimeoutError:
            log.warning("no summary: %s took longer than %g s (sessions.summary_s)", settings.model, settings.longest_s)
            return None
        except GatewayError as error:
            log.warning("no summary: %s", error.message)
            return None
        text = summaries.cleaned(heard.text(), summary_tokens)
        if not text:
            log.warning("no summary: %s answered %d, and nothing of use", settings.model, heard.status)
        return text or None


def _text(message: Message) -> str:
    return "".join(part.text for part in message.parts if isinstance(part, Text))


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    choices: list[_Choice]


_reply = msgspec.json.Decoder(_Reply).decode


class _Heard:
    """A `Caller` that is ourselves."""

    def __init__(self) -> None:
        self.writes = 0
        self.status = 0
        self._said: list[bytes] = []
        self._left_bytes = REPLY_BYTES

    def start(self, status: int, headers: HeaderLines, length: int | None) -> None:
        self.status = status

    def write(self, data: bytes) -> bool:
        self.writes += 1
        self._left_bytes -= len(data)
        if self._left_bytes >= 0:
            self._said.append(bytes(data))
        return True

    async def drained(self) -> None: ...

    def finish(self, data: bytes = b"") -> None:
        self.write(data)

    def cut(self) -> None:
        self._said.clear()

    def text(self) -> str:
        if self.status != 200:
            return ""
        try:
            reply = _reply(b"".join(self._said))
        except UNREADABLE:
            return ""
        return (reply.choices[0].message.content or "") if reply.choices else ""
