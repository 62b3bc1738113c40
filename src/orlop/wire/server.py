"""The HTTP server: listening sockets in, connections made. Our own, for Docker's clients hijack and half-close connections."""

import asyncio
import socket
import ssl
from collections.abc import Iterable

from orlop.wire.connection import Connection, Site
from orlop.wire.tls import Tls

GRACE_SECONDS = 5.0
BACKLOG = 1024


class Server:
    """Listening sockets and the connections that came through them."""

    def __init__(self, site: Site, listeners: list[asyncio.Server]) -> None:
        self._site = site
        self._listeners = listeners

    async def close(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """Take no more clients, end streams, and give short answers some time to be finished."""
        self._site.closing = True
        for listener in self._listeners:
            listener.close()
        for connection in tuple(self._site.connections):
            connection.abandon()
        if self._site.connections:
            try:
                await asyncio.wait_for(self._site.empty.wait(), grace_seconds)
            except TimeoutError:
                return


async def serve(site: Site, sockets: Iterable[socket.socket], *, tls: ssl.SSLContext | None = None) -> Server:
    """Answer on listening sockets (see listen.py); those that are not unix sockets speak TLS when a context is given.

    The sockets are closed with the Server; a unix socket's path is the caller's to remove.
    """
    loop = asyncio.get_running_loop()
    listeners = []
    for listening in sockets:
        if listening.family == socket.AF_UNIX:
            listeners.append(await loop.create_unix_server(lambda: Connection(site), sock=listening, backlog=BACKLOG))
        else:
            make = (lambda: Tls(site, tls)) if tls else (lambda: Connection(site))
            listeners.append(await loop.create_server(make, sock=listening, backlog=BACKLOG))
    return Server(site, listeners)
