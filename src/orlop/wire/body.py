"""The body of a request as a stream with flow control: `async for chunk in body`, or `await body.read(limit)`."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from orlop.wire.head import Malformed

HIGH_WATER = 256 * 1024  # bytes kept unread before the client is told to wait
LONGEST_CHUNK_LINE = 4096


class ClientGone(ConnectionError):
    """The client closed the connection before it had sent all of the body."""


class Body:
    """Fed by the connection, read by the handler. `length` None: chunked (RFC 9112, 7.1); `pace(False)` stops the client's
    sending, `pace(True)` lets it go on; `invite` is called once when a handler first waits for data (100-continue)."""

    __slots__ = ("_buffered", "_discarding", "_failed", "_left", "_line", "_pace", "_parts", "_slow", "_state",
                 "_waiter", "complete", "invite")  # fmt: skip

    def __init__(self, length: int | None, pace: Callable[[bool], None]) -> None:
        self._parts: deque[bytes] = deque()
        self._buffered = 0
        self._left = length or 0  # of the body, or of the present chunk
        self._line = b""  # part of a chunk's line
        self._state = self._data if length is not None else self._size
        self._waiter: asyncio.Future[None] | None = None
        self._pace = pace
        self._slow = self._discarding = self._failed = False
        self.complete = length == 0
        self.invite: Callable[[], None] | None = None

    # What the connection calls.

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; gives back what lies behind the body's end. Raises Malformed."""
        while data and not self.complete:
            data = self._state(data)
        self._wake()
        if self._buffered > HIGH_WATER and not self._slow and not self.complete:
            self._slow = True
            self._pace(False)
        return data

    def fail(self) -> None:
        """The client is gone: readers get ClientGone once they have read what did arrive."""
        self._failed = True
        self._wake()

    def discard(self) -> None:
        """Nobody will read any more: drop what is here and what still comes."""
        self._discarding = True
        self._parts.clear()
        self._drained(self._buffered)

    # What a handler calls.

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self.complete:
                raise StopAsyncIteration
            if self._failed:
                raise ClientGone("the client closed the connection before the end of the request's body")
            self.ask()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        part = self._parts.popleft()
        self._drained(len(part))
        return part

    def ask(self) -> None:
        """Invite a client that waits for an invitation to send the body."""
        if self.invite and not self.complete:
            self.invite()
        self.invite = None

    async def read(self, limit: int) -> bytes:
        """All of it. Raises Malformed (413) when it is longer than `limit` bytes."""
        whole, size = [], 0
        async for part in self:
            whole.append(part)
            size += len(part)
            if size > limit:
                raise Malformed(f"request body is larger than {limit} bytes", 413)
        return b"".join(whole)

    # The states. Each takes data and gives back what it did not use.

    def _data(self, data: bytes) -> bytes:
        part, rest = (data, b"") if len(data) <= self._left else (data[: self._left], data[self._left :])
        self._left -= len(part)
        if not self._discarding:
            self._parts.append(part)
            self._buffered += len(part)
        self.complete = not self._left
        return rest

    def _size(self, data: bytes) -> bytes:
        line, rest = self._take_line(data)
        if line is None:
            return b""
        digits = line.partition(b";")[0].strip(b" \t")
        if not digits or len(digits) > 16 or not all(byte in b"0123456789abcdefABCDEF" for byte in digits):
            raise Malformed("malformed chunk size")
        self._left = int(digits, 16)
        self._state = self._chunk if self._left else self._trailer
        return rest

    def _chunk(self, data: bytes) -> bytes:
        rest = self._data(data)
        if self.complete:  # of this chunk only
            self.complete = False
            self._state = self._chunk_end
        return rest

    def _chunk_end(self, data: bytes) -> bytes:
        line, rest = self._take_line(data)
        if line:
            raise Malformed("malformed chunk: longer than it says")
        if line is not None:
            self._state = self._size
        return rest

    def _trailer(self, data: bytes) -> bytes:
        line, rest = self._take_line(data)
        self.complete = line == b""
        return rest

    def _take_line(self, data: bytes) -> tuple[bytes | None, bytes]:
        """A line without its end, and what follows; None while it is not all there."""
        line, newline, rest = data.partition(b"\n")
        line = self._line + line
        if len(line) > LONGEST_CHUNK_LINE:
            raise Malformed("malformed chunk: line too long")
        if not newline:
            self._line = line
            return None, b""
        self._line = b""
        return line.removesuffix(b"\r"), rest

    def _drained(self, size: int) -> None:
        self._buffered -= size
        if self._slow and self._buffered <= HIGH_WATER // 2:
            self._slow = False
            self._pace(True)

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None
