"""kernel/cgroups.py on this host's hierarchies, in groups of our own."""

import os
import signal
import time

import pytest

from orlop.kernel import cgroups, counters, limits
from orlop.kernel.cgroups import Cgroup
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.runtime import Cpu, DeviceRule, LinuxResources, Memory, Pids
from support.engine import until

pytestmark = pytest.mark.root


@pytest.fixture
def parent():
    top = Cgroup(f"/orlop-cg-{os.getpid()}", cgroups.layout())
    yield top
    until(top.kill, what="processes gone")
    until(top.remove, what="group removed")
    assert not top.exists()


@pytest.fixture
def group(parent):
    made = Cgroup(f"{parent.path}/a", parent.layout)
    made.create()
    return made


def child(group, body=signal.pause) -> int:
    """A process inside the group."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            group.enter()
            os.write(writer, b"in")
            body()
        finally:
            os._exit(0)
    os.close(writer)
    assert os.read(reader, 2) == b"in"
    os.close(reader)
    return pid


def test_a_process_that_enters_is_counted_and_killed_with_all_it_forked(group):
    def fork_and_wait():
        os.fork()
        signal.pause()

    pid = child(group, fork_and_wait)
    until(lambda: len(group.pids()) == 2)
    assert pid in group.pids()
    assert counters.read_stats(group).pids_current == 2
    assert not group.remove(), "a group with processes stays"
    assert not group.kill()
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    until(group.kill)
    assert group.remove()


def test_freeze_and_thaw(group):
    reader, writer = os.pipe()
    pid = child(group, lambda: os._exit(len(os.read(reader, 8))))
    group.freeze()
    until(group.frozen)
    os.write(writer, b"go on")
    time.sleep(0.05)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0), "a frozen process does nothing"
    group.thaw()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
    assert not group.frozen()
    os.close(reader)
    os.close(writer)


def test_limits_are_in_effect_and_can_be_raised_and_lowered(group):
    def set_memory(limit, swap):
        group.apply(limits.settings(LinuxResources(memory=Memory(limit=limit, swap=swap)), group.layout))

    for mib in (64, 256, 32):
        set_memory(mib << 20, mib << 21)
        assert counters.read_stats(group).memory_limit_bytes == mib << 20
    group.apply(limits.settings(LinuxResources(pids=Pids(limit=7), cpu=Cpu(quota=20_000, period=40_000)), group.layout))
    assert counters.read_stats(group).pids_limit == 7


def test_an_oom_kill_is_seen(group):
    group.apply(limits.settings(LinuxResources(memory=Memory(limit=16 << 20, swap=16 << 20)), group.layout))
    assert group.oom_kills() == 0
    pid = child(group, lambda: bytearray(64 << 20))
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    assert group.oom_kills() == 1


def test_devices_are_denied(group):
    rules = (DeviceRule(allow=False, access="rwm"), DeviceRule(allow=True, type="c", major=1, minor=5, access="r"))
    group.apply(limits.settings(LinuxResources(devices=rules), group.layout))

    def try_both():
        os.close(os.open("/dev/zero", os.O_RDONLY))
        try:
            os.open("/dev/null", os.O_RDONLY)
        except PermissionError:
            os._exit(7)

    assert os.waitstatus_to_exitcode(os.waitpid(child(group, try_both), 0)[1]) == 7


def test_the_device_program_is_accepted_by_the_kernel(parent):
    """On a hybrid host too: programs bind to any group of version 2."""
    mount = next((line.split()[4] for line in open("/proc/self/mountinfo") if " - cgroup2 " in line), None)
    if mount is None:
        pytest.skip("cgroup version 2 is not mounted")
    group = Cgroup(f"{parent.path}-v2", cgroups.Layout(2, {"": mount}))
    group.create()
    try:
        rules = (DeviceRule(allow=False, access="rwm"), DeviceRule(allow=True, type="c", major=1, minor=5, access="r"))
        group.apply(limits.settings(LinuxResources(devices=rules), group.layout))

        def try_both():
            os.close(os.open("/dev/zero", os.O_RDONLY))
            try:
                os.open("/dev/null", os.O_RDONLY)
            except PermissionError:
                os._exit(7)

        assert os.waitstatus_to_exitcode(os.waitpid(child(group, try_both), 0)[1]) == 7
    finally:
        until(group.remove)


@pytest.fixture
def bare():
    """A group at the top that somebody else has made, on version 2: nothing below it has controllers yet."""
    layout = cgroups.layout()
    if layout.version == 1:
        pytest.skip("every group of version 1 has all controllers")
    made = Cgroup(f"/orlop-bare-{os.getpid()}", layout)
    os.mkdir(made.file("")[:-1])
    yield made
    until(made.kill, what="processes gone")
    until(made.remove)


def test_below_a_group_of_somebody_else_limits_work(bare):
    deep = Cgroup(f"{bare.path}/a/b", bare.layout)
    os.mkdir(bare.file("a"))
    deep.create()
    deep.apply(
        limits.settings(LinuxResources(pids=Pids(limit=7), cpu=Cpu(quota=20_000), memory=Memory(limit=32 << 20)), deep.layout)
    )
    assert [deep.read(name).strip() for name in ("pids.max", "cpu.max", "memory.max")] == ["7", "20000 100000", str(32 << 20)]


def test_a_group_that_is_removed_and_made_again_has_all_controllers_again(parent):
    key = "pids.max" if parent.layout.version == 2 else "pids/pids.max"
    for _ in range(2):
        group = Cgroup(f"{parent.path}/b", parent.layout)
        group.create()
        group.apply(limits.settings(LinuxResources(pids=Pids(limit=9)), group.layout))
        assert group.read(key).strip() == "9"
        assert parent.remove()


def test_a_group_with_processes_of_its_own_has_no_room_for_others(bare):
    pid = child(bare)
    below = Cgroup(f"{bare.path}/below", bare.layout)
    try:
        with pytest.raises(
            NotSupported, match=f"no containers can be below the cgroup .*{bare.path}: it has processes of its own"
        ):
            below.create()
        assert bare.read("cgroup.type") == "domain\n"
    finally:
        bare.kill()
        os.waitpid(pid, 0)


def test_one_more_process_goes_beside_the_first(group):
    inner = Cgroup(f"{group.path}/inner", group.layout)
    inner.create()
    pid = child(inner)
    assert group.beside(pid).path == (inner.path if group.layout.version == 2 else group.path)
    assert group.beside(os.getpid()).path == group.path, "it is somewhere else altogether"
    group.kill()
    os.waitpid(pid, 0)


def test_what_the_kernel_refuses_is_named(group):
    with pytest.raises(InvalidArgument, match=r"cannot set cpuset\.cpus to 4000: "):
        group.apply([("cpuset/cpuset.cpus" if group.layout.version == 1 else "cpuset.cpus", "4000")])
    with pytest.raises(NotSupported, match="no such control file"):
        group.apply([("memory/memory.nonsense" if group.layout.version == 1 else "memory.nonsense", "1")])


def test_groups_made_inside_are_removed_too(group):
    inner = Cgroup(f"{group.path}/inner/most", group.layout)
    inner.create()
    pid = child(inner)
    assert pid in group.pids()
    group.kill()
    os.waitpid(pid, 0)
    until(group.remove)
    assert not inner.exists()
