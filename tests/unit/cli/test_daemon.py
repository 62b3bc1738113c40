"""When nobody listens: a clear error, and a daemon started only where that is ours to do."""

import pytest

from orlop.cli import daemon
from orlop.cli.session import DEFAULT_SOCKET, Session
from orlop.client.http import Unreachable

ABSENT = "Cannot connect to the Orlop daemon at unix://{}. Is the orlopd daemon running?"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would have been started."""
    programs: list[str] = []

    def spawn(program: str) -> int:
        programs.append(program)
        raise Unreachable("started")

    monkeypatch.setattr(daemon, "_spawn", spawn)
    monkeypatch.setattr(daemon, "_daemon_program", lambda: "/x/orlopd")
    return programs


def test_not_at_another_socket(started: list[str]) -> None:
    with pytest.raises(Unreachable) as caught:
        daemon.revive(Session(), "/other", FileNotFoundError())
    assert (str(caught.value), started) == (ABSENT.format("/other"), [])


def test_not_without_root(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.posix, "geteuid", lambda: 1000)
    with pytest.raises(Unreachable) as caught:
        daemon.revive(Session(), DEFAULT_SOCKET, ConnectionRefusedError())
    assert (str(caught.value), started) == (ABSENT.format(DEFAULT_SOCKET), [])


def test_not_where_the_socket_is_forbidden(started: list[str]) -> None:
    with pytest.raises(Unreachable, match="permission denied while trying to connect"):
        daemon.revive(Session(), DEFAULT_SOCKET, PermissionError())
    assert started == []


def test_root_at_the_default_socket_starts_it(started: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon.posix, "geteuid", lambda: 0)
    with pytest.raises(Unreachable, match="started"):
        daemon.revive(Session(), DEFAULT_SOCKET, FileNotFoundError())
    assert started == ["/x/orlopd"]
