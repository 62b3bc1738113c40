"""The `null` driver: a network namespace of the container's own, with the loopback and nothing else."""

from orlop.network.sandboxes import Sandbox
from orlop.spec.errors import Forbidden
from orlop.spec.network import Endpoint, NetworkRecord, NetworkSpec


class NoneDriver:
    """Nothing to do but to be there."""

    has_sandbox = True
    has_addresses = False
    name = "null"

    def check(self, spec: NetworkSpec) -> None:
        """There is one such network, and it is there already."""
        raise Forbidden(f'only one instance of "{self.name}" network is allowed')

    def create(self, network: NetworkRecord) -> None:
        """Nothing to make."""

    def remove(self, network: NetworkRecord) -> None:
        """Nothing was made."""

    def plug(self, network: NetworkRecord, sandbox: Sandbox) -> None:
        """The loopback is up already."""

    def attach(self, network: NetworkRecord, endpoint: Endpoint, sandbox: Sandbox, gateways: frozenset[int]) -> None:
        """The loopback is up already."""

    def detach(self, endpoint: Endpoint) -> None:
        """Nothing was attached."""
