"""Puts the kernel in line with what is known, after a start: elements of the firewall, links that belong to nobody."""

import errno
import logging
from collections.abc import Collection

from orlop.kernel import netlink
from orlop.kernel.firewall import Element, Firewall
from orlop.kernel.netlink import Link, RouteSocket
from orlop.network.drivers.bridge import ALIAS
from orlop.network.ruleset import FAMILIES, SETS
from orlop.network.sandboxes import LINK_PREFIX

log = logging.getLogger(__name__)


def synchronise(firewall: Firewall, wanted: Collection[Element]) -> None:
    """Make the sets hold exactly `wanted`; elements that are right already are not touched, for they may serve someone now."""
    present = {element for family in FAMILIES for set_name in SETS for element in firewall.elements(family, set_name)}
    firewall.change(remove=present.difference(wanted), add=set(wanted) - present)


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
