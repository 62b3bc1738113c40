"""A process in the foreground: signals go to it, and with a terminal of its own, our terminal's bytes too."""

import fcntl
import os
import select
import signal
import struct
import termios
import tty
from contextlib import ExitStack, suppress
from types import FrameType

from orlop.kernel import syscalls, terminal

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def attach(pid: int, pidfd: int, master: int = -1) -> int:
    """Wait for a child's end: its exit code, 128 and the signal's number when a signal ended it."""
    with ExitStack() as undo:

        def forward(number: int, _frame: FrameType | None) -> None:
            with suppress(ProcessLookupError):
                syscalls.pidfd_send_signal(pidfd, number)

        for number in _FORWARDED:
            undo.callback(signal.signal, number, signal.signal(number, forward))
        if master >= 0:
            _relay(master, undo)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(pidfd)
    return code if code >= 0 else 128 - code


def _relay(master: int, undo: ExitStack) -> None:
    """Copy both ways until the terminal's other end is closed."""
    undo.callback(os.close, master)
    if os.isatty(0):
        undo.callback(termios.tcsetattr, 0, termios.TCSADRAIN, termios.tcgetattr(0))
        tty.setraw(0)

        def resize(_number: int = 0, _frame: FrameType | None = None) -> None:
            rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
            terminal.set_size(master, rows, columns)

        resize()
        undo.callback(signal.signal, signal.SIGWINCH, signal.signal(signal.SIGWINCH, resize))
    sources = {0: master, master: 1}
    while master in sources:
        for source in select.select(list(sources), [], [])[0]:
            try:
                block = os.read(source, 65536)
            except OSError:  # EIO: nobody has the other end open any more
                block = b""
            if not block:
                del sources[source]
                continue
            while block:
                block = block[os.write(sources[source], block) :]
