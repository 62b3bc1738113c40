"""runtime/logs.py: json-file lines, and their rotation."""

import json
import os

import pytest

from orlop.runtime.logs import LogFile

TIME = 1_767_225_600_000_000_123  # 2026-01-01T00:00:00.000000123Z


def lines(log, text, stream="stdout"):
    return [json.loads(line) for line in log.format(stream, text, TIME).splitlines()]


@pytest.fixture
def log(tmp_path):
    return LogFile(str(tmp_path / "log"))


def test_the_format_is_dockers(log):
    assert log.format("stdout", b"hello\n", TIME) == (
        b'{"log":"hello\\n","stream":"stdout","time":"2026-01-01T00:00:00.000000123Z"}\n'
    )
    assert log.format("stderr", b"tail", TIME) == b'{"log":"tail","stream":"stderr","time":"2026-01-01T00:00:00.000000123Z"}\n'


def test_attributes_are_in_every_line(tmp_path):
    log = LogFile(str(tmp_path / "log"), attributes={"app": 'w"eb'})
    assert [line["attrs"] for line in lines(log, b"a\nb\n")] == [{"app": 'w"eb'}] * 2


@pytest.mark.parametrize(
    "text",
    [
        b"plain\n\nlines\n",
        b'quotes " and \\ backslashes \\n\n',
        b"tabs\tand\rreturns\r\n",
        b"\x1b[31mcolours\x1b[0m\n\0\x01\x7f\n",
        "umlauts äöü, €, 😀\n".encode(),
        b"no newline at the end",
        b"\n",
        b"x" * 100_000 + b"\n",
    ],
)
def test_every_byte_can_be_read_back(log, text):
    assert "".join(line["log"] for line in lines(log, text)).encode() == text
    assert [line["log"] for line in lines(log, text)] == text.decode().splitlines(keepends=True) if b"\r" not in text else True


def test_bytes_that_are_no_text_survive(log):
    text = b"\xff\xfe good \xc3\x28\n" + bytes(range(128, 256)) + b"\n"
    assert "".join(line["log"] for line in lines(log, text)).encode(errors="surrogateescape") == text


def test_rotation_keeps_so_many_files_and_loses_nothing_before(tmp_path):
    log = LogFile(str(tmp_path / "log"), max_bytes=100, max_files=3)
    for number in range(10):
        log.make_room()
        log.append(b"%d" % number * 60)
    names = sorted(os.listdir(tmp_path))
    assert names == ["log", "log.1", "log.2"]
    assert [(tmp_path / name).read_bytes()[:1] + (tmp_path / name).read_bytes()[-1:] for name in names] == [b"89", b"67", b"45"]
    again = LogFile(str(tmp_path / "log"), max_bytes=100, max_files=3)
    assert again.size == 120


def test_a_reader_of_the_old_file_can_finish_it(tmp_path):
    log = LogFile(str(tmp_path / "log"), max_bytes=10, max_files=1)
    log.append(b"0123456789")
    with open(tmp_path / "log", "rb") as reader:
        log.make_room()
        log.append(b"new")
        assert reader.read() == b"0123456789"
    assert (tmp_path / "log").read_bytes() == b"new"


def test_a_full_disk_loses_lines_whole(tmp_path, monkeypatch):
    log = LogFile(str(tmp_path / "log"))
    log.append(b"before\n")

    def short(fd, data):
        return real(fd, data[:4])

    real = os.write
    monkeypatch.setattr(os, "write", short)
    log.append(b"lost\nlost\n")
    monkeypatch.setattr(os, "write", real)
    log.append(b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\nafter\n"
