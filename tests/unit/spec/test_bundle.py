"""What Docker gives a container when nobody says otherwise."""

from dataclasses import replace

import pytest

from orlop.spec import bundle
from orlop.spec.container import ContainerRecord, ContainerSpec, ExecSpec, ProcessDefaults
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.host import Host
from orlop.spec.mounts import MountPoint, MountSpec
from orlop.spec.resources import DeviceThrottle, Resources, Rlimit
from orlop.spec.runtime import Device, DeviceRule, RuntimeMount, RuntimeSpec, ThrottleDevice

EVERYTHING = frozenset({*bundle.DEFAULT_CAPABILITIES, "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_RESOURCE"})
HOST = Host(capabilities=EVERYTHING, known_capabilities=EVERYTHING, init_program="/usr/bin/tini-static")
POOR = replace(HOST, capabilities=EVERYTHING - {"CAP_SYS_RESOURCE"}, init_program="")


def record(process: ProcessDefaults | None = None, mounts: tuple[MountPoint, ...] = (), **spec: object) -> ContainerRecord:
    return ContainerRecord(
        id="c" * 64,
        name="web",
        spec=ContainerSpec(**{"hostname": "box", **spec}),  # type: ignore[arg-type]
        process=process or ProcessDefaults(command=("sh",)),
        image_id="",
        created_ns=0,
        mounts=mounts,
    )


def made(
    host: Host = HOST, mounts: tuple[MountPoint, ...] = (), process: ProcessDefaults | None = None, **spec: object
) -> RuntimeSpec:
    return bundle.runtime_spec(record(process, mounts, **spec), host=host)


def at(spec: RuntimeSpec, destination: str) -> RuntimeMount:
    (found,) = (mount for mount in spec.mounts if mount.destination == destination)
    return found


def test_the_defaults() -> None:
    spec = made(process=ProcessDefaults(entrypoint=("/entry",), command=("a", "b"), env=("PATH=/x", "A=1")))
    assert spec.process is not None
    assert spec.process.args == ("/entry", "a", "b")
    assert spec.process.env == ("PATH=/x", "HOSTNAME=box", "A=1")
    assert spec.process.cwd == "/"
    assert spec.process.user.name == "0"
    assert spec.process.capabilities is not None
    assert spec.process.capabilities.bounding == bundle.DEFAULT_CAPABILITIES
    assert spec.process.capabilities.ambient == spec.process.capabilities.inheritable == ()
    assert {namespace.type for namespace in spec.linux.namespaces} == {"mount", "network", "uts", "pid", "ipc", "cgroup"}
    assert spec.hostname == "box"
    assert spec.linux.sysctl == {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"}
    assert "/proc/kcore" in spec.linux.masked_paths
    assert "ro" in at(spec, "/sys").options
    assert "size=67108864" in at(spec, "/dev/shm").options
    assert spec.linux.resources is not None
    assert spec.linux.resources.devices[0] == DeviceRule(access="rwm")


def test_privileged_gets_what_the_host_has_and_hears_of_the_rest() -> None:
    spec = made(POOR, privileged=True, cap_drop=("ALL",))
    assert spec.process is not None
    assert spec.process.capabilities is not None
    assert set(spec.process.capabilities.bounding) == POOR.capabilities
    assert spec.linux.masked_paths == spec.linux.readonly_paths == ()
    assert "rw" in at(spec, "/sys").options
    assert spec.linux.resources is not None
    assert spec.linux.resources.devices == (DeviceRule(allow=True, access="rwm"),)
    assert bundle.warnings(record(privileged=True).spec, POOR) == (
        "this host does not have CAP_SYS_RESOURCE: the container runs without",
    )
    assert bundle.warnings(record().spec, POOR) == bundle.warnings(record(privileged=True).spec, HOST) == ()


@pytest.mark.parametrize(
    ("add", "drop", "granted"),
    [
        (("net_admin",), (), {*bundle.DEFAULT_CAPABILITIES, "CAP_NET_ADMIN"}),
        ((), ("CAP_CHOWN",), {*bundle.DEFAULT_CAPABILITIES} - {"CAP_CHOWN"}),
        ((), ("all",), set()),
        (("CHOWN",), ("ALL",), {"CAP_CHOWN"}),
        (("ALL",), ("SYS_ADMIN",), EVERYTHING - {"CAP_SYS_ADMIN"}),
        (("ALL",), (), EVERYTHING),
    ],
)
def test_capabilities_added_and_dropped(add: tuple[str, ...], drop: tuple[str, ...], granted: set[str]) -> None:
    assert set(bundle.capabilities(record(cap_add=add, cap_drop=drop).spec, HOST)) == granted


def test_an_unknown_capability_is_named() -> None:
    with pytest.raises(InvalidArgument, match='invalid capability: "fly"'):
        made(cap_add=("fly",))


def test_namespaces_that_are_not_its_own() -> None:
    spec = bundle.runtime_spec(
        record(network_mode="host"),
        host=HOST,
        namespaces={"network": "host", "pid": "/proc/7/ns/pid", "ipc": "host", "uts": "host"},
    )
    assert {(namespace.type, namespace.path) for namespace in spec.linux.namespaces} == {
        ("mount", ""),
        ("cgroup", ""),
        ("pid", "/proc/7/ns/pid"),
    }
    assert spec.hostname == ""
    assert spec.linux.sysctl == {}
    assert at(spec, "/dev/shm").type == "bind"


def test_a_pooled_network_namespace_is_its_own_but_another_containers_is_not() -> None:
    own = bundle.runtime_spec(record(network_mode="bridge"), host=HOST, namespaces={"network": "/run/orlop/netns/c"})
    others = bundle.runtime_spec(
        record(network_mode="container:x", sysctls={"kernel.shm_rmid_forced": "1"}),
        host=HOST,
        namespaces={"network": "/proc/7/ns/net"},
    )
    assert "net.ipv4.ping_group_range" in own.linux.sysctl
    assert others.linux.sysctl == {"kernel.shm_rmid_forced": "1"}


def test_mounts_lie_in_order_of_depth_over_the_defaults() -> None:
    points = (
        MountPoint(kind="bind", target="/data/deep/er", source="/b"),
        MountPoint(kind="volume", target="/data", source="/v", read_write=False, propagation="rslave"),
        MountPoint(kind="bind", target="/dev", source="/dev"),
        MountPoint(kind="bind", target="/etc/hosts", source="/mine"),
    )
    spec = bundle.runtime_spec(
        record(mounts=points, tmpfs={"/run": "size=1m,exec"}),
        host=HOST,
        files={"/etc/hosts": "/theirs", "/etc/hostname": "/name"},
    )
    order = [mount.destination for mount in spec.mounts]
    assert order.index("/data") < order.index("/data/deep/er")
    assert "/dev/shm" not in order
    assert at(spec, "/etc/hosts").source == "/mine"
    assert at(spec, "/etc/hostname").source == "/name"
    assert at(spec, "/data").options == ("rbind", "ro", "rslave", "rro") or at(spec, "/data").options == (
        "rbind",
        "ro",
        "rslave",
    )
    assert at(spec, "/run").options == ("nosuid", "nodev", "size=1m", "exec")
    assert spec.linux.rootfs_propagation == "rslave"


def test_a_read_only_bind_is_so_all_the_way_down_when_asked() -> None:
    plain = MountPoint(kind="bind", target="/a", source="/a", read_write=False, spec=MountSpec(kind="bind", target="/a"))
    shallow = replace(plain, spec=MountSpec(kind="bind", target="/a", read_only_non_recursive=True))
    single = replace(plain, spec=MountSpec(kind="bind", target="/a", non_recursive=True))
    assert at(made(mounts=(plain,)), "/a").options == ("rbind", "ro", "rprivate", "rro")
    assert at(made(mounts=(shallow,)), "/a").options == ("rbind", "ro", "rprivate")
    assert at(made(mounts=(single,)), "/a").options == ("bind", "ro", "rprivate")


def test_init_comes_first() -> None:
    spec = made(init=True)
    assert spec.process is not None
    assert spec.process.args == ("/sbin/docker-init", "--", "sh")
    assert at(spec, "/sbin/docker-init").source == "/usr/bin/tini-static"
    with pytest.raises(NotSupported, match='install the package "tini"'):
        made(POOR, init=True)


def test_security_options() -> None:
    assert made(security_options=("no-new-privileges",)).process.no_new_privileges  # type: ignore[union-attr]
    assert made(security_options=("no-new-privileges:true",)).process.no_new_privileges  # type: ignore[union-attr]
    assert not made(security_options=("no-new-privileges=false",)).process.no_new_privileges  # type: ignore[union-attr]
    assert made(security_options=("systempaths=unconfined",)).linux.masked_paths == ()
    assert made(masked_paths=("/proc/x",)).linux.masked_paths == ("/proc/x",)


def test_an_exec_inherits_all_but_what_it_says() -> None:
    container = record(ProcessDefaults(command=("sh",), user="web", env=("A=1", "B=2"), working_dir="/srv"), tty=True)
    process = bundle.exec_process(container, ExecSpec(command=("ls",), env=("B=3", "C=4")), HOST)
    assert (process.args, process.cwd, process.user.name, process.terminal) == (("ls",), "/srv", "web", False)
    assert process.env == (bundle.DEFAULT_PATH, "HOSTNAME=box", "A=1", "B=3", "C=4")
    other = bundle.exec_process(
        container, ExecSpec(command=("ls",), user="0", working_dir="/", tty=True, privileged=True), HOST
    )
    assert (other.cwd, other.user.name, other.terminal) == ("/", "0", True)
    assert "TERM=xterm" in other.env
    assert other.capabilities is not None
    assert set(other.capabilities.bounding) == EVERYTHING


def test_limits() -> None:
    resources = bundle.linux_resources(
        Resources(
            memory_bytes=100,
            cpu_nanos=1_500_000_000,
            pids_limit=0,
            blkio_read_bps=(DeviceThrottle(path="/dev/sda", value=5),),
            device_cgroup_rules=("c 1:* rw",),
        ),
        devices=((Device(path="/dev/fuse", type="c", major=10, minor=229), "rw"),),
        device_number=lambda path: (8, 0),
    )
    assert (resources.memory.limit, resources.memory.swap) == (100, 200)
    assert (resources.cpu.period, resources.cpu.quota) == (100_000, 150_000)
    assert resources.pids.limit == -1
    assert resources.block_io.throttle_read_bps_device == (ThrottleDevice(major=8, minor=0, rate=5),)
    assert resources.devices[-2:] == (
        DeviceRule(allow=True, type="c", major=10, minor=229, access="rw"),
        DeviceRule(allow=True, type="c", major=1, minor=None, access="rw"),
    )


def test_no_limits_say_nothing() -> None:
    resources = bundle.linux_resources(Resources())
    assert (resources.memory.limit, resources.memory.swap, resources.cpu.quota, resources.pids.limit) == (None,) * 4


@pytest.mark.parametrize("rule", ["", "c 1:2", "x 1:2 rwm", "c 1 rwm", "c 1:y rwm", "c 1:2 rwx"])
def test_a_bad_device_rule_is_named(rule: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid device cgroup rule format"):
        bundle.linux_resources(Resources(device_cgroup_rules=(rule,)))


def test_ulimits() -> None:
    process = made(resources=Resources(ulimits=(Rlimit(name="nofile", soft=10, hard=-1),))).process
    assert process is not None
    assert [(limit.type, limit.soft, limit.hard) for limit in process.rlimits] == [("RLIMIT_NOFILE", 10, 2**64 - 1)]
