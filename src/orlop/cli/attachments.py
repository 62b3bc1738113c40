"""`--network` with its options, and the endpoints that `run` asks for."""

from orlop.cli.ports import is_address
from orlop.cli.values import split_csv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from orlop.cli.command import Arguments
    from orlop.client.documents import Document

PREDEFINED = frozenset(("default", "bridge", "host", "none", ""))
ADDRESSES = {"ip": "IPv4Address", "ip6": "IPv6Address"}
# Options of run that stand for the first network, and the options of --network that must not be given as well.
OLD_OPTIONS = {
    "network-alias": ("alias", "--network-alias and per-network alias"),
    "ip": ("ip", "--ip and per-network IPv4 address"),
    "ip6": ("ip6", "--ip6 and per-network IPv6 address"),
    "mac-address": ("mac-address", "--mac-address and per-network MAC address"),
    "link-local-ip": ("link-local-ip", "--link-local-ip and per-network link-local IP addresses"),
}


def parse_network(text: str) -> "Document":
    """One --network: a name, or `name=N,alias=A,ip=…,driver-opt=k=v`. A document of these keys. Raises ValueError."""
    if "=" not in text:
        return {"name": text}
    network: Document = {"name": ""}
    for field in split_csv(text):
        key, equals, value = field.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals or not key:
            raise ValueError(f"invalid field {field}")
        _set(network, key, value)
    if not network["name"]:
        raise ValueError("network name/id is not specified")
    return network


def _set(network: "Document", key: str, value: str) -> None:
    if key in ("alias", "link-local-ip"):
        network.setdefault(key, []).append(value)
    elif key == "driver-opt":
        name, equals, option = value.partition("=")
        if not equals or not name:
            raise ValueError("invalid key value pair format in driver options")
        network.setdefault(key, {})[name.strip()] = option.strip()
    elif key == "gw-priority":
        try:
            network[key] = int(value)
        except ValueError:
            raise ValueError(f"invalid gw-priority ({value}): invalid syntax") from None
    elif key in ("name", "mac-address"):
        network[key] = value
    elif key in ADDRESSES:
        if not is_address(value):
            raise ValueError(f'ParseAddr("{value}"): unable to parse IP')
        network[key] = value
    else:
        raise ValueError(f"invalid field key {key}")


def endpoints(arguments: "Arguments") -> "tuple[str, dict[str, Document]]":
    """The network mode, and the endpoints' settings by network. Raises ValueError in Docker's words."""
    networks: list[Document] = arguments.given.get("network") or [{"name": "default"}]
    single = len(networks) == 1
    settings: dict[str, Document] = {}
    kinds = {_user_defined(str(network["name"])) for network in networks}
    for at, network in enumerate(networks):
        name = str(network["name"])
        wanted = _with_old_options(network, arguments) if at == 0 else network
        if name in settings:
            raise ValueError(f'network "{name}" is specified multiple times')
        endpoint = endpoint_settings(wanted)
        if endpoint or not single:
            settings[name] = endpoint
    if len(kinds) > 1:
        raise ValueError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    return str(networks[0]["name"]), settings


def endpoint_settings(network: "Document") -> "Document":
    """EndpointSettings of the API. Raises ValueError."""
    if not str(network["name"]).strip():
        raise ValueError("no name set for network")
    if not _user_defined(network["name"]):
        if network.get("alias"):
            raise ValueError("network-scoped aliases are only supported for user-defined networks")
        if network.get("link"):
            raise ValueError("links are only supported for user-defined networks")
    ipam = {place: network[key] for key, place in ADDRESSES.items() if network.get(key)}
    if network.get("link-local-ip"):
        ipam["LinkLocalIPs"] = network["link-local-ip"]
    places = {
        "Aliases": "alias",
        "DriverOpts": "driver-opt",
        "Links": "link",
        "MacAddress": "mac-address",
        "GwPriority": "gw-priority",
    }
    endpoint: Document = {place: network[key] for place, key in places.items() if network.get(key)}
    if ipam:
        endpoint["IPAMConfig"] = ipam
    return endpoint


def _with_old_options(network: "Document", arguments: "Arguments") -> "Document":
    merged: dict[str, Any] = dict(network)
    for option, (key, clash) in OLD_OPTIONS.items():
        value = arguments.given.get(option)
        if value and merged.get(key):
            raise ValueError(f"conflicting options: cannot specify both {clash}")
        if value:
            merged[key] = value
    if arguments.many("link") and _user_defined(network["name"]):
        merged["link"] = arguments.many("link")
    return merged


def _user_defined(name: str) -> bool:
    return name not in PREDEFINED and not name.startswith("container:")
