"""Whether a client that has ended its input is still there: a half-closed socket looks the same to a reader as a closed one."""

import asyncio
import fcntl
import select
import socket
import struct
import termios

WATCH_SECONDS = 5.0
QUICK_LOOKS, MOST_LOOKS = 5, 55  # a look costs a turn of the loop, after the quick ones a millisecond


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


async def take_in(transport: asyncio.BaseTransport) -> None:
    """Wait, though not for long, until a client on a unix socket has read all that was sent (SIOCOUTQ, unix(7)).

    docker-py reads the head of a reply through a buffer and then goes on with the bare socket: what came in the same read as
    the head, such as the output of a quick exec, would be lost.
    """
    client: socket.socket = transport.get_extra_info("socket")
    if client.family != socket.AF_UNIX:
        return
    for attempt in range(MOST_LOOKS):
        if client.fileno() < 0 or not _unread(client):
            return
        await asyncio.sleep(0 if attempt < QUICK_LOOKS else 0.001)


def _unread(client: socket.socket) -> int:
    """Bytes, with the kernel's overhead, that the other end has not read."""
    return struct.unpack("i", fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4)))[0]  # type: ignore[no-any-return]


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
