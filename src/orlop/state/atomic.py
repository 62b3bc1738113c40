"""Files that appear whole or not at all: written beside, then renamed."""

import os
from contextlib import suppress
from pathlib import Path


def write_file(path: str | Path, content: bytes, mode: int = 0o644, *, sync: bool = False) -> None:
    """Replace `path` by `content`. With `sync` both the content and the name are on the disk when this returns.

    Raises OSError; then `path` is as it was and nothing is left beside it.
    """
    path = Path(path)
    beside = path.with_name(f"new-{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.rename(beside, path)
    except OSError:
        with suppress(OSError):
            os.unlink(beside)
        raise
    if sync:
        sync_directory(path.parent)


def sync_directory(path: str | Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
