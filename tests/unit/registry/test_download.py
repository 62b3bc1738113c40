"""A blob over connections that break: every byte once, in order, the digest decides."""

import hashlib
import os
from collections.abc import Callable
from http.client import HTTPMessage, HTTPResponse, IncompleteRead
from pathlib import Path

import pytest

from orlop.registry.download import BlobStream
from orlop.spec.errors import Corrupt, RegistryFailed
from orlop.spec.image import Descriptor

BLOB = os.urandom(3 << 20)
DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
LAYER = Descriptor(media_type="application/vnd.oci.image.layer.v1.tar", digest=DIGEST, size=len(BLOB))


class Server:
    """Gives the blob; each connection breaks after `patience` bytes. Not all servers know ranges."""

    def __init__(self, patience: int = 1 << 40, *, ranges: bool = True, blob: bytes = BLOB) -> None:
        self.patience, self.ranges, self.blob = patience, ranges, blob
        self.starts: list[int] = []
        self.sent = 0

    def __call__(self, start: int) -> HTTPResponse:
        self.starts.append(start)
        return _Response(self, start if self.ranges else 0, start)  # type: ignore[return-value]


class _Response:
    def __init__(self, server: Server, start: int, asked: int) -> None:
        self._server, self._position, self._left = server, start, server.patience
        self.status = 206 if asked and server.ranges else 200
        self.headers = HTTPMessage()
        self.headers["Content-Range"] = f"bytes {start}-{len(server.blob) - 1}/{len(server.blob)}"

    def read1(self, size: int) -> bytes:
        if not self._left:
            raise IncompleteRead(b"")
        data = self._server.blob[self._position : self._position + min(size, self._left, 100_000)]
        self._position += len(data)
        self._left -= len(data)
        self._server.sent += len(data)
        return data


def _drain(stream: BlobStream) -> bytes:
    content = b""
    while piece := stream.read():
        content += piece
    return content


def _read(open_at: Callable[[int], HTTPResponse], partial: Path | None = None) -> tuple[bytes, bool]:
    """The blob, and whether some of it came from an earlier attempt."""
    with BlobStream(LAYER, open_at, partial, sleep=lambda _: None) as stream:
        content = _drain(stream)
        stream.finish(f"sha256:{hashlib.sha256(content).hexdigest()}")
    return content, stream.resumed


def test_a_connection_that_breaks_is_taken_up_where_it_broke() -> None:
    server = Server(patience=1_000_000)
    assert _read(server) == (BLOB, False)
    assert server.starts == [0, 1_000_000, 2_000_000, 3_000_000]
    assert server.sent == len(BLOB)


def test_a_server_without_ranges_begins_again_and_is_skipped() -> None:
    broken, whole = Server(2_000_000, ranges=False), Server(ranges=False)
    answers = iter([broken, whole])
    with BlobStream(LAYER, lambda start: next(answers)(start), None, sleep=lambda _: None) as stream:
        assert _drain(stream) == BLOB
    assert (broken.starts, whole.starts) == ([0], [2_000_000])
    assert stream.fetched == len(BLOB) + 2_000_000


def test_a_server_that_never_gets_further_is_given_up() -> None:
    server = Server(2_000_000, ranges=False)
    with pytest.raises(RegistryFailed, match=r"cannot fetch sha256:"):
        _read(server)
    assert server.starts == [0, *[2_000_000] * 5]


def test_the_next_attempt_begins_with_what_the_last_has_kept(tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    servers = iter([Server(2_000_000), *[Server(patience=0)] * 5])
    with pytest.raises(RegistryFailed):
        _read(lambda start: next(servers)(start), partial)
    assert partial.stat().st_size == 2_000_000
    again = Server()
    assert _read(again, partial) == (BLOB, True)
    assert again.starts == [2_000_000]
    assert not partial.exists()


def test_a_tampered_blob_is_refused_and_not_kept(tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    with pytest.raises(Corrupt, match="filesystem layer verification failed for digest"):
        _read(Server(blob=BLOB[:-1] + b"\0" + b"more"), partial)
    assert not partial.exists()


def test_a_spoilt_partial_file_does_not_last(tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    partial.write_bytes(b"\0" * 1_000_000)
    with pytest.raises(Corrupt):
        _read(Server(), partial)
    assert _read(Server(), partial) == (BLOB, False)


def test_a_second_stream_of_the_same_blob_leaves_the_file_to_the_first(tmp_path: Path) -> None:
    partial = tmp_path / "partial"
    with BlobStream(LAYER, Server(), partial) as first:
        first.read()
        assert _read(Server(), partial) == (BLOB, False)
        assert partial.exists()


def test_a_truncated_blob_is_a_failure_not_an_end() -> None:
    with pytest.raises(RegistryFailed, match="unexpected EOF"):
        _read(Server(blob=BLOB[:1000]))
