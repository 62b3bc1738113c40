"""`top`: what runs in a container, as ps(1) of the host shows it."""

import asyncio
import re

from orlop.engine.isolation import while_running
from orlop.engine.parts import Parts
from orlop.engine.roster import Container
from orlop.kernel.process import CommandFailed, run
from orlop.spec.container import Status
from orlop.spec.errors import Conflict, InvalidArgument, Unavailable

_RENAMED_PID = re.compile(r"\s+(\S*)=\s*(PID\S*)")


async def top(parts: Parts, container: Container, ps_arguments: str) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of `ps` with these options, for the container's processes only. Raises Conflict, InvalidArgument."""
    for name, title in _RENAMED_PID.findall(f" {ps_arguments}"):
        if name != "pid":
            raise InvalidArgument(f'specifying "{name}={title}" is not allowed')
    record = container.record
    if not container.is_active:
        raise Conflict(f"container {record.id} is not running")
    if record.status is Status.RESTARTING:
        raise Conflict(f"Container {record.id} is restarting, wait until the container is running")
    with while_running(record.id):
        pids = await parts.isolation.pids(record.id)
    output = await asyncio.to_thread(_ps, ps_arguments.split() or ["-ef"], pids)
    parts.events.container("top", record)
    return parse_ps(output, frozenset(pids))


def _ps(arguments: list[str], pids: list[int]) -> str:
    """Some options of ps (f) do not go with -q: then all processes are listed and picked from."""
    try:
        return run(["ps", *arguments, f"-q{','.join(map(str, pids))}"]).text
    except CommandFailed:
        pass
    try:
        return run(["ps", *arguments]).text
    except CommandFailed as error:
        if error.code is None:
            raise Unavailable(f"cannot run ps: {error}") from error
        reason = (error.stderr.strip() or str(error)).splitlines()[0]
        raise InvalidArgument(f"ps: {reason}") from error


def parse_ps(output: str, pids: frozenset[int]) -> tuple[list[str], list[list[str]]]:
    """Titles, and the rows of these processes; threads (a PID of "-") belong to the process above them."""
    lines = output.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column, rows, is_ours = titles.index("PID"), [], False
    for line in lines[1:]:
        fields = line.split(None, len(titles) - 1)
        if len(fields) <= column:
            continue
        if fields[column] != "-":
            if not fields[column].isdecimal():
                raise InvalidArgument(f"Unexpected pid '{fields[column]}'")
            is_ours = int(fields[column]) in pids
        if is_ours:
            rows.append([field.rstrip() for field in fields])
    return titles, rows
