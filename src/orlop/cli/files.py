"""Streams to and from files: nothing half-written is left under the name that was asked for."""

import posix

from orlop.cli.session import Failure, is_terminal, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

READ_BYTES = 1 << 18


def save_stream(path: str, pieces: "Callable[[], Iterable[bytes]]", complaint: str) -> None:
    """Write what `pieces()` gives to a file, which appears whole or not at all, or to standard output when there is no path."""
    if not path:
        if is_terminal(1):
            raise Failure("cowardly refusing to save to a terminal. Use the -o flag or redirect")
        for piece in pieces():
            write(1, piece)
        return
    beside = f"{path}.tmp-{posix.getpid()}"
    try:
        descriptor = posix.open(beside, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Failure(f"{complaint}: open {path}: {(error.strerror or '').lower()}") from None
    try:
        for piece in pieces():
            write(descriptor, piece)
        posix.rename(beside, path)
    except BaseException:
        posix.unlink(beside)
        raise
    finally:
        posix.close(descriptor)


def read_pieces(descriptor: int) -> "Iterator[bytes]":
    """All of a file, piece by piece."""
    while piece := posix.read(descriptor, READ_BYTES):
        yield piece


def open_file(path: str) -> int:
    """A descriptor to read from. Raises Failure."""
    try:
        return posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"open {path}: {(error.strerror or '').lower()}") from None


def ensure_directory(path: str, mode: int, parent: "int | None" = None) -> None:
    """Make a directory (below a descriptor, when one is given) unless something of that name is there."""
    try:
        posix.mkdir(path, mode, dir_fd=parent)
    except FileExistsError:
        return


def feed(descriptor: int, text: str) -> None:
    """Write to a program that may have stopped reading, and close."""
    try:
        write(descriptor, text)
    except BrokenPipeError:
        return
    finally:
        posix.close(descriptor)
