"""An engine whose wall only pretends: processes are names in a dictionary, networks and snapshots are lists."""

import asyncio
import itertools
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orlop.engine.containers import Containers
from orlop.engine.events import Events
from orlop.engine.execs import Execs
from orlop.engine.homes import Homes
from orlop.engine.networks import Networks
from orlop.engine.parts import Parts, Settings
from orlop.engine.recover import Recovery
from orlop.engine.roster import Roster
from orlop.engine.sweeper import Sweeper
from orlop.engine.volumes import Volumes
from orlop.spec.container import ContainerRecord, ContainerSpec, Process, ProcessDefaults, Stats
from orlop.spec.errors import NotFound
from orlop.spec.host import Host
from orlop.spec.image import ImageConfig, ImageRecord, Platform
from orlop.spec.isolation import Exit
from orlop.spec.mounts import Mount
from orlop.spec.network import Endpoint, NetworkRecord, NetworkSpec, SubnetSpec
from orlop.spec.volume import VolumeRecord
from orlop.state.database import Database
from orlop.state.records import Records

SECOND = 10**9
IMAGE = ImageRecord(
    id="sha256:" + "1" * 64,
    manifest="sha256:" + "2" * 64,
    config=ImageConfig(
        platform=Platform(),
        process=ProcessDefaults(env=("PATH=/bin",), command=("sh",), labels={"of": "image"}),
        diff_ids=("sha256:" + "3" * 64,),
    ),
    size=1000,
    tags=("docker.io/library/busybox:latest",),
)


class FakeIsolation:
    """A wall. `fail` makes the next start raise; `finish` ends a process."""

    def __init__(self, clock):
        self.orders, self.running, self.signals, self.removed, self.paused = {}, {}, [], [], set()
        self.fail = None
        self.ends_at = frozenset((9, 15))  # signals that end a process
        self._pids = itertools.count(1000)
        self._clock = clock
        self.on_exit = lambda exit: None

    async def open(self, on_exit):
        self.on_exit = on_exit
        return []

    async def start(self, order):
        await asyncio.sleep(0)
        if self.fail:
            error, self.fail = self.fail, None
            raise error
        self.orders[order.container_id] = order
        self.running[order.container_id] = Process(pid=next(self._pids), start_ticks=1)
        return self.running[order.container_id]

    async def execute(self, order):
        self.orders[order.exec_id] = order
        return Process(pid=next(self._pids), start_ticks=1)

    async def attach(self, container_id, exec_id="", **_):
        mine, theirs = socket.socketpair()
        mine.setblocking(False)
        self.orders.setdefault("sockets", []).append(theirs)
        return mine

    async def kill(self, container_id, signal, exec_id=""):
        if container_id not in self.running:
            raise NotFound("container", container_id)
        self.signals.append(signal)
        if signal in self.ends_at:
            asyncio.get_running_loop().call_soon(self.finish, container_id, 128 + signal)

    def finish(self, container_id, code=0, *, oom=False):
        if self.running.pop(container_id, None):
            self.on_exit(Exit(container_id=container_id, exec_id="", exit_code=code, oom_killed=oom, ended_ns=self._clock()))

    async def pause(self, container_id):
        self.paused.add(container_id)

    async def resume(self, container_id):
        self.paused.discard(container_id)

    async def update(self, container_id, resources):
        self.orders[f"update {container_id}"] = resources

    async def stats(self, container_id):
        return Stats(read_ns=1)

    async def pids(self, container_id):
        return [self.running[container_id].pid]

    async def resize(self, container_id, rows, columns, exec_id=""):
        self.orders["size"] = (rows, columns)

    async def acknowledge(self, container_id, exec_id=""):
        pass

    async def remove(self, container_id):
        self.removed.append(container_id)

    async def close(self):
        pass


class FakeNetworks:
    """Networks that are only lists. Set `taken` to make a port conflict."""

    def __init__(self):
        self.records = {
            name: NetworkRecord(id=f"{number}" * 64, spec=NetworkSpec(name=name, driver=driver, subnets=subnets), created_ns=1)
            for number, (name, driver, subnets) in enumerate(
                (
                    ("bridge", "bridge", (SubnetSpec(subnet="172.17.0.0/16", gateway="172.17.0.1"),)),
                    ("host", "host", ()),
                    ("none", "null", ()),
                    ("mine", "bridge", ()),
                ),
                start=4,
            )
        }
        self.members: dict[str, dict[str, Endpoint]] = {}
        self.ports: dict[str, Any] = {}
        self.released: list[str] = []
        self.fail = None

    def list(self):
        return list(self.records.values())

    def find(self, ref):
        return self.records.get(ref) or next((one for one in self.records.values() if ref and one.id.startswith(ref)), None)

    def get(self, ref):
        if found := self.find(ref):
            return found
        raise NotFound("network", ref)

    async def attach(self, container_id, network, spec, *, name, hostname="", ports=()):
        if self.fail:
            raise self.fail
        own = self.members.setdefault(container_id, {})
        endpoint = Endpoint(
            network_id=network.id,
            network_name=network.spec.name,
            endpoint_id="e" * 64,
            spec=spec,
            ipv4_address=f"172.17.0.{len(self.members) + 1}" if network.spec.driver == "bridge" else "",
            interface="eth0" if network.spec.driver == "bridge" else "",
        )
        own[network.id] = endpoint
        if ports:
            self.ports[container_id] = tuple(
                replace(port, host_port=port.host_port or 49153, host_address="0.0.0.0") for port in ports
            )
        return endpoint

    async def detach(self, container_id, endpoint):
        self.members.get(container_id, {}).pop(endpoint.network_id, None)

    async def sandbox(self, container_id):
        return f"/run/netns/{container_id}"

    async def release_sandbox(self, container_id):
        self.members.pop(container_id, None)
        self.ports.pop(container_id, None)
        self.released.append(container_id)

    def published(self, container_id):
        return self.ports.get(container_id, ())

    def endpoints(self, network_id):
        return {key: own[network_id] for key, own in self.members.items() if network_id in own}

    async def statistics(self, container_id):
        return {"eth0": {"rx_bytes": 1}}

    async def create(self, spec):
        self.records[spec.name] = NetworkRecord(id="f" * 64, spec=spec, created_ns=1)
        return self.records[spec.name], ()

    async def remove(self, ref):
        return self.records.pop(self.get(ref).spec.name)


class FakeImages:
    def __init__(self):
        self.records = {IMAGE.id: IMAGE, "busybox": IMAGE}

    def find(self, ref):
        return self.records.get(ref)

    def get(self, ref):
        if found := self.find(ref):
            return found
        raise NotFound("image", f"{ref}:latest")

    def children(self, image_id):
        return ()

    def list(self):
        return (IMAGE,)


class FakeSnapshots:
    instant = True

    def __init__(self):
        self.keys: set[str] = set()

    def prepare(self, key, parent):
        self.keys.add(key)
        return self.mounts(key)

    def mounts(self, key):
        return (Mount("overlay", "overlay", (f"lowerdir={key}",)),)

    def remove(self, key):
        self.keys.discard(key)

    def stock(self):
        pass


class FakeVolumes:
    def __init__(self, root: Path):
        self.root, self.records = root, {}

    def find(self, name):
        return self.records.get(name)

    def get(self, name):
        if found := self.find(name):
            return found
        raise NotFound("volume", name)

    def list(self):
        return list(self.records.values())

    def create(self, spec, now_ns, anonymous=False):
        place = self.root / spec.name / "_data"
        place.mkdir(parents=True)
        self.records[spec.name] = VolumeRecord(spec=spec, mountpoint=str(place), created_ns=now_ns, anonymous=anonymous)
        return self.records[spec.name]

    def mount_of(self, record):
        return None

    def remove(self, name):
        del self.records[name]


class FakeWorkers:
    """Remembers its jobs and answers from a table."""

    def __init__(self):
        self.jobs: list[tuple[str, dict]] = []
        self.answers: dict[str, Any] = {"snapshot.usage": {}, "tree.usage": {}}

    async def run(self, name, args, *, progress=None, fds=()):
        self.jobs.append((name, args))
        return self.answers.get(name)


class World:
    """The parts, the nouns, and all events so far."""

    def __init__(self, root: Path, group: asyncio.TaskGroup):
        self.now = 1_000_000 * SECOND
        self.root, self.group, self.tasks = root, group, set()
        self.database = Database(root / "state.db")
        settings = Settings(data_root=root / "data", exec_root=root / "run")
        (root / "data" / "containers").mkdir(parents=True, exist_ok=True)
        self.isolation, self.networks, self.workers = FakeIsolation(self.clock), FakeNetworks(), FakeWorkers()
        self.volumes, self.snapshots = FakeVolumes(root / "volumes"), FakeSnapshots()
        store = SimpleNamespace(snapshots=self.snapshots, sweep=lambda keys: None)
        host = Host(capabilities=frozenset({"CAP_KILL", "CAP_CHOWN"}), known_capabilities=frozenset({"CAP_KILL", "CAP_CHOWN"}))
        self.events = Events(self.clock)
        self.sweeper = Sweeper(lambda: self.now / SECOND)
        self.parts = Parts(
            settings=settings,
            host=host,
            roster=Roster(Records(self.database, "containers", ContainerRecord)),
            homes=Homes(root / "data" / "containers"),
            events=self.events,
            isolation=self.isolation,
            networks=self.networks,
            images=FakeImages(),
            store=store,
            volumes=self.volumes,
            workers=self.workers,
            sweeper=self.sweeper,
            spawn=self.spawn,
            clock=self.clock,
        )
        self.execs = Execs(self.parts)
        self.containers = Containers(self.parts, self.execs, images=None)
        self.engine_networks, self.engine_volumes = Networks(self.parts), Volumes(self.parts)
        self.recovery = Recovery(self.parts, self.containers.lifecycle, self.containers.health, self.containers.removal)
        self.isolation.on_exit = self.containers.lifecycle.ended

    def clock(self) -> int:
        self.now += 1000
        return self.now

    def spawn(self, story):
        task = self.group.create_task(story)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def create(self, name="web", **spec):
        process = spec.pop("process", ProcessDefaults())
        return (await self.containers.create(ContainerSpec(image="busybox", process=process, **spec), name))[0]

    async def run(self, name="web", **spec):
        container_id = await self.create(name, **spec)
        await self.containers.start(container_id)
        return container_id

    async def end(self, container_id, code=0, **how):
        """The process ends, and the engine has taken note."""
        ending = self.parts.roster.get(container_id).waiter("next-exit")
        self.isolation.finish(container_id, code, **how)
        return await ending

    def actions(self, kind="container"):
        return [event.action for event in self.events._past if event.type == kind]

    def get(self, name="web"):
        return self.containers.get(name)


@asynccontextmanager
async def world(root: Path):
    """A fresh engine; its loops are ended at the end."""
    async with asyncio.TaskGroup() as group:
        made = World(root, group)
        yield made
        for task in tuple(made.tasks):
            task.cancel()


async def until(condition):
    """Let the loops run until something holds; fails after some seconds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


def story(test):
    """Make an async test, which takes a world, a plain one."""

    def run(tmp_path):
        async def inside():
            async with asyncio.timeout(20), world(tmp_path) as made:
                await test(made)

        asyncio.run(inside())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run
