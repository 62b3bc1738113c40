"""Joins a client's connection with the stdio socket of a process: both ways, with back-pressure and half-close."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, cast

from orlop.wire.body import ClientGone
from orlop.wire.peer import Watch, take_in
from orlop.wire.route import Session

BLOCK = 64 * 1024
FAREWELL_SECONDS = 10.0  # how long a client that was told the end may keep its side open

Screen = Callable[[bytes], tuple[bytes, bool]]
Translate = Callable[[bytes], bytes]


class Splice(Session):
    """Lives until the process's output has ended, the client has gone, or `screen` has said to detach.

    `backlog` is sent first. `source` None: there is nothing but the backlog. `stdin` False: what the client sends is dropped.
    `screen` looks through the client's input: it gives what may pass, and whether to detach now. `translate` is applied to
    each piece of output. `until`: the client is told the end of the output no sooner than this has come.
    """

    def __init__(
        self,
        source: socket.socket | None,
        *,
        stdin: bool,
        backlog: AsyncIterator[bytes] | None = None,
        screen: Screen | None = None,
        translate: Translate | None = None,
        until: "asyncio.Future[Any] | None" = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._backlog = backlog
        self._stdin = stdin and source is not None
        self._screen = screen
        self._translate = translate
        self._until = until
        self._unsent = b""  # input that the process did not take yet
        self._input_ended = False
        self._congested = False
        self._uncongested: asyncio.Future[None] | None = None
        self._is_ready = False  # for the process's output: the head and the backlog are through
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._left: asyncio.Future[None] = self._loop.create_future()
        self._watch: Watch | None = None
        self._transport: asyncio.Transport
        self.detached = False

    async def run(self) -> None:
        try:
            await take_in(self._transport)
            if self._backlog is not None:
                async for chunk in self._backlog:
                    if self._left.done():
                        return
                    self._write(chunk)
                    if self._congested and not self._left.done():
                        self._uncongested = self._loop.create_future()
                        await self._uncongested
            self._is_ready = True
            if self._source is None:
                self._end()
            elif not self._congested:
                self._listen(True)
            await self._over
            if self._until and not self.detached:
                await asyncio.wait((self._until, self._left), return_when=asyncio.FIRST_COMPLETED)
            await self._farewell()
        except ClientGone:
            return

    async def close(self) -> None:
        self._close_source()
        if self._watch:
            self._watch.stop()
        if isinstance(self._backlog, AsyncGenerator):
            await self._backlog.aclose()

    async def _farewell(self) -> None:
        """Let the client read to the end. Closing with unread input would reset the connection instead (unix(7), tcp(7))."""
        if self._left.done() or self._input_ended or not self._transport.can_write_eof():
            return
        self._transport.write_eof()
        await asyncio.wait((self._left,), timeout=FAREWELL_SECONDS)

    # The client's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._stdin or self._over.done():
            return
        if self._screen:
            data, detach = self._screen(data)
            if detach:
                self.detached = True
                self._end()
        if self._unsent:
            self._unsent += data
        elif data:
            self._send(data)

    def eof_received(self) -> bool:
        self._input_ended = True
        if self._stdin and not self._unsent and not self._over.done():
            self._end_stdin()
        if self._over.done():
            self._leave()
        self._watch = Watch(self._transport)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        if self._uncongested and not self._uncongested.done():
            self._uncongested.set_exception(ClientGone("the client closed the connection"))
        self._end()

    def pause_writing(self) -> None:
        self._congested = True
        self._listen(False)

    def resume_writing(self) -> None:
        self._congested = False
        if self._uncongested and not self._uncongested.done():
            self._uncongested.set_result(None)
        if self._is_ready and not self._over.done():
            self._listen(True)

    # The process's side

    def _readable(self) -> None:
        assert self._source is not None
        try:
            data = self._source.recv(BLOCK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._write(data)
        else:
            self._end()

    def _write(self, data: bytes) -> None:
        self._transport.write(self._translate(data) if self._translate else data)

    def _send(self, data: bytes) -> None:
        """Give input to the process; what it does not take now waits, and so does the client."""
        assert self._source is not None
        try:
            sent = self._source.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:  # the process has closed its stdin: its output may go on
            self._stdin, self._unsent = False, b""
            self._loop.remove_writer(self._source)
            return
        waited, self._unsent = bool(self._unsent), data[sent:]
        if self._unsent and not waited:
            self._transport.pause_reading()
            self._loop.add_writer(self._source, self._writable)

    def _writable(self) -> None:
        self._send(self._unsent)
        if not self._unsent and self._source is not None:
            self._loop.remove_writer(self._source)
            if not self._over.done():
                self._transport.resume_reading()
            if self._input_ended and self._stdin:
                self._end_stdin()

    def _end_stdin(self) -> None:
        assert self._source is not None
        self._stdin = False
        with suppress(OSError):  # it may have gone already
            self._source.shutdown(socket.SHUT_WR)

    def _listen(self, on: bool) -> None:
        if self._source is None or self._over.done():
            return
        if on:
            self._loop.add_reader(self._source, self._readable)
        else:
            self._loop.remove_reader(self._source)

    def _end(self) -> None:
        if not self._over.done():
            self._close_source()
            self._over.set_result(None)

    def _leave(self) -> None:
        if not self._left.done():
            self._left.set_result(None)

    def _close_source(self) -> None:
        if self._source is not None:
            self._loop.remove_reader(self._source)
            self._loop.remove_writer(self._source)
            self._source.close()
            self._source = None
