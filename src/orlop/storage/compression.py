"""Compressed streams: recognised by their first bytes, read as plain bytes, and made."""

import bz2
import lzma
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

    reader = zstandard.ZstdDecompressor(max_window_size=_MEMORY_BYTES).stream_reader(
        cast(IO[bytes], source), read_size=READ_BYTES, read_across_frames=True
    )
    while content := reader.read(4 * READ_BYTES):
        yield content


def _gzip() -> _Inflater:
    from isal import igzip_lib

    inflater: _Inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
    return inflater


_INFLATERS: dict[str, Callable[[], _Inflater]] = {
    "gzip": _gzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=_MEMORY_BYTES),
}


def _errors(compression: str) -> tuple[type[Exception], ...]:
    """What a malformed stream makes the libraries raise."""
    if compression == "zstd":
        import zstandard

        return (zstandard.ZstdError,)
    if compression == "gzip":
        from isal import igzip_lib

        return (EOFError, cast(type[Exception], igzip_lib.error))
    return (EOFError, OSError, lzma.LZMAError) if compression in ("bzip2", "xz") else ()


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
