"""TarReader: a byte stream as the entries of a tar archive, in one pass, with little copying."""

from collections.abc import Callable, Iterator

from orlop.spec.errors import Corrupt
from orlop.storage.tar import pax
from orlop.storage.tar.headers import BLOCK, GNU_LONG_NAME, GNU_SPARSE, METADATA, PAX, Entry, padding, parse_header

_METADATA_LIMIT = 1 << 20  # of one PAX or long name header, as Go's archive/tar has it
_MAP_LIMIT = 1 << 20  # segments of one sparse file
_EMPTY = bytes(BLOCK)


class TarReader:
    """Entries of an archive, each followed by its body: `next()`, then `pieces()`, `read()` or nothing (the body is skipped).

    With `keep`, every byte that is no body handed out by `pieces` goes there too, so that all the calls in between can be
    replayed. Raises Corrupt for a malformed or truncated archive.
    """

    def __init__(self, read: Callable[[], bytes], keep: Callable[[bytes], None] | None = None) -> None:
        """`read` gives the next block of any size, b"" at the end."""
        self._read_block = read
        self._keep = keep
        self._block = b""
        self._position = 0
        self._left = 0  # of the body
        self._padding = 0

    def next(self) -> Entry | None:
        """The next entry, None at the end of the archive."""
        self._finish_body()
        records: list[pax.Record] = []
        name = link = b""
        while True:
            header = self._header()
            if header is None:
                return None
            entry = parse_header(header)
            if entry.kind not in METADATA:
                break
            body = self._metadata(entry.size)
            if entry.kind == PAX:
                records = pax.parse_records(body)
            elif entry.kind == GNU_LONG_NAME:
                name = body.partition(b"\0")[0]
            elif entry.kind == b"K":
                link = body.partition(b"\0")[0]
        if name or link:
            entry.name, entry.link = name or entry.name, link or entry.link
        if records:
            pax.apply_records(entry, records)
        self._left, self._padding = entry.size, padding(entry.size)
        if entry.kind == GNU_SPARSE:
            self._old_map(entry, header)
        elif records and pax.has_map_in_body(records):
            self._map_in_body(entry)
        return entry

    def pieces(self) -> Iterator[memoryview]:
        """The body (of a sparse file: its segments one after the other), in pieces that are valid until the next call."""
        while self._left:
            if self._position == len(self._block):
                self._fill()
            end = min(self._position + self._left, len(self._block))
            piece = memoryview(self._block)[self._position : end]
            self._left -= len(piece)
            self._position = end
            yield piece

    def whole(self) -> memoryview | None:
        """The body, where it lies in memory in one piece already; else None, and `pieces` gives it."""
        end = self._position + self._left
        if end > len(self._block):
            return None
        piece = memoryview(self._block)[self._position : end]
        self._position, self._left = end, 0
        return piece

    def read(self, limit: int) -> bytes:
        """The body at once. Raises Corrupt when it is longer than `limit` bytes."""
        if self._left > limit:
            raise Corrupt(f"an entry of {self._left} bytes, where at most {limit} are expected")
        return b"".join(bytes(piece) for piece in self.pieces())

    def drain(self) -> None:
        """Read to the end of the stream what follows the archive's end (zeros, as a rule)."""
        while self._position < len(self._block) or self._refill():
            self._kept(self._block[self._position :])
            self._position = len(self._block)

    def _finish_body(self) -> None:
        if self._left:
            for piece in self.pieces():
                if self._keep:
                    self._keep(bytes(piece))
        if self._padding:
            count, self._padding = self._padding, 0
            self._kept(self._take(count))

    def _header(self) -> bytes | None:
        header = self._take(BLOCK, may_end=True)
        if not header:
            return None
        self._kept(header)
        if header[0] or header != _EMPTY:
            return header
        second = self._take(BLOCK, may_end=True)
        self._kept(second)
        if second and second != _EMPTY:
            raise Corrupt("invalid tar header: an entry after the end of the archive")
        return None

    def _metadata(self, size: int) -> bytes:
        if size > _METADATA_LIMIT:
            raise Corrupt(f"invalid tar header: {size} bytes of metadata for one entry")
        body = self._take(size + padding(size))
        self._kept(body)
        return body[:size]

    def _old_map(self, entry: Entry, header: bytes) -> None:
        entry.real_size = pax.old_real_size(header)
        segments, more = pax.parse_old_map(header, extension=False)
        while more:
            block = self._take(BLOCK)
            self._kept(block)
            further, more = pax.parse_old_map(block, extension=True)
            segments += further
            if len(segments) > _MAP_LIMIT:
                raise Corrupt("invalid tar header: the map of a sparse file is too long")
        entry.segments, entry.kind = segments, b"0"
        pax.check_segments(entry)

    def _map_in_body(self, entry: Entry) -> None:
        """GNU sparse 1.0: decimal lines (a count, then offset and length of each segment), filled up to a block."""
        text = bytearray()
        numbers: list[int] = []
        wanted = 1
        while len(numbers) < wanted:
            if self._left < BLOCK or len(text) > 64 * _MAP_LIMIT:
                raise Corrupt("invalid tar header: the map of a sparse file is cut off")
            block = self._take(BLOCK)
            self._kept(block)
            self._left -= BLOCK
            text += block
            *lines, rest = text.split(b"\n")
            text = bytearray(rest)
            numbers += [_line(line) for line in lines[: wanted - len(numbers) if numbers else None]]
            if numbers:
                wanted = 1 + 2 * min(numbers[0], _MAP_LIMIT + 1)
        numbers = numbers[1:wanted]
        entry.segments = list(zip(numbers[::2], numbers[1::2], strict=True))
        entry.size = self._left
        pax.check_segments(entry)

    def _kept(self, content: bytes) -> None:
        if self._keep and content:
            self._keep(content)

    def _take(self, count: int, *, may_end: bool = False) -> bytes:
        """The next bytes. At the end of the stream raises Corrupt, or with `may_end` gives b""."""
        end = self._position + count
        if end <= len(self._block):
            piece = self._block[self._position : end]
            self._position = end
            return piece
        parts = [self._block[self._position :]]
        missing = count - len(parts[0])
        while missing:
            if not self._refill():
                if may_end and missing == count:
                    return b""
                raise Corrupt("unexpected end of the tar archive")
            self._position = min(missing, len(self._block))
            parts.append(self._block[: self._position])
            missing -= self._position
        return b"".join(parts)

    def _fill(self) -> None:
        if not self._refill():
            raise Corrupt("unexpected end of the tar archive")

    def _refill(self) -> bool:
        self._block, self._position = self._read_block(), 0
        return bool(self._block)


def _line(text: bytes | bytearray) -> int:
    if not text.isdigit() or len(text) > 20:
        raise Corrupt(f"invalid tar header: {bytes(text[:24])!r} in the map of a sparse file")
    return int(text)
