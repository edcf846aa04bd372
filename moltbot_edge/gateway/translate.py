"""Two dialects: a caller's request as its upstream reads it, and the reply as the caller does. Imported when needed.

What a dialect says is in its codec; here is what becomes of it on the way. A stream is written as it comes, all that
one read brought in one write; a whole reply is held, up to a limit. Until something was said to the caller, another
upstream may still be asked, so a reply's mere beginning is held back with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from moltbot_edge.core.catalog import Deployment
from moltbot_edge.core.chat import ChatRequest
from moltbot_edge.core.dialect import Dialect, EventReader, Operation, Outgoing, ReplyHead
from moltbot_edge.core.embedding import Embedded
from moltbot_edge.core.errors import GatewayError, InvalidReply, InvalidRequest, UpstreamBroke, UpstreamRefused
from moltbot_edge.core.events import Timings, Usage
from moltbot_edge.core.fold import Fold
from moltbot_edge.core.head import check_text
from moltbot_edge.core.hygiene import cleaned
from moltbot_edge.core.reply import (
    Began,
    Broke,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallBegan,
    ToolCallDelta,
    UsageSaid,
)
from moltbot_edge.core.target import Abilities, target, with_abilities
from moltbot_edge.core.verdict import Impression
from moltbot_edge.gateway.caller import Request
from moltbot_edge.gateway.output import JSON, Output
from moltbot_edge.gateway.relay import Headers, is_stream
from moltbot_edge.upstream.wire import Reply

if TYPE_CHECKING:
    from moltbot_edge.gateway.asked import ExchangeLimits

OF_ONE_DIALECT: Final = (b"openai-", b"anthropic-")  # headers
DROPPED: Final = b"x-moltbot-dropped"
MOST_DROPPED: Final = 32  # names in the header; a caller may invent thousands
CHARS_PER_TOKEN: Final = 4  # of a reply whose tokens nobody counted
JUDGED_BYTES: Final = 256 * 1024  # of a reply's tool calls; more is not judged

_unfit = re.compile(r"[^A-Za-z0-9_.\[\]-]").search


class Translation:
    """A chat on its way to an upstream that speaks *theirs*, and back. Raises `InvalidRequest` for what cannot go.

    *path*, *body* and *dropped* are the request's, as its upstream gets it; of the reply it has what a `ReplyReader`
    has, *usage* and *timings*. *learns*: somebody will ask `observer`.
    """

    usage: Usage | None = None
    timings: Timings | None = None

    def __init__(
        self,
        request: Request,
        deployment: Deployment,
        theirs: Dialect,
        head: ReplyHead,
        limits: ExchangeLimits,
        able: Abilities | None = None,
        *,
        learns: bool,
    ) -> None:
        self._codec = theirs.codec()
        self._head = head
        named = request.dialect.id_header
        self._named: Headers = [] if named is None else [(named.encode(), f"req_{head.id}".encode())]
        self._written_chars = 0
        self._called = False
        self.forwarded = forwarded_to(theirs, request)
        codec = request.dialect.codec()
        self._conversation = conversation = request.conversation
        self._fold: Fold | None = None
        self._fit = None if conversation is None else conversation.fits.get(deployment.name)
        if conversation is None:
            check_text(request.body)
            chat = codec.read_request(request.path, request.body)  # not kept: it is as large as the body again
            if chat.refers:
                raise InvalidRequest("no session is asked for, in which these items are: send the items", param="input")
        else:
            chat = conversation.chat_for(deployment)
            self._fold = Fold(limits.translated_bytes)
        self._deployment = deployment
        self._streams = chat.stream
        self._writer = codec.event_writer(chat, head, request.path)
        self._limits = limits
        self.observer = Observer() if learns else None
        self._failure: GatewayError | None = None
        self._loads_only = chat.loads_only
        self.keep_s: float | None = None
        if deployment.upstream.model_file is not None:  # an engine of ours, which stays as long as the caller wishes
            self.keep_s, chat = chat.keep_alive, msgspec.structs.replace(chat, keep_alive=None)
        self.unloads = chat.loads_only and self.keep_s == 0
        if chat.loads_only:
            self.path, self.body = "", b""
            self.dropped: tuple[str, ...] = ()
            return
        outgoing = as_sent(chat, deployment, theirs, able)
        self.path, self.body, self.dropped = outgoing.path, outgoing.body, outgoing.dropped
        if self._fit is not None:
            self.dropped = (*self._fit.dropped, *self.dropped)
        if conversation is not None and conversation.unseen:
            self.dropped = ("session", *self.dropped)

    def explain(self, refused: GatewayError) -> None:
        """The upstream's error, in words that are nobody's dialect."""
        if isinstance(refused, UpstreamRefused):
            said = self._codec.complaint(refused.body) if refused.body else None
            refused.message = said or refused.message
            refused.body = b""

    def streams(self, reply: Reply) -> bool:
        """Whether *reply* goes on as it comes."""
        return self._streams and is_stream(reply)

    def answered(self, output: Output, own: Headers) -> bool:
        """Whether it is answered without a question to the upstream: the model is in memory, as far as ours to say."""
        if not self._loads_only:
            return False
        written = self._writer.write([Began(), Finished(FinishReason.STOP)]) + self._writer.end()
        if self._streams:
            output.begin_stream(own)
            output.finish(written)
        else:
            output.whole(200, [JSON, *own], written)
        return True

    async def deliver(self, reply: Reply, output: Output, own: Headers, answers: Callable[[], bool]) -> None:
        """Write *reply* to *output*. Of *answers*, and of what is raised, `relay` tells."""
        own = own + self._named + dropped_header(self.dropped)
        if self._conversation is not None:
            own += self._conversation.headers
            if self._fit is not None:
                own += self._fit.headers
        reader = self._codec.event_reader(is_stream(reply))
        if self.streams(reply):
            await self._pass(reply, output, own, answers, reader)
        else:
            await self._gather(reply, output, own, answers, reader)

    async def _pass(
        self, reply: Reply, output: Output, own: Headers, answers: Callable[[], bool], reader: EventReader
    ) -> None:
        event_bytes = self._limits.event_bytes
        feed, write = reader.feed, self._writer.write
        held: list[Event] = []
        answering = False
        silent_bytes = 0

        def passed(events: list[Event]) -> bool:
            events = self._seen(events)
            if not answering:
                held.extend(events)
                if not any(type(event) not in SAYS_NOTHING for event in held):
                    del held[1:-1]  # of usage the last holds
                    return self._failure is None
                if not answers():
                    return False
                begin()
                events = held
            data = write(events)
            return (not data or output.write(data)) and self._failure is None

        def begin() -> None:
            nonlocal answering
            answering = True
            output.on_fail = self._writer.fail
            output.begin_stream(own)

        def sink(data: bytes) -> bool:
            nonlocal silent_bytes
            try:
                events = feed(data)
                if events:
                    silent_bytes = 0
                    return passed(events)
            except GatewayError as error:  # raised where the loop calls, nobody would hear it
                self._failure = error
                return False
            silent_bytes += len(data)
            return silent_bytes <= event_bytes

        while not await reply.pump(sink):
            if self._failure is not None:
                raise self._failure
            if silent_bytes > event_bytes:
                raise InvalidReply(f"{reply.upstream} sent an event longer than {event_bytes} bytes")
            await output.drained()
        passed(reader.end())
        if self._failure is not None:
            raise self._failure
        if not answering and answers():
            begin()
        if answering:
            await self._keep()
            output.finish(self._end())

    async def _keep(self) -> None:
        """Before the reply's last byte."""
        if self._conversation is not None and self._fold is not None:
            await self._conversation.keep(self._fold, self._deployment, self.dropped)

    async def _gather(
        self, reply: Reply, output: Output, own: Headers, answers: Callable[[], bool], reader: EventReader
    ) -> None:
        """A whole reply, from what may be a stream, for a caller who may want one."""
        pieces: list[bytes] = []
        read_bytes = 0
        limit = self._limits.translated_bytes

        def passed(events: list[Event]) -> None:
            pieces.append(self._writer.write(self._seen(events)))

        def sink(data: bytes) -> bool:
            nonlocal read_bytes
            read_bytes += len(data)
            try:
                if events := reader.feed(data):
                    passed(events)
            except GatewayError as error:
                self._failure = error
            return self._failure is None and read_bytes <= limit

        while not await reply.pump(sink):
            if self._failure is None:
                raise InvalidReply(f"{reply.upstream} sent a reply longer than {limit} bytes")
            raise self._failure
        passed(reader.end())
        if self._failure is not None:
            raise self._failure
        pieces.append(self._end())
        if not answers():
            return
        await self._keep()
        if self._streams:
            output.begin_stream(own)
            output.finish(b"".join(pieces))
        else:
            output.whole(200, [JSON, *own], b"".join(pieces))

    def _end(self) -> bytes:
        if self.usage is not None:
            return self._writer.end()
        estimated = Usage(self._head.prompt_tokens, self._written_chars // CHARS_PER_TOKEN)
        return self._writer.write([UsageSaid(estimated)]) + self._writer.end()

    def _seen(self, events: list[Event]) -> list[Event]:
        """*events*, up to where the upstream says that it failed."""
        for place, event in enumerate(events):
            kind = type(event)
            if kind is TextDelta or kind is ReasoningDelta:
                self._written_chars += len(event.text)  # type: ignore[union-attr]
            elif kind is ToolCallDelta:
                self._written_chars += len(event.arguments)  # type: ignore[union-attr]
            elif kind is ToolCallBegan:
                self._called = True
            elif kind is UsageSaid:
                self.usage, self.timings = event.usage, event.timings or self.timings  # type: ignore[union-attr]
            elif kind is Broke:
                self._failure = UpstreamBroke(event.message)  # type: ignore[union-attr]
                events = events[:place]
                break
        if self._fold is not None:
            self._fold.see(events)
        limit = self._limits.translated_bytes
        if self._called and self._written_chars > limit:  # writers hold what they cannot say before a call is whole
            self._failure = self._failure or InvalidReply(
                f"the reply calls tools, and is longer than {limit} characters"
            )
        if self.observer is not None:
            self.observer.see(events)
        return events

    # What a `ReplyReader` does with bytes, which are nobody's here.

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...


def as_sent(chat: ChatRequest, deployment: Deployment, theirs: Dialect, able: Abilities | None) -> Outgoing:
    """*chat*, as *deployment* takes it, and all that was dropped for that. Raises `InvalidRequest`."""
    wanted = target(theirs.name, deployment.model, tools=deployment.tools, images=deployment.images)
    if able is not None:
        wanted = with_abilities(wanted, able)
    try:
        fit = cleaned(msgspec.structs.replace(chat, model=deployment.model), wanted)
        outgoing = theirs.codec().write_request(fit.request)
    except InvalidRequest as error:
        error.retryable = True  # another one may have it
        raise
    return Outgoing(outgoing.path, outgoing.body, tuple(dict.fromkeys((*fit.dropped, *outgoing.dropped))))


class EmbedTranslation:
    """As `Translation`, for embeddings: whole on both sides."""

    usage: Usage | None = None
    timings: Timings | None = None
    observer = None
    unloads = False

    def __init__(
        self, request: Request, deployment: Deployment, theirs: Dialect, head: ReplyHead, limits: ExchangeLimits
    ) -> None:
        check_text(request.body)
        self._asked = request.dialect.embed_codec().read_request(request.path, request.body)
        self._codec = theirs.embed_codec()
        self.forwarded = forwarded_to(theirs, request)
        if self._asked.vital and self._asked.origin != theirs.name:
            raise InvalidRequest(f"`{self._asked.vital[0]}` is its dialect's own", param=self._asked.vital[0])
        self._request = request
        self._head = head
        self._limits = limits
        wanted = msgspec.structs.replace(self._asked, model=deployment.model)
        self.keep_s: float | None = None
        if deployment.upstream.model_file is not None:
            self.keep_s, wanted = wanted.keep_alive, msgspec.structs.replace(wanted, keep_alive=None)
        outgoing = self._codec.write_request(wanted)
        self.path, self.body, self.dropped = outgoing.path, outgoing.body, outgoing.dropped
        self._complaint = theirs.codec().complaint

    def answered(self, output: Output, own: Headers) -> bool:
        if not self._asked.loads_only:
            return False
        nothing = Embedded(tuple(b"[]" for _ in self._asked.inputs))
        written = self._request.dialect.embed_codec().write_reply(nothing, self._asked, self._head, self._request.path)
        output.whole(200, [JSON, *own], written)
        return True

    def explain(self, refused: GatewayError) -> None:
        if isinstance(refused, UpstreamRefused):
            refused.message = (self._complaint(refused.body) if refused.body else None) or refused.message
            refused.body = b""

    def streams(self, reply: Reply) -> bool:
        return False

    async def deliver(self, reply: Reply, output: Output, own: Headers, answers: Callable[[], bool]) -> None:
        limit = self._limits.translated_bytes
        own = own + dropped_header(self.dropped)
        body = await reply.read(limit + 1)
        if len(body) > limit:
            raise InvalidReply(f"{reply.upstream} sent a reply longer than {limit} bytes")
        vectors = self._codec.read_reply(body)
        found, wanted = len(vectors.vectors), len(self._asked.inputs)
        if found != wanted:  # whose is whose, nobody could tell
            raise InvalidReply(f"{reply.upstream} sent {found} vectors for {wanted} texts")
        if vectors.input_tokens is not None:
            self.usage = Usage(vectors.input_tokens)
        dialect = self._request.dialect
        written = dialect.embed_codec().write_reply(vectors, self._asked, self._head, self._request.path)
        if answers():
            output.whole(200, [JSON, *own], written)

    def feed(self, data: bytes) -> None: ...

    def end(self) -> None: ...


class Observer:
    """A `ReplyObserver` of events: the form of what was said. By the caller's writer's id, nobody knows it again."""

    reply_id: str | None = None

    def __init__(self) -> None:
        self._has_words = False
        self._reason: FinishReason | None = None
        self._calls: dict[int, list[str]] = {}
        self._calls_bytes = 0

    def see(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case TextDelta(text) | RefusalDelta(text):
                    self._has_words = self._has_words or bool(text.strip())
                case ToolCallBegan(index):
                    self._calls[index] = []
                case ToolCallDelta(index, arguments):
                    self._calls_bytes += len(arguments)
                    if self._calls_bytes <= JUDGED_BYTES:
                        self._calls.setdefault(index, []).append(arguments)
                case Finished(reason):
                    self._reason = reason

    def feed(self, data: bytes) -> None: ...

    def impression(self) -> Impression | None:
        if self._calls_bytes > JUDGED_BYTES:
            return None
        cut_off = self._reason is FinishReason.LENGTH
        broken = any(not _is_json("".join(pieces)) for pieces in self._calls.values())
        return Impression(not self._has_words and not self._calls, cut_off, broken and not cut_off)


# What a reply begins with, before it says anything.
SAYS_NOTHING: Final = frozenset({Began, UsageSaid})
_any = msgspec.json.Decoder(msgspec.Raw).decode


def translation(
    request: Request,
    deployment: Deployment,
    theirs: Dialect,
    head: ReplyHead,
    limits: ExchangeLimits,
    able: Abilities | None = None,
    *,
    learns: bool,
) -> Translation | EmbedTranslation:
    """Raises `InvalidRequest` where this upstream cannot be asked so; another may. *able* is known of its template."""
    if request.dialect.operations[request.path] is Operation.EMBED:
        return EmbedTranslation(request, deployment, theirs, head, limits)
    return Translation(request, deployment, theirs, head, limits, able, learns=learns)


def forwarded_to(theirs: Dialect, request: Request) -> bytes:
    """The caller's header lines, without those that are its dialect's own."""
    if theirs.name == request.dialect.name:
        return request.forwarded
    lines = request.forwarded.splitlines(keepends=True)
    return b"".join([line for line in lines if not line.startswith(OF_ONE_DIALECT)])


def dropped_header(names: Sequence[str]) -> Headers:
    """Names may be a caller's own words: what is no name is not repeated."""
    if not names:
        return []
    fit = [name for name in names[:MOST_DROPPED] if len(name) <= 64 and _unfit(name) is None]
    if len(fit) < len(names):
        fit.append("...")
    return [(DROPPED, ", ".join(fit).encode())] if fit else []


def _is_json(text: str) -> bool:
    try:
        _any(text.encode("utf-8", "replace") or b"{}")
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
