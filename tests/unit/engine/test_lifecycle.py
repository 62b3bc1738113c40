"""The life of containers over a wall that pretends: states, codes, events and their order, policies."""

import asyncio
import os

import pytest

from orlop.spec.container import ContainerRecord, HealthSpec, ProcessDefaults, RestartPolicy, Status
from orlop.spec.errors import Conflict, InvalidArgument, NotFound, NotModified, StartFailed
from orlop.spec.network import PortBinding
from orlop.state.records import Records
from support.pretend import SECOND, story, until


@story
async def test_a_container_lives_and_its_events_come_in_docker_s_order(w):
    container = await w.create()
    assert w.get().status is Status.CREATED
    await w.containers.attach(container, stream=True, stdin=False, stdout=True, stderr=True, logs=False)
    await w.containers.start(container)
    assert (w.get().status, w.get().init is not None, w.get().started_ns > 0) == (Status.RUNNING, True, True)
    assert (await w.end(container, 3)).exit_code == 3
    assert (w.get().status, w.get().exit_code, w.get().init) == (Status.EXITED, 3, None)
    await w.containers.remove(container)
    assert w.actions() == ["create", "attach", "start", "die", "destroy"]
    assert w.actions("network") == ["connect", "disconnect"]
    with pytest.raises(NotFound, match="No such container: web"):
        w.get()


@story
async def test_auto_remove_tells_the_code_and_leaves_nothing(w):
    container = await w.create(auto_remove=True)
    removed = w.containers.waiter(container, "removed")
    await w.containers.start(container)
    w.isolation.finish(container, 7)
    assert (await removed).exit_code == 7
    await w.sweeper.drain()
    assert len(w.parts.roster) == 0
    assert w.snapshots.keys == set()
    assert w.isolation.removed == [container]
    assert not os.path.exists(w.parts.homes.path(container))
    assert w.actions() == ["create", "start", "die", "destroy"]


@story
async def test_a_failed_start_is_recorded_and_undone(w):
    w.isolation.fail = StartFailed('exec: "nope": executable file not found in $PATH', 127)
    container = await w.create(port_bindings=(PortBinding(container_port=80, host_port=8080),))
    with pytest.raises(StartFailed, match="executable file not found"):
        await w.containers.start(container)
    record = w.get()
    assert (record.status, record.exit_code) == (Status.CREATED, 127)
    assert "executable file not found" in record.error
    assert w.networks.released == [container]
    assert "start" not in w.actions()
    await w.containers.start(container)
    assert (w.get().error, w.get().exit_code) == ("", 0)


@story
async def test_a_failed_start_with_auto_remove_removes(w):
    w.isolation.fail = StartFailed("no", 126)
    container = await w.create(auto_remove=True)
    removed = w.containers.waiter(container, "removed")
    with pytest.raises(StartFailed):
        await w.containers.start(container)
    assert (await removed).exit_code == 126
    assert len(w.parts.roster) == 0


@story
async def test_starting_twice_is_not_modified_and_a_paused_one_conflicts(w):
    container = await w.run()
    with pytest.raises(NotModified):
        await w.containers.start(container)
    await w.containers.pause(container)
    with pytest.raises(Conflict, match="cannot start a paused container, try unpause instead"):
        await w.containers.start(container)
    with pytest.raises(Conflict, match="already paused"):
        await w.containers.pause(container)
    await w.containers.unpause(container)
    with pytest.raises(Conflict, match="is not paused"):
        await w.containers.unpause(container)
    assert w.actions() == ["create", "start", "pause", "unpause"]


@story
async def test_stop_signals_and_then_kills(w):
    w.isolation.ends_at = frozenset((9,))
    container = await w.run(process=ProcessDefaults(stop_signal="SIGINT"))
    await w.containers.stop(container, timeout_seconds=0)
    assert w.isolation.signals == [2, 9]
    assert w.get().exit_code == 137
    assert w.actions() == ["create", "start", "kill", "kill", "die", "stop"]
    with pytest.raises(NotModified):
        await w.containers.stop(container)


@story
async def test_stop_thaws_a_paused_container(w):
    container = await w.run()
    await w.containers.pause(container)
    await w.containers.stop(container)
    assert w.isolation.paused == set()
    assert w.get().exit_code == 143


@story
async def test_kill_needs_a_running_container_and_a_real_signal(w):
    container = await w.create()
    with pytest.raises(Conflict, match="is not running"):
        await w.containers.kill(container)
    await w.containers.start(container)
    with pytest.raises(InvalidArgument, match="invalid signal: NOPE"):
        await w.containers.kill(container, "NOPE")
    await w.containers.kill(container, "HUP")
    assert w.get().status is Status.RUNNING
    await w.containers.kill(container)
    assert (w.isolation.signals, w.get().exit_code) == ([1, 9], 137)


@story
async def test_restart_keeps_an_auto_remove_container(w):
    container = await w.run(auto_remove=True)
    await w.containers.restart(container)
    assert w.get().status is Status.RUNNING
    assert w.actions() == ["create", "start", "kill", "die", "stop", "start", "restart"]


@story
async def test_on_failure_restarts_a_bounded_number_of_times(w):
    container = await w.run(restart=RestartPolicy(name="on-failure", maximum_retries=2))
    for count in (1, 2):
        await w.end(container, 1)
        assert (w.get().status, w.get().restart_count) == (Status.RESTARTING, count)
        await until(lambda: w.get().status is Status.RUNNING)
    await w.end(container, 1)
    assert (w.get().status, w.get().restart_count, w.get().exit_code) == (Status.EXITED, 2, 1)


@story
async def test_on_failure_lets_a_success_be(w):
    container = await w.run(restart=RestartPolicy(name="on-failure"))
    await w.end(container, 0)
    assert w.get().status is Status.EXITED


@story
async def test_a_user_s_stop_ends_a_restart_loop(w):
    container = await w.run(restart=RestartPolicy(name="always"))
    await w.end(container, 1)
    await w.containers.stop(container)
    assert w.get().status is Status.EXITED
    await asyncio.sleep(0.25)
    assert (w.get().status, w.get().stopped_by_user) == (Status.EXITED, True)


@story
async def test_a_running_container_is_removed_only_by_force(w):
    container = await w.run()
    wanted = 'cannot remove container "web": container is running: stop the container before removing or force remove'
    with pytest.raises(Conflict) as refused:
        await w.containers.remove("web")
    assert str(refused.value) == wanted
    await w.containers.remove(container, force=True)
    assert w.actions() == ["create", "start", "kill", "die", "destroy"]


@story
async def test_a_removal_that_comes_while_it_starts_leaves_nothing_running(w):
    container = await w.create()
    starting = asyncio.ensure_future(w.containers.start(container))
    await asyncio.sleep(0)
    assert w.get().status is Status.CREATED
    await w.containers.remove(container, force=True)
    await starting
    assert w.isolation.running == {}
    assert w.networks.released == [container]
    assert w.actions() == ["create", "start", "kill", "die", "destroy"]


@story
async def test_a_removal_without_force_that_comes_while_it_starts_is_refused(w):
    container = await w.create()
    starting = asyncio.ensure_future(w.containers.start(container))
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="container is running: stop the container before removing"):
        await w.containers.remove(container)
    await starting
    assert w.get().status is Status.RUNNING
    await w.containers.remove(container, force=True)


@story
async def test_a_container_that_is_half_made_when_the_daemon_dies_goes_with_its_volumes(w):
    written = Records(w.database, "containers", ContainerRecord)
    half_made = []

    async def copy_up(name, args, **_):
        half_made.extend(written.load().values())

    w.workers.run = copy_up
    container = await w.create(process=ProcessDefaults(volumes=("/data",)))
    assert [(record.id, record.status) for record in half_made] == [(container, Status.REMOVING)]
    assert written.load()[container].status is Status.CREATED
    assert len(w.volumes.records) == 1
    w.parts.roster.get(container).record = half_made[0]  # as the next daemon reads it
    await w.recovery.settle(await w.recovery.adopt([]))
    assert (len(w.parts.roster), written.load(), w.volumes.records) == (0, {}, {})


@story
async def test_a_container_that_is_started_while_it_waits_for_removal_is_not_pulled_away(w):
    container = await w.create()
    starting = asyncio.ensure_future(w.containers.start(container))
    await asyncio.sleep(0)
    with pytest.raises(Conflict, match="container is running"):
        await w.containers.remove(container)
    await starting
    assert w.get().status is Status.RUNNING


@story
async def test_names_conflict_in_docker_s_words_and_rename_frees_them(w):
    container = await w.create()
    with pytest.raises(Conflict) as refused:
        await w.create()
    assert str(refused.value) == (
        f'Conflict. The container name "/web" is already in use by container "{container}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )
    await w.containers.rename("web", "other")
    await w.create()
    with pytest.raises(InvalidArgument, match="Invalid container name"):
        await w.containers.rename("other", "a b")
    assert {w.get("web").name, w.get("/other").name, w.get(container[:10]).name} == {"web", "other"}


@story
async def test_an_oom_kill_is_told(w):
    container = await w.run()
    await w.end(container, 137, oom=True)
    assert w.get().oom_killed
    assert w.actions()[-2:] == ["oom", "die"]


@story
async def test_published_ports_are_known_when_start_returns(w):
    await w.run(port_bindings=(PortBinding(container_port=80),))
    assert [port.host_port for port in w.get().ports] == [49153]


@story
async def test_a_network_of_another_container_is_joined_while_it_runs(w):
    with pytest.raises(NotFound):
        await w.run("two", network_mode="container:one")
    one = await w.create("one")
    two = await w.create("three", network_mode="container:one")
    assert w.get("three").spec.network_mode == f"container:{one}"
    with pytest.raises(Conflict, match="non running container"):
        await w.containers.start(two)
    await w.containers.start(one)
    await w.containers.start(two)
    spaces = {space.type: space.path for space in w.isolation.orders[two].runtime_spec.linux.namespaces}
    assert spaces["network"] == f"/proc/{w.get('one').init.pid}/ns/net"


@story
async def test_health_goes_from_starting_to_healthy_and_is_told(w):
    check = HealthSpec(test=("CMD", "true"), interval_ns=SECOND // 100, retries=1)
    codes = iter([0, 1, 1])

    async def probe(record, command, timeout):
        return next(codes, 0), "out"

    w.containers.health._probe = probe
    container = await w.run(process=ProcessDefaults(healthcheck=check))
    assert w.get().health.status == "starting"
    await until(lambda: any("unhealthy" in action for action in w.actions()))
    assert [action for action in w.actions() if action.startswith("health")][:2] == [
        "health_status: healthy",
        "health_status: unhealthy",
    ]
    await w.end(container)
    assert len(w.get().health.probes) <= 5


@story
async def test_anonymous_volumes_go_with_rm_v_and_named_ones_stay(w):
    container = await w.run(binds=("data:/data", "/anonymous"))
    assert len(w.volumes.records) == 2
    await w.containers.remove(container, force=True, volumes=True)
    assert set(w.volumes.records) == {"data"}


@story
async def test_volumes_from_shares_and_the_last_one_takes_the_volume_away(w):
    first = await w.create("one", binds=("/shared",))
    second = await w.create("two", volumes_from=("one:ro",))
    (point,) = w.get("two").mounts
    assert (point.name, point.read_write) == (w.get("one").mounts[0].name, False)
    await w.containers.remove(first, volumes=True)
    assert len(w.volumes.records) == 1
    await w.containers.remove(second, volumes=True)
    assert not w.volumes.records


@story
async def test_what_fails_while_creating_leaves_nothing(w):
    def refuse(key, parent):
        raise OSError(28, "No space left on device")

    w.snapshots.prepare = refuse
    with pytest.raises(OSError, match="No space"):
        await w.create(binds=("data:/data",))
    assert len(w.parts.roster) == 0
    assert not w.volumes.records
    assert not list((w.root / "data" / "containers").iterdir())
