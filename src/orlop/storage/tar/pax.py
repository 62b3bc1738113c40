"""Extended headers, pure: PAX records and what they change on an entry; the maps of sparse files in GNU tar's four formats."""

from collections.abc import Sequence

from orlop.spec.errors import Corrupt
from orlop.storage.tar.headers import SECOND, WITHOUT_BODY, Entry, Segment, bounded_time, checked_id, parse_number

Record = tuple[bytes, bytes]

_XATTR = b"SCHILY.xattr."
_WITHOUT_NUL = frozenset((b"path", b"linkpath", b"uname", b"gname", b"GNU.sparse.name"))


def parse_records(body: bytes) -> list[Record]:
    """Records of a PAX header, in order (GNU sparse 0.0 repeats keys). Raises Corrupt."""
    records: list[Record] = []
    position = 0
    while position < len(body):
        space = body.find(b" ", position, position + 20)
        digits = body[position:space] if space > 0 else b""
        if not digits.isdigit():
            raise Corrupt("invalid tar header: malformed PAX record")
        end = position + int(digits)
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 2 or body[end - 1] != 10 or not equals or not key:
            raise Corrupt("invalid tar header: malformed PAX record")
        if key in _WITHOUT_NUL and b"\0" in value:
            raise Corrupt("invalid tar header: a name with a NUL byte")
        records.append((key, value))
        position = end
    return records


def apply_records(entry: Entry, records: Sequence[Record]) -> None:
    """Let PAX records overrule the fields of the header that follows them. Raises Corrupt."""
    xattrs: dict[str, bytes] = {}
    for key, value in records:
        if key.startswith(_XATTR):
            xattrs[key[len(_XATTR) :].decode("utf-8", "surrogateescape")] = value
        elif key == b"path":
            entry.name = value
        elif key == b"linkpath":
            entry.link = value
        elif key == b"mtime":
            entry.mtime_ns = _time(value)
        elif key == b"uid":
            entry.uid = checked_id(_decimal(value))
        elif key == b"gid":
            entry.gid = checked_id(_decimal(value))
        elif key == b"size" and entry.kind not in WITHOUT_BODY:
            entry.size = entry.real_size = _decimal(value)
    if xattrs:
        entry.xattrs = xattrs
    if any(key.startswith(b"GNU.sparse.") for key, _ in records):
        _apply_sparse(entry, records)


def _apply_sparse(entry: Entry, records: Sequence[Record]) -> None:
    """Formats 0.0 and 0.1: the map is in the records. For 1.0 it opens the body: see `has_map_in_body`."""
    named = dict(records)
    entry.name = named.get(b"GNU.sparse.name", entry.name)
    size = named.get(b"GNU.sparse.realsize", named.get(b"GNU.sparse.size"))
    if size is not None:
        entry.real_size = _decimal(size)
    if b"GNU.sparse.map" in named:
        entry.segments = _segments([_decimal(number) for number in named[b"GNU.sparse.map"].split(b",") if number])
    elif b"GNU.sparse.numblocks" in named:
        keys = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        entry.segments = _segments([_decimal(value) for key, value in records if key in keys])
    if entry.segments is not None:
        check_segments(entry)


def has_map_in_body(records: Sequence[Record]) -> bool:
    """Whether this is GNU sparse format 1.0."""
    named = dict(records)
    return named.get(b"GNU.sparse.major") == b"1" and named.get(b"GNU.sparse.minor") == b"0"


def parse_old_map(block: bytes, *, extension: bool) -> tuple[list[Segment], bool]:
    """Segments of an old GNU sparse header (4 of them) or of one of its extension blocks (21); whether another one follows."""
    start, count = (0, 21) if extension else (386, 4)
    segments = []
    for number in range(count):
        at = start + 24 * number
        offset, length = block[at : at + 12], block[at + 12 : at + 24]
        if not offset.strip(b"\0 ") and not length.strip(b"\0 "):
            break
        segments.append((parse_number(offset), parse_number(length)))
    return segments, bool(block[504 if extension else 482])


def old_real_size(header: bytes) -> int:
    """Logical size in an old GNU sparse header."""
    return parse_number(header[483:495])


def check_segments(entry: Entry) -> None:
    """Segments must ascend, lie in the file and together fill the body. Raises Corrupt."""
    position = total = 0
    for offset, length in entry.segments or ():
        if offset < position or length < 0:
            raise Corrupt("invalid tar header: the map of a sparse file is out of order")
        position, total = offset + length, total + length
    if position > entry.real_size or total != entry.size:
        raise Corrupt("invalid tar header: the map of a sparse file does not fit its size")


def _segments(numbers: Sequence[int]) -> list[Segment]:
    if len(numbers) % 2:
        raise Corrupt("invalid tar header: the map of a sparse file lacks a number")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 20:
        raise Corrupt(f"invalid tar header: {text[:24]!r} is not a number")
    return int(text)


def _time(text: bytes) -> int:
    seconds, _, fraction = text.partition(b".")
    if seconds.startswith(b"-"):
        return 0
    if fraction and not fraction.isdigit():
        raise Corrupt(f"invalid tar header: {text[:24]!r} is not a time")
    return bounded_time(_decimal(seconds) * SECOND + int(fraction[:9].ljust(9, b"0")))
