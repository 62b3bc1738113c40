"""`-p` and `--expose`: published and exposed ports as the API takes them."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.client.documents import Document

PROTOCOLS = ("tcp", "udp", "sctp")


def parse_published(texts: list[str]) -> "dict[str, list[Document]]":
    """`[ip:][host:]container[/protocol]`, each port possibly a range, as PortBindings. Raises ValueError in Docker's words."""
    bindings: dict[str, list[Document]] = {}
    for text in texts:
        for port, binding in _mappings(_short_form(text)):
            bindings.setdefault(port, []).append(binding)
    return bindings


def parse_exposed(texts: list[str]) -> list[str]:
    """`80`, `80/udp` and `80-90/tcp` as "80/tcp" each. Raises ValueError."""
    exposed = []
    for text in texts:
        ports, _, protocol = text.partition("/")
        try:
            first, last = _range(ports)
        except ValueError as error:
            raise ValueError(f"invalid range format for --expose: {error}") from None
        if (protocol or "tcp").lower() not in PROTOCOLS:
            raise ValueError(f"invalid range format for --expose: invalid proto: {protocol}")
        exposed += [f"{port}/{(protocol or 'tcp').lower()}" for port in range(first, last + 1)]
    return exposed


def _short_form(text: str) -> str:
    """`published=8080,target=80,protocol=tcp` in the colon form."""
    if "=" not in text:
        return text
    fields = {"protocol": "tcp", "published": "", "target": ""}
    for field in text.split(","):
        key, equals, value = field.partition("=")
        if not equals or not key:
            raise ValueError(f"invalid publish opts format (should be name=value but got '{field}')")
        fields[key] = value
    return f"{fields['published']}:{fields['target']}/{fields['protocol']}"


def _mappings(text: str) -> "list[tuple[str, Document]]":
    address, host, container = _parts(text)
    container, _, protocol = container.partition("/")
    protocol = (protocol or "tcp").lower()
    if not container:
        raise ValueError(f"no port specified: {text}<empty>")
    if protocol not in PROTOCOLS:
        raise ValueError(f"invalid proto: {protocol}")
    first, last = _named_range(container, "containerPort")
    host_first, host_last = _named_range(host, "hostPort") if host else (0, 0)
    if host and last - first != host_last - host_first and (first != last):
        raise ValueError(f"invalid ranges specified for container and host Ports: {container} and {host}")
    found: list[tuple[str, Document]] = []
    for offset in range(last - first + 1):
        shown = str(host_first + offset) if host else ""
        if host and first == last and host_first != host_last:
            shown = f"{host_first}-{host_last}"  # one port of a range, the daemon's choice
        found.append((f"{first + offset}/{protocol}", {"HostIp": address, "HostPort": shown}))
    return found


def _parts(text: str) -> tuple[str, str, str]:
    *before, container = text.split(":")
    host = before.pop() if before else ""
    address = ":".join(before)
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if address and not is_address(address):
        raise ValueError(f"invalid IP address: {address}")
    return address, host, container


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    from _socket import AF_INET, AF_INET6, inet_pton

    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except OSError:
            continue
        return True
    return False


def _named_range(text: str, name: str) -> tuple[int, int]:
    try:
        return _range(text)
    except ValueError:
        raise ValueError(f"invalid {name}: {text}") from None


def _range(text: str) -> tuple[int, int]:
    if not text:
        raise ValueError("empty string specified for ports")
    first_text, dash, last_text = text.partition("-")
    first = _port(first_text, "start")
    last = _port(last_text, "end") if dash else first
    if last < first:
        raise ValueError(f"invalid port range: {text}")
    return first, last


def _port(text: str, which: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"invalid {which} port '{text}': {'invalid syntax' if text else 'value is empty'}")
    if int(text) > 0xFFFF:
        raise ValueError(f"invalid {which} port '{text}': value out of range (0–65535)")
    return int(text)
