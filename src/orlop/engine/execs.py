"""Further processes in running containers: create, start, resize, their ends; and probes of health checks."""

import asyncio
import contextlib
import secrets
import socket
from dataclasses import replace

from orlop.engine.links import told_of_links
from orlop.engine.parts import Parts
from orlop.engine.roster import Container
from orlop.spec import bundle
from orlop.spec.container import ContainerRecord, ExecRecord, ExecSpec, Status
from orlop.spec.errors import Conflict, InvalidArgument, NotFound, OrlopError, StartFailed
from orlop.spec.isolation import ExecOrder, Exit
from orlop.wire.frames import FrameReader

KEPT_SECONDS = 300  # how long an exec that has ended can be inspected
PROBE_OUTPUT = 4096  # bytes of a probe's output that are kept
KILL = 9


class Execs:
    """All execs, in memory: they end with their container."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._records: dict[str, ExecRecord] = {}
        self._ended: list[tuple[int, str]] = []  # when, which: oldest first
        self._waiting: dict[str, asyncio.Future[int | None]] = {}

    def create(self, reference: str, spec: ExecSpec) -> str:
        """A new exec, not started; its id. Raises Conflict when the container does not run."""
        if not spec.command:
            raise InvalidArgument("No exec command specified")
        container = self._running(reference)
        self._forget_old()
        exec_id = secrets.token_hex(32)
        self._records[exec_id] = ExecRecord(id=exec_id, container_id=container.record.id, spec=spec)
        self._tell("create", self._records[exec_id])
        return exec_id

    def get(self, exec_id: str) -> ExecRecord:
        """Raises NotFound, also when its container is gone."""
        record = self._records.get(exec_id)
        if record is None or record.container_id not in self._parts.roster:
            raise NotFound("exec instance", exec_id)
        return record

    def of(self, container_id: str) -> list[str]:
        """Ids of the execs that run in a container."""
        return [record.id for record in self._records.values() if record.container_id == container_id and record.running]

    async def start(
        self, exec_id: str, *, detach: bool, tty: bool, console_size: tuple[int, int] = (0, 0)
    ) -> socket.socket | None:
        """Start it; unless detached its stdio, as `Isolation.attach` gives it. Raises Conflict, StartFailed."""
        record = self.get(exec_id)
        container = self._running(record.container_id)
        if record.exit_code is not None:
            raise Conflict(f"exec command {exec_id} has already run")
        if record.running:
            raise Conflict(f"exec command {exec_id} is already running")
        spec = replace(record.spec, console_size=console_size) if any(console_size) else record.spec
        self._records[exec_id] = replace(record, running=True)
        self._tell("start", record)
        order = ExecOrder(
            container_id=record.container_id,
            exec_id=exec_id,
            process=bundle.exec_process(self._as_started(container.record), spec, self._parts.host),
            tty=spec.tty,
            attach_stdin=spec.attach_stdin and not detach,
            console_size=spec.console_size,
        )
        stdio: socket.socket | None = None
        try:
            if not detach:
                stdio = await self._parts.isolation.attach(
                    record.container_id,
                    exec_id,
                    stdin=spec.attach_stdin,
                    stdout=spec.attach_stdout,
                    stderr=spec.attach_stderr,
                    tty=spec.tty,
                )
            process = await self._parts.isolation.execute(order)
        except (OrlopError, OSError) as error:
            if stdio:
                stdio.close()
            code = error.exit_code if isinstance(error, StartFailed) else 126
            self._records[exec_id] = replace(record, running=False, exit_code=code)
            raise
        if exec_id in self._records:  # it may have ended by now: only the process is news
            self._records[exec_id] = replace(self._records[exec_id], process=process)
        return stdio

    def _as_started(self, record: ContainerRecord) -> ContainerRecord:
        """With the variables of its links, as far as those whom it links to are there."""
        try:
            return told_of_links(self._parts.roster, record)
        except (Conflict, NotFound):
            return record

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        record = self.get(exec_id)
        if not record.running:
            raise Conflict(f"exec process is not running: {exec_id}")
        await self._parts.isolation.resize(record.container_id, rows, columns, exec_id)

    def ended(self, exit: Exit) -> None:
        """The wall says that an exec has ended."""
        record = self._records.get(exit.exec_id)
        if record is None:
            return
        self._records[record.id] = replace(record, running=False, exit_code=255 if exit.exit_code is None else exit.exit_code)
        self._ended.append((exit.ended_ns, record.id))
        if container := self._parts.roster.find(record.container_id):
            code = str(self._records[record.id].exit_code)
            self._parts.events.container("exec_die", container.record, execID=record.id, exitCode=code)
        self._tell_end(record.id, exit.exit_code)
        self._parts.spawn(self._acknowledge(record))

    async def _acknowledge(self, record: ExecRecord) -> None:
        with contextlib.suppress(OrlopError):  # the container may be gone, and the exec with it
            await self._parts.isolation.acknowledge(record.container_id, record.id)

    def waiter(self, exec_id: str) -> "asyncio.Future[int | None]":
        """Comes when the exec has ended, at once when it does not run: its exit code, None when nobody knows it."""
        record = self.get(exec_id)
        ending = self._waiting.get(exec_id)
        if ending is None:
            ending = asyncio.get_running_loop().create_future()
            if record.running:
                self._waiting[exec_id] = ending
            else:
                ending.set_result(record.exit_code)
        return asyncio.shield(ending)

    def _tell_end(self, exec_id: str, exit_code: int | None) -> None:
        waiting = self._waiting.pop(exec_id, None)
        if waiting and not waiting.done():
            waiting.set_result(exit_code)

    def container_ended(self, container_id: str) -> None:
        """A container has ended: nothing runs in it any more, whatever we were told."""
        for exec_id in self.of(container_id):
            record = self._records[exec_id]
            self._records[exec_id] = replace(record, running=False, exit_code=137)
            self._ended.append((self._parts.clock(), exec_id))
            self._tell_end(exec_id, None)

    async def probe(self, record: ContainerRecord, command: tuple[str, ...], timeout_seconds: float) -> tuple[int | None, str]:
        """Run a health check's command: exit code (None: it was killed for being slow) and the beginning of its output."""
        spec = ExecSpec(command=command, attach_stdout=True, attach_stderr=True)
        exec_id = self.create(record.id, spec)
        ending = self._waiting[exec_id] = asyncio.get_running_loop().create_future()
        output = bytearray()
        try:
            stdio = await self.start(exec_id, detach=False, tty=False)
            try:
                async with asyncio.timeout(timeout_seconds):
                    await _read_output(stdio, output)
                    code = await ending
            except TimeoutError:
                with contextlib.suppress(NotFound):
                    await self._parts.isolation.kill(record.id, KILL, exec_id)
                code = None
            finally:
                if stdio:
                    stdio.close()
        finally:
            self._waiting.pop(exec_id, None)
            self._records.pop(exec_id, None)
        text = bytes(output[:PROBE_OUTPUT]).decode(errors="replace")
        return code, text + ("..." if len(output) > PROBE_OUTPUT else "")

    def _running(self, reference: str) -> Container:
        """The container, which must run. Raises Conflict in Docker's words."""
        container = self._parts.roster.get(reference)
        record = container.record
        if not container.is_active:
            raise Conflict(f"container {record.id} is not running")
        if record.status is Status.PAUSED:
            raise Conflict(f"Container {reference} is paused, unpause the container before exec")
        if record.status is Status.RESTARTING:
            raise Conflict(f"Container {record.id} is restarting, wait until the container is running")
        return container

    def _tell(self, action: str, record: ExecRecord) -> None:
        container = self._parts.roster.get(record.container_id)
        self._parts.events.container(f"exec_{action}: {' '.join(record.spec.command)}", container.record, execID=record.id)

    def _forget_old(self) -> None:
        """Drop execs that have ended long ago."""
        limit = self._parts.clock() - KEPT_SECONDS * 10**9
        while self._ended and self._ended[0][0] < limit:
            _, exec_id = self._ended.pop(0)
            self._records.pop(exec_id, None)


async def _read_output(stdio: socket.socket | None, output: bytearray) -> None:
    """Collect stdout and stderr until both have ended."""
    if stdio is None:
        return
    loop, frames = asyncio.get_running_loop(), FrameReader()
    while block := await loop.sock_recv(stdio, 1 << 16):
        for _, data in frames.feed(block):
            if len(output) <= PROBE_OUTPUT:
                output += data
