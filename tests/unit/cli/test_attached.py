"""Docker's frames taken apart, and both ways joined."""

import os
import socket
import threading

import pytest

from orlop.cli.attached import Frames, pump
from orlop.client import containers
from orlop.client.http import Client


def frame(stream: int, data: bytes) -> bytes:
    return bytes((stream, 0, 0, 0)) + len(data).to_bytes(4, "big") + data


WHOLE = frame(1, b"out") + frame(2, b"err") + frame(1, b"") + frame(1, b"more")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 9, 100])
def test_frames_may_come_in_any_pieces(step: int) -> None:
    frames, found = Frames(), {1: b"", 2: b""}
    for at in range(0, len(WHOLE), step):
        for descriptor, piece in frames.feed(WHOLE[at : at + step]):
            found[descriptor] += piece
    assert found == {1: b"outmore", 2: b"err"}


def joined(script: bytes, *, stdin: bool) -> tuple[socket.socket, containers.Hijacked]:
    ours, theirs = socket.socketpair()
    theirs.sendall(b"HTTP/1.1 101 UPGRADED\r\n\r\n" + script)
    streams = containers.hijacked(containers.begin_attach(Client(lambda: ours), "x", {"stdin": stdin}))
    assert theirs.recv(1 << 16).startswith(b"POST /containers/x/attach")
    return theirs, streams


def test_output_is_printed_until_it_ends(capfd: pytest.CaptureFixture[str]) -> None:
    theirs, streams = joined(WHOLE, stdin=False)
    theirs.close()
    assert pump(streams, stdin=False, tty=False) is False
    assert capfd.readouterr() == ("outmore", "err")


def test_input_is_sent_while_output_comes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """An echo of 4 MiB through sockets that hold a fraction of it: neither side may wait for the other for ever."""
    theirs, streams = joined(b"", stdin=True)
    reader, writer = os.pipe()
    saved = os.dup(0)
    os.dup2(reader, 0)
    data = os.urandom(1 << 10).hex().encode() * (1 << 11)

    def echo() -> None:
        while piece := theirs.recv(1 << 16):
            theirs.sendall(piece)
        theirs.close()

    def type_in() -> None:
        with os.fdopen(writer, "wb") as file:
            file.write(data)

    threads = [threading.Thread(target=echo), threading.Thread(target=type_in)]
    for thread in threads:
        thread.start()
    try:
        assert pump(streams, stdin=True, tty=True) is False
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(reader)
    for thread in threads:
        thread.join()
    assert capfd.readouterr().out.encode() == data
