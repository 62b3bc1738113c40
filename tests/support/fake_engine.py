"""An engine without containers, for tests of the API: the verbs of engine/, answered from memory, with `cat` as every process."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from orlop.spec.container import (
    ContainerRecord,
    ContainerSpec,
    ExecRecord,
    ExecSpec,
    Health,
    HealthProbe,
    LogSpec,
    Process,
    ProcessDefaults,
    Stats,
    Status,
)
from orlop.spec.errors import Conflict, NotFound, NotModified
from orlop.spec.event import Event
from orlop.spec.image import HistoryEntry, ImageConfig, ImageRecord, Platform, Removal
from orlop.spec.mounts import MountPoint
from orlop.spec.network import Endpoint, EndpointSpec, NetworkRecord, NetworkSpec, PortBinding, SubnetSpec
from orlop.spec.progress import ProgressEvent
from orlop.spec.registry import Login, SearchHit
from orlop.spec.streams import Attachment, LogQuery, PathStat, WaitResult
from orlop.spec.system import ContainerUsage, DiskUsage, ImageUsage, SystemInfo, Version, VolumeUsage
from orlop.spec.volume import VolumeRecord, VolumeSpec
from orlop.wire.frames import frame

SECOND = 10**9
IMAGE_ID = "sha256:" + "b" * 64
EXIT_CODE = 7  # of every process here


def image() -> ImageRecord:
    """What every container here is made of."""
    process = ProcessDefaults(env=("PATH=/bin",), command=("sh",), labels={"a": "b"}, exposed_ports=("80/tcp",))
    return ImageRecord(
        id=IMAGE_ID,
        manifest="sha256:" + "c" * 64,
        config=ImageConfig(
            platform=Platform(), process=process, diff_ids=("sha256:" + "d" * 64,), created="2026-01-02T03:04:05Z"
        ),
        size=4_000_000,
        tags=("docker.io/library/busybox:latest",),
        digests=("docker.io/library/busybox@sha256:" + "c" * 64,),
        created_ns=1_767_323_045 * SECOND,
    )


def record(container_id: str = "a" * 64, name: str = "web", spec: ContainerSpec | None = None) -> ContainerRecord:
    """A container with everything that inspect can show."""
    now = time.time_ns()
    return ContainerRecord(
        id=container_id,
        name=name,
        spec=spec
        or ContainerSpec(
            image="busybox",
            hostname=container_id[:12],
            network_mode="default",
            cgroup_namespace_mode="private",
            ipc_mode="private",
            log=LogSpec(driver="json-file"),
        ),
        process=ProcessDefaults(
            env=("PATH=/bin",), entrypoint=("sleep",), command=("1 0",), exposed_ports=("80/tcp", "53/udp")
        ),
        image_id=IMAGE_ID,
        created_ns=now - 7300 * SECOND,
        started_ns=now - 7200 * SECOND,
        status=Status.RUNNING,
        init=Process(pid=4711, start_ticks=1),
        mounts=(MountPoint(kind="volume", name="data", source="/v/data/_data", target="/data", driver="local", mode="z"),),
        ports=(PortBinding(container_port=80, host_address="0.0.0.0", host_port=8080),),
        health=Health(status="healthy", probes=(HealthProbe(started_ns=now, ended_ns=now, exit_code=0, output="ok"),)),
        endpoints={
            "bridge": Endpoint(
                network_id="e" * 64,
                network_name="bridge",
                endpoint_id="f" * 64,
                spec=EndpointSpec(ipv4_address="172.17.0.9", aliases=("www",)),
                mac_address="02:42:ac:11:00:02",
                ipv4_address="172.17.0.9",
                ipv4_prefix=16,
                ipv4_gateway="172.17.0.1",
            )
        },
    )


class Cat:
    """A process that gives back its input; on a tty the word `exit` ends it, else the end of its input."""

    def __init__(self, tty: bool) -> None:
        self.tty = tty
        self.ended: asyncio.Future[WaitResult] = asyncio.get_running_loop().create_future()
        self.log = b""
        self._outside, self._inside = socket.socketpair()
        for end in (self._outside, self._inside):
            end.setblocking(False)
        self._task: asyncio.Task[None] | None = None

    def attach(self) -> socket.socket:
        """The end that the API gets."""
        return self._outside

    def start(self) -> None:
        """Begin to run."""
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        loop, total = asyncio.get_running_loop(), 0
        while data := await loop.sock_recv(self._inside, 65536):
            total += len(data)
            await self.write(data)
            if self.tty and b"exit" in data:
                break
        else:
            if self.tty:  # the client has gone; the process stays
                return
        await self.write(b"%d bytes\n" % total, 2)
        self._inside.close()
        if not self.ended.done():
            self.ended.set_result(WaitResult(exit_code=EXIT_CODE))

    async def write(self, data: bytes, stream: int = 1) -> None:
        """Give out output."""
        data = data if self.tty else frame(stream, data)
        self.log += data
        await asyncio.get_running_loop().sock_sendall(self._inside, data)

    def kill(self) -> None:
        """End it at once."""
        if self._task:
            self._task.cancel()
        self._inside.close()
        if not self.ended.done():
            self.ended.set_result(WaitResult(exit_code=137))


class Containers:
    """engine.containers"""

    def __init__(self, events: Events) -> None:
        self.records: dict[str, ContainerRecord] = {}
        self.cats: dict[str, Cat] = {}
        self.calls: list[tuple[str, Any]] = []
        self.uploads: list[bytes] = []
        self._events = events

    def get(self, ref: str) -> ContainerRecord:
        for one in self.records.values():
            if one.id.startswith(ref) or one.name == ref:
                return one
        raise NotFound("container", ref)

    def link_names(self) -> dict[str, list[str]]:
        return {}

    def list(self, *, all: bool = False, limit: int = 0, filters: Any = None) -> list[ContainerRecord]:
        self.calls.append(("list", (all, limit, filters)))
        return [one for one in self.records.values() if all or one.status is Status.RUNNING]

    def paths(self, one: ContainerRecord) -> dict[str, str]:
        return {"resolv_conf": "/c/resolv.conf", "hostname": "/c/hostname", "hosts": "/c/hosts", "log": "/c/log"}

    async def size(self, one: ContainerRecord) -> tuple[int, int]:
        return 10, 4_000_010

    async def create(self, spec: ContainerSpec, name: str = "") -> tuple[str, tuple[str, ...]]:
        self.calls.append(("create", spec))
        if spec.image == "missing":
            raise NotFound("image", f"{spec.image}:latest")
        container_id = f"{len(self.records):064x}"
        made = record(container_id, name or f"name{len(self.records)}", spec)
        self.records[container_id] = replace(
            made, status=Status.CREATED, started_ns=0, init=None, ports=(), health=None, process=spec.process, mounts=()
        )
        self.cats[container_id] = Cat(spec.tty)
        return container_id, ()

    async def start(self, ref: str) -> None:
        one = self.get(ref)
        if one.status is Status.RUNNING:
            raise NotModified("already started")
        cat = self.cats[one.id]
        self.records[one.id] = replace(
            one, status=Status.RUNNING, started_ns=time.time_ns(), init=Process(pid=1, start_ticks=1)
        )
        cat.ended.add_done_callback(lambda ended: self._ended(one.id, ended.result()))
        cat.start()
        self._events.emit("container", "start", one.id, {"image": "busybox", "name": one.name})

    def _ended(self, container_id: str, result: WaitResult) -> None:
        if one := self.records.get(container_id):
            self.records[container_id] = replace(
                one, status=Status.EXITED, exit_code=result.exit_code, finished_ns=time.time_ns(), init=None
            )
            self._events.emit("container", "die", container_id, {"exitCode": str(result.exit_code)})

    async def kill(self, ref: str, signal: str = "KILL") -> None:
        one = self.get(ref)
        if one.status is not Status.RUNNING:
            raise Conflict(f"cannot kill container: {ref}: container {one.id} is not running")
        self.cats[one.id].kill()

    async def stop(self, ref: str, *, signal: str = "", timeout_seconds: int | None = None) -> None:
        self.calls.append(("stop", (signal, timeout_seconds)))
        await self.kill(ref)

    async def remove(self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        one = self.get(ref)
        if one.id in self.cats:
            self.cats.pop(one.id).kill()
        del self.records[one.id]

    async def resize(self, ref: str, rows: int, columns: int) -> None:
        self.calls.append(("resize", (rows, columns)))

    def waiter(self, ref: str, condition: str) -> asyncio.Future[WaitResult]:
        return asyncio.shield(self.cats[self.get(ref).id].ended)

    async def attach(self, ref: str, *, stream: bool, stdin: bool, stdout: bool, stderr: bool, logs: bool) -> Attachment:
        cat = self.cats[self.get(ref).id]
        return Attachment(tty=cat.tty, socket=cat.attach() if stream else None, backlog=_bytes([cat.log]) if logs else None)

    async def logs(self, ref: str, query: LogQuery) -> AsyncIterator[bytes]:
        self.calls.append(("logs", query))
        yield frame(1, b"one\n")
        yield frame(2, b"two\n")
        if query.follow:
            await asyncio.sleep(0.2)
            yield frame(1, b"three\n")

    async def stats(self, ref: str) -> Stats:
        return Stats(
            read_ns=time.time_ns(),
            cpu_total_ns=time.monotonic_ns() // 10,
            system_cpu_ns=time.monotonic_ns(),
            online_cpus=2,
            memory_usage_bytes=1_000_000,
            memory_limit_bytes=64_000_000,
            memory_stats={"cache": 0},
            pids_current=3,
            blkio_bytes=((8, 0, "read", 100),),
            networks={"eth0": {"rx_bytes": 5, "tx_bytes": 6}},
        )

    async def top(self, ref: str, ps_args: str) -> tuple[list[str], list[list[str]]]:
        return ["PID", "CMD"], [["1", "cat"]]

    async def stat_path(self, ref: str, path: str) -> PathStat:
        if path == "/missing":
            raise NotFound("path", path)
        return PathStat(name="hosts", size=4, mode=0o644, mtime_ns=SECOND)

    def get_archive(self, ref: str, path: str) -> AsyncIterator[bytes]:
        return _bytes([b"ta", b"r"])

    async def put_archive(self, ref: str, path: str, body: AsyncIterator[bytes], **options: bool) -> None:
        self.uploads.append(b"".join([chunk async for chunk in body]))


class Execs:
    """engine.execs"""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers
        self._records: dict[str, ExecRecord] = {}
        self._endings: dict[str, asyncio.Future[Any]] = {}

    def of(self, container_id: str) -> list[str]:
        return [one.id for one in self._records.values() if one.container_id == container_id]

    def create(self, ref: str, spec: ExecSpec) -> str:
        exec_id = f"{len(self._records) + 100:064x}"
        self._records[exec_id] = ExecRecord(id=exec_id, container_id=self._containers.get(ref).id, spec=spec)
        return exec_id

    def get(self, exec_id: str) -> ExecRecord:
        if exec_id not in self._records:
            raise NotFound("exec instance", exec_id)
        return self._records[exec_id]

    async def start(self, exec_id: str, *, detach: bool, tty: bool, console_size: tuple[int, int]) -> socket.socket | None:
        cat = Cat(tty)
        cat.start()
        self._endings[exec_id] = cat.ended
        cat.ended.add_done_callback(lambda _: self._ended(exec_id))
        return None if detach else cat.attach()

    def waiter(self, exec_id: str) -> asyncio.Future[Any]:
        return self._endings[exec_id]

    def _ended(self, exec_id: str) -> None:
        self._records[exec_id] = replace(self._records[exec_id], exit_code=EXIT_CODE)

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        return


class Images:
    """engine.images"""

    def __init__(self) -> None:
        self.uploads: list[bytes] = []
        self.pulled: list[Any] = []

    def list(self, *, all: bool = False, filters: Any = None) -> list[ImageRecord]:
        return [image()]

    def get(self, ref: str) -> ImageRecord:
        if "busybox" not in ref and not IMAGE_ID.startswith(ref):
            raise NotFound("image", ref)
        return image()

    def history(self, ref: str) -> list[HistoryEntry]:
        return [
            HistoryEntry(id=IMAGE_ID, created_ns=SECOND, created_by="sh", tags=("docker.io/library/busybox:latest",), size=4)
        ]

    async def pull(self, reference: str, *, platform: str = "", auth: Any = None) -> AsyncIterator[ProgressEvent]:
        self.pulled.append((reference, platform, auth))
        if "missing" in reference:
            raise NotFound("image", reference)
        yield ProgressEvent(status="Pulling from library/busybox", id="latest")
        yield ProgressEvent(status="Downloading", id="abc", current=1_000_000, total=4_000_000)
        if "broken" in reference:
            raise Conflict("it broke")
        yield ProgressEvent(status="Status: Downloaded newer image for busybox:latest")

    async def load(self, body: AsyncIterator[bytes], *, quiet: bool) -> AsyncIterator[ProgressEvent]:
        self.uploads.append(b"".join([chunk async for chunk in body]))
        yield ProgressEvent(stream="Loaded image: busybox:latest\n")

    async def remove(self, ref: str, *, force: bool = False, prune: bool = True) -> list[Removal]:
        return [Removal(untagged="docker.io/library/busybox:latest"), Removal(deleted=IMAGE_ID)]

    def save(self, refs: tuple[str, ...], platform: str = "") -> AsyncIterator[bytes]:
        return _bytes([b"ta", b"r"])

    async def search(self, term: str, limit: int, filters: Any) -> list[SearchHit]:
        return [SearchHit(name=term, stars=3, official=True)]

    async def login(self, credentials: Any) -> Login:
        return Login()


class Volumes:
    """engine.volumes"""

    def list(self, filters: Any = None) -> tuple[list[VolumeRecord], list[str]]:
        return [self.get("data")], []

    def get(self, name: str) -> VolumeRecord:
        if name != "data":
            raise NotFound("volume", name)
        return VolumeRecord(spec=VolumeSpec(name="data", labels={"k": "v"}), mountpoint="/v/data/_data", created_ns=SECOND)

    async def create(self, spec: VolumeSpec) -> VolumeRecord:
        return VolumeRecord(spec=spec, mountpoint=f"/v/{spec.name}/_data", created_ns=SECOND)


class Networks:
    """engine.networks"""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def list(self, filters: Any = None) -> list[NetworkRecord]:
        return [self.get("bridge")]

    def get(self, ref: str) -> NetworkRecord:
        if ref != "bridge":
            raise NotFound("network", ref)
        spec = NetworkSpec(name="bridge", subnets=(SubnetSpec(subnet="172.17.0.0/16", gateway="172.17.0.1"),))
        return NetworkRecord(id="e" * 64, spec=spec, created_ns=SECOND, bridge="orlop0")

    async def create(self, spec: NetworkSpec) -> tuple[NetworkRecord, str]:
        return NetworkRecord(id="1" * 64, spec=spec, created_ns=SECOND), ""

    def endpoints(self, network: NetworkRecord) -> list[tuple[ContainerRecord, Endpoint]]:
        return [(one, one.endpoints["bridge"]) for one in self._containers.records.values()]


class System:
    """engine.system"""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def version(self) -> Version:
        return Version(
            version="0.1.0",
            git_commit="abc",
            python_version="python3.11",
            build_time="2026-01-01T00:00:00Z",
            kernel_version="6.1",
        )

    def info(self) -> SystemInfo:
        return SystemInfo(
            id="X",
            version="0.1.0",
            limits=frozenset(("memory", "pids")),
            time_ns=SECOND,
            insecure_registries=("127.0.0.0/8", "reg:5000"),
        )

    async def disk_usage(self, types: frozenset[str]) -> DiskUsage:
        return DiskUsage(
            layers_size=4_000_000,
            images=(ImageUsage(record=image(), shared_size=0, containers=1),) if "image" in types else None,
            containers=tuple(
                ContainerUsage(record=one, size_rw=10, size_root_fs=20) for one in self._containers.records.values()
            )
            if "container" in types
            else None,
            volumes=(VolumeUsage(record=Volumes().get("data"), size=5, reference_count=1),) if "volume" in types else None,
        )


class Events:
    """engine.events"""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event | None]] = set()
        self.emitted: list[Event] = []

    @property
    def listeners(self) -> int:
        return len(self._queues)

    def emit(self, kind: str, action: str, actor: str, attributes: dict[str, str]) -> None:
        event = Event(type=kind, action=action, actor_id=actor, attributes=attributes, time_ns=time.time_ns())
        self.emitted.append(event)
        for queue in self._queues:
            queue.put_nowait(event)

    def container(self, action: str, one: ContainerRecord) -> None:
        self.emit("container", action, one.id, {"name": one.name})

    async def subscribe(self, *, since_ns: int = 0, until_ns: int = 0, filters: Any = None) -> AsyncIterator[Event]:
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            while event := await queue.get():
                yield event
        finally:
            self._queues.discard(queue)


async def _bytes(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def fake_engine() -> Any:
    """An engine with one container, `web`, that runs `cat`."""
    events = Events()
    containers = Containers(events)
    return SimpleNamespace(
        containers=containers,
        execs=Execs(containers),
        images=Images(),
        volumes=Volumes(),
        networks=Networks(containers),
        system=System(containers),
        events=events,
        sweeper=SimpleNamespace(touch=lambda: None),
    )
