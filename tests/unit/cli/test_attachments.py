"""--network and the endpoints that it asks for."""

from typing import Any

import pytest

from orlop.cli.attachments import endpoints, parse_network
from orlop.cli.command import parse
from orlop.cli.container import OPTIONS


def wanted(*words: str) -> tuple[str, dict[str, Any]]:
    return endpoints(parse(OPTIONS, list(words)))


def test_a_name_alone_is_a_mode() -> None:
    assert wanted("--network", "none") == ("none", {})
    assert wanted() == ("default", {})


def test_options_of_the_network() -> None:
    text = "name=back,alias=a,alias=b,ip=10.0.0.5,driver-opt=k=v,gw-priority=-1"
    assert wanted("--network", text) == (
        "back",
        {
            "back": {
                "Aliases": ["a", "b"],
                "IPAMConfig": {"IPv4Address": "10.0.0.5"},
                "DriverOpts": {"k": "v"},
                "GwPriority": -1,
            }
        },
    )


def test_old_options_are_the_first_networks() -> None:
    mode, settings = wanted(
        "--network", "one", "--network", "two", "--network-alias", "a", "--ip", "10.0.0.5", "--link", "db:d"
    )
    assert mode == "one"
    assert settings == {"one": {"Aliases": ["a"], "Links": ["db:d"], "IPAMConfig": {"IPv4Address": "10.0.0.5"}}, "two": {}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "one", "--network", "one"], 'network "one" is specified multiple times'),
        (["--network", "one", "--network", "host"], "cannot attach both user-defined and non-user-defined network-modes"),
        (["--network-alias", "a"], "network-scoped aliases are only supported for user-defined networks"),
        (
            ["--network", "name=one,alias=a", "--network-alias", "b"],
            "cannot specify both --network-alias and per-network alias",
        ),
    ],
)
def test_contradictions(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        wanted(*words)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alias=a", "network name/id is not specified"),
        ("name=a,x", "invalid field x"),
        ("name=a,foo=b", "invalid field key foo"),
        ("name=a,ip=b", "unable to parse IP"),
        ("name=a,gw-priority=b", "invalid gw-priority (b)"),
        ("name=a,driver-opt=b", "invalid key value pair format in driver options"),
    ],
)
def test_what_is_no_network(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_network(text)
    assert message in str(caught.value)
