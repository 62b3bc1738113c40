"""Finds and removes what a crash has left behind: links of ours that belong to nobody."""

import errno
import logging
from collections.abc import Collection

from orlop.kernel import netlink
from orlop.kernel.netlink import Link, RouteSocket
from orlop.network.drivers.bridge import ALIAS
from orlop.network.sandboxes import LINK_PREFIX

log = logging.getLogger(__name__)


def strangers(links: Collection[Link], living: Collection[str], bridges: Collection[str]) -> list[str]:
    """Our links that belong to nobody: veth pairs of no living endpoint, bridges of no network. Pure."""
    return [
        link.name
        for link in links
        if (link.kind == "veth" and link.name.startswith(LINK_PREFIX) and link.name not in living)
        or (link.kind == "bridge" and link.alias.startswith(ALIAS) and link.name not in bridges)
    ]


def sweep(route: RouteSocket, living: Collection[str], bridges: Collection[str]) -> None:
    """Remove such links."""
    for name in strangers(route.links(), living, bridges):
        log.info("Removing %s, which a crash has left behind", name)
        try:
            route.execute(netlink.delete_link(name))
        except OSError as error:  # it went meanwhile, as the pair of one whose namespace was just destroyed
            if error.errno != errno.ENODEV:
                raise
