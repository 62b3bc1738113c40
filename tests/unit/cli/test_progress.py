"""Progress: plain lines, bars in place, errors."""

import os
import pty

import pytest

from orlop.cli.progress import Transfer, bar, display, line
from orlop.cli.session import Failure

PULL = [
    {"status": "Pulling from library/x", "id": "latest"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "aaa"},
    {"status": "Downloading", "progressDetail": {"current": 5, "total": 10}, "id": "aaa"},
    {"status": "Pull complete", "progressDetail": {}, "id": "aaa"},
    {"status": "Status: Downloaded newer image for x:latest"},
]


def test_plain_lines_leave_the_bars_out(capfd: pytest.CaptureFixture[str]) -> None:
    display(PULL)
    assert capfd.readouterr().out == (
        "latest: Pulling from library/x\naaa: Pulling fs layer\naaa: Pull complete\nStatus: Downloaded newer image for x:latest\n"
    )


def test_on_a_terminal_a_row_is_rewritten() -> None:
    ours, theirs = pty.openpty()
    display(PULL, theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    os.close(theirs)
    assert shown.count("aaa: ") == 3
    assert "\x1b[1A\x1b[2K\raaa: Downloading" in shown


def test_an_error_in_the_stream_fails() -> None:
    for message in ({"error": "no", "errorDetail": {"message": "no"}}, {"error": "no"}):
        with pytest.raises(Failure, match="no"):
            display([message])


def test_the_rest_of_a_message() -> None:
    seen: list[object] = []
    display([{"aux": {"ID": "x"}}], aux=seen.append)
    assert seen == [{"ID": "x"}]
    assert line({"stream": "Loaded image: x\n"}) == "Loaded image: x\n"


def test_bars() -> None:
    assert bar({"current": 5, "total": 10}, 200) == f"[{'=' * 25}>{' ' * 25}] {'5B':>8}/10B"
    assert bar({"current": 5, "total": 10}, 80) == f"{'5B':>8}/10B"
    assert bar({"current": 3, "total": 4, "units": "items"}, 80) == "3/4 items"
    assert bar({"current": 5}, 80) == f"{'5B':>8}"
    assert bar({}, 80) == ""


def test_a_transfer_is_counted_only_for_eyes(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(Transfer("Sending", 4).watch([b"ab", b"cd"])) == [b"ab", b"cd"]
    assert capfd.readouterr() == ("", "")
