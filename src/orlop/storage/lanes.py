"""A lane: a child process that works on a byte stream while its parent goes on producing it (hashing, inflating, receiving).

Only for workers: they have one thread, so that a fork is safe.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Any

from orlop.spec import errors
from orlop.spec.errors import OrlopError
from orlop.state import documents

_PIPE_BYTES = 1 << 20
_ANSWER_BYTES = 1 << 16


class Lane:
    """One child. `write` the stream, then `finish` for what `work` returned; `abort` in any other case."""

    def __init__(self, work: Callable[[int], Any]) -> None:
        """Start `work(fd)` in a child; `fd` is where it reads the stream. Its result must be JSON-able."""
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self._answer, answering = os.pipe2(os.O_CLOEXEC)
        with suppress(PermissionError):  # over the user's share of pipe memory: the default size will do
            fcntl(self._writing, F_SETPIPE_SZ, _PIPE_BYTES)
        self._pid = os.fork()
        if not self._pid:
            os.close(self._writing)
            _serve(work, reading, answering)
        os.close(reading)
        os.close(answering)

    def write(self, content: bytes) -> None:
        """Hand over a part of the stream. Raises what the child failed with, as soon as it has."""
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._writing, view) :]
        except BrokenPipeError:
            self.finish()
            raise errors.Unavailable("a part of the worker ended early") from None

    def close(self) -> None:
        """End the stream; the child goes on with what it still has."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def finish(self) -> Any:
        """End the stream and wait for the result. Raises the OrlopError or OSError that the child failed with."""
        self.close()
        answer = b""
        while piece := os.read(self._answer, _ANSWER_BYTES):
            answer += piece
        self._reap()
        if not answer:
            raise errors.Unavailable("a part of the worker died")
        document = documents.loads(answer)
        if "error" in document:
            raise revive(document["error"])
        return document["result"]

    def abort(self) -> None:
        """Kill the child, if it still runs, and leave nothing of it."""
        self.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        if self._pid:
            pid, self._pid = self._pid, 0
            os.waitpid(pid, 0)
            os.close(self._answer)


def _serve(work: Callable[[int], Any], reading: int, answering: int) -> None:
    code = 1
    try:
        try:
            answer = {"result": work(reading)}
        except (OrlopError, OSError) as error:
            answer = {"error": describe(error)}
        os.write(answering, documents.dumps(answer))
        code = 0
    finally:
        os._exit(code)  # never back into the parent's stack


def describe(error: OrlopError | OSError) -> list[str]:
    """An error as what crosses a process boundary: the name of its class in spec.errors, and its message."""
    if isinstance(error, OSError):
        return ["OrlopError", errors.in_words(error)]
    known = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
    return [known.__name__, str(error), str(getattr(error, "exit_code", ""))]


def revive(described: list[str]) -> OrlopError:
    """The error that `describe` took apart."""
    name, message, *_ = described
    kind = getattr(errors, name, OrlopError)
    error: OrlopError = kind.__new__(kind)  # the message is whole already: not through __init__, which would word it again
    error.args = (message,)
    return error
