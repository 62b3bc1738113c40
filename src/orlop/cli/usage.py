"""`orlop system df`."""

from orlop.cli import images, ps
from orlop.cli.command import Command
from orlop.cli.render import FORMAT, View, show, size
from orlop.cli.volumes import VIEW as VOLUMES
from orlop.client import system

TYPE_CHECKING = False
if TYPE_CHECKING:
    from orlop.cli.command import Arguments
    from orlop.cli.render import Row
    from orlop.cli.session import Session
    from orlop.client.documents import Document


def disk_usage(session: "Session", arguments: "Arguments") -> int:
    found = system.disk_usage(session.client)
    format = arguments.text("format")
    if not arguments.flag("verbose"):
        show(session, VIEW, totals(found), format=format)
        return 0
    tagged = [next(iter(images.named(document))) for document in found.get("Images") or ()]
    running = [{**document, "SizeRootFs": 0} for document in found.get("Containers") or ()]
    if format not in ("", "table"):
        from orlop.cli.render import Row
        from orlop.cli.templates import Template

        rows: dict[str, list[Row]] = {
            "Images": [Row(images.VIEW, document, True) for document in tagged],
            "Containers": [Row(ps.VIEW, document, True) for document in running],
            "Volumes": [Row(VOLUMES, document, True) for document in found.get("Volumes") or ()],
            "BuildCache": [],
        }
        session.out(Template("{{json .}}" if format == "json" else format).render(_plain(rows) if format == "json" else rows))
        return 0
    session.out("Images space usage:\n\n")
    show(session, View(images.FIELDS, IMAGE_COLUMNS), tagged)
    session.out("\nContainers space usage:\n\n")
    show(session, View(ps.FIELDS, CONTAINER_COLUMNS), running)
    session.out("\nLocal Volumes space usage:\n\n")
    show(session, View(VOLUMES.fields, ("Name", "Links", "Size")), found.get("Volumes") or [])
    cache = sum(record.get("Size", 0) for record in found.get("BuildCache") or ())
    session.out(f"\nBuild cache usage: {size(cache)}\n\n")
    show(session, CACHE, found.get("BuildCache") or [])
    return 0


def _plain(rows: "dict[str, list[Row]]") -> "Document":
    return {name: [row.plain() for row in group] for name, group in rows.items()}


IMAGE_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
CONTAINER_COLUMNS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")
ACTIVE_STATES = ("running", "paused", "restarting")


def totals(found: "Document") -> "list[Document]":
    """Count, active count, size and what could be had back, for each kind."""
    pictures, boxes = found.get("Images") or [], found.get("Containers") or []
    volumes, cache = found.get("Volumes") or [], found.get("BuildCache") or []
    layers = found.get("LayersSize", 0)
    in_use = sum(image["Size"] - max(image.get("SharedSize", 0), 0) for image in pictures if image.get("Containers"))
    idle = [box for box in boxes if box.get("State") not in ACTIVE_STATES]
    spare = [volume for volume in volumes if not (volume.get("UsageData") or {}).get("RefCount")]
    return [
        _total("Images", pictures, sum(bool(image.get("Containers")) for image in pictures), layers, max(layers - in_use, 0)),
        _total("Containers", boxes, len(boxes) - len(idle), _sum(boxes), _sum(idle)),
        _total("Local Volumes", volumes, len(volumes) - len(spare), _volume_sum(volumes), _volume_sum(spare)),
        _total("Build Cache", cache, sum(bool(record.get("InUse")) for record in cache), _cache_sum(cache), _cache_sum(cache)),
    ]


def _sum(boxes: "list[Document]") -> int:
    return sum(box.get("SizeRw", 0) for box in boxes)


def _volume_sum(volumes: "list[Document]") -> int:
    return sum(max((volume.get("UsageData") or {}).get("Size", 0), 0) for volume in volumes)


def _cache_sum(cache: "list[Document]") -> int:
    return sum(record.get("Size", 0) for record in cache)


def _total(kind: str, items: "list[Document]", active: int, whole: int, reclaimable: int) -> "Document":
    share = f" ({reclaimable * 100 // whole}%)" if whole > 0 and kind != "Build Cache" else ""
    return {
        "Type": kind,
        "TotalCount": str(len(items)),
        "Active": str(active),
        "Size": size(whole),
        "Reclaimable": f"{size(reclaimable)}{share}",
    }


VIEW = View(
    {
        "Type": ("TYPE", lambda document, _: document["Type"]),
        "TotalCount": ("TOTAL", lambda document, _: document["TotalCount"]),
        "Active": ("ACTIVE", lambda document, _: document["Active"]),
        "Size": ("SIZE", lambda document, _: document["Size"]),
        "Reclaimable": ("RECLAIMABLE", lambda document, _: document["Reclaimable"]),
    },
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)
CACHE = View(
    {
        "ID": ("CACHE ID", lambda document, _: document["ID"][:12]),
        "CacheType": ("CACHE TYPE", lambda document, _: document["Type"]),
        "Size": ("SIZE", lambda document, _: size(document["Size"], 3)),
        "CreatedSince": ("CREATED", lambda document, _: document["CreatedAt"]),
        "LastUsedSince": ("LAST USED", lambda document, _: document.get("LastUsedAt") or ""),
        "UsageCount": ("USAGE", lambda document, _: str(document["UsageCount"])),
        "Shared": ("SHARED", lambda document, _: "true" if document["Shared"] else "false"),
    },
    ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"),
)

COMMANDS = {
    "system df": Command(
        disk_usage,
        "Show Orlop's disk usage",
        "[OPTIONS]",
        (0, 0),
        (FORMAT, ("verbose", "v", "bool", "Show detailed information on space usage")),
        examples=("orlop system df -v",),
    ),
}
