"""Directory trees, reached by descriptors so that no symbolic link leads astray: removed, measured, copied."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NEW, GONE = "new-", "gone-"  # names of what is being made or removed: both are swept
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES = 1 << 30


def new_name() -> str:
    """A name for something that is being made. It tells which process makes it, so that what a killed one leaves is found."""
    return f"{NEW}{os.getpid()}-{os.urandom(8).hex()}"


@contextmanager
def opened(path: str | bytes | Path, flags: int = _DIRECTORY, *, dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor (of a directory, by default) for the length of a block."""
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def remove_tree(path: str | bytes | Path, *, dir_fd: int | None = None) -> None:
    """Remove whatever is at a path; it may be absent."""
    try:
        os.unlink(path, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):  # unlink(2) of a directory
        with suppress(FileNotFoundError):
            with opened(path, dir_fd=dir_fd) as fd:
                empty_directory(fd)
            os.rmdir(path, dir_fd=dir_fd)


def empty_directory(fd: int) -> None:
    """Remove all that is in a directory."""
    with os.scandir(fd) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if is_directory:
            remove_tree(name, dir_fd=fd)
        else:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=fd)


def usage(path: str | Path) -> int:
    """Bytes of all files in a tree, each once however many names it has; 0 when it is absent. As Docker counts: apparent
    sizes, directories themselves for nothing."""
    try:
        with opened(path) as fd:
            return _usage(fd, set())
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _usage(fd: int, seen: set[tuple[int, int]]) -> int:
    total = 0
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                if entry.is_dir(follow_symlinks=False):
                    with opened(entry.name, dir_fd=fd) as child:
                        total += _usage(child, seen)
                    continue
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # a running container may remove it meanwhile
                continue
            if status.st_nlink > 1:
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_size
    return total


def copy_metadata(status: os.stat_result, name: str | bytes, *, dir_fd: int) -> None:
    """Give a file (by name, links not followed) the owner, mode and times of another."""
    os.chown(name, status.st_uid, status.st_gid, dir_fd=dir_fd, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=dir_fd)
    os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=dir_fd, follow_symlinks=False)


def copy_xattrs(source_fd: int, target_fd: int, *, without: tuple[str, ...] = ("trusted.overlay.",)) -> None:
    """Give one open file the extended attributes of another, as far as its file system takes them."""
    for name in os.listxattr(source_fd):
        if not name.startswith(without):
            with suppress(OSError):
                os.setxattr(target_fd, name, os.getxattr(source_fd, name))


def copy_tree(source_fd: int, target_fd: int, *, links: dict[tuple[int, int], str] | None = None, prefix: str = "") -> int:
    """Copy what is in a directory into another, empty one: contents, owners, modes, times, hard links, attributes, devices.

    Returns how many files were copied. Holes stay holes, and blocks are shared where the file system can.
    """
    links = {} if links is None else links
    place = prefix or f"/proc/self/fd/{target_fd}"
    count = 0
    with os.scandir(source_fd) as entries:
        found = list(entries)
    for entry in found:
        status = entry.stat(follow_symlinks=False)
        count += 1
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            if identity in links:
                os.link(links[identity], f"/proc/self/fd/{target_fd}/{entry.name}", follow_symlinks=False)
                continue
            links[identity] = f"{place}/{entry.name}"
        count += _copy_entry(entry.name, status, source_fd, target_fd, links, place, entry.name)
    return count


def _copy_entry(
    name: str, status: os.stat_result, source_fd: int, target_fd: int, links: dict[tuple[int, int], str], prefix: str, new: str
) -> int:
    mode = status.st_mode
    count = 0
    if stat.S_ISDIR(mode):
        os.mkdir(new, 0o700, dir_fd=target_fd)
        with opened(name, dir_fd=source_fd) as inner, opened(new, dir_fd=target_fd) as made:
            count = copy_tree(inner, made, links=links, prefix=f"{prefix}/{new}")
            copy_xattrs(inner, made)
    elif stat.S_ISREG(mode):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        reading = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with opened(name, reading, dir_fd=source_fd) as content, opened(new, flags, dir_fd=target_fd) as made:
            copy_content(content, made, status.st_size)
            os.fchown(made, status.st_uid, status.st_gid)
            copy_xattrs(content, made)
    elif stat.S_ISLNK(mode):
        os.symlink(os.readlink(name, dir_fd=source_fd), new, dir_fd=target_fd)
    else:
        os.mknod(new, mode, status.st_rdev, dir_fd=target_fd)
    if stat.S_ISREG(mode):  # a chown would take its capabilities away again
        os.chmod(new, stat.S_IMODE(mode), dir_fd=target_fd)
        os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target_fd)
    else:
        copy_metadata(status, new, dir_fd=target_fd)
    return count


def copy_file(name: str, source_fd: int, made: str, target_fd: int) -> None:
    """Copy one file that is no directory, from one directory into another under a new name."""
    status = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
    _copy_entry(name, status, source_fd, target_fd, {}, "", made)


def data_segments(fd: int, size: int) -> list[tuple[int, int]]:
    """Where a file has data: (offset, length), holes left out. lseek(2), SEEK_DATA."""
    segments = []
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            break
        position = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if position > start:
            segments.append((start, position - start))
    return segments


def copy_content(source_fd: int, target_fd: int, size: int) -> None:
    """Copy a file's data, not its holes, inside the kernel. copy_file_range(2)"""
    os.ftruncate(target_fd, size)
    for offset, length in data_segments(source_fd, size):
        end = offset + length
        while offset < end:
            try:
                copied = os.copy_file_range(source_fd, target_fd, min(end - offset, _COPY_BYTES), offset, offset)
            except OSError:  # EXDEV, EINVAL, EOPNOTSUPP: not between these file systems
                copied = os.pwrite(target_fd, os.pread(source_fd, min(end - offset, 1 << 20), offset), offset)
            if not copied:
                return  # it was cut off meanwhile
            offset += copied
