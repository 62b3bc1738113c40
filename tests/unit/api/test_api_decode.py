"""What clients send, decoded; and shown again by inspect just as it was sent."""

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orlop.api import decode, encode_container
from orlop.api.fields import Fields
from orlop.api.tables import HOST, HOST_OPTIONAL, IDENTITY, KERNEL_MEMORY, PROCESS, RESOURCES
from orlop.api.text import human_duration, human_size
from orlop.spec.container import ContainerRecord, ContainerSpec, HealthSpec, ProcessDefaults, Status
from orlop.spec.errors import InvalidArgument, NotSupported
from orlop.spec.mounts import MountSpec
from orlop.spec.network import EndpointSpec, PortBinding
from orlop.spec.resources import Resources, Rlimit
from orlop.spec.times import parse_duration_ns, parse_time_ns, rfc3339
from orlop.state import documents

CONFIG: dict[str, Any] = {
    "Hostname": "h", "Domainname": "d", "User": "1000:1000", "AttachStdin": True, "AttachStdout": True, "AttachStderr": True,
    "ExposedPorts": {"80/tcp": {}}, "Tty": True, "OpenStdin": True, "StdinOnce": True, "Env": ["A=b"], "Cmd": ["sh", "-c", "x"],
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 10**9, "Timeout": 10**9, "StartPeriod": 0, "StartInterval": 0, "Retries": 3},
    "ArgsEscaped": True, "Image": "busybox", "Volumes": {"/v": {}}, "WorkingDir": "/w", "Entrypoint": ["/e"], "NetworkDisabled": True,
    "MacAddress": "02:00:00:00:00:01", "OnBuild": ["RUN x"], "Labels": {"l": "m"}, "StopSignal": "SIGINT", "StopTimeout": 5, "Shell": ["/bin/ash"],
}  # fmt: skip
HOST_CONFIG: dict[str, Any] = {
    "Binds": ["/a:/b:ro"], "ContainerIDFile": "/cid", "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
    "NetworkMode": "net", "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "", "HostPort": "9000-9010"}]},
    "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "AutoRemove": True, "VolumeDriver": "local", "VolumesFrom": ["x"],
    "ConsoleSize": [24, 80], "CapAdd": ["NET_ADMIN"], "CapDrop": ["ALL"], "CgroupnsMode": "private", "Dns": ["1.1.1.1"],
    "DnsOptions": ["ndots:1"], "DnsSearch": ["s"], "ExtraHosts": ["a:1.2.3.4"], "GroupAdd": ["wheel"], "IpcMode": "private",
    "Links": ["x:y"], "OomScoreAdj": 5, "PidMode": "host", "Privileged": True, "PublishAllPorts": True, "ReadonlyRootfs": True,
    "SecurityOpt": ["no-new-privileges"], "UTSMode": "host", "UsernsMode": "host", "ShmSize": 1, "Runtime": "orlop", "Isolation": "process",
    "MaskedPaths": ["/m"], "ReadonlyPaths": [], "Annotations": {"a": "b"}, "StorageOpt": {"size": "1g"}, "Tmpfs": {"/t": "size=1m"},
    "Sysctls": {"net.x": "1"}, "Init": True, "Rootfs": "/r",
    "Mounts": [
        {"Type": "bind", "Source": "/s", "Target": "/t", "ReadOnly": True,
         "BindOptions": {"Propagation": "rslave", "NonRecursive": True, "CreateMountpoint": True}},
        {"Type": "volume", "Source": "v", "Target": "/v",
         "VolumeOptions": {"NoCopy": True, "Labels": {"a": "b"}, "Subpath": "p", "DriverConfig": {"Name": "local", "Options": {"o": "x"}}}},
        {"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"SizeBytes": 10, "Mode": 448, "Options": [["noexec"]]}},
    ],
    "CpuShares": 512, "Memory": 64 << 20, "NanoCpus": 10**9, "CgroupParent": "/p", "BlkioWeight": 100,
    "BlkioWeightDevice": [{"Path": "/dev/sda", "Weight": 10}], "BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}],
    "BlkioDeviceWriteBps": [{"Path": "/dev/sda", "Rate": 2}], "BlkioDeviceReadIOps": [{"Path": "/dev/sda", "Rate": 3}],
    "BlkioDeviceWriteIOps": [{"Path": "/dev/sda", "Rate": 4}], "CpuPeriod": 1000, "CpuQuota": 2000, "CpuRealtimePeriod": 3,
    "CpuRealtimeRuntime": 4, "CpusetCpus": "0", "CpusetMems": "0",
    "Devices": [{"PathOnHost": "/dev/null", "PathInContainer": "/dev/n", "CgroupPermissions": "r"}], "DeviceCgroupRules": ["c 1:3 r"],
    "DeviceRequests": [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}], "MemoryReservation": 1,
    "MemorySwap": -1, "MemorySwappiness": 0, "OomKillDisable": True, "PidsLimit": 10, "Ulimits": [{"Name": "nofile", "Hard": 20, "Soft": 10}],
}  # fmt: skip


def decoded(**body: Any) -> ContainerSpec:
    return decode.container_spec(Fields({"Image": "busybox", **body}))


def shown(spec: ContainerSpec) -> tuple[dict[str, Any], dict[str, Any]]:
    """Config and HostConfig of a container made from a spec."""
    record = ContainerRecord(id="a" * 64, name="x", spec=spec, process=spec.process, image_id="", created_ns=1)
    return encode_container.config(record), encode_container.host_config(record)


def test_every_field_is_shown_as_it_was_asked_for() -> None:
    config, host = shown(decode.container_spec(Fields({**CONFIG, "HostConfig": HOST_CONFIG})))
    assert config == CONFIG
    assert {key: host[key] for key in HOST_CONFIG} == {**HOST_CONFIG, "Links": ["/x:/x/y"]}


def test_the_tables_know_every_attribute_of_the_spec() -> None:
    apart = {"process", "resources", "endpoints", "platform"}
    named = {row.attribute for row in (*IDENTITY, *HOST, *HOST_OPTIONAL)}
    assert named == {field.name for field in fields(ContainerSpec)} - apart
    assert {row.attribute for row in PROCESS} == {field.name for field in fields(ProcessDefaults)}
    assert {row.attribute for row in (*RESOURCES, KERNEL_MEMORY)} == {field.name for field in fields(Resources)}


def test_null_and_absent_are_the_same_and_names_match_in_any_case() -> None:
    nothing = {key: None for key in (*CONFIG, "NetworkingConfig") if key != "Image"}
    assert decoded(**nothing, HostConfig=dict.fromkeys(HOST_CONFIG)) == decoded()
    assert decode.container_spec(Fields({"image": "busybox", "hostconfig": {"memory": 5}})).resources.memory_bytes == 5


def test_a_command_may_be_one_string() -> None:
    assert decoded(Cmd="true", Entrypoint="").process == ProcessDefaults(command=("true",), entrypoint=("",))
    assert decoded(Cmd=[]).process.command == ()


def test_ports_without_a_protocol_are_tcp() -> None:
    spec = decoded(ExposedPorts={"53": {}}, HostConfig={"PortBindings": {"53": [{"HostPort": "5353"}], "54/udp": None}})
    assert spec.process.exposed_ports == ("53/tcp",)
    assert spec.port_bindings == (PortBinding(container_port=53, host_port=5353),)


def test_endpoints_take_wishes_and_leave_what_only_the_engine_knows() -> None:
    wish = {
        "IPAMConfig": {"IPv4Address": "10.0.0.5"},
        "Aliases": ["a"],
        "NetworkID": "x",
        "IPAddress": "9.9.9.9",
        "GwPriority": 3,
    }
    spec = decoded(NetworkingConfig={"EndpointsConfig": {"one": wish, "two": None}})
    assert spec.endpoints == {
        "one": EndpointSpec(ipv4_address="10.0.0.5", aliases=("a",), gateway_priority=3),
        "two": EndpointSpec(),
    }


@pytest.mark.parametrize("key", ["CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth", "KernelMemoryTCP", "Cgroup"])
def test_what_is_not_supported_is_refused_by_name_unless_it_is_the_default(key: str) -> None:
    assert decoded(HostConfig={key: 0 if key != "Cgroup" else ""}) == decoded()
    with pytest.raises(NotSupported, match=f"HostConfig.{key} is not supported"):
        decoded(HostConfig={key: "x" if key == "Cgroup" else 1})


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Binds": "a:b"}, "HostConfig.Binds must be an array, not a string"),
        ({"Binds": [1]}, r"HostConfig.Binds\[0\] must be a string, not a number"),
        ({"Memory": True}, "HostConfig.Memory must be a number, not a boolean"),
        ({"Memory": 2**70}, "HostConfig.Memory is out of range"),
        ({"Ulimits": [{"Name": 5}]}, r"HostConfig.Ulimits\[0\].Name must be a string"),
        ({"ConsoleSize": [1, 2, 3]}, "HostConfig.ConsoleSize must be"),
        ({"PortBindings": {"80/xyz": []}}, 'invalid port specification: "80/xyz"'),
        ({"PortBindings": {"80": [{"HostPort": "9-8"}]}}, "invalid port specification: '9-8'"),
        ({"PortBindings": {"80": [{"HostPort": "x"}]}}, "invalid port specification: 'x'"),
        ({"Mounts": [{"Type": "bind"}]}, "field Target must not be empty"),
        (
            {"Mounts": [{"Type": "bind", "Target": "/x", "TmpfsOptions": {"Mode": 1}}]},
            "field TmpfsOptions must not be specified",
        ),
        ({"Devices": [{"PathInContainer": "/x"}]}, r"HostConfig.Devices\[0\].PathOnHost is missing"),
    ],
)
def test_a_wrong_field_is_named(host: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        decoded(HostConfig=host)


def test_update_takes_limits_and_a_policy() -> None:
    resources, policy = decode.update(
        Fields({"Memory": 5, "Ulimits": [{"Name": "core", "Soft": 1, "Hard": 2}], "RestartPolicy": {"Name": ""}})
    )
    assert resources == Resources(memory_bytes=5, ulimits=(Rlimit(name="core", soft=1, hard=2),))
    assert policy is None


def test_exec_network_and_volume_bodies() -> None:
    assert decode.exec_spec(Fields({"Cmd": ["a"], "ConsoleSize": [1, 2]})).console_size == (1, 2)
    network = decode.network_spec(
        Fields(
            {
                "Name": "n",
                "Driver": "",
                "EnableIPv6": True,
                "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.0.0.0/24", "Gateway": "10.0.0.1"}]},
            }
        )
    )
    assert (network.driver, network.enable_ipv4, network.enable_ipv6) == ("bridge", True, True)
    assert network.subnets[0].gateway == "10.0.0.1"
    assert decode.volume_spec(Fields({"Name": "v", "Driver": "", "DriverOpts": {"o": "p"}})).options == {"o": "p"}
    assert decode.connection(Fields({"Container": "c"})) == ("c", EndpointSpec())
    assert decode.process_defaults(Fields({})) is None
    assert decode.process_defaults(Fields({"Healthcheck": {"Test": ["NONE"]}})) == ProcessDefaults(
        healthcheck=HealthSpec(test=("NONE",))
    )


def test_a_mount_of_a_volume_has_its_driver() -> None:
    mount = decoded(HostConfig={"Mounts": HOST_CONFIG["Mounts"]}).mounts[1]
    assert mount == MountSpec(
        kind="volume",
        target="/v",
        source="v",
        no_copy=True,
        labels={"a": "b"},
        subpath="p",
        driver="local",
        driver_options={"o": "x"},
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5 * 10**9), ("5.25", 5_250_000_000), ("1700000000.123456789", 1700000000123456789), ("1970-01-01T00:00:02.5Z", 2_500_000_000),
     ("1970-01-01T01:00:00+01:00", 0), ("1970-01-02", 86400 * 10**9), ("1970-01-01T00:00:01.123456789Z", 1_123_456_789)],
)  # fmt: skip
def test_times(text: str, expected: int) -> None:
    assert parse_time_ns(text) == expected


def test_durations_and_what_are_none() -> None:
    assert parse_duration_ns("1h30m") == 5400 * 10**9
    assert parse_duration_ns("1.5s") == 1_500_000_000
    assert parse_duration_ns("-10ms") == -10_000_000
    for text in ("5x", "h", "1..2s", "abc"):
        with pytest.raises(ValueError, match=r"."):
            parse_duration_ns(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "Less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "About a minute"), (125, "2 minutes"), (3600, "About an hour"),
     (7200, "2 hours"), (47 * 3600, "47 hours"), (48 * 3600, "2 days"), (14 * 86400, "2 weeks"), (60 * 86400, "2 months"), (800 * 86400, "2 years")],
)  # fmt: skip
def test_durations_for_people(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def test_sizes_and_times_for_people() -> None:
    assert [human_size(size) for size in (0, 999, 1000, 1_234_567, 5 * 10**9)] == ["0B", "999B", "1kB", "1.235MB", "5GB"]
    assert rfc3339(0) == "0001-01-01T00:00:00Z"
    assert rfc3339(1_500_000_000) == "1970-01-01T00:00:01.5Z"
    assert rfc3339(2 * 10**9) == "1970-01-01T00:00:02Z"


@pytest.mark.parametrize(
    ("status", "changes", "text"),
    [
        (Status.CREATED, {}, "Created"),
        (Status.RUNNING, {"started_ns": 70 * 10**9}, "Up 30 seconds"),
        (Status.PAUSED, {"started_ns": 70 * 10**9}, "Up 30 seconds (Paused)"),
        (Status.EXITED, {"started_ns": 1, "finished_ns": 97 * 10**9, "exit_code": 137}, "Exited (137) 3 seconds ago"),
        (Status.RESTARTING, {"started_ns": 1, "finished_ns": 97 * 10**9, "exit_code": 1}, "Restarting (1) 3 seconds ago"),
        (Status.REMOVING, {}, "Removal In Progress"),
        (Status.DEAD, {}, "Dead"),
    ],
)
def test_the_status_column(status: Status, changes: dict[str, int], text: str) -> None:
    record = ContainerRecord(
        id="a", name="x", spec=ContainerSpec(), process=ProcessDefaults(), image_id="", created_ns=1, status=status, **changes
    )
    assert encode_container.status_text(record, 100 * 10**9) == text


_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["bind", "volume", "80/tcp", "1-2"])
)
_KEYS = st.sampled_from(
    [
        *CONFIG,
        *HOST_CONFIG,
        *CONFIG["Healthcheck"],
        *HOST_CONFIG["Mounts"][1],
        "80/tcp",
        "HostPort",
        "EndpointsConfig",
        "IPAMConfig",
    ]
)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=8
)
_BODIES = st.fixed_dictionaries(
    {"Image": _LEAVES | st.just("x"), "HostConfig": st.dictionaries(st.sampled_from(list(HOST_CONFIG)), _VALUES, max_size=4)},
    optional={key: _VALUES for key in (*CONFIG, "NetworkingConfig", "IPAM", "Options") if key != "Image"},
)


@given(_BODIES)
@settings(max_examples=400, deadline=None)
def test_no_body_is_a_surprise(body: dict[str, Any]) -> None:
    """Whatever the JSON, it is decoded and can be shown, or refused with InvalidArgument."""
    for decoder in (
        decode.container_spec,
        decode.exec_spec,
        decode.network_spec,
        decode.update,
        decode.connection,
        decode.volume_spec,
    ):
        try:
            found = decoder(Fields({**body, **body["HostConfig"]} if decoder is not decode.container_spec else body))
        except InvalidArgument:
            continue
        if isinstance(found, ContainerSpec):
            documents.dumps(shown(found))
