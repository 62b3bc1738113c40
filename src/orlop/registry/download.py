"""One blob as a stream that survives broken connections: what has arrived is kept in a file, the rest is asked for by Range."""

import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPResponse
from pathlib import Path

from orlop.registry.protocol import RemoteError, content_start
from orlop.registry.transport import BROKEN
from orlop.spec.errors import Corrupt, RegistryFailed
from orlop.spec.image import Descriptor

log = logging.getLogger(__name__)

_FAILURES = 5  # in a row, without a byte between them
_PIECE = 1 << 20
_WORTH_KEEPING = 1 << 20  # bytes: a smaller blob is fetched again as a whole

Open = Callable[[int], HTTPResponse]  # the blob's bytes from an offset on; the last failing raises RegistryFailed


class BlobStream:
    """`read(n)` gives a blob's bytes, first those of an earlier attempt. Whoever reads makes the digest and tells `finish`.

    Use as a context manager: when it is left because the network failed, what has arrived stays for the next attempt.
    """

    def __init__(
        self,
        descriptor: Descriptor,
        open_at: Open,
        partial: Path | None,
        progress: Callable[[int], None] = lambda done: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._descriptor = descriptor
        self._open_at = open_at
        self._progress = progress
        self._sleep = sleep
        self._done = 0
        self._partial = partial if descriptor.size >= _WORTH_KEEPING else None
        self._file = -1
        self._kept = 0  # bytes of an earlier attempt
        self._response: HTTPResponse | None = None
        self._skip = 0  # bytes of the response that we have already
        self.fetched = 0  # bytes that crossed the network in this attempt

    def __enter__(self) -> "BlobStream":
        if self._partial:
            self._partial.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._kept = self._usable()
        return self

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, RegistryFailed):
            self._forget()  # a full disk, or content that will be as bad the next time
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _usable(self) -> int:
        """How much of the file is ours to begin with. Another attempt that is at work on it keeps it: we do without."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._file)
            self._file, self._partial = -1, None
            return 0
        if (size := os.fstat(self._file).st_size) <= self._descriptor.size:
            return size
        os.ftruncate(self._file, 0)
        return 0

    def read(self, size: int = _PIECE) -> bytes:
        """At most `size` bytes; b"" at the end. Raises RegistryFailed when the network fails for good."""
        left = self._descriptor.size - self._done
        if not left:
            return b""
        wanted = min(size, left)
        data = os.pread(self._file, wanted, self._done) if self._done < self._kept else self._fetch(wanted)
        self._done += len(data)
        self._progress(self._done)
        return data

    @property
    def resumed(self) -> bool:
        """Whether bytes of an earlier attempt are among those read: a wrong digest may then be the disk's fault."""
        return self._kept > 0

    def finish(self, digest: str) -> None:
        """Check the digest of all that was read. Raises Corrupt. Nothing is kept for a next attempt, good or bad."""
        self._forget()
        if digest != self._descriptor.digest or self._done != self._descriptor.size:
            raise Corrupt(f"filesystem layer verification failed for digest {self._descriptor.digest}: got {digest}")

    def _forget(self) -> None:
        if self._partial:
            self._partial.unlink(missing_ok=True)
            self._partial = None

    def _fetch(self, size: int) -> bytes:
        """The next bytes from the network, over as many connections as it takes."""
        failures = 0
        while True:
            try:
                data = self._receive(size)
            except BROKEN as error:
                self._response = None
                failures += 1
                if failures > _FAILURES:
                    raise RegistryFailed(f"cannot fetch {self._descriptor.digest}: {error or type(error).__name__}") from error
                log.info("%s broke off after %d bytes: %s", self._descriptor.digest, self._done, error)
                self._sleep(0.1 * 2**failures)
                continue
            if self._file >= 0:
                os.pwrite(self._file, data, self._done)
            return data

    def _receive(self, size: int) -> bytes:
        """What one connection gives: raises one of BROKEN when it ends too early."""
        if self._response is None:
            self._response, self._skip = self._reopen()
        while self._skip:
            dropped = self._response.read1(min(_PIECE, self._skip))
            if not dropped:
                raise ConnectionResetError("unexpected EOF")
            self.fetched += len(dropped)
            self._skip -= len(dropped)
        data = self._response.read1(size)  # `read` would lose what it has when the connection breaks
        if not data:
            raise ConnectionResetError("unexpected EOF")
        self.fetched += len(data)
        return data

    def _reopen(self) -> tuple[HTTPResponse, int]:
        """A response, and how many of its first bytes are known already (a server without ranges begins at the start)."""
        response = self._open_at(self._done)
        if response.status != 206:
            return response, self._done
        start = content_start(response.headers.get("Content-Range", ""))
        if start is None or start > self._done:
            raise RemoteError(206, "", f"blob {self._descriptor.digest}: a range from {self._done} on was asked, {start} came")
        return response, self._done - start


def sweep(directory: Path, older_than: float) -> None:
    """Remove what earlier attempts kept in a directory and nobody has come back for since `older_than` (seconds, epoch)."""
    for path in directory.glob("sha256-*") if directory.is_dir() else ():
        with suppress(FileNotFoundError), path.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime < older_than:
                with suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
