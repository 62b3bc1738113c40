"""Docker's framing of stdout and stderr on one connection: 8 bytes of header (stream, 0, 0, 0, length) and the bytes."""

import struct
from collections.abc import Iterator

STDIN, STDOUT, STDERR, SYSTEM_ERROR = range(4)
HEADER = struct.Struct(">BxxxI")


def frame(stream: int, data: bytes) -> bytes:
    """One frame."""
    return HEADER.pack(stream, len(data)) + data


def add_frames(data: bytes) -> bytes:
    """Output of a terminal for a client that reads frames."""
    return frame(STDOUT, data)


class FrameReader:
    """Takes bytes as they come and gives (stream, data) pairs; a frame that has not all arrived is given in parts."""

    __slots__ = ("_head", "_left", "_stream")

    def __init__(self) -> None:
        self._head = b""
        self._stream = STDOUT
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What can be told from the bytes so far."""
        position, size = 0, len(data)
        while position < size:
            if self._left:
                part = data[position : position + self._left]
                self._left -= len(part)
                position += len(part)
                yield self._stream, part
                continue
            missing = HEADER.size - len(self._head)
            self._head += data[position : position + missing]
            position += missing
            if len(self._head) == HEADER.size:
                self._stream, self._left = HEADER.unpack(self._head)
                self._head = b""

    def strip(self, data: bytes) -> bytes:
        """The same bytes without frames: both streams in one."""
        return b"".join(part for _, part in self.feed(data))
