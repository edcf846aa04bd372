"""Conversations made as short as the models that go on with them take: `core.fitting`, with what it has to know.

Whose window is how large is said by the configuration, by discovery, by an engine of this board, or by a refusal. Of
a deployment of which nobody knows it, all is sent. Imported at the first request of a session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from moltbot_edge.core import fitting, prefixes, summaries
from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.chat import ChatRequest, Message
from moltbot_edge.core.cuts import Size, size_of
from moltbot_edge.core.errors import PromptTooLong
from moltbot_edge.core.fitting import Fitted, Window
from moltbot_edge.core.overlong import Overlong, overlong
from moltbot_edge.core.session import Cut, Turn
from moltbot_edge.core.target import Abilities
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.summaries import Summaries
from moltbot_edge.metrics.catalogue import Metrics

if TYPE_CHECKING:
    from moltbot_edge.gateway.conversation import Conversation
    from moltbot_edge.gateway.relay import Headers

FITTED: Final = b"x-moltbot-fitted"
LEFT_OUT: Final = "session.turns"
SIZES: Final = 8_192  # turns whose sizes are known: some 200 bytes each
WINDOWS: Final = 1_000  # behind a pattern, a name may be a caller's invention
TOKENS_PER_BYTE: Final = 3  # no estimate is larger: of digits, corrected as far as anybody is believed
NARROWER: Final = 0.75  # of what was refused, where the refusal says no number


NO_NUMBERS: Final = Overlong()


class Narrowed(msgspec.Struct, frozen=True):
    """What a refusal has taught of a conversation: *rate* as `Window` has it, 0 where it said no number.

    *window_tokens*: what may fit, where it said none at all.
    """

    rate: float
    window_tokens: int | None


class Fit(msgspec.Struct):
    """What a deployment is sent of a conversation. *chat* is let go with the request's body.

    *marks* are of `prefixes`, as *body_bytes*: of what is sent, in the form of `Conversation.body`.
    """

    chat: ChatRequest | None
    prompt_tokens: int
    left_out_tokens: int
    cut: Cut
    headers: Headers
    body_bytes: int
    marks: Sequence[int]
    dropped: tuple[str, ...] = (LEFT_OUT,)


class Fitting:
    """*engine_tokens* is the context of an engine of this board as long as it has not said it."""

    def __init__(self, engine_tokens: int, made: Summaries, metrics: Metrics) -> None:
        self._engine_tokens = engine_tokens
        self._summaries = made
        self._left_out = metrics.session_turns_left_out
        self._sizes: dict[tuple[str, str, str, int, int, bool], Size] = {}
        self._windows: dict[tuple[str, str], int] = {}
        self._reserving: set[tuple[str, str]] = set()  # who refuses a prompt that fits, for the reply that was asked

    async def fit(
        self,
        request: Request,
        deployment: Deployment,
        able: Abilities | None,
        waits: Callable[[], None],
        *,
        asks: bool = True,
    ) -> None:
        """The request's conversation has it then. Raises `PromptTooLong`. *waits* is called before a model is asked.

        *able* is what is known of the model's template. *asks* False: nobody may be asked now.
        """
        conversation = request.conversation
        if conversation is None:
            return
        conversation.fits.pop(deployment.name, None)
        window = self._window(conversation, deployment, able)
        if window is None or (fit := self._fitted(conversation, request.body, window)) is None or fit.cut is None:
            return
        talk, cut = conversation.talk(), fit.cut
        told: tuple[Message, ...] = ()
        words: list[str] = []
        if window.summary_tokens:
            known = summaries.known(talk.turns, cut)
            if known is None and asks:
                waits()
            summary = await self._summaries.of(
                *(conversation.owner, conversation.session, talk, fit.place, cut),
                self._summaries.room(window.tokens),
                asks=asks,
            )
            if summary is not None:
                told, words = (summaries.message(summary),), ["summarised"]
                if known is None:
                    cut = msgspec.structs.replace(cut, summary=summary)
        self._left_out.cell("summarised" if words else "dropped").add(fit.left_out_turns)
        chat = msgspec.structs.replace(conversation.chat, messages=fitting.messages(talk, fit.place, told))
        body = conversation.body(chat)
        numbers = [f"turns={fit.left_out_turns}", f"tokens={fit.left_out_tokens}", *words]
        conversation.fits[deployment.name] = Fit(
            chat,
            fit.prompt_tokens,
            fit.left_out_tokens,
            cut,
            [(FITTED, ", ".join(numbers).encode())],
            len(body),
            prefixes.marks(body),
        )

    def cuts(self, request: Request, deployment: Deployment, able: Abilities | None) -> bool:
        """Whether something would be left out for *deployment*; also where not even the rest would fit."""
        conversation = request.conversation
        if conversation is None or (window := self._window(conversation, deployment, able)) is None:
            return False
        try:
            fit = self._fitted(conversation, request.body, window)
        except PromptTooLong:
            return True
        return fit is not None and fit.cut is not None

    def likely(self, conversation: Conversation, deployment: Deployment, able: Abilities | None) -> ChatRequest:
        """What *deployment* would be sent, as far as that can be said without asking anybody."""
        window = self._window(conversation, deployment, able)
        try:
            fit = None if window is None else self._fitted(conversation, conversation.body(), window)
        except PromptTooLong:
            fit = None
        if fit is None or fit.cut is None:
            return conversation.chat
        talk = conversation.talk()
        summary = summaries.known(talk.turns, fit.cut)
        told = () if summary is None else (summaries.message(summary),)
        return msgspec.structs.replace(conversation.chat, messages=fitting.messages(talk, fit.place, told))

    def _fitted(self, conversation: Conversation, body: bytes | bytearray, window: Window) -> Fitted | None:
        """None: all of it goes, without a closer look."""
        found = conversation.looks.get(window)
        if found is None:
            if not window.rate and _fits_surely(body, conversation, window.tokens):
                return None
            talk = conversation.talk()
            found = fitting.fitted(talk, window, lambda turn: self._size(conversation, turn, window.thoughts))
            conversation.looks[window] = found
        return found

    def narrower(self, conversation: Conversation, deployment: Deployment, said: str) -> bool:
        """Whether *deployment*, which has refused so, may be asked once more: with less of what was said before."""
        if not conversation.before or deployment.name in conversation.narrowed:
            return False
        numbers = overlong(said)
        if numbers.window_tokens is not None:
            self._windows[deployment.name, deployment.model] = numbers.window_tokens
            while len(self._windows) > WINDOWS:
                known = next(iter(self._windows))
                del self._windows[known]
                self._reserving.discard(known)
            if numbers.prompt_tokens is not None and numbers.prompt_tokens <= numbers.window_tokens:
                self._reserving.add((deployment.name, deployment.model))
        looks = [fit.estimated for window, fit in conversation.looks.items() if window.deployment == deployment.name]
        if not looks:
            looks = [fitting.fitted(conversation.talk(), Window(fitting.NO_END, deployment.name)).estimated]
        sent = looks[-1]
        rate = 0.0 if numbers.prompt_tokens is None else numbers.prompt_tokens / sent
        most = int(sent * NARROWER) if numbers == NO_NUMBERS else None
        conversation.narrowed[deployment.name] = Narrowed(rate, most)
        return True

    def _window(self, conversation: Conversation, deployment: Deployment, able: Abilities | None) -> Window | None:
        tokens = self._tokens(deployment, able)
        narrowed = conversation.narrowed.get(deployment.name)
        if narrowed is not None and narrowed.window_tokens is not None:
            tokens = narrowed.window_tokens if tokens is None else min(tokens, narrowed.window_tokens)
        if tokens is None:
            return None
        dialect = deployment.upstream.dialect
        room = self._summaries.room(tokens)
        return Window(
            tokens,
            deployment.name,
            conversation.chat.max_tokens,
            room + summaries.ROOM_TOKENS if room else 0,
            thoughts=dialect == "ollama" or (able is not None and able.chat_template_caps.supports_preserve_reasoning),
            tells=dialect != "ollama",  # which leaves out the beginning, and says nothing
            reserves=(deployment.name, deployment.model) in self._reserving,
            rate=0.0 if narrowed is None else narrowed.rate,
        )

    def _tokens(self, deployment: Deployment, able: Abilities | None) -> int | None:
        upstream, said = deployment.upstream, deployment.context_tokens
        learned = self._windows.get((deployment.name, deployment.model))
        if learned is None and able is not None and upstream.model_file is not None:
            learned = able.context_tokens
        if learned is not None:
            return learned if said is None else min(said, learned)
        if said is None and upstream.model_file is not None and not upstream.engine_command:
            return self._engine_tokens
        return said

    def _size(self, conversation: Conversation, turn: Turn, thoughts: bool) -> Size:
        """What was taken out of a turn leaves fewer messages or parts."""
        parts = len(turn.reply.parts) + sum(len(message.parts) for message in turn.messages)
        key = conversation.owner, conversation.session, turn.id, len(turn.messages), parts, thoughts
        found = self._sizes.get(key)
        if found is None:
            self._sizes[key] = found = size_of(turn, thoughts=thoughts)
            if len(self._sizes) > SIZES:
                del self._sizes[next(iter(self._sizes))]
        return found


def _fits_surely(body: bytes | bytearray, conversation: Conversation, window_tokens: int) -> bool:
    """Without a look at what is said in it: most conversations are short."""
    return (
        len(body) * TOKENS_PER_BYTE <= window_tokens * fitting.MOST_REPLY_SHARE
        and PICTURE not in body
        and FILE not in body
        and all(turn.cut is None for turn in conversation.before)
    )


# In the form of `Conversation.body`; a word in a text has its quotes escaped.
PICTURE: Final = b'"type":"image"'
FILE: Final = b'"type":"file"'
