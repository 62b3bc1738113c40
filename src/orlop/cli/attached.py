"""A container's (or an exec's) streams joined to ours: output taken apart, input sent on, signals passed, detaching."""

import posix

from orlop.cli.session import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.cli.session import Session
    from orlop.cli.terminal import DetachKeys
    from orlop.client.http import Hijacked

HEADER_BYTES = 8
READ_BYTES = 1 << 16
DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
# signal(7), those that Docker's client passes on: not what the kernel sends for our own faults, nor CHLD, PIPE, URG.
PASSED = {1: "HUP", 2: "INT", 3: "QUIT", 10: "USR1", 12: "USR2", 14: "ALRM", 15: "TERM", 18: "CONT", 20: "TSTP", 28: "WINCH"}


class Frames:
    """Takes Docker's multiplexed output apart: eight bytes (stream, 0, 0, 0, length big-endian), then as many bytes."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._descriptor = 1

    def feed(self, data: bytes) -> "list[tuple[int, bytes]]":
        """What has come, as (file descriptor, bytes)."""
        pieces = []
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                taken = data[at : at + HEADER_BYTES - len(self._header)]
                self._header += taken
                at += len(taken)
                if len(self._header) == HEADER_BYTES:
                    self._descriptor = 2 if self._header[0] in (2, 3) else 1
                    self._left = int.from_bytes(self._header[4:], "big")
                    self._header = b""
                continue
            piece = data[at : at + self._left]
            at += len(piece)
            self._left -= len(piece)
            pieces.append((self._descriptor, piece))
        return pieces


def copy_output(receive: "Callable[[], bytes | None]", *, tty: bool) -> None:
    """Print all output until its end."""
    frames = Frames()
    while data := receive():
        _print(data, None if tty else frames)


def _print(data: bytes, frames: Frames | None) -> None:
    if frames is None:
        write(1, data)
        return
    for descriptor, piece in frames.feed(data):
        write(descriptor, piece)


def pump(streams: "Hijacked", *, stdin: bool, tty: bool, detach_keys: str = "") -> bool:
    """Join the streams until the output ends. True when the user typed the keys to detach. Raises ValueError for bad keys."""
    if not stdin:
        copy_output(streams.receive, tty=tty)
        return False
    if not (tty and posix.isatty(0)):
        return _join(streams, None, tty=tty)
    from orlop.cli.terminal import DetachKeys, raw_mode, restore

    keys = DetachKeys(detach_keys or DEFAULT_DETACH_KEYS)
    saved = raw_mode(0)
    try:
        return _join(streams, keys, tty=tty)
    finally:
        restore(0, saved)


def _join(streams: "Hijacked", keys: "DetachKeys | None", *, tty: bool) -> bool:
    """Copy both ways at once. Input waits while the other side does not take it, output never does."""
    from select import POLLIN, POLLOUT, poll

    frames = None if tty else Frames()
    streams.unblock()
    socket = streams.stream.fileno()
    waiting, input_open = b"", True
    poller = poll()
    while True:
        poller.register(socket, POLLIN | POLLOUT if waiting else POLLIN)
        if input_open and not waiting:
            poller.register(0, POLLIN)
        ready = dict(poller.poll(0 if streams.has_received() else None))
        if input_open and not waiting:
            poller.unregister(0)
        if 0 in ready:
            typed = _read_input()
            if not typed:
                input_open = False
                streams.end_input()
            waiting, detached = keys.feed(typed) if keys else (typed, False)
            if detached:
                streams.send(waiting)
                return True
        if waiting:
            waiting = waiting[streams.send(waiting) :]
        data = streams.receive()
        if data == b"":
            return False
        if data:
            _print(data, frames)


def _read_input() -> bytes:
    try:
        return posix.read(0, READ_BYTES)
    except OSError:
        return b""  # a terminal that has gone: the end of input


def pass_signals(session: "Session", ref: str, *, tty: bool) -> None:
    """From now on signals go to the container instead of ending us."""
    from _signal import signal  # type: ignore[import-not-found]  # `signal` without its enums

    from orlop.client.containers import act
    from orlop.client.http import ApiError, Unreachable

    def handle(number: int, _: object) -> None:
        try:
            act(session.new_client(), ref, "kill", signal=PASSED[number])
        except (ApiError, Unreachable):
            return  # it has just ended: then so do we

    for number in PASSED:
        if not (tty and number in (20, 28)):
            signal(number, handle)
