"""Log files in Docker's json-file format, bounded by rotation: the writing side. Import-light: the keeper imports it.

A line is {"log":"text\\n","stream":"stdout","time":"2026-01-01T00:00:00.000000000Z"}; text that does not end in \\n goes on in
the stream's next line. Bytes that are not UTF-8 are written as lone surrogates (\\udc80 to \\udcff) and so are not lost.
`web.log` is the newest file, `web.log.1` the one before it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from json import encoder as _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTROLS = bytes([*range(10), *range(11, 32)])  # but not the newline
_escape_ascii = _json.encode_basestring_ascii
_escape = _json.encode_basestring


class LogFile:
    """One container's log. A file that cannot be written (disk full) loses lines but stops nobody."""

    __slots__ = ("_attributes", "_fd", "max_bytes", "max_files", "path", "size")

    def __init__(self, path: str, max_bytes: int = 0, max_files: int = 1, attributes: Mapping[str, str] | None = None) -> None:
        self.path, self.max_bytes, self.max_files = path, max_bytes, max_files
        self._attributes = f',"attrs":{json.dumps(attributes, separators=(",", ":"))}'.encode() if attributes else b""
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self.size = os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close the file. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def make_room(self) -> None:
        """Rotate when the newest file has reached its limit: a step of its own, before a block is written."""
        if self.max_bytes and self.size >= self.max_bytes:
            with contextlib.suppress(OSError):  # the directory is gone or read-only: go on in the file that is open
                self._rotate()

    def _rotate(self) -> None:
        for number in range(self.max_files - 1, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                os.rename(f"{self.path}.{number - 1}", f"{self.path}.{number}")
        if self.max_files > 1:
            os.rename(self.path, f"{self.path}.1")
        else:
            os.unlink(self.path)
        old = self._fd
        self._open()
        os.close(old)

    def append(self, lines: bytes) -> None:
        """Write formatted lines; all of them or, when the disk is full, none."""
        try:
            written = os.write(self._fd, lines)
            if written < len(lines):
                raise OSError(errno.ENOSPC, "short write")
            self.size += written
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self.size)

    def format(self, stream: str, block: bytes, time_ns: int) -> bytes:
        """Lines of the log for some lines of output; the last may lack its newline."""
        second, rest = divmod(time_ns, 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        tail = b'","stream":"%s"%s,"time":"%s.%09dZ"}\n' % (stream.encode(), self._attributes, stamp.encode(), rest)
        open_end = not block.endswith(b"\n")
        escaped = _escaped(block if open_end else block[:-1])
        end = tail if open_end else b"\\n" + tail
        return b'{"log":"' + escaped.replace(b"\n", b"\\n" + tail + b'{"log":"') + end


def _escaped(block: bytes) -> bytes:
    """JSON's escapes for everything but newlines: the whole block at once where it is plain text, else line by line."""
    if block.isascii():
        plain = block.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\t", b"\\t").replace(b"\r", b"\\r")
        if len(plain.translate(None, _CONTROLS)) == len(plain):
            return plain
    return b"\n".join([_escaped_line(line) for line in block.split(b"\n")])


def _escaped_line(line: bytes) -> bytes:
    try:
        return _escape(line.decode())[1:-1].encode()
    except UnicodeDecodeError:
        return _escape_ascii(line.decode(errors="surrogateescape"))[1:-1].encode()
