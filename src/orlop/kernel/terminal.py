"""Pseudo terminals. pty(7), ioctl_tty(2). Import-light: the container's first process imports it."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from orlop.kernel import paths, syscalls

_TIOCSCTTY, _TIOCSWINSZ, _TIOCSPTLCK, _TIOCGPTPEER = 0x540E, 0x5414, 0x40045431, 0x5441
_DEVPTS_MAGIC = 0x1CD1


def open_terminal(root_fd: int) -> tuple[int, int]:
    """A new (master, slave) of the devpts that is mounted at /dev/pts of a root. Both CLOEXEC; no controlling terminal.

    Raises OSError (ENOTTY) when that is no devpts: a root may hold anything.
    """
    master = paths.open_in_root(root_fd, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, resolve=syscalls.RESOLVE_NO_SYMLINKS)
    if syscalls.file_system_type(master) != _DEVPTS_MAGIC:
        os.close(master)
        raise OSError(errno.ENOTTY, "/dev/pts is not a devpts", "/dev/pts/ptmx")
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    return master, fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def control(fd: int) -> None:
    """Make a terminal the controlling one of this session (which this process must lead)."""
    fcntl.ioctl(fd, _TIOCSCTTY, 0)


def set_size(fd: int, rows: int, columns: int) -> None:
    """Set a terminal's size; its foreground processes get SIGWINCH."""
    fcntl.ioctl(fd, _TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
