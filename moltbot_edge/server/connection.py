"""One caller's connection: HTTP/1.1 on a socket, ASGI inside. Stands where uvicorn's protocol would.

What differs from that one, and why it is here: a body is read only as far as somebody asked for it, so that
thousands of uploads hold a read buffer each and no more; a reply's head leaves with its first bytes; a caller
that leaves cancels the task that serves it; heads and bodies have time limits; a refused upload is read to its
end for a while, so that the refusal arrives.

Source: RFC 9112, and uvicorn's `HttpToolsProtocol`.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import urllib.parse
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, cast

import httptools
import msgspec

from moltbot_edge.core.dialect import Dialect
from moltbot_edge.core.errors import GatewayError, InvalidRequest, Overloaded, RequestTimeout
from moltbot_edge.gateway.output import write_error
from moltbot_edge.server.call import EXTENSION, Call, Message
from moltbot_edge.server.callers import Callers
from moltbot_edge.upstream.ticker import TICK_S, Ticker
from moltbot_edge.upstream.wire import FRAMING, MAX_HEAD_BYTES

READ_BYTES = 64 * 1024  # one read of a body that somebody waits for
FIRST_READ_BYTES = 4 * 1024  # any other; a page: what each of thousands of connections may hold while it waits for room
KEEP_ALIVE_S = 75.0  # as nginx: longer than the idle limits of common clients, so that they close first
SLOWEST_BODY_BYTES_PER_S = 8 * 1024  # a telephone at the edge of its cell; less holds the room of others
LINGER_S = 5.0  # how long a refused upload is read on, as nginx's lingering_timeout

Scope = MutableMapping[str, Any]
Asgi = Callable[[Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


log = logging.getLogger(__name__)


class ConnectionSettings(msgspec.Struct, frozen=True):
    """*head_s* bounds a request's head in all, and each silence within its body. *dialect* writes errors.

    One *buffer* serves every connection, as a read is over before the next begins; *first_buffer* is its beginning.
    """

    ticker: Ticker
    buffer: memoryview
    first_buffer: memoryview
    head_s: float
    callers: int
    dialect: Dialect


class Connection(asyncio.BufferedProtocol):
    """One caller's connection, and what it asks of *app*."""

    def __init__(self, settings: ConnectionSettings, app: Asgi, callers: Callers) -> None:
        self._settings = settings
        self._app = app
        self._callers = callers
        self._connections = callers.connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # until connection_made
        self._calls: deque[Call] = deque()  # the first is being served, the others are pipelined
        self._pipelined: deque[Scope] = deque()  # of those others; a call does not hold its scope, which holds it
        self._reading_paused = False
        self._held_back = False  # what was replied is not taken: until it is, nothing more is served
        self._lingering = False
        self.lost = False
        self._silent_s = 0.0
        self._head_s = 0.0
        self._head_bytes = 0
        self._in_head = False
        self._passed_over = False  # the head that is read now is ours, see `_pass_over`
        self.write_paused = False
        self._drain: asyncio.Future[None] | None = None

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        return self._callers.headers

    # asyncio's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's has its members, and is no subclass
        self._connections.add(self)
        self._settings.ticker.add(self)
        sock: socket.socket | None = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._peer = transport.get_extra_info("peername")
        self._local = transport.get_extra_info("sockname")
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._connections.discard(self)
        self._settings.ticker.discard(self)
        self._wake_drained()
        for call in self._calls:
            if not call.complete:
                call.wake()
                if call.task is not None:
                    call.task.cancel("the caller has left")
                    self._callers.tasks.discard(call.task)  # one that has not begun will not do so itself

    def eof_received(self) -> None:
        return None  # a caller that closes its side has left: the transport closes, and connection_lost comes

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._calls and self._calls[0].waits_for_body:
            return self._settings.buffer
        return self._settings.first_buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._silent_s = 0.0
        if self._lingering:
            return
        if not self._calls:
            self._in_head = True
        self._head_bytes += nbytes  # until headers are complete, or some of a body comes
        try:
            self._parser.feed_data(self._settings.buffer[:nbytes])
        except httptools.HttpParserUpgrade as upgrade:
            self._pass_over(bytes(self._settings.buffer[upgrade.args[0] : nbytes]))
        except httptools.HttpParserError as error:
            self._refuse(InvalidRequest(f"this is not a valid HTTP request: {error}"))
            return
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(InvalidRequest(f"the request's headers are longer than {MAX_HEAD_BYTES} bytes"))
        elif self._calls and (len(self._calls) > 1 or not self._calls[0].wants_reading):
            self.pause_reading()

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        self._silent_s = 0.0
        self._wake_drained()
        if self._held_back and not self.transport.is_closing():
            self._held_back = False
            self._next()

    # httptools' side.

    def on_message_begin(self) -> None:
        self._in_head = True
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._content_length: int | None = None
        self._expects_continue = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer
        name = name.lower()
        if name == b"content-length":
            self._content_length = int(value)  # llhttp has checked it
        elif name == b"expect" and value.lower() == b"100-continue":
            self._expects_continue = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._head_s = 0.0
        if self._passed_over:
            self._passed_over = False
            return
        version = self._parser.get_http_version()
        raw_path, _, query = self._url.partition(b"?")
        if not raw_path.startswith(b"/"):  # http://host/path, as to a proxy
            raw_path = httptools.parse_url(self._url).path or b"/"
        path = raw_path.decode("latin-1")
        call = Call(
            self,
            self._parser.get_method().decode("ascii"),
            version,
            self._content_length,
            version != "1.0" and self._parser.should_keep_alive(),
            self._expects_continue,
        )
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": version,
            "server": self._local,
            "client": self._peer,
            "scheme": self._scheme,
            "root_path": "",
            "method": call.method,
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "extensions": {EXTENSION: call},
        }
        self._calls.append(call)
        if len(self._calls) == 1 and len(self._connections) > self._settings.callers:
            call.keep_alive = False
            self._say(call, Overloaded("too many callers are connected (limits.callers)", retry_after_s=5))
        elif len(self._calls) == 1:
            self._serve(call, scope)
        else:
            self._pipelined.append(scope)

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        if self._calls:  # else it was refused while its head was read
            self._calls[-1].add_body(body)

    def on_message_complete(self) -> None:
        if self._calls:
            self._calls[-1].end_body()

    # What a call needs of its connection.

    def write(self, data: bytes) -> None:
        if not self.lost:
            self.transport.write(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        if not self.lost:
            self.transport.writelines(pieces)

    async def drained(self) -> None:
        if self.write_paused and not self.lost:
            self._drain = self._loop.create_future()
            await self._drain

    def replied(self, call: Call) -> None:
        """*call*'s reply is complete: on to the next request, or to the end."""
        self._callers.served += 1
        self._calls.popleft()
        self._silent_s = 0.0
        if not call.keep_alive:
            self._close(linger=not call.body_complete)
        elif self.write_paused:
            self._held_back = True
            self.pause_reading()
        else:
            self._next()

    def abort(self) -> None:
        self.transport.abort()

    def resume_reading(self) -> None:
        if self._reading_paused and not self.transport.is_closing():
            self._reading_paused = False
            self._silent_s = 0.0
            self.transport.resume_reading()

    def pause_reading(self) -> None:
        if not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    # The server's side.

    def shutdown(self) -> None:
        """No more requests on this connection; the one being served is finished."""
        if not self._calls:
            self.transport.close()
            return
        for call in self._calls:
            call.keep_alive = False

    def tick(self) -> None:
        self._silent_s += TICK_S
        settings = self._settings
        if self._lingering:
            self._head_s += TICK_S
            if self._silent_s >= LINGER_S or self._head_s >= settings.head_s:
                self.abort()
        elif self._in_head and not self._calls and not self._held_back:
            self._head_s += TICK_S
            if self._head_s >= settings.head_s:
                self._refuse(RequestTimeout(f"the request's headers did not arrive in {settings.head_s:g} s"))
        elif not self._calls or self._held_back:
            if self._silent_s >= KEEP_ALIVE_S:
                self.abort()  # what is still unsent has not moved all the while
        elif self._calls[0].waits_for_body:
            self._time_body(self._calls[0], settings.head_s)

    def _time_body(self, call: Call, head_s: float) -> None:
        """A body holds room that others wait for: it may pause, and be slow, but not both for ever."""
        call.waited_s += TICK_S
        if self._silent_s >= head_s:
            call.end_body(RequestTimeout(f"nothing came of the request's body for {head_s:g} s"))
        elif call.waited_s >= head_s + call.received / SLOWEST_BODY_BYTES_PER_S:
            call.end_body(
                RequestTimeout(f"the request's body came slower than {SLOWEST_BODY_BYTES_PER_S} bytes a second")
            )

    # In between.

    def _next(self) -> None:
        """The next request that was sent ahead, or whatever comes."""
        if self._calls:
            self._serve(self._calls[0], self._pipelined.popleft())
            if len(self._calls) == 1 and self._calls[0].body_complete:
                self.resume_reading()
        else:
            self.resume_reading()

    def _serve(self, call: Call, scope: Scope) -> None:
        call.task = task = self._loop.create_task(self._run(call, scope))
        self._callers.tasks.add(task)

    async def _run(self, call: Call, scope: Scope) -> None:
        try:
            await self._app(scope, call.receive, call.send)
        except asyncio.CancelledError:
            self.abort()
        except GatewayError as error:
            if call.started:
                self.abort()
            else:
                self._say(call, error)
        except Exception:  # a fault of ours: logged whole, told briefly, and the next request is served
            log.exception("a request failed: %s %s", scope["method"], scope["path"])
            if not call.started:
                self._say(call, GatewayError("the gateway failed; its log says why"))
            elif not call.complete:
                self.abort()
        else:
            if not call.complete and not self.transport.is_closing():
                log.error("a request was left without a reply: %s %s", scope["method"], scope["path"])
                self.abort()
        finally:
            if call.task is not None:
                self._callers.tasks.discard(call.task)

    def _pass_over(self, rest: bytes) -> None:
        """A wish for another protocol: Java's client has it with every first request, and is content with HTTP/1.1.

        httptools takes a request with such a wish to be without a body; a head of our own makes it read *rest* as one.
        """
        if not self._calls:
            self._refuse(InvalidRequest("this server does not upgrade connections"))
            return
        call = self._calls[-1]
        call.keep_alive = False
        framing = next((pair for pair in self._headers if pair[0] in FRAMING), None)
        if framing is None:
            return
        call.body_complete = False
        self._passed_over = True
        try:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n" % framing + rest)
        except httptools.HttpParserError as error:
            self._refuse(InvalidRequest(f"this is not a valid HTTP request: {error}"))

    def _refuse(self, error: GatewayError) -> None:
        """Answer what is no request, and end the connection."""
        if len(self._calls) == 1 and not self._calls[0].body_complete:
            self._calls[0].end_body(error)  # whoever reads it answers
            return
        if self._calls:
            self.abort()  # a reply is on its way, and what follows it cannot be told from nonsense
            return
        call = Call(self, "GET", "1.1", None, False, False)
        self._calls.append(call)
        self._say(call, error)

    def _say(self, call: Call, error: GatewayError) -> None:
        write_error(call, self._settings.dialect, error)

    def _close(self, *, linger: bool) -> None:
        if self.transport.is_closing():
            return
        if not linger:
            self.transport.close()
            return
        self._lingering = True
        self.resume_reading()
        if self.transport.can_write_eof():  # TLS has no half-close: there the caller closes, or the linger's end
            self.transport.write_eof()

    def _wake_drained(self) -> None:
        if self._drain is not None and not self._drain.done():
            self._drain.set_result(None)
