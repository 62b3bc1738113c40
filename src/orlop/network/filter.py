"""The firewall as this part keeps it: the fixed ruleset and the elements it was told, also after somebody flushed them."""

import errno
import logging
from collections.abc import Collection
from contextlib import suppress

from orlop.kernel import firewall
from orlop.kernel.firewall import Element, Firewall
from orlop.network import ruleset
from orlop.spec.errors import Unavailable

log = logging.getLogger(__name__)


class Filter:
    """The tables `orlop` of the network namespace of the thread that made it."""

    def __init__(self) -> None:
        self._firewall = Firewall(ruleset.TABLE)
        self._elements: set[Element] = set()
        self._obstacle = ""

    def open(self) -> None:
        """Load the fixed ruleset unless it is there. Without nft there are no bridge networks, but all else."""
        try:
            if not self._is_loaded():
                firewall.load(ruleset.ruleset())
        except Unavailable as error:
            log.warning("Cannot offer bridge networks: %s", error)
            self._obstacle = str(error)
            return
        for chain in self._firewall.forward_drops():
            log.warning("Containers may not reach the outside: chain %s drops forwarded packets by its policy", chain)

    def _is_loaded(self) -> bool:
        return all(self._firewall.has_chain(family, ruleset.MARKER) for family in ruleset.FAMILIES)

    def close(self) -> None:
        """Let go of the socket; the rules stay."""
        self._firewall.close()

    def check(self) -> None:
        """Raises Unavailable where this host cannot filter packets."""
        if self._obstacle:
            raise Unavailable(self._obstacle)

    def synchronise(self, wanted: Collection[Element]) -> None:
        """Make the sets hold exactly `wanted`; elements that are right already are not touched: they may serve someone now."""
        self._elements = set(wanted)
        if self._obstacle:
            return
        present = {e for family in ruleset.FAMILIES for name in ruleset.SETS for e in self._firewall.elements(family, name)}
        self._firewall.change(remove=present - self._elements, add=self._elements - present)

    def add(self, elements: Collection[Element]) -> None:
        """Add elements. When another program has flushed our tables (`nft flush ruleset`), everything is put back."""
        self.check()
        self._elements.update(elements)
        try:
            self._firewall.change(add=elements)
        except OSError as error:
            if error.errno != errno.ENOENT or self._is_loaded():
                raise
            log.warning("Putting back the firewall's rules, which somebody has removed")
            firewall.load(ruleset.ruleset())
            self._firewall.change(add=self._elements)

    def remove(self, elements: Collection[Element]) -> None:
        """Remove elements, which may be gone."""
        self._elements.difference_update(elements)
        self._firewall.change(remove=elements)

    def forget_udp_flows(
        self, *, host_ports: Collection[int], host_addresses: Collection[str], served_by: Collection[str]
    ) -> None:
        """See `Firewall.forget_flows`."""
        with suppress(OSError):  # a kernel without ctnetlink
            self._firewall.forget_flows("udp", host_ports=host_ports, host_addresses=host_addresses, served_by=served_by)
