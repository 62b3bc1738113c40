"""Carries TCP connections that come to a published port by IPv6 to a container that has only an IPv4 address.

The kernel cannot translate between the two, and ::1 cannot be routed out of the host at all. The container sees the host as the
client. IPv4 never comes this way.
"""

import asyncio
import socket
from contextlib import suppress

_CHUNK_BYTES = 1 << 16


class Relay:
    """Accepts on a listening socket and copies both ways; ends, with its connections, when it is closed."""

    def __init__(self, server: asyncio.Server) -> None:
        self._server = server

    @classmethod
    async def start(cls, listener: socket.socket, address: str, port: int) -> "Relay":
        """Serve a listening socket by connections to `address`:`port`. The listener then belongs to the relay."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                await _serve(reader, writer, address, port)

        return cls(await asyncio.start_server(serve, sock=listener))

    def close(self) -> None:
        self._server.close()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, port: int) -> None:
    try:
        onward_reader, onward_writer = await asyncio.open_connection(address, port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, onward_writer))
                group.create_task(_copy(onward_reader, writer))
        finally:
            onward_writer.close()
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end of one direction, which is passed on; the other may go on."""
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
