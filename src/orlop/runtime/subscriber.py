"""One client attached to a process, on the keeper's side: a stream socket. Import-light: the keeper imports this module."""

from __future__ import annotations

from orlop.runtime import loop as events
from orlop.runtime.journal import BLOCK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from orlop.runtime.loop import Loop


class Subscriber:
    """Takes output, gives input. `on_input` gets the client's bytes, b"" at their end; `on_room` is called when it is no
    longer full, `on_gone` once when it goes."""

    __slots__ = (
        "_finishing",
        "_input_over",
        "_loop",
        "_reading",
        "_socket",
        "_waiting",
        "on_gone",
        "on_input",
        "on_room",
        "stdin",
        "streams",
    )

    def __init__(self, loop: Loop, connection: socket.socket, *, stdin: bool, streams: frozenset[str]) -> None:
        connection.setblocking(False)
        self._loop, self._socket, self.stdin, self.streams = loop, connection, stdin, streams
        self._waiting = b""
        self._reading = self._input_over = self._finishing = False
        self.on_input: Callable[[bytes], None] = lambda data: None
        self.on_room: Callable[[], None] = lambda: None
        self.on_gone: Callable[[], None] = lambda: None
        loop.watch(connection.fileno(), 0, self._on_event)

    @property
    def gone(self) -> bool:
        """Whether the connection is closed."""
        return self._socket.fileno() < 0

    @property
    def full(self) -> bool:
        """Whether it has not taken all that it was sent."""
        return bool(self._waiting)

    def read(self, wanted: bool) -> None:
        """Go on, or stop, reading input from the client."""
        self._reading = wanted and not self._input_over
        self._change()

    def send(self, data: bytes) -> None:
        """Send at once what fits, the rest when there is room."""
        if self.full:
            self._waiting += data
        elif rest := self._send_some(data):
            self._waiting = rest
            self._change()

    def finish(self) -> None:
        """Nothing more will come: close as soon as everything was sent."""
        self._finishing = True
        if not self._waiting:
            self.drop()

    def drop(self) -> None:
        """Close now. Idempotent."""
        self._waiting = b""
        if not self.gone:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self.on_gone()

    def _change(self) -> None:
        if not self.gone:
            wanted = (events.READ if self._reading else 0) | (events.WRITE if self._waiting else 0)
            self._loop.change(self._socket.fileno(), wanted)

    def _send_some(self, data: bytes) -> bytes:
        """What could not be sent."""
        try:
            return data[self._socket.send(data) :]
        except BlockingIOError:
            return data
        except OSError:  # the client has gone
            self.drop()
            return b""

    def _on_event(self, mask: int) -> None:
        if mask & events.WRITE and self._waiting:
            self._flush()
        elif mask & events.READ and self._reading:
            self._receive()
        elif mask & events.HANGUP:
            self.drop()

    def _flush(self) -> None:
        self._waiting = self._send_some(self._waiting)
        if self._waiting or self.gone:
            return
        self._change()
        if self._finishing:
            self.drop()
        else:
            self.on_room()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(BLOCK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.drop()
            return
        if not data:  # it will send no more, but may still want the output
            self._input_over = True
            self.read(False)
        self.on_input(data)
