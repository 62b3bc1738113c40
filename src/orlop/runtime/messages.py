"""Messages between the daemon and the keeper: a length, a JSON document, and descriptors that travel with it.

Import-light: the keeper imports this module. Each side encodes and decodes JSON with its own codec.
"""

from __future__ import annotations

import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = struct.Struct("!II")  # bytes that follow; descriptors that belong to them
_MOST_BYTES = 64 << 20  # beyond this the other side is not one of ours
_MOST_FDS = 16
_READ_BYTES = 65536


def frame(payload: bytes, fds: int = 0) -> bytes:
    """A message as it is on the socket. Its descriptors are sent with its first byte."""
    return _HEAD.pack(len(payload), fds) + payload


class Inbox:
    """Puts messages together from what a stream socket gives."""

    __slots__ = ("_bytes", "_fds")

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._fds: list[int] = []

    def receive(self, connection: socket.socket) -> bool:
        """Read once from a non-blocking socket. False at the end of the stream; OSError as recvmsg(2) has it."""
        data, fds, _, _ = socket.recv_fds(connection, _READ_BYTES, _MOST_FDS)
        self._fds += fds
        self._bytes += data
        return bool(data)

    def messages(self) -> Iterator[tuple[bytes, list[int]]]:
        """Every message that is complete. Raises ConnectionError when the stream makes no sense."""
        while len(self._bytes) >= _HEAD.size:
            length, count = _HEAD.unpack_from(self._bytes)
            if length > _MOST_BYTES or count > _MOST_FDS:
                raise ConnectionError("this is not a message")
            end = _HEAD.size + length
            if len(self._bytes) < end:
                return
            payload = bytes(self._bytes[_HEAD.size : end])
            del self._bytes[:end]
            fds, self._fds = self._fds[:count], self._fds[count:]
            yield payload, fds
