"""tcp:// addresses, and a real TCP connection."""

import socket

import pytest

from orlop.client.http import Unreachable
from orlop.client.tcp import dial_tcp, split_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host", ("host", "2375")),
        ("host:99", ("host", "99")),
        (":99", ("localhost", "99")),
        ("[::1]:99", ("::1", "99")),
        ("[::1]", ("::1", "2375")),
        ("host:99/path", ("host", "99")),
    ],
)
def test_addresses(text: str, expected: tuple[str, str]) -> None:
    assert split_address(text, "2375") == expected


def test_it_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = dial_tcp(f"127.0.0.1:{server.getsockname()[1]}", None)
        accepted, _ = server.accept()
        stream.sendall(b"x")
        assert accepted.recv(1) == b"x"
        stream.close()
        accepted.close()


def test_who_does_not_listen_is_named() -> None:
    with pytest.raises(Unreachable, match=r"tcp://127\.0\.0\.1:1"):
        dial_tcp("127.0.0.1:1", None)
