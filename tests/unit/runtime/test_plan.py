"""A specification as steps: what is decided before anything is done."""

import json
from dataclasses import replace
from typing import Any

import pytest

from orlop.kernel import capabilities, syscalls
from orlop.kernel.cgroups import Layout
from orlop.runtime.init import OPERATIONS
from orlop.runtime.plan import exec_plan, start_plan
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.host import Host
from orlop.spec.mounts import Mount
from orlop.spec.runtime import (
    CapabilitySets,
    ConsoleSize,
    Device,
    IdMapping,
    Linux,
    LinuxResources,
    Memory,
    Namespace,
    Root,
    RuntimeMount,
    RuntimeProcess,
    RuntimeRlimit,
    RuntimeSpec,
    RuntimeUser,
    Seccomp,
    TimeOffset,
)

HOST = Host(
    kernel=(6, 18),
    capabilities=frozenset({"CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"}),
    cgroup_version=1,
    cgroup_mounts={"memory": "/m"},
)
PROCESS = RuntimeProcess(args=("sh", "-c", "x"), env=("A=1", "B=2=3", "broken"))
SPEC = RuntimeSpec(process=PROCESS, root=Root(), linux=Linux(namespaces=(Namespace(type="mount"), Namespace(type="pid"))))
ROOTFS = (Mount("overlay", "overlay", ("lowerdir=/a:/b",)),)


def planned(spec: RuntimeSpec = SPEC, host: Host = HOST, layout: Layout | None = None) -> dict[str, Any]:
    return start_plan(spec, rootfs=ROOTFS, mountpoint="/mnt", host=host, layout=layout)


def steps(plan: dict[str, Any], operation: str) -> list[list[Any]]:
    return [step[1:] for step in plan["steps"] if step[0] == operation]


def linux(**changes: Any) -> RuntimeSpec:
    return replace(SPEC, linux=replace(SPEC.linux, **changes))


def process(**changes: Any) -> RuntimeSpec:
    return replace(SPEC, process=replace(PROCESS, **changes))


def namespaces(*kinds: str, **joined: str) -> tuple[Namespace, ...]:
    return tuple(Namespace(type=kind) for kind in ("mount", *kinds)) + tuple(
        Namespace(type=k, path=v) for k, v in joined.items()
    )


def test_a_plan_is_json_and_names_only_operations_that_exist() -> None:
    spec = replace(
        linux(namespaces=namespaces("pid", "uts", "time", "cgroup", ipc="/i"), sysctl={"net.ipv4.x": "1"}), hostname="box"
    )
    with pytest.raises(InvalidArgument, match="hosts network namespace"):
        planned(spec)
    plan = planned(replace(spec, linux=replace(spec.linux, sysctl={})))
    assert json.loads(json.dumps(plan)) == plan
    assert {step[0] for step in plan["steps"]} <= set(OPERATIONS)
    assert {step[0] for step in exec_plan(PROCESS, spec=spec, host=HOST)["steps"]} <= set(OPERATIONS)
    assert plan["steps"][-1] == ["execute", ["sh", "-c", "x"]]
    assert plan["env"] == {"A": "1", "B": "2=3"}


def test_namespaces_made_by_clone_and_those_taken_later() -> None:
    plan = planned(linux(namespaces=namespaces("pid", "uts", "cgroup", "time", network="/n", ipc="/i")))
    assert plan["clone_flags"] == syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUTS
    assert steps(plan, "join") == [["/n", syscalls.CLONE_NEWNET], ["/i", syscalls.CLONE_NEWIPC]]
    assert steps(plan, "unshare") == [[syscalls.CLONE_NEWCGROUP]]
    assert steps(plan, "time") == [[""]]
    assert plan["pid_namespace"] == ""


def test_a_pid_namespace_is_joined_around_the_clone() -> None:
    plan = planned(linux(namespaces=namespaces(pid="/proc/7/ns/pid")))
    assert plan["pid_namespace"] == "/proc/7/ns/pid"
    assert steps(plan, "join") == []


def test_a_user_namespace_brings_its_mappings() -> None:
    maps = (IdMapping(container_id=0, host_id=1000, size=10), IdMapping(container_id=10, host_id=5, size=1))
    plan = planned(linux(namespaces=namespaces("user"), uid_mappings=maps, gid_mappings=maps[:1]))
    assert plan["mappings"] == ["0 1000 10\n10 5 1\n", "0 1000 10\n"]
    with pytest.raises(InvalidArgument, match="needs both"):
        planned(linux(namespaces=namespaces("user")))
    execution = exec_plan(PROCESS, spec=linux(namespaces=namespaces("user", "time")), host=HOST)
    assert steps(execution, "enter")[0][0] & syscalls.CLONE_NEWUSER
    assert not steps(exec_plan(PROCESS, spec=SPEC, host=HOST), "enter")[0][0] & syscalls.CLONE_NEWUSER


def test_clocks() -> None:
    plan = planned(linux(namespaces=namespaces("time"), time_offsets={"boottime": TimeOffset(secs=5, nanosecs=6)}))
    assert steps(plan, "time") == [["boottime 5 6\n"]]


def test_mounts_of_each_kind() -> None:
    mounts = (
        RuntimeMount(destination="/proc/", type="proc", options=("nosuid",)),
        RuntimeMount(destination="/sys/fs/cgroup", type="cgroup", options=("ro",)),
        RuntimeMount(destination="/d", source="/s", options=("rbind", "ro", "rprivate")),
        RuntimeMount(destination="/t", type="tmpfs", source="tmpfs", options=("size=1m",)),
    )
    plan = planned(replace(SPEC, mounts=mounts))
    assert steps(plan, "mount") == [
        ["/proc", "proc", "proc", syscalls.MS_NOSUID, "", []],
        ["/t", "tmpfs", "tmpfs", 0, "size=1m", []],
    ]
    assert steps(plan, "cgroups_v1") == [["/sys/fs/cgroup", [["memory", "/m"]], syscalls.MS_RDONLY, False]]
    assert steps(plan, "bind") == [["/d", "/s", True, [1, 0], [0, 0], [syscalls.MS_PRIVATE | syscalls.MS_REC]]]
    second = planned(replace(SPEC, mounts=mounts), replace(HOST, cgroup_version=2))
    assert ["/sys/fs/cgroup", "cgroup2", "cgroup2", syscalls.MS_RDONLY, "", []] in steps(second, "mount")


def test_devices_are_made_unless_dev_is_somebody_elses() -> None:
    (nodes,) = steps(
        planned(linux(devices=(Device(path="/dev/fuse", type="c", major=10, minor=229, file_mode=0o100600),))), "devices"
    )
    by_path = {node[0]: node for node in nodes[0]}
    assert by_path["/dev/null"][1:3] == [0o020666, 0x103]
    assert by_path["/dev/fuse"][1] == 0o020600
    bound = replace(SPEC, mounts=(RuntimeMount(destination="/dev", source="/dev", options=("rbind",)),))
    assert steps(planned(bound), "devices") == steps(planned(bound), "links") == []


def test_the_process_gives_up_what_it_is_not_granted() -> None:
    granted = CapabilitySets(bounding=("CAP_CHOWN", "CAP_BPF"), effective=("CAP_CHOWN", "CAP_BPF"), permitted=("CAP_CHOWN",))
    plan = planned(process(capabilities=granted, user=RuntimeUser(uid=5, gid=6, umask=0o77)))
    drop = [capabilities.NUMBER["CAP_KILL"], capabilities.NUMBER["CAP_SYS_ADMIN"]]
    assert steps(plan, "identity") == [[drop, 0o77]]
    chown = 1 << capabilities.NUMBER["CAP_CHOWN"]
    assert steps(plan, "confine") == [[[chown, chown, 0, 0], False, "", 0]]
    assert plan["warnings"] == ["cannot grant CAP_BPF: this host's own bounding set lacks it"]
    assert steps(plan, "user") == [["", 5, 6, [], []]]


def test_the_filter_travels_as_text() -> None:
    (confine,) = steps(planned(linux(seccomp=Seccomp(default_action="SCMP_ACT_ALLOW"))), "confine")
    assert len(confine[2]) > 10
    assert confine[2].isascii()


def test_limits_and_their_infinity() -> None:
    limits = (RuntimeRlimit(type="RLIMIT_NOFILE", soft=5, hard=2**64 - 1), RuntimeRlimit(type="RLIMIT_NPROC", soft=1, hard=2))
    assert steps(planned(process(rlimits=limits)), "rlimit") == [[7, "nofile", 5, -1], [6, "nproc", 1, 2]]


def test_a_terminal_and_the_order_in_which_things_happen() -> None:
    spec = process(terminal=True, console_size=ConsoleSize(height=3, width=4))
    plan = planned(replace(spec, linux=replace(spec.linux, masked_paths=("/proc/kcore",), readonly_paths=("/proc/sys",))))
    assert steps(plan, "terminal") == [[3, 4, True]]
    names = [step[0] for step in plan["steps"]]
    assert [name for name in names if name in ("root", "terminal", "read_only", "mask", "pivot", "user", "cwd", "identity", "confine")] == [
        "root", "terminal", "read_only", "mask", "pivot", "user", "cwd", "identity", "confine",
    ]  # fmt: skip


def test_the_control_group() -> None:
    spec = linux(cgroups_path="/orlop/x", resources=LinuxResources(memory=Memory(limit=4096)))
    plan = planned(spec, layout=Layout(1, {"memory": "/sys/fs/cgroup/memory"}))
    assert plan["cgroup"]["path"] == "/orlop/x"
    assert ["memory/memory.limit_in_bytes", "4096"] in plan["cgroup"]["values"]
    assert planned(spec)["cgroup"] == {}


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        (replace(SPEC, process=None), InvalidArgument, "nothing to execute"),
        (process(cwd="x"), InvalidArgument, "not an absolute path"),
        (linux(namespaces=()), NotSupported, "mount namespace"),
        (linux(namespaces=namespaces("what")), InvalidArgument, "unknown type what"),
        (linux(namespaces=namespaces("pid", "pid")), InvalidArgument, "twice"),
        (linux(rootfs_propagation="x"), InvalidArgument, "rootfsPropagation"),
        (replace(SPEC, hostname="x"), InvalidArgument, "without a private UTS namespace"),
        (process(rlimits=(RuntimeRlimit(type="RLIMIT_X"),)), InvalidArgument, "RLIMIT_X"),
        (linux(devices=(Device(path="/dev/x", type="q"),)), InvalidArgument, 'unknown type "q"'),
        (replace(SPEC, mounts=(RuntimeMount(destination="x"),)), InvalidArgument, "not an absolute path"),
        (replace(SPEC, mounts=(RuntimeMount(destination="/x"),)), InvalidArgument, "neither a type nor bind"),
        (replace(SPEC, mounts=(RuntimeMount(destination="/x", options=("bind", "a=b")),)), InvalidArgument, '"a=b"'),
        (
            replace(SPEC, mounts=(RuntimeMount(destination="/x", type="tmpfs", options=("tmpcopyup",)),)),
            NotSupported,
            "tmpcopyup",
        ),
        (linux(sysctl={"kernel.panic": "1"}), InvalidArgument, "not in a separate kernel namespace"),
        (linux(namespaces=namespaces("network"), sysctl={"net/../kernel/panic": "1"}), InvalidArgument, "not in a separate"),
        (linux(namespaces=namespaces("network"), sysctl={"net.": "1"}), InvalidArgument, "not in a separate"),
    ],
)
def test_what_is_wrong_is_named(spec: RuntimeSpec, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        planned(spec)
