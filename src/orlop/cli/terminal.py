"""The terminal: raw mode, its size told to a container, and the keys that detach."""

import posix
import termios

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SIGWINCH = 28
CONTROL = {f"ctrl-{letter}": bytes((at,)) for at, letter in enumerate("@abcdefghijklmnopqrstuvwxyz[\\]^_")}


def raw_mode(descriptor: int) -> "list[Any]":
    """Hand over every key as it is typed, as cfmakeraw(3) does; what it was before. [] when there is no such terminal."""
    try:
        saved = termios.tcgetattr(descriptor)
    except termios.error:
        return []
    raw = saved.copy()
    raw[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    raw[1] &= ~termios.OPOST
    raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    raw[6] = saved[6].copy()
    raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, raw)
    return saved


def restore(descriptor: int, saved: "list[Any]") -> None:
    """Undo `raw_mode`."""
    if saved:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, saved)


def no_echo(descriptor: int) -> "list[Any]":
    """Hide what is typed (a password); what it was before."""
    saved = termios.tcgetattr(descriptor)
    quiet = saved.copy()
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
    return saved


def size() -> tuple[int, int]:
    """Rows and columns of the terminal on standard output; 0, 0 when there is none."""
    try:
        columns, rows = posix.get_terminal_size(1)
    except OSError:
        return 0, 0
    return rows, columns


def watch_size(tell: "Callable[[int, int], None]") -> None:
    """Tell the size now and whenever it changes."""
    from _signal import signal  # type: ignore[import-not-found]  # `signal` without its enums

    def handle(*_: object) -> None:
        rows, columns = size()
        if rows or columns:
            tell(rows, columns)

    signal(SIGWINCH, handle)
    handle()


class DetachKeys:
    """Looks for the detach sequence in what is typed; a beginning of it is held back until it is clear what it is."""

    def __init__(self, text: str) -> None:
        self._sequence = parse_keys(text)
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What is to be sent on, and whether the sequence is complete."""
        out = b""
        for at in range(len(typed)):
            self._held += typed[at : at + 1]
            if self._held == self._sequence:
                return out, True
            while self._held and not self._sequence.startswith(self._held):
                out, self._held = out + self._held[:1], self._held[1:]
        return out, False


def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q`, `a,b`: the bytes typed. Raises ValueError in Docker's words."""
    sequence = b""
    for key in text.split(","):
        if key in CONTROL:
            sequence += CONTROL[key]
        elif len(key) == 1 and key.isascii():
            sequence += key.encode()
        else:
            raise ValueError(f"Unknown character: '{key}'")
    return sequence
