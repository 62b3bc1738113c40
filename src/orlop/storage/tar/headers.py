"""The 512-byte header of a tar entry, pure: bytes to fields and back. ustar, GNU and PAX; POSIX.1-2017 pax(1), GNU tar manual.

Names are bytes here, as the kernel has them.
"""

import struct
from collections.abc import Mapping, Sequence

from orlop.spec.errors import Corrupt

BLOCK = 512
ZEROS = bytes(2 * BLOCK)  # two blocks of zeros end an archive

# Type flags.
FILE, LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO, CONTIGUOUS = (bytes([48 + number]) for number in range(8))
OLD_FILE, GNU_SPARSE, GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL = b"\0", b"S", b"L", b"K", b"x", b"g"
WITHOUT_BODY = frozenset((LINK, SYMLINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO))
METADATA = frozenset((GNU_LONG_NAME, GNU_LONG_LINK, PAX, PAX_GLOBAL))

SECOND = 1_000_000_000
_LATEST_SECOND = 1 << 34  # what ext4 can keep (the year 2514); beyond is nonsense and becomes 0, as with Docker
_HIGHEST_ID = (1 << 32) - 2  # -1 means "leave it" to chown(2)

_FORM = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12s")
Segment = tuple[int, int]  # offset in the file, length


class Entry:
    """One file of an archive. `size` is the body's length in the archive; `segments` says where a sparse file's parts go."""

    __slots__ = (
        "device", "gid", "kind", "link", "mode", "mtime_ns", "name", "real_size", "segments", "size", "uid", "xattrs",
    )  # fmt: skip

    def __init__(
        self,
        name: bytes,
        kind: bytes = FILE,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        size: int = 0,
        mtime_ns: int = 0,
        link: bytes = b"",
        device: tuple[int, int] = (0, 0),
        xattrs: Mapping[str, bytes] | None = None,
        segments: Sequence[Segment] | None = None,
        real_size: int | None = None,
    ) -> None:
        self.name, self.kind, self.mode, self.uid, self.gid, self.size = name, kind, mode, uid, gid, size
        self.mtime_ns, self.link, self.device, self.xattrs, self.segments = mtime_ns, link, device, xattrs, segments
        self.real_size = size if real_size is None else real_size


def padding(size: int) -> int:
    """How many bytes fill a body up to whole blocks."""
    return -size & (BLOCK - 1)


def parse_header(header: bytes) -> Entry:
    """The entry that a header alone describes. Raises Corrupt."""
    (name, mode, uid, gid, size, mtime, checksum, kind, link, magic, _, _, major, minor, prefix, trailer) = _FORM.unpack(header)
    _check_sum(header, checksum)
    name = name.partition(b"\0")[0]
    if magic[:6] == b"ustar\0" and prefix[0]:  # GNU's own magic ("ustar ") keeps other things there
        prefix = prefix[:131] if trailer[8:] == b"tar\0" else prefix  # star's variant
        name = prefix.partition(b"\0")[0] + b"/" + name
    if kind == OLD_FILE:
        kind = DIRECTORY if name.endswith(b"/") else FILE
    elif kind == CONTIGUOUS:
        kind = FILE
    length = 0 if kind in WITHOUT_BODY else parse_number(size)
    if length < 0:
        raise Corrupt("invalid tar header: negative size")
    return Entry(
        name,
        kind,
        mode=parse_number(mode) & 0o7777,
        uid=checked_id(parse_number(uid)),
        gid=checked_id(parse_number(gid)),
        size=length,
        mtime_ns=bounded_time(parse_number(mtime) * SECOND),
        link=link.partition(b"\0")[0],
        device=(parse_number(major), parse_number(minor)) if kind in (CHARACTER, BLOCK_DEVICE) else (0, 0),
    )


def _check_sum(header: bytes, checksum: bytes) -> None:
    told = parse_number(checksum)
    blanks = 8 * 32  # the checksum is made with spaces in its own place
    if sum(header) - sum(checksum) + blanks != told:
        signed = sum(byte - 256 if byte > 127 else byte for byte in header[:148] + header[156:]) + blanks
        if signed != told:  # some old implementations sum signed characters
            raise Corrupt("invalid tar header: wrong checksum")


def parse_number(field: bytes) -> int:
    """An octal number, or GNU's base-256 for what does not fit. Raises Corrupt."""
    if field[0] & 0x80:
        number = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return number - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else number
    digits = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise Corrupt(f"invalid tar header: {digits[:24]!r} is not an octal number")
    return int(digits, 8)


def bounded_time(nanoseconds: int) -> int:
    """A time that a file system can keep; 0 in place of others."""
    return nanoseconds if 0 <= nanoseconds < _LATEST_SECOND * SECOND else 0


def checked_id(number: int) -> int:
    """A uid or gid that chown(2) takes. Raises Corrupt."""
    if not 0 <= number <= _HIGHEST_ID:
        raise Corrupt(f"invalid tar header: no such user or group id: {number}")
    return number


def encode_header(entry: Entry) -> bytes:
    """The blocks that announce an entry: a header, preceded by a PAX one for what does not fit into it."""
    return _encode(entry, {})


def encode_sparse(entry: Entry) -> bytes:
    """The blocks that announce a sparse file, map included (GNU tar's format 1.0); its segments follow, then padding."""
    segments = entry.segments or ()
    lines = [len(segments), *(number for segment in segments for number in segment)]
    table = b"".join(b"%d\n" % number for number in lines)
    table += bytes(padding(len(table)))
    directory, slash, base = entry.name.rpartition(b"/")
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": entry.name,
        b"GNU.sparse.realsize": b"%d" % entry.real_size,
    }
    stored = Entry(
        directory + slash + b"GNUSparseFile.0/" + base,
        mode=entry.mode,
        uid=entry.uid,
        gid=entry.gid,
        size=len(table) + sum(length for _, length in segments),
        mtime_ns=entry.mtime_ns,
        xattrs=entry.xattrs,
    )
    return _encode(stored, records) + table


def _encode(entry: Entry, records: dict[bytes, bytes]) -> bytes:
    name, prefix, link = entry.name, b"", entry.link
    if len(name) > 100:
        cut = name.rfind(b"/", 0, 156)
        if 0 < cut < len(name) - 1 and len(name) - cut - 1 <= 100:
            prefix, name = name[:cut], name[cut + 1 :]
        else:
            records[b"path"], name = name, name[:100]
    if len(link) > 100:
        records[b"linkpath"], link = link, link[:100]
    if not (name.isascii() and prefix.isascii()):  # so that readers know the charset; POSIX says UTF-8
        records[b"path"] = entry.name
    if not link.isascii():
        records[b"linkpath"] = entry.link
    for attribute, value in (entry.xattrs or {}).items():
        records[b"SCHILY.xattr." + attribute.encode("utf-8", "surrogateescape")] = value
    seconds = entry.mtime_ns // SECOND
    fields = {b"uid": (entry.uid, 7), b"gid": (entry.gid, 7), b"size": (entry.size, 11), b"mtime": (seconds, 11)}
    octal = {}
    for key, (number, digits) in fields.items():
        fits = 0 <= number < 8**digits
        octal[key] = number if fits else 0
        if not fits:
            records[key] = str(number).encode()
    header = _pack(name, prefix, link, entry, octal)
    return (_encode_pax(records, entry.name) + header) if records else header


def _pack(name: bytes, prefix: bytes, link: bytes, entry: Entry, octal: Mapping[bytes, int]) -> bytes:
    header = bytearray(
        _FORM.pack(
            name, b"%07o\0" % (entry.mode & 0o7777), b"%07o\0" % octal[b"uid"], b"%07o\0" % octal[b"gid"],
            b"%011o\0" % octal[b"size"], b"%011o\0" % octal[b"mtime"], b"        ", entry.kind, link, b"ustar\x0000", b"", b"",
            b"%07o\0" % entry.device[0], b"%07o\0" % entry.device[1], prefix, b"",
        )
    )  # fmt: skip
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _encode_pax(records: Mapping[bytes, bytes], name: bytes) -> bytes:
    body = b"".join(_encode_record(key, records[key]) for key in sorted(records))
    base = name.rstrip(b"/").rpartition(b"/")[2]
    header = encode_header(Entry(b"PaxHeaders.0/" + (base[:80] if base.isascii() else b"x"), PAX, size=len(body)))
    return header + body + bytes(padding(len(body)))


def _encode_record(key: bytes, value: bytes) -> bytes:
    """ "30 mtime=1350244992.023960108\\n": the length counts itself."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length += len(str(length)) - len(str(rest))
    return b"%d %s=%s\n" % (length, key, value)
