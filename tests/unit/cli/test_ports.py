"""Published and exposed ports."""

import pytest

from orlop.cli.ports import is_address, parse_exposed, parse_published


def row(address: str, port: str) -> dict[str, str]:
    return {"HostIp": address, "HostPort": port}


@pytest.mark.parametrize(
    ("text", "bindings"),
    [
        ("80", {"80/tcp": [row("", "")]}),
        ("8080:80", {"80/tcp": [row("", "8080")]}),
        ("8080:80/UDP", {"80/udp": [row("", "8080")]}),
        ("127.0.0.1:8080:80", {"80/tcp": [row("127.0.0.1", "8080")]}),
        ("127.0.0.1::80", {"80/tcp": [row("127.0.0.1", "")]}),
        ("[::1]:8080:80", {"80/tcp": [row("::1", "8080")]}),
        ("8080-8081:80-81", {"80/tcp": [row("", "8080")], "81/tcp": [row("", "8081")]}),
        ("8080-8090:80", {"80/tcp": [row("", "8080-8090")]}),
        ("published=8080,target=80,protocol=udp", {"80/udp": [row("", "8080")]}),
    ],
)
def test_published(text: str, bindings: dict[str, list[dict[str, str]]]) -> None:
    assert parse_published([text]) == bindings


def test_the_same_port_may_be_published_twice() -> None:
    assert parse_published(["1:80", "2:80"]) == {"80/tcp": [row("", "1"), row("", "2")]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo", "invalid containerPort: foo"),
        ("70000:80", "invalid hostPort: 70000"),
        ("80:", "no port specified: 80:<empty>"),
        ("80:80/x", "invalid proto: x"),
        ("80:80:80:80", "invalid IP address: 80:80"),
        ("9-8:80-81", "invalid hostPort: 9-8"),
        ("1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3"),
        ("published=1,x", "invalid publish opts format (should be name=value but got 'x')"),
    ],
)
def test_what_cannot_be_published(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_published([text])
    assert str(caught.value) == message


def test_exposed() -> None:
    assert parse_exposed(["80", "90-91/udp"]) == ["80/tcp", "90/udp", "91/udp"]
    for text in ("", "x", "80/x", "9-8"):
        with pytest.raises(ValueError, match="invalid range format for --expose"):
            parse_exposed([text])


def test_addresses() -> None:
    assert [is_address(text) for text in ("1.2.3.4", "::1", "1.2.3", "x", "")] == [True, True, False, False, False]
