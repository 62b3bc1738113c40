"""The `host` driver: the container shares the host's network namespace."""

from orlop.network.drivers.none import NoneDriver


class HostDriver(NoneDriver):
    """As little to do as for `null`, and not even a namespace."""

    has_sandbox = False
    name = "host"
