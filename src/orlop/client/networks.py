"""Networks over the HTTP API. `ref` is a name, an id or an id's beginning."""

from orlop.client.http import query, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.client.documents import Document
    from orlop.client.http import Client, Filters


def list_networks(client: "Client", filters: "Filters | None" = None) -> "list[Document]":
    documents: list[Document] = client.call("GET", f"/networks{query({'filters': filters})}")
    return documents


def create(client: "Client", body: "Document") -> "Document":
    """The new network's {"Id": …, "Warning": …}."""
    document: Document = client.call("POST", "/networks/create", body)
    return document


def inspect(client: "Client", ref: str, *, verbose: bool = False) -> "Document":
    document: Document = client.call("GET", f"/networks/{quote(ref)}{query({'verbose': verbose})}")
    return document


def remove(client: "Client", ref: str) -> None:
    client.call("DELETE", f"/networks/{quote(ref)}")


def connect(client: "Client", ref: str, container: str, endpoint: "Document") -> None:
    client.call("POST", f"/networks/{quote(ref)}/connect", {"Container": container, "EndpointConfig": endpoint})


def disconnect(client: "Client", ref: str, container: str, *, force: bool) -> None:
    client.call("POST", f"/networks/{quote(ref)}/disconnect", {"Container": container, "Force": force})


def prune(client: "Client", filters: "Filters | None" = None) -> "Document":
    document: Document = client.call("POST", f"/networks/prune{query({'filters': filters})}")
    return document
