"""Carries TCP connections that come to a published port by IPv6 to a container that has only an IPv4 address.

The kernel cannot translate between the two, and ::1 cannot be routed out of the host at all. The container sees the host as the
client. IPv4 never comes this way.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

_CHUNK_BYTES = 1 << 16


class Relay:
    """Accepts on a listening socket and copies both ways; ends, with its connections, when it is closed."""

    def __init__(
        self, listener: socket.socket, address: str, port: int, spawn: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self._listener, self._address, self._port, self._spawn = listener, address, port, spawn
        self._connections: set[socket.socket] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        """Stop; the listening socket stays its owner's."""
        self._loop.remove_reader(self._listener)
        for connection in self._connections:
            with suppress(OSError):  # it ends right now
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):  # the client has gone again, or there are no descriptors left
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            self._connections.add(connection)
            self._spawn(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError):
                await self._carry(connection)
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _carry(self, connection: socket.socket) -> None:
        with socket.socket(socket.AF_INET6 if ":" in self._address else socket.AF_INET, socket.SOCK_STREAM) as onward:
            onward.setblocking(False)
            await self._loop.sock_connect(onward, (self._address, self._port))
            await asyncio.gather(self._copy(connection, onward), self._copy(onward, connection))

    async def _copy(self, source: socket.socket, target: socket.socket) -> None:
        """Until the end of one direction, which is passed on; the other may go on."""
        with suppress(OSError):
            while data := await self._loop.sock_recv(source, _CHUNK_BYTES):
                await self._loop.sock_sendall(target, data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
