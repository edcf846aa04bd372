"""One request's share of a session: what was said before, joined with what comes now; then the turn that is kept.

How a session is found and held for it is `sessions`. What a store cannot keep costs the caller no reply: its log
says so. Imported at the first request that asks for a session.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from moltbot_edge.core import cuts, items, references, response_id
from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.decoding import UNREADABLE
from moltbot_edge.core.dialect import Place
from moltbot_edge.core.errors import (
    GatewayError,
    InvalidRequest,
    SessionConflict,
    SessionTooLarge,
    StoreError,
    UnknownPrevious,
    UnknownSession,
)
from moltbot_edge.core.fitting import Fitted, Talk, Window
from moltbot_edge.core.fold import Fold
from moltbot_edge.core.head import BY_ITEMS, BY_NAME, Head, check_text
from moltbot_edge.core.joining import Joined, joined
from moltbot_edge.core.prompt import Prompt
from moltbot_edge.core.session import NOTHING, Kept, Turn
from moltbot_edge.core.staying import Held
from moltbot_edge.core.store import Store
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.room import Share
from moltbot_edge.gateway.unkept import after
from moltbot_edge.metrics.catalogue import Metrics

if TYPE_CHECKING:
    from moltbot_edge.gateway.fit import Fit, Narrowed
    from moltbot_edge.gateway.relay import Headers

log = logging.getLogger(__name__)

SESSION: Final = b"x-moltbot-session"
TURN: Final = b"x-moltbot-turn"

EMPTY: Final = ChatRequest(model="", messages=())

TRIES: Final = 32  # each time somebody else was faster, and so each is one branch more

_encode = msgspec.json.Encoder().encode
_notes = msgspec.json.Decoder(dict[str, str] | None).decode


class Conversation:
    """*turn_id* is of the turn that will be kept, and known before its reply is. *last* is the turn before it.

    *chat* is the whole conversation, as it is kept. *fits* has what there is of it for a deployment whose window is
    smaller, *looks* what was found for each window, and *narrowed* what a refusal taught of it. *unseen*: there may be
    more of it, which cannot be read now.
    """

    def __init__(
        self,
        store: Store,
        request: Request,
        name: str,
        kept: Kept | None,
        whole: Joined,
        turn_id: str,
        at: float,
        metrics: Metrics,
    ) -> None:
        self.owner = request.key
        self.session = name
        self.turn_id = turn_id
        self.chat = whole.request
        self.before: Sequence[Turn] = () if kept is None else whole.before
        self.last = next((turn for turn in reversed(self.before) if turn.answered), None)
        self._appends = request.head.appends
        self.place = Place(name, turn_id if self._appends else None, request.head.parent)
        self.headers: Headers = [(SESSION, name.encode())]
        if self._appends:
            self.headers.append((TURN, turn_id.encode()))
        self.fits: dict[str, Fit] = {}  # by deployment
        self.looks: dict[Window, Fitted] = {}
        self.narrowed: dict[str, Narrowed] = {}
        self._held: Held | None = None
        self._store = store
        self.share: Share | None = None  # of memory
        self.unseen = False
        self._turns = metrics.session_turns
        self._leaf = None if kept is None else kept.stands
        self._turn = Turn(
            id=turn_id,
            at=at,
            messages=whole.messages,
            reply=NOTHING,
            parent=whole.parent,
            system=whole.system,
            tools=whole.tools,
            model=request.head.model,
            dialect=request.dialect.name,
            metadata=_metadata(whole.request),
        )

    def body(self, chat: ChatRequest | None = None) -> bytes:
        """What the router measures and marks in the place of a request's body: steady from turn to turn.

        Of *chat*, where that is what is left of it.
        """
        chat = self.chat if chat is None else chat
        return _encode({"tools": chat.tools, "messages": chat.messages} if chat.tools else {"messages": chat.messages})

    def prompt(self) -> Prompt:
        from moltbot_edge.core.question import prompt  # only where a policy looks at it

        return prompt(self.chat)

    @property
    def held(self) -> Held:
        if self._held is None:
            self._held = Held(self.before, len(_encode(self._turn.messages)))
        return self._held

    def talk(self) -> Talk:
        turn, messages = self._turn, self.chat.messages
        opening = len(messages) - len(turn.messages) - sum(len(cuts.said(one)) for one in self.before)
        steady = turn.system is None and turn.tools is None
        return Talk(messages[:opening], self.chat.tools, self.before, turn.messages, steady)

    def chat_for(self, deployment: Deployment) -> ChatRequest:
        """As short as *deployment* takes, once `Fitting.fit` has seen to it."""
        fit = self.fits.get(deployment.name)
        return self.chat if fit is None or fit.chat is None else fit.chat

    def drop(self) -> None:
        """No other upstream will need what was said before."""
        self.chat = EMPTY
        self.before = ()
        if self.share is not None:
            self.share.drop()
        for fit in self.fits.values():
            fit.chat = None

    async def keep(self, fold: Fold, deployment: Deployment, dropped: Sequence[str]) -> None:
        """Durable when it returns, if it can be. Raises nothing of a store's."""
        if not self._appends:
            return
        if not fold.whole:
            self._turns.cell(SessionTooLarge.code).add()
            log.error("a turn of the session %r is not kept: its reply is longer than a session may be", self.session)
            return
        turn = msgspec.structs.replace(
            self._turn,
            reply=fold.message(),
            deployment=deployment.name,
            finish=fold.finish,
            usage=fold.usage,
            dropped=tuple(dropped),
            cut=None if (fit := self.fits.get(deployment.name)) is None else fit.cut,
        )
        try:
            await self._append(turn)
        except GatewayError as error:
            self._turns.cell(error.code or error.kind).add()
            # What is wrong with a store is said once, by who watches it.
            level = logging.DEBUG if isinstance(error, StoreError) else logging.ERROR
            log.log(level, "a turn of the session %r is not kept: %s", self.session, error.message)
            return
        self._turns.cell("kept").add()

    async def _append(self, turn: Turn) -> None:
        for _ in range(TRIES):
            try:
                await self._store.append(self.owner, self.session, turn, self._leaf)
                return
            except SessionConflict:  # another one went on meanwhile; or the session left, being idle
                kept = await self._store.load(self.owner, self.session)
                self._leaf = None if kept is None else kept.stands
                if kept is not None and self.unseen:
                    turn = after(turn, None, kept)
        await self._store.append(self.owner, self.session, turn, self._leaf)


def read(request: Request) -> ChatRequest:
    """What comes now. Raises `InvalidRequest`."""
    check_text(request.body)
    chat = request.dialect.codec().read_request(request.path, request.body)
    if chat.choices is not None and chat.choices > 1:
        raise InvalidRequest("a conversation that is kept goes on with one reply: leave `n` out", param="n")
    return chat


def goes_on(head: Head, name: str, kept: Kept | None, chat: ChatRequest) -> tuple[Kept | None, Joined]:
    """What is kept, without what was taken out of it, and *chat* joined with it.

    Raises `UnknownSession`, `UnknownPrevious` and `UnknownItem` where what it shall go on with is not there.
    """
    turns = () if kept is None else kept.turns
    chat = references.resolved(chat, name, turns)
    if kept is not None:
        turns = items.standing(turns)
        if turns is not kept.turns:
            kept = msgspec.structs.replace(kept, turns=turns)
    if head.parent is not None:
        if all(turn.id != head.parent or not turn.answered for turn in turns):
            raise _unknown(head.asked_by, name, head.parent)
    elif kept is None and head.asked_by not in (BY_NAME, BY_ITEMS):
        raise UnknownSession(f"Conversation with id {name!r} not found.", param=head.asked_by)
    if head.session is not None and head.asked_by == BY_NAME:
        chat = msgspec.structs.replace(chat, opening=None)  # in every dialect the same: what it begins with opens it
    whole = head.asked_by == BY_ITEMS
    return kept, joined(turns, chat, parent=head.parent, inherits=head.inherits, from_beginning=whole)


def _unknown(field: str, name: str, turn: str) -> UnknownPrevious:
    if field == "previous_response_id":
        return UnknownPrevious(f"Previous response with id {response_id.written(name, turn)!r} not found.", param=field)
    return UnknownPrevious(f"what `{field}` goes on after is not kept, or no longer: send the whole again", param=field)


def _metadata(chat: ChatRequest) -> Mapping[str, str] | None:
    """What the caller noted on it; a note of another form is not kept."""
    said = chat.extras.get("metadata")
    try:
        return None if said is None else _notes(said)
    except UNREADABLE:
        return None
