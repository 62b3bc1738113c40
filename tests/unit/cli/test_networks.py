"""Subnets, ranges and gateways of `network create`."""

import pytest

from orlop.cli.command import parse
from orlop.cli.networks import COMMANDS, ipam_pools

OPTIONS = COMMANDS["network create"].options


def pools(*words: str) -> list[dict[str, object]]:
    return ipam_pools(parse(OPTIONS, list(words)))


def test_each_belongs_to_its_subnet() -> None:
    assert pools(
        "--subnet", "10.1.0.0/16", "--subnet", "fd00::/64", "--gateway", "10.1.0.9", "--ip-range", "10.1.5.0/24", "--aux-address", "a=fd00::5"
    ) == [
        {"Subnet": "10.1.0.0/16", "IPRange": "10.1.5.0/24", "Gateway": "10.1.0.9"},
        {"Subnet": "fd00::/64", "AuxiliaryAddresses": {"a": "fd00::5"}},
    ]  # fmt: skip
    assert pools() == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gateway", "10.0.0.1"], "every ip-range or gateway must have a corresponding subnet"),
        (["--subnet", "10.0.0.0/24", "--gateway", "10.1.0.1"], "no matching subnet for gateway 10.1.0.1"),
        (["--subnet", "10.0.0.0/24", "--ip-range", "10.1.0.0/28"], "no matching subnet for range 10.1.0.0/28"),
        (["--subnet", "10.0.0.0/16", "--subnet", "10.0.5.0/24"], "multiple overlapping subnet configuration is not supported"),
        (["--subnet", "10.0.0.0/24", "--aux-address", "a=1.1.1.1"], "no matching subnet for aux-address 1.1.1.1"),
        (["--subnet", "10.0.0/24", "--gateway", "10.0.0.1"], "invalid CIDR address: 10.0.0/24"),
    ],
)
def test_what_does_not_match(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        pools(*words)
    assert str(caught.value) == message
