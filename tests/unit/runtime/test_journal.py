"""runtime/journal.py: whatever the moment at which the keeper dies, no byte is lost and none is there twice."""

import os
from itertools import count

import pytest

from orlop.runtime import journal as journals
from orlop.runtime.journal import Journal, Tail, pipe
from orlop.runtime.logs import LogFile


class Killed(BaseException):
    """Stands for SIGKILL: raised instead of a system call, or right after it."""


class Fragile:
    """`os` that dies at the nth call, before it or after it has taken effect."""

    def __init__(self, survive: int, after: bool):
        self.left, self.after = survive, after

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in ("pwrite", "write", "splice", "read", "truncate"):
            return function

        def call(*arguments):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            result = function(*arguments)
            if self.left == 0:
                raise Killed
            return result

        return call


class Stream:
    """A stream of output with its log, as the keeper would move it."""

    def __init__(self, home):
        self.home = home
        self.reader, self.writer = pipe()
        self.staging = pipe()

    def open(self):
        self.journal = Journal(str(self.home / "note"), self.staging)
        self.log = LogFile(str(self.home / "log"))
        self.tail = Tail(str(self.home / "tail"))

    def step(self):
        """Move one block; False when there is none."""
        block = self.journal.look(self.reader)
        if not block:
            return False
        text = self.tail.content + block
        whole = text.rfind(b"\n") + 1
        self.journal.move(self.reader, len(block), self.log, text[:whole], self.tail, text[whole:])
        return True


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_every_system_call(tmp_path, monkeypatch, after):
    deaths = 0
    for moment in count(1):
        home = tmp_path / str(moment)
        home.mkdir()
        stream = Stream(home)
        stream.open()
        written = b""
        broken = False
        for number in range(12):  # blocks that end in the middle of a line, at its end, and before any
            block = [b"one\ntw", b"o\nthree\n", b"fo", b"ur\nfive"][number % 4]
            os.write(stream.writer, block)
            written += block
            if number == 5:
                monkeypatch.setattr(journals, "os", Fragile(moment, after))
            try:
                stream.step()
            except Killed:
                broken = True
                monkeypatch.setattr(journals, "os", os)
                stream.open()  # a new keeper
                stream.step()
            monkeypatch.setattr(journals, "os", os) if number == 5 else None
        assert (home / "log").read_bytes() + stream.tail.content == written
        deaths += broken
        if not broken:
            break
    assert deaths >= 6


def test_a_log_write_that_was_cut_short_is_taken_back(tmp_path):
    stream = Stream(tmp_path)
    stream.open()
    os.write(stream.writer, b"first\n")
    stream.step()
    os.write(stream.writer, b"second\n")
    note = b"%d %d 0\0%s\0%s\0" % (6, 7, os.fsencode(stream.log.path), os.fsencode(stream.tail.path))
    (tmp_path / "note").write_bytes(note)
    stream.log.append(b"sec")
    stream.open()
    assert (tmp_path / "log").read_bytes() == b"first\n"
    stream.step()
    assert (tmp_path / "log").read_bytes() == b"first\nsecond\n"


def test_the_tail_alone_can_be_logged(tmp_path):
    stream = Stream(tmp_path)
    stream.open()
    os.write(stream.writer, b"no end")
    stream.step()
    assert (tmp_path / "log").read_bytes() == b""
    stream.journal.move(stream.reader, 0, stream.log, stream.tail.content, stream.tail, b"")
    assert (tmp_path / "log").read_bytes() == b"no end"
    assert Tail(stream.tail.path).content == b""
    assert stream.journal.look(stream.reader) is None
    os.close(stream.writer)
    assert stream.journal.look(stream.reader) == b""
