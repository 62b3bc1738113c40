"""`update`: other limits and another restart policy for a container, running or not."""

from dataclasses import fields, replace

from orlop.engine.checks import check_resources, check_restart
from orlop.engine.parts import Parts
from orlop.engine.roster import Container
from orlop.spec.container import LIVE, RestartPolicy, Status
from orlop.spec.errors import Conflict, InvalidArgument, explained
from orlop.spec.resources import Resources

_UNSET = Resources()


def changed(before: Resources, wanted: Resources) -> Resources:
    """The limits after an update: those that are set replace, with the ones that hang together kept consistent.

    Raises InvalidArgument, Conflict in Docker's words.
    """
    names = [field.name for field in fields(Resources)]
    given = {name: getattr(wanted, name) for name in names if getattr(wanted, name) != getattr(_UNSET, name)}
    if wanted.cpu_nanos and (before.cpu_period_us or before.cpu_quota_us):
        raise InvalidArgument("Conflicting options: Nano CPUs cannot be updated as CPU Period/Quota has already been set")
    if before.cpu_nanos and (wanted.cpu_period_us or wanted.cpu_quota_us):
        what = "CPU Period" if wanted.cpu_period_us else "CPU Quota"
        raise InvalidArgument(f"Conflicting options: {what} cannot be updated as NanoCPUs has already been set")
    if wanted.memory_bytes and not wanted.memory_swap_bytes and 0 < before.memory_swap_bytes < wanted.memory_bytes:
        raise Conflict(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        )
    if (
        wanted.memory_reservation_bytes
        and not wanted.memory_bytes
        and 0 < before.memory_bytes < wanted.memory_reservation_bytes
    ):
        raise Conflict("Minimum memory limit can not be less than memory reservation limit, see usage")
    after = replace(before, **given)
    check_resources(after, is_update=True)
    return after


async def update(parts: Parts, container: Container, resources: Resources, restart: RestartPolicy | None) -> tuple[str, ...]:
    """Check, record, and tell the wall when it runs; warnings. What the kernel refuses is not recorded."""
    check_resources(resources, is_update=True)
    if restart and restart.name:
        check_restart(restart)
    async with container.lock:
        record = container.record
        with explained(f"Cannot update container {record.id}"):
            if container.being_removed or record.status in (Status.REMOVING, Status.DEAD):
                raise Conflict('container is marked for removal and cannot be "update"')
            if restart and restart.name and record.spec.auto_remove and restart.name != "no":
                raise Conflict("Restart policy cannot be updated because AutoRemove is enabled for the container")
            after = changed(record.spec.resources, resources)
            if after != record.spec.resources and record.status in LIVE:
                await parts.isolation.update(record.id, after)
        policy = restart if restart and restart.name else record.spec.restart
        parts.roster.save(container, replace(record, spec=replace(record.spec, resources=after, restart=policy)))
        parts.events.container("update", record)
    return ()
