"""`orlopd`: read this to see everything built and joined, top to bottom."""

import asyncio
import gc
import logging
import os
import resource
import signal
import sys
import time
import uuid
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from orlop import options as daemon_options
from orlop.api import routes
from orlop.engine.containers import Containers
from orlop.engine.engine import Engine
from orlop.engine.events import Events
from orlop.engine.execs import Execs
from orlop.engine.homes import Homes
from orlop.engine.images import Images
from orlop.engine.networks import Networks
from orlop.engine.parts import Parts, Settings
from orlop.engine.recover import Recovery
from orlop.engine.removal import Removal
from orlop.engine.roster import Roster
from orlop.engine.sweeper import Sweeper
from orlop.engine.system import System, own_version
from orlop.engine.volumes import Volumes
from orlop.engine.workers import Workers
from orlop.kernel.probe import probe
from orlop.network.wiring import Networks as Wiring
from orlop.options import DaemonOptions
from orlop.runtime.isolation import ProcessIsolation
from orlop.spec.container import ContainerRecord
from orlop.spec.errors import OrlopError, Unavailable
from orlop.spec.image import ImageRecord
from orlop.spec.isolation import Exit
from orlop.spec.network import NetworkRecord
from orlop.spec.registry import BlobSources
from orlop.spec.volume import VolumeRecord
from orlop.state.atomic import write_file
from orlop.state.database import Database
from orlop.state.locks import FileLock
from orlop.state.records import Records
from orlop.storage.images import ImageStore
from orlop.storage.store import Store
from orlop.storage.volumes import VolumeStore
from orlop.wire.listen import listen, tls_context
from orlop.wire.server import serve

log = logging.getLogger("orlopd")

CHECKPOINT_SECONDS = 5.0  # how often what was written to the database is brought to the disk


class Loops:
    """Owner of all background loops and stories. One that fails is logged and does not take the daemon with it."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, story: Coroutine[Any, Any, None]) -> None:
        """Run it until it ends or the daemon does."""
        task = self._group.create_task(self._guarded(story))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, story: Coroutine[Any, Any, None]) -> None:
        try:
            await story
        except Exception:
            log.exception("A story failed")

    def cancel(self) -> None:
        """End all of them."""
        for task in self._tasks:
            task.cancel()


@dataclass(frozen=True, kw_only=True)
class House:
    """What was built."""

    parts: Parts
    engine: Engine
    recovery: Recovery


def build(options: DaemonOptions, database: Database, loops: Loops) -> House:
    """Every part, from the ground up."""
    host = probe()
    store = Store(options.data_root, options.storage_driver)
    settings = Settings(
        data_root=options.data_root,
        exec_root=options.exec_root,
        storage_driver=store.snapshots.name,
        cgroup_parent=options.cgroup_parent,
        log_driver=options.log.driver,
        log_options=options.log.options,
        shm_size_bytes=options.shm_size_bytes,
        ulimits=options.ulimits,
        use_init=options.use_init,
        labels=options.labels,
        debug=options.debug,
        insecure_registries=options.registries.insecure,
        registry_mirrors=options.registries.mirrors.get("docker.io", ()),
        seccomp_profile=options.seccomp_profile,
        no_new_privileges=options.no_new_privileges,
    )
    parts = Parts(
        settings=settings,
        host=host,
        roster=Roster(Records(database, "containers", ContainerRecord)),
        homes=Homes(options.data_root / "containers"),
        events=Events(),
        isolation=ProcessIsolation(options.exec_root, host, loops.spawn),
        networks=Wiring(options.exec_root, Records(database, "networks", NetworkRecord), options.network, loops.spawn),
        images=ImageStore(store, Records(database, "images", ImageRecord)),
        store=store,
        volumes=VolumeStore(options.data_root, Records(database, "volumes", VolumeRecord)),
        workers=Workers(options.data_root, options.storage_driver),
        sweeper=Sweeper(time.monotonic),
        spawn=loops.spawn,
        clock=time.time_ns,
    )
    execs = Execs(parts)
    parts.workers.on_killed = lambda pid: _after_worker(parts, pid)
    images = Images(parts, options.registries, Records(database, "blob_sources", BlobSources))
    containers = Containers(parts, execs, images)
    volumes = Volumes(parts)
    engine = Engine(
        containers=containers,
        execs=execs,
        images=images,
        volumes=volumes,
        networks=Networks(parts),
        system=System(parts, containers, images, volumes, engine_id=_engine_id(options), firewall="nftables"),
        events=parts.events,
        sweeper=parts.sweeper,
    )
    return House(
        parts=parts, engine=engine, recovery=Recovery(parts, containers.lifecycle, containers.health, containers.removal)
    )


def _after_worker(parts: Parts, pid: int) -> None:
    """A worker was killed: what it had half made goes at once."""
    parts.store.sweep_of(pid)
    Removal(parts).purge_later()


def _engine_id(options: DaemonOptions) -> str:
    """Who this engine is, for as long as its data lasts."""
    path = options.data_root / "engine-id"
    if not path.exists():
        write_file(path, str(uuid.uuid4()).encode(), 0o600)
    return path.read_text().strip()


async def bring_up(house: House, undo: AsyncExitStack) -> None:
    """Meet what runs, settle what has ended, sweep what was left, begin the loops."""
    parts, lifecycle = house.parts, house.engine.containers.lifecycle
    early: list[Exit] = []
    is_settled = False

    def on_exit(exit: Exit) -> None:
        if is_settled:
            lifecycle.ended(exit)
        else:
            early.append(exit)

    living = await parts.isolation.open(on_exit)
    undo.push_async_callback(parts.isolation.close)
    ended = await house.recovery.adopt(living)
    await parts.networks.open()
    undo.push_async_callback(parts.networks.close)
    await parts.networks.restore(container.record for container in parts.roster)
    undo.push_async_callback(parts.workers.close)
    house.recovery.sweep()
    await house.recovery.settle(ended)
    house.engine.images.collect()  # what a crash left between its arrival and its name
    is_settled = True
    for exit in early:
        lifecycle.ended(exit)
    parts.spawn(parts.sweeper.run())
    undo.push_async_callback(parts.sweeper.drain)


async def keep_durable(database: Database) -> None:
    """Bring to the disk, now and then, what was written; for nobody on the hot path waits for it."""
    while True:
        await asyncio.sleep(CHECKPOINT_SECONDS)
        database.catch_up()
        if database.is_dirty:
            database.mark_clean()
            try:
                await asyncio.to_thread(database.checkpoint)
            except Unavailable as error:
                log.warning("%s", error)


async def run(options: DaemonOptions) -> None:
    """Serve until SIGTERM or SIGINT. Containers run on."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    tls = tls_context(**options.tls, verify=options.tls_verify) if options.tls else None
    groups = (options.group,) if options.group else ("docker", "orlop")
    sockets = [one for address in options.hosts for one in listen(address, tls=bool(tls), groups=groups)]
    async with asyncio.TaskGroup() as group, AsyncExitStack() as undo:
        loops = Loops(group)
        undo.callback(loops.cancel)
        undo.callback(_remove_sockets, options.hosts)
        database = Database(options.data_root / "state.db")
        undo.callback(database.close)
        house = build(options, database, loops)
        await bring_up(house, undo)
        server = await serve(routes.site(house.engine, loops.spawn), sockets, tls=tls)
        undo.push_async_callback(server.close, float(options.shutdown_seconds))
        loops.spawn(keep_durable(database))
        gc.collect()
        gc.freeze()  # what was built lives as long as we do: no collection need look at it
        log.info("Listening on %s", ", ".join(options.hosts))
        await stopping.wait()
        house.engine.containers.lifecycle.is_shutting_down = True


def _remove_sockets(hosts: tuple[str, ...]) -> None:
    for address in hosts:
        if address.startswith("unix://"):
            try:
                os.unlink(address.removeprefix("unix://"))
            except FileNotFoundError:
                continue


def main() -> int:
    """The program."""
    try:
        options = daemon_options.parse(sys.argv[1:], own_version())
        logging.basicConfig(level=options.level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
        os.umask(0o022)
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        for directory, mode in ((options.data_root, 0o710), (options.exec_root, 0o711)):
            directory.mkdir(mode=mode, parents=True, exist_ok=True)
        for directory in (options.data_root / "containers", options.exec_root / "root"):
            directory.mkdir(mode=0o710, exist_ok=True)
        options.pidfile.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(options.pidfile)
    except (OrlopError, OSError) as error:
        print(f"orlopd: {error}", file=sys.stderr)
        return 1
    code = 0
    try:
        asyncio.run(run(options))
    except* (OrlopError, OSError) as errors:
        log.critical("Cannot go on: %s", "; ".join(str(error) for error in errors.exceptions))
        code = 1
    finally:
        lock.release()
    return code
