"""Where a registry is reached, pure: mirrors first, then itself, by HTTPS or, where it may, plain HTTP."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from orlop.spec.errors import InvalidArgument
from orlop.spec.reference import DEFAULT_DOMAIN
from orlop.spec.registry import RegistryOptions

_HUB = "registry-1.docker.io"  # where docker.io's API really is
_HUB_NAMES = frozenset({DEFAULT_DOMAIN, "index.docker.io", _HUB, "registry.hub.docker.com"})


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base of a registry's API. `verify`: whether its certificate must be good. A mirror is asked only to pull."""

    url: str  # scheme://host[:port][/prefix], no trailing slash
    verify: bool = True
    mirror: bool = False

    @property
    def host(self) -> str:
        """host[:port], as directories of certificates are named."""
        return urlsplit(self.url).netloc

    @property
    def secure(self) -> bool:
        """Whether what is said there is encrypted."""
        return self.url.startswith("https:")


def endpoints(domain: str, options: RegistryOptions, *, pull: bool) -> tuple[Endpoint, ...]:
    """In the order in which they are to be asked. Raises InvalidArgument for a mirror that is no URL."""
    mirrors = options.mirrors.get(domain, ()) if pull else ()
    return (*(_mirror(url, options) for url in mirrors), *_of_host(api_host(domain), options))


def api_host(domain: str) -> str:
    """The host that serves a domain's images."""
    return _HUB if domain in _HUB_NAMES else domain


def _of_host(host: str, options: RegistryOptions) -> tuple[Endpoint, ...]:
    if is_insecure(host, options.insecure):
        return (Endpoint(f"https://{host}", verify=False), Endpoint(f"http://{host}", verify=False))
    return (Endpoint(f"https://{host}"),)


def _mirror(url: str, options: RegistryOptions) -> Endpoint:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidArgument(f'invalid mirror: "{url}" is not http(s)://host[:port][/path]')
    return Endpoint(url.rstrip("/"), verify=not is_insecure(parts.netloc, options.insecure), mirror=True)


def is_insecure(host: str, insecure: tuple[str, ...]) -> bool:
    """Whether a host[:port] may do without TLS: loopback, or named, or in a named network (addresses only: no DNS here)."""
    name = urlsplit(f"//{host}").hostname or host
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    if name == "localhost" or (address and address.is_loopback):
        return True
    for entry in insecure:
        if entry in (host, name) or api_host(entry) == host:
            return True
        if address and "/" in entry and _contains(entry, address):
            return True
    return False


def _contains(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def proxy_for(url: str, environment: Mapping[str, str]) -> str:
    """The proxy's URL for a request, "" for none: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go reads them.

    Upper-case names win; loopback is never proxied.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    name = f"{parts.scheme}_proxy"
    proxy = environment.get(name.upper()) or environment.get(name) or ""
    if not proxy or is_insecure(host if ":" not in host else f"[{host}]", ()):
        return ""
    excluded = environment.get("NO_PROXY") or environment.get("no_proxy") or ""
    if any(_excludes(entry.strip().lower(), host, port) for entry in excluded.split(",")):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _excludes(entry: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY covers a host: *, an address, a network, a domain with its children, .children only."""
    if not entry:
        return False
    if entry == "*":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if "/" in entry:
        return address is not None and _contains(entry, address)
    name, colon, wanted = entry.rpartition(":")
    if colon and wanted.isdigit() and "]" not in wanted and (":" not in name or name.endswith("]")):
        if int(wanted) != port:
            return False
        entry = name.strip("[]")
    if entry.startswith("*."):
        entry = entry[1:]
    return host == entry or host.endswith(entry if entry.startswith(".") else f".{entry}")
