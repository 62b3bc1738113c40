"""What a network driver does: the verbs that `wiring` calls, all of them blocking and in one thread."""

from typing import Protocol

from orlop.network.sandboxes import Sandbox
from orlop.spec.network import Endpoint, NetworkRecord, NetworkSpec


class Driver(Protocol):
    """One kind of network. `create`, `remove` and `detach` are idempotent. Kernel refusals are OSErrors that name the act."""

    has_sandbox: bool  # its endpoints live in network namespaces of their own
    has_addresses: bool  # its networks have subnets, its endpoints addresses

    def check(self, spec: NetworkSpec) -> None:
        """Whether this driver can make such a network. Raises InvalidArgument."""
        ...

    def create(self, network: NetworkRecord) -> None:
        """Make the network be there."""
        ...

    def remove(self, network: NetworkRecord) -> None:
        """Make it be gone; nothing is attached any more."""
        ...

    def plug(self, network: NetworkRecord, sandbox: Sandbox) -> None:
        """Give a sandbox that nobody uses yet its interface in this network, without addresses: for the pool."""
        ...

    def attach(self, network: NetworkRecord, endpoint: Endpoint, sandbox: Sandbox, gateways: frozenset[int]) -> None:
        """Give the endpoint its interface and addresses. `gateways`: IP versions whose default route leads through it."""
        ...

    def detach(self, endpoint: Endpoint) -> None:
        """Take the interface away from a running container. Slow."""
        ...
