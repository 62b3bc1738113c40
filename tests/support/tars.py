"""Tars for tests: made entry by entry, honest or evil; and listings to compare trees by."""

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from orlop.storage.tar.headers import (
    CHARACTER,
    DIRECTORY,
    FIFO,
    LINK,
    SYMLINK,
    ZEROS,
    Entry,
    encode_header,
    padding,
)


def file(name: str, content: bytes = b"", **fields: object) -> bytes:
    return encode_header(Entry(os.fsencode(name), size=len(content), **fields)) + content + bytes(padding(len(content)))  # type: ignore[arg-type]


def directory(name: str, mode: int = 0o755, **fields: object) -> bytes:
    return encode_header(Entry(os.fsencode(name), DIRECTORY, mode=mode, **fields))  # type: ignore[arg-type]


def symlink(name: str, target: str) -> bytes:
    return encode_header(Entry(os.fsencode(name), SYMLINK, mode=0o777, link=os.fsencode(target)))


def link(name: str, target: str) -> bytes:
    return encode_header(Entry(os.fsencode(name), LINK, link=os.fsencode(target)))


def device(name: str, major: int = 1, minor: int = 3) -> bytes:
    return encode_header(Entry(os.fsencode(name), CHARACTER, mode=0o666, device=(major, minor)))


def fifo(name: str) -> bytes:
    return encode_header(Entry(os.fsencode(name), FIFO, mode=0o600))


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + ZEROS


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything about each file in a tree that a layer can say."""
    return {os.fsdecode(path): facts for path, facts in _walk(os.fsencode(root), b"", {})}


def _walk(root: bytes, prefix: bytes, seen: dict[int, bytes]) -> Iterator[tuple[bytes, tuple[object, ...]]]:
    for name in sorted(os.listdir(root + b"/" + prefix)):
        path = prefix + name
        whole = root + b"/" + path
        status = os.lstat(whole)
        kind, content = stat.S_IFMT(status.st_mode), ""
        if stat.S_ISREG(kind):
            with open(whole, "rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        elif stat.S_ISLNK(kind):
            content = os.fsdecode(os.readlink(whole))
        first = seen.setdefault(status.st_ino, path)
        xattrs = {key: os.getxattr(whole, key, follow_symlinks=False) for key in os.listxattr(whole, follow_symlinks=False)}
        yield (
            path,
            (oct(status.st_mode), status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns, content, first, xattrs),
        )
        if stat.S_ISDIR(kind):
            yield from _walk(root, path + b"/", seen)
