"""Lists and their filters, events, execs, networks, volumes, update, top, recovery: over a wall that pretends."""

import asyncio
from dataclasses import replace

import pytest

from orlop.engine.recover import Ended, Runs, verdict
from orlop.engine.restart import next_delay, restarts_with_daemon
from orlop.engine.top import parse_ps
from orlop.spec.container import ContainerRecord, ExecSpec, Process, ProcessDefaults, RestartPolicy, Status
from orlop.spec.errors import Conflict, Forbidden, InvalidArgument, NotFound, StartFailed
from orlop.spec.isolation import Exit, Living
from orlop.spec.network import EndpointSpec, NetworkSpec
from orlop.spec.resources import Resources
from orlop.spec.times import show_duration
from orlop.spec.volume import VolumeSpec
from orlop.state.records import Records
from support.pretend import IMAGE, SECOND, story


@story
async def test_lists_show_what_the_filters_let_through(w):
    ended = await w.run("ended", process=ProcessDefaults(labels={"tier": "db"}))
    await w.end(ended, 3)
    await w.create("made", binds=("data:/data",))
    await w.run("runs", network_mode="mine")

    def names(**how):
        return [record.name for record in w.containers.list(**how)]

    assert names() == ["runs"]
    assert names(all=True) == ["runs", "made", "ended"]
    assert names(limit=2) == ["runs", "made"]
    for filters, wanted in (
        ({"status": ("exited",)}, ["ended"]),
        ({"exited": ("3",)}, ["ended"]),
        ({"exited": ("0",)}, []),
        ({"label": ("tier=db",)}, ["ended"]),
        ({"label": ("tier=web",)}, []),
        ({"name": ("^ma",)}, ["made"]),
        ({"id": (w.get("made").id[:8],)}, ["made"]),
        ({"volume": ("data",)}, ["made"]),
        ({"network": ("mine",)}, ["runs"]),
        ({"before": ("runs",)}, ["made", "ended"]),
        ({"since": ("ended",)}, ["runs", "made"]),
        ({"ancestor": (IMAGE.id,)}, ["runs", "made", "ended"]),
        ({"ancestor": ("nope",)}, []),
    ):
        assert names(all=True, filters=filters) == wanted, filters
    for wrong in ({"colour": ("red",)}, {"status": ("odd",)}, {"exited": ("x",)}, {"health": ("x",)}):
        with pytest.raises(InvalidArgument, match="invalid filter"):
            names(filters=wrong)


@story
async def test_events_are_kept_filtered_and_streamed(w):
    container = await w.run()
    live = w.events.subscribe(filters={"event": ("die", "destroy"), "container": ("web",)})
    await w.end(container, 5)
    await w.containers.remove(container)
    died, destroyed = await anext(live), await anext(live)
    assert (died.action, died.attributes["exitCode"], died.attributes["image"]) == ("die", "5", "busybox")
    assert (destroyed.action, destroyed.time_ns > died.time_ns) == ("destroy", True)
    past = w.events.subscribe(since_ns=1, until_ns=w.now, filters={"type": ("container",)})
    assert [event.action async for event in past] == ["create", "start", "die", "destroy"]
    labelled = w.events.subscribe(since_ns=1, until_ns=w.now, filters={"label": ("of=image",)})
    assert len([event async for event in labelled]) == 4
    with pytest.raises(InvalidArgument, match="invalid filter 'colour'"):
        w.events.subscribe(filters={"colour": ("red",)})
    assert w.events.listeners == 1
    await live.aclose()
    assert w.events.listeners == 0


@story
async def test_an_exec_runs_once_and_its_code_is_kept(w):
    container = await w.run()
    exec_id = w.execs.create(container, ExecSpec(command=("ls", "-l"), attach_stdout=True))
    stdio = await w.execs.start(exec_id, detach=False, tty=False)
    assert w.execs.of(container) == [exec_id]
    with pytest.raises(Conflict, match="is already running"):
        await w.execs.start(exec_id, detach=False, tty=False)
    w.isolation.on_exit(Exit(container_id=container, exec_id=exec_id, exit_code=4, oom_killed=False, ended_ns=w.now))
    record = w.execs.get(exec_id)
    assert (record.running, record.exit_code, w.execs.of(container)) == (False, 4, [])
    with pytest.raises(Conflict, match="has already run"):
        await w.execs.start(exec_id, detach=True, tty=False)
    stdio.close()
    assert w.actions()[2:] == ["exec_create: ls -l", "exec_start: ls -l", "exec_die"]


@story
async def test_an_exec_needs_a_running_container(w):
    container = await w.create()
    with pytest.raises(Conflict, match=f"container {container} is not running"):
        w.execs.create(container, ExecSpec(command=("ls",)))
    await w.containers.start(container)
    await w.containers.pause(container)
    with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
        w.execs.create(container, ExecSpec(command=("ls",)))
    with pytest.raises(NotFound, match="No such exec instance: nope"):
        w.execs.get("nope")


@story
async def test_an_exec_that_fails_has_docker_s_code(w):
    container = await w.run()
    exec_id = w.execs.create(container, ExecSpec(command=("nope",)))

    async def refuse(order):
        raise StartFailed("executable file not found", 127)

    w.isolation.execute = refuse
    with pytest.raises(StartFailed):
        await w.execs.start(exec_id, detach=False, tty=False)
    assert w.execs.get(exec_id).exit_code == 127


@story
async def test_networks_are_joined_and_left_while_running(w):
    container = await w.run()
    await w.engine_networks.connect("mine", container, EndpointSpec(aliases=("db",)))
    assert set(w.get().endpoints) == {"bridge", "mine"}
    assert [record.name for record, _ in w.engine_networks.endpoints(w.engine_networks.get("mine"))] == ["web"]
    with pytest.raises(Forbidden, match="already exists in network mine"):
        await w.engine_networks.connect("mine", container, EndpointSpec())
    await w.engine_networks.disconnect("bridge", container)
    assert set(w.get().endpoints) == {"mine"}
    with pytest.raises(Forbidden, match="is not connected"):
        await w.engine_networks.disconnect("bridge", container)
    with pytest.raises(Forbidden):
        await w.engine_networks.connect("host", container, EndpointSpec())
    await w.end(container)
    assert w.get().endpoints["mine"].ipv4_address == ""
    assert w.get().endpoints["mine"].spec.aliases == ("db",)


@story
async def test_networks_are_listed_and_pruned(w):
    await w.engine_networks.create(NetworkSpec(name="spare", labels={"a": "b"}))
    await w.run(network_mode="mine")
    assert [one.spec.name for one in w.engine_networks.list({"type": ("custom",)})] == ["mine", "spare"]
    assert [one.spec.name for one in w.engine_networks.list({"dangling": ("true",)})] == ["spare"]
    assert await w.engine_networks.prune({}) == ["spare"]


@story
async def test_a_volume_in_use_stays(w):
    container = await w.create(binds=("data:/data",))
    with pytest.raises(Conflict, match=rf"remove data: volume is in use - \[{container}\]"):
        await w.engine_volumes.remove("data")
    await w.containers.remove(container)
    await w.engine_volumes.remove("data")
    with pytest.raises(NotFound):
        await w.engine_volumes.remove("data")
    await w.engine_volumes.remove("data", force=True)
    with pytest.raises(InvalidArgument, match="invalid characters"):
        await w.engine_volumes.create(VolumeSpec(name="a/b"))
    with pytest.raises(NotFound, match='error looking up volume plugin foo: plugin "foo" not found'):
        await w.engine_volumes.create(VolumeSpec(name="x", driver="foo"))
    with pytest.raises(NotFound, match="plugin"):
        await w.create("drive", binds=("named:/data",), volume_driver="foo")
    assert await w.create("plain", volume_driver="foo")  # nothing asks the driver for anything


@story
async def test_prune_takes_what_is_down_and_what_the_filters_let_through(w):
    await w.run("runs")
    await w.create("old", process=ProcessDefaults(labels={"keep": "yes"}))
    gone = await w.create("gone")
    w.workers.answers["snapshot.usage"] = {gone: 100}
    assert await w.containers.prune({"label!": ("keep",)}) == ([gone], 100)
    assert [record.name for record in w.containers.list(all=True)] == ["old", "runs"]


@story
async def test_update_changes_what_is_given_and_tells_the_wall(w):
    container = await w.run(resources=Resources(memory_bytes=64 << 20, cpu_shares=512))
    await w.containers.update(container, Resources(memory_bytes=100 << 20), RestartPolicy(name="always"))
    limits = w.get().spec.resources
    assert (limits.memory_bytes, limits.cpu_shares, w.get().spec.restart.name) == (100 << 20, 512, "always")
    assert w.isolation.orders[f"update {container}"] == limits
    with pytest.raises(InvalidArgument, match="6MB"):
        await w.containers.update(container, Resources(memory_bytes=1), None)
    with pytest.raises(Conflict, match=r"Cannot update container .* memoryswap"):
        await w.containers.update(container, Resources(memory_bytes=1 << 30), None)


def test_ps_rows_are_picked_by_pid_and_threads_follow_their_process():
    output = "PID TTY      COMMAND\n  1 ?  init\n 42 ? sh -c  true\n  - ? thread\n 43 ? other\n"
    assert parse_ps(output, frozenset({42})) == (["PID", "TTY", "COMMAND"], [["42", "?", "sh -c  true"], ["-", "?", "thread"]])
    with pytest.raises(InvalidArgument, match="PID field"):
        parse_ps("TTY\n", frozenset())


def test_the_wait_before_a_restart_doubles_up_to_a_minute_and_starts_over():
    delays = [0.0]
    for _ in range(12):
        delays.append(next_delay(delays[-1], ran_seconds=1))
    assert delays[1:4] == [0.1, 0.2, 0.4]
    assert delays[-1] == 60
    assert next_delay(60, ran_seconds=11) == 0.1


@story
async def test_recovery_settles_each_container(w):
    runs, ended, lost, unknown = [await w.run(name) for name in ("runs", "ended", "lost", "unseen")]
    again = await w.run("again", restart=RestartPolicy(name="always"))
    gone = await w.run("gone", auto_remove=True)
    for container in (ended, lost, again, gone):
        del w.isolation.running[container]

    def living(container, **how):
        return Living(container_id=container, process=w.containers.get(container).init, paused=False, exit=None, **how)

    def exited(container, code):
        exit = Exit(container_id=container, exec_id="", exit_code=code, oom_killed=False, ended_ns=w.now)
        return replace(living(container), exit=exit)

    seen = [
        living(runs),
        exited(ended, 4),
        exited(again, 1),
        exited(gone, 0),
        living(unknown),
        replace(living(runs), container_id="stranger"),
    ]
    await w.recovery.settle(await w.recovery.adopt(seen))
    assert w.get("runs").status is Status.RUNNING
    assert (w.get("ended").status, w.get("ended").exit_code) == (Status.EXITED, 4)
    assert (w.get("lost").status, w.get("lost").exit_code_known) == (Status.EXITED, False)
    assert "unknown" in w.get("lost").error
    assert w.get("again").status is Status.RESTARTING
    assert "gone" not in w.parts.roster.names
    assert w.isolation.removed == ["stranger"]
    await asyncio.sleep(0.2)
    assert w.get("again").status is Status.RUNNING


@story
async def test_a_start_that_nobody_heard_of_is_adopted_with_its_addresses(w):
    container, other = await w.create("one"), await w.create("two")
    seen = {}

    async def die(order):
        seen[order.container_id] = Records(w.database, "containers", ContainerRecord).load()[order.container_id]
        raise StartFailed("the daemon dies here")

    w.isolation.start = die
    for one in (container, other):
        with pytest.raises(StartFailed):
            await w.containers.start(one)
    assert seen[container].endpoints["bridge"].ipv4_address
    for one in (container, other):
        w.parts.roster.get(one).record = seen[one]
    alive = Living(container_id=container, process=Process(pid=5, start_ticks=1), paused=False, exit=None)
    assert await w.recovery.adopt([alive]) == []
    assert (w.get("one").status, w.get("one").endpoints) == (Status.RUNNING, seen[container].endpoints)
    assert (w.get("two").status, w.get("two").endpoints["bridge"].ipv4_address) == (Status.CREATED, "")


@story
async def test_policies_after_a_daemon_s_start(w):
    for name, policy, comes_back in (
        ("one", "always", True),
        ("two", "unless-stopped", False),
        ("three", "no", False),
        ("four", "on-failure", True),
    ):
        container = await w.run(name, restart=RestartPolicy(name=policy))
        await w.containers.stop(container)
        assert restarts_with_daemon(w.get(name)) is comes_back, name
    never = await w.create("never", restart=RestartPolicy(name="always"))
    assert not restarts_with_daemon(w.containers.get(never))


@story
async def test_the_verdict_on_a_container_whose_start_was_not_recorded(w):
    record = w.containers.get(await w.create())
    process = record.init or w.isolation.running.setdefault("x", None)
    alive = Living(container_id=record.id, process=process, paused=True, exit=None)
    assert verdict(record, alive, w.now) == Runs(process, True)
    assert verdict(record, None, w.now) is None
    exit = Exit(container_id=record.id, exec_id="", exit_code=2, oom_killed=False, ended_ns=w.now + SECOND)
    assert verdict(record, replace(alive, exit=exit), w.now) == Ended(exit)
    old = replace(record, status=Status.EXITED, finished_ns=exit.ended_ns)
    assert verdict(old, replace(alive, exit=exit), w.now) is None


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(30 * SECOND, "30s"), (90 * SECOND, "1m30s"), (SECOND // 2, "500ms"), (3600 * SECOND, "1h0m0s")]
)
def test_durations_read_as_go_prints_them(nanoseconds, text):
    assert show_duration(nanoseconds) == text
