"""Keys that detach, and raw mode on a real pseudo terminal."""

import os
import pty
import termios

import pytest

from orlop.cli.terminal import DetachKeys, no_echo, parse_keys, raw_mode, restore


def test_keys_have_dockers_names() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("ctrl-@,a,ctrl-_,ctrl-[") == b"\x00a\x1f\x1b"
    for text in ("", "xx", "ctrl-1", "a,,b", "é"):
        with pytest.raises(ValueError, match="Unknown character"):
            parse_keys(text)


@pytest.mark.parametrize(
    ("typed", "sent", "detached"),
    [
        ([b"abc"], [b"abc"], False),
        ([b"a\x10\x11"], [b"a"], True),
        ([b"a\x10", b"\x11"], [b"a", b""], True),
        ([b"\x10", b"b"], [b"", b"\x10b"], False),
        ([b"\x10\x10\x11"], [b"\x10"], True),
    ],
)
def test_the_sequence_is_found_wherever_it_is_cut(typed: list[bytes], sent: list[bytes], detached: bool) -> None:
    keys = DetachKeys("ctrl-p,ctrl-q")
    results = [keys.feed(piece) for piece in typed]
    assert [out for out, _ in results] == sent
    assert results[-1][1] is detached


def test_raw_mode_is_undone() -> None:
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        saved = raw_mode(theirs)
        assert not termios.tcgetattr(theirs)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        restore(theirs, saved)
        assert termios.tcgetattr(theirs) == before
        quiet = no_echo(theirs)
        assert not termios.tcgetattr(theirs)[3] & termios.ECHO
        restore(theirs, quiet)
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


def test_what_is_no_terminal_is_left_alone(tmp_path: object) -> None:
    reader, writer = os.pipe()
    try:
        assert raw_mode(reader) == []
    finally:
        os.close(reader)
        os.close(writer)
