"""Images over the HTTP API. `ref` is a name, a name with digest, or an id's beginning."""

from orlop.client.http import query, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orlop.client.documents import Document
    from orlop.client.http import Client, Filters, Response


def list_images(
    client: "Client", *, all: bool = False, digests: bool = False, filters: "Filters | None" = None
) -> "list[Document]":
    fields = {"all": all, "digests": digests, "filters": filters}
    documents: list[Document] = client.call("GET", f"/images/json{query(fields)}")
    return documents


def inspect(client: "Client", ref: str) -> "Document":
    document: Document = client.call("GET", f"/images/{quote(ref)}/json")
    return document


def history(client: "Client", ref: str) -> "list[Document]":
    documents: list[Document] = client.call("GET", f"/images/{quote(ref)}/history")
    return documents


def pull(client: "Client", repository: str, tag: str, *, platform: str = "", auth: str = "") -> "Response":
    """A stream of progress documents. `tag` is a tag or a digest, empty for all tags; `auth` is the encoded X-Registry-Auth."""
    fields = {"fromImage": repository, "tag": tag, "platform": platform}
    return client.stream("POST", f"/images/create{query(fields)}", b"", registry_auth(auth))


def push(client: "Client", repository: str, tag: str, *, auth: str, platform: str = "") -> "Response":
    """A stream of progress documents; an empty tag pushes all tags."""
    return client.stream(
        "POST", f"/images/{quote(repository)}/push{query({'tag': tag, 'platform': platform})}", b"", registry_auth(auth)
    )


def import_(
    client: "Client", source: str, body: "Iterable[bytes] | None", fields: "Mapping[str, str]", changes: list[str]
) -> "Response":
    """A stream of progress documents. `source` is '-' with a body, or a URL. Fields: repo tag message platform."""
    words = "".join(f"&changes={quote(change)}" for change in changes)
    return client.stream(
        "POST", f"/images/create{query({'fromSrc': source, **fields})}{words}", body if body is not None else b""
    )


def load(client: "Client", body: "Iterable[bytes]", *, quiet: bool, platform: str = "") -> "Response":
    """A stream of progress documents (or of text, from old daemons)."""
    headers = "Content-Type: application/x-tar\r\n"
    return client.stream("POST", f"/images/load{query({'quiet': int(quiet), 'platform': platform})}", body, headers)


def save(client: "Client", refs: "Iterable[str]", *, platform: str = "") -> "Response":
    """A docker-save archive."""
    names = "&".join(f"names={quote(ref)}" for ref in refs)
    more = query({"platform": platform}).replace("?", "&")
    return client.stream("GET", f"/images/get?{names}{more}")


def tag(client: "Client", ref: str, repository: str, tag: str) -> None:
    client.call("POST", f"/images/{quote(ref)}/tag{query({'repo': repository, 'tag': tag})}")


def remove(client: "Client", ref: str, *, force: bool = False, prune: bool = True) -> "list[Document]":
    """What was done, in order: {"Untagged": name} and {"Deleted": id}."""
    documents: list[Document] = client.call("DELETE", f"/images/{quote(ref)}{query({'force': force, 'noprune': not prune})}")
    return documents


def prune(client: "Client", filters: "Filters | None" = None) -> "Document":
    document: Document = client.call("POST", f"/images/prune{query({'filters': filters})}")
    return document


def search(
    client: "Client", term: str, *, limit: int = 0, filters: "Filters | None" = None, auth: str = ""
) -> "list[Document]":
    fields = {"term": term, "limit": limit or None, "filters": filters}
    documents: list[Document] = client.call("GET", f"/images/search{query(fields)}", None, registry_auth(auth))
    return documents


def bootstrap(client: "Client", name: str, *, variant: str, packages: list[str], tag: str) -> "Response":
    """Orlop's own: an image made from the host's distribution. A stream of progress documents."""
    words = "".join(f"&package={quote(package)}" for package in packages)
    return client.stream("POST", f"/orlop/images/bootstrap{query({'name': name, 'variant': variant, 'tag': tag})}{words}", b"")


def registry_auth(auth: str) -> str:
    """The header line for a registry's credentials."""
    return f"X-Registry-Auth: {auth}\r\n" if auth else ""
