"""Whether a client that has ended its input is still there: a half-closed socket looks the same to a reader as a closed one."""

import asyncio
import select
import socket

WATCH_SECONDS = 5.0


def has_left(transport: asyncio.BaseTransport) -> bool:
    """After an end of input. Only a unix socket tells (POLLHUP: closed both ways); on TCP an end is taken for the client's
    leaving, as Go's server does."""
    client: socket.socket = transport.get_extra_info("socket")
    return client.family != socket.AF_UNIX or _is_hung_up(client)


def _is_hung_up(client: socket.socket) -> bool:
    if client.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(client.fileno(), 0)
    return bool(poll.poll(0))


class Watch:
    """Looks now and then after a client that only listens, and aborts the transport when it is gone.

    Nothing else would tell before the next write: asyncio no longer reads from a socket whose input has ended.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    def _look(self) -> None:
        client: socket.socket = self._transport.get_extra_info("socket")
        if client.family == socket.AF_UNIX and _is_hung_up(client):
            self._transport.abort()
        elif not self._transport.is_closing():
            self._timer = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    def stop(self) -> None:
        """The connection is over."""
        self._timer.cancel()
