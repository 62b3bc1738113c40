"""The verbs on volumes."""

import builtins

from orlop.engine.filters import Filters, boolean, check_filters, is_pruned_by, matches_key_values, matches_pattern
from orlop.engine.mounts import check_volume_name
from orlop.engine.parts import Parts
from orlop.engine.removal import Removal
from orlop.spec.errors import Conflict, NotFound
from orlop.spec.volume import VolumeRecord, VolumeSpec

LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})
PRUNE_FILTERS = frozenset({"all", "label", "label!"})


class Volumes:
    """All volumes, by name."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._removal = Removal(parts)

    def list(self, filters: Filters | None = None) -> tuple[list[VolumeRecord], tuple[str, ...]]:
        """The volumes, by name, and warnings."""
        wanted = filters or {}
        check_filters(wanted, LIST_FILTERS)
        dangling = boolean(wanted, "dangling", False) if wanted.get("dangling") else None
        used = self._used() if dangling is not None else frozenset()
        found = [
            record
            for record in self._parts.volumes.list()
            if (not wanted.get("name") or matches_pattern(wanted["name"], record.name))
            and (not wanted.get("driver") or record.spec.driver in wanted["driver"])
            and matches_key_values(wanted.get("label", ()), record.spec.labels)
            and (dangling is None or dangling == (record.name not in used))
        ]
        return sorted(found, key=lambda record: record.name), ()

    def _used(self) -> frozenset[str]:
        """Names of the volumes that containers have."""
        return frozenset(point.name for record in self._parts.roster.records() for point in record.mounts if point.name)

    def get(self, name: str) -> VolumeRecord:
        """Raises NotFound."""
        return self._parts.volumes.get(name)

    async def create(self, spec: VolumeSpec) -> VolumeRecord:
        """A new volume, or the one of that name. Raises InvalidArgument, NotFound (the driver), Conflict (options)."""
        if spec.driver not in ("", "local"):
            raise NotFound("volume driver", spec.driver)
        if spec.name:
            check_volume_name(spec.name)
            if present := self._parts.volumes.find(spec.name):
                if spec.options and dict(spec.options) != dict(present.spec.options):
                    raise Conflict(f"volume {spec.name} already exists with other options")
                return present
        record = self._parts.volumes.create(spec, self._parts.clock(), anonymous=not spec.name)
        self._parts.events.emit("volume", "create", record.name, {"driver": "local"})
        return record

    async def remove(self, name: str, force: bool = False) -> None:
        """Remove one that no container has; with `force` one that does not exist is no error. Raises Conflict, NotFound."""
        if force and self._parts.volumes.find(name) is None:
            return
        record = self._parts.volumes.get(name)
        if users := self._removal.users_of(record.name):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        self._destroy(record)

    def _destroy(self, record: VolumeRecord) -> None:
        self._parts.volumes.remove(record.name)
        self._parts.events.emit("volume", "destroy", record.name, {"driver": "local"})
        self._removal.purge_later()

    async def prune(self, filters: Filters) -> tuple[builtins.list[str], int]:
        """Remove what no container has: anonymous volumes, with the filter `all` named ones too; names and bytes freed."""
        check_filters(filters, PRUNE_FILTERS)
        everything, used = boolean(filters, "all", False), self._used()
        doomed = [
            record
            for record in self._parts.volumes.list()
            if record.name not in used
            and (everything or record.anonymous)
            and is_pruned_by(filters, record.spec.labels, record.created_ns)
        ]
        sizes = await self._sizes(doomed)
        for record in doomed:
            self._destroy(record)
        freed = sum(sizes.values())
        self._parts.events.emit("volume", "prune", "", {"reclaimed": str(freed)})
        return [record.name for record in doomed], freed

    async def usage(self, name: str) -> tuple[int, int]:
        """Bytes, and how many containers have it."""
        return (await self.usages([self._parts.volumes.get(name)]))[0]

    async def usages(self, records: builtins.list[VolumeRecord]) -> builtins.list[tuple[int, int]]:
        """The same of several, measured by one job."""
        sizes = await self._sizes(records)
        return [(sizes[record.name], len(self._removal.users_of(record.name))) for record in records]

    async def _sizes(self, records: builtins.list[VolumeRecord]) -> dict[str, int]:
        if not records:
            return {}
        sizes = await self._parts.workers.run("tree.usage", {"paths": [record.mountpoint for record in records]})
        return {record.name: int(sizes.get(record.mountpoint, 0)) for record in records}
