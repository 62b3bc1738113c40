"""Compressed streams: recognised by their first bytes, read as plain bytes, and made."""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Protocol, cast

from orlop.spec.errors import Corrupt, InvalidArgument

READ_BYTES = 1 << 18  # measured: 128 to 256 KiB stay in the cache between inflating, hashing and writing
_MEMORY_BYTES = 1 << 27  # the most that a window of xz or zstd may take

_MAGIC = {
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
}
MAGIC_BYTES = 6


class Source(Protocol):
    """Something that is read to its end: `read` gives at most `size` bytes, b"" at the end, and blocks."""

    def read(self, size: int, /) -> bytes: ...


class _Inflater(Protocol):
    """One member (gzip) or stream (bzip2, xz) being decompressed. Its output is bounded, so that no bomb fills the memory."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def detect(start: bytes) -> str:
    """The compression whose magic number opens these bytes: gzip, zstd, bzip2, xz, or "" for none of them."""
    for name, magic in _MAGIC.items():
        if start.startswith(magic):
            return name
    # zstd may open with a skippable frame: magic 0x184D2A50 to 0x184D2A5F, little-endian
    return "zstd" if len(start) >= 4 and start[1:4] == b"\x2a\x4d\x18" and start[0] & 0xF0 == 0x50 else ""


class Peeked:
    """A source whose beginning was looked at."""

    def __init__(self, first: bytes, source: Source) -> None:
        self._first, self._source = first, source

    def read(self, size: int, /) -> bytes:
        if self._first:
            block, self._first = self._first[:size], self._first[size:]
            return block
        return self._source.read(size)


def sniff(source: Source) -> tuple[Source, str]:
    """The same source, and how it is compressed."""
    first = b""
    while len(first) < MAGIC_BYTES and (block := source.read(READ_BYTES)):
        first += block
    return Peeked(first, source), detect(first)


class FdSource:
    """A file, pipe or socket as a source; the descriptor stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, size: int, /) -> bytes:
        return os.read(self._fd, size)


class BlockSource:
    """An iterator of blocks as a source."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        block = self._rest or next(self._blocks, b"")
        self._rest = block[size:]
        return block[:size] if self._rest else block


def inflate(source: Source, compression: str) -> Iterator[bytes]:
    """Blocks of the plain content, member after member. Raises Corrupt when the stream is malformed or cut off."""
    try:
        if compression == "":
            while block := source.read(READ_BYTES):
                yield block
        elif compression == "zstd":
            yield from _inflate_zstd(source)
        else:
            yield from _inflate_members(source, _INFLATERS[compression], compression)
    except _errors(compression) as error:
        raise Corrupt(f"cannot decompress {compression}: {error}") from error


def _inflate_members(source: Source, make: Callable[[], _Inflater], compression: str) -> Iterator[bytes]:
    rest = source.read(READ_BYTES)
    while rest:
        inflater = make()
        while not inflater.eof:
            if content := inflater.decompress(rest, 4 * READ_BYTES):
                yield content
            rest = source.read(READ_BYTES) if inflater.needs_input and not inflater.eof else b""
            if not rest and inflater.needs_input and not inflater.eof:
                raise EOFError("the stream is cut off")
        rest = inflater.unused_data.lstrip(b"\0")  # zeros: padding that tape-minded tools leave behind a member
        while not rest and (block := source.read(READ_BYTES)):
            rest = block.lstrip(b"\0")


def _inflate_zstd(source: Source) -> Iterator[bytes]:
    import zstandard

    frames = ZstdFrames(source)
    reader = zstandard.ZstdDecompressor(max_window_size=_MEMORY_BYTES).stream_reader(
        cast(IO[bytes], frames), read_size=READ_BYTES, read_across_frames=True
    )
    while content := reader.read(4 * READ_BYTES):
        yield content
    if not frames.is_complete:  # which the library does not tell
        raise EOFError("the stream is cut off")


class ZstdFrames:
    """A zstd stream on its way to the decompressor, followed from frame to frame to know whether it ends where one does.

    RFC 8878, sections 3.1.1 and 3.1.2.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._state: Callable[[int], None] = self._magic
        self._wanted = 4  # bytes that the present state needs
        self._skip = 0  # bytes before those
        self._have = b""

    @property
    def is_complete(self) -> bool:
        """Whether what was read so far ends at the end of a frame."""
        return self._state == self._magic and not self._skip and not self._have

    def read(self, size: int, /) -> bytes:
        block = self._source.read(size)
        position = 0
        while position < len(block):
            passed = min(self._skip, len(block) - position)
            self._skip -= passed
            position += passed
            piece = block[position : position + self._wanted - len(self._have)]
            position += len(piece)
            self._have += piece
            if len(self._have) == self._wanted and not self._skip:
                number, self._have = int.from_bytes(self._have, "little"), b""
                self._state(number)
        return block

    def _next(self, state: Callable[[int], None], wanted: int, skip: int = 0) -> None:
        self._state, self._wanted, self._skip = state, wanted, skip

    def _magic(self, number: int) -> None:
        if number & 0xFFFF_FFF0 == 0x184D_2A50:
            self._next(self._skippable, 4)
        elif number == 0xFD2F_B528:
            self._next(self._descriptor, 1)
        else:
            raise EOFError("bytes that are no frame")

    def _skippable(self, size: int) -> None:
        self._next(self._magic, 4, size)

    def _descriptor(self, descriptor: int) -> None:
        is_single = descriptor >> 5 & 1
        content_size = (is_single, 2, 4, 8)[descriptor >> 6]
        self._checksum = 4 * (descriptor >> 2 & 1)
        self._next(self._block, 3, (0, 1, 2, 4)[descriptor & 3] + content_size + 1 - is_single)

    def _block(self, header: int) -> None:
        size = 1 if header >> 1 & 3 == 1 else header >> 3  # a run-length block stores one byte
        if header & 1:  # the last one
            self._next(self._magic, 4, size + self._checksum)
        else:
            self._next(self._block, 3, size)


def _bzip2() -> _Inflater:
    import bz2  # rarely wanted, and every worker would pay for it

    return bz2.BZ2Decompressor()


def _xz() -> _Inflater:
    import lzma

    return lzma.LZMADecompressor(memlimit=_MEMORY_BYTES)


def _gzip() -> _Inflater:
    from isal import igzip_lib

    inflater: _Inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return inflater


_INFLATERS: dict[str, Callable[[], _Inflater]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
}


def _errors(compression: str) -> tuple[type[Exception], ...]:
    """What a malformed stream makes the libraries raise."""
    if compression == "zstd":
        import zstandard

        return (EOFError, zstandard.ZstdError)
    if compression == "gzip":
        from isal import igzip_lib

        return (EOFError, cast(type[Exception], igzip_lib.error))
    if compression == "xz":
        import lzma

        return (EOFError, lzma.LZMAError)
    return (EOFError, OSError) if compression == "bzip2" else ()


def compress(blocks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """Compress a stream of blocks. See `compressor`."""
    stream = compressor(compression)
    for block in blocks:
        if content := stream.compress(block):
            yield content
    yield stream.flush()


class Compressor(Protocol):
    """A stream being compressed."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


def compressor(compression: str) -> Compressor:
    """gzip or zstd at level 1: the fastest, and small enough (facts.md, section 8). Raises InvalidArgument."""
    if compression == "gzip":
        from isal import isal_zlib

        deflater: Compressor = isal_zlib.compressobj(1, isal_zlib.DEFLATED, 31)
        return deflater
    if compression == "zstd":
        import zstandard

        return zstandard.ZstdCompressor(level=1, write_checksum=True).compressobj()
    raise InvalidArgument(f"cannot compress with {compression}: use gzip or zstd")
