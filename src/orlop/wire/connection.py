"""One client's connection: requests in, replies out, in order (HTTP/1.1 keep-alive and pipelining, RFC 9112).

A handler may answer at once (no task is made) or return an awaitable. When the client goes, what only reads is cancelled: GET
and HEAD handlers, streams and hijacks. Other handlers run to their end, for a half-made change helps nobody.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast

from orlop.wire.body import Body, ClientGone
from orlop.wire.head import LARGEST_HEAD, Head, Malformed, parse_head
from orlop.wire.peer import Watch, has_left
from orlop.wire.route import Handler, Hijack, Reply, Request, Response, Stream

log = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None]], None]

MOST_PIPELINED = 64 * 1024  # bytes of further requests kept while one is being answered
FAIR_SHARE = 1024 * 1024  # bytes of one stream before others get their turn
LINGER_SECONDS = 30.0  # how long a client may go on sending a body that nobody wants
BODILESS = frozenset({204, 304})
CHUNKED = "Transfer-Encoding: chunked\r\n"


def _plain(status: int, message: str) -> Response:
    return Response(status, message.encode() + b"\n", "text/plain; charset=utf-8")


class Site:
    """What all connections of one server share. `fields` are the header fields of every reply, each with its CRLF;
    `explain` makes the reply to a malformed request."""

    def __init__(
        self, handler: Handler, spawn: Spawn, fields: str = "", explain: Callable[[int, str], Response] = _plain
    ) -> None:
        self.handler = handler
        self.spawn = spawn
        self.explain = explain
        self.connections: set[Connection] = set()
        self.closing = False
        self.empty = asyncio.Event()
        self._fields = fields
        self._starts: dict[int, str] = {}

    def leave(self, connection: "Connection") -> None:
        """A connection is over."""
        self.connections.discard(connection)
        if self.closing and not self.connections:
            self.empty.set()

    def start_of_head(self, status: int) -> str:
        """A reply's status line and the fields that all replies have."""
        start = self._starts.get(status)
        if start is None:
            phrase = "UPGRADED" if status == 101 else HTTPStatus(status).phrase
            start = self._starts[status] = f"HTTP/1.1 {status} {phrase}\r\n{self._fields}"
        return start


class Connection(asyncio.Protocol):
    """See the module's text. Made by the server for each client."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._transport: asyncio.Transport
        self._input = b""
        self._body: Body | None = None  # of the present request, while it is still arriving
        self._busy = False
        self._keep_alive = True
        self._input_ended = False
        self._input_paused = False
        self._lost = False
        self._task: asyncio.Task[Any] | None = None  # answers the present request
        self._abandonable = False  # the task is of no use when the client is gone
        self._congested = False
        self._uncongested: asyncio.Future[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._watch: Watch | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._site.connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self._body is not None:
            try:
                data = self._body.feed(data)
            except Malformed as error:
                self._hang_up(error)
                return
            if not self._body.complete:
                return
            self._body = None
            if self._linger:
                self._linger.cancel()
                self._linger = None
                self._next()
        self._input = self._input + data if self._input else data
        if not self._busy:
            self._advance()
        elif len(self._input) > MOST_PIPELINED:
            self._input_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._input_ended = True
        if self._body is not None:
            self._body.fail()
        if not self._busy:
            return False
        if self._abandonable and has_left(self._transport):
            return False
        self._watch = Watch(self._transport)
        return True  # who only sends no more still gets the answer to this

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._site.leave(self)
        if self._linger:
            self._linger.cancel()
        if self._watch:
            self._watch.stop()
        if self._body is not None:
            self._body.fail()
        if self._uncongested and not self._uncongested.done():
            self._uncongested.set_exception(ClientGone("the client closed the connection"))
        if self._task and self._abandonable:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._congested = True

    def resume_writing(self) -> None:
        self._congested = False
        if self._uncongested and not self._uncongested.done():
            self._uncongested.set_result(None)

    # Requests

    def _advance(self) -> None:
        """Begin on the requests that have arrived, until one takes its time."""
        while self._input and not self._busy and self._body is None and not self._transport.is_closing():
            end = self._input.find(b"\r\n\r\n")
            try:
                if end < 0:
                    _check_unfinished(self._input)
                    break
                if end > LARGEST_HEAD:
                    raise Malformed("request header fields too large", 431)
                head = parse_head(self._input[:end].lstrip(b"\r\n"))
                rest, self._input = self._input[end + 4 :], b""
                self._begin(head, rest)
            except Malformed as error:
                self._hang_up(error)
                return
        if self._input_ended and not self._busy:
            self._transport.close()

    def _begin(self, head: Head, rest: bytes) -> None:
        body = Body(head.length, self._pace)
        if "expect" in head.headers:
            body.invite = self._invite
        if body.complete:
            self._input = rest
        else:
            self._input = body.feed(rest)
            self._body = None if body.complete else body
        if self._input_ended:
            body.fail()
        self._keep_alive = head.keep_alive and not self._site.closing
        self._busy = True
        request = Request(head.method, head.target, head.headers, body)
        reply = self._site.handler(request)
        if isinstance(reply, Response):
            self._send(reply, with_body=head.method != "HEAD")
            self._finish(request)
        else:
            self._abandonable = head.method in ("GET", "HEAD")
            self._site.spawn(self._answer(request, reply, head.chunks_allowed))

    def _finish(self, request: Request) -> None:
        """The reply is out. What is left of the body is read and dropped, else the client would see its connection reset
        and miss the reply (unix(7) and tcp(7) drop what is queued when unread data is thrown away)."""
        self._busy = self._abandonable = False
        request.body.discard()
        if self._lost:
            return
        if self._body is not None:
            if request.body.invite:  # it was never asked to send the body, and may or may not do so
                self._keep_alive = False
                self._body = None
            else:
                self._linger = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)
                return
        self._next()

    def _next(self) -> None:
        if not self._keep_alive:
            self._transport.close()
        elif self._input_paused:
            self._input_paused = False
            self._transport.resume_reading()

    def _hang_up(self, error: Malformed) -> None:
        if self._busy:  # in the middle of a body that a handler is reading
            self._transport.abort()
            return
        self._keep_alive = False
        self._send(self._site.explain(error.status, str(error)))
        self._transport.close()

    def _pace(self, on: bool) -> None:
        if not self._lost and not self._transport.is_closing():
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def _invite(self) -> None:
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def abandon(self) -> None:
        """The server closes: end what would never end by itself, and let short answers be finished."""
        self._keep_alive = False
        if not self._busy:
            self._transport.close()
        elif self._task and self._abandonable:
            self._task.cancel()

    # Replies

    async def _answer(self, request: Request, pending: Reply | Awaitable[Reply], chunks_allowed: bool) -> None:
        self._task = asyncio.current_task()
        try:
            if self._lost and self._abandonable:
                if isinstance(pending, Coroutine):
                    pending.close()
                return
            reply = pending if isinstance(pending, Response | Stream | Hijack) else await pending
            if isinstance(reply, Response):
                self._send(reply, with_body=request.method != "HEAD")
            elif isinstance(reply, Stream):
                await self._send_stream(request, reply, chunks_allowed)
            else:
                await self._hijack(request, reply)
        except ClientGone:
            self._transport.abort()
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            log.exception("reply to %s %s broke off", request.method, request.path)
            self._transport.abort()
        finally:
            self._task = None
        self._finish(request)
        self._advance()

    def _send(self, reply: Response, with_body: bool = True) -> None:
        if self._lost:
            return
        status, body = reply.status, reply.body
        if status in BODILESS:
            head = self._head(status, "", reply.headers, "")
        else:
            head = self._head(status, reply.content_type, reply.headers, f"Content-Length: {len(body)}\r\n")
        self._transport.write(head + body if with_body else head)

    async def _send_stream(self, request: Request, reply: Stream, chunks_allowed: bool) -> None:
        self._abandonable = True
        if not chunks_allowed:
            self._keep_alive = False
        if self._lost and self._task:
            self._task.cancel()  # at the first wait, for only a generator that has begun frees what it holds when closed
        async with aclosing(reply.chunks) as chunks:
            write = self._transport.write
            request.body.ask()  # 100 comes before the head, or not at all
            write(self._head(reply.status, reply.content_type, reply.headers, CHUNKED if chunks_allowed else ""))
            if request.method == "HEAD":
                return
            share = FAIR_SHARE
            async for chunk in chunks:
                if not chunk:
                    continue
                write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if chunks_allowed else chunk)
                share -= len(chunk)
                if self._congested:
                    await self._drain()
                elif share < 0:
                    await asyncio.sleep(0)
                    share = FAIR_SHARE
            if chunks_allowed:
                write(b"0\r\n\r\n")

    async def _hijack(self, request: Request, reply: Hijack) -> None:
        """Hand the transport to the session; 101 where the client asked for it, as Docker's attach and exec do."""
        session = reply.session
        try:
            async for _ in request.body:  # a JSON body of the request is not stdin
                pass
            if self._lost:
                raise ClientGone("the client closed the connection")
            self._abandonable, self._keep_alive = True, False
            self._hand_over(request, reply)
            await session.run()
        finally:
            await session.close()
            self._lost = True
            self._site.leave(self)
            self._transport.close()

    def _hand_over(self, request: Request, reply: Hijack) -> None:
        if "upgrade" in request.headers:
            upgrade = f"Connection: Upgrade\r\nUpgrade: {reply.protocol}\r\n"
            self._transport.write(self._head(101, reply.content_type, reply.headers, upgrade))
        else:
            self._transport.write(self._head(200, reply.content_type, reply.headers, ""))
        session, rest, self._input = reply.session, self._input, b""
        self._transport.set_protocol(session)
        if self._input_paused:
            self._transport.resume_reading()
        session.connection_made(self._transport)
        if rest:
            session.data_received(rest)
        if self._watch:
            self._watch.stop()
        if self._input_ended:
            session.eof_received()

    def _head(self, status: int, content_type: str, fields: tuple[tuple[str, str], ...], length: str) -> bytes:
        head = self._site.start_of_head(status)
        if content_type:
            head += f"Content-Type: {content_type}\r\n"
        for name, value in fields:
            head += f"{name}: {value}\r\n"
        if not self._keep_alive and status != 101:
            head += "Connection: close\r\n"
        return f"{head}{length}\r\n".encode("latin-1")

    async def _drain(self) -> None:
        self._uncongested = asyncio.get_running_loop().create_future()
        await self._uncongested


def _check_unfinished(head: bytes) -> None:
    """Refuse a head that can never become a good one, instead of waiting for its end."""
    if len(head) > LARGEST_HEAD:
        raise Malformed("request header fields too large", 431)
    if b"\n\n" in head or b"\0" in head:
        raise Malformed("malformed HTTP request: lines must end with CRLF")
