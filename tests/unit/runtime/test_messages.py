"""runtime/messages.py: messages and descriptors out of a stream."""

import os
import socket

import pytest

from orlop.runtime.messages import Inbox, frame


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_messages_come_whole_however_they_are_cut(ends):
    ours, theirs = ends
    inbox = Inbox()
    got = []
    for byte in frame(b"one") + frame(b"") + frame(b"x" * 300):
        ours.send(bytes([byte]))
        assert inbox.receive(theirs)
        got += [payload for payload, _ in inbox.messages()]
    assert got == [b"one", b"", b"x" * 300]
    ours.close()
    assert not inbox.receive(theirs)


def test_descriptors_stay_with_their_message(ends):
    ours, theirs = ends
    reader, writer = os.pipe()
    ours.send(frame(b"none"))
    socket.send_fds(ours, [frame(b"two", 2)], [reader, writer])
    socket.send_fds(ours, [frame(b"one", 1)], [writer])
    inbox = Inbox()
    got = []
    while len(got) < 3:
        inbox.receive(theirs)
        got += inbox.messages()
    assert [(payload, len(fds)) for payload, fds in got] == [(b"none", 0), (b"two", 2), (b"one", 1)]
    os.write(got[2][1][0], b"!")
    assert os.read(got[1][1][0], 1) == b"!"
    for fd in (reader, writer, *got[1][1], *got[2][1]):
        os.close(fd)


def test_nonsense_is_refused(ends):
    ours, theirs = ends
    ours.send(b"GET / HTTP/1.1\r\n\r\n")
    inbox = Inbox()
    inbox.receive(theirs)
    with pytest.raises(ConnectionError):
        list(inbox.messages())
