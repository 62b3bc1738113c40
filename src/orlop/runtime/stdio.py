"""Standard input and output of one process, on the keeper's side: pipes or a pty, the log, and whoever is attached.

Output goes to subscribers at once and to the log line by line. It is read only while no subscriber is full: a slow client
holds up this process and no other. Import-light: the keeper imports this module.
"""

from __future__ import annotations

import os
import struct
import time

from orlop.runtime import loop as events
from orlop.runtime.journal import BLOCK_BYTES, Tail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orlop.runtime.journal import Journal
    from orlop.runtime.logs import LogFile
    from orlop.runtime.loop import Loop
    from orlop.runtime.subscriber import Subscriber

_LONGEST_LINE = 16384  # a longer one is logged in pieces, as Docker does
_FRAME = struct.Struct(">BxxxI")
_NUMBERS = {"stdout": 1, "stderr": 2}


class Output:
    """One stream of output: the reading end of a pipe."""

    __slots__ = ("drained", "ended", "fd", "name", "ready", "tail")

    def __init__(self, name: str, fd: int, tail: Tail | None) -> None:
        self.name, self.fd, self.tail = name, fd, tail
        self.ready = False  # its turn is coming
        self.drained = False  # what the process wrote before it ended was read; what comes now is others'
        self.ended = False


class Stdio:
    """All of one process. `released` is called with the name of a descriptor that need not survive the keeper any more,
    `closed` once: when the process has ended, all of its output is where it belongs, and no client is left."""

    def __init__(self, loop: Loop, journal: Journal, *, tty: bool, stdin_once: bool, log: LogFile | None, tails: str) -> None:
        """`tails`: how the paths begin of what must survive of lines that are not complete."""
        self._loop, self._journal, self._log, self._tails = loop, journal, log, tails
        self._tty, self._stdin_once = tty, stdin_once
        self._outputs: list[Output] = []
        self._subscribers: list[Subscriber] = []
        self.released: Callable[[str], None] = lambda name: None
        self.closed: Callable[[], None] = lambda: None
        self._stdin = self.terminal = self._into = -1
        self._input, self._input_over = b"", False
        self._over = self._finished = self._closed = False

    # --- descriptors; from here on they are ours to close ---

    def open_output(self, name: str, fd: int) -> None:
        """Read the pipe `fd`."""
        output = Output(name, fd, Tail(f"{self._tails}.{name}.tail") if self._log else None)
        self._outputs.append(output)
        self._loop.watch(fd, events.READ | events.EDGE, lambda mask: self._schedule(output))

    def open_input(self, fd: int) -> None:
        """Write what clients send to the pipe `fd`."""
        self._stdin = fd
        self._loop.watch(fd, events.WRITE | events.EDGE, lambda mask: self._write_input())

    def open_terminal(self, master: int, reader: int, writer: int) -> None:
        """A pty is input and output. What it gives goes through a pipe of ours, so that no byte is ever in our memory alone."""
        self._stdin = self.terminal = master
        self._into = writer
        self.open_output("stdout", reader)
        self._loop.watch(master, events.READ | events.WRITE | events.EDGE, lambda mask: self._on_terminal())

    def descriptors(self) -> dict[str, int]:
        """Ours by name, for `adopt` in another keeper."""
        named = {"tty": self.terminal, "writer": self._into, "stdin": -1 if self._tty else self._stdin}
        outputs = {output.name: output.fd for output in self._outputs if not output.ended}
        return {name: fd for name, fd in (named | outputs).items() if fd >= 0}

    def adopt(self, fds: dict[str, int]) -> None:
        """Go on with what another keeper has opened."""
        if "tty" in fds:
            self.open_terminal(fds["tty"], fds["stdout"], fds["writer"])
            return
        for name in ("stdout", "stderr"):
            if name in fds:
                self.open_output(name, fds[name])
        if "stdin" in fds:
            self.open_input(fds["stdin"])

    def _on_terminal(self) -> None:
        self._schedule(self._outputs[0])
        self._write_input()

    # --- output ---

    @property
    def _full(self) -> bool:
        return any(subscriber.full for subscriber in self._subscribers)

    def _schedule(self, output: Output) -> None:
        if not output.ready and not output.ended:
            output.ready = True
            self._loop.soon(lambda: self._turn(output))

    def _turn(self, output: Output) -> None:
        """One block, then the other containers' turn."""
        output.ready = False
        if not output.ended and not self._full and self._step(output):
            self._schedule(output)

    def _step(self, output: Output) -> bool:
        """Move one block. False when there is nothing to move now."""
        moved = self.terminal >= 0 and self._drain_terminal()
        block = self._journal.look(output.fd) if self._log else _read(output.fd)
        if block:
            self._publish(output.name, block)
            self._write(output, block, final=False)
            return True
        if block is None and not self._over:
            return moved
        self._write(output, b"", final=True)
        output.drained = True
        if block == b"" or self._tty:
            self._end(output)
        elif all(other.drained for other in self._outputs):
            self._finish()  # what other processes may still write is read on, for nobody
        return False

    def _drain_terminal(self) -> bool:
        try:
            return os.splice(self.terminal, self._into, BLOCK_BYTES) > 0
        except OSError:  # EAGAIN: nothing, or no room; EIO: no process has it open (one may open it again)
            return False

    def _write(self, output: Output, block: bytes, *, final: bool) -> None:
        """Log the lines of a block, and keep the start of the last one for the next block to complete."""
        log, tail = self._log, output.tail
        if not log or not tail or not (block or tail.content):
            return
        text = tail.content + block
        count = len(text) if final else _whole_lines(text)
        log.make_room()
        lines = log.format(output.name, text[:count], time.time_ns()) if count else b""
        self._journal.move(output.fd, len(block), log, lines, tail, text[count:])

    def _publish(self, name: str, data: bytes) -> None:
        framed = data if self._tty else _FRAME.pack(_NUMBERS[name], len(data)) + data
        for subscriber in self._subscribers[:]:
            if name in subscriber.streams:
                subscriber.send(framed)

    def _end(self, output: Output) -> None:
        output.ended = True
        self._loop.forget(output.fd)
        os.close(output.fd)
        if output.tail:
            output.tail.remove()
        self.released(output.name)
        if all(other.drained for other in self._outputs):
            self._finish()

    # --- input ---

    def _on_input(self, data: bytes) -> None:
        unopened = self._tty and self.terminal < 0 and not self._over  # what is typed before the terminal is there waits for it
        if self._stdin < 0 and not unopened:
            return
        if not data:
            self._end_input()
            return
        self._input += data
        self._write_input()
        if self._input:
            for subscriber in self._subscribers:
                subscriber.read(False)

    def _write_input(self) -> None:
        if not self._input or self._stdin < 0:
            return
        try:
            while self._input:
                self._input = self._input[os.write(self._stdin, self._input) :]
        except BlockingIOError:
            return
        except OSError:  # the process has closed its end
            self._input = b""
        for subscriber in self._subscribers:
            subscriber.read(subscriber.stdin)
        if self._input_over:
            self._close_input()

    def _end_input(self) -> None:
        """A client will send no more: with stdin_once that is the end of the process's input."""
        if self._stdin_once and not self._tty:
            self._input_over = True
            if not self._input:
                self._close_input()

    def _close_input(self) -> None:
        if self._stdin >= 0:
            self._loop.forget(self._stdin)
            os.close(self._stdin)
            self._stdin = -1
            self.released("stdin")

    # --- clients ---

    def attach(self, subscriber: Subscriber) -> None:
        """Let a client have the output from now on, and its input be the process's."""
        if self._finished:
            subscriber.finish()
        elif not subscriber.gone:
            self._subscribers.append(subscriber)
            subscriber.on_input, subscriber.on_room = self._on_input, self._resume
            subscriber.on_gone = lambda: self._left(subscriber)
            subscriber.read(subscriber.stdin)

    def _left(self, subscriber: Subscriber) -> None:
        self._subscribers.remove(subscriber)
        if subscriber.stdin and self._stdin >= 0:
            self._end_input()
        self._resume()
        self._close_if_done()

    def _resume(self) -> None:
        if not self._full:
            for output in self._outputs:
                self._schedule(output)

    # --- the end ---

    def process_ended(self) -> None:
        """All that the process wrote is in the pipes by now: log it and hand it out, then let the clients go."""
        self._over = True
        for output in self._outputs:
            while not output.ended and not self._full and self._step(output):
                pass
            self._schedule(output)  # where a client is full, the rest follows as it reads
        self._close_if_done()

    def _finish(self) -> None:
        self._finished = True
        for subscriber in self._subscribers[:]:
            subscriber.finish()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._over and not self._subscribers and all(output.ended for output in self._outputs):
            self.close()

    @property
    def is_closed(self) -> bool:
        """Whether nothing is left to do here."""
        return self._closed

    def close(self) -> None:
        """Let go of everything. Idempotent."""
        if self._closed:
            return
        self._closed = self._finished = True
        for subscriber in self._subscribers[:]:
            subscriber.drop()
        open_outputs = [output for output in self._outputs if not output.ended]
        for fd in {self._stdin, self.terminal, self._into, *(output.fd for output in open_outputs)} - {-1}:
            self._loop.forget(fd)
            os.close(fd)
        for output in open_outputs:
            output.ended = True
            if output.tail:
                output.tail.remove()
        self._stdin = self.terminal = self._into = -1
        if self._log:
            self._log.close()
        self.closed()


def _read(fd: int) -> bytes | None:
    """Up to a block of a pipe; None: nothing now; b"": nothing, and no writer is left."""
    try:
        return os.read(fd, BLOCK_BYTES)
    except BlockingIOError:
        return None


def _whole_lines(text: bytes) -> int:
    """How many bytes can be logged now: whole lines, and a piece of a line that is too long to wait for its end."""
    count = text.rfind(b"\n") + 1
    return count if len(text) - count < _LONGEST_LINE else len(text)
