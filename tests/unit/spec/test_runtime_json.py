"""config.json of the OCI runtime specification, both ways."""

import json

import pytest

from orlop.spec.errors import InvalidArgument
from orlop.spec.runtime import IdMapping, Memory, Namespace, RuntimeProcess, RuntimeSpec, RuntimeUser
from orlop.spec.runtime_json import encode_spec, parse_spec

CONFIG = {
    "ociVersion": "1.2.0",
    "process": {
        "terminal": True,
        "consoleSize": {"height": 1, "width": 2},
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [5]},
        "args": ["sh"],
        "env": ["A=1"],
        "cwd": "/",
        "capabilities": {"bounding": ["CAP_CHOWN"], "effective": ["CAP_CHOWN"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
        "execCPUAffinity": {"initial": "0"},
        "ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 4},
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "box",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "hooks": {"createRuntime": [{"path": "/bin/true", "args": ["true"], "timeout": 5}]},
    "annotations": {"a": "b"},
    "linux": {
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "timeOffsets": {"monotonic": {"secs": 5}},
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}],
        "cgroupsPath": "/x",
        "resources": {
            "devices": [{"allow": False, "access": "rwm"}],
            "memory": {"limit": 5, "disableOOMKiller": False, "kernelTCP": 7},
            "blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 9}]},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 3},
            "unified": {"memory.high": "1"},
        },
        "namespaces": [{"type": "pid"}, {"type": "network", "path": "/n"}],
        "seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {
                    "names": ["read"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_EQ"}],
                }
            ],
        },
        "maskedPaths": ["/proc/kcore"],
        "intelRdt": {"closID": "g", "l3CacheSchema": "L3"},
    },
}


def holds(tree: object, part: object) -> bool:
    """Whether all of `part` is in `tree`, which may say more (zeros that stand for "not said")."""
    if isinstance(part, dict):
        return isinstance(tree, dict) and all(key in tree and holds(tree[key], value) for key, value in part.items())
    if isinstance(part, list):
        return isinstance(tree, list) and len(tree) == len(part) and all(map(holds, tree, part))
    return tree == part


def test_every_member_goes_round() -> None:
    spec = parse_spec(json.dumps(CONFIG).encode())
    assert holds(json.loads(encode_spec(spec)), CONFIG)
    assert parse_spec(encode_spec(spec)) == spec


def test_what_the_members_become() -> None:
    spec = parse_spec(json.dumps(CONFIG).encode())
    assert spec.process is not None
    assert spec.process.user == RuntimeUser(uid=1, gid=2, umask=18, additional_gids=(5,))
    assert spec.linux.uid_mappings == (IdMapping(container_id=0, host_id=1000, size=1),)
    assert spec.linux.namespaces == (Namespace(type="pid"), Namespace(type="network", path="/n"))
    assert spec.linux.resources is not None
    assert spec.linux.resources.memory == Memory(limit=5, kernel_tcp=7, disable_oom_killer=False)


def test_unknown_and_null_members_are_passed_over() -> None:
    spec = parse_spec(
        b'{"ociVersion": "1.0", "windows": {"x": 1}, "hostname": null, "mounts": null, "linux": {"sysctl": null}}'
    )
    assert spec == RuntimeSpec(oci_version="1.0")


def test_our_own_fields_stay_here() -> None:
    process = RuntimeProcess(args=("sh",), user=RuntimeUser(name="web", groups=("wheel",), uid=3))
    assert json.loads(encode_spec(RuntimeSpec(process=process)))["process"]["user"] == {"uid": 3, "gid": 0}
    assert parse_spec(b'{"process": {"user": {"name": "x", "": "y"}}}').process == RuntimeProcess()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "config.json: not JSON"),
        (b"[]", "config: list instead of dict"),
        (b'{"hostname": 1}', "config.hostname: int instead of str"),
        (b'{"mounts": [{"type": "x"}]}', r"config.mounts\[0\].destination: missing"),
        (b'{"linux": {"namespaces": [{"type": true}]}}', r"config.linux.namespaces\[0\].type: bool instead of str"),
        (b'{"process": {"oomScoreAdj": true}}', "config.process.oomScoreAdj: bool instead of int"),
        (b'{"annotations": {"a": 1}}', "config.annotations.a: int instead of str"),
    ],
)
def test_what_is_wrong_is_named(text: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_spec(text)


def test_the_version_is_always_there() -> None:
    assert json.loads(encode_spec(RuntimeSpec())) == {"ociVersion": "1.2.1"}
