"""`orlop network create`, `ls`, `rm`, `connect` and `disconnect`."""

from orlop.cli.command import Command
from orlop.cli.details import pairs_to_map
from orlop.cli.render import FORMAT, NO_TRUNC, View, filters, identity, natural, pairs, show
from orlop.cli.session import Failure
from orlop.cli.volumes import label
from orlop.client import networks
from orlop.client.http import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.session import Session
    from orlop.client.documents import Document


def create(session: "Session", arguments: "Arguments") -> int:
    for option in ("config-from", "config-only", "ingress"):
        if option in arguments.given:
            raise Failure(f"--{option} is not supported: it is for swarms")
    try:
        ipam = ipam_pools(arguments)
    except ValueError as error:
        raise Failure(str(error)) from None
    body: Document = {
        "Name": arguments.words[0],
        "Driver": arguments.text("driver"),
        "Options": pairs_to_map(arguments.many("opt")),
        "Labels": pairs_to_map(arguments.many("label")),
        "IPAM": {"Driver": arguments.text("ipam-driver"), "Options": pairs_to_map(arguments.many("ipam-opt")), "Config": ipam},
        "Internal": arguments.flag("internal"),
        "EnableIPv6": arguments.flag("ipv6"),
        "Attachable": arguments.flag("attachable"),
        "CheckDuplicate": True,
    }
    if "ipv4" in arguments.given:
        body["EnableIPv4"] = arguments.flag("ipv4")
    if arguments.text("scope"):
        body["Scope"] = arguments.text("scope")
    answer = networks.create(session.client, body)
    if answer.get("Warning"):
        session.warn(f"WARNING: {answer['Warning']}\n")
    session.out(f"{answer['Id']}\n")
    return 0


def ipam_pools(arguments: "Arguments") -> "list[Document]":
    """--subnet with the --ip-range, --gateway and --aux-address that lie in each. Raises ValueError in Docker's words."""
    subnets = arguments.many("subnet")
    if len(arguments.many("ip-range")) > len(subnets) or len(arguments.many("gateway")) > len(subnets):
        raise ValueError("every ip-range or gateway must have a corresponding subnet")
    pools: dict[str, Document] = {}
    for subnet in subnets:
        if any(_contains(other, subnet) or _contains(subnet, other) for other in pools):
            raise ValueError("multiple overlapping subnet configuration is not supported")
        pools[subnet] = {"Subnet": subnet}
    for option, field in (("ip-range", "IPRange"), ("gateway", "Gateway")):
        for text in arguments.many(option):
            subnet = next((subnet for subnet in pools if _contains(subnet, text)), "")
            if not subnet:
                noun = "range" if option == "ip-range" else "gateway"
                raise ValueError(f"no matching subnet for {noun} {text}")
            if field in pools[subnet]:
                several = "ranges" if option == "ip-range" else "gateways"
                both = f"({text}, {pools[subnet][field]})"
                raise ValueError(f"cannot configure multiple {several} {both} on the same subnet ({subnet})")
            pools[subnet][field] = text
    for name, address in pairs_to_map(arguments.many("aux-address")).items():
        subnet = next((subnet for subnet in pools if _contains(subnet, address)), "")
        if not subnet:
            raise ValueError(f"no matching subnet for aux-address {address}")
        pools[subnet].setdefault("AuxiliaryAddresses", {})[name] = address
    return list(pools.values())


def _contains(subnet: str, address: str) -> bool:
    """Whether an address, or a smaller subnet's first address, lies in a subnet. Raises ValueError."""
    bits, mask = _bits(subnet)
    other, _ = _bits(address)
    return len(bits) == len(other) and bits[:mask] == other[:mask]


def _bits(text: str) -> tuple[str, int]:
    from _socket import AF_INET, AF_INET6, inet_pton

    address, _, length = text.partition("/")
    try:
        packed = inet_pton(AF_INET6 if ":" in address else AF_INET, address)
        mask = int(length) if length else len(packed) * 8
    except (OSError, ValueError):
        raise ValueError(f"invalid CIDR address: {text}") from None
    return "".join(f"{byte:08b}" for byte in packed), mask


def list_networks(session: "Session", arguments: "Arguments") -> int:
    documents = networks.list_networks(session.client, filters(arguments.many("filter")))
    documents.sort(key=lambda document: natural(document["Name"]))
    quiet = "ID" if arguments.flag("quiet") else ""
    show(session, VIEW, documents, format=arguments.text("format"), quiet=quiet, full=arguments.flag("no-trunc"))
    return 0


def remove(session: "Session", arguments: "Arguments") -> int:
    failed = False
    for ref in arguments.words:
        try:
            networks.remove(session.client, ref)
        except ApiError as error:
            if error.status == 404 and arguments.flag("force"):
                continue
            session.warn(f"Error response from daemon: {error.message}\n")
            failed = True
            continue
        session.out(f"{ref}\n")
    if failed:
        session.warn("exit status 1\n")
    return int(failed)


def connect(session: "Session", arguments: "Arguments") -> int:
    from orlop.cli.attachments import endpoint_settings

    network, container = arguments.words
    wanted: Document = {
        "name": network,
        "alias": arguments.many("alias"),
        "link": arguments.many("link"),
        "link-local-ip": arguments.many("link-local-ip"),
        "driver-opt": pairs_to_map(arguments.many("driver-opt")),
        "ip": arguments.text("ip"),
        "ip6": arguments.text("ip6"),
        "gw-priority": arguments.number("gw-priority"),
    }
    try:
        endpoint = endpoint_settings(wanted)
    except ValueError as error:
        raise Failure(str(error)) from None
    networks.connect(session.client, network, container, endpoint)
    return 0


def disconnect(session: "Session", arguments: "Arguments") -> int:
    network, container = arguments.words
    networks.disconnect(session.client, network, container, force=arguments.flag("force"))
    return 0


def _created(document: "Document", _full: bool) -> str:
    """2026-01-31 12:00:00.5 +0000 UTC from the API's 2026-01-31T12:00:00.5Z."""
    date, _, clock = str(document["Created"]).partition("T")
    if clock.endswith("Z"):
        return f"{date} {clock[:-1]} +0000 UTC"
    offset = clock[-6:].replace(":", "")
    return f"{date} {clock[:-6]} {offset} {offset}"


def _yes(name: str, document: "Document") -> str:
    return "true" if document.get(name) else "false"


VIEW = View(
    {
        "ID": ("NETWORK ID", identity),
        "Name": ("NAME", lambda document, _: document["Name"]),
        "Driver": ("DRIVER", lambda document, _: document["Driver"]),
        "Scope": ("SCOPE", lambda document, _: document["Scope"]),
        "IPv4": ("IPV4", lambda document, _: _yes("EnableIPv4", document)),
        "IPv6": ("IPV6", lambda document, _: _yes("EnableIPv6", document)),
        "Internal": ("INTERNAL", lambda document, _: _yes("Internal", document)),
        "Labels": ("LABELS", lambda document, _: pairs(document.get("Labels"))),
        "Label": ("", label),
        "CreatedAt": ("CREATED AT", _created),
    },
    ("ID", "Name", "Driver", "Scope"),
)

COMMANDS = {
    "network create": Command(
        create,
        "Create a network",
        "[OPTIONS] NETWORK",
        (1, 1),
        (
            ("attachable", "", "bool", "Enable manual container attachment"),
            ("aux-address", "", "map", "Auxiliary IPv4 or IPv6 addresses used by Network driver"),
            ("config-from", "", "string", "The network from which to copy the configuration (not supported)"),
            ("config-only", "", "bool", "Create a configuration only network (not supported)"),
            ("driver", "d", "string=bridge", "Driver to manage the Network"),
            ("gateway", "", "strings", "IPv4 or IPv6 Gateway for the master subnet"),
            ("ingress", "", "bool", "Create swarm routing-mesh network (not supported)"),
            ("internal", "", "bool", "Restrict external access to the network"),
            ("ip-range", "", "strings", "Allocate container ip from a sub-range"),
            ("ipam-driver", "", "string=default", "IP Address Management Driver"),
            ("ipam-opt", "", "map", "Set IPAM driver specific options"),
            ("ipv4", "", "bool=true", "Enable or disable IPv4 address assignment"),
            ("ipv6", "", "bool", "Enable or disable IPv6 address assignment"),
            ("label", "", "list", "Set metadata on a network"),
            ("opt", "o", "map", "Set driver specific options"),
            ("scope", "", "string", "Control the network's scope"),
            ("subnet", "", "strings", "Subnet in CIDR format that represents a network segment"),
        ),
        examples=("orlop network create back", "orlop network create --subnet 172.30.0.0/24 --gateway 172.30.0.1 lab"),
    ),
    "network ls": Command(
        list_networks,
        "List networks",
        "[OPTIONS]",
        (0, 0),
        (
            ("filter", "f", "filter", 'Provide filter values (e.g. "driver=bridge")'),
            FORMAT,
            NO_TRUNC,
            ("quiet", "q", "bool", "Only display network IDs"),
        ),
        examples=("orlop network ls -f driver=bridge",),
    ),
    "network rm": Command(
        remove,
        "Remove one or more networks",
        "NETWORK [NETWORK...]",
        (1, None),
        (("force", "f", "bool", "Do not error if the network does not exist"),),
        examples=("orlop network rm back",),
    ),
    "network connect": Command(
        connect,
        "Connect a container to a network",
        "[OPTIONS] NETWORK CONTAINER",
        (2, 2),
        (
            ("alias", "", "strings", "Add network-scoped alias for the container"),
            ("driver-opt", "", "strings", "driver options for the network"),
            (
                "gw-priority",
                "",
                "int",
                "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
            ),
            ("ip", "", "string", 'IPv4 address (e.g., "172.30.100.104")'),
            ("ip6", "", "string", 'IPv6 address (e.g., "2001:db8::33")'),
            ("link", "", "list", "Add link to another container"),
            ("link-local-ip", "", "strings", "Add a link-local address for the container"),
        ),
        examples=("orlop network connect --alias db back postgres",),
    ),
    "network disconnect": Command(
        disconnect,
        "Disconnect a container from a network",
        "[OPTIONS] NETWORK CONTAINER",
        (2, 2),
        (("force", "f", "bool", "Force the container to disconnect from a network"),),
        examples=("orlop network disconnect back postgres",),
    ),
}
