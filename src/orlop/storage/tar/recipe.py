"""A recipe: the tar of an unpacked layer without the bodies of its files, from which the very same tar is made again.

The file begins with a fixed head (magic, size of the tar, where the moves begin). A zstd frame of records follows:
`L length bytes` (headers, padding, whatever was no body), `F` (the body is that of a file, by its path in the layer) and
`S` (it is the segments of a sparse file). At the end stand the moves: a file that a later entry of the same tar replaced was
put aside, and its body is found there.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from orlop.kernel import syscalls
from orlop.spec.errors import Corrupt
from orlop.storage.compression import READ_BYTES, compressor, inflate
from orlop.storage.tar.headers import Segment

_HEAD = struct.Struct("<16sQQ")
_MAGIC = b"orlop recipe 1\n\0"
_LITERAL = struct.Struct("<cI")
_FILE = struct.Struct("<cHQ")
_SEGMENTS = struct.Struct("<cHI")
_SEGMENT = struct.Struct("<QQ")
_MOVE = struct.Struct("<QIH")
_FLUSH_BYTES = 1 << 17
_MOVES_LIMIT = 1 << 26
_RESOLVE = syscalls.RESOLVE_BENEATH | syscalls.RESOLVE_NO_SYMLINKS


class Move(NamedTuple):
    """What the first `before` bodies had at `path` is now aside, under the number `kept`."""

    before: int
    kept: int
    path: bytes


class Recorder:
    """Writes a recipe while a layer is unpacked."""

    def __init__(self, fd: int) -> None:
        """`fd` is an empty file, open for writing; `finish` must be called for it to become a recipe."""
        self._fd = fd
        self._compressor = compressor("zstd")
        self._pending: list[bytes] = []  # records, ready to be compressed
        self._pending_bytes = 0
        self._literal: list[bytes] = []
        self._count = 0
        self._moves: list[Move] = []
        _write(fd, bytes(_HEAD.size))

    def literal(self, content: bytes) -> None:
        """Bytes of the tar to be kept as they are."""
        self._literal.append(content)

    def file(self, path: bytes, size: int) -> None:
        """Here the tar has the whole content of a file."""
        self._flush_literal()
        self._add(_FILE.pack(b"F", len(path), size) + path)
        self._count += 1

    def segments(self, path: bytes, segments: Sequence[Segment]) -> None:
        """Here the tar has these segments of a file."""
        self._flush_literal()
        table = b"".join(_SEGMENT.pack(*segment) for segment in segments)
        self._add(_SEGMENTS.pack(b"S", len(path), len(segments)) + path + table)
        self._count += 1

    def moved(self, path: bytes, kept: int) -> None:
        """What was unpacked at `path` is now aside, under a number."""
        self._moves.append(Move(self._count, kept, path))

    def finish(self, tar_size: int) -> None:
        """Complete the file."""
        self._flush_literal()
        _write(self._fd, self._compressor.compress(b"".join(self._pending)) + self._compressor.flush())
        moves_at = os.lseek(self._fd, 0, os.SEEK_CUR)
        _write(self._fd, b"".join(_MOVE.pack(before, kept, len(path)) + path for before, kept, path in self._moves))
        os.pwrite(self._fd, _HEAD.pack(_MAGIC, tar_size, moves_at), 0)

    def _flush_literal(self) -> None:
        if self._literal:
            content = b"".join(self._literal)
            self._literal.clear()
            self._add(_LITERAL.pack(b"L", len(content)) + content)

    def _add(self, record: bytes) -> None:
        self._pending.append(record)
        self._pending_bytes += len(record)
        if self._pending_bytes > _FLUSH_BYTES:
            _write(self._fd, self._compressor.compress(b"".join(self._pending)))
            self._pending.clear()
            self._pending_bytes = 0


def replay(recipe: Path, tree: Path, kept: Path) -> Iterator[bytes]:
    """The tar again, in blocks. `tree` is the layer, `kept` has what was put aside.

    Raises Corrupt when a file is gone or has another size; whether its content is right only the tar's digest tells.
    """
    with recipe.open("rb") as file:
        moves, end = _moves(file.fileno(), recipe)
        body = _Bounded(file.fileno(), _HEAD.size, end)
        tree_fd = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        kept_fd = os.open(kept, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) if moves else -1
        try:
            yield from _blocks(_Records(inflate(body, "zstd")), _Bodies(tree_fd, kept_fd, moves))
        finally:
            os.close(tree_fd)
            if kept_fd >= 0:
                os.close(kept_fd)


def tar_size(recipe: Path) -> int:
    """How long the tar is that a recipe makes. Raises Corrupt."""
    with recipe.open("rb") as file:
        return _head(file.read(_HEAD.size), recipe)[0]


def _blocks(records: "_Records", bodies: "_Bodies") -> Iterator[bytes]:
    """Join what belongs together into larger blocks."""
    parts: list[bytes] = []
    waiting = 0
    for piece in _pieces(records, bodies):
        parts.append(piece)
        waiting += len(piece)
        if waiting >= READ_BYTES:
            yield b"".join(parts)
            parts.clear()
            waiting = 0
    if parts:
        yield b"".join(parts)


def _pieces(records: "_Records", bodies: "_Bodies") -> Iterator[bytes]:
    while kind := records.read(1):
        if kind == b"L":
            (length,) = struct.unpack("<I", _exactly(records, 4))
            while length:
                piece = records.read(min(length, READ_BYTES))
                if not piece:
                    raise Corrupt("a layer's recipe is cut off")
                length -= len(piece)
                yield piece
        elif kind == b"F":
            path_length, size = struct.unpack("<HQ", _exactly(records, 10))
            yield from bodies.whole(_exactly(records, path_length), size)
        elif kind == b"S":
            path_length, count = struct.unpack("<HI", _exactly(records, 6))
            path = _exactly(records, path_length)
            yield from bodies.segments(path, list(_SEGMENT.iter_unpack(_exactly(records, count * _SEGMENT.size))))
        else:
            raise Corrupt(f"a layer's recipe has an unknown record {kind!r}")


class _Bodies:
    """Contents of a layer's files, wherever they are now."""

    def __init__(self, tree_fd: int, kept_fd: int, moves: Sequence[Move]) -> None:
        self._tree_fd, self._kept_fd, self._moves = tree_fd, kept_fd, moves
        self._index = 0

    def whole(self, path: bytes, size: int) -> Iterator[bytes]:
        fd = self._open(path)
        try:
            if os.fstat(fd).st_size != size:
                raise Corrupt(f"a file of a layer was changed: /{os.fsdecode(path)}")
            yield from _read(fd, size, path)
        finally:
            os.close(fd)

    def segments(self, path: bytes, segments: Sequence[Segment]) -> Iterator[bytes]:
        fd = self._open(path)
        try:
            for offset, length in segments:
                os.lseek(fd, offset, os.SEEK_SET)
                yield from _read(fd, length, path)
        finally:
            os.close(fd)

    def _open(self, path: bytes) -> int:
        base_fd, place = self._tree_fd, path
        for before, kept, moved in self._moves:
            if self._index < before and (path == moved or path.startswith(moved + b"/")):
                base_fd, place = self._kept_fd, b"%d" % kept + path[len(moved) :]
                break
        self._index += 1
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            return syscalls.openat2(base_fd, place, flags, resolve=_RESOLVE)
        except OSError as error:
            raise Corrupt(f"a file of a layer is gone: /{os.fsdecode(path)}: {error.strerror}") from error


def _read(fd: int, size: int, path: bytes) -> Iterator[bytes]:
    while size:
        block = os.read(fd, min(size, READ_BYTES))
        if not block:
            raise Corrupt(f"a file of a layer was cut off: /{os.fsdecode(path)}")
        size -= len(block)
        yield block


class _Bounded:
    """The part of a file between two offsets, as a byte source."""

    def __init__(self, fd: int, start: int, end: int) -> None:
        self._fd, self._at, self._end = fd, start, end

    def read(self, size: int, /) -> bytes:
        block = os.pread(self._fd, min(size, self._end - self._at), self._at)
        self._at += len(block)
        return block


class _Records:
    """The bytes of records, of which `read` gives at most so many, b"" at the end."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._buffer, self._at = b"", 0

    def read(self, size: int) -> bytes:
        if self._at == len(self._buffer):
            self._buffer, self._at = next(self._blocks, b""), 0
        piece = self._buffer[self._at : self._at + size]
        self._at += len(piece)
        return piece


def _exactly(records: "_Records", size: int) -> bytes:
    content = records.read(size)
    while len(content) < size:
        more = records.read(size - len(content))
        if not more:
            raise Corrupt("a layer's recipe is cut off")
        content += more
    return content


def _head(content: bytes, recipe: Path) -> tuple[int, int]:
    if len(content) < _HEAD.size or content[: len(_MAGIC)] != _MAGIC:
        raise Corrupt(f"cannot read {recipe}: not a recipe")
    _, size, moves_at = _HEAD.unpack(content)
    return size, moves_at


def _moves(fd: int, recipe: Path) -> tuple[list[Move], int]:
    """The moves, and where the records end."""
    _, moves_at = _head(os.pread(fd, _HEAD.size, 0), recipe)
    content = os.pread(fd, _MOVES_LIMIT, moves_at)
    moves = []
    at = 0
    while at < len(content):
        try:
            before, kept, length = _MOVE.unpack_from(content, at)
        except struct.error as error:
            raise Corrupt(f"cannot read {recipe}: cut off") from error
        at += _MOVE.size + length
        moves.append(Move(before, kept, content[at - length : at]))
    return moves, moves_at


def _write(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
